"""The named networks, each a list that can be read aloud; how they are loaded and used.

Images are (N, 28, 28, 1), ink 1 and paper 0; logits (N, 10), those of `reader` (N, 12).
A network of your own needs no entry here: see `build`.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinycnn import nn, pretrained
from tinycnn.nn import Sequential
from tinycnn.nn.layers import Array
from tinycnn.nn.weights import WeightsError, load_weights, read_facts
from tinycnn.userfile import UserFunction

# Pixels down and to the right: the image where it is, and one pixel to each side.
OFFSETS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
BATCH = 250


def classic(rng: np.random.Generator) -> list[nn.Layer]:
    """Return the network of countless tutorials: 2.4 million weights, no batch norm."""
    return [
        nn.Conv2D(1, 32, 3, rng=rng),
        nn.ReLU(),
        nn.Conv2D(32, 64, 3, rng=rng),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Dense(12 * 12 * 64, 256, rng=rng),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Dense(256, 10, rng=rng),
    ]


def quick(rng: np.random.Generator) -> list[nn.Layer]:
    """Return the default network with half the filters, which learns in seconds."""
    return [
        *_three_convolutions(16, rng),
        nn.Flatten(),
        nn.Dense(4 * 4 * 64, 10, rng=rng),
    ]


def default(rng: np.random.Generator) -> list[nn.Layer]:
    """Return three convolutions and a dense layer."""
    return [
        *_three_convolutions(32, rng),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Dense(4 * 4 * 128, 10, rng=rng),
    ]


def best(rng: np.random.Generator) -> list[nn.Layer]:
    """Return five convolutions and a dense layer."""
    layers: list[nn.Layer] = []
    C, K = 1, 5  # the kernels after the first convolution are 3×3
    for F, pooled in (32, True), (32, False), (32, True), (64, False), (64, False):
        pool = [nn.MaxPool2D(2)] if pooled else []
        layers += [nn.Conv2D(C, F, K, padding="same", rng=rng), nn.ReLU(), *pool]
        layers += [nn.BatchNorm2D(F)]
        C, K = F, 3
    return [
        *layers,
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Dense(7 * 7 * 64, 10, rng=rng),
    ]


def _three_convolutions(filters: int, rng: np.random.Generator) -> list[nn.Layer]:
    """Return 28×28 to 4×4: each convolution has twice the filters of the last.

    Batch norm stands behind the pooling, where there are a quarter of the pixels.
    """
    return [
        nn.Conv2D(1, filters, 5, padding="same", rng=rng),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.BatchNorm2D(filters),
        nn.Conv2D(filters, 2 * filters, 3, rng=rng),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.BatchNorm2D(2 * filters),
        nn.Conv2D(2 * filters, 4 * filters, 3, rng=rng),
        nn.ReLU(),
        nn.BatchNorm2D(4 * filters),
    ]


def tiny(rng: np.random.Generator) -> list[nn.Layer]:
    """Return fewer than 5,000 weights: the dense layer sees the mean of each map."""
    return [
        nn.Conv2D(1, 16, 3, rng=rng),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Conv2D(16, 16, 3, rng=rng),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Conv2D(16, 16, 3, rng=rng),
        nn.ReLU(),
        nn.GlobalAveragePool2D(),
        nn.Dense(16, 10, rng=rng),
    ]


_presets = (quick, default, best, tiny, classic)
NETWORKS = {f.__name__: f for f in (*_presets, pretrained.reader)}
SHIPPED = pretrained.SHIPPED
Network = Callable[[np.random.Generator], Sequence[nn.Layer]]


def build(network: str | Network, seed: int = 0) -> Sequential:
    """Return a network with fresh weights.

    Parameters
    ----------
    network : str or function
        A key of `NETWORKS`, or a function that returns a list of layers, as those above
        do: of yours, or a `tinycnn.userfile.UserFunction`.
    seed : int
        Of the initial weights and of dropout.

    Raises
    ------
    ValueError
        If there is no network of that name, or it is no list of layers.
    """
    if isinstance(network, str) and network not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise ValueError(f"no network named {network!r:.40}; there are {known}")
    function = NETWORKS[network] if isinstance(network, str) else network
    layers = function(np.random.default_rng(seed))
    if not isinstance(layers, list | tuple):
        raise ValueError(f"{network} must return a list of layers, not {layers!r:.40}")
    return Sequential(layers, seed)


def classes(model: Sequential, size: tuple[int, int]) -> int:
    """Return how many classes a network tells apart, for images of H rows, W columns.

    Raises ValueError if the layers do not fit these images or each other.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        logits = model.forward(np.zeros((2, *size, 1), np.float32))
    if logits.ndim != 2 or len(logits) != 2:
        raise ValueError(f"the network returns {logits.shape} for 2 images, not (2, K)")
    return logits.shape[1]


def load(
    path: str | Path, network: Network | None = None
) -> tuple[Sequential, dict[str, Any]]:
    """Return the network of a weights file, with its weights, and the file's facts.

    The facts have ``"network"``; ``"temperature"``, a number by which logits are
    divided (1 in the file of a run that has not ended); ``"views"`` for `predict`;
    ``"image_size"``, rows and columns; ``"first_label"``, the label of class 0.

    Parameters
    ----------
    path : str or Path
    network : function or None
        See `build`; needed if the network is none of `NETWORKS`.

    Raises
    ------
    WeightsError
        If the file is damaged or of another network, or a fact is impossible.
    ValueError, OSError
        As of `build`; or if there is no such file.
    """
    name = str(read_facts(path).get("network"))
    if network is None and name not in NETWORKS:
        raise WeightsError(
            f"cannot use {path}: its network, {name!r:.60}, is not one of tinycnn's; "
            "name the file it is defined in by --network FILE.py:NAME"
        )
    model = build(network or name)
    usual = {"temperature": 1.0, "views": 1, "image_size": [28, 28], "first_label": 0}
    facts: dict[str, Any] = usual | load_weights(path, model)
    temperature, *others = (facts[name] for name in usual)
    usable = type(temperature) in (int, float) and 0.01 <= temperature <= 100
    usable &= [type(fact) for fact in others] == [int, list, int]
    if not (usable and others[0] in (1, 5) and others[2] in (0, 1)):
        told = str({name: facts[name] for name in usual})
        raise WeightsError(
            f"cannot use {path}: its facts are impossible, {told:.200}; train again"
        )
    sha256 = facts.get("network_sha256")
    if isinstance(network, UserFunction) and sha256 not in (None, network.sha256()):
        warnings.warn(f"{network.file} has changed since {path} was made", stacklevel=2)
    return model, facts


class Model(Protocol):
    """A network, or the runner that `tinycnn.fast.fuse` makes of one."""

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return logits (N, K) of images (N, H, W, C)."""

    def backward(self, dy: Array) -> Array | None:
        """Assign the gradients of the parameters."""


def as_input(images: NDArray[Any]) -> Array:
    """Return images as networks want them: float32 (N, H, W, 1), in [0, 1].

    ``images`` are uint8 (N, H, W), or float (N, H, W) in [0, 1].
    """
    scale = 255 if images.dtype == np.uint8 else 1
    return (images.astype(np.float32) / np.float32(scale))[..., np.newaxis]


def predict(model: Model, images: NDArray[Any], views: int = 1) -> Array:
    """Return the logits of many images, in batches so that memory stays small.

    With five views, the logits are the mean over the image where it is and one pixel
    to each side, which is right more often (Krizhevsky, Sutskever and Hinton 2012,
    section 4.1: the mean of probabilities, at five places and mirrored).

    Parameters
    ----------
    model : Model
    images : uint8 or float array (N, H, W)
        As for `as_input`.
    views : int
        1 or 5.

    Returns
    -------
    logits : float32 array (N, K)

    Raises
    ------
    ArithmeticError
        If a logit is not finite: the weights are too large to compute with.
    """
    _, H, W = images.shape
    batches = []
    for start in range(0, len(images), BATCH):
        x = as_input(images[start : start + BATCH])
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        with np.errstate(over="ignore", invalid="ignore"):
            logits = [
                model.forward(x[:, 1 - down : 1 - down + H, 1 - right : 1 - right + W])
                for down, right in OFFSETS[:views]
            ]
        batches.append(np.mean(logits, axis=0, dtype=np.float32))
        if not np.isfinite(batches[-1]).all():
            raise ArithmeticError("a logit is not finite: train the weights again")
    return np.concatenate(batches)
