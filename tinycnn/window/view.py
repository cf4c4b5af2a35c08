"""The window: canvas, status bar, panel and menu, and the actions behind them.

`Window` connects the widgets, the session and the reading process. It never blocks on
that process: `_look` polls for replies every few milliseconds.
"""

import contextlib
import io
import logging
import tempfile
import time
import tkinter as tk
import traceback
from collections.abc import Callable
from pathlib import Path
from tkinter import filedialog, ttk
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageTk

from tinycnn.files import write_atomically
from tinycnn.ink.strokes import StrokesError, draw, load_strokes, save_strokes
from tinycnn.reading import finetuned
from tinycnn.reading.corrections import Corrections, DataError
from tinycnn.window.canvas import SURE, DrawingCanvas
from tinycnn.window.correction_sync import CorrectionSync
from tinycnn.window.finetuning import FineTuning
from tinycnn.window.help import KEY, SHOWN, Shortcut, show_help, with_control
from tinycnn.window.messages import (
    Annotate,
    Answer,
    Explain,
    Explained,
    Failed,
    FatalError,
    Open,
    Opened,
    Paste,
    Read,
    Ready,
    Reload,
    Reloaded,
    Reply,
    Saved,
    Single,
    Singled,
    finetuned_weights,
)
from tinycnn.window.panel import NOTHING, Panel
from tinycnn.window.session import Drawn, Session
from tinycnn.window.settings import (
    THICKEST,
    THINNEST,
    Settings,
    save_settings,
)
from tinycnn.window.statusbar import StatusBar
from tinycnn.window.theme import THEMES, apply_menu_theme, apply_theme, make_fonts
from tinycnn.window.worker import Worker

LOG = logging.getLogger("tinycnn.window")
SOON, LATER = 1, 30  # milliseconds to the next poll, with and without a reply due
WHILE_DRAWING = 120  # milliseconds between readings of a growing stroke
BEFORE_EXPLAINING = 120  # milliseconds without changes
PATIENCE = 4.0  # seconds of warming up before the status line says why
DEFAULT_SIZE = (1000, 680)  # units
SMALLEST_SIZE = (640, 440)
FILES = (
    ("Pictures and drawings", "*.png *.jpg *.jpeg *.bmp *.gif *.webp *.json"),
    ("All files", "*"),
)


class Window:
    """The main window.

    Parameters
    ----------
    root : tk.Tk
    settings : Settings
    settings_file : Path
    worker : Worker
        Not started yet.
    corrections : Corrections
        The folder that keeps corrections.
    log : Path or None
        Receives the output of the fine-tuning process.
    may_reload : bool
        Whether to read with fine-tuned weights; False if ``--weights`` was given.

    Attributes
    ----------
    session : Session
    canvas : DrawingCanvas
    problem : str
        Why the window closed by itself; empty if it did not.
    """

    def __init__(
        self,
        root: tk.Tk,
        settings: Settings,
        settings_file: Path,
        worker: Worker,
        corrections: Corrections,
        *,
        log: Path | None = None,
        may_reload: bool = True,
    ) -> None:
        self.root, self.settings, self._settings_file = root, settings, settings_file
        self.worker = worker
        self._sync = CorrectionSync(corrections)
        self._log, self._may_reload = log, may_reload
        self._finetuning: FineTuning | None = None
        self.session = Session()
        self.problem = ""
        self._pixel = root.winfo_fpixels("1p") * 0.75  # a unit is a 96th of an inch
        self._began = time.monotonic()
        self._read_later: str | None = None
        self._explain_later: str | None = None
        self._look_later: str | None = None
        self._explained: tuple[int, int] | None = None  # revision and digit
        self._chosen: int | None = None  # index of the digit to be corrected
        self._under: int | None = None  # index of the digit under the pointer
        # Keeps every pasted picture: undoing a step may bring it back.
        self._pasted: tempfile.TemporaryDirectory[str] | None = None
        self._closed = self._stopped = False
        root.report_callback_exception = self._on_exception
        self._shortcuts = self._make_shortcuts()
        self._build()
        self._listen()
        self.set_theme(settings.theme)
        if settings.panel:
            self.toggle_panel()

    # --- structure -----------------------------------------------------------------

    def _px(self, units: float) -> int:
        return max(round(units * self._pixel), 1)

    def _build(self) -> None:
        root = self.root
        root.title("tinycnn: draw digits")
        root.geometry(self._first_size())
        self._fonts = make_fonts(root)
        root.columnconfigure(0, weight=1)
        root.rowconfigure(1, weight=1)
        tools = self._build_tools()
        tools.grid(row=0, column=0, columnspan=3, sticky="ew")
        self.canvas = DrawingCanvas(
            root,
            self.session,
            self._fonts,
            self._pixel,
            inked=self._on_ink,
            picked=self._on_pick,
            hovered=self._on_hover,
            refused=lambda: self.say("The canvas is full; clear it (Delete)."),
        )
        self.canvas.grid(row=1, column=0, sticky="nsew")
        self.session.pen_width = self.settings.brush
        self._divider = ttk.Frame(root, style="Line.TFrame", width=1)
        self.panel = Panel(root, self._fonts, self._pixel, self.canvas.mark)
        self.statusbar = StatusBar(
            root, self._fonts, self._pixel, self.copy, self._show_status
        )
        self.statusbar.grid(row=2, column=0, columnspan=3, sticky="ew")
        self._build_menu()
        root.update_idletasks()
        wide, high = map(self._px, SMALLEST_SIZE)
        root.minsize(max(wide, tools.winfo_reqwidth()), high)

    def _first_size(self) -> str:
        """Return the remembered size, limited to the screen."""
        wide, high = map(self._px, DEFAULT_SIZE)
        if self.settings.size:
            wide, high = map(int, self.settings.size.split("x"))
        wide = min(wide, self.root.winfo_screenwidth())
        high = min(high, self.root.winfo_screenheight())
        return f"{wide}x{high}"

    def _build_tools(self) -> ttk.Frame:
        frame = ttk.Frame(self.root)
        bar = ttk.Frame(frame)
        bar.pack(fill="x", padx=self._px(12), pady=self._px(9))
        gap = self._px(6)

        def button(text: str, action: Callable[[], None], side: Any) -> ttk.Button:
            made = ttk.Button(bar, text=text, command=action, takefocus=False)
            made.pack(side=side, padx=(0, gap) if side == "left" else (gap, 0))
            return made

        self._undo = button("Undo", self.undo, "left")
        self._redo = button("Redo", self.redo, "left")
        self._clear = button("Clear", self.clear, "left")
        ttk.Label(bar, text="Pen", style="Faint.TLabel").pack(
            side="left", padx=(self._px(14), self._px(8))
        )
        brush = ttk.Scale(
            bar,
            from_=THINNEST,
            to=THICKEST,
            value=self.settings.brush,
            length=self._px(110),
            command=self._on_brush,
        )
        brush.pack(side="left")
        self._dot = ttk.Label(bar)
        self._dot.pack(side="left", padx=self._px(8))
        self._see = button("What the network sees", self.toggle_panel, "right")
        button("Open", self.open_file, "right")
        ttk.Frame(frame, style="Line.TFrame", height=1).pack(fill="x")
        return frame

    def _make_shortcuts(self) -> dict[str, Shortcut]:
        """Return the keyboard shortcuts by the names that the menu uses."""
        undo, redo = (f"<{KEY}-z>",), (f"<{KEY}-Z>", f"<{KEY}-Shift-z>", f"<{KEY}-y>")
        return {
            "undo": Shortcut(f"{SHOWN}Z", undo, "Undo", self.undo),
            "redo": Shortcut(f"{SHOWN}Shift+Z", redo, "Redo", self.redo),
            "clear": Shortcut("Delete", ("<Delete>",), "Clear the canvas", self.clear),
            "copy": with_control("C", "Copy the number", self.copy),
            "open": with_control("O", "Open a picture or a drawing", self.open_file),
            "paste": with_control("V", "Paste a picture", self.paste),
            "save": with_control("S", "Save the drawing", self.save),
            "panel": Shortcut(
                "F2", ("<F2>",), "What the network sees", self.toggle_panel
            ),
            "theme": Shortcut("F3", ("<F3>",), "Light or dark", self.toggle_theme),
            "help": Shortcut("F1", ("<F1>",), "Help", self.show_help),
            "quit": with_control("Q", "Quit", self.close),
        }

    def _build_menu(self) -> None:
        bar = tk.Menu(self.root, tearoff=False)

        def menu(label: str, *entries: Any) -> None:
            made = tk.Menu(bar, tearoff=False)
            for entry in entries:
                if entry is None:
                    made.add_separator()
                elif isinstance(entry, str):
                    short = self._shortcuts[entry]
                    made.add_command(
                        label=short.does, accelerator=short.keys, command=short.action
                    )
                else:
                    text, action = entry
                    made.add_command(label=text, command=action)
            bar.add_cascade(label=label, menu=made)

        menu(
            "File",
            *("open", "paste", None, "save"),
            ("Save the picture with its boxes…", self.save_annotated),
            *(None, "quit"),
        )
        menu("Edit", "undo", "redo", "clear", None, "copy")
        menu("View", "panel", "theme")
        menu(
            "Learn",
            ("Learn from my corrections", self.learn),
            ("Stop learning", self.stop_learning),
            None,
            ("Undo the last learning", self.unlearn),
        )
        menu("Help", "help")
        self.root.configure(menu=bar)
        self._menu = bar

    def _listen(self) -> None:
        root = self.root
        for shortcut in self._shortcuts.values():
            for event in shortcut.events:
                root.bind(event, self._acting(shortcut.action))
        root.bind("<Escape>", lambda _: self._choose(None))
        root.bind("<Key>", self._on_key)
        root.protocol("WM_DELETE_WINDOW", self.close)

    def _acting(self, action: Callable[[], None]) -> Callable[[Any], str]:
        def act(_: Any) -> str:
            action()
            return "break"

        return act

    # --- life ----------------------------------------------------------------------

    def run(self, picture: Path | None = None) -> None:
        """Show the window, start the reading process, return when it is closed."""
        self.root.update()  # drawing is possible from here on
        self.worker.start()
        if picture is not None:
            self.open_path(picture)
        self._look()
        self.root.mainloop()

    def close(self) -> None:
        """Close the window and end its processes."""
        if self._closed:
            return
        self._closed = True
        for later in (
            self._look_later,
            self._read_later,
            self._explain_later,
        ):
            if later is not None:
                self.root.after_cancel(later)
        self.statusbar.forget()
        self.settings.brush = round(self.session.pen_width, 1)
        if self.root.winfo_viewable():
            self.settings.size = self.root.geometry().partition("+")[0]
        self.worker.close()
        if self._finetuning is not None:
            self._finetuning.close()
        if self._pasted is not None:
            self._pasted.cleanup()
        save_settings(self._settings_file, self.settings)
        self.root.destroy()

    def stop(self) -> None:
        """Close the window at the next poll; safe in a signal handler."""
        self._stopped = True

    def _look(self) -> None:
        """Handle the replies of the processes and schedule the next poll."""
        if self._stopped:
            self.close()
            return
        try:
            for reply in self.worker.poll():
                self._on_reply(reply)
                if self._closed:
                    return
            if self._finetuning is not None:
                self._on_finetuning(self._finetuning)
            self._show_status()
        finally:
            if not self._closed:
                due = self.worker.is_busy and self.worker.is_ready
                self._look_later = self.root.after(SOON if due else LATER, self._look)

    def _look_now(self) -> None:
        """Poll soon: a request was sent."""
        if self._look_later is not None:
            self.root.after_cancel(self._look_later)
        self._look_later = self.root.after(SOON, self._look)

    def _on_exception(
        self,
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
    ) -> None:
        """Show and log an exception of a callback; the window stays open."""
        LOG.error("".join(traceback.format_exception(kind, error, trace)))
        with contextlib.suppress(tk.TclError):
            self.say(f"This went wrong: {error or kind.__name__} (see the log)")

    # --- replies of the reading process --------------------------------------------

    def _on_reply(self, reply: Reply) -> None:
        match reply:
            case Ready(note):
                if note:
                    self.say(note)
                self._ask_reading()
            case Answer(revision, reading):
                if self.session.answer(revision, reading):
                    self._show_reading()
            case Explained(revision, index, explanation):
                if revision == self.session.revision:
                    self._explained = revision, index
                    self.panel.show(explanation, self._subject(index))
            case Opened(picture, reading):
                self.session.put_picture(picture, reading)
                self.canvas.show_ink()
                self._show_reading()
                self._show_tools()
                self.say(f"{picture.path.name} is open; drawing replaces it.")
            case Singled():
                self._keep(reply)
            case Reloaded():
                self._explained = None
                self._ask_reading()
            case Saved(path):
                self.say(f"Saved as {path.name}.")
            case Failed(message, details):
                if details:
                    LOG.error(details)
                self.say(message)
            case FatalError(message):
                self.problem = message
                self.close()

    def _ask_reading(self) -> None:
        drawing = self.session.drawing
        if self.session.is_empty or isinstance(drawing, Path):
            self.worker.forget()
            self._show_reading()
        else:
            self.worker.ask(Read(self.session.revision, drawing))
            self._look_now()

    def _show_reading(self) -> None:
        self._choose(None, show=False)
        self.canvas.show_reading()
        self._show_number()
        self._show_status()
        self._explain_soon()

    def _show_number(self) -> None:
        self.statusbar.show(self.session.reading, self._mine())

    def _mine(self) -> list[Any]:
        digits = self.session.reading.digits
        return [d for n, d in enumerate(digits) if self.session.is_corrected(n)]

    # --- explanations --------------------------------------------------------------

    def _explain_soon(self) -> None:
        """Ask for an explanation once the pen has rested."""
        if self._explain_later is not None:
            self.root.after_cancel(self._explain_later)
            self._explain_later = None
        if self.settings.panel:
            self._explain_later = self.root.after(BEFORE_EXPLAINING, self._explain)

    def _explain(self) -> None:
        self._explain_later = None
        index = self._subject_index()
        if index is None:
            self._explained = None
            self.panel.show(None)
        elif self.session.is_settled:
            asked = self.session.revision, index
            if asked != self._explained:
                self.worker.ask(Explain(asked[0], self.session.drawing, index))
                self._look_now()
            else:
                self.panel.set_subject(self._subject(index))

    def _subject_index(self) -> int | None:
        """Return the index of the digit to explain: chosen, hovered or drawn last."""
        for number in (self._chosen, self._under):
            if number is not None and number < len(self.session.reading.digits):
                return number
        return self.session.last_digit()

    def _subject(self, index: int) -> str:
        if index >= len(self.session.reading.digits):
            return NOTHING
        digit = self.session.reading.digits[index]
        which = f"Digit {index + 1} of {len(self.session.reading.digits)}"
        if index == self._under:
            which = "The digit under the pointer"
        return (
            f"{which}, {'refused' if digit.digit is None else f'read as {digit.label}'}"
        )

    # --- actions -------------------------------------------------------------------

    def _on_ink(self, done: bool) -> None:
        self._choose(None, show=False)
        if self.statusbar.is_to_stay():
            self.statusbar.forget()  # shown until the next stroke
        if done:
            self._show_tools()
            self._ask_reading()
        elif self._read_later is None:
            # A growing stroke is read at intervals, also while the pen rests.
            self._read_later = self.root.after(WHILE_DRAWING, self._read_meanwhile)

    def _read_meanwhile(self) -> None:
        self._read_later = None
        if not self.session.is_settled:
            self._ask_reading()

    def _on_hover(self, number: int | None) -> None:
        self._under = number
        if self.settings.panel:
            self._explain_soon()

    def _on_pick(self, number: int | None) -> None:
        self._choose(number)

    def _choose(self, number: int | None, *, show: bool = True) -> None:
        if number == self._chosen:
            return
        self._chosen = number
        self.canvas.choose(number, show=show)
        self._show_status()
        if number is not None:
            self._explain_soon()

    def _on_key(self, event: "tk.Event[Any]") -> None:
        if self._chosen is None or event.char not in set("0123456789"):
            return
        if event.char:
            self.correct(self._chosen, int(event.char))

    def correct(self, index: int, label: int) -> None:
        """Record what a digit should have been read as."""
        if not self.session.is_settled:
            self.say("Wait until it is read.")
            return
        before = self.session.drawn
        self.session.correct(index, label)
        self._note(before)
        self._show_reading()
        self._show_tools()

    def _note(self, before: Drawn) -> None:
        """Keep new corrections and drop undone ones."""
        after = self.session.drawn.corrections
        try:
            new = self._sync.follow(before.corrections, after)
        except (DataError, OSError) as error:
            self.say(str(error))
            return
        for correction in new:
            index = self.session.digit_of(correction)
            if index is not None and self.session.is_settled:
                drawing = self.session.drawing
                self.worker.ask(
                    Single(self.session.revision, drawing, index, correction)
                )
                self._look_now()

    def _keep(self, singled: Singled) -> None:
        """Keep a correction whose ink has arrived."""
        try:
            kept = self._sync.keep(singled)
            count = len(self._sync.corrections)
        except (DataError, OSError) as error:
            self.say(str(error))
            return
        if kept:
            many = "1 correction is" if count == 1 else f"{count} corrections are"
            self.say(f"{many} kept. The menu Learn teaches the network.")

    def _on_brush(self, value: str) -> None:
        self.session.pen_width = round(float(value), 1)
        self._show_dot()

    def _show_dot(self) -> None:
        """Show the pen's width beside its slider."""
        side = self._px(THICKEST)
        pen = self.session.pen_width * self._pixel
        share = draw([np.full((1, 2), side / 2)], [pen], (side, side))[..., None]
        theme = THEMES[self.settings.theme]
        ground, ink = (
            np.array(self.root.winfo_rgb(colour)) / 257
            for colour in (theme.ground, theme.ink)
        )
        colours = np.rint(ground + share * (ink - ground)).astype(np.uint8)
        picture = Image.fromarray(colours)
        self._dot_photo = ImageTk.PhotoImage(picture, master=self._dot)
        self._dot.configure(image=str(self._dot_photo))

    def undo(self) -> None:
        """Undo a step."""
        before = self.session.drawn
        self._step(self.session.undo(), before)

    def redo(self) -> None:
        """Redo a step."""
        before = self.session.drawn
        self._step(self.session.redo(), before)

    def _step(self, kind: str, before: Drawn) -> None:
        if kind == "correction":
            self._note(before)
            self._show_reading()
            self._show_tools()
        elif kind:
            self._show_all()

    def clear(self) -> None:
        """Clear the canvas."""
        if self.session.clear():
            self._show_all()

    def _show_all(self) -> None:
        """Show and read the canvas as it is now."""
        self.canvas.show_ink()
        self._show_reading()
        self._show_tools()
        self._ask_reading()

    def copy(self) -> None:
        """Copy the selected part of the number, or all of it."""
        text = self.statusbar.selected() or self.session.reading.text
        if text:
            self.root.clipboard_clear()
            self.root.clipboard_append(text)
            self.say(f"Copied {' / '.join(text.splitlines())}")
        else:
            self.say("There is no number to copy yet.")

    def open_file(self) -> None:
        """Ask for a picture or a drawing and open it."""
        name = filedialog.askopenfilename(parent=self.root, filetypes=FILES)
        if name:
            self.open_path(Path(name))

    def open_path(self, path: Path) -> None:
        """Open a picture or a drawing."""
        if path.suffix.lower() != ".json":
            self.worker.ask(Open(path.absolute()))
            self._look_now()
            self.say(f"Opening {path.name} …")
            return
        try:
            self.session.put(load_strokes(path))
        except StrokesError as error:
            # The full path leaves no room for the reason.
            self.say(str(error).replace(str(path), path.name))
            return
        self._show_all()
        self.say(f"{path.name} is open.")

    def paste(self) -> None:
        """Open the picture in the clipboard."""
        if self._pasted is None:
            self._pasted = tempfile.TemporaryDirectory(prefix="tinycnn-")
        self.worker.ask(Paste(Path(self._pasted.name)))
        self._look_now()

    def save(self) -> None:
        """Save the drawing: the strokes as JSON, or their picture as PNG."""
        name = filedialog.asksaveasfilename(
            parent=self.root,
            defaultextension=".png",
            initialfile="drawing.png",
            filetypes=(("Picture", "*.png"), ("Strokes", "*.json")),
        )
        if name:
            self.save_path(Path(name))

    def save_path(self, path: Path) -> None:
        """Save the drawing; the file's suffix selects the format."""
        strokes = self.session.strokes()
        if not strokes.points:
            self.say("There are no strokes to save; draw something first.")
            return
        try:
            if path.suffix.lower() == ".json":
                save_strokes(path, strokes)
            else:
                write_atomically(path, [_png(1 - strokes.draw())])
        except OSError as error:
            self.say(f"Cannot save ({error}); choose another folder.")
        else:
            self.say(f"Saved as {path.name}.")

    def save_annotated(self) -> None:
        """Ask for a file and save the picture with its boxes."""
        name = filedialog.asksaveasfilename(
            parent=self.root,
            defaultextension=".png",
            initialfile="read.png",
            filetypes=(("Picture", "*.png"),),
        )
        if name:
            self.annotate(Path(name))

    def annotate(self, path: Path) -> None:
        """Save the picture with its boxes."""
        if self.session.is_empty:
            self.say("There is nothing to save; draw something first.")
            return
        request = Annotate(self.session.drawing, self.session.reading, path.absolute())
        self.worker.ask(request)
        self._look_now()

    # --- fine-tuning ---------------------------------------------------------------

    def learn(self) -> None:
        """Fine-tune the networks on all corrections, in a process of its own."""
        if self._finetuning is not None:
            self.say("Learning is already under way.")
            return
        if not self._may_reload:
            self.say("Learning trains the shipped networks; start without --weights.")
            return
        try:
            count = len(self._sync.corrections)
        except DataError as error:
            self.say(str(error))
            return
        if count == 0:
            self.say("Correct a digit first: click its box and press the right key.")
            return
        self._finetuning = FineTuning(self._sync.corrections.folder, self._log)
        self.statusbar.show_progress(0)
        self.say("Learning from your corrections. You can go on drawing.")

    def stop_learning(self) -> None:
        """Stop the fine-tuning; the weights stay as they are."""
        if self._finetuning is None:
            self.say("No learning is under way.")
            return
        self._finetuning.close()
        self._finetuning = None
        self.statusbar.show_progress(None)
        self.say("Learning stopped; nothing has changed.")

    def _on_finetuning(self, finetuning: FineTuning) -> None:
        for reply in finetuning.poll():
            if isinstance(reply, float):
                self.statusbar.show_progress(reply)
                continue
            finetuning.close()
            self._finetuning = None
            self.statusbar.show_progress(None)
            if isinstance(reply, Failed):
                self._on_reply(reply)
            else:
                self._reload()
                self.say(reply.sentence, stays=True)

    def unlearn(self) -> None:
        """Go back to the fine-tuned weights before, or to the shipped ones."""
        try:
            undone = finetuned.undo()
        except OSError as error:
            self.say(f"Cannot undo ({error}); check the folder's permissions.")
            return
        if undone:
            self._reload()
            self.say("The last learning is undone; your corrections are kept.")
        else:
            self.say("Nothing has been learned.")

    def _reload(self) -> None:
        """Read with the weights now in use."""
        if self._may_reload:
            self.worker.ask(Reload(finetuned_weights(finetuned.latest())))
            self._look_now()

    # --- appearance ----------------------------------------------------------------

    def toggle_panel(self) -> None:
        """Show or hide the panel."""
        shown = bool(self.panel.winfo_manager())
        self.settings.panel = not shown
        self._see.state(["!alternate" if shown else "alternate"])
        if shown:
            self.panel.grid_forget()
            self._divider.grid_forget()
            self.canvas.mark(())
        else:
            self._divider.grid(row=1, column=1, sticky="ns")
            self.panel.grid(row=1, column=2, sticky="ns")
            self._explained = None
            self._explain_soon()

    def toggle_theme(self) -> None:
        """Switch between light and dark."""
        self.set_theme("dark" if self.settings.theme == "light" else "light")

    def set_theme(self, name: str) -> None:
        """Apply a theme."""
        self.settings.theme = name
        theme = THEMES[name]
        apply_theme(self.root, theme, self._fonts, self._pixel)
        apply_menu_theme(self._menu, theme)
        self.statusbar.set_theme(theme)
        self._show_dot()
        self.panel.set_theme(theme)
        self.canvas.set_theme(theme)
        self._show_number()
        self._show_tools()

    def _show_tools(self) -> None:
        for button, usable in (
            (self._undo, self.session.can_undo),
            (self._redo, self.session.can_redo),
            (self._clear, not self.session.is_empty),
        ):
            state = "normal" if usable else "disabled"
            if str(button.cget("state")) != state:
                button.configure(state=state)

    def say(self, message: str, *, stays: bool = False) -> None:
        """Show a message in the status line, for a while or until the next stroke."""
        self.statusbar.say(message, stays=stays)
        self._show_status()

    def _show_status(self) -> None:
        self.statusbar.show_status(self._status_text())

    def _status_text(self) -> str:
        if self.statusbar.message:
            return self.statusbar.message
        if self._chosen is not None:
            return "Press the right digit, 0 to 9. Escape cancels."
        if not self.worker.is_ready:
            if time.monotonic() - self._began < PATIENCE or self.worker.starts > 1:
                return "Warming up. You can draw already."
            return (
                "Warming up: kernels are compiled, the first time only. "
                "You can draw already."
            )
        digits = self.session.reading.digits
        if not digits:
            return "Ready." if self.session.is_empty else "No digits found yet."
        refused = sum(digit.digit is None for digit in digits)
        mine = self._mine()
        unsure = sum(
            d.digit is not None and d.confidence < SURE and d not in mine
            for d in digits
        )
        read = len(digits) - refused
        parts = [f"{read} digit{'s' * (read != 1)}"]
        parts += [f"{unsure} unsure"] if unsure else []
        parts += [f"{refused} refused"] if refused else []
        hint = "Click a box to correct it." if unsure or refused else ""
        return f"{', '.join(parts)}.  {hint}".strip()

    def show_help(self) -> None:
        """List all actions in a window of its own."""
        theme = THEMES[self.settings.theme]
        show_help(self.root, self._shortcuts.values(), theme, self._pixel)


def _png(grey: NDArray[np.float32]) -> bytes:
    """Return a PNG file of grey values in [0, 1]."""
    content = io.BytesIO()
    Image.fromarray(np.rint(255 * grey).astype(np.uint8)).save(content, "PNG")
    return content.getvalue()
