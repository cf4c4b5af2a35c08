"""``python -m tinycnn.recognize FILE...`` reads the numbers in pictures.

Arguments, messages and exit codes. `tinycnn.ink` opens the files; `tinycnn.reading`
reads the digits and draws the boxes.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinycnn._cli import (
    Parser,
    converter,
    existing_file,
    fail,
    printable,
    report,
    run_command,
    said_if_slow,
    user_function,
)
from tinycnn.files import write_atomically
from tinycnn.userfile import explained

if TYPE_CHECKING:
    from tinycnn.ink.strokes import Ink
    from tinycnn.reading.reader import Reader
    from tinycnn.reading.result import Reading
    from tinycnn.userfile import UserFunction


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, or the process's arguments.

    Returns 0, or 1 if a file could not be read or annotated; failures before the first
    file leave by `SystemExit`.
    """
    arguments = _parser().parse_args(argv)

    from tinycnn.ink.picture import PictureError
    from tinycnn.ink.strokes import StrokesError
    from tinycnn.reading.annotate import annotated_png

    copies, taken = arguments.annotate, set(map(_real, arguments.files))
    if copies is not None:
        try:
            copies.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fail(f"{error}; name another folder with --annotate DIR")
    reader = _reader(arguments.weights, arguments.network)
    several, failures = len(arguments.files) > 1, 0

    def failed(reason: object) -> None:
        nonlocal failures
        failures += report(reason)
        if arguments.json:
            print(json.dumps({"file": file, "error": str(reason)}), flush=True)

    for file in arguments.files:
        try:
            source = _stdin() if file == "-" else file
            ink = _ink(source)
            with explained(arguments.network):
                reading = reader.read_ink(ink)
        except (PictureError, StrokesError) as error:
            failed(error)
            continue
        except MemoryError:
            failed(f"{file}: not enough memory; make it smaller")
            continue
        except ValueError as error:  # of the weights, or a mistake in a layer
            fail(error)
        reading = reading.refusing(arguments.min_confidence)
        if arguments.json:
            print(_json(file, reading), flush=True)
        else:
            print(_text(file, reading, several), flush=True)
        if not reading.digits:
            print(f"{printable(file)}: no digits found", file=sys.stderr)
        if copies is not None:
            try:
                content = annotated_png(source, ink, reading)
                write_atomically(_free_path(copies, file, taken), [content])
            except (OSError, ValueError) as error:
                failures += report(f"{file}: cannot be annotated ({error})")
    return 1 if failures else 0


def _parser() -> Parser:
    parser = Parser(
        "tinycnn recognize",
        "Read the digits in pictures (PNG, JPEG, BMP, GIF, WEBP) and in the drawing "
        "window's stroke files. '?' marks digit-sized ink that is not a digit.",
        example="--annotate out photo.jpg",
    )
    add = parser.add_argument
    files = "a picture or a stroke file; - is stdin"
    add("files", nargs="+", metavar="FILE", help=files)
    weights = "a weights.safetensors of a run with ten digits (default: the shipped)"
    add("--weights", type=existing_file, metavar="FILE", help=weights)
    network = "the file that defines the network of these weights, if it is your own"
    add("--network", type=user_function, metavar="FILE.py:NAME", help=network)
    copies = "write a copy of each picture with boxes and digits into this folder"
    add("--annotate", type=Path, metavar="DIR", help=copies)
    least = "refuse digits below this confidence, 0 to 1 (default: 0)"
    share = converter("a number from 0 to 1", float, lambda value: 0 <= value <= 1)
    add("--min-confidence", type=share, default=0.0, metavar="P", help=least)
    return parser


def _reader(weights: Path | None, network: "UserFunction | None") -> "Reader":
    """Return the reader, with its kernels compiled."""
    import numpy as np

    from tinycnn.reading.reader import Reader
    from tinycnn.threads import use_threads

    use_threads()
    try:
        with said_if_slow(), explained(network):
            reader = Reader(weights, network)
            reader.probabilities(np.zeros((1, 28, 28), np.float32))
    except (ValueError, OSError) as error:
        fail(error)
    if not reader.finds:
        what = "names the digits that the shipped reader finds"
        print(f"{printable(weights)} {what}", file=sys.stderr)
    return reader


def _stdin() -> bytes:
    """Return what comes from stdin, or raise PictureError."""
    from tinycnn.ink.files import MAX_FILE
    from tinycnn.ink.picture import PictureError

    try:
        return sys.stdin.buffer.read(MAX_FILE + 1)
    except (AttributeError, OSError, ValueError) as error:  # closed, or not for reading
        raise PictureError(f"-: stdin cannot be read ({error}); name a file") from error


def _ink(source: str | bytes) -> "Ink":
    """Return the ink of a picture or of a stroke file, told by name or content."""
    from tinycnn.ink.picture import picture_ink
    from tinycnn.ink.strokes import load_strokes, strokes_ink

    start = source if isinstance(source, bytes) else b""
    with contextlib.suppress(OSError, ValueError):
        if isinstance(source, str) and Path(source).is_file():  # a pipe could wait
            with Path(source).open("rb") as opened:
                start = opened.read(100)
    named = isinstance(source, str) and source.lower().endswith(".json")
    is_strokes = named or start[:100].lstrip().startswith(b"{")
    return strokes_ink(load_strokes(source)) if is_strokes else picture_ink(source)


def _json(file: str, reading: "Reading") -> str:
    """Return the reading for programs, in one line."""
    digits = [
        {
            "digit": digit.digit,
            "confidence": digit.confidence,
            "line": number,
            "box": digit.box,
            "top": digit.top,
        }
        for number, line in enumerate(reading.lines)
        for digit in line
    ]
    facts = {"file": file, "text": reading.text, "digits": digits}
    return json.dumps(facts, allow_nan=False)


def _text(file: str, reading: "Reading", several: bool) -> str:
    """Return the reading as text, after the file's name if there are several."""
    lines = reading.text.splitlines()
    if several and len(lines) == 1:
        lines = [f"{printable(file)}: {lines[0]}"]
    elif several:
        lines = [f"{printable(file)}:", *(f"  {line}" for line in lines)]
    return "\n".join(lines)


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
    run_command(main)
