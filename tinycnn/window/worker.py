"""The reading process, and the window's non-blocking connection to it.

`Worker` is the window's side. It sends one request at a time and queues the others, so
that the newest drawing is read next and outdated ones never are. A process that dies is
restarted with its request. `serve` is the process; only it loads compiled code.
"""

import contextlib
import logging
import math
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinycnn.ink.strokes import Strokes
from tinycnn.reading.result import Reading
from tinycnn.window.messages import (
    SHIPPED,
    Annotate,
    Answer,
    Drawing,
    Explain,
    Explained,
    Failed,
    FatalError,
    Open,
    Opened,
    Paste,
    Picture,
    Read,
    Ready,
    Reload,
    Reloaded,
    Reply,
    Request,
    Saved,
    Single,
    Singled,
    Weights,
)

if TYPE_CHECKING:
    from tinycnn.ink.ink import Ink

FIRST_PAUSE = 0.25  # seconds before a restart, if the process never was ready
LONGEST_PAUSE = 8.0  # seconds; the pause doubles each time
PATIENCE = 0.5  # seconds to wait for a killed process
SHOWN = 1600  # pixels a side of a picture that is shown, at most
LOG = logging.getLogger("tinycnn.window")


class Worker:
    """The window's side of the reading process.

    Only `close` waits for the process, at most half a second.

    Parameters
    ----------
    weights : Weights
    fallback : bool
        Whether to use the shipped weights if these are damaged.
    log : Path or None
        Receives the output of the process; None discards it.
    """

    def __init__(
        self,
        weights: Weights = SHIPPED,
        *,
        fallback: bool = False,
        log: Path | None = None,
    ) -> None:
        self._start_with = (weights, fallback)
        self._log = log
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._waiting: list[Request] = []
        self._sent: Request | None = None
        self._failed: Request | None = None  # during which the process died
        self._deaths = 0  # in a row, before it was ready
        self._start_at = math.inf  # on the monotonic clock
        self.is_ready = False
        self.starts = 0

    @property
    def is_busy(self) -> bool:
        """Whether a reply is due."""
        return self._sent is not None

    @property
    def pid(self) -> int | None:
        """The process ID, or None."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process; `poll` returns `Ready` when it accepts requests."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve,
            args=(theirs, *self._start_with, self._log),
            daemon=True,
            name="tinycnn reader",
        )
        with no_interrupts():
            process.start()
        theirs.close()
        self._process, self._connection = process, ours
        self._start_at = math.inf
        self.is_ready = False
        self.starts += 1

    def ask(self, request: Request) -> None:
        """Send or queue a request; it replaces a queued `Read` or `Explain`."""
        if isinstance(request, Read | Explain):
            kind = type(request)
            self._waiting = [r for r in self._waiting if type(r) is not kind]
        self._waiting.append(request)
        self._send()

    def forget(self) -> None:
        """Drop the queued readings and explanations."""
        self._waiting = [r for r in self._waiting if not isinstance(r, Read | Explain)]

    def poll(self) -> list[Reply]:
        """Return the replies since the last call."""
        if time.monotonic() >= self._start_at:
            self.start()
        replies: list[Reply] = []
        while self._connection is not None:
            try:
                if not self._connection.poll():
                    break
                reply: Reply = self._connection.recv()
            except (EOFError, OSError):
                replies.append(self._restart())
                break
            if isinstance(reply, Ready):
                self.is_ready = True
                self._deaths = 0
            elif isinstance(reply, FatalError):
                self.close()
            else:
                if isinstance(reply, Reloaded) and isinstance(self._sent, Reload):
                    weights = self._sent.weights
                    self._start_with = weights, weights != SHIPPED
                self._sent = None
            replies.append(reply)
            self._send()
        return replies

    def close(self) -> None:
        """End the process at once, without a restart."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        self._start_at = math.inf
        self.is_ready = False
        if connection is not None:
            connection.close()
        if process is not None:
            process.kill()
            process.join(PATIENCE)
            if process.exitcode is not None:
                process.close()

    def _send(self) -> None:
        """Send the next request if the process is idle.

        An idle process reads from the pipe, so that sending never blocks.
        """
        if not (self.is_ready and self._sent is None and self._waiting):
            return
        # Readings overtake all other requests, which are sent in order.
        number = next(
            (n for n, r in enumerate(self._waiting) if isinstance(r, Read)), 0
        )
        self._sent = self._waiting.pop(number)
        assert self._connection is not None
        # If the process has just died, the next poll notices.
        with contextlib.suppress(OSError):
            self._connection.send(self._sent)

    def _restart(self) -> Failed:
        """Schedule a new process for a dead one, with the same request.

        A request during which two processes died is dropped.
        """
        self._deaths = 0 if self.is_ready else self._deaths + 1
        pause = 0.0
        if self._deaths > 1:
            pause = min(FIRST_PAUSE * 2**self._deaths, LONGEST_PAUSE)
        process = self._process
        if process is not None:
            process.join(PATIENCE)
            LOG.error("the reading process died: %s", process)
        self.close()
        self._start_at = time.monotonic() + pause
        sent, self._sent = self._sent, None
        if sent is not None and sent is self._failed:
            return Failed("This cannot be read: the reader stopped twice.")
        if sent is not None:
            self._failed = sent
            replaced = isinstance(sent, Read | Explain) and any(
                type(request) is type(sent) for request in self._waiting
            )
            if not replaced:
                self._waiting.insert(0, sent)
        return Failed("The reader stopped and is being restarted.")


@contextlib.contextmanager
def no_interrupts() -> Iterator[None]:
    """Start a process that ignores Ctrl-C: the window ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# --- the process itself ------------------------------------------------------------


def serve(
    connection: Connection, weights: Weights, fallback: bool, log: Path | None
) -> None:
    """Answer requests until the window is gone.

    Parameters
    ----------
    connection : Connection
        Delivers requests and takes replies.
    weights, fallback, log
        See `Worker`.
    """
    redirect_output(log)
    exit_with_parent()
    try:
        answerer, note = _answerer(weights, fallback)
    except _UnusableWeightsError as error:
        connection.send(FatalError(str(error)))
        return
    with contextlib.suppress(EOFError, OSError):
        connection.send(Ready(note))
        while True:
            connection.send(answerer.answer(connection.recv()))


def redirect_output(log: Path | None) -> None:
    """Append this process's stdout and stderr to the log; None discards them."""
    target: str | Path = os.devnull if log is None else log
    try:
        file = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(file, number)


def exit_with_parent() -> None:
    """Ignore Ctrl-C, and end this process as soon as its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


class _UnusableWeightsError(Exception):
    """The weights cannot be used; the message is one sentence."""


def _answerer(weights: Weights, fallback: bool) -> tuple["_Answerer", str]:
    """Return the answerer, its kernels compiled, and a note for the window."""
    from tinycnn.threads import use_threads

    use_threads()
    try:
        return _Answerer(weights), ""
    except (ValueError, OSError) as error:
        if not fallback:
            raise _UnusableWeightsError(_with_remedy(error, weights)) from error
        traceback.print_exc()
    try:
        note = "The learned weights cannot be read: learn again, or undo the learning."
        return _Answerer(SHIPPED), note
    except (ValueError, OSError) as error:
        raise _UnusableWeightsError(_with_remedy(error, SHIPPED)) from error


def _with_remedy(error: Exception, weights: Weights) -> str:
    """Return the reason and the remedy of unusable weights."""
    remedy = "name other weights, or leave --weights out"
    if weights == SHIPPED:
        remedy = "install tinycnn again"
    return f"{error}; {remedy}"


class _Answerer:
    """Answer requests with one reader."""

    def __init__(self, weights: Weights) -> None:
        self._load(weights)
        self._ink: tuple[Path, Ink] | None = None  # of the latest picture
        self._parts: tuple[int, Any] | None = None  # of the latest drawing

    def _load(self, weights: Weights) -> None:
        from tinycnn.reading.reader import Reader
        from tinycnn.userfile import explained

        names, judge, network = weights.names, weights.judge, weights.network
        with explained(network):
            self.reader = Reader(names, judge, network=network, remembers=True)
            self.reader.read_strokes(_sample())  # compiles what reading needs

    def answer(self, request: Request) -> Reply:
        """Return the reply; every error becomes a `Failed`."""
        from tinycnn.ink.picture import PictureError
        from tinycnn.nn.weights import WeightsError

        try:
            return self._answer(request)
        except (PictureError, WeightsError, OSError) as error:
            text = " ".join(str(error).split())
            if isinstance(request, Open):  # the full path leaves no room for the reason
                text = text.replace(str(request.path), request.path.name)
            return Failed(text)
        except MemoryError:
            return Failed("Not enough memory; make the picture smaller.")
        except Exception as error:  # noqa: BLE001 - shown; the process goes on
            return Failed(
                f"This went wrong: {' '.join(str(error).split()) or type(error)}",
                traceback.format_exc(),
            )

    def _answer(self, request: Request) -> Reply:
        match request:
            case Read(revision, strokes):
                return Answer(revision, self.reader.read_strokes(strokes))
            case Explain(revision, drawing, index):
                return self._explained(revision, drawing, index)
            case Single(revision, drawing, index, name):
                part = self._part(revision, drawing, index)
                own = part.ink if isinstance(part.ink, Strokes) else None
                return Singled(name, part.image, own)
            case Open(path):
                return self._opened(path)
            case Paste(folder):
                return self._opened(_pasted(folder))
            case Annotate(drawing, reading, path):
                return self._annotated(drawing, reading, path)
            case Reload(weights):
                self._load(weights)
                self._parts = None
                return Reloaded()

    def _explained(self, revision: int, drawing: Drawing, index: int) -> Explained:
        from tinycnn.reading.explain import explain

        part = self._part(revision, drawing, index)
        return Explained(revision, index, explain(self.reader, part))

    def _part(self, revision: int, drawing: Drawing, index: int) -> Any:
        from tinycnn.reading.explain import read_parts

        if self._parts is None or self._parts[0] != revision:
            ink = self._ink_of(drawing) if isinstance(drawing, Path) else drawing
            _, parts = read_parts(self.reader, ink)
            self._parts = revision, parts
        return self._parts[1][index]

    def _ink_of(self, path: Path) -> "Ink":
        from tinycnn.ink.picture import load_picture

        if self._ink is None or self._ink[0] != path:
            self._ink = path, load_picture(path)
        return self._ink[1]

    def _opened(self, path: Path) -> Opened:
        from tinycnn.ink.picture import open_picture

        self._ink = None  # the file may have changed
        reading = self.reader.read_ink(self._ink_of(path))
        image = open_picture(path).convert("RGB")
        size = self._ink_of(path).size
        image.thumbnail((SHOWN, SHOWN))
        picture = Picture(path, np.asarray(image), size)
        return Opened(picture, reading)

    def _annotated(self, drawing: Drawing, reading: Reading, path: Path) -> Saved:
        from tinycnn.files import write_atomically
        from tinycnn.ink.ink import strokes_ink
        from tinycnn.reading.annotate import annotated_png

        if isinstance(drawing, Path):
            ink = self._ink_of(drawing)
        else:
            ink = strokes_ink(drawing)
        of = drawing if isinstance(drawing, Path) else path  # strokes need no file
        write_atomically(path, [annotated_png(of, ink, reading)])
        return Saved(path)


def _sample() -> Strokes:
    """Return strokes whose reading compiles every kernel."""
    one = np.array([[40.0, 20], [40, 80]])
    crossed = np.array([[70.0, 20], [130, 80], [70, 80], [130, 20]])
    return Strokes((one, crossed), (10.0, 10.0), (200, 100))


def _pasted(folder: Path) -> Path:
    """Write the picture in the clipboard to a new file of a folder; return its path.

    Earlier pictures keep their files: undoing a step may bring one back.
    """
    import io

    from PIL import Image, ImageGrab

    from tinycnn.files import write_atomically
    from tinycnn.ink.picture import PictureError

    try:
        found = ImageGrab.grabclipboard()
    except NotImplementedError as error:
        raise PictureError(
            f"Nothing can be pasted here ({error}); open a file with Ctrl+O."
        ) from error
    if isinstance(found, list) and found:
        return Path(found[0])
    if not isinstance(found, Image.Image):
        raise PictureError("There is no picture in the clipboard; copy one first.")
    content = io.BytesIO()
    found.save(content, "PNG")
    path = folder / f"pasted {1 + len(list(folder.iterdir()))}.png"
    write_atomically(path, [content.getvalue()])
    return path
