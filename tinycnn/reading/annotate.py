"""Draw a reading onto a copy of its picture: boxes, digits and confidences."""

import io
import math
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tinycnn.ink.picture import open_picture
from tinycnn.ink.strokes import Ink
from tinycnn.reading.result import Reading

# Blue and vermilion of Okabe and Ito, safe for colour blindness; neighbours differ.
COLOURS = ((0, 114, 178), (213, 94, 0))
REFUSED = (110, 110, 110)
IGNORED = (170, 170, 170)
HALO = (255, 255, 255)  # around lines and labels, for contrast on any paper
MIN_LABEL = 12.0  # pixels; a picture with less room is enlarged
MAX_PIXELS = 8_000_000  # of an enlarged picture


def annotated_png(file: str | Path | bytes, ink: Ink, reading: Reading) -> bytes:
    """Return a picture with a box and a label at every digit, as a PNG file.

    What was ignored has a thin grey box. A picture with small digits is enlarged by an
    integer factor.

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
        copy = open_picture(file).convert("RGB")
    else:
        grey = np.rint(255 - 255 * ink.values).astype(np.uint8)
        copy = Image.fromarray(grey).convert("RGB")
    # Labels lie along the writing, so a turned page is drawn on when it is upright.
    turns, size = 90 * reading.turns, [round(side * ink.scale) for side in copy.size]
    reading, copy = reading.upright(size), copy.rotate(turns, expand=True)
    room = _room(reading) / ink.scale if reading.digits else MIN_LABEL
    most = math.isqrt(MAX_PIXELS // (copy.width * copy.height))
    enlarged = max(1, min(math.ceil(MIN_LABEL / room), most))
    copy = ImageOps.scale(copy, enlarged, Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(copy)
    for ignored in reading.ignored:
        pen.rectangle(_corners(ignored, enlarged / ink.scale), outline=IGNORED)
    text = max(MIN_LABEL, enlarged * room)
    thick, font = max(1, round(text / 10)), ImageFont.load_default(text)
    gap, labelled = round(text / 10 + 3), []
    beyond, last = (-gap, -gap, gap, gap), (copy.width - 1, copy.height - 1)
    for number, digit in enumerate(reading.digits):
        colour = COLOURS[number % 2] if digit.digit is not None else REFUSED
        box = np.add(_corners(digit.box, enlarged / ink.scale), beyond)
        x0, y0, x1, y1 = np.clip(box, 0, last * 2).tolist()
        pen.rectangle((x0, y0, x1, y1), outline=HALO, width=thick + 2)
        pen.rectangle((x0, y0, x1, y1), outline=colour, width=thick)
        middle, share = (x0 + x1) / 2, f"{digit.confidence:.0%}"
        labelled.append((digit.label, (middle, y0 - 2), "mb", colour))
        labelled.append((share, (middle, y1 + 2), "mt", colour))
    for label, (x, y), anchor, colour in labelled:  # above all boxes
        options: Any = {"font": font, "anchor": anchor, "stroke_width": 2}
        left, top, right, bottom = pen.textbbox((x, y), label, **options)
        inside = (  # the picture
            x - min(left, 0) - max(right - copy.width, 0),
            y - min(top, 0) - max(bottom - copy.height, 0),
        )
        pen.text(inside, label, colour, stroke_fill=HALO, **options)
    content = io.BytesIO()
    copy.rotate(-turns, expand=True).save(content, "PNG")
    return content.getvalue()


def _corners(box: tuple[int, int, int, int], scale: float) -> tuple[int, int, int, int]:
    """Return the first and the last pixel, x0, y0, x1, y1, of a scaled box."""
    x0, y0, x1, y1 = (round(edge * scale) for edge in box)
    return x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)


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
