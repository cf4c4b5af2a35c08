"""Measure trained weights on labelled digits: ``python -m tinycnn.evaluate``."""

import argparse
import json
import math
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinycnn import _cli

if TYPE_CHECKING:
    from tinycnn.data.idx import UInt8
    from tinycnn.userfile import UserFunction

MOST_DRAWN = 400  # mistakes on a sheet


def main(argv: list[str] | None = None) -> int:
    """Run the command and return 0; failures leave by `SystemExit`."""
    arguments = _arguments(argv)
    pair = arguments.images and (arguments.images, arguments.labels)
    try:
        found = Evaluation(arguments.weights, arguments.network, arguments.data, pair)
        mistakes = found.mistakes()
        if arguments.mistakes:
            _draw_mistakes(arguments.mistakes, found.images, mistakes)
    except ArithmeticError as error:
        _cli.fail(f"{arguments.weights or 'the shipped weights'}: {error}")
    except (ValueError, OSError) as error:
        _cli.fail(error)
    metrics, facts = found.metrics, found.facts
    if arguments.json:
        figures = asdict(metrics) | {"confusion": metrics.confusion.tolist()}
        figures |= found.refused | {"mistakes": mistakes}
        print(json.dumps(figures, allow_nan=False))
    else:
        name = facts.get("preset") or facts["network"]
        print(_cli.printable(f"{found.path} ({name}, seed {facts.get('seed', '?')})"))
        print(_cli.printable(f"on {len(found.images):,} {found.title}"))
        pairs = Counter(f"{one['label']} as {one['answer']}" for one in mistakes)
        often = ", ".join(f"{pair} ({n})" for pair, n in pairs.most_common(5))
        print(f"\naccuracy  {metrics.accuracy:.2%}  ({metrics.errors} errors)")
        print(f"NLL       {metrics.nll:.4f}  (mean -log probability of the label)")
        print(f"ECE       {metrics.ece:.4f}  (mean gap of confidence and accuracy)")
        print(f"mistakes  {often or 'none'}")
        for name, count in found.refused.items():
            print(f"{name}   {count}  (as no digits, by the reader)")
    return 0


class Evaluation:
    """Weights, and what they make of test images or of an IDX pair.

    Attributes
    ----------
    path, facts : Path, dict
        Of the weights (default: the shipped ones); see `tinycnn.models.load`.
    images, labels, title : uint8 array (N, H, W), uint8 array (N,), str
        Labels are class numbers.
    runner : Runner
    probabilities : float64 array (N, K)
    metrics : Metrics
    refused : dict
        Of a reader ``"refused"``, the images that it refuses; the figures are of the
        ten digits' logits.

    Raises
    ------
    ValueError, OSError, ArithmeticError
        With a sentence. It warns if the weights were trained on these images.
    """

    def __init__(
        self,
        path: Path | None,
        network: "UserFunction | None" = None,
        data: Path | None = None,
        pair: tuple[Path, Path] | None = None,
    ) -> None:
        from tinycnn import fast, models, nn, pretrained, threads, userfile
        from tinycnn.data import idx, mnist
        from tinycnn.training import metrics

        threads.use_threads()
        self.path = path = path or models.SHIPPED
        model, self.facts = models.load(path, network)
        facts, temperature = self.facts, self.facts["temperature"]
        if pair is not None:
            self.images, labels = idx.read_pair(*pair)
            self.title = f"images of {pair[0]}"
        else:
            digits = mnist.load_mnist(data)
            self.images, labels = digits.test_images, digits.test_labels
            self.title = f"test images of {digits.source}"
        idx.check_size(self.images, facts["image_size"])
        self.runner, self.refused = fast.fuse(model), {}
        with userfile.explained(network):
            logits = models.predict(self.runner, self.images, facts["views"])
        if facts["network"] == "reader":
            sure = pretrained.class_shares(logits, temperature)[:, :10].max(axis=1)
            self.refused["refused"] = int((sure < pretrained.THRESHOLD).sum())
            logits = logits[:, :10]
        self.labels = idx.from_zero(labels, facts["first_label"], logits.shape[1])
        known = mnist.FROM_MNIST_TRAINING if facts.get("data") == "mnist" else ()
        if idx.content_sha256(self.images) in (facts.get("train_sha256"), *known):
            what = f"{path} was trained on these images: not a measure of its accuracy"
            warnings.warn(what, stacklevel=1)
        self.metrics = metrics.measure(logits, self.labels, temperature)
        self.probabilities = nn.softmax(logits.astype(float) / temperature)

    def mistakes(self) -> list[dict[str, Any]]:
        """Return index, label, answer and confidence of each, the surest first."""
        first, answers = self.facts["first_label"], self.probabilities.argmax(axis=1)
        confidence, wrong = self.probabilities.max(axis=1), answers != self.labels
        return [
            {
                "index": int(n),
                "label": int(self.labels[n]) + first,
                "answer": int(answers[n]) + first,
                "confidence": float(confidence[n]),
            }
            for n in (-confidence).argsort(kind="stable")
            if wrong[n]
        ]


def _draw_mistakes(path: Path, images: "UInt8", mistakes: list[dict[str, Any]]) -> None:
    """Draw ten images a row, each over its index, label, answer and confidence."""
    from PIL import Image, ImageDraw, ImageFont, ImageOps

    shown = mistakes[:MOST_DRAWN]
    sheet = Image.new("L", (960, 124 * max(math.ceil(len(shown) / 10), 1)), 255)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for place, mistake in enumerate(shown):
        x, y = 96 * (place % 10), 124 * (place // 10)
        digit = Image.fromarray(255 - images[mistake["index"]])
        digit = ImageOps.contain(digit, (84, 84), Image.Resampling.NEAREST)
        sheet.paste(digit, (x + 6, y + 4))
        about = "{index}\n{label} as {answer}, {confidence:.1%}".format(**mistake)
        draw.text((x + 48, y + 90), about, 0, font, "ma", align="center")
    sheet.save(path, optimize=True)


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
    sheet = "draw the misread digits, the surest first, into a PNG"
    png = _cli.file_to_write(".png")
    add("--mistakes", type=png, metavar="FILE.png", help=sheet)
    given = parser.parse_args(argv)
    if bool(given.images) != bool(given.labels) or (given.images and given.data):
        parser.error("give --images and --labels, or --data, or none of the three")
    return given


if __name__ == "__main__":
    _cli.run_command(main)
