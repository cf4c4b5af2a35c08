"""Opening, pasting, dropping and saving; and the drawing that outlives the window."""

import contextlib
import json
import logging
import time
import tkinter as tk
from pathlib import Path
from tkinter import filedialog
from typing import Any

from tinycnn.ink.strokes import Strokes, load_strokes, save_strokes
from tinycnn.window.session import Picture

LOG = logging.getLogger("tinycnn.window")
SUFFIXES = "png", "jpg", "jpeg", "bmp", "gif", "webp", "json"
PATTERNS = " ".join(f"*.{s} *.{s.upper()}" for s in SUFFIXES)
TO_OPEN = (("Pictures and drawings", PATTERNS), ("All files", "*"))
OLD = 24 * 3600.0  # seconds, of a pasted picture
STROKES, PNG = ("Drawing with its strokes", "*.json"), ("Picture", "*.png")


class Documents:
    """The files that a drawing comes from and goes to.

    The folder keeps the last drawing and pasted pictures.
    """

    def __init__(self, window: Any, folder: Path) -> None:
        self._window, self._session = window, window.session
        self._last, self._pasted = folder / "drawing.json", folder / "pasted"

    def open(self) -> None:
        """Ask for a picture or a drawing and open it."""
        options: Any = {"parent": self._window.root, "filetypes": TO_OPEN}
        if name := filedialog.askopenfilename(**options):
            self.open_path(Path(name))

    def open_path(self, path: Path) -> None:
        """Open a picture or a drawing."""
        self._window.live.ask("open", path.absolute(), then=self._put)
        self._window.say(f"Opening {path.name} …")

    def paste(self) -> None:
        """Open the picture in the clipboard."""
        self._window.live.ask("paste", self._pasted, then=self._put)

    def accept_drops(self) -> None:
        """Open files that are dropped on the canvas, where tkinterdnd2 is installed."""
        with contextlib.suppress(ImportError, RuntimeError, tk.TclError):
            from tkinterdnd2 import DND_FILES, TkinterDnD

            canvas: Any = self._window.canvas
            TkinterDnD.require(self._window.root)
            canvas.drop_target_register(DND_FILES)
            canvas.dnd_bind("<<Drop>>", self.drop)

    def drop(self, event: Any) -> None:
        """Open the first of the files that were dropped."""
        for name in self._window.root.tk.splitlist(event.data)[:1]:
            self.open_path(Path(name))

    def save(self) -> None:
        """Save the drawing: its strokes as JSON, or as a picture."""
        options: Any = {"parent": self._window.root, "filetypes": (STROKES, PNG)}
        options |= {"initialfile": "drawing.json", "defaultextension": ".json"}
        if name := filedialog.asksaveasfilename(**options):
            self.save_path(Path(name))

    def save_path(self, path: Path) -> None:
        """Save the drawing; the file's suffix selects the format."""

        def saved(what: str) -> None:
            self._window.say(f"Saved: {what}.")

        self._window.live.ask("save", self._session.drawing, path, then=saved)

    def keep(self) -> None:
        """Keep what was drawn for the next start; remove old pasted pictures."""
        self._session.settle()
        if self._session.revision == 0:
            return
        picture = self._session.drawn.picture
        try:
            self._last.parent.mkdir(parents=True, exist_ok=True)
            more: Any = {"corrections": self._window.correcting.document()}
            more["picture"] = str(picture.path) if picture else ""
            save_strokes(self._last, self._session.drawing.strokes, **more)
            for path in self._pasted.glob("*"):  # another window may show a new one
                is_old = time.time() - path.stat().st_mtime > OLD
                if is_old and (picture is None or path != picture.path):
                    path.unlink()
        except (OSError, ValueError) as error:
            LOG.warning("drawing not kept: %s", error)

    def bring_back(self) -> None:
        """Show the drawing that the last window held, with its corrections."""
        try:
            if not self._last.exists():
                return
            strokes = load_strokes(self._last)
            document = json.loads(self._last.read_text("utf-8"))
            file = Path(document.get("picture", ""))
            has_picture = file.is_file()
            corrections = self._window.correcting.load(document.get("corrections", ()))
        except (OSError, ValueError, TypeError, KeyError) as error:
            LOG.warning("last drawing left out: %s", error)
            return

        def put(picture: Picture | None) -> None:
            if self._session.revision == 0:  # else something was drawn meanwhile
                self._session.put(strokes, picture, corrections)
                self._window.correcting.follow(())  # some may not be kept yet
                self._window.on_ink("Your last drawing is back; Clear puts it away.")

        if has_picture:
            self._window.live.ask("open", file, then=put)
        elif strokes.points:
            put(None)

    def _put(self, opened: Picture | Strokes) -> None:
        if isinstance(opened, Strokes):
            self._session.put(opened)
            self._window.on_ink("The drawing is open.")
        else:
            self._session.put(None, opened)
            name = opened.path.name
            self._window.on_ink(f"{name} is open; write on it, or clear it away.")
