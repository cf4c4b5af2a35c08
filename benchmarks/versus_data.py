"""What every contestant is given: real digits, or a worst case with nothing to skip.

A contestant is another process, so its images, labels and initial arrays are three
files of a folder.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.versus_networks import Arrays, Network, draw
from benchmarks.versus_peers import as_layers

MOST = 20_000  # images in a contestant's memory, 16 MB of it
TRIED = 64  # images on which biases are raised
OPEN = 0.99  # of what enters a ReLU in the worst case is positive

Array = NDArray[np.float32]


def write(
    folder: Path,
    network: Network,
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    *,
    worst: bool = False,
) -> list[float]:
    """Write a case's files, of the first digits (N, 28, 28); return `open_shares`.

    With ``worst``, images are noise, and nearly every ReLU is `opened`.
    """
    images, labels, arrays = images[:MOST], labels[:MOST], draw(network)
    if worst:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, images.shape, dtype=np.uint8)
        arrays = opened(network, arrays, as_input(images[:TRIED]))
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    np.savez(folder / "arrays.npz", **arrays)
    return open_shares(network, arrays, as_input(images[-TRIED:]))


def read(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], Arrays]:
    """Return images (N, 28, 28), labels (N,) and arrays as they were written."""
    with np.load(folder / "arrays.npz") as arrays:
        named = dict(arrays)
    labels = np.load(folder / "labels.npy").astype(np.int64)
    return np.load(folder / "images.npy"), labels, named


def as_input(images: NDArray[np.uint8]) -> Array:
    """Turn grey values (N, 28, 28) into float32 (N, 28, 28, 1) in [0, 1]."""
    return (images.astype(np.float32) / 255)[..., np.newaxis]


def opened(network: Network, arrays: Arrays, images: Array) -> Arrays:
    """Return arrays with which nearly every ReLU is open.

    The bias before a ReLU is raised, channel by channel, until 99 of 100 of the numbers
    that these images make of it are positive. The last layer is made small, so that the
    softmax is never certain: then its gradient would be 0. The last layer is dense; a
    layer with a bias precedes every ReLU.
    """
    arrays = {name: array.copy() for name, array in arrays.items()}
    x = images
    layers = as_layers(network, arrays).layers
    for number, (layer, (kind, *_)) in enumerate(zip(layers, network, strict=True)):
        if kind == "relu":
            low = np.quantile(x.reshape(-1, x.shape[-1]), 1 - OPEN, axis=0)
            lift = -np.minimum(low, 0).astype(np.float32)
            arrays[f"{number - 1}.bias"] += lift
            x = x + lift
        x = layer.forward(x, training=True)
    arrays[f"{len(network) - 1}.weight"] /= np.abs(x).max()
    return arrays


def open_shares(network: Network, arrays: Arrays, images: Array) -> list[float]:
    """Return, for each ReLU, the share of its inputs that it lets pass in training."""
    shares, x = [], images
    layers = as_layers(network, arrays).layers
    for layer, (kind, *_) in zip(layers, network, strict=True):
        if kind == "relu":
            shares.append(float((x > 0).mean()))
        x = layer.forward(x, training=True)
    return shares
