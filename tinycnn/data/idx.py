"""The IDX format: how MNIST's makers keep an array of bytes in a file.

An IDX file is two zero bytes, a byte for the element's type (8 is the unsigned byte),
a byte for the number of dimensions, each dimension as four bytes (most significant
first), then the elements in row-major order. It may be packed with gzip.

This file knows the format and distrusts what it reads. It does not know MNIST, where
files come from, how one is replaced, or what digits are for.
"""

import gzip
import hashlib
import io
import math
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinycnn.files import write_atomically

UNSIGNED_BYTE = 8
MAX_DIMENSIONS = 4
# EMNIST's largest file has 0.55 GB; a header that promises more than 1 GiB is damage.
MAX_BYTES = 2**30
# Handwriting shrinks about fivefold. A small file that promises far more is a bomb, and
# unpacking it would take seconds before the damage is seen.
MAX_RATIO = 8
ALWAYS_UNPACKED = 8 * 2**20

GZIP_MAGIC = b"\x1f\x8b"
GZIP_TRAILER = 8  # a checksum and the unpacked length, four bytes each


class DataError(ValueError):
    """Digits cannot be had from where they were asked for; says what to do."""


class IdxError(DataError):
    """An IDX file cannot be read; names the file, the reason and the remedy."""


def read_idx(path: str | Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or packed with gzip.

    Which of the two is told from the first two bytes, never from the name.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    NDArray[np.uint8]
        A new, writable array of the shape the header states; no dimension is 0.

    Raises
    ------
    IdxError
        The file is missing, may not be read, is no IDX file of unsigned bytes, or is
        damaged in any way. Nothing else is raised.
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe could wait for ever
            raise IdxError(f"{path}: is not a regular file; name an IDX file")
        if status.st_size > MAX_BYTES:
            raise IdxError(
                f"{path}: has {status.st_size:,} bytes, more than the"
                f" {MAX_BYTES:,} that are read; split it"
            )
        content = Path(path).read_bytes()
    except IdxError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise IdxError(
            f"{path}: cannot be read ({reason});"
            " check the name and your right to read it"
        ) from error
    return parse_idx(content, path)


def parse_idx(content: bytes, name: str | Path) -> NDArray[np.uint8]:
    """Read the bytes of an IDX file that is in memory already.

    Parameters
    ----------
    content : bytes
        The whole file, plain or packed with gzip.
    name : str or Path
        What errors call it.

    Returns
    -------
    NDArray[np.uint8]
        A new, writable array of the shape the header states; no dimension is 0.

    Raises
    ------
    IdxError
        As for `read_idx`.
    """
    if content[:2] == GZIP_MAGIC:
        shape, body = _unpack(content, name)
    else:
        shape = _parse_header(content, name)
        body = content[4 + 4 * len(shape) :]
        if len(body) != math.prod(shape):
            raise _damaged(
                name,
                f"the header promises {math.prod(shape):,} bytes of data {shape},"
                f" the file has {len(body):,}",
            )
    # A copy, because an array over bytes could not be written to.
    return np.frombuffer(body, dtype=np.uint8).reshape(shape).copy()


def read_images(path: str | Path) -> NDArray[np.uint8]:
    """Read an IDX file of digits.

    Parameters
    ----------
    path : str or Path
        The file, plain or packed with gzip.

    Returns
    -------
    NDArray[np.uint8], shape (N, 28, 28)
        At least one image; 0 is paper and 255 is ink.

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


def read_labels(path: str | Path) -> NDArray[np.uint8]:
    """Read an IDX file of labels.

    Parameters
    ----------
    path : str or Path
        The file, plain or packed with gzip.

    Returns
    -------
    NDArray[np.uint8], shape (N,)
        At least one label; all are 0 to 9.

    Raises
    ------
    IdxError
        As for `read_idx`, or the file does not hold labels, or one of them is above 9.
    """
    labels = read_idx(path)
    if labels.ndim != 1:
        raise IdxError(
            f"{path}: holds an array of shape {labels.shape}, not labels (N,);"
            " name a file of labels"
        )
    wrong = np.flatnonzero(labels > 9)
    if len(wrong):
        raise _damaged(
            path, f"label {wrong[0]} is {labels[wrong[0]]}, and labels are 0 to 9"
        )
    return labels


def read_pair(
    images_path: str | Path, labels_path: str | Path
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read images and the labels that belong to them.

    Parameters
    ----------
    images_path, labels_path : str or Path
        The two files, each plain or packed with gzip.

    Returns
    -------
    images : NDArray[np.uint8], shape (N, 28, 28)
    labels : NDArray[np.uint8], shape (N,)
        N is at least 1.

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


def write_idx(path: str | Path, array: NDArray[np.uint8]) -> None:
    """Write an array of unsigned bytes as an IDX file, whole or not at all.

    The same array gives the same bytes, today and tomorrow: a packed file holds no
    time and no name. (Another version of zlib may pack into other bytes.)

    Parameters
    ----------
    path : str or Path
        The file; packed with gzip if the name ends in ``.gz``.
    array : NDArray[np.uint8]
        One to four dimensions, none of them 0.

    Raises
    ------
    IdxError
        The array is not of that kind.
    OSError
        The file cannot be written. The old file is untouched and nothing is left over.
    """
    if array.dtype != np.uint8:
        raise IdxError(f"{path}: IDX holds uint8 here, not {array.dtype}; convert it")
    if not 1 <= array.ndim <= MAX_DIMENSIONS or not 0 < array.size < MAX_BYTES:
        raise IdxError(
            f"{path}: an array of shape {array.shape} cannot be kept;"
            f" give one to {MAX_DIMENSIONS} dimensions, none of them 0, below 1 GiB"
        )
    path = Path(path)
    content = _header(array.shape) + array.tobytes()
    if path.name.endswith(".gz"):
        packed = io.BytesIO()
        # GzipFile writes the same header in every version of Python; gzip.compress
        # does not.
        with gzip.GzipFile("", "wb", 9, packed, mtime=0) as file:
            file.write(content)
        content = packed.getvalue()
    write_atomically(path, [content])


def content_sha256(array: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of the plain IDX file that holds `array`, in hexadecimal.

    Parameters
    ----------
    array : NDArray[np.uint8]
        What `read_idx` gave, of any packing and from anywhere.

    Returns
    -------
    str
        64 characters.
    """
    digest = hashlib.sha256(_header(array.shape))
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _header(shape: tuple[int, ...]) -> bytes:
    """Return an IDX file's first bytes."""
    return struct.pack(f">HBB{len(shape)}I", 0, UNSIGNED_BYTE, len(shape), *shape)


def _parse_header(start: bytes, name: str | Path) -> tuple[int, ...]:
    """Return the shape that a file's first bytes promise, or raise IdxError."""
    if len(start) < 4:
        raise _damaged(name, f"{len(start)} bytes are too few for an IDX header")
    zeros, element_type, dimensions = struct.unpack(">HBB", start[:4])
    if zeros != 0:
        raise _damaged(name, "it does not begin as an IDX file does")
    if element_type != UNSIGNED_BYTE:
        raise _damaged(
            name,
            f"its elements are of type 0x{element_type:02x}, and only unsigned bytes"
            " (0x08) are read",
        )
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise _damaged(
            name, f"it has {dimensions} dimensions, and 1 to {MAX_DIMENSIONS} are read"
        )
    if len(start) < 4 + 4 * dimensions:
        raise _damaged(name, "it ends within the header")
    shape = struct.unpack(f">{dimensions}I", start[4 : 4 + 4 * dimensions])
    if 0 in shape:
        raise _damaged(name, f"its shape {shape} holds nothing")
    if math.prod(shape) > MAX_BYTES:
        raise _damaged(
            name,
            f"its header promises {math.prod(shape):,} bytes {shape}, more than the"
            f" {MAX_BYTES:,} that are read",
        )
    return shape


def _unpack(packed: bytes, name: str | Path) -> tuple[tuple[int, ...], bytes]:
    """Unpack a gzip file, never further than its header promises plus one byte."""
    gunzip = zlib.decompressobj(wbits=31)  # 31: one gzip member, its checksum verified
    try:
        start = gunzip.decompress(packed, 4)
        dimensions = min(start[3], MAX_DIMENSIONS) if len(start) == 4 else 0
        if dimensions:
            start += gunzip.decompress(gunzip.unconsumed_tail, 4 * dimensions)
        shape = _parse_header(start, name)
        promised = math.prod(shape)
        if promised > max(ALWAYS_UNPACKED, MAX_RATIO * len(packed)):
            raise IdxError(
                f"{name}: its header promises {promised:,} bytes, more than"
                f" {MAX_RATIO} times the packed file; if that is right, unpack it with"
                " gunzip first"
            )
        # The stated length is wrong in nearly every truncated, extended or forged
        # file, and it is seen here before the work of unpacking.
        stated = int.from_bytes(packed[-4:], "little")
        if len(packed) < GZIP_TRAILER or stated != len(start) + promised:
            raise _damaged(
                name,
                f"its header promises {promised:,} bytes of data {shape} and its last"
                " four bytes say otherwise: it is cut short, longer, or altered",
            )
        body = gunzip.decompress(gunzip.unconsumed_tail, promised + 1)
    except zlib.error as error:
        raise _damaged(name, f"it cannot be unpacked ({error})") from error
    if len(body) != promised or not gunzip.eof:
        raise _damaged(
            name, f"its packed data is not the {promised:,} bytes that are promised"
        )
    if gunzip.unused_data:
        raise _damaged(name, "bytes follow the end of the packed data")
    return shape, body


def _damaged(name: str | Path, reason: str) -> IdxError:
    """Return the error for a file whose content is at fault."""
    return IdxError(f"{name}: {reason}; replace it by an undamaged copy")
