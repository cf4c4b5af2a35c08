"""How a file is fetched from mirrors that are trusted with nothing.

A mirror is spoken to over https only, what it sends is bounded and timed, and only
bytes with the right SHA-256 are given on. Whatever is wrong with one, the next is
asked.

This file knows mirrors, and of a file its name, its size and its checksums. It does
not know MNIST, what the bytes mean, or where they are kept.
"""

import hashlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded only when a download begins
    import ssl
    import urllib.request

PIECE_BYTES = 64 * 1024


@dataclass(frozen=True)
class RemoteFile:
    """One file of an archive: NAME.gz at every mirror.

    Attributes
    ----------
    name : str
        Without ``.gz``.
    size : int
        Bytes of the packed file.
    packed_sha256 : str
        Of the packed file, as the mirrors have it.
    sha256 : str
        Of the plain content.
    """

    name: str
    size: int
    packed_sha256: str
    sha256: str


@dataclass(frozen=True)
class Archive:
    """Files and the mirrors that have them.

    A mirror is given up when it is silent for `patience` seconds, from the very start
    (looking up its name included), and as soon as it took longer than
    ``patience + bytes / pace`` seconds for the bytes it sent. So mirrors that do not
    answer cost `patience` seconds each, and a line of 16 kB/s is still fast enough.

    Attributes
    ----------
    mirrors : tuple[str, ...]
        Addresses that begin with https and end in a slash.
    files : tuple[RemoteFile, ...]
        Those that every mirror has.
    context : ssl.SSLContext or None
        Whom to trust; None trusts whom the system trusts.
    patience : float
        Seconds.
    pace : float
        Bytes a second.
    """

    mirrors: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    context: "ssl.SSLContext | None" = None
    patience: float = 4.0
    pace: float = 16_000.0


def download(
    archive: Archive, files: Iterable[RemoteFile], report: Callable[[str], None]
) -> Iterator[tuple[RemoteFile, bytes]]:
    """Fetch files one by one, each from the first mirror that has it right.

    Nothing happens before the first is asked for. A mirror that does not answer is not
    asked for the files after.

    Parameters
    ----------
    archive : Archive
    files : iterable of RemoteFile
        Those of the archive that are wanted.
    report : callable
        Called with a line for each mirror that failed and, unless a person watches a
        bar on a terminal, for each file that was downloaded.

    Yields
    ------
    file : RemoteFile
    content : bytes
        The packed file, verified. After the first file that no mirror has right, there
        are no more.
    """
    opener = _https_opener(archive.context)
    mirrors = list(archive.mirrors)
    for file in files:
        content = _download(file, archive, mirrors, opener, report)
        if content is None:
            return
        yield file, content


class _MirrorError(Exception):
    """Why a mirror's file is not used; `gone` if it is not worth asking again."""

    def __init__(self, reason: str, *, gone: bool) -> None:
        super().__init__(reason)
        self.gone = gone


def _download(
    file: RemoteFile,
    archive: Archive,
    mirrors: list[str],
    opener: "urllib.request.OpenerDirector",
    report: Callable[[str], None],
) -> bytes | None:
    """Return a file from the first mirror that has it right; drop those that are gone.

    Whatever is wrong with a mirror, the next is asked.
    """
    for mirror in list(mirrors):
        try:
            with _progress_bar(file) as advance:
                content = _fetch(mirror, file, archive, opener, advance)
        except _MirrorError as error:
            report(f"{mirror}{file.name}.gz: {error}; not used.")
            if error.gone:
                mirrors.remove(mirror)
        else:
            if not _on_terminal():
                report(f"Downloaded {mirror}{file.name}.gz ({file.size:,} bytes).")
            return content
    return None


def _fetch(
    mirror: str,
    file: RemoteFile,
    archive: Archive,
    opener: "urllib.request.OpenerDirector",
    advance: Callable[[int], object],
) -> bytes:
    """Return one verified file from one mirror, or raise _MirrorError.

    The socket's work is done by a thread, and the time for the whole is kept here: a
    socket's own time-out ends a single silence, but the look-up of a name (getaddrinfo)
    has none, and no time-out ends a mirror that trickles. A thread that hangs is left
    alone: it is a daemon, so the program can end without it.
    """
    pieces: queue.SimpleQueue[bytes | _MirrorError] = queue.SimpleQueue()
    enough = threading.Event()
    threading.Thread(
        target=_read_pieces,
        args=(
            opener,
            f"{mirror}{file.name}.gz",
            archive.patience,
            pieces,
            enough,
        ),
        name="download",
        daemon=True,
    ).start()
    content = bytearray()
    start = time.monotonic()
    try:
        while True:
            deadline = start + archive.patience + len(content) / archive.pace
            piece = pieces.get(timeout=max(0.0, deadline - time.monotonic()))
            if isinstance(piece, _MirrorError):
                raise piece
            if not piece:
                break
            content += piece
            advance(len(piece))
            if len(content) > file.size:
                break
    except queue.Empty:
        raise _MirrorError(
            f"sent {len(content):,} of {file.size:,} bytes in"
            f" {time.monotonic() - start:.1f} s and kept us waiting",
            gone=True,
        ) from None
    finally:
        enough.set()
    if len(content) != file.size:
        more = "more than " if len(content) > file.size else f"{len(content):,} of "
        raise _MirrorError(f"sent {more}{file.size:,} bytes", gone=False)
    if hashlib.sha256(content).hexdigest() != file.packed_sha256:
        raise _MirrorError("sent other bytes (SHA-256 differs)", gone=False)
    return bytes(content)


def _read_pieces(
    opener: "urllib.request.OpenerDirector",
    url: str,
    timeout: float,
    pieces: "queue.SimpleQueue[bytes | _MirrorError]",
    enough: threading.Event,
) -> None:
    """Pass on what an address sends (a thread's whole work), an empty piece last.

    It stops at the first piece after somebody said that it is enough.
    """
    import urllib.error

    try:
        with opener.open(url, timeout=timeout) as response:
            while not enough.is_set():
                piece = response.read1(PIECE_BYTES)
                pieces.put(piece)
                if not piece:
                    return
    except urllib.error.HTTPError as error:
        with error:
            pieces.put(_MirrorError(f"answered {error.code}", gone=False))
    # The thread's caller must hear of anything at all, to ask the next mirror.
    except Exception as error:  # noqa: BLE001
        reason = str(getattr(error, "reason", None) or error)[:200]
        # It may quote the mirror, which has no business to steer a terminal.
        reason = "".join(c if c.isprintable() else "?" for c in reason)
        pieces.put(_MirrorError(f"failed ({reason})", gone=True))


def _https_opener(
    context: "ssl.SSLContext | None",
) -> "urllib.request.OpenerDirector":
    """Return an opener that knows https and nothing else, after redirects too."""
    import ssl
    import urllib.request

    https_proxy = {k: v for k, v in urllib.request.getproxies().items() if k == "https"}
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(https_proxy),
        urllib.request.HTTPSHandler(context=context or ssl.create_default_context()),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _on_terminal() -> bool:
    """Return whether a person watches stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def _progress_bar(file: RemoteFile) -> Iterator[Callable[[int], object]]:
    """Show a bar on a terminal; give the function that moves it by some bytes."""
    if not _on_terminal():
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(
        total=file.size, unit="B", unit_scale=True, desc=file.name, leave=False
    ) as bar:
        yield bar.update
