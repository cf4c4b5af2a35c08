"""Draw a reading onto a copy of its picture: boxes, digits and confidences."""

import io
import math
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tinycnn.ink.ink import Ink
from tinycnn.ink.picture import open_picture
from tinycnn.reading.result import Digit, Reading

Box = tuple[float, float, float, float]

# Blue and vermilion of Okabe and Ito, safe for colour blindness; neighbours differ.
COLOURS = ((0, 114, 178), (213, 94, 0))
REFUSED = (110, 110, 110)
IGNORED = (170, 170, 170)
HALO = (255, 255, 255)  # around lines and labels, for contrast on any paper
MIN_LABEL = 12.0  # pixels; a picture with less room is enlarged
MAX_PIXELS = 8_000_000  # of an enlarged picture


def annotated_png(file: str | Path | bytes, ink: Ink, reading: Reading) -> bytes:
    """Return the annotated picture as a PNG file.

    Parameters
    ----------
    file : str, Path or bytes
        The picture, or its content; strokes are drawn from the ink instead.
    ink : Ink
        The ink of the file.
    reading : Reading
        The reading of this ink.

    Returns
    -------
    bytes

    Raises
    ------
    PictureError
        If the file can no longer be read.
    """
    if ink.strokes is None:
        picture = open_picture(file)
    else:
        picture = Image.fromarray(np.rint(255 - 255 * ink.values).astype(np.uint8))
    content = io.BytesIO()
    annotate(picture, reading, ink.scale).save(content, "PNG")
    return content.getvalue()


def annotate(picture: Image.Image, reading: Reading, scale: float) -> Image.Image:
    """Return a copy of the picture with a box and a label at every digit.

    What was ignored has a thin grey box.

    Parameters
    ----------
    picture : PIL.Image.Image
        Upright, perhaps scaled down; not modified.
    reading : Reading
        Its boxes are in pixels of the original picture.
    scale : float
        Pixels of the original per pixel of `picture`.

    Returns
    -------
    PIL.Image.Image
        Mode RGB; enlarged by an integer factor if its digits are too small to label.
    """
    copy = picture.convert("RGB")
    pen = ImageDraw.Draw(copy)
    for x0, y0, x1, y1 in reading.ignored:
        corners = [edge / scale for edge in (x0, y0, max(x1 - 1, x0), max(y1 - 1, y0))]
        pen.rectangle(corners, outline=IGNORED)
    if not reading.digits:
        return copy
    boxes: list[Box] = [
        (b[0] / scale, b[1] / scale, b[2] / scale, b[3] / scale)
        for b in (digit.box for digit in reading.digits)
    ]
    room = _room(reading) / scale
    most = math.isqrt(MAX_PIXELS // (copy.width * copy.height))
    enlarged = max(1, min(math.ceil(MIN_LABEL / room), most))
    text = max(MIN_LABEL, enlarged * room)
    size = (copy.width * enlarged, copy.height * enlarged)
    copy = copy.resize(size, Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(copy)
    font = ImageFont.load_default(text)
    placed = [
        (digit, _around(box, enlarged, text / 10 + 3, size))
        for digit, box in zip(reading.digits, boxes, strict=True)
    ]
    for i, (digit, box) in enumerate(placed):
        _draw_box(pen, box, _colour(digit, i), max(1, round(text / 10)), digit)
    for i, (digit, box) in enumerate(placed):  # labels lie above all boxes
        _draw_label(pen, box, _colour(digit, i), font, digit, size)
    return copy


def _room(reading: Reading) -> float:
    """Return the label height that fits the digits and the gaps between them."""
    boxes = [digit.box for digit in reading.digits]
    sides = [max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
    gaps = [
        abs(right.box[0] + right.box[2] - left.box[0] - left.box[2]) / 2
        for line in reading.lines
        for left, right in pairwise(line)
    ]
    room = min(0.25 * median(sides), 0.4 * median(gaps or [math.inf]))
    return float(max(room, 0.1))


def _around(box: Box, enlarged: int, gap: float, size: tuple[int, int]) -> Box:
    """Return a box enlarged and widened by a gap, clipped to the picture."""
    x0, y0, x1, y1 = (enlarged * side for side in box)
    # Whole pixels: of others, the two ends of a thin dash may round past each other.
    return (
        max(round(x0 - gap), 0),
        max(round(y0 - gap), 0),
        min(round(x1 + gap), size[0]) - 1,
        min(round(y1 + gap), size[1]) - 1,
    )


def _colour(digit: Digit, index: int) -> tuple[int, int, int]:
    return REFUSED if digit.digit is None else COLOURS[index % len(COLOURS)]


def _draw_box(
    pen: ImageDraw.ImageDraw,
    box: Box,
    colour: tuple[int, int, int],
    thickness: int,
    digit: Digit,
) -> None:
    """Draw a box on its halo, dashed if the digit was refused."""
    pen.rectangle(box, outline=HALO, width=thickness + 2)
    if digit.digit is not None:
        pen.rectangle(box, outline=colour, width=thickness)
        return
    x0, y0, x1, y1 = box
    dash = 3 * thickness + 1
    for x in np.arange(x0, x1, 2 * dash):
        for y in (y0, y1 - thickness + 1):
            pen.rectangle((x, y, min(x + dash, x1), y + thickness - 1), fill=colour)
    for y in np.arange(y0, y1, 2 * dash):
        for x in (x0, x1 - thickness + 1):
            pen.rectangle((x, y, x + thickness - 1, min(y + dash, y1)), fill=colour)


def _draw_label(
    pen: ImageDraw.ImageDraw,
    box: Box,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    digit: Digit,
    size: tuple[int, int],
) -> None:
    """Draw the digit above its box and the confidence below, inside the picture."""
    x0, y0, x1, y1 = box
    name = "?" if digit.digit is None else str(digit.digit)
    for text, above in ((name, True), (f"{digit.confidence:.0%}", False)):
        left, top, right, bottom = pen.textbbox((0, 0), text, font, stroke_width=2)
        width, height = right - left, bottom - top
        x = min(max((x0 + x1 - width) / 2, 0), max(size[0] - width, 0))
        y = y0 - height - 1 if above else y1 + 2
        y = min(max(y, 0), max(size[1] - height, 0))
        pen.text(
            (x - left, y - top),
            text,
            colour,
            font,
            stroke_width=2,
            stroke_fill=HALO,
        )
