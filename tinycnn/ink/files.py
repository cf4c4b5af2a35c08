"""A picture file becomes an image that Pillow has decoded, in bounded time and memory.

Any file takes at most 2 s and 300 MB; whatever is wrong with it is raised as
`PictureError`. Pillow is the only decoder. What it leaves unbounded is bounded here:
the size of file and picture, the pieces and bytes of metadata, the scans of a JPEG.
"""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tinycnn.files import UnreadableError, read_regular
from tinycnn.ink.strokes import shrinkage

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

_warnings_lock = threading.Lock()  # `warnings.catch_warnings` is not thread-safe


class PictureError(ValueError):
    """A picture that cannot be read; the message names it, the reason, the remedy."""


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
def refusing(name: str) -> Iterator[None]:
    """Turn what a decoder raises into a `PictureError` that begins with a name.

    Warnings are suppressed: of many pixels, which are counted here, and of broken EXIF.
    """
    shown = name if name and name.isprintable() else repr(name)
    try:
        with _warnings_lock, warnings.catch_warnings():
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


def decode(path: str | Path | bytes) -> tuple[Image.Image, tuple[int, int]]:
    """Decode a picture file; to be called inside `refusing`, which names the file.

    Parameters
    ----------
    path : str, Path or bytes
        A PNG, JPEG, BMP, GIF or WEBP file, whatever its name ends with, or its content.

    Returns
    -------
    image : PIL.Image.Image
        The first frame, not turned; a large JPEG is scaled down.
    size : (int, int)
        Width and height before that, in pixels.

    Raises
    ------
    UnreadableError
        If the file is missing, may not be read or is larger than `MAX_FILE`.
    PictureError
        If it has too many pixels.
    Exception
        Whatever Pillow raises for a file that is damaged or no picture.
    """
    content = read_regular(path, MAX_FILE)
    file = _LimitedFile(content)
    image = Image.open(file, formats=FORMATS)
    size, n = image.size, shrinkage(image.size)
    check_size(size, _most_pixels(image, content, file.tell()))
    file.largest_block = BLOCK
    if n > 1:  # of the formats, JPEG alone can do this
        image.draft(None, (max(1, size[0] // n), max(1, size[1] // n)))
    del content, file  # Pillow lets go of the file once it is decoded
    image.load()
    return image, size


def check_size(size: tuple[int, int], most: int = MAX_PIXELS) -> None:
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
