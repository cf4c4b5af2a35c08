"""Digits written by code, stroke by stroke, in the ways people write them.

MNIST is American handwriting. Elsewhere a 1 has a flag or a foot, a 7 a bar, a 4 an
open top, a 9 a tail. Each way is a line in a table below; chance makes a hand of it:
another shape, slant and breadth, a tremor, a pen that hurries round the corners.

It knows how a pen moves. It does not know MNIST, other deformations or networks.

A way is a text that can be followed with a finger. Two numerals are a point, first x
(rightwards), then y (downwards), each from 0 to 9; the pen goes through the points in a
smooth line; a point given twice is a corner; ``|`` lifts the pen. So ``00 60 60 29`` is
a 7: along the top, sharp corner, down to the left.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tinycnn.ink.normalize import BOX, PEN, SIDE, normalize
from tinycnn.ink.strokes import draw

WAYS: tuple[dict[str, float], ...] = (  # of each digit, and how often against the rest
    {  # 0
        "40 20 03 06 29 49 66 63 40": 3,
        "30 02 07 39 58 65 61 40 20 11": 2,
        "50 30 11 03 06 18 39 58 66 63 52 41": 2,
        "30 51 63 66 58 39 18 06 02 30": 1,
        "42 41 20 03 06 29 49 66 62 40 20": 1,
        "20 41 54 57 39 18 05 02 20 42 44": 1,
        "02 22 51 64 58 39 18 15 23 41": 1,
        "40 20 03 06 29 49 66 63 40 | 61 08": 1,
    },
    {  # 1
        "30 39": 2,
        "50 19": 1,
        "03 30 30 39": 2,
        "05 40 40 49": 2,
        "07 40 40 39": 2,
        "08 50 50 58": 1,
        "04 22 40 40 29": 2,
        "05 25 40 40 49": 2,
        "06 26 44 50 50 59": 1,
        "08 38 46 50 50 59": 1,
        "16 23 30 30 29": 2,
        "13 30 30 39 | 09 69": 2,
        "05 40 40 49 | 19 79": 1,
        "30 39 | 09 69": 1,
        "10 50 | 40 29 | 09 59": 0.5,
    },
    {  # 2
        "02 20 40 52 44 09 09 69": 2,
        "02 20 41 53 36 19 08 17 38 69": 2,
        "12 20 41 43 26 09 18 07 27 49 79": 1,
        "02 20 51 53 36 09 38 59 68": 1,
        "00 50 50 09 09 69": 1,
        "02 11 60 60 09 09 69": 1,
        "12 22 21 20 40 52 44 09 09 69": 1,
        "23 12 20 40 52 44 18 07 16 28 59 78": 2,
        "33 13 11 30 51 53 36 09 09 69": 1,
        "13 11 30 51 53 35 09 09 69": 1,
        "22 30 42 35 08 08 88": 1,
        "03 10 40 52 36 28 49": 1,
        "02 20 31 33 26 09 08 17 38 59 76": 1,
    },
    {  # 3
        "01 20 41 53 34 24 24 44 66 58 39 08": 3,
        "00 50 50 24 24 55 67 49 19 08": 2,
        "01 50 52 34 55 67 49 29 08": 1,
        "11 30 52 43 24 14 24 45 67 49 19 07": 1,
        "02 20 40 52 44 34 33 44 56 58 39 09": 1,
        "00 60 60 33 33 65 67 49 08": 1,
        "23 12 20 41 52 34 34 56 58 39 06": 1,
        "01 30 51 35 35 46 48 29 18": 2,
        "22 20 41 33 14 14 45 67 49 19 07": 1,
    },
    {  # 4
        "10 05 05 65 | 42 49": 2,
        "20 06 06 76 | 53 59": 2,
        "20 05 05 75 | 60 49": 2,
        "49 40 40 06 06 66": 1,
        "40 06 06 66 | 40 49": 2,
        "50 04 04 54 54 50 50 59": 1,
        "30 06 06 66 | 44 49": 2,
        "40 06 06 46 53 53 49": 2,
        "10 05 05 45 53 53 49": 1,
        "20 07 07 35 46 49": 1,
        "20 07 17 35 44 44 49": 2,
        "00 04 15 35 53 60 60 59": 2,
        "50 59 | 10 05 05 75": 1,
        "10 04 15 55 | 60 59": 2,
    },
    {  # 5
        "60 10 10 04 04 33 55 67 49 19 08": 2,
        "10 04 04 33 55 67 49 19 08 | 10 60": 3,
        "20 14 14 34 56 48 29 09 | 30 90": 1,
        "60 20 12 14 43 66 58 39 08": 2,
        "60 11 11 14 14 55 58 39 09": 1,
        "00 04 04 44 57 49 09 | 00 50": 1,
        "60 20 20 14 35 57 39 09": 1,
        "60 10 10 04 04 43 65 67 49 28 07 05": 1,
        "90 20 20 13 13 64 76 58 19 08": 1,
    },
    {  # 6
        "51 30 12 05 07 29 49 67 65 44 25 07": 2,
        "40 13 06 18 39 58 66 45 25 07": 2,
        "50 05 07 29 49 67 55 35 07": 1,
        "40 16 08 29 49 67 55 35 16": 1,
        "50 13 07 29 49 67 55 35 26": 1,
        "40 12 06 09 39 58 56 36 18": 1,
        "10 05 08 29 49 67 55 25 06": 1,
        "30 14 08 39 48 46 26 08": 1,
        "50 33 17 19 39 47 46 26 05": 2,
        "60 30 02 05 07 29 49 66 54 33 05": 1,
        "53 41 20 03 06 29 49 67 55 34 06": 1,
    },
    {  # 7
        "00 60 60 29": 2,
        "00 60 60 29 | 15 65": 3,
        "02 00 00 60 60 29": 1,
        "02 00 00 60 60 29 | 15 65": 2,
        "00 60 60 35 29": 1,
        "01 20 41 60 60 35 29": 1,
        "02 10 30 51 53 35 29 | 16 66": 2,
        "01 20 41 60 60 35 29 | 05 65": 1,
        "20 60 60 29 | 05 75": 1,
        "00 50 50 49": 1,
        "00 50 50 49 | 25 75": 1,
    },
    {  # 8
        "51 30 11 03 34 56 67 49 29 07 16 35 53 51": 3,
        "62 40 20 02 24 45 66 58 39 19 07 25 43 70": 2,
        "60 30 11 13 45 57 39 18 26 52 60": 2,
        "50 30 12 24 47 39 18 26 60": 2,
        "30 11 03 24 43 51 30 | 34 05 08 29 49 67 55 34": 1,
        "51 20 02 34 66 58 29 07 25 43 70": 1,
        "34 11 30 51 34 06 29 67 34": 1,
        "11 30 51 53 34 06 08 39 58 56 34 12 20": 1,
        "03 43 61 40 21 33 56 48 28 17 25 44": 1,
        "10 34 57 39 17 34 50 30 10": 0.5,
    },
    {  # 9
        "52 30 11 03 24 43 51 51 59": 2,
        "60 30 02 04 25 44 61 61 59": 1,
        "61 30 02 04 25 44 61 65 48 19": 2,
        "50 20 02 04 25 44 51 55 39 08": 2,
        "61 40 21 12 24 44 62 61 66 59 29 08": 2,
        "50 30 11 13 34 53 61 67 49 19 08": 2,
        "50 30 12 23 42 50 50 19": 2,
        "41 20 12 24 43 53 56 48 19 07": 2,
        "33 43 51 30 11 13 34 53 61 66 48 08": 1,
        "40 20 11 13 33 42 40 45 57 49 19 08": 1,
        "21 20 40 32 23 11 30 50 66 58 29 08": 1,
        "10 03 25 45 60 60 59": 0.5,
        "52 30 11 03 24 43 52 | 51 59": 1,
    },
)

STEPS = 4  # points of the line a point of the way
# Displacements of a 4×4 grid, spread over the 10×10 of the table: neighbours go alike.
_SPREAD = np.maximum(
    1 - abs(np.arange(10)[:, None] / 3 - np.arange(4)), 0
)  # (10, 4), bilinear
_LIKELY = [np.cumsum(list(ways.values())) / sum(ways.values()) for ways in WAYS]


def write(digit: int, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Write a digit as some hand might.

    Parameters
    ----------
    digit : int
        0 to 9.
    rng : numpy Generator
        Draws the way it is written and everything about the hand.

    Returns
    -------
    list of float64 arrays (P, 2)
        Its strokes in the order written: x right and y down, about 9 units tall.
    """
    way = list(WAYS[digit])[int(np.searchsorted(_LIKELY[digit], rng.random()))]
    # What is drawn for a place of the grid moves all strokes alike: they still meet.
    bend = _SPREAD @ rng.normal(0, 0.7, (2, 4, 4)) @ _SPREAD.T
    bend += rng.normal(0, 0.15, (2, 10, 10))
    angle, slant = rng.normal(0, 0.1), rng.normal(-0.1, 0.25)
    breadth = np.exp(rng.normal(0, 0.25))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    hand = np.array([[breadth, 0], [slant, 1]]) @ turn
    hurry = rng.uniform(0, 1)
    strokes = []
    for places, sharp, round_ in _lines(way):
        points = places + bend[:, places[:, 1], places[:, 0]].T
        points += rng.normal(0, 0.3, 2)  # the pen comes down a little off
        points[[0, -1]] += rng.normal(0, 0.5, (2, 2))  # and starts early, leaves late
        line = ((1 - hurry) * sharp + hurry * round_) @ (points @ hand)
        strokes.append(line + rng.normal(0, 0.04, line.shape))
    return strokes


@cache
def _lines(
    way: str,
) -> list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]:
    """Return for each stroke its K places on the grid and two matrices (P, K).

    The first matrix makes the line through the places, with its corners; the second
    rounds them, as a fast pen does.
    """
    lines = []
    for stroke in way.split("|"):
        places = np.array([[int(x), int(y)] for x, y in stroke.split()])
        count = len(places)
        corners = [i for i in range(1, count) if (places[i] == places[i - 1]).all()]
        bounds = [0, *corners, count]
        sharp = np.zeros((0, count))
        for first, end in zip(bounds[:-1], bounds[1:], strict=True):
            piece = _spline(end - first)
            sharp = np.concatenate(
                [sharp, np.pad(piece, ((0, 0), (first, count - end)))]
            )
        # A weighted mean of the neighbours along the line; its ends stay.
        index = np.arange(len(sharp))
        reach = np.minimum(np.minimum(index, index[::-1]), STEPS)[:, None]
        near = np.maximum(1 + reach - abs(index[:, None] - index), 0)
        lines.append((places, sharp, near / near.sum(1, keepdims=True) @ sharp))
    return lines


def _spline(count: int) -> NDArray[np.float64]:
    """Return the matrix (P, count) of a Catmull-Rom spline through `count` points."""
    t = np.arange(STEPS)[:, None] / STEPS
    weights = np.hstack(
        [
            -t + 2 * t**2 - t**3,
            2 - 5 * t**2 + 3 * t**3,
            t + 4 * t**2 - 3 * t**3,
            t**3 - t**2,
        ]
    )
    rows = np.zeros(((count - 1) * STEPS + 1, count + 2))
    for i in range(count - 1):
        rows[i * STEPS : (i + 1) * STEPS, i : i + 4] = weights / 2
    rows[-1, count] = 1
    # Before the first point and behind the last the line goes straight on.
    spline = rows[:, 1:-1].copy()
    spline[:, 0] += 2 * rows[:, 0]
    spline[:, 1] -= rows[:, 0]
    spline[:, -1] += 2 * rows[:, -1]
    spline[:, -2] -= rows[:, -1]
    return spline


def written(
    seed: int, stream: int, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Write many digits and draw them as MNIST's are: every digit equally often.

    Parameters
    ----------
    seed, stream : int
        What is written is a function of these and of `count` alone; an epoch's number
        makes a good stream.
    count : int
        Any ten in a row of digits are not one of each: their order is random.

    Returns
    -------
    images : uint8 array (count, 28, 28)
        255 = ink.
    labels : uint8 array (count,)
    """
    # The third number keeps this stream apart from those of order and deformation.
    rng = np.random.default_rng([seed, stream, 2])
    labels = rng.permutation(np.arange(count) % 10).astype(np.uint8)
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for i, digit in enumerate(labels.tolist()):
        images[i] = np.rint(255 * _drawn(write(digit, rng), PEN * rng.uniform(0.7, 1.3)))
    return images, labels


def _drawn(strokes: list[NDArray[np.float64]], pen: float) -> NDArray[np.float32]:
    """Return the 28×28 image of strokes, their pen this many pixels wide."""
    everything = np.concatenate(strokes)
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = (BOX - pen) / (high - low).max()
    scaled = [(line - (low + high) / 2) * scale + BOX / 2 for line in strokes]
    return normalize(draw(scaled, [pen] * len(scaled), (BOX, BOX)))
