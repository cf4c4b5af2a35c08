"""``python -m tinycnn.recognize FILE...`` reads the numbers in pictures.

Arguments, messages, exit codes, and copies with boxes. `tinycnn.ink` opens the files;
`tinycnn.reading` reads the digits.
"""

import contextlib
import io
import json
import math
import os
import sys
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tinycnn import _cli
from tinycnn.files import UnreadableError, read_regular, write_atomically
from tinycnn.userfile import explained

if TYPE_CHECKING:
    from tinycnn.ink.strokes import Ink
    from tinycnn.reading.reader import Reader
    from tinycnn.reading.result import Reading
    from tinycnn.userfile import UserFunction

# Blue and vermilion of Okabe and Ito, safe for colour blindness; neighbours differ.
COLOURS = ((0, 114, 178), (213, 94, 0))
REFUSED = (110, 110, 110)
IGNORED = (170, 170, 170)
HALO = (255, 255, 255)  # around lines and labels, for contrast on any paper
MIN_LABEL = 12.0  # pixels; a picture with less room is enlarged
MAX_PIXELS = 8_000_000  # of an enlarged picture


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, or the process's arguments.

    Returns 0, or 1 if a file could not be read or annotated; failures before the first
    file leave by `SystemExit`.
    """
    arguments = _parser().parse_args(argv)

    from tinycnn.ink.picture import PictureError
    from tinycnn.ink.strokes import StrokesError

    copies, taken = arguments.annotate, set(map(_real, arguments.files))
    if copies is not None:
        try:
            copies.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _cli.fail(f"{error}; name another folder with --annotate DIR")
    reader = _reader(arguments.weights, arguments.network)
    several, failures = len(arguments.files) > 1, 0
    for file in arguments.files:
        try:
            source = _stdin() if file == "-" else file
            ink = _ink(source)
            with explained(arguments.network):
                reading = reader.read(ink)
        except (PictureError, StrokesError, MemoryError) as error:
            too_large = f"{file}: not enough memory; make it smaller"
            reason = too_large if isinstance(error, MemoryError) else str(error)
            failures += _cli.report(reason)
            if arguments.json:
                print(json.dumps({"file": file, "error": reason}), flush=True)
            continue
        except ValueError as error:  # of the weights, or a mistake in a layer
            _cli.fail(error)
        reading = reading.refusing(arguments.min_confidence)
        if arguments.json:
            print(_json(file, reading), flush=True)
        else:
            print(_text(file, reading, several), flush=True)
        if not reading.digits:
            print(f"{_cli.printable(file)}: no digits found", file=sys.stderr)
        if copies is not None:
            try:
                content = _annotated(source, ink, reading)
                write_atomically(_free_path(copies, file, taken), [content])
            except (OSError, ValueError) as error:
                failures += _cli.report(f"{file}: cannot be annotated ({error})")
    return 1 if failures else 0


def _parser() -> _cli.Parser:
    parser = _cli.Parser(
        "tinycnn recognize",
        "Read the digits in pictures (PNG, JPEG, BMP, GIF, WEBP) and in the drawing "
        "window's stroke files. '?' marks digit-sized ink that is not a digit.",
        example="--annotate out photo.jpg",
    )
    add = parser.add_argument
    files = "a picture or a stroke file; - is stdin"
    add("files", nargs="+", metavar="FILE", help=files)
    weights = "a weights.safetensors of a run with ten digits (default: the shipped)"
    add("--weights", type=_cli.existing_file, metavar="FILE", help=weights)
    network = "the file that defines the network of these weights, if it is your own"
    add("--network", type=_cli.user_function, metavar="FILE.py:NAME", help=network)
    copies = "write a copy of each picture with boxes and digits into this folder"
    add("--annotate", type=Path, metavar="DIR", help=copies)
    least = "refuse digits below this confidence, 0 to 1 (default: 0)"
    share = _cli.converter("a number from 0 to 1", float, lambda value: 0 <= value <= 1)
    add("--min-confidence", type=share, default=0.0, metavar="P", help=least)
    return parser


def _reader(weights: Path | None, network: "UserFunction | None") -> "Reader":
    """Return the reader, with its kernels compiled."""
    import numpy as np

    from tinycnn.reading.reader import Reader
    from tinycnn.threads import use_threads

    use_threads()
    try:
        with _cli.said_if_slow(), explained(network):
            reader = Reader(weights, network)
            reader.probabilities(np.zeros((1, 28, 28), np.float32))
    except (ValueError, OSError) as error:
        _cli.fail(error)
    if not reader.finds:
        what = "names the digits that the shipped reader finds"
        print(f"{_cli.printable(weights)} {what}", file=sys.stderr)
    return reader


def _stdin() -> bytes:
    """Return what comes from stdin, or raise PictureError."""
    from tinycnn.ink.picture import MAX_FILE, PictureError

    try:
        return sys.stdin.buffer.read(MAX_FILE + 1)
    except (AttributeError, OSError, ValueError) as error:  # closed, or not for reading
        raise PictureError(f"-: stdin cannot be read ({error}); name a file") from error


def _ink(source: str | bytes) -> "Ink":
    """Return the ink of a picture or of a stroke file, told by name or content."""
    from tinycnn.ink.picture import MAX_FILE, picture_ink
    from tinycnn.ink.strokes import load_strokes, strokes_ink

    is_strokes = isinstance(source, str) and source.lower().endswith(".json")
    with contextlib.suppress(UnreadableError):
        is_strokes |= read_regular(source, MAX_FILE)[:100].lstrip().startswith(b"{")
    return strokes_ink(load_strokes(source)) if is_strokes else picture_ink(source)


def _json(file: str, reading: "Reading") -> str:
    """Return the reading for programs, in one line; ``turned`` is in degrees."""
    digits = [
        {"line": number} | asdict(digit)
        for number, line in enumerate(reading.lines)
        for digit in line
    ]
    facts = {"file": file, "text": reading.text, "turned": 90 * reading.turns}
    return json.dumps(facts | {"digits": digits}, allow_nan=False)


def _text(file: str, reading: "Reading", several: bool) -> str:
    """Return the reading as text, after the file's name if there are several."""
    if not several:
        return reading.text
    lines = reading.text.splitlines()
    between = " " if len(lines) == 1 else "\n  "
    return between.join([f"{_cli.printable(file)}:", *lines])


def _annotated(file: str | bytes, ink: "Ink", reading: "Reading") -> bytes:
    """Return a picture with a box and a label at every digit, as a PNG file.

    What was ignored has a thin grey box. A picture with small digits is enlarged by an
    integer factor. Strokes are drawn from the ink; `PictureError` is raised if the
    picture's file can no longer be read.
    """
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont, ImageOps

    from tinycnn.ink.picture import open_picture

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
        labelled.append((digit.label, middle, y0 - 2, "mb", colour))
        labelled.append((share, middle, y1 + 2, "mt", colour))
    for label, x, y, anchor, colour in labelled:  # above all boxes
        options: Any = {"font": font, "anchor": anchor, "stroke_width": 2}
        left, top, right, bottom = pen.textbbox((x, y), label, **options)
        x -= min(left, 0) + max(right - copy.width, 0)  # into the picture
        y -= min(top, 0) + max(bottom - copy.height, 0)
        pen.text((x, y), label, colour, stroke_fill=HALO, **options)
    content = io.BytesIO()
    copy.rotate(-turns, expand=True).save(content, "PNG")
    return content.getvalue()


def _corners(box: tuple[int, int, int, int], scale: float) -> tuple[int, int, int, int]:
    """Return the first and the last pixel, x0, y0, x1, y1, of a scaled box."""
    x0, y0, x1, y1 = (round(edge * scale) for edge in box)
    return x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)


def _room(reading: "Reading") -> float:
    """Return the label height that fits the digits and the gaps between them."""
    boxes = [digit.box for digit in reading.digits]
    sides = [max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
    middles = [[sum(digit.box[::2]) / 2 for digit in line] for line in reading.lines]
    gaps = [abs(b - a) for line in middles for a, b in pairwise(line)]
    return float(max(min(0.25 * median(sides), 0.4 * median(gaps or [math.inf])), 0.1))


def _real(path: str | Path) -> str:
    """Return a path without links and case; for some systems "A" and "a" are one."""
    return os.path.realpath(path).casefold()


def _free_path(folder: Path, file: str, taken: set[str]) -> Path:
    """Return the path of the copy of an input, none of those taken, and add it."""
    stem, number = "stdin" if file == "-" else Path(file).stem, 1
    path = folder / f"{stem}.png"
    while (real := _real(path)) in taken:
        number += 1
        path = folder / f"{stem}-{number}.png"
    taken.add(real)
    return path


if __name__ == "__main__":
    _cli.run_command(main)
