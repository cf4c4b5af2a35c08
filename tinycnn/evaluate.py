"""Measure trained weights on labelled digits: ``python -m tinycnn.evaluate``."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from tinycnn._cli import (
    Parser,
    existing_file,
    existing_folder,
    fail,
    printable,
    run_command,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tinycnn.training.metrics import Metrics


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, or the process's arguments; return 0.

    Failures leave by `SystemExit`.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if (arguments.images is None) != (arguments.labels is None):
        parser.error("arguments --images and --labels: each needs the other")
    if arguments.images is not None and arguments.data is not None:
        parser.error("argument --data: not allowed with --images and --labels")

    from tinycnn import models
    from tinycnn.data import DataError
    from tinycnn.fast import fuse
    from tinycnn.nn.weights import WeightsError
    from tinycnn.threads import use_threads
    from tinycnn.training.metrics import measure

    use_threads()
    path = arguments.weights or models.SHIPPED
    try:
        model, facts = models.load(path)
        if facts["network"] == "judge":  # whose temperature is of two networks' sum
            fail(f"{path} is the judge; name the weights of a network of digits")
        images, labels, title = _digits(arguments)
        views = 5 if facts.get("views") == 5 else 1  # as they were validated
        logits = models.predict(fuse(model), images, views)
        metrics = measure(logits, labels, facts["temperature"])
    except ArithmeticError as error:
        fail(f"{path}: {error}; train again")
    except (DataError, WeightsError, OSError) as error:
        fail(error)
    if arguments.json:
        figures = asdict(metrics) | {"confusion": metrics.confusion.tolist()}
        print(json.dumps(figures, allow_nan=False))
    else:
        preset, seed = facts.get("preset", "?"), facts.get("seed", "?")
        print(printable(f"{path} (preset {preset}, seed {seed})"))
        print(printable(f"on {title}") + f"\n\n{_report(metrics)}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        "tinycnn.evaluate",
        "Measure trained weights on labelled digits: MNIST's test images, or any pair "
        "of IDX files.",
    )
    add = parser.add_argument
    weights = "a weights.safetensors of a run (default: the shipped weights)"
    add("weights", nargs="?", type=existing_file, metavar="WEIGHTS", help=weights)
    data = "the folder of MNIST's four files (default: search, download, or sample)"
    add("--data", type=existing_folder, metavar="DIR", help=data)
    add("--images", type=existing_file, metavar="FILE", help="images in an IDX file")
    labels = "their labels in an IDX file"
    add("--labels", type=existing_file, metavar="FILE", help=labels)
    return parser


def _digits(
    arguments: argparse.Namespace,
) -> "tuple[NDArray[np.uint8], NDArray[np.uint8], str]":
    """Return images, labels and what they are."""
    from tinycnn.data import load_mnist, read_pair

    if arguments.images is not None:
        images, labels = read_pair(arguments.images, arguments.labels)
        return images, labels, f"{len(images):,} images of {arguments.images}"
    digits = load_mnist(arguments.data)
    name = {
        "mnist": "MNIST",
        "sample": "the bundled sample, which is part of MNIST's training set",
    }.get(digits.source, digits.source)
    count = len(digits.test_images)
    return digits.test_images, digits.test_labels, f"{count:,} test images of {name}"


def _report(metrics: "Metrics") -> str:
    """Return the figures as text: of all images, then of each digit."""
    lines = [
        f"accuracy  {metrics.accuracy:.2%}  ({metrics.errors} errors)",
        f"NLL       {metrics.nll:.4f}  (mean -log probability of the label)",
        f"ECE       {metrics.ece:.4f}  (mean gap of confidence and accuracy)",
        "",
        "digit  images  errors  read as",
    ]
    for digit, row in enumerate(metrics.confusion):
        wrong = {k: n for k, n in enumerate(row) if n and k != digit}
        often = sorted(wrong, key=lambda k: -wrong[k])[:3]
        read_as = ", ".join(f"{k} ({wrong[k]})" for k in often)
        counts = f"{digit:>5}{row.sum():>8,}{sum(wrong.values()):>8,}"
        lines.append(f"{counts}  {read_as}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
