"""The bars: the toolbar above the canvas, number and status line below it."""

import tkinter as tk
from functools import partial
from tkinter import ttk
from typing import Any

from tinycnn.window.session import Session
from tinycnn.window.settings import THICKEST, THINNEST

SHORT = {"What the network sees": "Network", "Open…": "Open"}  # labels of buttons
DELAY = 600  # milliseconds until a tooltip is shown
ROOM = 22.0  # units above, between and below three lines of a number and the status


class Toolbar(ttk.Frame):
    """The toolbar."""

    def __init__(self, window: Any) -> None:
        super().__init__(window.root)
        self._window, px = window, window.look.px
        bar = ttk.Frame(self, padding=(px(10), px(6)))
        bar.pack(fill="x")
        self.tip = ttk.Label(window.root, relief="solid", padding=px(4))
        self._later = ""
        self.buttons: dict[str, ttk.Button] = {}

        def button(label: str, side: Any = "left") -> None:
            do = partial(window.menus.do, label)
            made = ttk.Button(bar, text=SHORT.get(label, label), command=do)
            made.pack(side=side, padx=px(2))
            self._add_tip(made, f"{label} ({window.menus.actions[label].shown})", side)
            self.buttons[label] = made

        for label in ("Undo", "Redo", "Clear", "Eraser"):
            button(label)
        ttk.Label(bar, text="Pen").pack(side="left", padx=px(6))
        pen = ttk.Scale(bar, from_=THINNEST, to=THICKEST, length=px(100))
        pen.configure(value=window.session.pen_width, command=self._on_pen)
        pen.pack(side="left")
        self._add_tip(pen, "Width of the pen", "left")
        button("What the network sees", "right")
        button("Open…", "right")
        self.buttons["What the network sees"].lift()  # the last that Tab reaches
        ttk.Frame(self, style="Line.TFrame", height=1).pack(fill="x")

    def show(self) -> None:
        """Let the buttons be as usable as their actions, and show what is on."""
        on = {"Eraser": self._window.canvas.erases}
        on["What the network sees"] = self._window.settings.panel
        for label, button in self.buttons.items():
            usable = "!disabled" if self._window.menus.can(label) else "disabled"
            button.state([usable, "alternate" if on.get(label) else "!alternate"])

    def _on_pen(self, value: str) -> None:
        self._window.session.pen_width = round(float(value), 1)

    def _add_tip(self, widget: ttk.Widget, text: str, side: str) -> None:
        """Show a line below a widget while the pointer rests on it."""
        right = side == "right"

        def show() -> None:
            self.tip.configure(text=text)
            edge: Any = "ne" if right else "nw"
            self.tip.place(in_=widget, relx=right, rely=1.0, y=4, anchor=edge)
            self.tip.lift()

        def plan(_: Any) -> None:
            self._later = self.after(DELAY, show)

        def hide(_: Any) -> None:
            self.after_cancel(self._later or "none")
            self.tip.place_forget()

        widget.bind("<Enter>", plan, add=True)
        for event in ("<Leave>", "<ButtonPress>", "<Destroy>"):
            widget.bind(event, hide, add=True)


class StatusBar(ttk.Frame):
    """The status bar."""

    def __init__(self, window: Any) -> None:
        px, fonts = window.look.px, window.look.fonts
        three, one = (f.metrics("linespace") for f in (fonts.strong, fonts.plain))
        super().__init__(window.root, height=3 * three + one + px(ROOM))
        self.pack_propagate(False)  # no message moves the canvas below a stroke
        self._window, self._look = window, window.look
        ttk.Frame(self, style="Line.TFrame", height=1).pack(fill="x")
        line = ttk.Frame(self, padding=(px(16), 0, px(16), px(6)))
        line.pack(side="bottom", fill="x")
        self._row = row = ttk.Frame(self, padding=(px(16), px(4)))
        row.pack(fill="both", expand=True)
        row.bind("<Configure>", lambda _: self.after_idle(self.show))
        self.copy_button = ttk.Button(row, text="Copy", command=self.copy)
        self.copy_button.pack(side="right", padx=(px(8), 0))
        # Selectable, not editable; it scrolls where it has more lines than fit.
        self.number = tk.Text(row, width=1, wrap="char", state="disabled", pady=0)
        self.number.configure(borderwidth=0, highlightthickness=0, takefocus=False)
        self._bar = ttk.Scrollbar(row, command=self.number.yview)
        self.number.configure(yscrollcommand=self._bar.set)
        self.number.pack(side="left", fill="x", expand=True)
        # Disabled text can be selected only while it has the focus.
        self.number.bind("<Button-1>", lambda _: self.number.focus_set(), add=True)
        self.progress = ttk.Progressbar(line, length=px(160))  # packed while learning
        self.status = ttk.Label(line, anchor="w", width=1)
        self.status.pack(side="left", fill="x", expand=True)
        wrap = self.status.configure  # a long message takes room from the number
        self.status.bind("<Configure>", lambda event: wrap(wraplength=event.width))

    def show(self) -> None:
        """Show the number, whole lines of it, and a scrollbar if it has more."""
        number, fonts = self.number, self._look.fonts
        text, wide = self._window.session.reading.text, number.winfo_width()
        room, large = self._row.winfo_height() - 2 * self._look.px(4), fonts.number
        fits = large.measure(text) < wide and large.metrics("linespace") <= room
        font = large if fits and "\n" not in text else fonts.strong
        height = max(room // font.metrics("linespace"), 1)
        number.configure(state="normal", font=font, height=height)
        number.delete("1.0", "end")
        number.insert("end", text)
        number.configure(state="disabled")
        number.see("end")
        self._bar.pack_forget()
        if sum(font.measure(line) // wide + 1 for line in text.splitlines()) > height:
            self._bar.pack(side="right", fill="y", before=number)
        self.copy_button.configure(state="normal" if text else "disabled")

    def copy(self) -> None:
        """Copy the selected part of the number, or all of it."""
        ranges = self.number.tag_ranges("sel")
        text = self.number.get(*ranges) if ranges else self._window.session.reading.text
        self.clipboard_clear()
        self.clipboard_append(text)
        self._window.say(f"Copied {' / '.join(text.splitlines())}")


def summary(session: Session) -> str:
    """Return how many digits were read, and how surely, in a sentence."""
    kinds = session.kinds()
    if not kinds:
        return "Ready." if session.is_empty else "No digits found yet."
    parts = [f"{len(kinds)} digit{'s' * (len(kinds) > 1)}"]
    unsure = [kind for kind in ("doubtful", "refused") if kind in kinds]
    parts += [f"{kinds.count(kind)} {kind}" for kind in unsure]
    return ", ".join(parts) + "." + "  Click a box to correct it." * bool(unsure)
