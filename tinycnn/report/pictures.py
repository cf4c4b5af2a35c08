"""Pictures of digits, filters and feature maps, as PNG in data URIs."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from tinycnn.models import as_input
from tinycnn.nn import Conv2D, ReLU, Sequential
from tinycnn.nn.layers import Array

ACROSS = 40  # digits in a row of the sheet
MOST_MAPS = 12  # of a digit
BLUE, ORANGE = (31, 111, 235), (224, 108, 24)


class Sheet:
    """All digits of a page in one picture, of which each element shows a part."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = images
        self._places: dict[int, int] = {}

    def place(self, index: int) -> tuple[int, int]:
        """Return column and row of an image, which is added to the sheet."""
        place = self._places.setdefault(int(index), len(self._places))
        return place % ACROSS, place // ACROSS

    def variables(self) -> Markup:
        """Return CSS: the sheet and its size, and the height of a digit of width 1."""
        _, H, W = self._images.shape
        rows = max(-(-len(self._places) // ACROSS), 1)
        sheet = np.zeros((rows, H, ACROSS, W), np.uint8)
        for index in self._places:
            column, row = self.place(index)
            sheet[row, :, column] = self._images[index]
        uri = data_uri([_grey(sheet.reshape(rows * H, ACROSS * W))])
        size = f"--across:{ACROSS};--rows:{rows};--high:{H / W:.4f}"
        return Markup(f"{size};--sheet:url({uri})")


def data_uri(frames: Sequence[Image.Image]) -> str:
    """Return a picture; several frames are played in turn."""
    content, rest = io.BytesIO(), frames[1:]
    durations = [160] * len(rest) + [2500]  # ms
    options = {"append_images": rest, "duration": durations} if rest else {}
    frames[0].save(content, "PNG", optimize=True, save_all=True, **options)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def first_convolution(model: Sequential) -> int | None:
    """Return its place in the network; None if there is none."""
    found = [i for i, layer in enumerate(model.layers) if isinstance(layer, Conv2D)]
    return found[0] if found else None


def filters(weight: Array) -> Image.Image:
    """Return filters (KH, KW, C, F): colour is the sign of the mean over C."""
    KH, KW, _, F = weight.shape
    mean = weight.astype(np.float32).mean(axis=2).transpose(2, 0, 1)[..., None]
    across = next((n for n in (16, 12, 8) if F % n == 0), min(F, 16))
    tiles = np.zeros((-(-F // across) * across, KH + 1, KW + 1, 4), np.uint8)
    tiles[:F, :KH, :KW, :3] = np.where(mean > 0, BLUE, ORANGE)
    tiles[:F, :KH, :KW, 3:] = np.rint(255 * abs(mean) / (abs(mean).max() or 1))
    rows = tiles.reshape(-1, across, KH + 1, KW + 1, 4).transpose(0, 2, 1, 3, 4)
    return Image.fromarray(rows.reshape(-1, across * (KW + 1), 4))


def maps(model: Sequential, place: int, images: NDArray[np.uint8]) -> Image.Image:
    """Return a row for each image: itself, and what the layer at ``place`` makes of it.

    The maps are those after the ReLU, if one follows; ink stands for large numbers.
    """
    y = x = as_input(images)
    last = place + isinstance(dict(enumerate(model.layers)).get(place + 1), ReLU)
    for layer in model.layers[: last + 1]:
        y = layer.forward(y)
    y = np.maximum(y[..., :MOST_MAPS], 0)
    y = y / (y.max(axis=(0, 1, 2)) + np.float32(1e-9))
    N, H, W, F = y.shape
    high, wide = (max(pair) + 2 for pair in zip(x.shape[1:3], (H, W), strict=True))
    tiles = np.zeros((N, high, 1 + F, wide), np.float32)
    tiles[:, : x.shape[1], 0, : x.shape[2]] = x[..., 0]
    tiles[:, :H, 1:, :W] = y.transpose(0, 1, 3, 2)
    return _grey(np.rint(255 * tiles).astype(np.uint8).reshape(N * high, -1))


def _grey(ink: NDArray[np.uint8]) -> Image.Image:
    """Return ink on white in 16 greys: half the bytes, and enough for a digit."""
    return Image.fromarray(255 - ink // 17 * 17).quantize(16)
