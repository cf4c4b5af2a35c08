"""How well are single digits recognised that were drawn with a pen? Figures by set.

``python -m benchmarks.strokes FOLDER [--pens WIDTH ...]``

FOLDER holds ``mnist/`` and ``strokes/`` as `benchmarks.reading` describes them. Every
digit goes through `tinycnn.ink.normalize.normalize_strokes`, and alone. MNIST's test
images, which need no drawing, come first. By set:

* *ink*: the mean of the pixels' sum, to compare with MNIST's training images;
* *right*: how often the likeliest digit is the right one;
* *ECE*: expected calibration error of the reader's probabilities, in 15 bins;
* *accepted*: how many the reader would not refuse. Of symbols that are no digits, it
  should be few;
* *on a sheet*: how often the reader reads just this digit where its strokes lie alone
  and it has to find which belong together. Of symbols: how often it reads any digit in
  them, such as the upright of an H.

``--pens`` gives the mean ink and the accuracy for other pens than MNIST's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reading_sets import MissingError, json_lines
from benchmarks.tables import markdown
from tinycnn._cli import Parser, existing_folder, fail, run_command
from tinycnn.data import DataError, load_mnist
from tinycnn.ink import strokes as drawing
from tinycnn.ink.normalize import PEN, normalize_strokes
from tinycnn.reading.reader import Reader
from tinycnn.threads import use_threads
from tinycnn.training.metrics import calibration_error

SETS = {
    "UJI": "ujipenchars2.jsonl.gz",
    "pendigits": "pendigits-train.jsonl.gz",
    "CROHME digits": "crohme-train-numbers.jsonl.gz",
    "CROHME symbols": "crohme-train-symbols.jsonl.gz",
}
NO_DIGIT = -1  # the label of a symbol
COLUMNS = "set", "digits", "ink", "right", "ECE", "accepted", "on a sheet"
HEIGHT, THICKNESS = 100.0, 8.0  # pixels: of a digit on a sheet, and of its pen
Strokes = list[NDArray[np.float64]]


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = Parser(
        "python -m benchmarks.strokes", "Measure single drawn digits.", json=False
    )
    add = parser.add_argument
    parts = "holds mnist/ and strokes/"
    add("folder", type=existing_folder, metavar="FOLDER", help=parts)
    add("--pens", nargs="+", type=float, default=[], metavar="WIDTH", help="of 20")
    arguments = parser.parse_args(argv)
    use_threads()
    reader = Reader()
    try:
        mnist = load_mnist(arguments.folder / "mnist")
        tested = mnist.test_images / np.float32(255)
        rows = [_row("MNIST test", reader, tested, mnist.test_labels, "")]
        for name, file in SETS.items():
            shapes, labels = _read(arguments.folder / "strokes" / file)
            sheet = f"{_on_a_sheet(reader, shapes, labels):.4f}"
            rows.append(_row(name, reader, _drawn(shapes), labels, sheet))
            for pen in arguments.pens if NO_DIGIT not in labels else ():
                images = _drawn(shapes, pen)
                shares = reader.probabilities(images, views=True)
                right = shares.argmax(axis=1) == labels
                share = f"{right.mean():.4f}"
                rows.append([f"pen {pen}", "", _ink(images), share, *[""] * 3])
    except (DataError, MissingError) as error:
        fail(error)
    ink = mnist.train_images[:-5000].mean() / 255 * 28 * 28
    print(f"MNIST's ink: {ink:.1f} pixels\n\n{markdown(COLUMNS, rows)}")
    return 0


def _read(path: Path) -> tuple[list[Strokes], NDArray[np.int64]]:
    """Return the strokes of every digit or symbol, and its label."""
    rows = json_lines(path)
    digits = [digit for row in rows for digit in row.get("digits", [row])]
    shapes = [[np.array(s, np.float64) for s in digit["strokes"]] for digit in digits]
    names = [str(digit["label"]) for digit in digits]
    return shapes, np.array([int(n) if n.isdecimal() else NO_DIGIT for n in names])


def _drawn(shapes: Sequence[Strokes], pen: float = PEN) -> NDArray[np.float32]:
    return np.stack([normalize_strokes(strokes, pen) for strokes in shapes])


def _on_a_sheet(
    reader: Reader, shapes: Sequence[Strokes], labels: NDArray[np.integer[Any]]
) -> float:
    """Return how often just the digit is read; of symbols, how often any digit is."""
    counted = 0
    for shape, label in zip(shapes, labels.tolist(), strict=True):
        everything = np.concatenate(shape)
        low, high = everything.min(axis=0), everything.max(axis=0)
        scale = HEIGHT / max(high[1] - low[1], (high[0] - low[0]) / 2, 1e-6)
        points = tuple((stroke - low) * scale + HEIGHT / 2 for stroke in shape)
        width, height = np.ceil((high - low) * scale + HEIGHT).astype(int).tolist()
        sheet = drawing.Strokes(points, (THICKNESS,) * len(points), (width, height))
        read = reader.read(sheet)
        if label == NO_DIGIT:
            counted += any(digit.digit is not None for digit in read.digits)
        else:
            counted += read.text == str(label)
    return counted / len(shapes)


def _ink(images: NDArray[np.float32]) -> str:
    """Return the mean of the images' ink in pixels."""
    return f"{images.sum(axis=(1, 2)).mean():.1f}"


def _row(
    name: str,
    reader: Reader,
    images: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
    sheet: str,
) -> list[str]:
    """Return a set's row of the table."""
    shares = reader.probabilities(images, views=True)
    accepted = (shares.max(axis=1) >= reader.threshold).mean()
    cells = ["", ""]
    if NO_DIGIT not in labels:
        right = shares.argmax(axis=1) == labels
        ece = calibration_error(shares.max(axis=1), right)
        cells = [f"{x:.4f}" for x in (right.mean(), ece)]
    count = f"{len(labels):,}"
    return [name, count, _ink(images), *cells, f"{accepted:.4f}", sheet]


if __name__ == "__main__":
    run_command(main)
