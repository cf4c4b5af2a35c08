"""The IDX format, in which MNIST is distributed: an array of bytes in a file.

An IDX file is two zero bytes, a byte for the type of the elements (8: unsigned byte), a
byte for the number of dimensions, each dimension in four bytes (most significant
first), then the elements in row-major order. It may be compressed with gzip.
"""

import hashlib
import math
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinycnn.files import UnreadableError, read_regular, write_atomically

UInt8 = NDArray[np.uint8]

MAX_BYTES = 2**30  # EMNIST's largest file has 0.55 GB
OTHERS = "use other images, or a network of your own (--network FILE.py:NAME)"


class DataError(ValueError):
    """Digits cannot be loaded; names the file, the reason and the remedy."""


def read_idx(path: str | Path) -> UInt8:
    """Read an IDX file of unsigned bytes, plain or compressed with gzip.

    Returns a new, writable array of the shape in the header; no dimension is 0. Raises
    DataError if the file cannot be read, is none of unsigned bytes, or is damaged.
    """
    try:
        content = read_regular(path, MAX_BYTES)
        if content.startswith(b"\x1f\x8b"):  # gzip, whatever the name says
            content = _unpack(content)
        shape = _shape(content)
    except UnreadableError as error:
        raise DataError(f"{path}: {error}") from error
    elements = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    return elements.reshape(shape).copy()  # an array over bytes is read-only


def read_pair(images_path: str | Path, labels_path: str | Path) -> tuple[UInt8, UInt8]:
    """Read images (N, H, W), 255 is ink, and as many labels (N,); or a DataError."""
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataError(
            f"{images_path} and {labels_path}: hold arrays of shape {images.shape} and "
            f"{labels.shape}, not images (N, H, W) and as many labels (N,); name two "
            "files that belong together"
        )
    return images, labels


def from_zero(labels: UInt8, first: int, classes: int) -> UInt8:
    """Return labels (N,) as class numbers: the label ``first`` is class 0.

    Raises DataError if a label is below ``first`` or beyond the classes.
    """
    least, most, last = int(labels.min()), int(labels.max()), first + classes - 1
    if least < first or most > last:
        raise DataError(
            f"the labels are {least} to {most}, and the network has classes {first} to "
            f"{last}; {OTHERS}"
        )
    return labels - np.uint8(first)


def check_size(images: UInt8, size: Sequence[int]) -> None:
    """Raise DataError if images (N, H, W) do not have the size that a network takes."""
    here, needed = ("×".join(map(str, s)) for s in (images.shape[1:], size))
    if here != needed:
        raise DataError(
            f"the images are {here}, and the network takes {needed}; {OTHERS}"
        )


def write_idx(path: str | Path, array: UInt8) -> None:
    """Write an array of one to four dimensions, none of them 0, as a plain IDX file.

    Raises DataError for another array, and OSError where the file cannot be written;
    then the old file is untouched.
    """
    if array.dtype != np.uint8 or array.ndim not in range(1, 5) or not array.size:
        raise DataError(
            f"{path}: cannot hold {array.dtype} of shape {array.shape}; give uint8 of"
            " one to four dimensions, none of them 0"
        )
    write_atomically(path, [_plain(array)])


def content_sha256(array: UInt8) -> str:
    """Return the SHA-256 of the plain IDX file of `array`, in hexadecimal."""
    return hashlib.sha256(_plain(array)).hexdigest()


def _plain(array: UInt8) -> bytes:
    """Return the plain IDX file of an array."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def _shape(content: bytes) -> tuple[int, ...]:
    """Return the shape of an IDX file's array, or raise UnreadableError."""
    dimensions = content[3] if content.startswith(b"\0\0\x08") and content[3:] else 0
    start = 4 + 4 * dimensions
    if 1 <= dimensions <= 4 and len(content) >= start:
        shape = struct.unpack(f">{dimensions}I", content[4:start])
        if 0 < math.prod(shape) == len(content) - start:
            return shape
    raise UnreadableError(
        "is no IDX file of unsigned bytes, or its length contradicts its header; "
        "replace it with an undamaged copy"
    )


def _unpack(packed: bytes) -> bytes:
    """Unpack a gzip file of one member, or raise UnreadableError."""
    # gzip shrinks handwriting about fivefold; what grows further is a gzip bomb.
    limit = min(MAX_BYTES, 2**23 + 8 * len(packed))
    gunzip = zlib.decompressobj(wbits=31)  # 31: gzip, its checksum verified
    with suppress(zlib.error):
        content = gunzip.decompress(packed, limit)
        if gunzip.eof and not gunzip.unused_data:
            return content
    raise UnreadableError(
        f"is no undamaged gzip file, or unpacks to more than {limit:,} bytes; unpack it"
        " with gunzip, which says what is wrong"
    )
