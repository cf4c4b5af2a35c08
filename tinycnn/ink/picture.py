"""Any picture becomes ink: a file, an array, or an image that Pillow already holds.

Pillow is the only decoder, and gets as little as it needs. Before it decodes, the file
is looked through: what does not draw (text, profiles, previews, EXIF) is left out, and
a picture that would need too much memory or time is refused. Whatever is wrong with a
file, `PictureError` says so.

- **Limits.** A file has at most 32 MiB; a JPEG 100 million pixels, others 60 million,
  and 65,535 a side; file and decoded pixels together at most 105 MB. In colour that is
  26 million pixels in PNG and BMP, 6 in WEBP, 15 in a progressive JPEG.
- **Size.** More than 4 million pixels are averaged in blocks of n × n, n the least that
  is enough; JPEG does a part of this while decoding.
- **Animation.** The first frame counts.
- **Transparency** is laid on white paper; on black where nothing visible is dark, so
  that white ink is seen.
- **Grey** is the luma of Rec. 601: its weights keep blue and red ink dark on white, and
  white and yellow chalk light on a green board. Where the colours differ far more than
  their luma does (yellow on white, blue on black, red on green), grey is instead how
  close a pixel is to the paper's colour, so that this ink comes out dark.

This file knows files, colours and arrays. It does not know where the ink is on the
paper, what a stroke is, or what digits look like.
"""

import io
import math
import re
import stat
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, UnidentifiedImageError

from tinycnn.ink.ink import Ink
from tinycnn.ink.paper import find_ink

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
MAX_FILE = 32 * 2**20  # bytes
MAX_PIXELS = 100_000_000
MAX_UNDRAFTED = 60_000_000  # pixels of what cannot be scaled down while decoding
MAX_SIDE = 65_535
MAX_MEMORY = 105_000_000  # bytes of file and decoded pixels
WORKING_PIXELS = 4_000_000
BAND_PIXELS = 2**16  # worked on at once, so that little memory is enough
MAX_PARTS = 10_000  # chunks of a PNG, segments of a JPEG, reads of any header
MAX_READS = 500_000  # of pixels; only a run-length coded BMP needs many
MAX_RUN_LENGTH_CODED = 2_000_000  # pixels of a BMP that Pillow unpacks in Python
MAX_SCANNED = 500_000_000  # pixels times scans of a progressive JPEG
COLOUR_ADVANTAGE = 3  # so many times luma's contrast, and colour tells ink from paper
LEAST_DISTANCE = 0.2  # from the paper's colour; less is noise

# What Pillow holds for a pixel; 4 bytes in all other modes.
BYTES_A_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2}
WEBP_BYTES_A_PIXEL = 17  # two canvases of the animation's decoder, a copy, the result

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHUNKS_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])")
START_OF_SCAN = 0xDA
JPEG_FRAMES = {0xC0, 0xC1, 0xC2}  # Huffman-coded; the last one progressive
JPEG_ODD_FRAMES = set(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Comments and what programs add, but for JFIF and Adobe, which tell the colours.
JPEG_LEFT_OUT = {0xFE, *range(0xE0, 0xF0)} - {0xE0, 0xEE}


class PictureError(ValueError):
    """A picture cannot be read; names it, the reason and the remedy."""


class _Pixels(NamedTuple):
    """Pixels to be had a band of rows at a time, with the value that is white."""

    size: tuple[int, int]
    rows: Callable[[int, int], NDArray[Any]]  # start, stop -> (stop - start, W, C)
    white: float


class _Developed(NamedTuple):
    """A picture as a person sees it, scaled down if it was large."""

    grey: NDArray[np.float32]  # (H, W), 1 = white
    colour: NDArray[np.uint8]  # (H, W, 1 or 3)
    size: tuple[int, int]  # before it was scaled down
    scale: float

    def ink(self) -> Ink:
        return Ink(find_ink(self.grey), self.size, self.scale)


def load_picture(path: str | Path) -> Ink:
    """Return the ink of a picture file.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, BMP, GIF or WEBP file, whatever its name ends with.

    Returns
    -------
    Ink
        The picture turned as its EXIF orientation says.

    Raises
    ------
    PictureError
        The file is missing, may not be read, is no such picture, is damaged, or is
        larger than the limits at the top of this file. Nothing else is raised.
    """
    return _load(path).ink()


def load_grey(path: str | Path) -> NDArray[np.float32]:
    """Return a picture file in grey: float32 (H, W) in [0, 1], 1 = white.

    Takes, scales and refuses what `load_picture` does.
    """
    return _load(path).grey


def open_picture(path: str | Path) -> Image.Image:
    """Return a picture file as a person sees it, to draw on.

    It has the pixels of `load_picture`'s ink: a large picture is scaled down. Takes
    and refuses what `load_picture` does.

    Returns
    -------
    PIL.Image.Image
        Mode RGB or L.
    """
    colour = _load(path).colour
    return Image.fromarray(colour[..., 0] if colour.shape[2] == 1 else colour)


def picture_ink(picture: ArrayLike | Image.Image) -> Ink:
    """Return the ink of a picture in memory.

    Parameters
    ----------
    picture : array (H, W) or (H, W, C), or PIL.Image.Image
        C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA). White is 255 in uint8,
        65,535 in uint16, True in bool, and in wider integers the least of 255, 65,535
        and the dtype's largest number that no value exceeds. Floats are in [0, 1], or
        in [0, 255] where one is above 1. An image in Pillow's mode I has 16 bits.

    Returns
    -------
    Ink

    Raises
    ------
    ValueError
        It is no such array, has no pixels or too many, or a value that is negative,
        too large or not finite.
    """
    return _develop_in_memory(picture).ink()


def picture_grey(picture: ArrayLike | Image.Image) -> NDArray[np.float32]:
    """Return a picture in memory in grey: float32 (H, W) in [0, 1], 1 = white.

    Takes, scales and refuses what `picture_ink` does.
    """
    return _develop_in_memory(picture).grey


# --- from a file to an image ------------------------------------------------------


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Keep Pillow's warnings in and turn its errors into one of ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{name}: is no PNG, JPEG, BMP, GIF or WEBP picture, or a damaged one;"
            " save it as PNG"
        ) from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{name}: has too many pixels; make it smaller") from error
    # A decoder that is given nonsense may raise anything.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise PictureError(
            f"{name}: is damaged ({reason}); save it again or take another"
        ) from error


def _load(path: str | Path) -> _Developed:
    # A name that cannot be printed (a newline, undecodable bytes) is shown escaped.
    name = str(path) if str(path).isprintable() else repr(str(path))
    content = _read(path, name)
    with _refusing(name):
        content, exif, scans = _essential(content, name)
        file = _Rationed(content)
        image = Image.open(file, formats=FORMATS)
        exif = exif or image.info.get("exif", b"")
        size = image.size
        _check_size(size, name)
        factor = _factor(size)
        if image.format == "JPEG" and factor > 1:
            image.draft(None, (max(1, size[0] // factor), max(1, size[1] // factor)))
        _check_cost(image, size, len(content), scans, name)
        del content  # Pillow lets go of the file once it is decoded, and so do we
        file.reads_left = MAX_READS
        image.load()
        drafted = round(max(size) / max(image.size))
        return _develop(_image_pixels(image, name), _orientation(exif), size, drafted)


def _read(path: str | Path, name: str) -> bytes:
    """Return the content of a regular file that is not too large."""
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe could wait for ever
            raise PictureError(f"{name}: is not a regular file; name a picture file")
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except PictureError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise PictureError(
            f"{name}: cannot be read ({reason});"
            " check the name and your right to read it"
        ) from error
    if len(content) > MAX_FILE:
        raise PictureError(
            f"{name}: has more than {MAX_FILE:,} bytes; save it smaller or as JPEG"
        )
    if not content:
        raise PictureError(f"{name}: is empty; save the picture again")
    return content


class _Rationed(io.BytesIO):
    """A file in memory that gives out after so many reads.

    Pillow reads headers piece by piece in Python: millions of tiny pieces take minutes.
    """

    reads_left = MAX_PARTS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise OSError("it is made of too many pieces")
        return super().read(size)


def _essential(content: bytes, name: str) -> tuple[bytes, bytes, int]:
    """Return what draws of a file, a JPEG's EXIF data and its number of scans.

    A few kilobytes of text, profile or EXIF can unpack to gigabytes, or be read over
    and over; they never reach Pillow. A JPEG in one scan is decoded as it is read; one
    in several is held as coefficients first.
    """
    if content.startswith(PNG_SIGNATURE):
        return _essential_png(content), b"", 1
    if not content.startswith(b"\xff\xd8\xff"):
        return content, b"", 1
    kept, exif, at, progressive, channels = [b"\xff\xd8"], b"", 2, False, 0
    for _ in range(MAX_PARTS):
        found = JPEG_MARKER.match(content, at)
        if found is None:
            raise ValueError("its header is cut off or overwritten")
        marker, start = found[1][0], found.end()
        at = start + int.from_bytes(content[start : start + 2], "big")
        if marker == START_OF_SCAN:
            scans = content.count(b"\xff\xda", start - 2)
            in_one = not progressive and content[start + 2] == channels
            kept.append(content[start - 2 :])
            return b"".join(kept), exif, 1 if in_one else max(2, scans)
        if marker in JPEG_ODD_FRAMES:
            raise PictureError(f"{name}: is an unusual kind of JPEG; save it as PNG")
        if marker in JPEG_FRAMES:
            progressive, channels = marker == 0xC2, content[start + 7]
        if marker == 0xE1 and not exif and content.startswith(b"Exif\0\0", start + 2):
            exif = content[start + 2 : at]
        if marker not in JPEG_LEFT_OUT:
            kept.append(content[start - 2 : at])
    raise ValueError("it is made of too many pieces")


def _essential_png(content: bytes) -> bytes:
    kept, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    for _ in range(MAX_PARTS):
        kind = content[at + 4 : at + 8]
        stop = at + 12 + int.from_bytes(content[at : at + 4], "big")
        if kind in PNG_CHUNKS_KEPT:
            kept.append(content[at:stop])
        if kind == b"IEND" or stop >= len(content):
            return b"".join(kept)
        at = stop
    raise ValueError("it is made of too many pieces")


def _orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1, upright, where there is none.

    One number is looked up here, because Pillow would read all that EXIF points to.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if (tag, kind) == (0x0112, 3):  # orientation, a short
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass  # broken EXIF says nothing
    return 1


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PictureError(f"{name}: is {width} × {height}; a picture needs pixels")
    if width * height > MAX_PIXELS or max(size) > MAX_SIDE:
        raise PictureError(
            f"{name}: has {width:,} × {height:,} pixels, more than the {MAX_PIXELS:,}"
            f" in all and {MAX_SIDE:,} a side that are read; make it smaller"
        )


def _check_cost(
    image: Image.Image, size: tuple[int, int], file: int, scans: int, name: str
) -> None:
    """Refuse what takes too much memory or time to decode."""
    pixels = size[0] * size[1]
    memory = file + math.prod(image.size) * BYTES_A_PIXEL.get(image.mode, 4)
    if image.format == "WEBP":
        memory = file + pixels * WEBP_BYTES_A_PIXEL
    if scans > 1:
        memory += 2 * len(image.getbands()) * pixels
    slow = scans > 1 and scans * pixels > MAX_SCANNED
    if image.format != "JPEG":
        slow = pixels > MAX_UNDRAFTED
    if image.format == "BMP" and image.info.get("compression") in (1, 2):
        slow = pixels > MAX_RUN_LENGTH_CODED
    if memory > MAX_MEMORY or slow:
        raise PictureError(
            f"{name}: its {size[0]:,} × {size[1]:,} pixels take too much"
            f" {'time' if slow else 'memory'} to decode; make it smaller or save it as"
            " plain JPEG"
        )


# --- from an image or an array to pixels -------------------------------------------


def _develop_in_memory(picture: ArrayLike | Image.Image) -> _Developed:
    name = "the picture"
    if isinstance(picture, Image.Image):
        _check_size(picture.size, name)
        with _refusing(name):
            exif = picture.info.get("exif", b"")
            picture.load()
            pixels = _image_pixels(picture, name)
            return _develop(pixels, _orientation(exif), pixels.size, 1)
    pixels = _array_pixels(np.asarray(picture), name)
    return _develop(pixels, 1, pixels.size, 1)


def _image_pixels(image: Image.Image, name: str) -> _Pixels:
    """Return an image's pixels; only a band at a time is made into numbers."""
    if image.mode == "F":
        return _array_pixels(np.asarray(image), name)
    if image.mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise PictureError(
                f"{name}: has values from {values.min()} to {values.max()} in mode I;"
                " bring them into 0..65535"
            )
        return _array_pixels(values.astype(np.uint16), name)
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    mode += "A" if image.has_transparency_data else ""
    sixteen = image.mode.startswith("I;16")

    def rows(start: int, stop: int) -> NDArray[Any]:
        band = image.crop((0, start, image.width, stop))
        if not sixteen and band.mode != mode:
            band = band.convert(mode)
        return np.asarray(band).reshape(stop - start, image.width, -1)

    return _Pixels(image.size, rows, 65_535 if sixteen else 255)


def _array_pixels(array: NDArray[Any], name: str) -> _Pixels:
    """Return an array's pixels after checking that they are some."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in range(5)):
        raise PictureError(
            f"{name}: an array of shape {array.shape} is no picture;"
            " give (H, W) or (H, W, 1 to 4)"
        )
    if array.dtype.kind not in "buif":
        raise PictureError(
            f"{name}: an array of {array.dtype} is no picture; give numbers"
        )
    if array.size == 0:
        raise PictureError(f"{name}: an array of shape {array.shape} has no pixels")
    height, width = array.shape[:2]
    _check_size((width, height), name)
    if not np.isfinite(array).all():
        raise PictureError(f"{name}: has values that are NaN or infinite; replace them")
    least, most = array.min(), array.max()
    white = _white(array.dtype, most)
    if least < 0 or most > white:
        raise PictureError(
            f"{name}: has values from {least} to {most} in {array.dtype};"
            f" bring them into 0..{'1 or 0..255' if array.dtype.kind == 'f' else white}"
        )
    pixels = array.reshape(height, width, -1)
    return _Pixels((width, height), lambda start, stop: pixels[start:stop], white)


def _white(dtype: np.dtype[Any], most: Any) -> float:
    """Return the value that is white in an array whose largest value is `most`."""
    if dtype.kind == "b":
        return 1
    if dtype.kind == "f":
        return 255 if most > 1 else 1
    limit = int(np.iinfo(dtype).max)
    if dtype in (np.uint8, np.uint16):
        return limit
    return min(top for top in (255, 65_535, limit) if most <= top <= limit)


# --- from pixels to grey -----------------------------------------------------------


def _develop(
    pixels: _Pixels, orientation: int, size: tuple[int, int], drafted: int
) -> _Developed:
    """Lay pixels on paper, scale them down, and turn them upright.

    `size` is that of the whole picture, of which `drafted` × `drafted` pixels are one
    in `pixels`. Sums of whole numbers are exact in doubles and divided once, so the
    same picture gives the same grey in whatever form it comes.
    """
    _, rows, white = pixels
    factor = _factor(pixels.size)
    across, down = (_block_lengths(side, factor) for side in pixels.size)
    channels = rows(0, 1).shape[2]
    paper = _paper(pixels, factor) if channels in (2, 4) else white
    grey = np.empty((len(down), len(across)), np.float32)
    colour = np.empty((*grey.shape, 3 if channels > 2 else 1), np.uint8)
    for start, stop in _bands(pixels.size, factor):
        band, top = rows(start, stop), white
        # Sums of bytes are exact in floats too, which are sooner.
        exact = np.dtype(np.float32 if band.dtype == np.uint8 else np.float64)
        see_through = channels in (2, 4) and band[..., -1].min() < white
        if see_through:
            alpha = band[..., -1].astype(exact)
            behind, top = paper * (white - alpha), white**2
        totals = []
        for channel in range(colour.shape[2]):
            plane = band[..., channel].astype(exact)
            if see_through:
                plane = plane * alpha + behind
            totals.append(_block_sums(plane, factor))
        if see_through:  # a product of bytes weighted by luma needs doubles
            totals = [total.astype(np.float64) for total in totals]
        out = slice(start // factor, start // factor + len(totals[0]))
        most = (top * down[out, None] * across).astype(totals[0].dtype)
        grey[out] = _luma(totals) / (1000 * most)
        for channel, total in enumerate(totals):
            colour[out, :, channel] = total * (255 / most) + 0.5
    if channels > 2:
        grey = _grey_of_colours(grey, colour)
    return _Developed(
        _turned(grey, orientation),
        _turned(colour, orientation),
        size if orientation < 5 else size[::-1],
        float(drafted * factor),
    )


def _factor(size: tuple[int, int]) -> int:
    """Return how many pixels of each side become one."""
    return math.ceil(math.sqrt(size[0] * size[1] / WORKING_PIXELS))


def _bands(size: tuple[int, int], factor: int) -> Iterator[tuple[int, int]]:
    """Yield the first row and the row behind the last of bands of whole blocks."""
    step = factor * max(1, BAND_PIXELS // (size[0] * factor))
    for start in range(0, size[1], step):
        yield start, min(start + step, size[1])


def _block_lengths(side: int, factor: int) -> NDArray[np.int64]:
    """Return how many pixels each block has along a side; the last may have fewer."""
    return np.minimum(factor, side - np.arange(0, side, factor))


def _block_sums(band: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return the sums over blocks: (n, W) -> (ceil(n / f), ceil(W / f))."""
    for axis in (0, 1):
        lines = band.swapaxes(0, axis)
        sums = lines[::factor].copy() if factor > 1 else lines
        for offset in range(1, factor):
            part = lines[offset::factor]
            sums[: len(part)] += part
        band = sums.swapaxes(0, axis)
    return band


def _luma(planes: Sequence[Any]) -> Any:
    """Return 1000 times the luma of Rec. 601 of three planes, or of a grey one."""
    if len(planes) == 1:
        return 1000 * planes[0]
    red, green, blue = planes
    return 299 * red + 587 * green + 114 * blue


def _paper(pixels: _Pixels, factor: int) -> float:
    """Return the paper for what is transparent: white, or 0 if nothing seen is dark."""
    seen = dark = 0.0
    for start, stop in _bands(pixels.size, factor):
        band = pixels.rows(start, stop)[::factor, ::factor].astype(np.float32)
        *planes, alpha = np.moveaxis(band, 2, 0)
        seen += alpha.sum()
        dark += alpha[_luma(planes) < 500 * pixels.white].sum()
    return 0 if dark < seen / 1000 else pixels.white


def _grey_of_colours(
    grey: NDArray[np.float32], colour: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return the luma given, or closeness to the paper where luma hides the ink."""
    H, W = grey.shape
    if np.ptp(grey) > 2 / COLOUR_ADVANTAGE:  # contrast enough, whatever the paper
        return grey
    paper = np.median(colour[:: 1 + H // 200, :: 1 + W // 200], axis=(0, 1))
    level = _luma(paper) / 255_000
    contrast = max(grey.max() - level, level - grey.min())
    away = np.zeros(grey.shape, np.uint8)
    for channel, value in enumerate(np.rint(paper).astype(np.uint8)):
        part = colour[..., channel]
        np.maximum(away, np.maximum(part, value) - np.minimum(part, value), out=away)
    if away.max() < 255 * max(LEAST_DISTANCE, COLOUR_ADVANTAGE * contrast):
        return grey
    return np.divide(255 - away, 255, dtype=np.float32)


def _turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return rows and columns as a person sees them, by EXIF orientation."""
    if orientation > 4:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)
