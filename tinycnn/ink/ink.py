"""Ink: the input of reading, whether it comes from a picture or from strokes."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinycnn.ink.strokes import Strokes

WORKING_PIXELS = 4_000_000  # a larger canvas is drawn smaller, as pictures are


@dataclass(frozen=True)
class Ink:
    """The ink of one picture.

    Attributes
    ----------
    values : float32 array (H, W)
        In [0, 1]: 1 is ink, 0 is paper, edges are soft.
    size : (int, int)
        Width and height of the upright picture, in pixels.
    scale : float
        Pixels of the picture per pixel of `values`; above 1 if a large picture was
        scaled down.
    strokes : Strokes or None
        The strokes that left the ink, if they are known, in pixels of `values`.
    """

    values: NDArray[np.float32]
    size: tuple[int, int]
    scale: float = 1.0
    strokes: Strokes | None = None


def strokes_ink(strokes: Strokes) -> Ink:
    """Return the ink of strokes drawn on their canvas.

    Parameters
    ----------
    strokes : Strokes

    Returns
    -------
    Ink
        `values` has the size of the canvas, or an nth of it where the canvas has more
        than 4 million pixels. Ink outside the canvas is cut.
    """
    width, height = strokes.size
    scale = math.ceil(math.sqrt(width * height / WORKING_PIXELS))
    drawn = strokes
    if scale > 1:
        drawn = Strokes(
            tuple(points / scale for points in strokes.points),
            tuple(pen_width / scale for pen_width in strokes.pen_widths),
            (math.ceil(width / scale), math.ceil(height / scale)),
        )
    return Ink(drawn.draw(), strokes.size, float(scale), drawn)
