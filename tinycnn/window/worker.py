"""The process that reads, and how the window talks to it without ever waiting.

`Worker` is the window's side. It keeps one question at a time with the process and the
others to itself, so that the newest drawing is read next and older ones never are. A
process that dies is started again with the question it had. `serve` is the other side.

This file knows processes and messages. It knows no widgets, and loads nothing that
compiles: only the process itself does.
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
    Hopeless,
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

FIRST_PAUSE = 0.25  # seconds before it is started again, if it never was ready
LONGEST_PAUSE = 8.0  # seconds; the pause doubles each time
PATIENCE = 0.5  # seconds that a killed process has to be gone
SHOWN = 1600  # pixels a side: a picture is shown no larger
LOG = logging.getLogger("tinycnn.window")


class Worker:
    """The window's side of the process that reads.

    No method waits for the process, but for `close`, at most half a second.

    Parameters
    ----------
    weights : Weights
    fallback : bool
        Whether the weights that ship are taken where these are damaged.
    log : Path or None
        Where what the process prints goes to; None is nowhere.
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
        self._asked: Request | None = None
        self._tried: Request | None = None  # the process died over it
        self._deaths = 0  # in a row, before it was ready
        self._start_at = math.inf  # on the monotonic clock
        self.is_ready = False
        self.starts = 0

    @property
    def is_busy(self) -> bool:
        """Whether an answer is due any moment."""
        return self._asked is not None

    @property
    def pid(self) -> int | None:
        """The process's number, if there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process; it is ready when `poll` says so."""
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
        """Ask something; readings and explanations that still wait are replaced."""
        if isinstance(request, Read | Explain):
            kind = type(request)
            self._waiting = [r for r in self._waiting if type(r) is not kind]
        self._waiting.append(request)
        self._send()

    def forget(self) -> None:
        """Drop the readings and explanations that still wait."""
        self._waiting = [r for r in self._waiting if not isinstance(r, Read | Explain)]

    def poll(self) -> list[Reply]:
        """Return what the process has said since the last call."""
        if time.monotonic() >= self._start_at:
            self.start()
        said: list[Reply] = []
        while self._connection is not None:
            try:
                if not self._connection.poll():
                    break
                reply: Reply = self._connection.recv()
            except (EOFError, OSError):
                said.append(self._mourn())
                break
            if isinstance(reply, Ready):
                self.is_ready = True
                self._deaths = 0
            elif isinstance(reply, Hopeless):
                self.close()
            else:
                if isinstance(reply, Reloaded) and isinstance(self._asked, Reload):
                    weights = self._asked.weights
                    self._start_with = weights, weights != SHIPPED
                self._asked = None
            said.append(reply)
            self._send()
        return said

    def close(self) -> None:
        """End the process, whatever it does; at once, and for good."""
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
        """Send the next question, if the process waits for one.

        It does, so even a large question goes through the pipe at once.
        """
        if not (self.is_ready and self._asked is None and self._waiting):
            return
        # A reading never waits for an explanation; all else goes in order.
        number = next(
            (n for n, r in enumerate(self._waiting) if isinstance(r, Read)), 0
        )
        self._asked = self._waiting.pop(number)
        assert self._connection is not None
        # If the process has just died, the next poll finds out.
        with contextlib.suppress(OSError):
            self._connection.send(self._asked)

    def _mourn(self) -> Failed:
        """Have a new process in the place of a dead one, with the same question.

        A question that two died over is not asked again.
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
        asked, self._asked = self._asked, None
        if asked is not None and asked is self._tried:
            return Failed("This cannot be read: the reader stopped twice over it.")
        if asked is not None:
            self._tried = asked
            replaced = isinstance(asked, Read | Explain) and any(
                type(request) is type(asked) for request in self._waiting
            )
            if not replaced:
                self._waiting.insert(0, asked)
        return Failed("The reader stopped; it is started again.")


@contextlib.contextmanager
def no_interrupts() -> Iterator[None]:
    """Start a process that Ctrl-C does not reach: whoever closes the window ends it."""
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
    """Answer questions until the window is gone.

    Parameters
    ----------
    connection : Connection
        Where requests come from and replies go to.
    weights, fallback, log
        As `Worker` has them.
    """
    settle_in(log)
    try:
        answerer, note = _answerer(weights, fallback)
    except _HopelessError as error:
        connection.send(Hopeless(str(error)))
        return
    with contextlib.suppress(EOFError, OSError):
        connection.send(Ready(note))
        while True:
            connection.send(answerer.answer(connection.recv()))


def settle_in(log: Path | None) -> None:
    """Print to the log, and end when the window's process does, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    target: str | Path = os.devnull if log is None else log
    try:
        file = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(file, number)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


class _HopelessError(Exception):
    """Nothing can be read; the message is one sentence."""


def _answerer(weights: Weights, fallback: bool) -> tuple["_Answerer", str]:
    """Return what answers, everything compiled, and a note for the window."""
    from tinycnn.nn.weights import TensorFileError
    from tinycnn.threads import use_threads

    use_threads()
    try:
        return _Answerer(weights), ""
    except (TensorFileError, OSError, ArithmeticError) as error:
        if not fallback:
            raise _HopelessError(_with_remedy(error, weights)) from error
        traceback.print_exc()
    try:
        note = "What was learnt cannot be read; the weights that come along are used."
        return _Answerer(SHIPPED), note
    except (TensorFileError, OSError, ArithmeticError) as error:
        raise _HopelessError(_with_remedy(error, SHIPPED)) from error


def _with_remedy(error: Exception, weights: Weights) -> str:
    """Return what is wrong with weights, and what can be done about it."""
    remedy = "name other weights, or leave --weights out"
    if weights == SHIPPED:
        remedy = "install tinycnn again"
    return f"{error}; {remedy}"


class _Answerer:
    """Answers one question after the other."""

    def __init__(self, weights: Weights) -> None:
        self._load(weights)
        self._ink: tuple[Path, Ink] | None = None  # of the picture asked about last
        self._parts: tuple[int, Any] | None = None  # of the drawing asked about last

    def _load(self, weights: Weights) -> None:
        from tinycnn.reading.reader import Reader

        self.reader = Reader(weights.names, weights.judge, remembers=True)
        self.reader.read_strokes(_sample())  # compiles what reading needs

    def answer(self, request: Request) -> Reply:
        """Return the answer; whatever goes wrong is said and goes no further."""
        from tinycnn.ink.picture import PictureError
        from tinycnn.nn.weights import TensorFileError

        try:
            return self._answer(request)
        except (PictureError, TensorFileError, OSError) as error:
            text = " ".join(str(error).split())
            if isinstance(request, Open):  # a whole path leaves no room for the reason
                text = text.replace(str(request.path), request.path.name)
            return Failed(text)
        except MemoryError:
            return Failed("There is not enough memory for this; make it smaller.")
        except Exception as error:  # noqa: BLE001 - the window says it and goes on
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
    """Return a number that makes the reader do all that it can do."""
    one = np.array([[40.0, 20], [40, 80]])
    crossed = np.array([[70.0, 20], [130, 80], [70, 80], [130, 20]])
    return Strokes((one, crossed), (10.0, 10.0), (200, 100))


def _pasted(folder: Path) -> Path:
    """Write the picture in the clipboard to a new file of a folder; return its path.

    What was pasted before keeps its file: undoing a step may bring it back.
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
