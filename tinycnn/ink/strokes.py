"""Strokes: points drawn by a pen, their file, and the ink they leave.

A stroke file is JSON, in the pixels of the canvas, y downward:

    {"strokes": [[[x, y], [x, y], ...], ...], "pen_width": 14, "size": [900, 300]}

``pen_width`` is one number, or a list with one for each stroke. Only ``strokes`` is
required: if pen width or size is missing or null, the pen is 14 pixels wide and the
canvas as large as the ink. Other keys are ignored.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tinycnn.files import UnreadableError, read_regular, write_atomically

PEN_WIDTH = 14.0  # pixels, if a file gives none
FINENESS = 4  # strokes are drawn this many times larger, then averaged: soft edges
THINNEST = 2  # pixels of that enlarged drawing; Pillow leaves thinner discs out
LARGEST_FILE = 2 * 2**20  # bytes; loads in at most 3 s and 150 MB
LARGEST_SIDE = 8192  # pixels of a canvas
WIDEST_PEN = 256  # pixels; this and the next two bound the time to draw and to read
MOST_STROKES = 1_000
MOST_POINTS = 30_000


class StrokesError(ValueError):
    """A stroke file that cannot be read; the message gives the reason and a remedy."""


@dataclass(frozen=True)
class Strokes:
    """The strokes on a canvas.

    Attributes
    ----------
    points : tuple of float64 arrays (P, 2)
        One for each stroke, in the order drawn: x right and y down, in pixels.
    pen_widths : tuple of float
        One for each stroke, in pixels.
    size : (int, int)
        Width and height of the canvas, in pixels.

    Raises
    ------
    StrokesError
        If it cannot be drawn, or would make a file that is refused.
    """

    points: tuple[NDArray[np.float64], ...]
    pen_widths: tuple[float, ...]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        """Validate."""
        if len(self.points) > MOST_STROKES or sum(map(len, self.points)) > MOST_POINTS:
            raise StrokesError(
                f"has more than {MOST_STROKES:,} strokes or {MOST_POINTS:,} points; "
                "split the drawing"
            )
        if len(self.pen_widths) != len(self.points):
            raise StrokesError(
                f"has {len(self.pen_widths)} pen widths for {len(self.points)} "
                "strokes; give one number, or one for each"
            )
        for n, points in enumerate(self.points):
            shape, kind = np.shape(points), getattr(points, "dtype", None)
            if len(shape) != 2 or shape[0] == 0 or shape[1] != 2 or kind != np.float64:
                raise StrokesError(
                    f"stroke {n} has shape {shape} and dtype {kind}; give (P, 2) of "
                    "float64, P >= 1"
                )
            if not (np.abs(points) <= LARGEST_SIDE).all():  # also rejects NaN
                raise StrokesError(
                    f"stroke {n} has a point beyond {LARGEST_SIDE} or none at all; "
                    "scale the drawing"
                )
        for width in self.pen_widths:
            if not _number(width) or not 0 < width <= WIDEST_PEN:
                raise StrokesError(
                    f"pen_width needs numbers above 0 and up to {WIDEST_PEN}, "
                    f"not {width!r:.40}"
                )
        size = self.size
        if len(size) != 2 or not all(
            _number(n) and 1 <= n <= LARGEST_SIDE and n == int(n) for n in size
        ):
            raise StrokesError(
                f"size needs [width, height] from 1 to {LARGEST_SIDE} pixels, "
                f"not {list(size)!r:.40}; scale the drawing"
            )

    def draw(self) -> NDArray[np.float32]:
        """Return the ink of the whole canvas, (H, W) in [0, 1]."""
        return draw(self.points, self.pen_widths, self.size)


def draw(
    points: Sequence[NDArray[np.float64]],
    pen_widths: Sequence[float],
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """Return the ink that round pens leave.

    Each stroke is a line through its points with a disc at every point, which rounds
    its ends and its corners.

    Parameters
    ----------
    points : sequence of float arrays (P, 2)
        One for each stroke, P at least 1: x right, y down, in pixels; (0, 0) is the
        outer corner of the first pixel.
    pen_widths : sequence of float
        One for each stroke, in pixels.
    size : (int, int)
        Width and height, in pixels.

    Returns
    -------
    float32 array (height, width)
        The share of each pixel that is covered, in steps of 1/16. Ink outside the
        canvas is cut.
    """
    page = draw_finely(points, pen_widths, size, FINENESS)
    return np.asarray(page.reduce(FINENESS), np.float32) / np.float32(255)


def draw_finely(
    points: Sequence[NDArray[np.float64]],
    pen_widths: Sequence[float],
    size: tuple[int, int],
    fineness: int,
) -> Image.Image:
    """Return the ink that round pens leave, enlarged and with hard edges.

    Parameters
    ----------
    points, pen_widths, size
        See `draw`.
    fineness : int
        Factor by which the result is larger than `size`.

    Returns
    -------
    PIL.Image.Image
        Grey, 255 = ink.
    """
    width, height = size
    page = Image.new("L", (width * fineness, height * fineness))
    pen = ImageDraw.Draw(page)
    for stroke, pen_width in zip(points, pen_widths, strict=True):
        # Pillow truncates fractions, also of negative numbers: pass integers.
        thick = max(round(pen_width * fineness), THINNEST)
        corners = np.floor(stroke * fineness - thick / 2 + 0.5).astype(int)
        if len(corners) > 1:
            middles = corners + (thick - 1) // 2
            pen.line([(x, y) for x, y in middles.tolist()], fill=255, width=thick)
        for x, y in corners.tolist():
            pen.ellipse((x, y, x + thick - 1, y + thick - 1), fill=255)
    return page


def load_strokes(path: str | Path | bytes) -> Strokes:
    """Read a stroke file.

    Parameters
    ----------
    path : str, Path or bytes
        The file, or its content.

    Returns
    -------
    Strokes

    Raises
    ------
    StrokesError
        If the file cannot be read or is not valid.
    """
    # Escape a name that cannot be printed (a newline, undecodable bytes).
    name = "the drawing" if isinstance(path, bytes) else str(path)
    name = name if name and name.isprintable() else repr(name)
    try:
        return _strokes(_document(read_regular(path, LARGEST_FILE)))
    except (UnreadableError, StrokesError) as error:
        raise StrokesError(f"{name}: {error}") from None


def save_strokes(path: str | Path, strokes: Strokes) -> None:
    """Write a stroke file atomically.

    Parameters
    ----------
    path : str or Path
    strokes : Strokes
        Points are rounded to a thousandth of a pixel.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    document = {
        "strokes": [stroke.round(3).tolist() for stroke in strokes.points],
        "pen_width": [float(width) for width in strokes.pen_widths],
        "size": [int(side) for side in strokes.size],
    }
    write_atomically(path, [json.dumps(document).encode() + b"\n"])


def _document(content: bytes) -> Any:
    """Parse the JSON of a stroke file."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise StrokesError("is not JSON; save the drawing again") from None


def _strokes(document: Any) -> Strokes:
    """Return the strokes of a document after validating it."""
    if not isinstance(document, dict) or not isinstance(document.get("strokes"), list):
        raise StrokesError('needs {"strokes": [[[x, y], ...], ...]}')
    points = tuple(_points(stroke, i) for i, stroke in enumerate(document["strokes"]))
    widths = document.get("pen_width")
    if widths is None:
        widths = PEN_WIDTH
    if not isinstance(widths, list):
        widths = [widths] * len(points)
    size = document.get("size")
    if size is None:  # validate the widths first, with any size
        checked = Strokes(points, tuple(widths), (1, 1))
        size = _extent(points, checked.pen_widths)
    if not isinstance(size, list):
        size = [size]
    checked = Strokes(points, tuple(widths), tuple(size))
    width, height = map(int, checked.size)
    return Strokes(points, tuple(map(float, widths)), (width, height))


def _points(stroke: Any, index: int) -> NDArray[np.float64]:
    """Return one stroke as an array (P, 2)."""

    def is_point(pair: Any) -> bool:
        return (
            isinstance(pair, list)
            and len(pair) == 2
            and all(_number(value) and abs(value) <= LARGEST_SIDE for value in pair)
        )

    # Validate before NumPy converts, which would make gigabytes of a few long strings.
    if not (isinstance(stroke, list) and stroke and all(map(is_point, stroke))):
        raise StrokesError(
            f"stroke {index} needs at least one point [x, y], all numbers from "
            f"-{LARGEST_SIDE} to {LARGEST_SIDE}; scale or save the drawing again"
        )
    return np.array(stroke, np.float64)


def _number(value: Any) -> bool:
    """Return whether a value is a finite number and not a bool."""
    if not isinstance(value, int | float | np.integer | np.floating):
        return False
    size: Any = abs(value)  # math.isfinite overflows for large integers
    return not isinstance(value, bool) and bool(size < math.inf)


def _extent(
    points: Sequence[NDArray[np.float64]], widths: Sequence[float]
) -> list[int]:
    """Return width and height of the smallest canvas that holds all ink."""
    corners = np.concatenate([np.ones((1, 2)), *points])  # at least one pixel
    widths_there = np.repeat([0, *widths], [1, *map(len, points)])
    far = (corners + widths_there[:, None] / 2).max(axis=0)
    extent: list[int] = np.ceil(far).astype(int).tolist()
    return extent
