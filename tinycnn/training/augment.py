"""Small random deformations of the training images, drawn anew each epoch.

The deformation of an image is a function of (seed, epoch, index of the image) alone.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import prange, uintp
from numpy.typing import NDArray

from tinycnn.nn.kernels import compiled

KNOTS = 7  # of the grid that bends an image, in each direction
CELLS = 4  # of the grid, from one edge of the image to the other


class Warps(NamedTuple):
    """The deformations of N images.

    ``maps[n] @ (y, x, 1)`` is row and column in the source of the pixel at row ``y``
    and column ``x``, all measured from the centre of the image.
    """

    maps: NDArray[np.float32]  # (N, 2, 3)
    bends: NDArray[np.float32]  # (N, 2, KNOTS, KNOTS), pixels to add to row and column
    pens: NDArray[np.float32]  # (N,), pixels of growth on each side of strokes, -1 to 1

    def of(self, chosen: NDArray[np.integer]) -> "Warps":
        """Return the warps of some of the images."""
        return Warps(*(array[chosen] for array in self))


@dataclass(frozen=True)
class Deformation:
    """How far an image may be deformed: amounts are drawn evenly from ± these limits.

    ``bend`` is at the knots of a grid, with cubic B-splines between them; the elastic
    distortion of Simard, Steinkraus and Platt 2003 has a Gaussian there.
    """

    rotation: float = 0.0  # degrees
    scale: float = 0.0  # of height and width apart; 0.1 is from 1/1.1 to 1/0.9
    shear: float = 0.0  # columns a row
    shift: float = 0.0  # pixels, in each direction
    bend: float = 0.0  # pixels
    pen: float = 0.0  # pixels, up to 1, on each side of a stroke

    def warps(self, seed: int, epoch: int, count: int) -> Warps:
        """Draw the deformations of ``count`` images in an epoch, from 1, of a run."""
        # The third number keeps this stream apart from that of the order.
        rng = np.random.default_rng([seed, epoch, 1])
        draws = rng.uniform(-1, 1, (count, 7)).T
        angle = np.deg2rad(self.rotation) * draws[0]
        height, width = 1 + self.scale * draws[1:3]
        shear = self.shear * draws[3]
        cos, sin = np.cos(angle), np.sin(angle)
        down, right = self.shift * draws[4:6]
        # Rotation after shear, then the scale of each axis.
        rows = [cos * height, sin * width, down]
        columns = [(shear * cos - sin) * height, (shear * sin + cos) * width, right]
        maps = np.array([rows, columns], np.float32)  # (2, 3, count)
        rng = np.random.default_rng([seed, epoch, 3])  # 2 is that of handwriting
        bends = rng.random((count, 2, KNOTS, KNOTS), np.float32)
        return Warps(
            np.ascontiguousarray(maps.transpose(2, 0, 1)),
            np.float32(self.bend) * (2 * bends - 1),
            (self.pen * draws[6]).astype(np.float32),
        )


def deform(images: NDArray[np.uint8], warps: Warps) -> NDArray[np.float32]:
    """Resample each image through its warp, with bilinear interpolation.

    Parameters
    ----------
    images : uint8 array (N, H, W)
    warps : Warps
        Of these N images.

    Returns
    -------
    float32 array (N, H, W, 1)
        In [0, 1]; outside the image there is paper, 0.
    """
    H, W = images.shape[1:]
    bends = _spline(H).T @ warps.bends @ _spline(W)  # (N, 2, H, W)
    maps, pens = map(np.ascontiguousarray, (warps.maps, warps.pens))
    # With a margin of paper: all coordinates outside of the image are clipped at it.
    paper = np.zeros((len(images), H + 3, W + 3), np.float32)
    np.divide(images, np.float32(255), out=paper[:, 1:-2, 1:-2])
    ink = np.empty((*images.shape, 1), np.float32)
    _deform(paper, maps, bends, pens, paper.copy(), ink)
    return ink


@cache
def _spline(side: int) -> NDArray[np.float32]:
    """Return each knot's weight at each pixel, (KNOTS, side): cubic B-splines."""
    pixels = (np.arange(side) + 0.5) / side * CELLS + (KNOTS - 1 - CELLS) / 2
    away = abs(np.arange(KNOTS)[:, None] - pixels)
    near = 2 / 3 - away**2 + away**3 / 2
    far = np.maximum(2 - away, 0) ** 3 / 6
    return np.where(away < 1, near, far).astype(np.float32)


# Indices are uintp: with int64, which may count from the end, it takes longer to run,
# and, as arrays made in the loop do, a second longer to compile.
@compiled(parallel=True)
def _deform(paper, maps, bends, pens, source, ink):
    """Fill ``ink``, and ``source``, images written with another pen.

    There each pixel moves, by the share |pen|, towards the largest (``pen`` above 0) or
    the smallest of its four neighbours and itself: minus the largest of -1 times each.
    Safe in parallel because image n is made from image n alone.
    """
    N, H, W, _ = ink.shape
    middle_h, middle_w, one = (H - 1) / 2, (W - 1) / 2, uintp(1)
    for number in prange(N):
        n = uintp(number)
        share, sign = abs(pens[n]), np.float32(1 if pens[n] > 0 else -1)
        for h in range(one, uintp(H) + one):
            for w in range(one, uintp(W) + one):
                here, most = paper[n, h, w], sign * paper[n, h, w]
                across = paper[n, h, w - one], paper[n, h, w + one]
                for beside in (paper[n, h - one, w], paper[n, h + one, w], *across):
                    most = max(most, sign * beside)
                source[n, h, w] = here + share * (sign * most - here)
        for h in range(uintp(H)):
            for w in range(uintp(W)):
                y, x = np.float64(h) - middle_h, np.float64(w) - middle_w
                from_h = maps[n, 0, 0] * y + maps[n, 0, 1] * x + maps[n, 0, 2]
                from_w = maps[n, 1, 0] * y + maps[n, 1, 1] * x + maps[n, 1, 2]
                from_h = min(max(from_h + bends[n, 0, h, w] + middle_h + 1, 0), H + 1)
                from_w = min(max(from_w + bends[n, 1, h, w] + middle_w + 1, 0), W + 1)
                top, left = uintp(from_h), uintp(from_w)
                part_h, part_w = from_h - top, from_w - left
                above = source[n, top, left], source[n, top, left + one]
                below = source[n, top + one, left], source[n, top + one, left + one]
                above_w = above[0] + part_w * (above[1] - above[0])
                below_w = below[0] + part_w * (below[1] - below[0])
                ink[n, h, w, 0] = above_w + part_h * (below_w - above_w)
