"""Draw the README's picture of handwriting made by code.

``python -m benchmarks.handwriting FILE.png [--seed N]``

Ten columns of digits, one for each, as `tinycnn.glyphs.writer` writes them, and below
them its letters and signs.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinycnn._cli import Parser, fail, integer, run_command
from tinycnn.glyphs import writer

COLUMNS = 20
DIGITS, SIGNS = 6, 2  # rows of each
SCALE = 2  # pixels of the picture a pixel of an image


def main(argv: list[str] | None = None) -> int:
    """Draw the picture."""
    about = "Draw digits and signs written by code."
    parser = Parser("python -m benchmarks.handwriting", about, json=False)
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="the picture, a PNG or another")
    add("--seed", type=integer(0, 2**32), default=0, metavar="N")
    arguments = parser.parse_args(argv)
    rngs = [np.random.default_rng([arguments.seed, 0, which]) for which in (2, 4)]
    images, labels = writer.written(writer.DIGITS, DIGITS * COLUMNS, rngs[0])
    in_order = images[np.argsort(labels, kind="stable")]
    # Two columns of each digit.
    digits = in_order.reshape(COLUMNS, DIGITS, *images.shape[1:]).swapaxes(0, 1)
    others, _ = writer.written(writer.SIGNS, SIGNS * COLUMNS, rngs[1])
    others = others.reshape(SIGNS, COLUMNS, *images.shape[1:])
    sheet = np.vstack([_rows(digits), _rows(others)])
    picture = Image.fromarray(255 - sheet)
    size = picture.width * SCALE, picture.height * SCALE
    try:
        picture.resize(size, Image.Resampling.BICUBIC).save(arguments.file)
    except (OSError, ValueError) as error:
        fail(error)
    return 0


def _rows(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay images (R, K, H, W) side by side, and the rows below each other."""
    R, K, H, W = images.shape
    return images.swapaxes(1, 2).reshape(R * H, K * W)


if __name__ == "__main__":
    run_command(main)
