"""A picture file, possibly hostile, becomes an image that Pillow has decoded.

Pillow is the only decoder, and gets as little as it needs. Before it decodes, the file
is looked through: what does not draw (text, profiles, previews, EXIF) is left out, and
a picture that would need more than 150 MB or 2 s is refused. Whatever is wrong with a
file, `PictureError` says so.

A file has at most 32 MiB and a picture 100 million pixels, 65,535 a side; file and
decoded pixels together have at most 105 MB. In colour that is 26 million pixels in PNG
and BMP, 6 in WEBP, 15 in a JPEG of several scans, and 100 in any other JPEG. Of an
animation the first frame counts.

This file knows formats and what they cost. It does not know colours, transparency, ink
or which way is up; it only looks up what EXIF says of that.
"""

import io
import math
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from tinycnn.files import UnreadableError, read_regular
from tinycnn.ink.ink import WORKING_PIXELS

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
MAX_FILE = 32 * 2**20  # bytes
MAX_PIXELS = 100_000_000
MAX_SIDE = 65_535
MAX_MEMORY = 105_000_000  # bytes of file and decoded pixels
MAX_PARTS = 10_000  # chunks of a PNG, segments of a JPEG
MAX_READS = 200_000  # by Pillow; one takes some microseconds
MAX_SCANS = 32  # of a JPEG; each goes over all pixels
MAX_RUN_LENGTH_CODED = 2_000_000  # pixels of a BMP that Pillow unpacks in Python

# What Pillow holds for a pixel; 4 bytes in all other modes.
BYTES_A_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2}
WEBP_BYTES_A_PIXEL = 17  # two canvases of the animation's decoder, a copy, the result

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHUNKS_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])")
JPEG_FRAMES = (0xC0, 0xC1, 0xC2)  # Huffman-coded; the last one progressive
START_OF_SCAN = 0xDA
# Comments and what programs add, but for JFIF and Adobe, which tell the colours.
JPEG_LEFT_OUT = {0xFE, *range(0xE0, 0xF0)} - {0xE0, 0xEE}


class PictureError(ValueError):
    """A picture cannot be read; names it, the reason and the remedy."""


class Decoded(NamedTuple):
    """A picture as its file stores it."""

    image: Image.Image  # a large JPEG is scaled down
    size: tuple[int, int]  # before that
    orientation: int  # 1 to 8, as in EXIF


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into `PictureError`, and keep its warnings in.

    Parameters
    ----------
    name : str
        What the message begins with; shown escaped if it cannot be printed.
    """
    shown = name if name and name.isprintable() else repr(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UnreadableError, PictureError) as error:
        raise PictureError(f"{shown}: {error}") from error.__cause__
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{shown}: is no PNG, JPEG, BMP, GIF or WEBP picture, or a damaged one;"
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


def decode(path: str | Path) -> Decoded:
    """Return the picture in a file; to be called in `refusing`, which names the file.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, BMP, GIF or WEBP file, whatever its name ends with.

    Returns
    -------
    Decoded

    Raises
    ------
    UnreadableError
        The file is missing, may not be read or is larger than `MAX_FILE`.
    PictureError
        It has too many pixels.
    Exception
        Whatever Pillow raises for a file that is damaged or no picture.
    """
    content, exif, at_once = _essential(read_regular(path, MAX_FILE))
    image = Image.open(_Rationed(content), formats=FORMATS)
    exif = exif or image.info.get("exif", b"")
    size = image.size
    check_size(size)
    n = shrinkage(size)
    if image.format == "JPEG" and n > 1:
        image.draft(None, (max(1, size[0] // n), max(1, size[1] // n)))
    _check_cost(image, size, len(content), at_once)
    del content  # Pillow lets go of the file once it is decoded, and so do we
    image.load()
    return Decoded(image, size, orientation(exif))


def check_size(size: tuple[int, int]) -> None:
    """Refuse a picture without pixels, or with too many.

    Parameters
    ----------
    size : (int, int)
        Width and height, in pixels.

    Raises
    ------
    PictureError
    """
    width, height = size
    if min(size) < 1:
        raise PictureError(f"is {width} × {height}; a picture needs pixels")
    if width * height > MAX_PIXELS or max(size) > MAX_SIDE:
        raise PictureError(
            f"has {width:,} × {height:,} pixels, more than the {MAX_PIXELS:,}"
            f" in all and {MAX_SIDE:,} a side that are read; make it smaller"
        )


def shrinkage(size: tuple[int, int]) -> int:
    """Return how many pixels of each side become one: the least that is enough.

    Parameters
    ----------
    size : (int, int)
        Width and height, in pixels.
    """
    return math.ceil(math.sqrt(size[0] * size[1] / WORKING_PIXELS))


def orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1, upright, where there is none.

    One number is looked up here, because Pillow would read all that EXIF points to.

    Parameters
    ----------
    exif : bytes
        As Pillow gives it in ``image.info["exif"]``.
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


class _Rationed(io.BytesIO):
    """A file in memory that gives out after so many reads.

    Pillow reads headers piece by piece in Python: millions of tiny pieces take minutes.
    """

    reads_left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise OSError("it is made of too many pieces")
        return super().read(size)


def _essential(content: bytes) -> tuple[bytes, bytes, bool]:
    """Return what draws of a file, a JPEG's EXIF data, and if it is decoded as it goes.

    A few kilobytes of text, profile or EXIF can unpack to gigabytes, or be read over
    and over; they never reach Pillow.
    """
    if content.startswith(PNG_SIGNATURE):
        return _essential_png(content), b"", True
    if content.startswith(b"\xff\xd8\xff"):
        return _essential_jpeg(content)
    return content, b"", True


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


def _essential_jpeg(content: bytes) -> tuple[bytes, bytes, bool]:
    """As `_essential`; what has several scans is held as coefficients first."""
    kept, exif, at, progressive, channels = [b"\xff\xd8"], b"", 2, False, 0
    for _ in range(MAX_PARTS):
        found = JPEG_MARKER.match(content, at)
        if found is None:
            raise ValueError("its header is cut off or overwritten")
        marker, start = found[1][0], found.end()
        at = start + int.from_bytes(content[start : start + 2], "big")
        if marker == START_OF_SCAN:
            if not channels:
                raise PictureError("is an unusual kind of JPEG; save it as PNG")
            at_once = not progressive and content[start + 2] == channels
            if not at_once and content.count(b"\xff\xda", start - 2) > MAX_SCANS:
                raise PictureError("has too many scans; save it as PNG")
            return b"".join([*kept, content[start - 2 :]]), exif, at_once
        if marker in JPEG_FRAMES:
            progressive, channels = marker == 0xC2, content[start + 7]
        if marker == 0xE1 and not exif and content.startswith(b"Exif\0\0", start + 2):
            exif = content[start + 2 : at]
        if marker not in JPEG_LEFT_OUT:
            kept.append(content[start - 2 : at])
    raise ValueError("it is made of too many pieces")


def _check_cost(
    image: Image.Image, size: tuple[int, int], file: int, at_once: bool
) -> None:
    """Refuse what takes too much memory or time to decode.

    `size` is that of the whole picture, of which `image` may be a scaled-down JPEG.
    """
    pixels = size[0] * size[1]
    memory = file + math.prod(image.size) * BYTES_A_PIXEL.get(image.mode, 4)
    if image.format == "WEBP":
        memory = file + pixels * WEBP_BYTES_A_PIXEL
    if not at_once:
        memory += 2 * len(image.getbands()) * pixels
    run_length_coded = image.format == "BMP" and image.info["compression"] in (1, 2)
    slow = run_length_coded and pixels > MAX_RUN_LENGTH_CODED
    if memory > MAX_MEMORY or slow:
        raise PictureError(
            f"its {size[0]:,} × {size[1]:,} pixels take too much"
            f" {'time' if slow else 'memory'} to decode; make it smaller or save it as"
            " plain JPEG"
        )
