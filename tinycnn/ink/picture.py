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

Any file takes at most 2 s and 300 MB; whatever is wrong with it is raised as
`PictureError`. Pillow is the only decoder. What it leaves unbounded is bounded here:
the size of file and picture, the pieces and bytes of metadata, the scans of a JPEG.
"""

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base

from tinycnn.files import UnreadableError, read_regular
from tinycnn.ink.binarize import find_ink
from tinycnn.ink.sheet import only_sheet
from tinycnn.ink.strokes import Ink, shrinkage

COLOUR_ADVANTAGE = 3  # times the contrast of luma, for a channel to be used instead
ROUNDING = 1.01  # white of a float array, rounding errors included
MIN_COLOUR_CONTRAST = 51  # of 255; less is noise
# What white may be in an array, by its dtype or kind: the least that fits is taken.
WHITES = {"uint8": (255,), "uint16": (65_535,), "b": (1,), "f": (1, 255)}
INTEGER_WHITES = 1, 255, 65_535

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
MAX_FILE = 32 * 2**20  # bytes
MAX_SIDE = 65_535  # pixels
MAX_PIXELS = 25_000_000  # 100 MB in colour
MAX_PIXELS_JPEG = 50_000_000  # of one scan, which is decoded at a reduced scale
MAX_PIXELS_WEBP = 12_000_000  # Pillow holds 16 bytes for each
MAX_PIXELS_RLE = 2_000_000  # of a run-length coded BMP, which Pillow unpacks in Python
MAX_SCANNED = 500_000_000  # pixels of a JPEG times its scans
MAX_METADATA = 8 * 2**20  # bytes; Pillow copies them several times
READ = 40  # bytes of metadata that take as long as reading a piece of any length
BLOCK = 2**16  # bytes; behind the header, only texts are read in larger pieces
PACKED = (b"iCCP", b"zTXt", b"iTXt")  # chunks of a PNG that unpack to a megabyte
UNPACKED = 80_000  # bytes of metadata that take as long as unpacking one

_lock = threading.Lock()  # `warnings.catch_warnings` is not thread-safe
if hasattr(os, "register_at_fork"):  # held by no thread that a child would lack
    _end = _lock.release
    os.register_at_fork(before=_lock.acquire, after_in_parent=_end, after_in_child=_end)

Size = tuple[int, int]


class PictureError(ValueError):
    """A picture that cannot be read; the message names it, the reason, the remedy."""


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
        larger than the limits above. If an array is none of these, has
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
    if hasattr(picture, "read"):  # may wait, and `_refusing` lets one thread in
        picture = picture.read(MAX_FILE + 1)
        if not isinstance(picture, bytes):
            raise PictureError("the picture is text; open the file in binary mode")
    with _refusing(str(picture) if isinstance(picture, str | Path) else "the picture"):
        if isinstance(picture, bytearray | memoryview):
            picture = bytes(picture)
        if isinstance(picture, str | Path | bytes):
            return _upright(*_decode(picture))
        if isinstance(picture, Image.Image):
            _check_size(picture.size)
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
    _check_size((array.shape[1], array.shape[0]))
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
    """Return an image scaled down, laid on paper and upright, of mode L or RGB.

    And return `size`, that of the original, as it is upright: a large JPEG may come
    scaled down already.
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
        alpha, drawn = seen.getchannel("A"), seen.convert(mode)
        visible, dark = np.asarray(alpha), np.asarray(drawn.convert("L")) < 128
        is_light = visible[dark].sum() < visible.sum() / 1000  # nothing seen is dark
        seen = Image.new(mode, drawn.size, "black" if is_light else "white")
        seen.paste(drawn, mask=alpha)
    seen.info.clear()  # broken EXIF, too
    seen.getexif()[Base.Orientation] = turn
    seen = ImageOps.exif_transpose(seen)
    return seen, size[::-1] if turn in (5, 6, 7, 8) else size


def _grey(image: Image.Image) -> NDArray[np.float32]:
    """Return luma, or the colour channel of most contrast where luma hides the ink."""
    grey = np.asarray(image.convert("L"))
    if image.mode != "L" and np.ptp(grey) <= 255 / COLOUR_ADVANTAGE:
        clearest = max(map(np.asarray, image.split()), key=np.ptp)
        needed = max(COLOUR_ADVANTAGE * int(np.ptp(grey)), MIN_COLOUR_CONTRAST)
        grey = clearest if np.ptp(clearest) >= needed else grey
    return grey.astype(np.float32) / np.float32(255)


class _LimitedFile(io.BytesIO):
    """A file in memory that limits the metadata that Pillow reads.

    Pillow reads metadata in Python: millions of tiny pieces take minutes.
    """

    left = MAX_METADATA
    largest_block = 0  # of pixels; everything larger is metadata

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.left -= UNPACKED if data[4:] in PACKED else READ
        self.left -= len(data) if (size or 0) > self.largest_block else 0
        if self.left < 0:
            raise OSError("it has too much metadata")
        # Hide the directory of further pictures, so that MPO opens as a plain JPEG.
        return bytes(len(data)) if data.startswith(b"MPF\0") else data


@contextlib.contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Turn what a decoder raises into a `PictureError` that begins with a name.

    Warnings are suppressed: of many pixels, which are counted here, and of broken EXIF.
    """
    shown = name if name and name.isprintable() else repr(name)
    try:
        with _lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UnreadableError, PictureError) as error:
        raise PictureError(f"{shown}: {error}") from error.__cause__
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{shown}: is not a PNG, JPEG, BMP, GIF or WEBP picture, or is damaged;"
            " save it as PNG"
        ) from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{shown}: has too many pixels; make it smaller") from error
    # A decoder that is given nonsense may raise anything.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise PictureError(
            f"{shown}: is damaged ({reason}); save it again or take another"
        ) from error


def _decode(path: str | Path | bytes) -> tuple[Image.Image, Size]:
    """Decode a picture file; to be called inside `_refusing`, which names the file.

    Return the first frame, not turned, and its width and height in the file: a large
    JPEG is scaled down. Raises what Pillow does for a file that is damaged or no
    picture, `UnreadableError`, and `PictureError` if it has too many pixels.
    """
    content = read_regular(path, MAX_FILE)
    file = _LimitedFile(content)
    image = Image.open(file, formats=FORMATS)
    size, n = image.size, shrinkage(image.size)
    _check_size(size, _most_pixels(image, content, file.tell()))
    file.largest_block = BLOCK
    if n > 1:  # of the formats, JPEG alone can do this
        image.draft(None, (max(1, size[0] // n), max(1, size[1] // n)))
    del content, file  # Pillow lets go of the file once it is decoded
    image.load()
    return image, size


def _check_size(size: tuple[int, int], most: int = MAX_PIXELS) -> None:
    """Raise `PictureError` for a width and height of no pixels, or of too many."""
    width, height = size
    if min(size) < 1:
        raise PictureError(f"is {width} × {height}; a picture needs pixels")
    if width * height > most or max(size) > MAX_SIDE:
        raise PictureError(
            f"has {width:,} × {height:,} pixels, more than the {most:,} in all or"
            f" {MAX_SIDE:,} a side that can be read; make it smaller"
        )


def _most_pixels(image: Image.Image, content: bytes, header: int) -> int:
    """Return how many pixels an opened picture may have; `header` is its length."""
    if image.format == "WEBP":
        return MAX_PIXELS_WEBP
    if image.format == "BMP" and image.info["compression"] in (1, 2):
        return MAX_PIXELS_RLE
    if image.format != "JPEG":
        return MAX_PIXELS
    scan = b"\xff\xda"
    channels = content[content.rindex(scan, 0, header) + 4]  # of the first scan
    if channels == len(image.getbands()) and "progressive" not in image.info:
        return MAX_PIXELS_JPEG
    # Of several scans all coefficients are kept, and each scan visits all of them.
    if image.width * image.height * content.count(scan) > MAX_SCANNED:
        raise PictureError("has too many pixels and scans; save it as PNG")
    return MAX_PIXELS
