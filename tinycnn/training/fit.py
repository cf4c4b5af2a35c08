"""Training: four statements a batch, all batches an epoch, then validation.

A run is an iterator; the loop over it prints, saves and stops.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycnn.models import Model, predict
from tinycnn.nn import Sequential, cosine, one_cycle, softmax_cross_entropy
from tinycnn.nn.layers import Array
from tinycnn.nn.optim import Optimizer
from tinycnn.training.augment import Warps, deform
from tinycnn.training.metrics import Metrics, fit_temperature, measure
from tinycnn.training.recipes import Recipe

Epoch = dict[str, Any]


def train_step(
    model: Model,
    optimizer: Optimizer,
    images: Array,
    labels: NDArray[np.integer],
    label_smoothing: float = 0.0,
) -> tuple[float, Array]:
    """Learn from one batch; return its loss and logits (N, K) from before the step.

    Parameters
    ----------
    model, optimizer : Model, Optimizer
        Of the same parameters.
    images : float32 array (N, H, W, 1)
    labels : int array (N,)
    label_smoothing : float
    """
    logits = model.forward(images, training=True)
    loss, dlogits = softmax_cross_entropy(logits, labels, label_smoothing)
    model.backward(dlogits)
    optimizer.step()
    return loss, logits


class DivergedError(ArithmeticError):
    """The loss or a weight is no longer a finite number; training cannot go on."""


@dataclass
class Progress:
    """The progress of a run: what a checkpoint keeps besides arrays."""

    epoch: int = 0  # how many are finished
    batch: int = 0  # how many are finished of the epoch under way
    correct: int = 0  # how many of its images were named right
    loss_sum: float = 0.0  # over its images
    best_epoch: int = 0  # the one whose weights are kept; 0 before the first
    best_accuracy: float = 0.0  # of those weights, on validation


class Trainer:
    """A run: a network, its optimizer, the data, and its progress.

    Parameters
    ----------
    recipe : Recipe
    seed : int
        Of the order of the images and of their deformations.
    model, optimizer : Sequential, Optimizer
        Of the same parameters.
    train_images, val_images : uint8 array (N, H, W)
    train_labels, val_labels : uint8 array (N,)
    prepare : function from a Sequential to a Model, or None
        `tinycnn.fast.fuse`; None runs every layer as it is written.

    Attributes
    ----------
    progress : Progress
    averaged : Sequential
        The network that is kept: with the moving average of the weights, or the model
        itself if the recipe has none.
    best : dict of str to array
        A copy of the averaged state after its best epoch on validation.
    """

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        model: Sequential,
        optimizer: Optimizer,
        train_images: NDArray[np.uint8],
        train_labels: NDArray[np.uint8],
        val_images: NDArray[np.uint8],
        val_labels: NDArray[np.uint8],
        *,
        prepare: Callable[[Sequential], Model] | None = None,
    ) -> None:
        self.recipe, self.seed = recipe, seed
        self.model, self.optimizer = model, optimizer
        self.train_images, self.train_labels = train_images, train_labels
        self.val_images, self.val_labels = val_images, val_labels
        self.averaged = copy.deepcopy(model) if recipe.average_decay > 0 else model
        ready = prepare or (lambda network: network)
        self._runner, self._averaged_runner = ready(model), ready(self.averaged)
        self.batches = math.ceil(len(train_images) / recipe.batch_size)
        self.progress = Progress()
        self.best = copy.deepcopy(self.averaged.state())
        schedule = {"cosine": cosine, "one_cycle": one_cycle}[recipe.schedule]
        self.schedule = schedule(recipe.learning_rate, self.batches * recipe.epochs)

    def run(self) -> Iterator[int | Epoch]:
        """Train to the end or a `DivergedError`; between two items it can be saved.

        Yields
        ------
        int or dict
            After every batch the number of its images. After every epoch its number
            ``"epoch"``, from 1; ``"learning_rate"`` of its last step; ``"train_loss"``
            and ``"train_accuracy"``, means with dropout and before each step;
            ``"val_nll"`` and ``"val_accuracy"``; ``"norms"`` of the weights.
        """
        progress = self.progress
        while progress.epoch < self.recipe.epochs:
            epoch = progress.epoch + 1
            count = len(self.train_images)
            # The order and the deformations are functions of seed and epoch alone.
            order = np.random.default_rng([self.seed, epoch]).permutation(count)
            warps = self.recipe.deformation.warps(self.seed, epoch, count)
            while progress.batch < self.batches:
                start = progress.batch * self.recipe.batch_size
                chosen = order[start : start + self.recipe.batch_size]
                self._learn(chosen, warps)
                yield len(chosen)
            yield self._finish_epoch(epoch)

    def use_best(self) -> None:
        """Give the averaged network the weights of its best epoch."""
        for name, array in self.averaged.state().items():
            array[...] = self.best[name]

    def state(self) -> dict[str, Array]:
        """Return name and live array of everything that a checkpoint keeps."""
        parts = {"model": self.model.state(), "optimizer": self.optimizer.state()}
        parts["best"] = self.best
        if self.averaged is not self.model:
            parts["average"] = self.averaged.state()
        return {
            f"{part}.{name}": array
            for part, arrays in parts.items()
            for name, array in arrays.items()
        }

    def evaluate(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Metrics:
        """Measure the averaged network on labelled images (N, H, W).

        A reader's classes that are no digit are left out unless there are labels of it.
        """
        logits = self._predict(images)
        if self.recipe.composed and labels.max() < 10:
            logits = logits[:, :10]
        return measure(logits, labels)

    def temperature(self) -> float:
        """Return the temperature that calibrates the averaged network on validation."""
        return fit_temperature(self._predict(self.val_images), self.val_labels)

    def norms(self) -> dict[str, float]:
        """Return the Euclidean norm of every parameter but biases and scales."""
        state = self.model.state().items()
        squares = {n: np.square(a, dtype=float).sum() for n, a in state if a.ndim > 1}
        return {name: round(math.sqrt(one), 4) for name, one in squares.items()}

    @property
    def steps(self) -> int:
        """How many steps the run has taken."""
        return self.progress.epoch * self.batches + self.progress.batch

    @property
    def images(self) -> int:
        """How many images the run has learned from, each once an epoch."""
        progress, count = self.progress, len(self.train_images)
        seen = min(progress.batch * self.recipe.batch_size, count)
        return progress.epoch * count + seen

    def resume(self, progress: dict[str, Any]) -> None:
        """Continue from here; TypeError if these are not the fields of `Progress`."""
        self.progress = Progress(**progress)
        self.optimizer.steps = self.steps
        self.model.seed_dropout(self.seed, self.steps)

    def check_finite(self) -> None:
        """Raise DivergedError if a weight or a running average is not finite."""
        for name, array in self.model.state().items():
            if not np.isfinite(array).all():
                raise DivergedError(self._account_of(f"the array {name} is not finite"))

    # `tinycnn.cluster` does these two on many processes.

    def _step(self, chosen: NDArray[np.integer], warps: Warps) -> tuple[float, int]:
        """Take a step; return the loss before it, and how many images were right."""
        images = deform(self.train_images[chosen], warps.of(chosen))
        labels, smoothing = self.train_labels[chosen], self.recipe.label_smoothing
        loss, logits = train_step(
            self._runner, self.optimizer, images, labels, smoothing
        )
        return loss, int((logits.argmax(axis=1) == labels).sum())

    def _predict(self, images: NDArray[np.uint8]) -> Array:
        """Return the logits of the averaged network."""
        return predict(self._averaged_runner, images, self.recipe.views)

    def _learn(self, chosen: NDArray[np.integer], warps: Warps) -> None:
        """Take one step on the images with these numbers."""
        progress, step = self.progress, self.steps
        self.optimizer.learning_rate = self.schedule(step)
        # Overflow is found in the loss.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            loss, correct = self._step(chosen, warps)
        if not math.isfinite(loss):
            raise DivergedError(self._account_of(f"the loss is {loss}"))
        if self.averaged is not self.model:
            self._move_average(step)
        progress.batch += 1
        progress.loss_sum += loss * len(chosen)
        progress.correct += correct

    def _move_average(self, step: int) -> None:
        """Move the averaged weights a little towards the weights.

        ``average = decay * average + (1 - decay) * weights`` is a mean of about the
        last ``1 / (1 - decay)`` steps, in which the noise of single steps cancels
        (Polyak and Juditsky 1992; with this decay, Szegedy et al. 2016, section 8).
        The decay is smaller early in a run, to forget the random first weights soon.
        """
        decay = min(self.recipe.average_decay, step / (step + 10))
        weights = self.model.state()
        for name, average in self.averaged.state().items():
            average *= np.float32(decay)
            average += np.float32(1 - decay) * weights[name]

    def _finish_epoch(self, epoch: int) -> Epoch:
        """Validate, and keep the weights if they are the best."""
        progress, count = self.progress, len(self.train_images)
        self.check_finite()  # of the last step; predictions could hide it
        try:
            val = self.evaluate(self.val_images, self.val_labels)
        except ArithmeticError:
            raise DivergedError(self._account_of("a logit is not finite")) from None
        result: Epoch = {
            "epoch": epoch,
            "learning_rate": self.schedule(epoch * self.batches - 1),
            "train_loss": progress.loss_sum / count,
            "train_accuracy": progress.correct / count,
            "val_nll": val.nll,
            "val_accuracy": val.accuracy,
            "norms": self.norms(),
        }
        # Of equally good epochs the last one has learned longest.
        if val.accuracy >= progress.best_accuracy:
            progress.best_epoch, progress.best_accuracy = epoch, val.accuracy
            self.best = copy.deepcopy(self.averaged.state())
        progress.epoch = epoch
        progress.batch = progress.correct = 0
        progress.loss_sum = 0.0
        return result

    def _account_of(self, trouble: str) -> str:
        batch = min(self.progress.batch + 1, self.batches)
        return (
            f"training diverged: {trouble} in epoch {self.progress.epoch + 1}, batch "
            f"{batch}, at learning rate {self.optimizer.learning_rate:.3g}; try --lr "
            f"{min(self.recipe.learning_rate / 3, Recipe.learning_rate):.2g}"
        )
