"""Fine-tune the reader on a few corrections: ``python -m tinycnn.finetune FOLDER``.

The network starts from the shipped weights, always with all corrections: the same
corrections give the same weights, and a correction that is removed is unlearned by the
next fine-tuning. An eighth of the training images are corrections; the others are the
bundled sample, and numbers composed of it, replayed (Robins 1995, "Catastrophic
forgetting, rehearsal and pseudorehearsal").

The result is interpolated between the old and the new weights (Wortsman et al. 2022,
"Robust fine-tuning of zero-shot models") as near to the old ones as suffices, so that
the reading of other handwriting hardly changes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinycnn._cli import (
    Parser,
    existing_folder,
    fail,
    integer,
    new_folder,
    run_command,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tinycnn.data import Digits
    from tinycnn.nn import Sequential
    from tinycnn.nn.weights import Facts
    from tinycnn.training.fit import Trainer

    Images = NDArray[np.uint8]
    Labels = NDArray[np.uint8]

CORRECTIONS_SHARE = 8  # one training image in so many is a correction
COMPOSED = 60  # numbers composed of the sample; each gives some fifty images
STEPS = (0.25, 0.5, 0.75, 1.0)  # of the way from the old to the new weights


@dataclass(frozen=True)
class FineTuned:
    """The result of a fine-tuning.

    Attributes
    ----------
    model : Sequential
    facts : dict
        Of its file.
    figures : dict
        ``corrections``, their number; ``right_before`` and ``right_after``, how many
        of them the reader gets right: reads as this digit, or refuses if it is none;
        ``test_images``, and of them ``test_errors_before`` and ``test_errors_after``;
        ``data``, the source of the test images. "Before" is with the shipped weights.
    """

    model: Sequential
    facts: Facts
    figures: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write ``weights.safetensors``; raise OSError if it cannot be written."""
        from tinycnn.nn.weights import save_weights

        save_weights(folder / "weights.safetensors", self.model, self.facts)


def local_mnist(folder: str | Path | None = None) -> Digits:
    """Return MNIST if it is on this machine, else the sample, without a download.

    Parameters
    ----------
    folder : str or Path or None
        A folder with the four files.

    Raises
    ------
    DataError
        See `tinycnn.data.load_mnist`.
    """
    from tinycnn.data import load_mnist

    digits = load_mnist(folder, report=lambda line: None, online=False)  # noqa: ARG005
    return digits.for_network()


def finetune(
    images: Images, labels: Labels, digits: Digits, seed: int = 0
) -> Iterator[float | FineTuned]:
    """Fine-tune the reader's network on corrections.

    Parameters
    ----------
    images : uint8 array (N, 28, 28)
        255 = ink.
    labels : uint8 array (N,)
        0 to 9, or 10 for what is no digit.
    digits : Digits
        Only its test images are used, for the figures.
    seed : int
        Of the order, the deformations and the composed examples.

    Yields
    ------
    float or FineTuned
        The share of the work done, many times; at last the result.

    Raises
    ------
    ValueError
        If there are no corrections.
    DivergedError
        If a loss is not finite.
    WeightsError, OSError
        If the shipped weights cannot be read.
    """
    import numpy as np

    from tinycnn import models
    from tinycnn.data import load_mnist, split_validation
    from tinycnn.data.mnist import SAMPLE_FOLDER
    from tinycnn.nn.weights import read_facts
    from tinycnn.reading import practice

    if len(labels) == 0:
        raise ValueError("there are no corrections to learn from")
    sample = load_mnist(SAMPLE_FOLDER)
    replay, replay_labels, *held_out = split_validation(
        sample.train_images, sample.train_labels
    )
    candidate = _Candidate(
        np.concatenate([held_out[0], sample.test_images]),
        np.concatenate([held_out[1], sample.test_labels]),
    )
    tests = digits.test_images, digits.test_labels
    figures = {
        "corrections": len(labels),
        "right_before": candidate.right(images, labels),
        "right_after": 0,
        "test_images": len(digits.test_labels),
        "test_errors_before": candidate.errors(*tests),
        "test_errors_after": 0,
        "data": digits.source,
    }
    yield 0.1
    rng = np.random.default_rng([seed, 3])  # independent of order and deformations
    parts = [(replay, replay_labels)]
    for number in range(COMPOSED):
        parts.append(practice.stacked(practice.compose(replay, replay_labels, rng)))
        yield 0.1 + 0.3 * number / COMPOSED
    replay, replay_labels = map(np.concatenate, zip(*parts, strict=True))
    trainer = _trainer(seed, images, labels, replay, replay_labels)
    total = trainer.recipe.epochs * len(trainer.train_images)
    for item in trainer.run():
        if isinstance(item, int):
            yield 0.4 + 0.5 * trainer.images / total
    candidate.interpolate(trainer.model, images, labels)
    figures["right_after"] = candidate.right(images, labels)
    figures["test_errors_after"] = candidate.errors(*tests)
    shipped = read_facts(models.SHIPPED)
    facts = {name: shipped[name] for name in ("network", "classes", "views")} | {
        "began_with": shipped["checksum"],
        "seed": seed,
        "corrections": len(labels),
        "temperature": candidate.temperature,
    }
    yield FineTuned(candidate.model, facts, figures)


class _Candidate:
    """The network being fine-tuned, and held-out digits that it must still read.

    Parameters
    ----------
    images : uint8 array (N, 28, 28)
        Digits of the sample that are not replayed.
    labels : uint8 array (N,)
    """

    def __init__(self, images: Images, labels: Labels) -> None:
        from tinycnn import models
        from tinycnn.fast import fuse

        self.model, facts = models.load(models.SHIPPED)
        self.temperature: float = facts["temperature"]
        self._runner = fuse(self.model)
        self.images, self.labels = images, labels

    def right(self, images: Images, labels: Labels) -> int:
        """Return how many images are read as labelled: a digit, or refused."""
        import numpy as np

        from tinycnn.models import predict
        from tinycnn.pretrained import NONE, THRESHOLD, digit_shares

        shares = digit_shares(predict(self._runner, images), self.temperature)
        refused = shares.max(axis=1) < THRESHOLD
        read = np.where(refused, NONE, shares.argmax(axis=1))
        return int((read == labels).sum())

    def errors(self, images: Images, labels: Labels) -> int:
        """Return how many images of digits are named wrong."""
        from tinycnn.models import predict

        names = predict(self._runner, images)[:, :10].argmax(axis=1)
        return int((names != labels).sum())

    def interpolate(self, new: Sequential, images: Images, labels: Labels) -> None:
        """Move the network towards new weights, as little as suffices.

        Of `STEPS`, the one with the most corrections right is taken; of several, the
        one with the fewest errors in the held-out digits; of several, the smallest. The
        temperature is scaled as its best value for these digits has moved: that value
        itself would be too confident, as the network has learned from them.
        """
        old = {name: array.copy() for name, array in self.model.state().items()}
        changes = {name: array - old[name] for name, array in new.state().items()}
        before = self._best_temperature()

        def move(step: float) -> None:
            for name, array in self.model.state().items():
                array[...] = old[name] + step * changes[name]

        scores = []
        for step in STEPS:
            move(step)
            errors = self.errors(self.images, self.labels)
            scores.append((self.right(images, labels), -errors, -step))
        move(-max(scores)[2])
        ratio = self._best_temperature() / before
        self.temperature = round(self.temperature * ratio, 4)

    def _best_temperature(self) -> float:
        from tinycnn.models import predict
        from tinycnn.training.metrics import fit_temperature

        return fit_temperature(predict(self._runner, self.images), self.labels)


def _trainer(
    seed: int, images: Images, labels: Labels, replay: Images, replay_labels: Labels
) -> Trainer:
    """Return a trainer of the shipped network, for corrections and replayed images.

    Few corrections are repeated until they are an eighth of all images; each repetition
    is deformed differently.
    """
    import numpy as np

    from tinycnn import fast, models
    from tinycnn.training.fit import Trainer
    from tinycnn.training.recipes import PRESETS

    model, _ = models.load(models.SHIPPED)
    gentle = replace(
        PRESETS["reader"],
        epochs=1,
        learning_rate=1e-3,
        schedule="cosine",
        weight_decay=0.0,
        average_decay=0.0,
    )
    count = max(len(replay) // (CORRECTIONS_SHARE - 1), len(labels))
    repeated = np.arange(count) % len(labels)
    return Trainer(
        gentle,
        seed,
        model,
        fast.Adam(model.parameters()),
        np.concatenate([replay, images[repeated]]),
        np.concatenate([replay_labels, labels[repeated]]),
        images,
        labels,
        prepare=fast.fuse,
    )


# --- the command -------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, or the process's arguments, and return 0.

    Failures leave by `SystemExit`: 1, 2, or 3 if training diverged. Until the end
    nothing is written, and then at once: a signal damages nothing.
    """
    began = time.perf_counter()
    arguments = _parser().parse_args(argv)
    if arguments.threads is not None:  # Numba reads this once, when it is imported
        cores = os.cpu_count() or 1
        os.environ["NUMBA_NUM_THREADS"] = str(max(arguments.threads, cores))

    from tqdm import tqdm

    from tinycnn.reading import finetuned
    from tinycnn.reading.corrections import Corrections
    from tinycnn.threads import use_threads

    use_threads(arguments.threads)
    try:
        images, labels = Corrections(arguments.folder).read(11)
        digits = local_mnist(arguments.data)
        folder = arguments.out or finetuned.folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tqdm(
            total=1000,
            bar_format="{l_bar}{bar}| {elapsed}",
            disable=not sys.stderr.isatty(),
        ) as bar:
            for item in finetune(images, labels, digits, arguments.seed):
                if isinstance(item, FineTuned):
                    result = item
                else:
                    bar.update(int(1000 * item) - bar.n)
        if arguments.out is None:
            folder = finetuned.keep(result.save)
        else:
            result.save(folder)
    except ArithmeticError as error:  # `DivergedError`, or logits are not finite
        fail(error, code=3)
    except (ValueError, OSError) as error:
        fail(error)
    figures = result.figures | {
        "seed": arguments.seed,
        "seconds": round(time.perf_counter() - began, 2),
        "weights": str(folder / "weights.safetensors"),
    }
    print(json.dumps(figures) if arguments.json else _summary(figures), flush=True)
    return 0


def _parser() -> Parser:
    parser = Parser(
        "tinycnn finetune",
        "Fine-tune the reader on corrections that the drawing window saved, starting "
        "from the shipped weights; it takes seconds. Without --out, the window reads "
        "with the result.",
        example="corrections --out better",
    )
    add = parser.add_argument
    kept = "the folder in which the window keeps corrections"
    add("folder", type=existing_folder, metavar="FOLDER", help=kept)
    data = "a folder with MNIST's four files, whose test images are read before and "
    data += "after (default: search, or the bundled sample)"
    add("--data", type=existing_folder, metavar="DIR", help=data)
    seed = "for order and distortions (default: %(default)s)"
    add("--seed", type=integer(0, 2**32 - 1), default=0, metavar="N", help=seed)
    threads = "number of threads; no result depends on it (default: one per core)"
    add("--threads", type=integer(1, 256), metavar="N", help=threads)
    out = "a new folder for the weights file"
    add("--out", type=new_folder, metavar="DIR", help=out)
    return parser


def _summary(figures: dict[str, Any]) -> str:
    """Return the figures as text."""
    names = {"mnist": "MNIST", "sample": "the bundled sample"}
    data = names.get(figures["data"], figures["data"])
    return (
        f"of {figures['corrections']:,} corrections, {figures['right_after']:,} are "
        f"right now ({figures['right_before']:,} before), after "
        f"{figures['seconds']:.0f} s\n"
        f"errors in the {figures['test_images']:,} test images of {data}: "
        f"{figures['test_errors_after']:,} ({figures['test_errors_before']:,} before)\n"
        f"weights: {figures['weights']}\n"
        "to undo it, remove this folder"
    )


if __name__ == "__main__":
    run_command(main)
