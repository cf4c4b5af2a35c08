"""Letters and signs drawn by code: training images that are no digits.

The table has letters and mathematical signs, each in several variants, in the notation
of `tinycnn.glyphs.writer`. Left out is what could be read as a digit: l, I, O, o, Q, D,
S, s, Z, z, b, q and g, round brackets and bars.
"""

import numpy as np
from numpy.typing import NDArray

from tinycnn.glyphs.writer import drawn, follow
from tinycnn.ink.normalize import SIDE

TABLE = """
A  09 25 40 40 54 79 | 16 66
A  09 15 30 30 46 69 | 15 56
A  09 25 40 40 55 79 79 56 26
A  09 04 21 41 54 59 | 05 55
B  00 05 09 | 00 40 51 43 14 14 54 67 49 09
B  09 04 00 00 40 52 34 04 04 54 67 49 09
B  10 15 19 | 01 30 52 44 24 24 55 67 48 08
C  62 50 20 03 06 29 59 77
C  70 30 03 06 39 79
C  60 62 60 20 02 06 29 59 78
E  00 05 09 09 39 69 | 00 60 | 04 54
E  60 30 00 00 04 09 09 39 69 | 04 54
E  61 50 20 12 24 44 44 15 07 29 59 78
F  10 14 19 | 10 70 | 14 64
F  70 40 10 10 14 19 | 14 64
F  00 70 | 20 24 29 | 24 64
G  61 40 20 03 06 29 49 67 65 65 35
G  62 40 20 03 06 29 49 68 65 | 35 95
G  61 40 20 03 06 28 58 75 75 45 | 75 79
H  00 05 09 | 60 65 69 | 04 64
H  00 05 09 | 60 64 69 69 64 64 34 04
J  10 70 | 40 46 28 09 06
J  20 50 90 | 50 55 48 29 08 06
K  00 05 09 | 60 32 05 05 37 69
K  00 05 09 | 60 33 15 15 37 69
K  00 04 09 | 61 24 24 69
L  00 04 09 09 39 69
L  20 14 09 09 39 69
M  09 04 00 00 23 45 45 63 80 80 85 89
M  09 04 10 10 24 36 36 54 70 70 75 89
N  09 04 00 00 34 69 69 64 60
N  09 14 20 20 45 69 69 74 80
P  00 05 09 | 00 40 52 44 05
P  09 04 00 00 40 53 44 05
P  20 15 09 | 01 30 61 63 45 25
R  00 05 09 | 00 40 52 44 05 05 37 69
R  09 04 00 00 40 53 35 05 05 47 79
R  20 15 09 | 01 30 61 53 35 35 57 69
T  00 40 80 | 40 45 49
T  01 80 | 40 45 39
U  00 05 18 39 58 65 60
U  00 06 29 49 66 60 60 64 69 79
U  00 03 17 49 77 83 81
V  00 24 39 39 54 70
V  01 10 25 39 39 54 70 80
V  01 10 31 45 49 49 64 71 80
W  00 14 29 29 35 41 41 46 59 59 74 80
W  00 05 19 38 43 43 48 69 85 80
W  01 10 15 28 48 54 51 51 55 68 88 93 90
X  00 34 69 | 60 35 09
X  01 10 34 58 79 98 | 80 35 09
X  02 20 42 46 29 08 | 91 80 53 56 69 88
Y  00 22 44 | 80 62 44 44 46 49
Y  00 22 34 | 70 44 27 09
Y  00 03 25 45 63 70 70 65 58 39 28 27 45 84
Y  00 22 34 | 60 43 34 34 36 39
a  63 41 21 04 07 29 49 66 61 61 66 79 98
a  60 30 04 07 29 47 61 61 65 79 98
c  51 53 51 30 14 17 39 59 78
d  64 44 16 18 39 58 65 60 60 65 69 89
d  64 34 06 08 29 49 66 | 70 65 69
e  04 34 64 62 40 20 03 06 29 49 77
e  05 35 63 51 30 12 06 18 39 69 87
e  06 35 53 51 30 12 06 19 49 77
e  07 45 62 50 31 14 17 39 59 87
f  71 50 41 44 49 | 15 75
f  61 50 31 35 39 | 05 65
f  80 61 44 37 19 08 | 15 75
f  60 41 34 37 39 | 25 55
f  60 51 44 38 19 08 | 25 65
h  00 04 09 | 06 24 44 56 59
h  00 04 09 09 06 24 44 56 59 79
h  20 14 09 09 16 34 54 55 49 68
h  16 34 41 30 21 15 19 19 16 35 46 59 79
i  34 36 38 49 68 | 30 31
i  15 34 37 49 68 | 40 41
i  34 36 39 | 30 31
i  07 35 34 38 59 87 | 40 41
j  43 46 38 19 08 | 40 41
j  23 43 53 56 38 19 08 17 44 73 | 50 51
j  33 36 38 29 18 27 54 | 30 31
k  00 05 09 | 43 25 06 06 28 59
k  10 05 09 | 06 24 43 34 16 16 38 59
k  16 34 41 30 21 15 19 19 16 44 54 46 26 26 48 69
m  02 05 09 09 05 22 32 44 49 49 45 62 82 94 99
m  18 13 22 33 38 38 44 52 63 68 68 74 82 93 98
n  00 04 09 09 04 20 50 62 69
n  09 12 31 39 39 43 60 72 69 89
n  02 11 25 29 29 23 41 61 65 68 79 98
p  00 05 09 | 01 20 52 54 35 05
p  12 15 19 19 13 31 61 73 55 25
p  03 21 25 29 29 22 40 61 63 44 25
r  02 05 09 09 04 22 41 61
r  02 21 24 29 29 24 42 61 71
r  18 13 20 22 42 52 45 48 59 78
t  30 35 38 49 68 | 13 63
t  40 35 28 39 58 | 02 72
t  20 24 28 39 59 67 | 03 53
t  30 34 37 49 77 96 | 04 74
u  02 01 10 15 28 48 65 60 60 66 79 97
u  00 05 18 38 55 60 60 65 69 89
v  02 10 21 35 49 49 64 71 80 91
w  00 05 18 38 45 42 42 46 58 78 85 80
x  01 21 34 58 79 98 | 91 80 62 35 18 09
x  01 20 41 44 48 29 08 | 91 80 51 54 58 79 98
y  00 24 45 | 80 54 27 09
y  00 03 25 45 53 60 60 65 48 29 18 27 45 84
y  10 13 24 43 50 50 46 29 18 26 44 63
alpha  80 65 38 19 07 04 22 42 56 79 98
alpha  90 74 48 29 08 05 13 33 55 78 99
beta  09 05 02 20 40 52 34 24 24 54 66 47 17
beta  19 14 12 30 50 62 44 34 34 65 67 48 27
beta  19 14 12 20 40 42 34 24 24 45 57 38 17
gamma  02 10 21 34 47 38 29 27 44 80
gamma  01 20 33 46 48 39 28 36 63 90
theta  40 20 04 07 29 49 66 63 40 | 04 64
theta  40 21 14 17 39 58 65 61 40 | 05 75
lambda  00 20 43 66 79 | 44 26 09
lambda  10 21 45 69 89 | 43 09
mu  00 05 09 | 05 27 46 60 60 65 67 86
mu  20 14 09 09 05 16 36 54 60 60 54 57 76
pi  01 80 | 21 25 29 | 61 65 69
pi  03 11 81 | 31 26 09 | 61 65 78 97
sigma  91 60 20 02 06 18 38 56 53 31 20
sigma  20 03 06 18 39 47 45 32 20 20 60 90
phi  32 12 04 07 28 48 66 63 32 | 40 34 29
phi  43 23 05 27 57 75 53 43 | 60 44 29
phi  43 24 26 37 56 64 53 43 | 50 45 39
Delta  40 25 09 09 49 89 89 65 40
Delta  30 14 09 09 39 69 69 44 30
Gamma  60 30 00 00 04 09
Omega  09 29 26 04 11 40 71 84 66 69 89
psi  00 03 26 56 73 70 | 40 39
+  04 84 | 40 48
+  05 95 | 50 59
+  30 38 | 04 74
times  00 44 88 | 80 44 08
times  11 87 | 71 09
=  02 82 | 06 86
=  03 93 | 07 97
=  13 42 83 | 17 46 87
<  80 43 04 04 46 88
<  70 33 05 05 36 79
<  92 53 14 14 56 97
>  00 43 84 84 46 08
>  00 32 65 65 37 09
>  02 43 84 84 45 07
<=  70 33 04 04 35 77 | 09 79
<=  80 42 03 03 44 75 | 06 47 79
<=  60 32 04 04 36 67 | 07 38 69
<=  60 32 04 04 34 64 | 08 38 68
>=  00 42 73 73 34 05 | 09 79
>=  00 42 83 83 44 15 | 19 48 86
>=  00 42 63 63 44 25 | 29 47 65
!=  03 83 | 06 86 | 60 45 29
!=  02 82 | 05 85 | 70 45 09
plus-minus  03 83 | 40 46 | 09 89
plus-minus  13 73 | 40 46 | 19 79
right  05 55 95 | 62 73 95 95 77 68
right  05 95 | 62 84 95 76 58
left  95 45 05 | 32 23 05 05 27 38
implies  03 73 | 06 76 | 50 72 94 94 76 58
[  50 10 10 14 19 19 59
[  30 10 10 14 19 19 39
]  10 50 50 54 59 59 19
]  10 30 30 34 39 39 19
{  60 40 32 33 14 14 35 37 49 69
{  50 31 33 05 05 36 38 59
{  30 20 22 23 14 14 25 26 28 39
}  10 30 42 43 64 64 45 47 39 19
}  10 31 33 65 65 36 38 19
}  10 20 22 23 34 34 25 26 28 19
!  40 35 | 38 29
!  30 36 | 38 39
?  02 10 40 62 43 35 36 | 38 39
?  02 20 41 53 35 | 38 39
#  30 25 19 | 60 55 49 | 03 73 | 06 76
#  20 29 | 60 69 | 03 93 | 06 96
&  79 45 22 20 40 42 24 06 08 29 49 75
&  99 67 34 21 40 51 33 15 07 29 58 85
%  20 02 23 42 20 | 80 54 09 | 66 57 69 87 66
%  30 11 13 33 42 30 | 80 45 09 | 75 66 68 88 97 75
*  40 48 | 12 76 | 72 16
divide  04 84 | 40 41 | 47 48
dots  05 06 | 45 46 | 85 86
dots  15 16 | 45 46 | 75 76
sqrt  05 14 19 19 24 30 30 60 90
sqrt  07 16 29 29 34 40 40 60 90
sqrt  06 15 19 19 15 10 10 50 90
sum  71 70 40 00 00 22 44 44 26 09 09 49 79 78
sum  60 30 00 00 23 35 35 17 09 09 39 69
sum  70 40 00 00 22 34 34 16 08 08 38 88
integral  62 51 40 32 34 36 38 29 18 07
integral  51 40 31 34 36 38 29 18
infinity  45 24 05 26 45 64 85 66 45
infinity  64 85 66 45 23 05 26 45 64 83
element  70 40 12 05 18 49 79 | 05 65
element  61 30 03 06 39 69 | 05 75
for-all  00 24 39 39 54 70 | 14 54
for-all  00 25 49 49 64 80 | 13 63
exists  50 54 59 | 00 50 | 14 54 | 09 59
exists  00 60 | 60 65 69 | 69 09 | 05 65
"""
# Each of them alone could be a digit, but not within a word.
IN_WORDS = """
g  52 30 11 03 24 43 51 51 56 48 29 07
l  10 14 19
l  16 34 31 20 11 15 29 48
o  40 20 03 07 29 49 66 63 40
s  62 40 20 12 34 56 58 39 08
"""
WORDS = ["cos", "exp", "lim", "ln", "log", "max", "min", "sin", "tan"]
TALL, DEEP = "ilt", "gp"  # letters with ascenders, and with descenders


def _ways(table: str) -> dict[str, list[str]]:
    """Return the variants in a table, by the sign that begins their row."""
    ways: dict[str, list[str]] = {}
    for row in table.strip().splitlines():
        sign, way = row.split(maxsplit=1)
        ways.setdefault(sign, []).append(way)
    return ways


WAYS = _ways(TABLE)
LETTERS = WAYS | _ways(IN_WORDS)
SIGNS = [*WAYS, *WORDS]


def write(sign: str, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return the strokes of a letter, a sign or a word in random handwriting.

    Parameters
    ----------
    sign : str
        One of `SIGNS`.
    rng : numpy Generator
        Draws the variant and the handwriting.

    Returns
    -------
    list of float64 arrays (P, 2)
        The strokes in the order written: x right and y down.
    """
    if sign in WAYS:
        return follow(WAYS[sign][rng.integers(len(WAYS[sign]))], rng)
    strokes, x = [], 0.0
    for letter in sign:
        ways = LETTERS[letter]
        points = follow(ways[rng.integers(len(ways))], rng)
        everything = np.concatenate(points)
        low, high = everything.min(axis=0), everything.max(axis=0)
        # A letter without ascender or descender is 1 high and stands on y = 0.
        height = rng.uniform(0.8, 1.2) * (1.7 if letter in TALL + DEEP else 1)
        foot = 0.7 if letter in DEEP else 0
        scale = height / (high - low)[1]
        strokes += [(p - (low[0], high[1])) * scale + (x, foot) for p in points]
        x += (high - low)[0] * scale + rng.uniform(-0.1, 0.4)
    return strokes


def signs(seed: int, stream: int, count: int) -> NDArray[np.uint8]:
    """Return images of letters, signs and words, normalized like MNIST's digits.

    Parameters
    ----------
    seed, stream, count : int
        The images are a function of these alone.

    Returns
    -------
    uint8 array (count, 28, 28)
        255 = ink. Each sign equally often, as far as `count` allows, in random order.
    """
    # The third number separates this stream from other uses of the seed.
    rng = np.random.default_rng([seed, stream, 4])
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for i, which in enumerate(rng.permutation(np.arange(count) % len(SIGNS)).tolist()):
        images[i] = drawn(write(SIGNS[which], rng), rng)
    return images
