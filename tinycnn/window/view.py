"""The window: canvas, status bar, panel and menus, and what connects them.

`Window` never blocks on its processes: `poll` looks for their replies every few
milliseconds.
"""

import contextlib
import logging
import tkinter as tk
import traceback
from pathlib import Path
from typing import Any

from tinycnn.reading.corrections import Corrections
from tinycnn.window.actions import CONTROL, MODIFIERS, Menus
from tinycnn.window.bars import StatusBar, Toolbar, summary
from tinycnn.window.canvas import DrawingCanvas
from tinycnn.window.correcting import Correcting, FineTuning
from tinycnn.window.documents import Documents
from tinycnn.window.live import LiveReading
from tinycnn.window.panel import Panel
from tinycnn.window.session import Session
from tinycnn.window.settings import Settings, save_settings
from tinycnn.window.theme import Look
from tinycnn.window.worker import Worker

LOG = logging.getLogger("tinycnn.window")
SOON, LATER = 1, 10  # milliseconds to the next poll, with and without a reply due
CHANGED = "The network is changed (F4 puts it back). "
WARMING_UP = "Warming up, for some seconds the first time. You can draw already."
ICON = Path(__file__).with_name("icon.png")
DEFAULT_SIZE, SMALLEST_SIZE = (1000, 680), (560, 360)  # units
FRAME = 80  # units of the screen's height for menu, title and the desktop's bar


class Window:
    """The main window, and its parts as attributes.

    `worker` holds a `served.Reads` and is not started yet; `folder` keeps corrections,
    the last drawing and pasted pictures. `may_reload` is False if ``--weights`` was
    given. If the window closes by itself, `problem` says why.
    """

    def __init__(
        self,
        root: tk.Tk,
        settings: Settings,
        settings_file: Path,
        worker: Worker,
        folder: Path,
        *,
        may_reload: bool = True,
    ) -> None:
        self.root, self.settings, self._settings_file = root, settings, settings_file
        self.worker, self.problem, self.message = worker, "", ""
        self.session, self.look = Session(), Look(root)
        self.session.pen_width = settings.brush
        self._closed, self.stopped = False, 0
        root.report_callback_exception = self._on_exception
        self.correcting = Correcting(self, Corrections(folder / "corrections"))
        self.documents, self.live = Documents(self, folder), LiveReading(self)
        self._build()
        self.finetuning = FineTuning(self, allowed=may_reload)
        self._connect()
        self._set_theme()
        self._place_panel()
        root.update_idletasks()
        wide, high = map(self.look.px, SMALLEST_SIZE)
        root.minsize(max(wide, self.tools.winfo_reqwidth()), high)

    def _build(self) -> None:
        root, px = self.root, self.look.px
        root.title("tinycnn: draw digits")
        wide, high = map(px, DEFAULT_SIZE)
        if self.settings.size:
            wide, high = map(int, self.settings.size.split("x"))
        high = min(high, root.winfo_screenheight() - px(FRAME))
        root.geometry(f"{min(wide, root.winfo_screenwidth())}x{high}")
        self._icon = tk.PhotoImage(file=ICON, master=root)
        root.iconphoto(True, self._icon)
        self.menus = Menus(self)
        self.tools, self.canvas = Toolbar(self), DrawingCanvas(self)
        self.panel, self.statusbar = Panel(self), StatusBar(self)
        self.tools.pack(fill="x")
        self.statusbar.pack(side="bottom", fill="x")
        self.canvas.pack(side="left", fill="both", expand=True)
        self.canvas.focus_set()  # where Tab goes from digit to digit

    def _connect(self) -> None:
        root, worker, correcting = self.root, self.worker, self.correcting
        worker.on_ready, worker.on_fatal = self._on_ready, self._on_fatal
        worker.on_failure = self.say
        self.documents.accept_drops()
        root.protocol("WM_DELETE_WINDOW", self.close)
        root.bind("<Escape>", lambda _: correcting.choose(None))
        for key in "yY":  # Caps Lock makes the second
            root.bind(f"<{CONTROL}-{key}>", lambda _: self.redo())
        root.bind("<Key>", self._on_key)

        # Beyond the last digit, Tab goes on to the next control.
        self.canvas.bind("<Tab>", lambda _: correcting.walk(1))
        self.canvas.bind("<<PrevWindow>>", lambda _: correcting.walk(-1))

    def _on_key(self, event: Any) -> None:
        if not event.state & MODIFIERS and event.widget.winfo_class() != "TCombobox":
            self.correcting.press(event.char)

    def run(self, picture: Path | None = None) -> None:
        """Show the window, start the reading process, return when it is closed."""
        self.root.update()  # drawing is possible from here on
        self.worker.start()
        if picture is not None:
            self.documents.open_path(picture)
        else:
            self.documents.bring_back()
        self.poll()
        self.root.mainloop()

    def close(self) -> None:
        """Close the window and end its processes."""
        if self._closed:
            return
        self._closed = True
        for timer in self.root.tk.splitlist(self.root.tk.call("after", "info")):
            self.root.after_cancel(timer)
        self.settings.brush = self.session.pen_width
        if self.root.winfo_viewable():
            self.settings.size = self.root.geometry().partition("+")[0]
        self.worker.close()
        self.finetuning.close()
        self.root.destroy()
        self.documents.keep()
        save_settings(self._settings_file, self.settings)

    def stop(self, signum: int) -> None:
        """Close the window at the next poll; safe in a signal handler."""
        self.stopped = signum

    def poll(self) -> None:
        """Handle what is due and the replies of the processes, again and again."""
        if self.stopped:
            self.close()
        try:
            self.worker.poll()
            if self.finetuning.process is not None:
                self.finetuning.process.poll()
        finally:
            if not self._closed:
                self.root.after(SOON if self.worker.is_busy else LATER, self.poll)

    def _on_ready(self, note: str) -> None:
        before = self.message if self.worker.starts == 1 else ""
        self.panel.breaking.reset()
        self.say(note or before)
        self.live.read_anew()

    def _on_fatal(self, message: str) -> None:
        self.problem = message
        self.close()

    def _on_exception(self, kind: Any, error: BaseException, trace: Any) -> None:
        """Show and log an exception of a callback; the window stays open."""
        LOG.error("".join(traceback.format_exception(kind, error, trace)))
        with contextlib.suppress(tk.TclError):
            self.say(f"This went wrong: {error or kind.__name__} (see the log)")

    def on_ink(self, message: str = "") -> None:
        """Show and read changed ink."""
        self.correcting.choose(None)
        self.message = message
        self.live.read()
        self.show()

    def show(self) -> None:
        """Show drawing, reading and choice as they are now."""
        self.canvas.show()
        self.statusbar.show()
        self.tools.show()
        self.say(self.message)
        self.live.explain_soon()

    def say(self, message: str) -> None:
        """Show a message, or the state of the reading, and whether weights changed."""
        self.message = message
        state = summary(self.session) if self.worker.is_ready else WARMING_UP
        text = message or self.correcting.hint or state
        sign = CHANGED * self.panel.breaking.is_changed
        self.statusbar.status.configure(text=sign + text)

    def undo(self, by: int = -1) -> None:
        """Undo a step, or redo one (1)."""
        before, revision = self.session.drawn, self.session.revision
        if self.session.step(by):
            self.on_ink()
            if self.session.revision == revision:
                self.correcting.follow(before.corrections)

    def redo(self) -> None:
        """Redo a step."""
        self.undo(1)

    def clear(self) -> None:
        """Clear the canvas."""
        if not self.session.is_empty:
            self.session.put()
            self.on_ink()

    def toggle_panel(self) -> None:
        """Show or hide the panel."""
        self.settings.panel = not self.settings.panel
        self._place_panel()

    def _place_panel(self) -> None:
        self.panel.pack_forget()
        if self.settings.panel:
            self.panel.pack(side="right", fill="y", before=self.canvas)
        self.panel.refresh()
        self.live.explain_soon()
        self.tools.show()

    def toggle_theme(self) -> None:
        """Switch between light and dark."""
        self.settings.theme = "dark" if self.settings.theme == "light" else "light"
        self._set_theme()

    def _set_theme(self) -> None:
        self.look.set_theme(self.settings.theme)
        self.canvas.set_theme()
        self.panel.refresh()
        self.show()
