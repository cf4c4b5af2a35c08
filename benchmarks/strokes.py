"""How well are single digits known that were drawn with a pen? Figures by set.

``python -m benchmarks.strokes FOLDER [--pens WIDTH ...]``

FOLDER holds ``mnist/`` and ``strokes/`` as `benchmarks.reading` describes them. Every
digit goes through `tinycnn.ink.normalize.normalize_strokes`, and alone: nothing is
segmented here. MNIST's test images, which need no drawing, come first. By set:

* *ink*: the mean of the pixels' sum, to compare with MNIST's training images;
* *network* and *reader*: how often the likeliest digit is the right one, for the
  network that names digits alone and for what `Reader` makes of both its networks;
* *ECE*: expected calibration error of the reader's probabilities, in 15 bins;
* *accepted*: how many the reader would not refuse. Of symbols that are no digits, it
  should be few.

``--pens`` gives the mean ink and the network's accuracy for other pens than MNIST's.

This file knows strokes and the command, and neither lines nor pictures.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reading_sets import MissingError, json_lines
from tinycnn.arguments import Parser, existing_folder, fail, positive, run_command
from tinycnn.data import DataError, load_mnist
from tinycnn.ink.normalize import PEN, normalize_strokes
from tinycnn.nn.threads import use_threads
from tinycnn.reading.reader import Reader
from tinycnn.training.fit import as_input
from tinycnn.training.metrics import calibration_error

SETS = {
    "UJI": "ujipenchars2.jsonl.gz",
    "pendigits": "pendigits-train.jsonl.gz",
    "CROHME digits": "crohme-train-numbers.jsonl.gz",
    "CROHME symbols": "crohme-train-symbols.jsonl.gz",
}
NO_DIGIT = -1  # the label of a symbol
Strokes = list[NDArray[np.float64]]


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    arguments = _parser().parse_args(argv)
    use_threads()
    reader = Reader()
    try:
        mnist = load_mnist(arguments.folder / "mnist")
        ink = mnist.train_images[:-5000].mean()
        print(f"MNIST's ink: {ink / 255 * 28 * 28:.1f} pixels\n")
        columns = "set", "digits", "ink", "network", "reader", "ECE", "accepted"
        print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        tested = as_input(mnist.test_images)[..., 0]
        print(_row("MNIST test", reader, tested, mnist.test_labels))
        for name, file in SETS.items():
            shapes, labels = _read(arguments.folder / "strokes" / file)
            print(_row(name, reader, _drawn(shapes), labels))
            for pen in arguments.pens if NO_DIGIT not in labels else ():
                images = _drawn(shapes, pen)
                right = reader.model.predict(images[..., None]).argmax(1) == labels
                print(
                    f"| pen {pen} | | {_ink(images):.1f} | {right.mean():.4f} | | | |"
                )
    except (DataError, MissingError) as error:
        fail(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "benchmarks.strokes", "Measure how well single digits are known.", json=False
    )
    parser.add_argument(
        "folder",
        type=existing_folder,
        metavar="FOLDER",
        help="holds mnist/ and strokes/",
    )
    parser.add_argument(
        "--pens",
        nargs="+",
        type=positive(10),
        default=[],
        metavar="WIDTH",
        help="of 20",
    )
    return parser


def _read(path: Path) -> tuple[list[Strokes], NDArray[np.int64]]:
    """Return the strokes of every digit or symbol, and its label."""
    rows = json_lines(path)
    digits = [digit for row in rows for digit in row.get("digits", [row])]
    shapes = [[np.array(s, np.float64) for s in digit["strokes"]] for digit in digits]
    names = [str(digit["label"]) for digit in digits]
    return shapes, np.array([int(n) if n.isdecimal() else NO_DIGIT for n in names])


def _drawn(shapes: Sequence[Strokes], pen: float = PEN) -> NDArray[np.float32]:
    return np.stack([normalize_strokes(strokes, pen) for strokes in shapes])


def _ink(images: NDArray[np.float32]) -> float:
    """Return the mean of the images' ink in pixels."""
    return float(images.sum(axis=(1, 2)).mean())


def _row(
    name: str,
    reader: Reader,
    images: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
) -> str:
    """Return what the table says of a set."""
    names, digitness = reader.opinions(images)
    accepted = (names.max(axis=1) * digitness >= reader.threshold).mean()
    cells = ["", "", ""]
    if NO_DIGIT not in labels:
        alone = reader.model.predict(images[..., np.newaxis]).argmax(axis=1)
        right = names.argmax(axis=1) == labels
        ece = calibration_error(names.max(axis=1), right)
        cells = [f"{x:.4f}" for x in ((alone == labels).mean(), right.mean(), ece)]
    cells = [name, f"{len(labels):,}", f"{_ink(images):.1f}", *cells, f"{accepted:.4f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    run_command(main)
