"""What every contestant is fed: real digits, or images that leave nothing to skip.

A contestant is another process, so it finds its images, labels and initial arrays in
three files of a folder.

This file knows digits, the worst case and those files. It does not know who reads them.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.versus_networks import Arrays, Network, draw
from benchmarks.versus_numpy import PlainNetwork

MOST = 20_000  # images in a contestant's memory, 16 MB of it
TRIED = 64  # images on which biases are raised
OPEN = 0.99  # of what enters a ReLU in the worst case is positive

Array = NDArray[np.float32]


def write_real(
    folder: Path,
    network: Network,
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
) -> None:
    """Write the first digits, images (N, 28, 28) and labels (N,), and fresh arrays."""
    _write(folder, images[:MOST], labels[:MOST], draw(network))


def write_worst(
    folder: Path, network: Network, labels: NDArray[np.uint8]
) -> list[float]:
    """Write noise with the labels of digits, and arrays that open every ReLU.

    Returns
    -------
    list of float
        For each ReLU the share of its inputs that is positive.
    """
    labels = labels[:MOST]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
    arrays = lift(network, draw(network), as_input(images[:TRIED]))
    _write(folder, images, labels, arrays)
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


def lift(network: Network, arrays: Arrays, images: Array) -> Arrays:
    """Return arrays with which nearly every ReLU is open.

    The bias before a ReLU is raised, channel by channel, until 99 of 100 of the numbers
    that these images make of it are positive. The last layer is made small, so that the
    softmax is never certain: then its gradient would be 0.

    Parameters
    ----------
    network : Network
        Its last layer is dense.
    arrays : Arrays
        Not changed.
    images : float32 array (N, H, W, C)
    """
    arrays = {name: array.copy() for name, array in arrays.items()}
    for number, layer in enumerate(network):
        if layer[0] == "relu":
            x = PlainNetwork(network[:number], arrays, 0).forward(images, training=True)
            low = np.quantile(x.reshape(-1, x.shape[-1]), 1 - OPEN, axis=0)
            arrays[f"{number - 1}.bias"] -= np.minimum(low, 0).astype(np.float32)
    logits = PlainNetwork(network, arrays, 0).forward(images, training=True)
    arrays[f"{len(network) - 1}.weight"] /= np.abs(logits).max()
    return arrays


def open_shares(network: Network, arrays: Arrays, images: Array) -> list[float]:
    """Return, for each ReLU, the share of its inputs that it lets pass in training."""
    plain = PlainNetwork(network, arrays, 0)
    plain.forward(images, training=True)
    return [
        float(kept[0].mean())
        for layer, kept in zip(network, plain.tape, strict=True)
        if layer[0] == "relu"
    ]


def _write(
    folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8], arrays: Arrays
) -> None:
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    np.savez(folder / "arrays.npz", **arrays)
