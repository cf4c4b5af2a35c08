"""Measure weights on MNIST's test digits, corrupted in fifteen ways.

``python -m benchmarks.corrupted FOLDER WEIGHTS [WEIGHTS ...] [--seed 0]``

FOLDER has MNIST's four files. The corruptions are those of Mu and Gilmer (2019),
"MNIST-C: a robustness benchmark for computer vision", written anew from its pictures
and names: like theirs in kind and strength, not equal to them, so that figures compare
networks with each other and not with the paper. Each takes images (N, H, W) between 0
and 1, ink 1, and a generator. A network sees the digits in its own views; for the
reader, the best of the ten digits counts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmarks.tables import markdown
from tinycnn import models
from tinycnn._cli import (
    Parser,
    existing_file,
    existing_folder,
    fail,
    integer,
    run_command,
)
from tinycnn.data import load_mnist
from tinycnn.fast import fuse

Images = NDArray[np.floating[Any]]
Random = np.random.Generator


def shot_noise(x: Images, rng: Random) -> Images:
    """Count photons: a Poisson number with the mean 12 where the ink is full."""
    return rng.poisson(12 * x) / 12


def impulse_noise(x: Images, rng: Random) -> Images:
    """Set one pixel in five to black or white."""
    return np.where(rng.random(x.shape) < 0.2, rng.random(x.shape) < 0.5, x)


def glass_blur(x: Images, rng: Random) -> Images:
    """Exchange each pixel with one near it, between two blurs."""
    y = ndimage.gaussian_filter(x, (0, 0.6, 0.6))
    N, H, W = y.shape
    n, row, column = np.ogrid[:N, :H, :W]
    down, right = rng.integers(-1, 2, (2, N, H, W))
    return ndimage.gaussian_filter(
        y[n, (row + down) % H, (column + right) % W], (0, 0.6, 0.6)
    )


def motion_blur(x: Images, rng: Random) -> Images:
    """Smear over seven pixels, each image in a direction of its own."""
    angles = rng.uniform(0, np.pi, len(x))
    shifts = (
        np.linspace(-3, 3, 7)[:, None]
        * np.array([np.sin(angles), np.cos(angles)])[:, None]
    )
    return np.stack(
        [
            np.mean([ndimage.shift(image, s, order=1) for s in along.T], axis=0)
            for image, along in zip(x, np.moveaxis(shifts, 2, 0), strict=True)
        ]
    )


def _affine(x: Images, matrices: NDArray[np.float64]) -> Images:
    """Map each image by a matrix (2, 2) about its centre; y before x."""
    centre = (np.array(x.shape[1:]) - 1) / 2
    return np.stack(
        [
            ndimage.affine_transform(image, m, centre - m @ centre, order=1)
            for image, m in zip(x, matrices, strict=True)
        ]
    )


def shear(x: Images, rng: Random) -> Images:
    """Slant by 0.4 of the height to either side."""
    slant = 0.4 * rng.choice([-1, 1], len(x))
    return _affine(x, np.eye(2) + slant[:, None, None] * [[0, 0], [1, 0]])


def scale(x: Images, rng: Random) -> Images:  # noqa: ARG001
    """Shrink to 0.65 of the size."""
    return _affine(x, np.broadcast_to(np.eye(2) / 0.65, (len(x), 2, 2)))


def rotate(x: Images, rng: Random) -> Images:
    """Turn by 30 degrees to either side."""
    a = np.radians(30) * rng.choice([-1, 1], len(x))
    return _affine(
        x, np.moveaxis([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]], 2, 0)
    )


def translate(x: Images, rng: Random) -> Images:
    """Move by three to five pixels along both axes."""
    moves = rng.integers(3, 6, (len(x), 2)) * rng.choice([-1, 1], (len(x), 2))
    return np.stack(
        [ndimage.shift(i, m, order=1) for i, m in zip(x, moves, strict=True)]
    )


def brightness(x: Images, rng: Random) -> Images:  # noqa: ARG001
    """Lighten everything by 0.5."""
    return x + 0.5


def stripe(x: Images, rng: Random) -> Images:  # noqa: ARG001
    """Invert all but the middle quarter of the columns."""
    y, quarter = 1 - x, x.shape[2] // 8
    middle = np.s_[:, :, x.shape[2] // 2 - quarter : x.shape[2] // 2 + quarter]
    y[middle] = x[middle]
    return y


def _clouds(x: Images, rng: Random) -> Images:
    """Return smooth noise between 0 and 1, in several sizes, for every image."""
    noise = sum(
        size
        * ndimage.gaussian_filter(
            rng.normal(size=x.shape), (0, size, size), mode="wrap"
        )
        for size in (1, 2, 4, 8)
    )
    low, high = (
        noise.min(axis=(1, 2), keepdims=True),
        noise.max(axis=(1, 2), keepdims=True),
    )
    return (noise - low) / (high - low)


def fog(x: Images, rng: Random) -> Images:
    """Add a cloud as dense as the ink, and pale the whole."""
    return (x + _clouds(x, rng)) / 1.6


def spatter(x: Images, rng: Random) -> Images:
    """Spatter ink on a seventh of the paper, in drops of some pixels."""
    drops = ndimage.gaussian_filter(rng.normal(size=x.shape), (0, 1.2, 1.2))
    least = np.quantile(drops, 6 / 7, axis=(1, 2), keepdims=True)
    return np.maximum(x, drops > least)


def _lined(x: Images, draw: Callable[[Any, int, int], None]) -> Images:
    """Draw on each image, four times enlarged and reduced again."""
    drawn = np.empty_like(x)
    H, W = x.shape[1:]
    for n, image in enumerate(x):
        sheet = Image.new("L", (4 * W, 4 * H))
        draw(ImageDraw.Draw(sheet), 4 * H, 4 * W)
        drawn[n] = np.maximum(image, np.asarray(sheet.reduce(4)) / 255)
    return drawn


def dotted_line(x: Images, rng: Random) -> Images:
    """Draw a dotted line from side to side."""

    def draw(on: Any, height: int, width: int) -> None:
        left, right = rng.uniform(0.1, 0.9, 2) * height
        for t in np.arange(0.05, 1, 0.1).tolist():
            at, y = t * width, left + t * (right - left)
            on.ellipse((at - 3, y - 3, at + 3, y + 3), 255)

    return _lined(x, draw)


def zigzag(x: Images, rng: Random) -> Images:
    """Draw a zigzag line from side to side."""

    def draw(on: Any, height: int, width: int) -> None:
        left, right = rng.uniform(0.2, 0.8, 2) * height
        t = np.linspace(0, 1, 9)
        y = left + t * (right - left) + 8 * (-1) ** np.arange(9)
        on.line([*zip((t * width).tolist(), y.tolist(), strict=True)], 255, 4)

    return _lined(x, draw)


def canny_edges(x: Images, rng: Random) -> Images:  # noqa: ARG001
    """Keep the edges alone: where the slope is steepest across it (Canny 1986)."""
    smooth = ndimage.gaussian_filter(x, (0, 0.7, 0.7))
    dy, dx = ndimage.sobel(smooth, 1), ndimage.sobel(smooth, 2)
    slope = np.hypot(dy, dx)
    ends = [ndimage.maximum_filter1d(slope, 3, axis=axis) for axis in (1, 2)]
    steepest = slope >= np.where(abs(dy) > abs(dx), *ends)
    return (steepest & (slope > 1)).astype(x.dtype)


CORRUPTIONS = [
    shot_noise, impulse_noise, glass_blur, motion_blur, shear, scale, rotate,
    brightness, translate, stripe, fog, spatter, dotted_line, zigzag, canny_edges,
]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Measure, and print a table with a column for each file of weights."""
    about = "Measure weights on corrupted test digits."
    parser = Parser("python -m benchmarks.corrupted", about, json=False)
    add = parser.add_argument
    add("folder", type=existing_folder, metavar="FOLDER", help="MNIST's four files")
    add("weights", type=existing_file, nargs="+", metavar="WEIGHTS", help="of a run")
    add("--seed", type=integer(0, 2**32), default=0, metavar="N")
    arguments = parser.parse_args(argv)
    try:
        digits = load_mnist(arguments.folder)
        loaded = [models.load(Path(path)) for path in arguments.weights]
    except (OSError, ValueError) as error:
        fail(error)
    clean, labels = digits.test_images / np.float32(255), digits.test_labels
    networks = [(fuse(model), facts["views"]) for model, facts in loaded]
    rows = []
    for n, corrupt in enumerate([None, *CORRUPTIONS]):
        rng = np.random.default_rng([arguments.seed, n])
        seen = clean if corrupt is None else np.clip(corrupt(clean, rng), 0, 1)
        seen = seen.astype(np.float32)
        errors = [
            (
                models.predict(runner, seen, views)[:, :10].argmax(axis=1) != labels
            ).mean()
            for runner, views in networks
        ]
        rows.append(
            [corrupt.__name__.replace("_", " ") if corrupt else "none", *errors]
        )
        print(*rows[-1], flush=True)
    mean = np.mean([row[1:] for row in rows[1:]], axis=0)
    rows.append(["mean of the fifteen", *mean.tolist()])
    head = ["errors, %", *(facts["network"] for _, facts in loaded)]
    print(
        markdown(head, [[row[0], *(f"{100 * e:.2f}" for e in row[1:])] for row in rows])
    )
    return 0


if __name__ == "__main__":
    run_command(main)
