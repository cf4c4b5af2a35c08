"""Strokes: points drawn by a pen, their file, and the ink they leave; `Ink` itself.

A stroke file is JSON, in the pixels of the canvas, y downward:

    {"strokes": [[[x, y], [x, y], ...], ...], "pen_width": 14, "size": [900, 300]}

``pen_width`` is one number, or a list with one for each stroke. Only ``strokes`` is
required: if pen width or size is missing or null, the pen is 14 pixels wide and the
canvas as large as the ink. Other keys are ignored.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tinycnn.files import UnreadableError, read_regular, write_atomically

PEN_WIDTH = 14.0  # pixels, if a file gives none
FINENESS = 4  # strokes are drawn this many times larger, then averaged: soft edges
THINNEST = 2  # pixels of that enlarged drawing; Pillow leaves thinner discs out
WORKING_PIXELS = 4_000_000  # of ink; a larger canvas or picture is scaled down
LARGEST_FILE = 2 * 2**20  # bytes; loads in at most 3 s and 150 MB
LARGEST_SIDE = 8192  # pixels of a canvas
WIDEST_PEN = 256  # pixels; this and the next three bound the time to draw and to read
MOST_STROKES = 1_000
MOST_POINTS = 30_000
LONGEST = 10_000_000  # pixels; the length of all strokes together


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
            shape = np.shape(points)
            fits = len(shape) == 2 and shape[0] > 0 and shape[1] == 2
            if not fits or not (np.abs(points) <= LARGEST_SIDE).all():  # rejects NaN
                raise StrokesError(
                    f"stroke {n} has shape {shape}, not (P, 2) with P >= 1, or a point "
                    f"beyond {LARGEST_SIDE}; scale the drawing"
                )
        lengths = [np.hypot(*np.diff(points, axis=0).T).sum() for points in self.points]
        if sum(lengths) > LONGEST:
            raise StrokesError(
                f"has strokes of more than {LONGEST:,} pixels in all; split the drawing"
            )
        for width in self.pen_widths:
            if not 0 < _number(width) <= WIDEST_PEN:
                raise StrokesError(
                    f"pen_width needs numbers above 0 and up to {WIDEST_PEN}, "
                    f"not {width!r:.40}"
                )
        sides = [_number(side) for side in self.size]
        if len(sides) != 2 or not all(n in range(1, LARGEST_SIDE + 1) for n in sides):
            raise StrokesError(
                f"size needs [width, height] from 1 to {LARGEST_SIDE} pixels, "
                f"not {list(self.size)!r:.40}; scale the drawing"
            )

    def only(self, numbers: Sequence[int]) -> "Strokes":
        """Return the strokes with these numbers, on the same canvas."""
        points = tuple(self.points[n] for n in numbers)
        return Strokes(points, tuple(self.pen_widths[n] for n in numbers), self.size)

    def draw(self) -> NDArray[np.float32]:
        """Return the ink of the whole canvas, (H, W) in [0, 1]."""
        return draw(self.points, self.pen_widths, self.size)


@dataclass(frozen=True)
class Ink:
    """The input of reading: the ink of one picture, or of strokes.

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
    tilt : float
        Degrees by which the writing is turned clockwise, as far as is known.
    turns : int
        Quarter turns counter-clockwise from the picture to `values`.
    """

    values: NDArray[np.float32]
    size: tuple[int, int]
    scale: float = 1.0
    strokes: Strokes | None = None
    tilt: float = 0.0
    turns: int = 0

    def turned(self, turns: int) -> "Ink":
        """Return the ink of a picture after quarter turns counter-clockwise."""
        values = np.ascontiguousarray(np.rot90(self.values, turns))
        return replace(self, values=values, turns=self.turns + turns)


def strokes_ink(strokes: Strokes) -> Ink:
    """Return the ink of strokes drawn on their canvas, or on a smaller one.

    See `shrinkage`. Ink outside the canvas is cut.
    """
    drawn, n = strokes, shrinkage(strokes.size)
    if n > 1:
        width, height = strokes.size
        drawn = Strokes(
            tuple(points / n for points in strokes.points),
            tuple(pen_width / n for pen_width in strokes.pen_widths),
            (math.ceil(width / n), math.ceil(height / n)),
        )
    return Ink(drawn.draw(), strokes.size, float(n), drawn)


def shrinkage(size: tuple[int, int]) -> int:
    """Return the least n that leaves few enough pixels where n × n become one."""
    return math.ceil(math.sqrt(size[0] * size[1] / WORKING_PIXELS))


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
        # Integers may have thousands of digits: floats become infinite.
        document = json.loads(read_regular(path, LARGEST_FILE), parse_int=float)
        return _strokes(document)
    except (UnreadableError, StrokesError) as error:
        raise StrokesError(f"{name}: {error}") from None
    except (ValueError, RecursionError):
        raise StrokesError(f"{name}: is not JSON; save the drawing again") from None


def save_strokes(path: str | Path, strokes: Strokes, **more: Any) -> None:
    """Write a stroke file atomically.

    Parameters
    ----------
    path : str or Path
    strokes : Strokes
        Points are rounded to a thousandth of a pixel.
    **more : JSON values
        Further keys of the document.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    document = {
        "strokes": [stroke.round(3).tolist() for stroke in strokes.points],
        "pen_width": [float(width) for width in strokes.pen_widths],
        "size": [int(side) for side in strokes.size],
        **more,
    }
    write_atomically(path, [json.dumps(document).encode() + b"\n"])


def _strokes(document: Any) -> Strokes:
    """Return the strokes of a document after validating it."""
    if not isinstance(document, dict) or not isinstance(document.get("strokes"), list):
        raise StrokesError('needs {"strokes": [[[x, y], ...], ...]}')
    for n, stroke in enumerate(document["strokes"]):
        # Before NumPy converts, which would make gigabytes of a few long strings.
        if not (isinstance(stroke, list) and stroke and all(map(_is_point, stroke))):
            raise StrokesError(
                f"stroke {n} needs at least one point [x, y]; save the drawing again"
            )
    points = tuple(map(np.array, document["strokes"]))
    widths, size = document.get("pen_width"), document.get("size")
    if not isinstance(widths, list):
        widths = [PEN_WIDTH if widths is None else widths] * len(points)
    drawn = Strokes(points, tuple(widths), (1, 1))
    if size is None:
        far = [(p + w / 2).max(axis=0) for p, w in zip(points, widths, strict=True)]
        size = np.ceil(np.max([(1, 1), *far], axis=0)).tolist()  # at least one pixel
    drawn = replace(drawn, size=tuple(size if isinstance(size, list) else [size]))
    width, height = map(int, drawn.size)
    return replace(drawn, size=(width, height))


def _is_point(pair: Any) -> bool:
    return isinstance(pair, list) and [*map(type, pair)] == [float, float]


def _number(value: Any) -> float:
    """Return a number as it is, and NaN for anything else, which compares false."""
    fits = isinstance(value, int | float | np.integer | np.floating)
    return value if fits and not isinstance(value, bool) else math.nan
