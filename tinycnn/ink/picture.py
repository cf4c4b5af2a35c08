"""Any picture becomes ink: a file, an array, or an image that Pillow already holds.

- **Depth.** Everything is computed in bytes; deeper pictures are scaled, not clipped.
- **Size.** More than 4 million pixels are averaged in blocks of n × n, with the least
  n that is enough; JPEG does part of this while decoding.
- **Transparency** is laid on white paper; on black where nothing visible is dark, so
  that white ink shows.
- **Grey** is the luma of Rec. 601: its weights keep blue and red ink dark on white, and
  white and yellow chalk light on a green board. Where the colours differ far more than
  their luma does (yellow on white, blue on black, red on green), grey is the channel of
  red, green or blue with the most contrast.
"""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from tinycnn.ink.binarize import find_ink
from tinycnn.ink.files import MAX_FILE, PictureError, check_size, decode, refusing
from tinycnn.ink.sheet import only_sheet
from tinycnn.ink.strokes import Ink, shrinkage

__all__ = ["PictureError", "open_picture", "picture_ink"]

COLOUR_ADVANTAGE = 3  # times the contrast of luma, for a channel to be used instead
ROUNDING = 1.01  # white of a float array, rounding errors included
MIN_COLOUR_CONTRAST = 51  # of 255; less is noise
# What white may be in an array, by its dtype or kind: the least that fits is taken.
WHITES = {"uint8": (255,), "uint16": (65_535,), "b": (1,), "f": (1, 255)}
INTEGER_WHITES = 1, 255, 65_535

Size = tuple[int, int]


def picture_ink(picture: Any) -> Ink:
    """Return the ink of a picture.

    Parameters
    ----------
    picture : str, Path, bytes, file, PIL.Image.Image or array
        A PNG, JPEG, BMP, GIF or WEBP file, whatever its name ends with: its name, its
        content, or the file opened in binary mode. Or an image, or an array (H, W) or
        (H, W, C), where C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA). White is
        255 in uint8, 65,535 in uint16, True in bool, and in other integers the least of
        1, 255 and 65,535 that no value exceeds. Floats are in [0, 1], or in [0, 255] if
        one is above 1.01; up to there they are clipped as rounding errors.

    Returns
    -------
    Ink
        Of the upright picture, turned by its EXIF orientation.

    Raises
    ------
    PictureError
        If a file is missing, may not be read, is no such picture, is damaged, or is
        larger than the limits in `tinycnn.ink.files`. If an array is none of these, has
        no pixels or too many, or has a value that is negative, too large or not finite.
        Nothing else is raised.
    """
    image, size = _seen(picture)
    scale = round(max(size) / max(image.size))
    grey, tilt = only_sheet(_grey(image))
    return Ink(find_ink(grey), size, float(scale), tilt=tilt)


def open_picture(picture: Any) -> Image.Image:
    """Return a picture as an upright image, to draw on.

    Parameters
    ----------
    picture
        See `picture_ink`, also for what is raised.

    Returns
    -------
    PIL.Image.Image
        Mode RGB or L, with the pixels of the ink: a large picture is scaled down.
    """
    return _seen(picture)[0]


def _seen(picture: Any) -> tuple[Image.Image, Size]:
    """Return the upright image of a picture, and the size that the original has."""
    if hasattr(picture, "read"):  # may wait, and `refusing` lets one thread in
        picture = picture.read(MAX_FILE + 1)
        if not isinstance(picture, bytes):
            raise PictureError("the picture is text; open the file in binary mode")
    with refusing(str(picture) if isinstance(picture, str | Path) else "the picture"):
        if isinstance(picture, bytearray | memoryview):
            picture = bytes(picture)
        if isinstance(picture, str | Path | bytes):
            return _upright(*decode(picture))
        if isinstance(picture, Image.Image):
            check_size(picture.size)
            picture.load()
        if not isinstance(picture, Image.Image) or picture.mode in ("I", "F"):
            picture = _image(np.asarray(picture))
        return _upright(picture, picture.size)


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
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    least, most = array.min(), array.max()  # NaN if one is
    by_kind = WHITES.get(array.dtype.kind, INTEGER_WHITES)
    whites = WHITES.get(array.dtype.name, by_kind)
    white = next((white for white in whites if most <= white * ROUNDING), 0)
    if not (white and least >= 0):
        raise PictureError(
            f"has values from {least} to {most} in {array.dtype};"
            f" bring them into 0..{' or 0..'.join(map(str, whites))}"
        )
    if array.dtype != np.uint8:
        array = (np.minimum(array, white) * (255 / white) + 0.5).astype(np.uint8)
    return Image.fromarray(array)


def _upright(image: Image.Image, size: Size) -> tuple[Image.Image, Size]:
    """Scale an image down, lay it on paper, and turn it upright.

    Returns
    -------
    image : PIL.Image.Image
        Mode L or RGB.
    size : (int, int)
        `size`, that of the original, of which the given image may be a scaled-down
        JPEG, but upright.
    """
    turn = None
    with contextlib.suppress(Exception):  # broken EXIF may raise anything
        turn = image.getexif().get(Base.Orientation)
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    clear = image.has_transparency_data
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    wanted, n = f"{mode}A" if clear else mode, shrinkage(image.size)
    seen = (image if image.mode == wanted else image.convert(wanted)).reduce(n)
    if clear:
        alpha = seen.getchannel("A")
        drawn = seen.convert(mode)
        seen = Image.new(mode, drawn.size, _paper(drawn, alpha))
        seen.paste(drawn, mask=alpha)
    seen.info.clear()  # broken EXIF, too
    seen.getexif()[Base.Orientation] = turn
    seen = ImageOps.exif_transpose(seen)
    return seen, size[::-1] if turn in (5, 6, 7, 8) else size


def _paper(drawn: Image.Image, alpha: Image.Image) -> str:
    """Return the paper behind transparent pixels: black if nothing visible is dark."""
    visible = np.asarray(alpha)
    dark = np.asarray(drawn.convert("L")) < 128
    return "black" if visible[dark].sum() < visible.sum() / 1000 else "white"


def _grey(image: Image.Image) -> NDArray[np.float32]:
    """Return luma, or the colour channel of most contrast where luma hides the ink."""
    grey = np.asarray(image.convert("L"))
    if image.mode != "L" and np.ptp(grey) <= 255 / COLOUR_ADVANTAGE:
        clearest = max(map(np.asarray, image.split()), key=np.ptp)
        needed = max(COLOUR_ADVANTAGE * int(np.ptp(grey)), MIN_COLOUR_CONTRAST)
        grey = clearest if np.ptp(clearest) >= needed else grey
    return grey.astype(np.float32) / np.float32(255)
