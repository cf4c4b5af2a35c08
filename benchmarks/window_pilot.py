"""Operate the window on a screen in memory, by real pointer and key events.

Events come from the X server by its XTEST extension, as those of a mouse do. It needs
Xvfb (Debian: ``apt install xvfb``) and python-xlib. The window runs in this process;
`until` runs its main loop.
"""

import os
import shutil
import subprocess
import time
import tkinter as tk
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinycnn.window.correcting import READS
from tinycnn.window.settings import Settings
from tinycnn.window.view import Window
from tinycnn.window.worker import Worker

PRESS, RELEASE, MOTION, KEY_PRESS, KEY_RELEASE = 4, 5, 6, 2, 3  # X's event numbers


def missing() -> str:
    """Return why there can be no hand here; empty if there can."""
    if shutil.which("Xvfb") is None:
        return "there is no Xvfb (Debian: apt install xvfb)"
    try:
        import Xlib  # noqa: F401
    except ImportError:
        return "there is no python-xlib (pip install python-xlib)"
    return ""


@contextmanager
def screen(width: int = 1440, height: int = 900) -> Iterator[str]:
    """Start a screen in memory and yield its name, as ``DISPLAY`` has it."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        [  # a reset, when the last client leaves, throws out who comes just then
            *("Xvfb", "-noreset", "-displayfd", str(writing)),
            *("-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp"),
        ],
        pass_fds=[writing],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            number = pipe.readline().strip()
        if not number:
            raise RuntimeError("Xvfb did not start")
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(10)


class Hand:
    """Moves the pointer and presses keys.

    Parameters
    ----------
    display : str
        As ``DISPLAY`` has it.
    """

    def __init__(self, display: str) -> None:
        from Xlib import XK
        from Xlib.display import Display

        self._display = Display(display)
        self._keysym = XK.string_to_keysym

    def close(self) -> None:
        """Leave the X server."""
        self._display.close()

    def look(self, area: tuple[int, int, int, int]) -> NDArray[np.uint8]:
        """Return a part of the screen, uint8 (H, W, 3).

        Parameters
        ----------
        area : (int, int, int, int)
            ``x0, y0, x1, y1`` in pixels, half open.
        """
        from Xlib import X

        x0, y0, x1, y1 = area
        root = self._display.screen().root
        image = root.get_image(x0, y0, x1 - x0, y1 - y0, X.ZPixmap, 0xFFFFFFFF)
        pixels = np.frombuffer(image.data, np.uint8).reshape(y1 - y0, x1 - x0, 4)
        return pixels[..., 2::-1]

    def sees(
        self, colour: tuple[int, int, int], area: tuple[int, int, int, int]
    ) -> bool:
        """Return whether a colour is in a part of the screen."""
        return bool((self.look(area) == colour).all(axis=-1).any())

    def _send(self, event: int, detail: int = 0, x: int = 0, y: int = 0) -> None:
        from Xlib.ext import xtest

        xtest.fake_input(self._display, event, detail, x=x, y=y)
        self._display.sync()

    def move(self, x: float, y: float) -> None:
        """Move the pointer to a pixel of the screen."""
        self._send(MOTION, x=round(x), y=round(y))

    def press(self, button: int = 1) -> None:
        """Press a button of the mouse."""
        self._send(PRESS, button)

    def release(self, button: int = 1) -> None:
        """Release a button of the mouse."""
        self._send(RELEASE, button)

    def press_key(self, name: str) -> None:
        """Press a key and hold it down."""
        code = self._display.keysym_to_keycode(self._keysym(name))
        self._send(KEY_PRESS, code)

    def release_key(self, name: str) -> None:
        """Release a key."""
        code = self._display.keysym_to_keycode(self._keysym(name))
        self._send(KEY_RELEASE, code)

    def key(self, name: str, *held: str) -> None:
        """Press and release a key while others are held down.

        Parameters
        ----------
        name, *held : str
            X's names of keys: ``"z"``, ``"Delete"``, ``"Control_L"``.
        """
        for each in (*held, name):
            self.press_key(each)
        for each in (name, *reversed(held)):
            self.release_key(each)

    def draw(
        self,
        places: Iterable[tuple[float, float]],
        pause: Callable[[], None],
        button: int = 1,
    ) -> None:
        """Draw one stroke.

        Parameters
        ----------
        places : iterable of (float, float)
            Pixels of the screen.
        pause : function
            Called after every event: Tk keeps only the last of movements that wait.
        button : int
        """
        first, *others = places
        self.move(*first)
        pause()
        self.press(button)
        pause()
        for place in others:
            self.move(*place)
            pause()
        self.release(button)
        pause()


class Stage:
    """A window on a screen, its reading process, and a hand.

    Parameters
    ----------
    display : str
        As ``DISPLAY`` has it.
    folder : Path
        Where settings and corrections go.
    size : str
        Of the window, as Tk writes it.
    scaling : float or None
        Tk's: pixels of the screen a point; None leaves it as it is.
    """

    def __init__(
        self,
        display: str,
        folder: Path,
        size: str = "900x650",
        scaling: float | None = None,
    ) -> None:
        self.folder = folder
        os.environ["XDG_DATA_HOME"] = str(folder)  # no fine-tuned weights
        self.root = tk.Tk(screenName=display, className="tinycnn")
        if scaling is not None:
            self.root.tk.call("tk", "scaling", scaling)
        self.worker = Worker(READS)
        settings, file = Settings(size=size), folder / "config" / "window.json"
        self.window = Window(self.root, settings, file, self.worker, folder)
        self.session, self.sheet = self.window.session, self.window.canvas
        self.hand = Hand(display)
        self.root.geometry("+0+0")
        self.root.update()

    def start(self) -> None:
        """Start the reading process and wait until it is ready."""
        self.worker.start()
        self.window.poll()
        until(self.root, lambda: self.worker.is_ready, 120)
        self.hand.move(*self.on_screen([(5, 5)])[0])
        self.sheet.focus_force()
        settle(self.root)

    def close(self) -> None:
        """Close the window."""
        self.window.close()
        self.hand.close()

    def on_screen(
        self, places: Iterable[tuple[float, float]], x: float = 0, y: float = 0
    ) -> list[tuple[float, float]]:
        """Return places of the sheet, in its units, as pixels of the screen."""
        left = self.sheet.winfo_rootx() + self.sheet.origin[0]
        top, zoom = self.sheet.winfo_rooty() + self.sheet.origin[1], self.sheet.zoom
        return [(left + (x + px) * zoom, top + (y + py) * zoom) for px, py in places]

    def draw(
        self,
        places: Iterable[tuple[float, float]],
        x: float = 60,
        y: float = 60,
        button: int = 1,
    ) -> None:
        """Draw one stroke through places of the sheet, moved by x and y."""
        places = self.on_screen(places, x, y)
        self.hand.draw(places, lambda: settle(self.root), button)

    def key(self, *names: str) -> None:
        """Press a key, with others held down."""
        self.hand.key(*names)
        settle(self.root)

    def read(self) -> str:
        """Wait until all is read, and return what it says."""
        until(
            self.root,
            lambda: (
                self.session.is_settled
                and self.worker.is_ready
                and not self.worker.is_busy
            ),
        )
        return self.session.reading.text


def until(
    root: tk.Misc, condition: Callable[[], bool], patience: float = 60.0
) -> float:
    """Turn the main loop until something is so; return how many seconds that took.

    Raises
    ------
    TimeoutError
        If it does not become so.
    """
    begin = time.perf_counter()
    alarm = root.after(round(1000 * patience), lambda: None)  # the loop never sleeps on
    while not condition():
        if time.perf_counter() - begin > patience:
            raise TimeoutError(f"nothing happened for {patience:g} s")
        root.tk.dooneevent(0)
    root.after_cancel(alarm)
    return time.perf_counter() - begin


def settle(root: tk.Misc) -> None:
    """Let the window handle every event that has arrived."""
    root.update()
