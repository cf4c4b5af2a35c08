"""One digit becomes a 28×28 image, as the makers of MNIST made theirs.

The rule is that of ``making_qmnist/xnist.lsh`` in ``facebookresearch/qmnist``: the
tight box of the ink, padded to a square (never stretched), averaged down to 20×20,
scaled so that the strongest pixel is 1, and shifted by whole pixels so that the centre
of mass lies in the pixel of index 14. Here the padding is a whole number of the 20
cells, so that an MNIST image goes through unchanged at whatever size it is given.

Strokes do better than pictures of strokes: their points are scaled first and then drawn
with one pen, so that a thick brush and a small digit look like any other. They are
drawn on a grid 16 times finer and moved on it until the centre of mass is the middle of
that pixel. So nothing is rounded that could be seen, and ink that moves a little
changes the image a little: one screen counts other pixels than another.

The pen is MNIST's: its training images have 102.5 pixels of ink in the mean, and the
digits of UCI pendigits have 102.8 with this pen, 99.5 with 2.4 and 106.1 with 2.6
(``python -m benchmarks.strokes FOLDER --pens 2.4 2.6``).

It does not know where the digit came from, nor any network.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinycnn.ink.strokes import draw_finely

SIDE = 28  # of the image
BOX = 20  # of the square that the digit fills
CENTRE = 14  # the pixel that holds the centre of mass
PEN = 2.5  # pixels of the box; measured, see above
FINENESS = 16  # the grid on which strokes are drawn and moved
HALF = 0.5001  # rounds halves up, whatever the last bits of a sum
FAINT = 0.05  # softer than this is no edge of a digit: it would widen the tight box


def normalize(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the 28×28 image of one digit's ink.

    Parameters
    ----------
    values : float32 array (H, W)
        In [0, 1], 1 = ink; nothing but this digit.

    Returns
    -------
    float32 array (28, 28)
        All 0 where there is no ink.
    """
    ink = values > FAINT
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if len(rows) == 0:
        return np.zeros((SIDE, SIDE), np.float32)
    tight = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(tight.shape)
    down, across = (_averages(length, side) for length in tight.shape)
    return _centred(down @ tight @ across.T)


def normalize_strokes(
    points: Sequence[NDArray[np.float64]], pen: float = PEN
) -> NDArray[np.float32]:
    """Return the 28×28 image of one digit's strokes, drawn with MNIST's pen.

    Parameters
    ----------
    points : sequence of float arrays (P, 2)
        Strokes in the order drawn, x right and y down, in any unit.
    pen : float
        Its width in pixels of the box.

    Returns
    -------
    float32 array (28, 28)
        All 0 where there is no stroke.
    """
    if not points:
        return np.zeros((SIDE, SIDE), np.float32)
    fine = fill_box(points, pen)
    image = Image.new("L", (SIDE * FINENESS, SIDE * FINENESS))
    x, y = corner(fine)
    image.paste(fine, (round(x * FINENESS), round(y * FINENESS)))
    values = np.asarray(image.reduce(FINENESS), np.float32)
    values /= values.max()
    return values


def fit(
    points: Sequence[NDArray[np.float64]], pen: float = PEN
) -> tuple[float, NDArray[np.float64]]:
    """Return how strokes are scaled, then moved, to fill the box with their ink.

    Parameters
    ----------
    points, pen
        As `normalize_strokes` has them; at least one stroke.

    Returns
    -------
    scale : float
    move : float64 array (2,)
        In pixels of the box.
    """
    everything = np.concatenate(points)
    low, high = everything.min(axis=0), everything.max(axis=0)
    side = float((high - low).max())
    scale = (BOX - pen) / side if side > 0 else 1.0
    return scale, BOX / 2 - scale * (low + high) / 2


def fill_box(points: Sequence[NDArray[np.float64]], pen: float = PEN) -> Image.Image:
    """Return the box with strokes in it, drawn on the fine grid.

    Parameters
    ----------
    points, pen
        As `normalize_strokes` has them; at least one stroke.

    Returns
    -------
    PIL.Image.Image
        `BOX` times `FINENESS` pixels a side, grey, 255 = ink.
    """
    scale, move = fit(points, pen)
    scaled = [stroke * scale + move for stroke in points]
    return draw_finely(scaled, [pen] * len(scaled), (BOX, BOX), FINENESS)


def corner(fine: Image.Image) -> tuple[float, float]:
    """Return where the corner of the box goes in the image: x and y, in its pixels.

    Parameters
    ----------
    fine : PIL.Image.Image
        From `fill_box`.
    """
    box = np.asarray(fine.reduce(FINENESS), np.float64)
    centre = np.array([box.sum(axis=0), box.sum(axis=1)]) @ np.arange(BOX) / box.sum()
    # The box is never cut, however lopsided the digit.
    x, y = np.clip(CENTRE - centre, 0, SIDE - BOX)
    return round(x * FINENESS) / FINENESS, round(y * FINENESS) / FINENESS


def _averages(length: int, side: int) -> NDArray[np.float32]:
    """Return the (20, length) matrix that averages a padded axis of `side` to 20.

    Its entry [i, j] is the share of cell i that pixel j covers. Ink of the shorter axis
    lies in the middle of the square, but for less than a cell.
    """
    padding = (side - length) * BOX // (2 * side)  # cells
    edges = (np.arange(BOX + 1) - padding) * (side / BOX)
    left = np.maximum(edges[:-1, None], np.arange(length))
    right = np.minimum(edges[1:, None], np.arange(1, length + 1))
    covered: NDArray[np.float64] = np.maximum(right - left, 0) * (BOX / side)
    return covered.astype(np.float32)


def _centred(box: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return the 20×20 box at its place in the 28×28 image, its strongest pixel 1."""
    image = np.zeros((SIDE, SIDE), np.float32)
    total = box.sum()
    if total > 0:
        cells = np.arange(BOX)
        masses = box.sum(axis=1), box.sum(axis=0)
        # A symmetric digit's centre is halfway between two pixels: HALF is the same
        # way for all of them. The box is never cut, however lopsided the digit.
        y, x = (
            int(np.clip(np.floor(CENTRE - mass @ cells / total + HALF), 0, SIDE - BOX))
            for mass in masses
        )
        image[y : y + BOX, x : x + BOX] = box / box.max()
    return image
