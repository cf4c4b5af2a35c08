"""The IDX format, in which MNIST's makers keep an array of bytes.

An IDX file is two zero bytes, a byte for the type of the elements (8: unsigned byte), a
byte for the number of dimensions, each dimension in four bytes (most significant
first), then the elements in row-major order. It may be packed with gzip.
"""

import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinycnn.files import UnreadableError, read_regular, write_atomically

UInt8 = NDArray[np.uint8]

MAX_BYTES = 2**30  # EMNIST's largest file has 0.55 GB
# gzip shrinks handwriting about fivefold. What unpacks to more than MAX_RATIO times its
# size is refused as a gzip bomb, unless it is small.
MAX_RATIO = 8
ALWAYS_UNPACKED = 8 * 2**20
REPLACE = "replace it by an undamaged copy"


class DataError(ValueError):
    """Digits cannot be loaded from where they were asked for; says what to do."""


class IdxError(DataError):
    """An IDX file cannot be read; names the file, the reason and the remedy."""


def read_idx(path: str | Path) -> UInt8:
    """Read an IDX file of unsigned bytes, plain or packed with gzip.

    Returns
    -------
    NDArray[np.uint8]
        A new, writable array of the shape in the header; no dimension is 0.

    Raises
    ------
    IdxError
        The file is missing, may not be read, is no IDX file of unsigned bytes, or is
        damaged in any way. Nothing else is raised.
    """
    try:
        content = read_regular(path, MAX_BYTES)
        if content.startswith(b"\x1f\x8b"):  # gzip, whatever the name says
            content = _unpack(content)
        shape = _shape(content)
    except UnreadableError as error:
        raise IdxError(f"{path}: {error}") from error
    elements = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    return elements.reshape(shape).copy()  # an array over bytes is read-only


def read_images(path: str | Path) -> UInt8:
    """Read images (N, 28, 28) from an IDX file; 0 is paper and 255 is ink.

    Raises
    ------
    IdxError
        As for `read_idx`, or the file does not hold images of 28×28.
    """
    images = read_idx(path)
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise IdxError(
            f"{path}: holds an array of shape {images.shape}, not images (N, 28, 28);"
            " name a file of images"
        )
    return images


def read_labels(path: str | Path) -> UInt8:
    """Read labels (N,), each 0 to 9, from an IDX file.

    Raises
    ------
    IdxError
        As for `read_idx`, or the file does not hold labels, or one of them is above 9.
    """
    labels = read_idx(path)
    if labels.ndim != 1 or labels.max() > 9:
        raise IdxError(
            f"{path}: holds an array of shape {labels.shape} with values up to"
            f" {labels.max()}, not labels (N,) of 0 to 9; name a file of labels"
        )
    return labels


def read_pair(images_path: str | Path, labels_path: str | Path) -> tuple[UInt8, UInt8]:
    """Read images (N, 28, 28) and their labels (N,).

    Raises
    ------
    IdxError
        As for `read_images` and `read_labels`, or their numbers differ.
    """
    images, labels = read_images(images_path), read_labels(labels_path)
    if len(images) != len(labels):
        raise IdxError(
            f"{labels_path}: has {len(labels):,} labels for the {len(images):,} images"
            f" of {images_path}; name two files that belong together"
        )
    return images, labels


def write_idx(path: str | Path, array: UInt8) -> None:
    """Write an array of one to four dimensions, none of them 0, as a plain IDX file.

    Raises
    ------
    IdxError
        The array is not of that kind.
    OSError
        The file cannot be written; the old file is untouched.
    """
    if array.dtype != np.uint8 or array.ndim not in range(1, 5) or not array.size:
        raise IdxError(
            f"{path}: cannot hold {array.dtype} of shape {array.shape}; give uint8 of"
            " one to four dimensions, none of them 0"
        )
    write_atomically(path, [_header(array.shape), array.tobytes()])


def content_sha256(array: UInt8) -> str:
    """Return the SHA-256 of the plain IDX file of `array`, in hexadecimal."""
    digest = hashlib.sha256(_header(array.shape))
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _header(shape: tuple[int, ...]) -> bytes:
    """Return the first bytes of an IDX file."""
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)


def _shape(content: bytes) -> tuple[int, ...]:
    """Return the shape of an IDX file's array, or raise UnreadableError."""
    dimensions = content[3] if content.startswith(b"\0\0\x08") and content[3:] else 0
    start = 4 + 4 * dimensions
    if not 1 <= dimensions <= 4 or len(content) < start:
        raise UnreadableError(f"is no IDX file of unsigned bytes; {REPLACE}")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if not 0 < math.prod(shape) == len(content) - start:
        raise UnreadableError(
            f"has {len(content) - start:,} bytes of data, which its shape {shape} does"
            f" not fit; {REPLACE}"
        )
    return shape


def _unpack(packed: bytes) -> bytes:
    """Unpack a gzip file of one member, or raise UnreadableError."""
    limit = min(MAX_BYTES, max(ALWAYS_UNPACKED, MAX_RATIO * len(packed)))
    gunzip = zlib.decompressobj(wbits=31)  # 31: gzip, its checksum verified
    try:
        content = gunzip.decompress(packed, limit + 1)
    except zlib.error as error:
        raise UnreadableError(f"cannot be unpacked ({error}); {REPLACE}") from error
    if len(content) > limit:
        raise UnreadableError(
            f"has more than {limit:,} bytes when unpacked; if that is right, unpack it"
            " with gunzip first"
        )
    if not gunzip.eof or gunzip.unused_data:
        raise UnreadableError(f"is cut short, or has bytes after its end; {REPLACE}")
    return content
