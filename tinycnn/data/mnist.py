"""MNIST: found on this machine, downloaded and verified, or replaced by the sample.

The first of these that is there: the folder that was named; the folder in the
environment's ``TINYCNN_DATA``; the user's cache folder; the mirrors; the bundled
sample. A folder that somebody named is never passed over in silence.

This file knows the four files, their checksums, and where they may be. It does not
know how bytes are had from a mirror (`tinycnn.data.download` does), the IDX format
(`tinycnn.data.idx` does) or what the digits are for.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_dir

from tinycnn.data.download import Archive, RemoteFile, download
from tinycnn.data.idx import (
    DataError,
    IdxError,
    content_sha256,
    parse_idx,
    read_idx,
    read_pair,
)
from tinycnn.files import temporaries, write_atomically

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

# Of the plain content, in the order of NAMES.
SAMPLE_SHA256 = (
    "ae5647a31541431e707764c609e75c3a96be4fe0ec956394a4deaf9811acebc8",
    "aacd798d2a0bedb6102b5778cae5fe5383c7af467cacfb95cea8f4f5fb1bfdcf",
    "2d13abe4d22e08cf55db24442ae16f94a54b92934698f7cda2288fc28efaf855",
    "0268b8278017a1604eda067547e02ff8f378030dd85ba93abdc3175a6d0448b8",
)
SAMPLE_FOLDER = Path(__file__).parent / "sample"

# The part of the training images that validates: 5,000 of MNIST's 60,000.
VALIDATION_PART = 12

# A temporary file of this age was left by a process that was killed: writing one takes
# well under a second, because a download is verified in memory first.
LEFTOVER_SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class Digits:
    """Images and labels to train and to test with.

    Attributes
    ----------
    train_images : NDArray[np.uint8], shape (N, 28, 28)
        0 is paper, 255 is ink.
    train_labels : NDArray[np.uint8], shape (N,)
        0 to 9.
    test_images : NDArray[np.uint8], shape (M, 28, 28)
    test_labels : NDArray[np.uint8], shape (M,)
    source : str
        ``"mnist"`` or ``"sample"`` if the content is that, wherever it lay; otherwise
        the folder as it was given.
    checksum : str
        SHA-256 over the SHA-256 of the four plain files, so neither their place nor
        their packing matters.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]
    source: str
    checksum: str


MNIST = Archive(
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    files=(
        RemoteFile(
            NAMES[0],
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        RemoteFile(
            NAMES[1],
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        RemoteFile(
            NAMES[2],
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        RemoteFile(
            NAMES[3],
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)


def _to_stderr(line: str) -> None:
    """Say a line to the person who started the program."""
    print(line, file=sys.stderr)


def load_mnist(
    folder: str | Path | None = None,
    *,
    report: Callable[[str], None] = _to_stderr,
    online: bool = True,
) -> Digits:
    """Load MNIST from the first place that has it, or the bundled sample.

    The places, in order: `folder`; the folder in ``TINYCNN_DATA``; the user's cache
    folder; the mirrors, into that folder; the sample. With ``TINYCNN_OFFLINE=1`` no
    socket is opened.

    In a folder, ``train-images-idx3-ubyte`` may also be written
    ``train-images.idx3-ubyte``, and either may end in ``.gz``; so for all four files.
    Any digits in that form will do.

    Parameters
    ----------
    folder : str or Path, optional
        A folder with the four files. It must have them: no other place is tried.
    report : callable
        Called with each line worth saying: a file that was downloaded, a cached file
        that is damaged, a mirror that failed, and that the sample is used.
    online : bool
        Whether the mirrors are asked; False opens no socket either.

    Returns
    -------
    Digits

    Raises
    ------
    DataError
        The folder that was named does not hold the four files, or they cannot be read
        (then it is an `IdxError`). Nothing that happens to the cache or to a mirror is
        an error.
    """
    named = folder if folder is not None else os.environ.get("TINYCNN_DATA") or None
    if named is not None:
        return _load_folder(named)
    offline = os.environ.get("TINYCNN_OFFLINE", "0") not in ("", "0")
    arrays = _load_archive(
        MNIST, _cache_folder(), report, online=online and not offline
    )
    if arrays is not None:
        return _digits(arrays, [file.sha256 for file in MNIST.files], "mnist")
    report(
        "MNIST is not here, so the bundled sample is used: 4,000 training and 1,000"
        " test digits, on which an accuracy is no MNIST accuracy; for MNIST, connect to"
        " a network once, or name a folder that has it with --data DIR or TINYCNN_DATA."
    )
    return _load_folder(SAMPLE_FOLDER)


def split_validation(
    images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Cut the last twelfth off the training images, to validate with.

    Of MNIST these are the last 5,000, most of them by writers who wrote none of the
    others. A random cut would flatter.

    Parameters
    ----------
    images : NDArray[np.uint8], shape (N, 28, 28)
    labels : NDArray[np.uint8], shape (N,)

    Returns
    -------
    train_images : NDArray[np.uint8], shape (N - N // 12, 28, 28)
    train_labels : NDArray[np.uint8], shape (N - N // 12,)
    val_images : NDArray[np.uint8], shape (N // 12, 28, 28)
    val_labels : NDArray[np.uint8], shape (N // 12,)
        All four are views of the arguments, not copies.

    Raises
    ------
    DataError
        There are fewer than 12 images, or not as many labels.
    """
    if len(images) != len(labels):
        raise DataError(
            f"{len(images):,} images have {len(labels):,} labels; give as many of each"
        )
    if len(images) < VALIDATION_PART:
        raise DataError(
            f"{len(images)} training images are too few to set a twelfth aside for"
            f" validation; give at least {VALIDATION_PART}"
        )
    cut = len(images) - len(images) // VALIDATION_PART
    return images[:cut], labels[:cut], images[cut:], labels[cut:]


def _digits(arrays: list[NDArray[np.uint8]], sha256s: list[str], folder: str) -> Digits:
    """Name what was loaded by its content; `sha256s` are those of the plain files."""
    known = {
        tuple(file.sha256 for file in MNIST.files): "mnist",
        SAMPLE_SHA256: "sample",
    }
    train_images, train_labels, test_images, test_labels = arrays
    return Digits(
        train_images,
        train_labels,
        test_images,
        test_labels,
        source=known.get(tuple(sha256s), folder),
        checksum=hashlib.sha256("\n".join(sha256s).encode()).hexdigest(),
    )


def _load_folder(folder: str | Path) -> Digits:
    """Load the four files of a folder, or raise DataError."""
    try:
        present = {entry.name for entry in Path(folder).iterdir()}
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{folder}: cannot be opened as a folder of digits ({reason}); name a"
            " folder with the four MNIST files by --data DIR or TINYCNN_DATA"
        ) from error
    paths = []
    for name in NAMES:
        spelling = next((s for s in _spellings(name) if s in present), None)
        if spelling is None:
            raise DataError(
                f"{folder}: has no file {name} or {name}.gz; name a folder with the"
                " four MNIST files by --data DIR or TINYCNN_DATA"
            )
        paths.append(Path(folder) / spelling)
    arrays = [*read_pair(*paths[:2]), *read_pair(*paths[2:])]
    return _digits(arrays, [content_sha256(array) for array in arrays], str(folder))


def _spellings(name: str) -> tuple[str, ...]:
    """Return the names a file may have, the one in our cache first."""
    dotted = name.replace("-idx", ".idx")
    return f"{name}.gz", name, f"{dotted}.gz", dotted


def _cache_folder() -> Path | None:
    """Return where this user keeps MNIST, or None where a user has no place."""
    folder = Path(user_cache_dir("tinycnn")) / "mnist"
    return folder if folder.is_absolute() else None


def _load_archive(
    archive: Archive,
    cache: Path | None,
    report: Callable[[str], None],
    *,
    online: bool,
) -> list[NDArray[np.uint8]] | None:
    """Return an archive's arrays from the cache and the mirrors, or None."""
    found = {file.name: _from_cache(file, cache, report) for file in archive.files}
    missing = [file for file in archive.files if found[file.name] is None]
    if missing:
        if not online:
            return None
        for file, content in download(archive, missing, report):
            found[file.name] = parse_idx(content, file.name)
            if not _keep(file, content, cache, report):
                cache = None  # said once; the other files would fare no better
    arrays = [array for array in found.values() if array is not None]
    return arrays if len(arrays) == len(archive.files) else None


def _from_cache(
    file: RemoteFile, cache: Path | None, report: Callable[[str], None]
) -> NDArray[np.uint8] | None:
    """Return a cached file's array if its content is the right one."""
    if cache is None:
        return None
    for spelling in _spellings(file.name):
        path = cache / spelling
        if not os.path.lexists(path):
            continue
        try:
            array = read_idx(path)
            if content_sha256(array) == file.sha256:
                return array
            report(f"{path}: is not what it should be (SHA-256 differs); not used")
        except IdxError as error:
            report(f"Not used, from the cache: {error}")
    return None


def _keep(
    file: RemoteFile,
    content: bytes,
    cache: Path | None,
    report: Callable[[str], None],
) -> bool:
    """Put a verified file into the cache; where that cannot be, say so and go on."""
    if cache is None:
        return False
    try:
        cache.mkdir(parents=True, exist_ok=True)
        path = cache / f"{file.name}.gz"
        for leftover in temporaries(path):
            with suppress(FileNotFoundError):  # its process has just finished it
                if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                    leftover.unlink()
        write_atomically(path, [content])
    except OSError as error:
        report(
            f"{cache}: cannot keep MNIST ({error.strerror or error}), so it will be"
            " downloaded again next time; make the folder writable."
        )
        return False
    return True
