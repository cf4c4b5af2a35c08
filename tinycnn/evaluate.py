"""Measure trained weights on labelled digits: ``python -m tinycnn.evaluate``."""

import argparse
import json
import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING

from tinycnn import _cli

if TYPE_CHECKING:
    from tinycnn.training.metrics import Metrics


def main(argv: list[str] | None = None) -> int:
    """Run the command and return 0; failures leave by `SystemExit`."""
    arguments = _arguments(argv)

    from tinycnn import models
    from tinycnn.data.idx import check_size, content_sha256, from_zero, read_pair
    from tinycnn.data.mnist import FROM_MNIST_TRAINING, load_mnist
    from tinycnn.fast import fuse
    from tinycnn.threads import use_threads
    from tinycnn.training.metrics import measure
    from tinycnn.userfile import explained

    use_threads()
    path = arguments.weights or models.SHIPPED
    try:
        model, facts = models.load(path, arguments.network)
        if facts["network"] == "judge":  # whose temperature is of two networks' sum
            _cli.fail(f"{path} is the judge; name the weights of a network of digits")
        if arguments.images is not None:
            images, labels = read_pair(arguments.images, arguments.labels)
            title = f"images of {arguments.images}"
        else:
            digits = load_mnist(arguments.data)
            images, labels = digits.test_images, digits.test_labels
            title = f"test images of {digits.source}"
        check_size(images, facts["image_size"])
        first = facts["first_label"]
        with explained(arguments.network):
            classes = models.classes(model, images.shape[1:])
            logits = models.predict(fuse(model), images, facts["views"])
        labels = from_zero(labels, first, classes)
        metrics = measure(logits, labels, facts["temperature"])
    except ArithmeticError as error:
        _cli.fail(f"{path}: {error}; train again")
    except (ValueError, OSError) as error:
        _cli.fail(error)
    known = FROM_MNIST_TRAINING if facts.get("data") == "mnist" else ()
    if content_sha256(images) in (facts.get("train_sha256"), *known):
        what = f"{path} was trained on these images: not a measure of its accuracy"
        warnings.warn(what, stacklevel=1)
    if arguments.json:
        figures = asdict(metrics) | {"confusion": metrics.confusion.tolist()}
        print(json.dumps(figures, allow_nan=False))
    else:
        name = facts.get("preset") or facts["network"]
        print(_cli.printable(f"{path} ({name}, seed {facts.get('seed', '?')})"))
        print(_cli.printable(f"on {len(images):,} {title}"))
        print(_report(metrics, first))
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = _cli.Parser(
        "tinycnn evaluate",
        "Measure trained weights on MNIST's test images, or any pair of IDX files.",
        example="runs/first/weights.safetensors",
    )
    add, file = parser.add_argument, _cli.existing_file
    weights = "a weights.safetensors of a run (default: the shipped weights)"
    add("weights", nargs="?", type=file, metavar="WEIGHTS", help=weights)
    network = "the file that defines the network of these weights, if it is your own"
    add("--network", type=_cli.user_function, metavar="FILE.py:NAME", help=network)
    add("--data", type=_cli.existing_folder, metavar="DIR", help=_cli.DATA)
    add("--images", type=file, metavar="FILE", help="images in an IDX file")
    add("--labels", type=file, metavar="FILE", help="their labels in an IDX file")
    given = parser.parse_args(argv)
    if bool(given.images) != bool(given.labels) or (given.images and given.data):
        parser.error("give --images and --labels, or --data, or none of the three")
    return given


def _report(metrics: "Metrics", first: int) -> str:
    """Return the figures as text: of all images, then of each class from ``first``."""
    lines = [
        "",
        f"accuracy  {metrics.accuracy:.2%}  ({metrics.errors} errors)",
        f"NLL       {metrics.nll:.4f}  (mean -log probability of the label)",
        f"ECE       {metrics.ece:.4f}  (mean gap of confidence and accuracy)",
        "",
        "label  images  errors  read as",
    ]
    for label, row in enumerate(metrics.confusion, first):
        wrong = {k: n for k, n in enumerate(row, first) if n and k != label}
        often = sorted(wrong, key=lambda k: -wrong[k])[:3]
        read_as = ", ".join(f"{k} ({wrong[k]})" for k in often)
        counts = f"{label:>5}{row.sum():>8,}{sum(wrong.values()):>8,}"
        lines.append(f"{counts}  {read_as}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    _cli.run_command(main)
