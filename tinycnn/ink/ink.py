"""Ink: what the rest of the reading works on, wherever it came from.

It knows an array of ink, how it lies in its picture, and the strokes where they are
known. It does not know files, paper or digits.
"""

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
        Width and height of the picture as a person sees it, in pixels.
    scale : float
        Pixels of that picture a pixel of `values`; above 1 where a large picture was
        scaled down.
    strokes : Strokes or None
        How the ink was drawn, where that is known, in pixels of `values`.
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
        `values` has the canvas's size, or an nth of it where the canvas has more than
        4 million pixels. What lies outside the canvas is cut.
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
