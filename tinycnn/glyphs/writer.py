"""Digits written by code, stroke by stroke, in the ways people write them.

MNIST is American handwriting. Elsewhere a 1 has a flag or a foot, a 7 a bar, a 4 an
open top, a 9 a tail. Each way is a row of a table, behind its digit; chance makes a
hand of it: shape, slant and breadth, a tremor, a pen that hurries round the corners.

A row can be followed with a finger. Two numerals are a place on a grid of 10×10, first
x (rightwards), then y (downwards); the pen goes from place to place in a smooth line; a
place given twice is a corner; ``|`` lifts the pen. So ``00 60 60 29`` is a 7: along the
top, a sharp corner, down to the left.

It knows how a pen moves. It does not know MNIST, other deformations or networks.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinycnn.ink.normalize import PEN, SIDE, normalize_strokes

TABLE = """
0  40 20 03 06 29 49 66 63 40
0  30 02 07 39 58 65 61 40 20 11
0  50 30 11 03 06 18 39 58 66 63 52 41
0  42 41 20 03 06 29 49 66 62 40 20
0  20 41 54 57 39 18 05 02 20 42 44
0  01 31 61 74 68 49 28 25 42
0  40 20 03 06 29 49 66 63 40 | 61 08
1  30 39
1  50 19
1  03 30 30 39
1  05 40 40 49
1  07 40 40 39
1  08 50 50 58
1  04 22 40 40 29
1  05 25 40 40 49
1  06 26 44 50 50 59
1  08 38 46 50 50 59
1  16 23 30 30 29
1  13 30 30 39 | 09 69
1  05 40 40 49 | 19 79
1  06 24 50 50 38
1  04 12 50 50 29
1  25 40 40 39
1  07 15 60 60 49
1  03 40 40 29
1  04 50 50 39
1  05 23 60 60 38
1  03 21 30 30 28
1  04 31 40 40 38
1  03 14 23 40 40 49
1  02 13 22 30 30 29
1  05 30 30 39 | 09 69
1  14 40 40 49 | 19 79
1  04 23 30 38 | 09 59
1  30 39 | 09 69
2  02 20 40 52 44 09 09 69
2  02 20 41 53 36 19 08 17 38 69
2  12 20 41 43 26 09 18 07 27 49 79
2  02 20 51 53 36 09 38 59 68
2  00 50 50 09 09 69
2  02 11 60 60 09 09 69
2  12 22 21 20 40 52 44 09 09 69
2  23 12 20 40 52 44 18 07 16 28 59 78
2  32 13 11 30 51 53 36 08 08 39 58 77
2  22 30 42 35 08 08 88
2  04 22 40 51 36 38 59
2  21 40 51 53 27 09 06 15 37 59 77
2  13 11 30 51 53 35 09 09 69
2  31 12 22 30 41 43 26 09 09 59
2  32 23 12 10 30 41 34 17 08 28 49 67
2  33 12 11 30 52 44 27 18 07 17 38 59 78
2  32 22 11 30 41 43 36 08 17 28 49
3  01 20 41 53 34 24 24 44 66 58 39 08
3  00 50 50 24 24 55 67 49 19 08
3  01 50 52 34 55 67 49 29 08
3  11 30 52 43 24 14 24 45 67 49 19 07
3  02 20 40 52 44 34 33 44 56 58 39 09
3  23 12 20 41 52 34 34 56 58 39 08
3  01 30 51 35 35 46 48 29 18
3  22 20 41 33 14 14 45 67 49 19 07
4  20 05 06 56 | 44 49
4  20 06 06 76 | 53 59
4  20 05 05 75 | 60 49
4  40 06 06 66 | 40 49
4  50 04 04 54 54 50 50 59
4  30 06 06 66 | 44 49
4  40 06 06 46 53 53 49
4  10 05 05 45 53 53 49
4  20 07 07 35 46 49
4  20 07 17 35 44 44 49
4  00 04 15 35 53 60 60 59
4  10 04 15 55 | 60 59
4  20 05 06 36 | 40 38
4  20 05 15 45 | 41 49
4  10 05 26 46 51 51 48 39
4  20 16 07 36 45 45 39
4  30 16 07 37 54 45 39
4  30 07 46 | 44 49
5  60 10 10 04 04 33 55 67 49 19 08
5  10 04 04 33 55 67 49 19 08 | 10 60
5  20 14 14 34 56 48 29 09 | 30 90
5  60 20 12 14 43 66 58 39 08
5  00 04 04 44 57 49 09 | 00 50
5  60 20 20 14 35 57 39 09
5  60 10 10 04 04 43 65 67 49 28 07 05
5  90 20 20 13 13 64 76 58 19 08
5  40 20 11 13 34 46 48 29 08
5  70 30 21 13 24 55 57 39 08
6  51 30 12 05 07 29 49 67 65 44 25 07
6  50 05 07 29 49 67 55 35 07
6  50 13 07 29 49 67 55 35 26
6  40 12 06 09 39 58 56 36 18
6  10 05 08 29 49 67 55 25 06
6  30 14 08 39 48 46 26 08
6  50 33 17 19 39 47 46 26 05
6  60 30 02 05 07 29 49 66 54 33 05
6  53 41 20 03 06 29 49 67 55 34 06
6  40 13 06 18 39 58 66 45 25 07
6  40 16 08 29 49 67 55 35 16
7  00 60 60 29
7  02 60 60 29
7  04 01 10 60 60 29
7  13 10 60 60 39
7  03 11 20 41 60 60 19
7  00 60 60 29 | 15 65
7  02 00 00 60 60 29 | 15 65
7  00 60 60 35 29
7  01 20 41 60 60 35 29 | 05 65
7  02 10 30 51 53 35 29 | 16 66
7  20 60 60 29 | 05 75
7  00 50 50 49
7  00 50 50 49 | 25 75
7  02 00 40 51 34 29 | 06 66
7  03 11 20 50 51 25 09 | 15 55
7  03 11 20 40 51 35 29 | 15 65
8  51 30 11 03 34 56 67 49 29 07 16 35 53 51
8  62 40 20 02 24 45 66 58 39 19 07 25 43 70
8  60 30 11 13 45 57 39 18 26 52 60
8  50 30 12 24 47 39 18 26 60
8  30 11 03 24 43 51 30 | 34 05 08 29 49 67 55 34
8  34 11 30 51 34 06 29 67 34
8  11 30 51 53 34 06 08 39 58 56 34 12 20
8  03 43 61 40 21 33 56 48 28 17 25 44
8  41 30 21 32 44 66 58 29 07 16 24 41
8  04 34 56 58 39 28 36 44 52 41 30 32 44
8  02 14 44 57 48 29 18 26 42 40 31 23 44
8  60 30 11 12 34 56 58 39 18 27 54 70
9  52 30 11 03 24 43 51 51 59
9  60 30 02 04 25 44 61 61 59
9  61 30 02 04 25 44 61 65 48 19
9  50 20 02 04 25 44 51 55 39 08
9  52 30 11 03 24 43 51 51 66 58 29 07
9  61 40 21 12 24 44 62 61 66 59 29 08
9  50 30 11 13 34 53 61 67 49 19 08
9  50 30 12 23 42 50 50 19
9  41 20 12 24 43 53 56 48 19 07
9  33 42 30 11 13 34 55 67 49 09
9  40 20 11 13 33 42 40 67 67 09
9  21 20 40 32 23 11 30 50 66 58 29 08
9  52 40 20 03 15 34 52 51 59
9  41 20 12 23 42 41 65 67 49 08
9  42 30 11 13 33 42 44 66 58 39 08 07
9  51 40 21 22 33 52 51 54 66 58 29 08 06
9  52 41 20 12 23 43 51 55 48 29 08
9  42 30 21 23 33 42 52 46 28 09
9  41 20 11 22 41 54 57 39 08
9  31 20 10 12 32 41 54 66 58 39 07
9  40 20 11 12 32 41 56 58 39 18 07
9  50 20 12 23 41 50 19
9  60 30 22 33 51 60 09
"""
WAYS = {
    digit: [row[3:] for row in TABLE.splitlines() if row.startswith(str(digit))]
    for digit in range(10)
}
STEPS = 3  # points of the line from place to place
# Makes the 10×10 places of the grid move as 4×4 of them do, the others in between.
SPREAD = np.maximum(1 - abs(np.arange(10)[:, None] / 3 - np.arange(4)), 0)  # (10, 4)


def write(digit: int, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Write a digit as some hand might.

    Parameters
    ----------
    digit : int
        0 to 9.
    rng : numpy Generator
        Draws the way it is written and all that differs from hand to hand.

    Returns
    -------
    list of float64 arrays (P, 2)
        Its strokes in the order written: x right and y down, about 9 units tall.
    """
    return follow(WAYS[digit][rng.integers(len(WAYS[digit]))], rng)


def follow(way: str, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Follow a row of a table as some hand might.

    Parameters
    ----------
    way : str
        Places, corners and lifts of the pen, as told above.
    rng : numpy Generator
        Draws all that differs from hand to hand.

    Returns
    -------
    list of float64 arrays (P, 2)
        Its strokes, as `write` returns them.
    """
    # A place moves alike for all strokes that go through it, so that they still meet.
    shape = SPREAD @ rng.normal(0, 0.6, (2, 4, 4)) @ SPREAD.T
    shape += rng.normal(0, 0.15, (2, 10, 10))
    # A loop that is narrower than that is no loop any more.
    breadth = max(np.exp(rng.normal(0.05, 0.2)), 0.75)
    angle = rng.normal(0, 0.1)
    slant, hurry = rng.normal(-0.1, 0.25), rng.uniform(0, 1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    hand = np.array([[breadth, 0], [slant, 1]]) @ turn
    strokes = []
    for stroke in _strokes(way):
        x, y = stroke.places.T
        points = stroke.places + shape[:, y, x].T
        points += rng.normal(0, 0.3, 2)  # the pen comes down a little off
        points[[0, -1]] += rng.normal(0, 0.5, (2, 2))  # and is early or late
        line = (stroke.line + hurry * stroke.rounding) @ (points @ hand)
        strokes.append(line + rng.normal(0, 0.04, line.shape))
    return strokes


def written(
    seed: int, stream: int, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Write many digits and draw them as MNIST's are.

    Parameters
    ----------
    seed, stream, count : int
        What is written is a function of these alone.

    Returns
    -------
    images : uint8 array (count, 28, 28)
        255 = ink.
    labels : uint8 array (count,)
        Every digit equally often, as far as `count` allows, in random order.
    """
    hands = Hands(seed, stream, count)
    return hands[:], hands.labels


class Hands:
    """Digits written by code; each is drawn when it is first asked for.

    Drawing takes most of the time. So a run that wants thousands need not wait for them
    before its first step.

    Parameters
    ----------
    seed, stream, count : int
        As `written` has them.

    Attributes
    ----------
    labels : uint8 array (count,)
    """

    def __init__(self, seed: int, stream: int, count: int) -> None:
        # The third number keeps this stream apart from those of order and deformation.
        rng = np.random.default_rng([seed, stream, 2])
        self.labels = rng.permutation(np.arange(count) % 10).astype(np.uint8)
        self._written = [
            (write(digit, rng), _some_pen(rng)) for digit in self.labels.tolist()
        ]
        self._images = np.empty((count, SIDE, SIDE), np.uint8)
        self._drawn = np.zeros(count, bool)

    def __getitem__(self, chosen: Any) -> NDArray[np.uint8]:
        """Return images (N, 28, 28), 255 = ink, chosen by a slice or by numbers."""
        wanted = np.arange(len(self.labels))[chosen]
        for i in wanted[~self._drawn[wanted]].tolist():
            self._images[i] = _image(*self._written[i])
            self._drawn[i] = True
        images: NDArray[np.uint8] = self._images[wanted]
        return images


class WithHands:
    """Images, and behind them digits written by code, chosen as from one array.

    Parameters
    ----------
    images : uint8 array (N, 28, 28)
    hands : Hands
    """

    def __init__(self, images: NDArray[np.uint8], hands: Hands) -> None:
        self._images, self._hands = images, hands

    def __len__(self) -> int:
        return len(self._images) + len(self._hands.labels)

    def __getitem__(self, chosen: Any) -> NDArray[np.uint8]:
        """Return images (N, 28, 28), chosen by a slice or by their numbers."""
        wanted = np.arange(len(self))[chosen]
        by_code = wanted >= len(self._images)
        result = np.empty((len(wanted), SIDE, SIDE), np.uint8)
        result[~by_code] = self._images[wanted[~by_code]]
        result[by_code] = self._hands[wanted[by_code] - len(self._images)]
        return result


def drawn(
    strokes: list[NDArray[np.float64]], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw strokes as MNIST's digits are, with some pen.

    Parameters
    ----------
    strokes : list of float arrays (P, 2)
        In any unit.
    rng : numpy Generator
        Draws the width of the pen.

    Returns
    -------
    uint8 array (28, 28)
        255 = ink.
    """
    return _image(strokes, _some_pen(rng))


def _some_pen(rng: np.random.Generator) -> float:
    """Return the width of a pen that somebody might write with."""
    return PEN * rng.uniform(0.7, 1.3)


def _image(strokes: list[NDArray[np.float64]], pen: float) -> NDArray[np.uint8]:
    """Return strokes as MNIST's digits are drawn."""
    return np.rint(255 * normalize_strokes(strokes, pen)).astype(np.uint8)


class _Stroke(NamedTuple):
    """One stroke of a way: what chance leaves alone."""

    places: NDArray[np.int64]  # (K, 2)
    line: NDArray[np.float64]  # (P, K): makes of places the line with its corners
    rounding: NDArray[np.float64]  # (P, K): added, it rounds them as a fast pen does


@cache
def _strokes(way: str) -> list[_Stroke]:
    """Return the strokes of a way."""
    strokes = []
    for text in way.split("|"):
        places = np.array([[int(place[0]), int(place[1])] for place in text.split()])
        line = _smooth_line(places)
        # A mean of the neighbours along the line, fewer of them towards its ends.
        index = np.arange(len(line))
        reach = np.minimum(np.minimum(index, index[::-1]), STEPS)[:, None]
        near = np.maximum(1 + reach - abs(index[:, None] - index), 0)
        mean = near / near.sum(axis=1, keepdims=True)
        strokes.append(_Stroke(places, line, mean @ line - line))
    return strokes


def _smooth_line(places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the matrix (P, K) of Catmull-Rom splines from corner to corner."""
    basis = [[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]
    t = np.arange(STEPS)[:, None] / STEPS
    weights = t ** np.arange(4) @ basis / 2  # (STEPS, 4)
    each = np.eye(len(places))
    corners = np.flatnonzero((places[1:] == places[:-1]).all(axis=1)) + 1
    rows = []
    for piece in np.split(each, corners):
        # Beyond its ends a piece would go straight on.
        first, last = 2 * piece[0] - piece[1], 2 * piece[-1] - piece[-2]
        padded = np.vstack([first, piece, last])
        rows += [weights @ padded[i : i + 4] for i in range(len(piece) - 1)]
        rows.append(piece[-1:])
    return np.vstack(rows)
