"""A process that holds an object, and the window's non-blocking calls of its methods.

`Worker` is the window's side: it sends ``(name, arguments)``, one call at a time, and
hands what comes back to the call's continuation. `serve` is the process. Neither knows
what the object is.
"""

import contextlib
import logging
import math
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

PAUSE = 1.0  # seconds before a restart, of a process that never was ready
PATIENCE = 0.5  # seconds to wait for a killed process
LOG = logging.getLogger("tinycnn.window")
Then = Callable[[Any], object]  # given a call's result, or each item it yields
Call = tuple[str, tuple[Any, ...], Then]


class Worker:
    """The window's side of a process. Only `close` waits for it, half a second at most.

    The process calls `make`, named ``module:function``, with the arguments, and holds
    what it returns; a ValueError or OSError means that it cannot be used. A process
    that dies is replaced if it `restarts`; the calls that wait go to the new one, and
    the one that was sent, unless it was sent again already.

    `on_ready`, `on_failure` and `on_fatal` are called with a sentence, or empty text,
    when the process accepts calls, when a call failed, when it cannot be used. The
    object's attribute `expected` lists the exceptions that are sentences for the user;
    its `note` is a sentence about its start.
    """

    def __init__(
        self, make: str, *arguments: Any, log: Path | None = None, restarts: bool = True
    ) -> None:
        self.make, self.arguments, self.log = make, arguments, log
        self._restarts = restarts
        nothing: Callable[[str], object] = lambda _: None  # noqa: E731
        self.on_ready = self.on_failure = self.on_fatal = nothing
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._waiting: list[Call] = []
        self._sent: Call | None = None
        self._lost: Call | None = None  # that was sent when a process died
        self._start_at = math.inf  # on the monotonic clock
        self.is_ready, self.starts = False, 0

    @property
    def is_busy(self) -> bool:
        """Whether a result is due."""
        return self._sent is not None

    def start(self) -> None:
        """Start the process; `on_ready` is called by a later `poll`."""
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        what = theirs, self.make, self.arguments, self.log
        self._process = context.Process(target=serve, args=what, daemon=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the window ends it
        self._process.start()
        signal.signal(signal.SIGINT, before)
        theirs.close()
        self._start_at = math.inf
        self.starts += 1

    def ask(self, name: str, *arguments: Any, then: Then, newest: bool = False) -> None:
        """Call a method; a `newest` call is first, and replaces one of its name."""
        call = name, arguments, then
        others = [each for each in self._waiting if not newest or each[0] != name]
        self._waiting = [call, *others] if newest else [*others, call]
        self._send()

    def poll(self) -> None:
        """Hand over the results that have arrived since the last call."""
        if time.monotonic() >= self._start_at:
            self.start()
        while self._connection is not None:
            try:
                if not self._connection.poll():
                    return
                kind, value = self._connection.recv()
            except (EOFError, OSError):
                self._on_death()
                return
            self._on_message(kind, value)

    def close(self) -> None:
        """End the process at once, without a restart."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        self._start_at, self.is_ready = math.inf, False
        if connection is not None:
            connection.close()
        if process is not None:
            process.kill()
            process.join(PATIENCE)

    def _on_message(self, kind: str, value: Any) -> None:
        if kind == "item":
            if self._sent is not None:
                self._sent[2](value)
        elif kind == "fatal":
            self.close()
            self.on_fatal(value)
        else:
            self.is_ready = True
            self._sent = None
            self._send()  # before the callbacks, which take their time
            if kind == "ready":
                self.on_ready(value)
            elif kind == "failed":
                LOG.error(value[1]) if value[1] else None
                self.on_failure(value[0])

    def _send(self) -> None:
        """Send the next call if the process is idle: then sending never blocks."""
        if self.is_ready and self._sent is None and self._waiting:
            self._sent = self._waiting.pop(0)
            assert self._connection is not None
            with contextlib.suppress(OSError):  # the next poll notices its death
                self._connection.send(self._sent[:2])

    def _on_death(self) -> None:
        """Say so, and schedule a new process; send a call again, but only once."""
        LOG.error("a process of the window died: %s", self._process)
        pause = 0.0 if self.is_ready else PAUSE
        self.close()
        if self._sent is not None and self._sent is not self._lost:
            self._waiting.insert(0, self._sent)
        self._lost, self._sent = self._sent, None
        if self._restarts:
            self._start_at = time.monotonic() + pause
            self.on_failure("The reader stopped and is being restarted.")
        else:
            self.on_failure("")


# --- the process itself ------------------------------------------------------------


def serve(
    connection: Connection, make: str, arguments: tuple[Any, ...], log: Path | None
) -> None:
    """Make the object and call its methods until the window is gone."""
    file = os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(file, 1)  # stdout
    os.dup2(file, 2)  # stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        try:
            held = resolve_name(make)(*arguments)
        except (ValueError, OSError) as error:
            connection.send(("fatal", str(error)))
            return
        connection.send(("ready", getattr(held, "note", "")))
        while True:
            for message in call(held, *connection.recv()):
                connection.send(message)


def call(held: Any, name: str, arguments: tuple[Any, ...]) -> Iterator[Any]:
    """Call a method; yield a message ``(kind, value)`` an item, and how it ended."""
    try:
        result = getattr(held, name)(*arguments)
        for item in result if isinstance(result, Iterator) else (result,):
            yield "item", item
        yield "done", None
    except MemoryError:
        yield "failed", ("Not enough memory; make the picture smaller.", "")
    except Exception as error:  # noqa: BLE001 - shown; the process goes on
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.filename:
            reason = f"{error.strerror}: {error.filename}; check this place"
        if isinstance(error, getattr(held, "expected", ())):
            yield "failed", (reason, "")
        else:
            yield "failed", (f"This went wrong: {reason}", traceback.format_exc())


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
