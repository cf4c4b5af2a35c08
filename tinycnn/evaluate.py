"""Measure trained weights on labelled digits: ``python -m tinycnn.evaluate``."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from tinycnn import _cli

if TYPE_CHECKING:
    from tinycnn.training.metrics import Metrics


def main(argv: list[str] | None = None) -> int:
    """Run the command and return 0; failures leave by `SystemExit`."""
    arguments = _arguments(argv)

    from tinycnn import models
    from tinycnn.data import load_mnist, read_pair
    from tinycnn.fast import fuse
    from tinycnn.threads import use_threads
    from tinycnn.training.metrics import measure

    use_threads()
    path = arguments.weights or models.SHIPPED
    try:
        model, facts = models.load(path)
        if facts["network"] == "judge":  # whose temperature is of two networks' sum
            _cli.fail(f"{path} is the judge; name the weights of a network of digits")
        if arguments.images is not None:
            images, labels = read_pair(arguments.images, arguments.labels)
            title = f"images of {arguments.images}"
        else:
            digits = load_mnist(arguments.data)
            images, labels = digits.test_images, digits.test_labels
            title = f"test images of {digits.source}"
        views = 5 if facts.get("views") == 5 else 1  # as they were validated
        logits = models.predict(fuse(model), images, views)
        metrics = measure(logits, labels, facts["temperature"])
    except ArithmeticError as error:
        _cli.fail(f"{path}: {error}; train again")
    except (ValueError, OSError) as error:
        _cli.fail(error)
    if arguments.json:
        figures = asdict(metrics) | {"confusion": metrics.confusion.tolist()}
        print(json.dumps(figures, allow_nan=False))
    else:
        preset, seed = facts.get("preset", "?"), facts.get("seed", "?")
        print(_cli.printable(f"{path} (preset {preset}, seed {seed})"))
        print(_cli.printable(f"on {len(images):,} {title}"))
        print(_report(metrics))
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    what = "Measure trained weights on MNIST's test images, or any pair of IDX files."
    parser = _cli.Parser("tinycnn.evaluate", what)
    add, file = parser.add_argument, _cli.existing_file
    weights = "a weights.safetensors of a run (default: the shipped weights)"
    add("weights", nargs="?", type=file, metavar="WEIGHTS", help=weights)
    data = "the folder of MNIST's four files (default: search, download, or sample)"
    add("--data", type=_cli.existing_folder, metavar="DIR", help=data)
    add("--images", type=file, metavar="FILE", help="images in an IDX file")
    add("--labels", type=file, metavar="FILE", help="their labels in an IDX file")
    given = parser.parse_args(argv)
    if bool(given.images) != bool(given.labels) or (given.images and given.data):
        parser.error("give --images and --labels, or --data, or none of the three")
    return given


def _report(metrics: "Metrics") -> str:
    """Return the figures as text: of all images, then of each digit."""
    lines = [
        "",
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
    _cli.run_command(main)
