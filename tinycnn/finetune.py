"""Fine-tune the reader on a few corrections: ``python -m tinycnn.finetune FOLDER``.

Both networks start from the shipped weights, always with all corrections: the same
corrections give the same weights, and a correction that is removed is unlearned by the
next fine-tuning. An eighth of the training images are corrections; the others are the
bundled sample, replayed (Robins 1995, "Catastrophic forgetting, rehearsal and
pseudorehearsal").

The network that names digits is trained first. The judge, which may have rejected
unfamiliar handwriting, is trained only if that was not enough; it also replays composed
examples of what is not a digit. The result is interpolated between the old and the new
weights (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models") as near to the
old ones as suffices, so that the reading of other handwriting hardly changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
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
    import argparse

    import numpy as np
    from numpy.typing import NDArray

    from tinycnn.data import Digits
    from tinycnn.nn import Sequential
    from tinycnn.nn.layers import Array
    from tinycnn.nn.weights import Facts
    from tinycnn.reading.practice import Example
    from tinycnn.training.fit import Trainer
    from tinycnn.training.recipes import Recipe

    Images = NDArray[np.uint8]
    Labels = NDArray[np.uint8]

CORRECTIONS_SHARE = 8  # one training image in so many is a correction
COMPOSED = 120  # numbers composed for the judge; each gives several examples
STEPS = (0.25, 0.5, 0.75, 1.0)  # of the way from the old to the new weights


@dataclass(frozen=True)
class FineTuned:
    """The result of a fine-tuning.

    Attributes
    ----------
    model, judge : Sequential
    facts : dict of str to dict
        The facts of both files, by the file's stem.
    figures : dict
        ``corrections``, their number; ``right_before`` and ``right_after``, how many
        of them are named right and not refused; ``test_images``, and of them
        ``test_errors_before`` and ``test_errors_after``; ``data``, the source of the
        test images. "Before" is with the shipped weights.
    """

    model: Sequential
    judge: Sequential
    facts: dict[str, Facts]
    figures: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write ``weights.safetensors`` and ``judge.safetensors``.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        from tinycnn.nn.weights import save_weights

        for name, network in (("weights", self.model), ("judge", self.judge)):
            save_weights(folder / f"{name}.safetensors", network, self.facts[name])


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
    """Fine-tune both networks on corrections.

    Parameters
    ----------
    images : uint8 array (N, 28, 28)
        255 = ink.
    labels : uint8 array (N,)
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
    from tinycnn.reading import practice
    from tinycnn.training.recipes import PRESETS

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
    reader = candidate.reader
    figures = {
        "corrections": len(labels),
        "right_before": candidate.right(images, labels),
        "right_after": 0,
        "test_images": len(digits.test_labels),
        "test_errors_before": candidate.errors(digits.test_images, digits.test_labels),
        "test_errors_after": 0,
        "data": digits.source,
    }
    yield 0.1

    trainer = _trainer(
        models.SHIPPED,
        PRESETS["default"],
        seed,
        (images, labels),
        replay,
        replay_labels,
    )
    yield from _train(trainer, 0.1, 0.45)
    candidate.interpolate(reader.model, trainer.model, images, labels)
    if candidate.right(images, labels) < len(labels):
        rng = np.random.default_rng([seed, 3])  # independent of order and deformations
        examples: list[Example] = []
        for number in range(COMPOSED):
            examples += practice.compose(replay, replay_labels, rng)
            yield 0.45 + 0.2 * number / COMPOSED
        composed, composed_labels = practice.stacked(examples)
        replay = np.concatenate([replay, composed])
        replay_labels = np.concatenate([replay_labels, composed_labels])
        trainer = _trainer(
            models.JUDGE,
            practice.JUDGE,
            seed,
            (images, labels),
            replay,
            replay_labels,
        )
        yield from _train(trainer, 0.65, 0.9)
        candidate.interpolate(reader.judge, trainer.model, images, labels)
    candidate.recalibrate()
    yield 0.9

    figures["right_after"] = candidate.right(images, labels)
    figures["test_errors_after"] = candidate.errors(
        digits.test_images, digits.test_labels
    )
    facts = candidate.facts(seed, len(labels))
    yield FineTuned(reader.model, reader.judge, facts, figures)


class _Candidate:
    """The reader being fine-tuned, and held-out digits that it must still read.

    Parameters
    ----------
    images : uint8 array (N, 28, 28)
        Digits of the sample that are not replayed.
    labels : uint8 array (N,)
    """

    def __init__(self, images: Images, labels: Labels) -> None:
        from tinycnn import models
        from tinycnn.fast import fuse
        from tinycnn.reading.reader import Reader

        self.reader = Reader(models.SHIPPED)
        self._runners = fuse(self.reader.model), fuse(self.reader.judge)
        self.images, self.labels = images, labels
        self.logits_before = self._logits()
        self.threshold_before = self._best_threshold()

    def right(self, images: Images, labels: Labels) -> int:
        """Return how many images are named right and not refused."""
        names, confidence = self._names(images)
        return int(((names == labels) & (confidence >= self.reader.threshold)).sum())

    def errors(self, images: Images, labels: Labels) -> int:
        """Return how many images are named wrong."""
        return int((self._names(images)[0] != labels).sum())

    def interpolate(
        self, network: Sequential, new: Sequential, images: Images, labels: Labels
    ) -> None:
        """Move a network of the reader towards new weights, as little as suffices.

        Of `STEPS`, the one with the most corrections right is taken; of several, the
        one with the fewest errors in the held-out digits; of several, the smallest.
        """
        old = {name: array.copy() for name, array in network.state().items()}
        changes = {name: array - old[name] for name, array in new.state().items()}

        def move(step: float) -> None:
            for name, array in network.state().items():
                array[...] = old[name] + step * changes[name]

        scores = []
        for step in STEPS:
            move(step)
            errors = self.errors(self.images, self.labels)
            scores.append((self.right(images, labels), -errors, -step))
        move(-max(scores)[2])

    def recalibrate(self) -> None:
        """Scale both temperatures and the threshold as their best values have moved.

        The best values on the sample itself would be too confident, because the shipped
        networks were trained on it; only their change is used.
        """
        from tinycnn.reading.reader import joint_logits
        from tinycnn.training.metrics import fit_temperature

        reader, labels = self.reader, self.labels
        (named, judged), (named_before, judged_before) = (
            self._logits(),
            self.logits_before,
        )
        old = reader.temperature
        ratio = fit_temperature(named, labels) / fit_temperature(named_before, labels)
        reader.temperature = round(old * ratio, 4)
        joint = joint_logits(named / reader.temperature, judged)
        joint_before = joint_logits(named_before / old, judged_before)
        ratio = fit_temperature(joint, labels) / fit_temperature(joint_before, labels)
        reader.joint_temperature = round(reader.joint_temperature * ratio, 4)
        ratio = self._best_threshold() / self.threshold_before
        reader.threshold = min(max(round(reader.threshold * ratio, 5), 1e-5), 0.5)

    def facts(self, seed: int, corrections: int) -> dict[str, Facts]:
        """Return the facts of both weights files."""
        from tinycnn import models
        from tinycnn.nn.weights import read_facts

        reader = self.reader
        files = {
            "weights": (models.SHIPPED, {"temperature": reader.temperature}),
            "judge": (
                models.JUDGE,
                {
                    "temperature": reader.joint_temperature,
                    "threshold": reader.threshold,
                },
            ),
        }
        facts = {}
        for name, (path, own) in files.items():
            shipped = read_facts(path)
            kept = {fact: shipped[fact] for fact in ("network", "classes", "views")}
            facts[name] = kept | {
                "began_with": shipped["checksum"],
                "seed": seed,
                "corrections": corrections,
                **own,
            }
        return facts

    def _names(self, images: Images) -> tuple[NDArray[np.int64], Array]:
        """Return the digit that the reader names for each image, and its confidence."""
        shares, is_digit = self.reader.opinions(images.astype("float32") / 255)
        return shares.argmax(axis=1), shares.max(axis=1) * is_digit

    def _best_threshold(self) -> float:
        """Return the best threshold for the held-out digits."""
        from tinycnn.reading.reader import fit_threshold

        return fit_threshold(self._names(self.images)[1])

    def _logits(self) -> tuple[Array, Array]:
        """Return the logits of both networks for the held-out digits."""
        from tinycnn.models import predict

        model, judge = self._runners
        return predict(model, self.images), predict(judge, self.images)


def _trainer(
    start: Path,
    recipe: Recipe,
    seed: int,
    corrections: tuple[Images, Labels],
    replay: Images,
    replay_labels: Labels,
) -> Trainer:
    """Return a trainer of the network in a file, for corrections and replayed images.

    Few corrections are repeated until they are an eighth of all images; each repetition
    is deformed differently.
    """
    import numpy as np

    from tinycnn import fast, models
    from tinycnn.training.fit import Trainer

    images, labels = corrections
    model, facts = models.load(start)
    gentle = replace(
        recipe,
        network=facts["network"],
        views=1,
        epochs=1,
        learning_rate=3e-4,
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


def _train(trainer: Trainer, first: float, last: float) -> Iterator[float]:
    """Train to the end; yield shares of the work from `first` to `last`."""
    total = trainer.recipe.epochs * len(trainer.train_images)
    done = 0
    for item in trainer.run():
        if isinstance(item, int):
            done += item
            yield first + (last - first) * done / total


# --- the command -------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, or the process's arguments.

    Returns 0, or 130 or 143 if a signal stopped it; failures leave by `SystemExit`: 1,
    2, or 3 if training diverged.
    """
    began = time.perf_counter()
    arguments = _parser().parse_args(argv)
    if arguments.threads is not None:  # Numba reads this once, when it is imported
        cores = os.cpu_count() or 1
        os.environ["NUMBA_NUM_THREADS"] = str(max(arguments.threads, cores))
    received: list[int] = []

    def stop(signum: int, _: object) -> None:
        received.append(signum)
        raise _StoppedError

    try:
        with _handling_signals(stop):
            result, folder = _finetune_and_save(arguments)
    except (_StoppedError, ImportError):  # an import may wrap the former in the latter
        if not received:
            raise
        print("stopped; nothing was changed, so start it again", file=sys.stderr)
        return 128 + received[0]
    figures = result.figures | {
        "seed": arguments.seed,
        "seconds": round(time.perf_counter() - began, 2),
        "weights": str(folder / "weights.safetensors"),
        "judge": str(folder / "judge.safetensors"),
    }
    if arguments.json:
        print(json.dumps(figures), flush=True)
    else:
        print(_summary(figures), flush=True)
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
    add(
        "folder",
        type=existing_folder,
        metavar="FOLDER",
        help="an IDX pair, images-idx3-ubyte and labels-idx1-ubyte",
    )
    add(
        "--data",
        type=existing_folder,
        metavar="DIR",
        help="a folder with MNIST's four files, whose test images are read before and "
        "after (default: search, or the bundled sample)",
    )
    seed = "for order and distortions (default: %(default)s)"
    add("--seed", type=integer(0, 2**32 - 1), default=0, metavar="N", help=seed)
    add(
        "--threads",
        type=integer(1, 256),
        metavar="N",
        help="number of threads; no result depends on it (default: one per core)",
    )
    add(
        "--out",
        type=new_folder,
        metavar="DIR",
        help="a new folder for both weights files",
    )
    return parser


def _finetune_and_save(arguments: argparse.Namespace) -> tuple[FineTuned, Path]:
    """Return the result and the folder that it was saved in."""
    from tqdm import tqdm

    from tinycnn.reading import finetuned
    from tinycnn.reading.corrections import Corrections
    from tinycnn.threads import use_threads

    use_threads(arguments.threads)
    try:
        images, labels = Corrections(arguments.folder).read()
        digits = local_mnist(arguments.data)
        (arguments.out or finetuned.folder()).mkdir(parents=True, exist_ok=True)
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
        with _handling_signals(signal.SIG_IGN):  # saving is not interrupted
            if arguments.out is None:
                return result, finetuned.keep(result.save)
            result.save(arguments.out)
            return result, arguments.out
    except ArithmeticError as error:  # `DivergedError`, or logits are not finite
        fail(error, code=3)
    except (ValueError, OSError) as error:
        fail(error)


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
        f"judge: {figures['judge']}\n"
        "to undo it, remove this folder"
    )


class _StoppedError(BaseException):
    """A signal asks the command to end."""


@contextlib.contextmanager
def _handling_signals(
    action: Callable[[int, object], None] | signal.Handlers,
) -> Iterator[None]:
    """Handle SIGINT and SIGTERM by an action inside the block."""
    in_main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    before = [signal.signal(number, action) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


if __name__ == "__main__":
    run_command(main)
