"""Finding MNIST: on this machine, on a mirror, or the bundled sample in its place.

Mirrors may be slow, wrong or absent.
"""

import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

from platformdirs import user_cache_dir

from tinycnn.data import idx
from tinycnn.data.idx import DataError, UInt8
from tinycnn.files import write_atomically

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
PACKED_SHA256 = (  # of the mirrors' files, packed with gzip
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)
SOURCES = {  # by the checksum of the content
    "ca679089cd9dd461d7b26e36e51216fc71f9271f8082e09656a7c1d29a50483b": "mnist",
    "7c6c3ebcc48770bc2b8d5a59f2d095e58e788d0e2065b70f69e29eebfdb7dd83": "sample",
}
# The training images of MNIST, and the sample's images, which were taken from them.
FROM_MNIST_TRAINING = (  # by the checksum of the images
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "ae5647a31541431e707764c609e75c3a96be4fe0ec956394a4deaf9811acebc8",
    "2d13abe4d22e08cf55db24442ae16f94a54b92934698f7cda2288fc28efaf855",
)
SAMPLE_FOLDER = Path(__file__).parent / "sample"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
BYTES = 11_594_722  # the four files together
FIRST_BYTE_SECONDS = 5.0  # how long a mirror may take to send anything
SILENCE_SECONDS = 30.0  # how long it may pause afterwards
VALIDATION_PART = 12  # a twelfth of the training images: 5,000 of MNIST's 60,000


@dataclass(frozen=True, eq=False)
class Digits:
    """Images and labels to train and to test with.

    Images are (N, H, W), those of MNIST (N, 28, 28); 0 is paper and 255 is ink. Labels
    are (N,). `source` is ``"mnist"`` or ``"sample"`` if the content is that, otherwise
    the folder as it was given. `checksum` is the SHA-256 over those of the four plain
    files, so that neither their folder nor their compression matters; `train_sha256` is
    that of the training images. Class 0 has the label `first_label`.
    """

    train_images: UInt8
    train_labels: UInt8
    test_images: UInt8
    test_labels: UInt8
    source: str
    checksum: str
    train_sha256: str
    first_label: int = 0

    def for_network(
        self, classes: int = 10, size: tuple[int, int] = (28, 28)
    ) -> "Digits":
        """Return the same with class numbers for labels, or raise DataError.

        Class 0 has the label 1 if that is the least (EMNIST's letters), otherwise 0.
        """
        for images in (self.train_images, self.test_images):
            idx.check_size(images, size)
        first = int(self.train_labels.min() == 1)
        train = idx.from_zero(self.train_labels, first, classes)
        test = idx.from_zero(self.test_labels, first, classes)
        return replace(self, train_labels=train, test_labels=test, first_label=first)


def load_mnist(
    folder: str | Path | None = None,
    *,
    report: Callable[[str], None] | None = None,
    online: bool = True,
) -> Digits:
    """Load MNIST from where it is found first, or the bundled sample.

    In order: `folder`; the folder in ``TINYCNN_DATA``; the user's cache folder; the
    mirrors, into the cache folder; the sample. A named folder may hold any grey images
    of one size, in four files with MNIST's names, with or without ``.gz``; then nothing
    else is tried. If not `online`, or with ``TINYCNN_OFFLINE=1``, no socket is opened.
    `report` is called with each line for the user; by default they are printed on
    stderr. Raises DataError if a named folder does not hold the four files, or they
    cannot be read; faults of the cache and of the mirrors are only reported.
    """
    report = report or partial(print, file=sys.stderr)
    folder = folder or os.environ.get("TINYCNN_DATA")
    if folder:
        return _load_folder(folder)
    kept = Path(user_cache_dir("tinycnn"), "mnist")
    why = "is not on this machine"
    try:
        digits = _load_folder(kept)
        if digits.source == "mnist":
            return digits
    except (DataError, OSError) as error:
        if any(_exists(kept / f"{NAMES[0]}{end}") for end in ("", ".gz")):
            why = f"is damaged ({error})"
    if online and os.environ.get("TINYCNN_OFFLINE", "") in ("", "0"):
        try:
            found, why = _download(kept, report)
        except OSError as error:
            found, why = None, f"cannot be kept in a temporary folder ({error})"
        if found is not None:
            return found
    report(
        f"MNIST {why}, so the bundled sample is used: 4,000 training and 1,000 test"
        " digits. Its accuracy is not comparable with MNIST's: connect to a network"
        " once, or name MNIST's folder with --data DIR or TINYCNN_DATA."
    )
    return _load_folder(SAMPLE_FOLDER)


def split_validation(images: UInt8, labels: UInt8) -> tuple[UInt8, UInt8, UInt8, UInt8]:
    """Cut the last twelfth off the training images, to validate with.

    Of MNIST these are the last 5,000, most of them by writers who wrote none of the
    others; a random cut would give too high an accuracy. The images (N, H, W) and
    labels (N,) to train with are returned first; all four arrays are views. Raises
    DataError for fewer than 12 images.
    """
    if len(images) < VALIDATION_PART:
        raise DataError(f"{len(images)} images are too few; at least 12 are needed")
    cut = len(images) - len(images) // VALIDATION_PART
    return images[:cut], labels[:cut], images[cut:], labels[cut:]


def _load_folder(folder: str | Path) -> Digits:
    """Load the four files of a folder, or raise DataError."""
    paths = []
    for name in NAMES:
        both = Path(folder, f"{name}.gz"), Path(folder, name)
        found = [path for path in both if _exists(path)]
        if not found:
            raise DataError(
                f"{folder}: has no file {name} or {name}.gz; name a folder with the "
                "four MNIST files by --data DIR or TINYCNN_DATA"
            )
        paths.append(found[0])
    arrays = (*idx.read_pair(*paths[:2]), *idx.read_pair(*paths[2:]))
    parts = [idx.content_sha256(array) for array in arrays]
    checksum = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return Digits(*arrays, SOURCES.get(checksum, str(folder)), checksum, parts[0])


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 (False where it may not be looked for)


def _download(kept: Path, report: Callable[[str], None]) -> tuple[Digits | None, str]:
    """Download MNIST into the folder ``kept``, or into memory if that is read-only.

    Each file is taken from the first mirror that has it. Returns MNIST, or None and how
    every mirror failed.
    """
    begun = cache(partial(report, f"Downloading MNIST (12 MB) to {kept} ..."))
    failures: list[str] = []
    # Not into the kept folder, where a killed process would leave parts of files.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for mirror in MIRRORS:
            failure = _fetch(mirror, Path(folder), begun)
            if failure is None:
                break
            failures.append(f"{urlsplit(mirror).hostname} {failure}")
        else:
            return None, f"cannot be downloaded ({'; '.join(failures)})"
        digits = _load_folder(folder)
        try:
            if kept.is_absolute():  # it is not without a home
                kept.mkdir(parents=True, exist_ok=True)
                for path in Path(folder).glob("*.gz"):  # not what a thread left
                    write_atomically(kept / path.name, [path.read_bytes()])
        except OSError as error:
            report(f"MNIST cannot be kept for the next time ({error}).")
    return digits, ""


def _fetch(mirror: str, folder: Path, begun: Callable[[], None]) -> str | None:
    """Fetch the files that the folder lacks; return why that failed, or None.

    Only verified files get into the folder. ``begun`` is called when bytes arrive.
    """
    import pooch  # takes a moment

    deadline = time.monotonic() + FIRST_BYTE_SECONDS
    received = 0
    failure: str | None = "sent nothing for too long"

    def update(count: int) -> None:
        nonlocal deadline, received
        begun()
        received += count
        if received > 3 * BYTES or time.monotonic() > deadline:  # pooch counts twice
            raise ValueError("too many bytes, or too late")
        deadline = time.monotonic() + SILENCE_SECONDS

    def run() -> None:
        nonlocal failure
        progress = SimpleNamespace(update=update, reset=lambda: 0, close=lambda: 0)
        downloader = pooch.HTTPDownloader(
            progressbar=progress,
            timeout=2 * SILENCE_SECONDS,  # also ends an abandoned thread
            allow_redirects=False,  # a redirect could leave https
            headers={"Accept-Encoding": "identity"},  # the SHA-256 is of the file
        )
        try:
            for name, sha256 in zip(NAMES, PACKED_SHA256, strict=True):
                url, file = f"{mirror}{name}.gz", f"{name}.gz"
                pooch.retrieve(url, sha256, file, folder, downloader=downloader)
            failure = None
        except ValueError:
            failure = "sent other bytes (size or SHA-256 differs)"
        except Exception as error:  # noqa: BLE001
            # Without its text, which may quote what the mirror sent.
            failure = f"failed ({type(error).__name__})"

    pooch.get_logger().setLevel("WARNING")  # below that, every file is logged
    # A daemon, because no time-out ends the look-up of a host name.
    thread = threading.Thread(target=run, name="download", daemon=True)
    thread.start()
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(0.05)
    return failure
