"""Downloading MNIST with pooch, from mirrors that may be slow, wrong or absent."""

import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pooch

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
BYTES = 11_594_722  # the four files together
FIRST_BYTE_SECONDS = 5.0  # how long a mirror may take to send anything
SILENCE_SECONDS = 30.0  # how long it may pause afterwards


def download(
    files: Mapping[str, str], folder: Path, begun: Callable[[], None]
) -> str | None:
    """Download files into a folder, each from the first mirror that has it.

    `files` maps names to SHA-256. Only verified files get into the folder. `begun` is
    called once, when the first bytes arrive. Returns None, or how every mirror failed.
    """
    begun_once = cache(begun)
    failures: list[str] = []
    for mirror in MIRRORS:
        failure = _fetch(mirror, files, folder, begun_once)
        if failure is None:
            return None
        failures.append(f"{urlsplit(mirror).hostname} {failure}")
    return "; ".join(failures)


def _fetch(
    mirror: str, files: Mapping[str, str], folder: Path, begun: Callable[[], None]
) -> str | None:
    """Fetch the files that the folder lacks; return why that failed, or None."""
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
            for name, sha256 in files.items():
                url = mirror + name
                pooch.retrieve(url, sha256, name, folder, downloader=downloader)
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
