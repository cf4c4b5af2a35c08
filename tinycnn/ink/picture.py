"""Any picture becomes ink: a file, an array, or an image that Pillow already holds.

- **Depth.** Everything is computed in bytes; deeper pictures are scaled, not clipped.
- **Size.** More than 4 million pixels are averaged in blocks of n × n, with the least
  n that is enough; JPEG does part of this while decoding.
- **Transparency** is laid on white paper; on black where nothing visible is dark, so
  that white ink shows.
- **Grey** is the luma of Rec. 601: its weights keep blue and red ink dark on white, and
  white and yellow chalk light on a green board. Where the colours differ far more than
  their luma does (yellow on white, blue on black, red on green), grey is the closeness
  to the paper's colour instead, so that this ink comes out dark.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from tinycnn.ink.binarize import find_ink
from tinycnn.ink.files import (
    PictureError,
    check_size,
    decode,
    orientation,
    refusing,
    shrinkage,
)
from tinycnn.ink.ink import Ink
from tinycnn.ink.sheet import only_sheet

__all__ = ["PictureError", "load_picture", "open_picture", "picture_ink"]

BAND_PIXELS = 2**18  # converted at once, to save memory
COLOUR_ADVANTAGE = 3  # times the contrast of luma, for colour to be used instead
ROUNDING = 1.01  # white of a float array, rounding errors included
MIN_COLOUR_DISTANCE = 0.2  # from the paper; less is noise

# From the stored to the upright picture, by EXIF orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # those that exchange width and height


class _Picture(NamedTuple):
    """An upright picture, scaled down if it was large."""

    image: Image.Image  # mode L or RGB
    size: tuple[int, int]  # before it was scaled down


def load_picture(path: str | Path | bytes) -> Ink:
    """Return the ink of a picture file.

    Parameters
    ----------
    path : str, Path or bytes
        A PNG, JPEG, BMP, GIF or WEBP file, whatever its name ends with, or its content.

    Returns
    -------
    Ink
        Of the upright picture, turned by its EXIF orientation.

    Raises
    ------
    PictureError
        If the file is missing, may not be read, is no such picture, is damaged, or is
        larger than the limits in `tinycnn.ink.files`. Nothing else is raised.
    """
    return _ink(_load(path))


def open_picture(path: str | Path | bytes) -> Image.Image:
    """Return a picture file as an upright image, to draw on.

    Parameters
    ----------
    path : str, Path or bytes
        See `load_picture`.

    Returns
    -------
    PIL.Image.Image
        Mode RGB or L, with the pixels of `load_picture`'s ink: a large picture is
        scaled down.

    Raises
    ------
    PictureError
        See `load_picture`.
    """
    return _load(path).image


def picture_ink(picture: ArrayLike | Image.Image) -> Ink:
    """Return the ink of a picture in memory.

    Parameters
    ----------
    picture : array (H, W) or (H, W, C), or PIL.Image.Image
        C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA). White is 255 in uint8,
        65,535 in uint16, True in bool, and in other integers the least of 1, 255,
        65,535 and the dtype's largest number that no value exceeds. Floats are in
        [0, 1], or in [0, 255] if one is above 1.01; up to there they are clipped as
        rounding errors. An image of Pillow's mode I has 16 bits.

    Returns
    -------
    Ink

    Raises
    ------
    ValueError
        If it is no such array, has no pixels or too many, or has a value that is
        negative, too large or not finite.
    """
    return _ink(_from_memory(picture))


def _load(path: str | Path | bytes) -> _Picture:
    with refusing("the picture" if isinstance(path, bytes) else str(path)):
        return _as_seen(*decode(path))


def _from_memory(picture: ArrayLike | Image.Image) -> _Picture:
    name = "the picture"
    if isinstance(picture, Image.Image):
        with refusing(name):
            check_size(picture.size)
            picture.load()
            image = _image(np.asarray(picture)) if picture.mode == "F" else picture
            return _as_seen(image, image.size, orientation(picture))
    array = np.asarray(picture)
    with refusing(name):
        image = _image(array)
        return _as_seen(image, image.size, 1)


def _ink(picture: _Picture) -> Ink:
    image, size = picture
    scale = round(max(size) / max(image.size))
    return Ink(find_ink(only_sheet(_grey(image))), size, float(scale))


# --- from an array to an image -----------------------------------------------------


def _image(array: NDArray[Any]) -> Image.Image:
    """Convert an array to an image of bytes, after checking shape, dtype and values."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in range(5)):
        raise PictureError(
            f"an array of shape {array.shape} is no picture;"
            " give (H, W) or (H, W, 1 to 4)"
        )
    if array.dtype.kind not in "buif":
        raise PictureError(f"an array of {array.dtype} is no picture; give numbers")
    if array.size == 0:
        raise PictureError(f"an array of shape {array.shape} has no pixels")
    check_size((array.shape[1], array.shape[0]))
    if not np.isfinite(array).all():
        raise PictureError("has values that are NaN or infinite; replace them")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    return Image.fromarray(_bytes(array, _white(array.dtype, array.max())))


def _bytes(array: NDArray[Any], white: float) -> NDArray[np.uint8]:
    """Scale values in [0, `white`] to bytes."""
    least, most = array.min(), array.max()
    if least < 0 or most > white * ROUNDING:
        raise PictureError(
            f"has values from {least} to {most} in {array.dtype};"
            f" bring them into 0..{'1 or 0..255' if array.dtype.kind == 'f' else white}"
        )
    if array.dtype == np.uint8:
        return array
    scaled: NDArray[np.floating[Any]] = np.minimum(array, white) * (255 / white)
    return (scaled + 0.5).astype(np.uint8)


def _white(dtype: np.dtype[Any], most: Any) -> float:
    """Return the value of white in an array whose largest value is `most`."""
    if dtype.kind == "b":
        return 1
    if dtype.kind == "f":
        return 255 if most > ROUNDING else 1
    limit = int(np.iinfo(dtype).max)
    if dtype in (np.uint8, np.uint16):
        return limit
    return min(top for top in (1, 255, 65_535, limit) if most <= top <= limit)


# --- from an image to grey ---------------------------------------------------------


def _as_seen(image: Image.Image, size: tuple[int, int], turn: Any) -> _Picture:
    """Lay an image on paper, scale it down, and turn it upright.

    `size` is that of the original, of which `image` may be a scaled-down JPEG.
    """
    deep = image.mode.startswith("I")
    clear = image.has_transparency_data and not deep
    mode = "L" if deep or image.mode in ("1", "L", "LA", "La") else "RGB"
    paper = _paper(image, f"{mode}A") if clear else "white"
    n = shrinkage(image.size)
    seen = Image.new(mode, _shrunk(image.size, n))
    step = n * max(1, BAND_PIXELS // (image.width * n))
    for top in range(0, image.height, step):
        band = image.crop((0, top, image.width, min(top + step, image.height)))
        if deep:
            band = Image.fromarray(_bytes(np.asarray(band), 65_535))
        if clear:
            drawn = band.convert(f"{mode}A")
            band = Image.new(mode, drawn.size, paper)
            band.paste(drawn.convert(mode), mask=drawn.getchannel("A"))
        seen.paste(band.convert(mode).reduce(n), (0, top // n))
    if turn in TURNS:
        seen = seen.transpose(TURNS[turn])
    return _Picture(seen, size[::-1] if turn in SIDEWAYS else size)


def _shrunk(size: tuple[int, int], n: int) -> tuple[int, int]:
    """Return the size in blocks of n × n; the last ones may be smaller."""
    return math.ceil(size[0] / n), math.ceil(size[1] / n)


def _paper(image: Image.Image, mode: str) -> str:
    """Return the paper behind transparent pixels: black if nothing visible is dark.

    `mode` is LA or RGBA.
    """
    few = _shrunk(image.size, shrinkage(image.size))
    pixels = image.resize(few, Image.Resampling.NEAREST).convert(mode)
    alpha = np.asarray(pixels.getchannel("A"))
    dark = np.asarray(pixels.convert("L")) < 128
    return "black" if alpha[dark].sum() < alpha.sum() / 1000 else "white"


def _grey(image: Image.Image) -> NDArray[np.float32]:
    """Return luma, or the closeness to the paper's colour where luma hides the ink."""
    grey = np.asarray(image.convert("L"), np.float32)
    grey /= 255
    if image.mode == "L" or np.ptp(grey) > 2 / COLOUR_ADVANTAGE:  # enough contrast
        return grey
    colours = np.asarray(image)
    H, W = grey.shape
    paper = np.median(colours[:: 1 + H // 200, :: 1 + W // 200], axis=(0, 1))
    level = paper @ (0.299, 0.587, 0.114) / 255
    contrast = max(grey.max() - level, level - grey.min())
    distance = np.zeros(grey.shape, np.uint8)
    for channel, value in enumerate(np.rint(paper).astype(np.uint8)):
        part = colours[..., channel]
        difference = np.maximum(part, value) - np.minimum(part, value)
        np.maximum(distance, difference, out=distance)
    if distance.max() < 255 * max(MIN_COLOUR_DISTANCE, COLOUR_ADVANTAGE * contrast):
        return grey
    return np.divide(255 - distance, 255, dtype=np.float32)
