"""How good is it, and where does it fail? ``python -m tinycnn.evaluate`` tells.

It knows arguments, messages and exit codes; `tinycnn.training.metrics` measures.
"""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from tinycnn._cli import Parser, existing_file, existing_folder, fail, run_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tinycnn.training.metrics import Bin, Metrics


def main(argv: list[str] | None = None) -> int:
    """Measure weights on labelled digits and print what came out.

    Parameters
    ----------
    argv : list of str or None
        The arguments; None takes those of the process.

    Returns
    -------
    int
        0. What goes wrong leaves by `SystemExit`.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if (arguments.images is None) != (arguments.labels is None):
        parser.error("arguments --images and --labels: each needs the other")
    if arguments.images is not None and arguments.data is not None:
        parser.error("argument --data: not allowed with --images and --labels")

    from tinycnn import models
    from tinycnn.data import DataError
    from tinycnn.nn.weights import TensorFileError
    from tinycnn.threads import use_threads
    from tinycnn.training.fit import evaluate

    use_threads()
    path = arguments.weights or models.SHIPPED
    try:
        model, temperature, metadata = models.load_naming(path)
        images, labels, title = _digits(arguments)
        metrics = evaluate(model, images, labels, temperature)
    except ArithmeticError as error:
        fail(f"{path}: {error}; train again")
    except MemoryError:
        fail("not enough memory for these images; split them")
    except (DataError, TensorFileError, OSError) as error:
        fail(error)
    if arguments.json:
        facts = asdict(metrics) | {
            "reliability": [one._asdict() for one in metrics.reliability],
            "least_confident": metrics.least_confident._asdict(),
            "confusion": metrics.confusion.tolist(),
        }
        print(json.dumps(facts))
    else:
        preset = (
            f"preset {metadata.get('preset', '?')}, seed {metadata.get('seed', '?')}"
        )
        print(f"{path} ({preset})\non {title}\n\n{_report(metrics)}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        "tinycnn.evaluate",
        "Measure trained weights on labelled digits: MNIST's test images, or any IDX "
        "pair.",
    )
    parser.add_argument(
        "weights",
        nargs="?",
        type=existing_file,
        metavar="WEIGHTS",
        help="a weights.safetensors of a run (default: the weights that come along)",
    )
    parser.add_argument(
        "--data",
        type=existing_folder,
        metavar="DIR",
        help="the folder of MNIST's four files (default: search, download, or sample)",
    )
    parser.add_argument(
        "--images", type=existing_file, metavar="FILE", help="images in an IDX file"
    )
    parser.add_argument(
        "--labels", type=existing_file, metavar="FILE", help="their labels, likewise"
    )
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
    """Return the figures as text: the whole, by confidence, by digit, mistakes."""
    from tinycnn.training.metrics import most_confused

    lines = [
        f"accuracy  {metrics.accuracy:.2%}  ({metrics.errors} errors)",
        f"NLL       {metrics.nll:.4f}  (mean -log probability of the label)",
        f"ECE       {metrics.ece:.4f}  (mean gap of confidence and accuracy)",
        "",
        "confidence  accuracy  images",
        *(_line(one) for one in metrics.reliability),
        f"{_line(metrics.least_confident)}  least sure of all",
        "",
        "digit  images  errors",
    ]
    for digit, row in enumerate(metrics.confusion):
        lines.append(f"{digit:>5}{row.sum():>8,}{row.sum() - row[digit]:>8,}")
    confused = most_confused(metrics.confusion)
    if confused:
        lines += ["", "most confused"]
    for label, prediction, images in confused:
        lines.append(f"  {label} read as {prediction}: {images}")
    return "\n".join(lines)


def _line(images: "Bin") -> str:
    """Return a line of the table of confidence."""
    return f"{images.confidence:>10.4f}{images.accuracy:>10.4f}{images.images:>8,}"


if __name__ == "__main__":
    run_command(main)
