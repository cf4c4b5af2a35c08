"""One digit becomes a 28×28 image by the procedure of MNIST.

The rule is that of ``making_qmnist/xnist.lsh`` in ``facebookresearch/qmnist``: the
tight box of the ink, padded to a square (never stretched), averaged down to 20×20,
scaled so that the strongest pixel is 1, and shifted by whole pixels so that the centre
of mass lies in the pixel of index 14. Here the padding is a whole number of the 20
cells, so that an MNIST image goes through unchanged at whatever size it is given.

Strokes give better images than pictures of strokes: their points are scaled first and
then drawn with one pen, so that neither a thick brush nor a small digit matters. They
are drawn on a grid 16 times finer and moved on it until the centre of mass is the
middle of that pixel, so that the image changes little where the strokes move little.

Pictures get one pen, too: where a stroke is thinner or thicker than most of MNIST's, it
is grown or shrunk before it is averaged down. Nothing changes within these bounds.

The pen is MNIST's: its training images have 102.5 pixels of ink in the mean, and the
digits of UCI pendigits have 102.8 with this pen, 99.5 with 2.4 and 106.1 with 2.6
(``python -m benchmarks.strokes FOLDER --pens 2.4 2.6``).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinycnn.ink.strokes import draw_finely

SIDE = 28  # pixels of the image
BOX = 20  # pixels of the square that the digit fills
CENTRE = 14  # index of the pixel that holds the centre of mass
PEN = 2.5  # width in pixels of the box; measured, see above
FINENESS = 16  # pixels per pixel of the box of the grid on which strokes are drawn
HALF = 0.5001  # rounds halves up, regardless of rounding errors in a sum
FAINT = 0.05  # fainter ink is ignored: it would widen the tight box
THINNEST, THICKEST = 1.5, 4.2  # pixels of the box; 19 of 20 of MNIST's are between
THIN, THICK = 2.0, 3.2  # others are brought to these; half of MNIST's are between
NEAR = 0.3  # pixels of the box between points of a stroke that are drawn
LARGE = 250  # pixels; of digits twice as large, blocks are averaged first: faster
GRID = 3  # pixels per pixel of the box of the grid on which strokes grow and shrink


def normalize(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the 28×28 image of one digit's ink.

    Parameters
    ----------
    values : float32 array (H, W)
        In [0, 1], 1 = ink; this digit alone.

    Returns
    -------
    float32 array (28, 28)
        All 0 where there is no ink.
    """
    image, tight = np.zeros((SIDE, SIDE), np.float32), tighten(values)
    if tight.size == 0:
        return image
    if (blocks := max(tight.shape) // LARGE) > 1:
        tight = np.array(Image.fromarray(tight).reduce(blocks))
        tight /= tight.max()  # thin ink would be `FAINT`
    box = _average(tight)
    width = stroke_width(box)
    if not THINNEST <= width <= THICKEST:
        other = with_pen(tight, THIN if width < THIN else THICK)
        box = _average(other) if other.size else box
    centre = np.array([box.sum(axis=1), box.sum(axis=0)]) @ np.arange(BOX) / box.sum()
    # The centre of a symmetric digit is halfway between two pixels: HALF rounds all of
    # them alike. The box stays inside the image, however lopsided the digit.
    y, x = np.clip(np.floor(CENTRE - centre + HALF).astype(int), 0, SIDE - BOX)
    image[y : y + BOX, x : x + BOX] = box / box.max()
    return image


def with_pen(values: NDArray[np.float32], pen: float) -> NDArray[np.float32]:
    """Return the tight ink of a digit as another pen would have drawn it.

    Grey dilation or erosion by an octagon, which 3×3 crosses and squares in turn
    approximate. A share of the last step makes up the fraction of a pixel.

    Parameters
    ----------
    values : float32 array (H, W)
        In [0, 1], 1 = ink; not all 0.
    pen : float
        In pixels of the box.

    Returns
    -------
    float32 array (h, w)
        About `GRID` pixels a pixel of the box; empty if all ink is far smaller.
    """
    tight = tighten(values)
    scale = GRID * BOX / max(tight.shape)
    size = [max(round(length * scale), 1) for length in tight.shape[::-1]]
    ink = np.asarray(Image.fromarray(tight).resize(size, Image.Resampling.BILINEAR))
    steps = (GRID * pen - stroke_width(ink)) / 2
    sign = np.float32(np.sign(steps))  # erosion is the dilation of the paper
    ink = sign * np.pad(ink, math.ceil(max(steps, 0)) + 1)
    for step in range(math.ceil(abs(steps))):
        larger = grown(ink, corners=step % 2 == 0)
        ink += np.float32(min(abs(steps) - step, 1)) * (larger - ink)
    return tighten(sign * ink)


def grown(values: NDArray[Any], *, corners: bool) -> NDArray[Any]:
    """Return an array (H, W), each value the largest of it and its 4 or 8 neighbours.

    As `scipy.ndimage.grey_dilation` does, which takes far longer.
    """
    tall = values.copy()
    np.maximum(tall[1:], values[:-1], out=tall[1:])
    np.maximum(tall[:-1], values[1:], out=tall[:-1])
    beside, result = tall if corners else values, tall.copy()
    np.maximum(result[:, 1:], beside[:, :-1], out=result[:, 1:])
    np.maximum(result[:, :-1], beside[:, 1:], out=result[:, :-1])
    return result


def stroke_width(values: NDArray[np.float32]) -> float:
    """Return the mean width of strokes: twice their ink by the length of their edges.

    That length is the total variation of the values, by the coarea formula (Federer
    1959); soft edges do not change it. The width of a disc is its radius.

    Parameters
    ----------
    values : float32 array (H, W)
        In [0, 1], 1 = ink.

    Returns
    -------
    float
        In pixels; 0 where there is no ink.
    """
    wide = np.zeros((len(values) + 2, values.shape[1] + 2), values.dtype)
    wide[1:-1, 1:-1] = values
    here, below, beside = wide[:-1, :-1], wide[1:, :-1], wide[:-1, 1:]
    slopes = np.hypot(below - here, beside - here).sum()
    return 2 * float(values.sum() / slopes) if slopes else 0.0


def tighten(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the tight box of the ink, empty if there is none."""
    return values[ink_window(values > FAINT)]


def ink_window(ink: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and the columns of the tight box of ink (H, W)."""
    image = Image.fromarray(ink.view(np.uint8))
    left, top, right, bottom = image.getbbox() or (0, 0, 0, 0)
    return slice(top, bottom), slice(left, right)


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
    everything = np.concatenate(points)
    low, high = everything.min(axis=0), everything.max(axis=0)
    side = float((high - low).max())
    scale = (BOX - pen) / side if side > 0 else 1.0
    move = BOX / 2 - scale * (low + high) / 2
    scaled = [_thinned(stroke * scale + move) for stroke in points]
    fine = draw_finely(scaled, [pen] * len(scaled), (BOX, BOX), FINENESS)
    box = np.asarray(fine.reduce(FINENESS), np.float64)
    centre = np.array([box.sum(axis=0), box.sum(axis=1)]) @ np.arange(BOX) / box.sum()
    # The box stays inside the image, however lopsided the digit.
    x, y = np.clip(CENTRE - centre, 0, SIDE - BOX) * FINENESS
    image = Image.new("L", (SIDE * FINENESS, SIDE * FINENESS))
    image.paste(fine, (round(x), round(y)))
    values = np.asarray(image.reduce(FINENESS), np.float32)
    return values / values.max()


def _thinned(stroke: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a stroke in pixels of the box without points that are closer than `NEAR`.

    They show no detail, and each takes its time.
    """
    along = np.hypot(*np.diff(stroke, axis=0, prepend=stroke[:1]).T).cumsum()
    kept = np.diff(along // NEAR, prepend=-1, append=0)[:-1] > 0
    kept[-1] = True
    return stroke[kept]


def _average(tight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the box (20, 20) of tight ink."""
    side = max(tight.shape)
    down, across = (_averages(length, side) for length in tight.shape)
    return (down @ tight @ across.T).astype(np.float32, copy=False)


@lru_cache(1000)
def _averages(length: int, side: int) -> NDArray[np.float32]:
    """Return the (20, length) matrix that averages an axis, padded to `side`, to 20.

    Entry [i, j] is the share of cell i that pixel j covers. Padding is the same on both
    sides, up to one cell.
    """
    padding = (side - length) * BOX // (2 * side)  # cells
    edges = (np.arange(BOX + 1) - padding) * (side / BOX)
    left = np.maximum(edges[:-1, None], np.arange(length))
    right = np.minimum(edges[1:, None], np.arange(1, length + 1))
    covered: NDArray[np.float64] = np.maximum(right - left, 0) * (BOX / side)
    return covered.astype(np.float32)
