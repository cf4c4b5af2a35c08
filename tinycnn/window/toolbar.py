"""The toolbar: buttons of the commonest actions, and the width of the pen."""

from functools import partial
from tkinter import ttk
from typing import Any

from tinycnn.window.settings import THICKEST, THINNEST

SHORT = {"What the network sees": "Network", "Open…": "Open"}  # labels of buttons
DELAY = 600  # milliseconds until a tooltip is shown


class Toolbar(ttk.Frame):
    """The toolbar."""

    def __init__(self, window: Any) -> None:
        super().__init__(window.root)
        self._window, px = window, window.look.px
        bar = ttk.Frame(self, padding=(px(10), px(6)))
        bar.pack(fill="x")
        self.tip = ttk.Label(window.root, style="Tip.TLabel", padding=px(4))
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
        ttk.Label(bar, text="Pen", style="Faint.TLabel").pack(side="left", padx=px(6))
        pen = ttk.Scale(bar, from_=THINNEST, to=THICKEST, length=px(100))
        pen.configure(value=window.session.pen_width, command=self._on_pen)
        pen.pack(side="left")
        self._add_tip(pen, "Width of the pen", "left")
        button("What the network sees", "right")
        button("Open…", "right")
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
