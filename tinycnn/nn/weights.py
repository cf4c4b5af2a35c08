"""Arrays to a file and back: the safetensors format, read strictly, written atomically.

It knows bytes, names, shapes and dtypes. It does not know layers, optimisers or what
the metadata means: a model is anything whose `state()` lists its live arrays. How a
file is replaced in one step is known to `tinycnn.files`.

The format, complete (all numbers little-endian)::

    bytes 0 to 7        L, the length of the header, an unsigned 64-bit integer
    bytes 8 to 8+L-1    the header: a JSON object in UTF-8, padded with spaces
    bytes 8+L to end    the data: the arrays' bytes in C order, nothing in between

    {"__metadata__": {"preset": "quick", "checksum": "5f1d..."},
     "0.weight": {"dtype": "F32", "shape": [3, 3, 1, 32], "data_offsets": [0, 1152]}}

Offsets count from the start of the data: the first byte and the one after the last.
Together the arrays cover the data exactly. We write the header in one fixed order
(the metadata by key, then the arrays as they lie: widest dtype first, then by name)
and pad it so that the data starts at a multiple of 8; so every array is aligned, and
the same input gives the same bytes.

`checksum` is ours: the SHA-256, as 64 hexadecimal digits, of the whole file with 64
zeros in the place of those digits. It tells damage; it is no signature.

Source: https://github.com/huggingface/safetensors#format
"""

import contextlib
import hashlib
import io
import json
import math
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from reprlib import repr as short  # what a damaged file holds can be a megabyte
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tinycnn.files import write_atomically

Array = NDArray[Any]

_DTYPES: dict[str, np.dtype[Any]] = {
    "C64": np.dtype("<c8"),
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "BOOL": np.dtype("?"),
}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LONGEST_HEADER = 100_000_000  # bytes; the reference reader's limit
_LONGEST_OWN_HEADER = 2**17  # bytes; some 1,400 arrays, judged in a few milliseconds
_LARGEST_INTEGER = 2**63 - 1  # what NumPy can count
_MOST_DIMENSIONS = 64  # what NumPy can index
_NO_CHECKSUM = "0" * 64


class TensorFileError(ValueError):
    """A file of tensors is damaged, foreign, or does not fit the model.

    The message names the file, the reason and, where there is one, the remedy.
    """


class Stateful(Protocol):
    """A model, as far as saving knows it."""

    def state(self) -> dict[str, Array]:
        """Return the live arrays by name: writing into one changes the model."""


class _Entry(NamedTuple):
    """What the header says about one array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int


class _Header(NamedTuple):
    """A checked header; `entries` in the order of the data, `raw` with its length."""

    metadata: dict[str, str]
    entries: dict[str, _Entry]
    raw: bytes


# --- writing ---------------------------------------------------------------------


def save_weights(
    path: str | Path, model: Stateful, metadata: Mapping[str, str]
) -> None:
    """Save a model's arrays as `save_tensors` does.

    Raises
    ------
    ValueError
        If a value is not finite: `load_weights` would refuse the file, and a good one
        may lie in its place.
    OSError
        As `save_tensors`.
    """
    state = model.state()
    if bad := _not_finite(state):
        raise ValueError(f"{bad} holds NaN or infinity; {path} was not written")
    save_tensors(path, state, metadata)


def save_tensors(
    path: str | Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]
) -> None:
    """Save arrays and metadata in one safetensors file, atomically.

    A reader sees the file as it was before or as it is after, never half of it
    (`tinycnn.files.write_atomically`, which also says what a killed process leaves).

    Parameters
    ----------
    path : str or Path
        The file. A symbolic link is followed. Permissions are those of any new file.
    tensors : mapping of str to array
        Any shape, memory order and byte order; dtypes bool, integers and floats of at
        most 64 bits, and complex64.
    metadata : mapping of str to str
        A ``checksum`` in it is replaced by the file's own.

    Raises
    ------
    ValueError
        If a dtype, a name or the metadata cannot be stored (names and metadata share
        128 KiB); no file was touched.
    OSError
        If the file cannot be written (no such folder, no permission, disk full). It
        names `path`, and what was at `path` before is untouched.
    """
    little = {
        name: array.astype(array.dtype.newbyteorder("<"), copy=False)
        for name, array in tensors.items()
    }
    for name, array in little.items():
        if name == "__metadata__" or array.dtype not in _DTYPE_NAMES:
            raise ValueError(
                f"{short(name)} ({array.dtype}) cannot be stored: use another name "
                f"than __metadata__ and one of the dtypes {', '.join(_DTYPES)}"
            )
    names = sorted(little, key=lambda name: (-little[name].itemsize, name))
    data = [little[name].tobytes() for name in names]
    fields: dict[str, Any] = {
        "__metadata__": dict(sorted({**metadata, "checksum": _NO_CHECKSUM}.items()))
    }
    start = 0
    for name, raw in zip(names, data, strict=True):
        fields[name] = {
            "dtype": _DTYPE_NAMES[little[name].dtype],
            "shape": little[name].shape,
            "data_offsets": [start, start + len(raw)],
        }
        start += len(raw)
    head = _header_bytes(fields)
    checksum = hashlib.sha256(head + b"".join(data)).hexdigest()
    head = head.replace(_checksum_field(_NO_CHECKSUM), _checksum_field(checksum), 1)
    try:
        write_atomically(path, [head, *data])
    except OSError as error:
        reason = f"{error.strerror}; nothing was saved and nothing was changed"
        raise OSError(error.errno, reason, str(path)) from error


def _header_bytes(fields: Mapping[str, Any]) -> bytes:
    """Return the header's length and its JSON, padded to a multiple of 8 bytes."""
    if not all(isinstance(value, str) for value in fields["__metadata__"].values()):
        raise ValueError("every value of the metadata must be a str")
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _LONGEST_OWN_HEADER:
        raise ValueError(
            f"names and metadata take {len(text)} bytes; shorten the metadata to stay "
            f"within {_LONGEST_OWN_HEADER}"
        )
    return len(text).to_bytes(8, "little") + text


def _checksum_field(checksum: str) -> bytes:
    # A quote inside a JSON string is escaped, so no name or value can look like this.
    return f'"checksum":"{checksum}"'.encode()


# --- reading ---------------------------------------------------------------------


def load_weights(path: str | Path, model: Stateful) -> dict[str, str]:
    """Copy a file's arrays into a model; all of them, or none if anything is wrong.

    Names, shapes and dtypes must be the model's own (a float64 model does not load
    float32 weights), which is checked before memory is taken for the arrays. The
    checksum must be there and right, and every value finite.

    Returns
    -------
    dict of str to str
        The file's metadata, `checksum` included.

    Raises
    ------
    TensorFileError
        If the file is damaged, was not saved by tinycnn, or is of another model.
    OSError
        If the file cannot be opened or read.
    """
    state = model.state()
    with _opened(path) as file:
        header = _read_header(file, longest=_LONGEST_OWN_HEADER)
        _check_against(state, header)
        tensors = _read_data(file, header, require_checksum=True)
        if bad := _not_finite(tensors):
            raise TensorFileError(f"{bad} holds NaN or infinity; train again")
    for name, array in state.items():
        array[...] = tensors[name]
    return header.metadata


def read_tensors(
    path: str | Path, *, require_checksum: bool = False
) -> tuple[dict[str, Array], dict[str, str]]:
    """Read any conforming safetensors file whose dtypes NumPy has.

    Parameters
    ----------
    path : str or Path
        The file.
    require_checksum : bool
        The checksum is ours and no part of the format, so files of other programs do
        not have it and, unless asked for here, it is not looked at. Whoever goes on
        from what tinycnn saved itself should ask for it.

    Returns
    -------
    tensors : dict of str to array
        In the order of the data; writeable, with memory of their own, in native byte
        order. Values need not be finite.
    metadata : dict of str to str
        Empty if the file has none.

    Raises
    ------
    TensorFileError
        If the file is damaged or foreign, or has a dtype that NumPy does not (BF16,
        F8_E4M3, ...).
    OSError
        If the file cannot be opened or read.
    """
    with _opened(path) as file:
        longest = _LONGEST_OWN_HEADER if require_checksum else _LONGEST_HEADER
        header = _read_header(file, longest)
        return _read_data(file, header, require_checksum), header.metadata


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return a file's metadata; checks and reads the header only, not the checksum.

    Raises
    ------
    TensorFileError
        If the header is damaged or foreign.
    OSError
        If the file cannot be opened or read.
    """
    with _opened(path) as file:
        return _read_header(file, _LONGEST_HEADER).metadata


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[io.BufferedReader]:
    """Open a file, and name it in whatever is found wrong with it."""
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe could wait for ever
        raise TensorFileError(f"cannot use {path}: it is no regular file; name one")
    with Path(path).open("rb") as file:
        try:
            yield file
        except TensorFileError as error:
            raise TensorFileError(f"cannot use {path}: {error}") from error.__cause__


def _read_header(file: io.BufferedReader, longest: int) -> _Header:
    """Read and check everything before the data."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if not 2 <= length <= min(size - 8, longest):
        raise TensorFileError(
            f"its header length is {length}, which must be from 2 to {longest} and "
            f"within the file's {size} bytes; it was cut short or is of another kind"
        )
    text = file.read(length)
    fields = _parse_json(text)
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise TensorFileError("its __metadata__ is not a map of strings to strings")
    _check_unicode([*fields, *metadata, *metadata.values()])
    entries = [(name, _parse_entry(name, entry)) for name, entry in fields.items()]
    entries.sort(key=lambda item: (item[1].start, item[1].stop))
    _check_cover(entries, size - 8 - length)
    return _Header(metadata, dict(entries), prefix + text)


def _parse_json(text: bytes) -> dict[str, Any]:
    """Return the header's JSON object, in which no key comes twice."""
    if not text.startswith(b"{") or not text.rstrip(b" ").endswith(b"}"):
        raise TensorFileError("its header is not one JSON object padded with spaces")
    try:
        fields: dict[str, Any] = json.loads(text.decode(), object_pairs_hook=_unique)
    except TensorFileError:
        raise
    except RecursionError as error:
        raise TensorFileError("its header is JSON nested too deeply") from error
    except ValueError as error:  # no UTF-8, no JSON, an integer of 5,000 digits
        raise TensorFileError(f"its header is not JSON in UTF-8 ({error})") from error
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise TensorFileError(f"its header has the duplicate key {short(twice)}")
    return result


def _check_unicode(strings: Iterable[str]) -> None:
    """Refuse half a surrogate pair, which JSON can spell and UTF-8 cannot."""
    try:
        "".join(strings).encode()
    except UnicodeEncodeError as error:
        raise TensorFileError("its header has a lone surrogate in a string") from error


def _parse_entry(name: str, entry: Any) -> _Entry:
    """Check what the header says about one array, by itself."""
    if not isinstance(entry, dict) or entry.keys() != {
        "dtype",
        "shape",
        "data_offsets",
    }:
        raise TensorFileError(
            f"{short(name)} must have exactly dtype, shape and data_offsets"
        )
    dtype_name, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype_name, str) or dtype_name not in _DTYPES:
        raise TensorFileError(
            f"{short(name)} has dtype {short(dtype_name)}, which is not readable here; "
            f"convert it to one of {', '.join(_DTYPES)}"
        )
    dtype = _DTYPES[dtype_name]
    # NumPy multiplies the sizes that are not 0 even where there is a 0 among them.
    if (
        not _are_sizes(shape, at_most=_MOST_DIMENSIONS)
        or math.prod(max(1, size) for size in shape) * dtype.itemsize > _LARGEST_INTEGER
    ):
        raise TensorFileError(
            f"{short(name)} has shape {short(shape)}, which must be a list of at most "
            f"{_MOST_DIMENSIONS} non-negative integers, all in all below 2**63 bytes"
        )
    if not _are_sizes(offsets, at_most=2) or len(offsets) != 2:
        raise TensorFileError(
            f"{short(name)} has data_offsets {short(offsets)}, which must be a list of "
            "two non-negative integers"
        )
    start, stop = offsets
    if stop - start != math.prod(shape) * dtype.itemsize:
        raise TensorFileError(
            f"{short(name)} has data_offsets {offsets}, but its shape and dtype need "
            f"{math.prod(shape) * dtype.itemsize} bytes"
        )
    return _Entry(dtype, tuple(shape), start, stop)


def _are_sizes(value: Any, at_most: int) -> bool:
    """Whether this is a short list of integers from 0 up (in Python, True is one)."""
    return (
        isinstance(value, list)
        and len(value) <= at_most
        and all(type(item) is int and 0 <= item <= _LARGEST_INTEGER for item in value)
    )


def _check_cover(entries: list[tuple[str, _Entry]], data_size: int) -> None:
    """Refuse gaps and overlaps between arrays, and data too short or too long."""
    reached = 0
    for name, entry in entries:
        if entry.start != reached:
            raise TensorFileError(
                f"{short(name)} starts at offset {entry.start} instead of {reached}: "
                "arrays must neither overlap nor leave a gap"
            )
        reached = entry.stop
    if reached != data_size:
        raise TensorFileError(
            f"its arrays need {reached} bytes of data and it has {data_size}: "
            "it was cut short or something was appended"
        )


def _check_against(state: Mapping[str, Array], header: _Header) -> None:
    """Refuse a file whose names, shapes or dtypes are not the model's."""
    in_file = {n: f"{e.dtype.name} {e.shape}" for n, e in header.entries.items()}
    in_model = {n: f"{a.dtype.name} {a.shape}" for n, a in state.items()}
    for name in [*in_model, *in_file]:
        if in_file.get(name) != in_model.get(name):
            raise TensorFileError(
                f"{short(name)} is {in_file.get(name, 'absent')} in the file and "
                f"{in_model.get(name, 'absent')} in the model; build the model that "
                "the file's metadata names"
            )


def _read_data(
    file: io.BufferedReader, header: _Header, require_checksum: bool
) -> dict[str, Array]:
    """Read the arrays, each straight into memory of its own."""
    checksum = header.metadata.get("checksum")
    if require_checksum and checksum is None:
        raise TensorFileError(
            "it has no checksum, so tinycnn did not save it; read it with read_tensors "
            "and save it with save_tensors"
        )
    field = _checksum_field(checksum or "")
    digest = hashlib.sha256(header.raw.replace(field, _checksum_field(_NO_CHECKSUM), 1))
    tensors = {}
    for name, entry in header.entries.items():
        array = np.empty(entry.shape, entry.dtype)
        raw = array.reshape(-1).view(np.uint8)  # the same memory, as bytes
        if file.readinto(raw.data) != raw.size:
            raise TensorFileError(f"it ends within {short(name)}")
        digest.update(raw.data)
        if entry.dtype == np.bool_ and (raw > 1).any():
            raise TensorFileError(f"{short(name)} is BOOL but has bytes above 1")
        tensors[name] = array.astype(entry.dtype.newbyteorder("="), copy=False)
    if require_checksum and digest.hexdigest() != checksum:
        raise TensorFileError(
            "its checksum is wrong: it was changed or damaged after it was saved; "
            "copy it again or train again"
        )
    return tensors


def _not_finite(tensors: Mapping[str, Array]) -> str | None:
    """Return the name of the first array with NaN or infinity in it."""
    return next((n for n, a in tensors.items() if not np.isfinite(a).all()), None)
