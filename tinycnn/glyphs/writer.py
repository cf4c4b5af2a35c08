"""Digits, letters and signs drawn by code, stroke by stroke, as people write them.

MNIST is American handwriting. Elsewhere a 1 has a flag or a foot, a 7 a bar, a 4 an
open top, a 9 a tail. Each variant is a row of a table, behind its name; a random shape,
slant, breadth, tremor and rounding of corners make it handwriting. digits.txt has the
digits, signs.txt letters and mathematical signs that could not be read as digits,
words.txt letters that could be, but not within a word.

Two numerals are a point on a grid of 10×10, first x (right), then y (down). The pen
moves through the points in a smooth line; a point given twice is a corner; ``|`` lifts
the pen. So ``00 60 60 29`` is a 7: along the top, a sharp corner, down to the left.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinycnn.ink.normalize import PEN, SIDE, normalize_strokes


def _table(name: str) -> dict[str, list[str]]:
    """Return the variants in a file beside this one, by what begins their rows.

    Rows that begin with ``--`` are comments.
    """
    found: dict[str, list[str]] = {}
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    for row in text.splitlines():
        name, way = row.split(maxsplit=1)
        if name != "--":
            found.setdefault(name, []).append(way)
    return found


WORDS = ["cos", "exp", "lim", "ln", "log", "max", "min", "sin", "tan"]
TALL, DEEP = "ilt", "gp"  # letters with ascenders, and with descenders
DIGITS = list("0123456789")
SIGNS = [*_table("signs.txt"), *WORDS]  # letters, signs and words
WAYS = _table("digits.txt") | _table("signs.txt") | _table("words.txt")
STEPS = 3  # points of the line from one point of the grid to the next
# Interpolates shifts of 4×4 points to all 10×10 points of the grid.
SPREAD = np.maximum(1 - abs(np.arange(10)[:, None] / 3 - np.arange(4)), 0)  # (10, 4)


def write(name: str, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return the strokes of a digit, a letter, a sign or a word in random handwriting.

    Parameters
    ----------
    name : str
        One of `WAYS`, or a word of them.
    rng : numpy Generator
        Draws the variants and the handwriting.

    Returns
    -------
    list of float64 arrays (P, 2)
        The strokes in the order written: x right and y down. A digit is about 9 units
        tall; in a word a letter without ascender or descender is about 1 tall and
        stands on y = 0.
    """
    if name in WAYS:
        return _follow(WAYS[name][rng.integers(len(WAYS[name]))], rng)
    strokes, x = [], 0.0
    for letter in name:
        points = write(letter, rng)
        everything = np.concatenate(points)
        low, high = everything.min(axis=0), everything.max(axis=0)
        height = rng.uniform(0.8, 1.2) * (1.7 if letter in TALL + DEEP else 1)
        foot = 0.7 if letter in DEEP else 0
        scale = height / (high - low)[1]
        strokes += [(p - (low[0], high[1])) * scale + (x, foot) for p in points]
        x += (high - low)[0] * scale + rng.uniform(-0.1, 0.4)
    return strokes


def _follow(way: str, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return the strokes of a variant, a row of a table, in random handwriting."""
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
    names: Sequence[str], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images of random handwriting with random pens, normalized like MNIST's.

    Parameters
    ----------
    names : sequence of str
        What to write: see `write`.
    count : int
    rng : numpy Generator
        Draws the order, the handwriting and the width of the pen.

    Returns
    -------
    images : uint8 array (count, 28, 28)
        255 = ink.
    labels : uint8 array (count,)
        Indices of names; each equally often, as far as `count` allows, in random order.
    """
    labels = rng.permutation(np.arange(count) % len(names)).astype(np.uint8)
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        strokes, pen = write(names[label], rng), PEN * rng.uniform(0.7, 1.3)
        image[:] = np.rint(255 * normalize_strokes(strokes, pen))
    return images, labels


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
