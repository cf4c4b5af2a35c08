"""Digits drawn by code, stroke by stroke, in variants that MNIST lacks.

MNIST is American handwriting. Elsewhere a 1 has a flag or a foot, a 7 a bar, a 4 an
open top, a 9 a tail. Each variant is a row of a table, behind its digit; random shape,
slant, breadth, tremor and rounding of corners make it handwriting.

Two numerals are a point on a grid of 10×10, first x (right), then y (down). The pen
moves through the points in a smooth line; a point given twice is a corner; ``|`` lifts
the pen. So ``00 60 60 29`` is a 7: along the top, a sharp corner, down to the left.
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
STEPS = 3  # points of the line from one point of the grid to the next
# Interpolates shifts of 4×4 points to all 10×10 points of the grid.
SPREAD = np.maximum(1 - abs(np.arange(10)[:, None] / 3 - np.arange(4)), 0)  # (10, 4)


def write(digit: int, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return the strokes of a digit in random handwriting.

    Parameters
    ----------
    digit : int
        0 to 9.
    rng : numpy Generator
        Draws the variant and the handwriting.

    Returns
    -------
    list of float64 arrays (P, 2)
        The strokes in the order written: x right and y down, about 9 units tall.
    """
    return follow(WAYS[digit][rng.integers(len(WAYS[digit]))], rng)


def follow(way: str, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return the strokes of a variant in random handwriting.

    Parameters
    ----------
    way : str
        Its row of a table, in the notation above.
    rng : numpy Generator
        Draws the handwriting.

    Returns
    -------
    list of float64 arrays (P, 2)
        See `write`.
    """
    # A point moves alike for all strokes that go through it, so that they still meet.
    shape = SPREAD @ rng.normal(0, 0.6, (2, 4, 4)) @ SPREAD.T
    shape += rng.normal(0, 0.15, (2, 10, 10))
    # Narrower loops would close.
    breadth = max(np.exp(rng.normal(0.05, 0.2)), 0.75)
    angle = rng.normal(0, 0.1)
    slant, hurry = rng.normal(-0.1, 0.25), rng.uniform(0, 1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    hand = np.array([[breadth, 0], [slant, 1]]) @ turn
    strokes = []
    for stroke in _strokes(way):
        x, y = stroke.grid.T
        points = stroke.grid + shape[:, y, x].T
        points += rng.normal(0, 0.3, 2)  # where the pen is put down
        points[[0, -1]] += rng.normal(0, 0.5, (2, 2))  # where it starts and ends
        line = (stroke.line + hurry * stroke.rounding) @ (points @ hand)
        strokes.append(line + rng.normal(0, 0.04, line.shape))
    return strokes


def written(
    seed: int, stream: int, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images of digits in random handwriting, normalized like MNIST's.

    Parameters
    ----------
    seed, stream, count : int
        The images are a function of these alone.

    Returns
    -------
    images : uint8 array (count, 28, 28)
        255 = ink.
    labels : uint8 array (count,)
        Each digit equally often, as far as `count` allows, in random order.
    """
    glyphs = LazyGlyphs(seed, stream, count)
    return glyphs[:], glyphs.labels


class LazyGlyphs:
    """The images of `written`, each of which is drawn when it is first indexed.

    Drawing takes most of the time; training starts without waiting for all of them.

    Parameters
    ----------
    seed, stream, count : int
        See `written`.

    Attributes
    ----------
    labels : uint8 array (count,)
    """

    def __init__(self, seed: int, stream: int, count: int) -> None:
        # The third number separates this stream from those of order and deformation.
        rng = np.random.default_rng([seed, stream, 2])
        self.labels = rng.permutation(np.arange(count) % 10).astype(np.uint8)
        self._strokes = [
            (write(digit, rng), _some_pen(rng)) for digit in self.labels.tolist()
        ]
        self._images = np.empty((count, SIDE, SIDE), np.uint8)
        self._drawn = np.zeros(count, bool)

    def __getitem__(self, chosen: Any) -> NDArray[np.uint8]:
        """Return images (N, 28, 28), 255 = ink, for a slice or an array of indices."""
        wanted = np.arange(len(self.labels))[chosen]
        for i in wanted[~self._drawn[wanted]].tolist():
            self._images[i] = _image(*self._strokes[i])
            self._drawn[i] = True
        images: NDArray[np.uint8] = self._images[wanted]
        return images


class Concatenated:
    """Images followed by lazily drawn ones, indexed like one array.

    Parameters
    ----------
    images : uint8 array (N, 28, 28)
    glyphs : LazyGlyphs
    """

    def __init__(self, images: NDArray[np.uint8], glyphs: LazyGlyphs) -> None:
        self._images, self._glyphs = images, glyphs

    def __len__(self) -> int:
        return len(self._images) + len(self._glyphs.labels)

    def __getitem__(self, chosen: Any) -> NDArray[np.uint8]:
        """Return images (N, 28, 28) for a slice or an array of indices."""
        wanted = np.arange(len(self))[chosen]
        by_code = wanted >= len(self._images)
        result = np.empty((len(wanted), SIDE, SIDE), np.uint8)
        result[~by_code] = self._images[wanted[~by_code]]
        result[by_code] = self._glyphs[wanted[by_code] - len(self._images)]
        return result


def drawn(
    strokes: list[NDArray[np.float64]], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the image of strokes, normalized like MNIST's, with a random pen.

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
    """Return a random pen width in pixels of the box."""
    return PEN * rng.uniform(0.7, 1.3)


def _image(strokes: list[NDArray[np.float64]], pen: float) -> NDArray[np.uint8]:
    """Return the image of strokes drawn with a pen."""
    return np.rint(255 * normalize_strokes(strokes, pen)).astype(np.uint8)


class _Stroke(NamedTuple):
    """One stroke of a variant, without randomness."""

    grid: NDArray[np.int64]  # (K, 2), its points on the grid
    line: NDArray[np.float64]  # (P, K), maps them to a line with sharp corners
    rounding: NDArray[np.float64]  # (P, K), added to round corners as a fast pen does


@cache
def _strokes(way: str) -> list[_Stroke]:
    """Return the strokes of a variant."""
    strokes = []
    for text in way.split("|"):
        grid = np.array([[int(point[0]), int(point[1])] for point in text.split()])
        line = _smooth_line(grid)
        # The mean of neighbours along the line, fewer of them towards its ends.
        index = np.arange(len(line))
        reach = np.minimum(np.minimum(index, index[::-1]), STEPS)[:, None]
        near = np.maximum(1 + reach - abs(index[:, None] - index), 0)
        mean = near / near.sum(axis=1, keepdims=True)
        strokes.append(_Stroke(grid, line, mean @ line - line))
    return strokes


def _smooth_line(grid: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the matrix (P, K) of Catmull-Rom splines from corner to corner."""
    basis = [[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]
    t = np.arange(STEPS)[:, None] / STEPS
    weights = t ** np.arange(4) @ basis / 2  # (STEPS, 4)
    each = np.eye(len(grid))
    corners = np.flatnonzero((grid[1:] == grid[:-1]).all(axis=1)) + 1
    rows = []
    for piece in np.split(each, corners):
        # Each piece is extended straight beyond its ends.
        first, last = 2 * piece[0] - piece[1], 2 * piece[-1] - piece[-2]
        padded = np.vstack([first, piece, last])
        rows += [weights @ padded[i : i + 4] for i in range(len(piece) - 1)]
        rows.append(piece[-1:])
    return np.vstack(rows)
