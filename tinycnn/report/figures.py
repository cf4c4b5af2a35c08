"""Figures that ``tinycnn evaluate`` does not print."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycnn.evaluate import Evaluation
from tinycnn.models import as_input, predict
from tinycnn.nn import Conv2D, Dense, softmax
from tinycnn.nn.layers import Array
from tinycnn.report.run import Points, Run
from tinycnn.training.augment import Warps, deform
from tinycnn.training.metrics import BINS
from tinycnn.training.recipes import STRONG

Z = 1.959964  # standard deviations to each side of a 95 % interval
SWEPT = 2_000  # test images of a sweep
NOISES = (0, 0.1, 0.2, 0.3, 0.4)


def wilson(right: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy (Wilson 1927)."""
    share, z2 = right / images, Z**2 / images
    half = math.sqrt(share * (1 - share) * z2 + z2**2 / 4)
    low, high = ((share + z2 / 2 + side) / (1 + z2) for side in (-half, half))
    return max(low, 0.0), min(high, 1.0)


def difference(
    first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Return how much more accurate the second is on the same images, (N,).

    After it, the ends of its 95 % interval for matched pairs: half an image is added to
    each of the four counts (Agresti and Min 2005).
    """
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    N, net = len(first) + 2, gained - lost
    half = Z * math.sqrt(gained + lost + 1 - net**2 / N) / N
    return net / len(first), net / N - half, net / N + half


def reliability(run: Run) -> list[tuple[float, float, int]]:
    """Return mean confidence, accuracy and images of each bin of the ECE."""
    sure = run.confidence
    bin_of = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins = [bin_of == number for number in np.unique(bin_of)]
    return [(float(sure[b].mean()), float(run.right[b].mean()), b.sum()) for b in bins]


def sweeps(evaluation: Evaluation) -> dict[str, Points]:
    """Return (amount, accuracy) by what is done to `SWEPT` images; one view of each."""
    images, labels = evaluation.images[:SWEPT], evaluation.labels[:SWEPT]
    N = len(images)
    drawn = STRONG.warps(0, 1, N)
    still = np.tile(np.eye(2, 3, dtype=np.float32), (N, 1, 1))
    noise = np.random.default_rng(0).standard_normal(images.shape, np.float32)

    def accuracy(amount: float = 0, pen: float = 0, shift: float = 0) -> float:
        maps = still + np.float32(amount) * (drawn.maps - still)
        maps[:, 1, 2] += np.float32(shift)  # the centre of a pixel's source
        bends = np.float32(amount) * drawn.bends
        pens = np.full(N, pen, np.float32)
        return right(deform(images, Warps(maps, bends, pens))[..., 0])

    def right(changed: Array) -> float:
        answers = predict(evaluation.runner, changed).argmax(axis=1)
        return float((answers == labels).mean())

    ink = images / np.float32(255)
    noisy = [(a, (ink + np.float32(a) * noise).clip(0, 1)) for a in NOISES]
    return {
        "deformation": [(a, accuracy(amount=a)) for a in (0, 0.5, 1, 1.5, 2)],
        "noise": [(a, right(changed)) for a, changed in noisy],
        "thickness": [(a, accuracy(pen=a)) for a in (-1, -0.5, 0, 0.5, 1)],
        "shift": [(a, accuracy(shift=-a)) for a in (-6, -4, -2, 0, 2, 4, 6)],
    }


def layers(evaluation: Evaluation) -> list[tuple[Any, ...]]:
    """Return for each layer name, settings, shape of y, weights, multiply-adds, step.

    The fifth is of one image; None where it is unknown, as in a layer of one's own. A
    step is what runs the layer, and how many layers from it on; 0 for the others.
    """
    model, runner = evaluation.runner.model, evaluation.runner
    steps = runner.steps if runner._fused else dict(enumerate(model.layers))
    steps = {k - bool(getattr(one, "flatten", 0)): one for k, one in steps.items()}
    ends = dict(zip(steps, [*steps, len(model.layers)][1:], strict=True))
    y, found = as_input(evaluation.images[:1]), []
    for place, layer in enumerate(model.layers):
        y = layer.forward(y)
        adds: int | None = 0
        if isinstance(layer, Conv2D | Dense):  # a weight is used at each position
            adds = math.prod(y.shape[1:-1]) * layer.weight.value.size
        elif type(layer).__module__ != "tinycnn.nn.layers":
            adds = None
        name, _, settings = repr(layer).removesuffix(")").partition("(")
        weights = sum(parameter.value.size for parameter in layer.parameters())
        step = type(steps.get(place)).__name__, ends.get(place, place) - place
        found.append((name, settings, y.shape[1:], weights, adds, *step))
    return found


def over_time(run: Run, snapshots: Sequence[dict[str, Array]], most: int) -> Array:
    """Return the probabilities (S, N, K) by each snapshot of the first images."""
    state, found = run.runner.model.state(), []
    kept = {name: array.copy() for name, array in state.items()}
    for arrays in [*snapshots, kept]:  # the last puts the weights back
        for name, array in state.items():
            array[...] = arrays[name]
        if arrays is not kept:
            logits = predict(run.runner, run.images[:most])
            found.append(softmax(logits / np.float32(run.facts["temperature"])))
    return np.stack(found)


def learned_at(probabilities: Array, labels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return the snapshot from which on each image is right to the end; S if never."""
    right = probabilities.argmax(axis=2) == labels[: probabilities.shape[1]]
    return len(right) - np.logical_and.accumulate(right[::-1], axis=0).sum(axis=0)
