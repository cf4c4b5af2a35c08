"""The networks that every contestant computes, as lists that each builds from.

A layer is its name and its sizes:

============================== ====================================================
``["conv", C, F, K, padding]`` K×K, stride 1; padding is ``"valid"`` or ``"same"``
``["relu"]``                   ``max(x, 0)``
``["pool", K]``                the largest of K×K; windows do not overlap
``["norm", C]``                batch norm, eps 1e-5, momentum 0.1
``["dropout", rate]``          rate is the share that is dropped
``["flatten"]``                rows, columns, channels, in this order
``["dense", I, O]``            ``x @ weight + bias``
============================== ====================================================

The arrays are NHWC, named like ``"0.weight"`` after the number of their layer: a
convolution's weight is (K, K, C, F), a dense one's (I, O).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Network = Sequence[Sequence[Any]]
Arrays = dict[str, NDArray[np.float32]]

INPUT_SHAPE = (28, 28, 1)


def model_a(width: int) -> Network:
    """Return the classic network, with ``width`` times its channels."""
    return [
        ["conv", 1, 32 * width, 3, "valid"],
        ["relu"],
        ["conv", 32 * width, 64 * width, 3, "valid"],
        ["relu"],
        ["pool", 2],
        ["dropout", 0.25],
        ["flatten"],
        ["dense", 12 * 12 * 64 * width, 256 * width],
        ["relu"],
        ["dropout", 0.5],
        ["dense", 256 * width, 10],
    ]


def model_b(width: int) -> Network:
    """Return a small network of 5×5 convolutions, with ``width`` times its channels."""
    return [
        ["conv", 1, 16 * width, 5, "same"],
        ["relu"],
        ["pool", 2],
        ["conv", 16 * width, 32 * width, 5, "same"],
        ["relu"],
        ["pool", 2],
        ["flatten"],
        ["dense", 7 * 7 * 32 * width, 128 * width],
        ["relu"],
        ["dense", 128 * width, 10],
    ]


def model_default(width: int) -> Network:
    """Return the network of the default preset, with ``width`` times its channels."""
    return [
        ["conv", 1, 32 * width, 5, "same"],
        ["relu"],
        ["pool", 2],
        ["norm", 32 * width],
        ["conv", 32 * width, 64 * width, 3, "valid"],
        ["relu"],
        ["pool", 2],
        ["norm", 64 * width],
        ["conv", 64 * width, 128 * width, 3, "valid"],
        ["relu"],
        ["norm", 128 * width],
        ["flatten"],
        ["dropout", 0.2],
        ["dense", 4 * 4 * 128 * width, 10],
    ]


NETWORKS: dict[str, Callable[[int], Network]] = {
    "A": model_a,
    "B": model_b,
    "default": model_default,
}


def without_dropout(network: Network) -> Network:
    """Return the network with nothing dropped: then all contestants agree."""
    return [["dropout", 0.0] if one[0] == "dropout" else one for one in network]


def output_shapes(network: Network) -> list[tuple[int, ...]]:
    """Return the shape of one image after every layer.

    Raises
    ------
    ValueError
        If a layer has a name that is not in the table above.
    """
    shapes: list[tuple[int, ...]] = []
    shape: tuple[int, ...] = INPUT_SHAPE
    for layer in network:
        match layer:
            case ["conv", _, F, K, padding]:
                H, W, _ = shape
                lost = 0 if padding == "same" else K - 1
                shape = H - lost, W - lost, F
            case ["pool", K]:
                H, W, C = shape
                shape = H // K, W // K, C
            case ["flatten"]:
                shape = (math.prod(shape),)
            case ["dense", _, O]:
                shape = (O,)
            case ["relu"] | ["norm", _] | ["dropout", _]:
                pass
            case _:
                raise ValueError(f"there is no layer {layer!r}")
        shapes.append(shape)
    return shapes


def flop(network: Network, *, training: bool) -> int:
    """Return the multiplications and additions that one image takes, nothing left out.

    Training is forward, the gradient of every weight and that of every layer's input,
    each as much work as the other; the gradient of the image itself is not needed.
    """
    forward = []
    for layer, shape in zip(network, output_shapes(network), strict=True):
        match layer:
            case ["conv", C, _, K, _]:
                forward.append(2 * math.prod(shape) * K * K * C)
            case ["dense", I, O]:
                forward.append(2 * I * O)
    return 3 * sum(forward) - forward[0] if training else sum(forward)


def draw(network: Network, seed: int = 0) -> Arrays:
    """Return initial arrays: weights by He et al., the rest near its usual start.

    Biases are not exactly 0 and running averages not exactly 0 and 1, so that a
    contestant that leaves one out disagrees with the others.
    """
    rng = np.random.default_rng(seed)

    def normal(shape: tuple[int, ...]) -> NDArray[np.float32]:
        spread = (2 / math.prod(shape[:-1])) ** 0.5
        return (spread * rng.standard_normal(shape)).astype(np.float32)

    def about(centre: float, size: int) -> NDArray[np.float32]:
        return rng.uniform(centre - 0.1, centre + 0.1, size).astype(np.float32)

    arrays: Arrays = {}
    for number, layer in enumerate(network):
        match layer:
            case ["conv", C, F, K, _]:
                arrays[f"{number}.weight"] = normal((K, K, C, F))
                arrays[f"{number}.bias"] = about(0, F)
            case ["dense", I, O]:
                arrays[f"{number}.weight"] = normal((I, O))
                arrays[f"{number}.bias"] = about(0, O)
            case ["norm", C]:
                arrays[f"{number}.weight"] = about(1, C)
                arrays[f"{number}.bias"] = about(0, C)
                arrays[f"{number}.running_mean"] = about(0, C)
                arrays[f"{number}.running_var"] = about(1, C)
    return arrays
