"""Learning from corrections: a few digits of one hand, without forgetting the others.

Both networks start from the weights that ship, always with all corrections: the same
corrections give the same weights, and one that was taken back is unlearned by learning
again. Corrections are an eighth of what a network sees; the rest is the bundled sample,
replayed (Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal").

First the network that names digits learns. Only if that is not enough does the judge,
which may have taken a strange hand for none; it is also shown again what is no digit.
Of the way from the old to the new weights only the part that is needed is gone
(Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"): more would change the
reading of other hands for nothing.

It knows the reader and its two networks. It does not know where corrections come from,
where weights are kept, or who is watching: whoever loops over `learn` decides that.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycnn import models
from tinycnn.data import Digits, load_mnist, split_validation
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.nn import Sequential
from tinycnn.nn.layers import Array
from tinycnn.nn.weights import load_weights, read_metadata, save_weights
from tinycnn.reading import practice
from tinycnn.reading.reader import Reader, joint_logits
from tinycnn.training.fit import Trainer, logits_of
from tinycnn.training.metrics import fit_temperature, fit_threshold
from tinycnn.training.recipes import JUDGE, PRESETS, Recipe

SHARE = 8  # one image in so many is a correction
NUMBERS = 120  # composed for the judge; twice the scribbles, half of it written
PARTS = (0.25, 0.5, 0.75, 1.0)  # of the way from the old to the new weights
Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Learnt:
    """What was learned.

    Attributes
    ----------
    model, judge : Sequential
    facts : dict of str to (dict of str to str)
        The metadata of both, by the name of the file.
    figures : dict
        ``corrections``, how many; ``right_before`` and ``right_after``, how many of
        them the reader names right and does not refuse; ``test_images``, and of them
        ``test_errors_before`` and ``test_errors_after``; ``data``, whose test images
        they are. Before is what ships.
    """

    model: Sequential
    judge: Sequential
    facts: dict[str, dict[str, str]]
    figures: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write ``weights.safetensors`` and ``judge.safetensors``.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        for name, network in (("weights", self.model), ("judge", self.judge)):
            save_weights(folder / f"{name}.safetensors", network, self.facts[name])


def present_digits(folder: str | Path | None = None) -> Digits:
    """Return MNIST if it is on this machine, else the sample; nothing is downloaded.

    Parameters
    ----------
    folder : str or Path or None
        A folder with the four files.

    Raises
    ------
    DataError
        As `tinycnn.data.load_mnist`.
    """
    return load_mnist(folder, report=lambda line: None, online=False)  # noqa: ARG005


def learn(
    images: Images, labels: Labels, digits: Digits, seed: int = 0
) -> Iterator[float | Learnt]:
    """Learn from corrections.

    Parameters
    ----------
    images : uint8 array (N, 28, 28)
        255 = ink.
    labels : uint8 array (N,)
    digits : Digits
        Only its test images are looked at, before and after.
    seed : int
        Of the order, the deformations and the examples of what is no digit.

    Yields
    ------
    float or Learnt
        The share of the work that is done, many times; at last what was learned.

    Raises
    ------
    ValueError
        If there are no corrections.
    DivergedError
        If a loss is not finite.
    TensorFileError, OSError
        If the weights that ship cannot be read.
    """
    if len(labels) == 0:
        raise ValueError("there are no corrections to learn from")
    sample = load_mnist(SAMPLE_FOLDER)
    replay, replay_labels, *held = split_validation(
        sample.train_images, sample.train_labels
    )
    rng = np.random.default_rng([seed, 3])  # apart from order and deformations
    pupil = _Pupil(
        np.concatenate([held[0], sample.test_images]),
        np.concatenate([held[1], sample.test_labels]),
    )
    figures = {
        "corrections": len(labels),
        "right_before": pupil.right(images, labels),
        "right_after": 0,
        "test_images": len(digits.test_labels),
        "test_errors_before": pupil.errors(digits.test_images, digits.test_labels),
        "test_errors_after": 0,
        "data": digits.source,
    }
    yield 0.1

    trainer = _trainer(
        models.SHIPPED,
        PRESETS["default"],
        seed,
        images,
        labels,
        replay,
        replay_labels,
    )
    yield from _shares(trainer, 0.1, 0.45)
    pupil.go_towards(trainer.model, pupil.reader.model, images, labels)
    if pupil.right(images, labels) < len(labels):
        examples: list[practice.Example] = []
        for number in range(NUMBERS):
            examples += practice.compose(replay, replay_labels, rng)
            yield 0.45 + 0.2 * number / NUMBERS
        made, made_labels = practice.stacked(examples)
        trainer = _trainer(
            models.JUDGE,
            JUDGE,
            seed,
            images,
            labels,
            np.concatenate([replay, made]),
            np.concatenate([replay_labels, made_labels]),
        )
        yield from _shares(trainer, 0.65, 0.9)
        pupil.go_towards(trainer.model, pupil.reader.judge, images, labels)
    pupil.refit()
    yield 0.9

    figures["right_after"] = pupil.right(images, labels)
    figures["test_errors_after"] = pupil.errors(digits.test_images, digits.test_labels)
    yield Learnt(
        pupil.reader.model, pupil.reader.judge, pupil.facts(seed, len(labels)), figures
    )


class _Pupil:
    """The reader that learns, and the sample's digits that watch over it.

    Parameters
    ----------
    images : uint8 array (N, 28, 28)
        Digits that are not replayed.
    labels : uint8 array (N,)
    """

    def __init__(self, images: Images, labels: Labels) -> None:
        self.reader = Reader(models.SHIPPED)
        self.images, self.labels = images, labels
        self.before = self._logits()
        self.best_threshold = self._best_threshold()

    def right(self, images: Images, labels: Labels) -> int:
        """Return how many images are named right and not refused."""
        names, confidence = self._names(images)
        return int(((names == labels) & (confidence >= self.reader.threshold)).sum())

    def errors(self, images: Images, labels: Labels) -> int:
        """Return how many images are named wrong."""
        return int((self._names(images)[0] != labels).sum())

    def go_towards(
        self, new: Sequential, network: Sequential, images: Images, labels: Labels
    ) -> None:
        """Give a network of the reader the least part of the change that is enough.

        That is the part with which most corrections are right; among these the one
        with the fewest errors in the sample's digits; among these the least.
        """
        old = {name: array.copy() for name, array in network.state().items()}
        changes = {name: array - old[name] for name, array in new.state().items()}

        def go(part: float) -> None:
            for name, array in network.state().items():
                array[...] = old[name] + np.float32(part) * changes[name]

        scores = []
        for part in PARTS:
            go(part)
            errors = self.errors(self.images, self.labels)
            scores.append((self.right(images, labels), -errors, -part))
        go(-max(scores)[2])

    def refit(self) -> None:
        """Refit both temperatures and the threshold.

        The networks that ship have learned the sample's digits, and would be taken for
        surer than they are with others. What counts is how far learning has moved what
        fits the sample best.
        """
        reader, labels = self.reader, self.labels
        (named, judged), (was_named, was_judged) = self._logits(), self.before
        old = reader.temperature
        moved = fit_temperature(named, labels) / fit_temperature(was_named, labels)
        reader.temperature = round(old * moved, 4)
        both = joint_logits(named / np.float32(reader.temperature), judged)
        was_both = joint_logits(was_named / np.float32(old), was_judged)
        moved = fit_temperature(both, labels) / fit_temperature(was_both, labels)
        reader.joint_temperature = round(reader.joint_temperature * moved, 4)
        moved = self._best_threshold() / self.best_threshold
        reader.threshold = min(max(round(reader.threshold * moved, 5), 1e-5), 0.5)

    def facts(self, seed: int, corrections: int) -> dict[str, dict[str, str]]:
        """Return the metadata of both weights files."""
        learnt = {"seed": str(seed), "corrections": str(corrections)}
        origin = {
            "weights": read_metadata(models.SHIPPED),
            "judge": read_metadata(models.JUDGE),
        }
        own = {
            "weights": {"temperature": self.reader.temperature},
            "judge": {
                "temperature": self.reader.joint_temperature,
                "threshold": self.reader.threshold,
            },
        }
        return {
            name: {
                "architecture": metadata["architecture"],
                "began_with": metadata["checksum"],
                **learnt,
                **{key: str(value) for key, value in own[name].items()},
            }
            for name, metadata in origin.items()
        }

    def _names(self, images: Images) -> tuple[NDArray[np.int64], Array]:
        """Return what the reader names images, and its confidence."""
        names: list[NDArray[np.int64]] = []
        confidence: list[Array] = []
        for start in range(0, len(images), 1000):  # in float32 they are larger
            shares, is_digit = self.reader.opinions(_ink(images[start : start + 1000]))
            names.append(shares.argmax(axis=1))
            confidence.append(shares.max(axis=1) * is_digit)
        return np.concatenate(names), np.concatenate(confidence)

    def _best_threshold(self) -> float:
        """Return the threshold that fits the sample's digits."""
        return fit_threshold(self._names(self.images)[1])

    def _logits(self) -> tuple[Array, Array]:
        """Return what both networks say of the sample's digits."""
        model, judge = self.reader.model, self.reader.judge
        return logits_of(model, self.images), logits_of(judge, self.images)


def _trainer(
    start: Path,
    recipe: Recipe,
    seed: int,
    images: Images,
    labels: Labels,
    replay: Images,
    replay_labels: Labels,
) -> Trainer:
    """Return a trainer of the network in a file, for corrections among what it knows.

    Few corrections are shown as often as makes them an eighth of all images, each time
    deformed otherwise.
    """
    gentle = replace(
        recipe,
        architecture=read_metadata(start)["architecture"],
        epochs=1,
        learning_rate=3e-4,
        schedule="cosine",
        weight_decay=0.0,
        average_decay=0.0,
    )
    count = max(len(replay) // (SHARE - 1), len(labels))
    chosen = np.arange(count) % len(labels)
    trainer = Trainer(
        gentle,
        seed,
        np.concatenate([replay, images[chosen]]),
        np.concatenate([replay_labels, labels[chosen]]),
        images,
        labels,
    )
    load_weights(start, trainer.model)
    return trainer


def _shares(trainer: Trainer, first: float, last: float) -> Iterator[float]:
    """Train to the end and yield the shares of the work that are done."""
    total = trainer.recipe.epochs * len(trainer.train_images)
    done = 0
    for item in trainer.run():
        if isinstance(item, int):
            done += item
            yield first + (last - first) * done / total


def _ink(images: Images) -> NDArray[np.float32]:
    """Return grey values as ink in [0, 1]."""
    return images.astype(np.float32) / np.float32(255)
