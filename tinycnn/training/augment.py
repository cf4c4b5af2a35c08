"""Small random deformations, a batch at a time: every epoch sees other handwriting.

A digit that is turned a little, stretched, slanted or moved is the same digit. It knows
grey values and coordinates; it does not know labels or networks.

What happens to an image is a function of (seed, epoch, index of the image) alone, so a
run can be entered at any batch.
"""

from dataclasses import dataclass

import numpy as np
from numba import prange
from numpy.typing import NDArray

from tinycnn.nn.compiled import compiled


@dataclass(frozen=True)
class Deformation:
    """How far an image may be deformed; every amount is drawn evenly from ± its limit.

    Attributes
    ----------
    rotation : float
        Degrees.
    scale : float
        0.1 is from 1/1.1 to 1/0.9 of the size, in height and in width apart.
    shear : float
        Columns a row.
    shift : float
        Pixels, in each direction.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0

    def maps(self, seed: int, epoch: int, count: int) -> NDArray[np.float32]:
        """Draw for every image where its pixels come from.

        Parameters
        ----------
        seed, epoch, count : int
            The seed of the run, the epoch from 1, the number of training images.

        Returns
        -------
        float32 array (count, 2, 3)
            A row ``(a, b, t)`` gives a source coordinate ``a * y + b * x + t``, the
            first row that of the row, the second that of the column, with ``y`` and
            ``x`` the pixel's own, all measured from the centre of the image.
        """
        # The third number keeps this stream apart from that of the order.
        draws = np.random.default_rng([seed, epoch, 1]).uniform(-1, 1, (count, 6)).T
        angle = np.deg2rad(self.rotation) * draws[0]
        height, width = 1 + self.scale * draws[1:3]
        shear = self.shear * draws[3]
        cos, sin = np.cos(angle), np.sin(angle)
        down, right = self.shift * draws[4:6]
        # Rotation after shear, then the scale of each axis.
        rows = [cos * height, sin * width, down]
        columns = [(shear * cos - sin) * height, (shear * sin + cos) * width, right]
        maps = np.array([rows, columns], np.float32)  # (2, 3, count)
        return np.ascontiguousarray(maps.transpose(2, 0, 1))


def deform(images: NDArray[np.uint8], maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Resample each image through its map, with bilinear interpolation.

    Parameters
    ----------
    images : uint8 array (N, H, W)
    maps : float32 array (N, 2, 3)
        As drawn by `Deformation.maps`.

    Returns
    -------
    float32 array (N, H, W, 1)
        In [0, 1]; outside the image there is paper, 0.
    """
    ink = np.empty((*images.shape, 1), np.float32)
    _deform(np.ascontiguousarray(images), np.ascontiguousarray(maps), ink)
    return ink


@compiled(parallel=True)
def _deform(images, maps, ink):  # type: ignore[no-untyped-def]
    """Fill ``ink``; safe in parallel because image n is made from image n alone."""
    N, H, W = images.shape
    middle_h, middle_w = (H - 1) / 2, (W - 1) / 2
    for n in prange(N):
        for h in range(H):
            for w in range(W):
                y, x = h - middle_h, w - middle_w
                from_h = maps[n, 0, 0] * y + maps[n, 0, 1] * x + maps[n, 0, 2]
                from_w = maps[n, 1, 0] * y + maps[n, 1, 1] * x + maps[n, 1, 2]
                from_h += middle_h
                from_w += middle_w
                top, left = int(np.floor(from_h)), int(np.floor(from_w))
                part_h, part_w = from_h - top, from_w - left
                grey = 0.0
                for i in range(2):
                    for j in range(2):
                        if 0 <= top + i < H and 0 <= left + j < W:
                            weight = (part_h if i else 1 - part_h) * (
                                part_w if j else 1 - part_w
                            )
                            grey += weight * images[n, top + i, left + j]
                ink[n, h, w, 0] = grey / 255
