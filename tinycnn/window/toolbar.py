"""The toolbar: buttons of the commonest actions, and the width of the pen."""

from functools import partial
from tkinter import ttk
from typing import Any

import numpy as np
from PIL import Image, ImageTk

from tinycnn.ink.strokes import draw
from tinycnn.window.actions import Tooltip
from tinycnn.window.settings import THICKEST, THINNEST
from tinycnn.window.theme import THEMES, Look

SHORT = {"What the network sees": "Network", "Open…": "Open"}  # labels of buttons
SEVEN = np.array([[9.0, 10], [23, 10], [14, 24]])  # on the icon, 32 pixels a side


class Toolbar(ttk.Frame):
    """The toolbar."""

    def __init__(self, window: Any) -> None:
        super().__init__(window.root)
        self._window, self._look = window, window.look
        px, width = self._look.px, window.session.pen_width
        bar = ttk.Frame(self, padding=(px(10), px(6)))
        bar.pack(fill="x")
        self.buttons: dict[str, ttk.Button] = {}

        def button(label: str, side: Any = "left") -> None:
            do = partial(window.menus.do, label)
            made = ttk.Button(bar, text=SHORT.get(label, label), command=do)
            made.pack(side=side, padx=px(2))
            Tooltip(made, f"{label} ({window.menus.actions[label].shown})")
            self.buttons[label] = made

        for label in ("Undo", "Redo", "Clear", "Eraser"):
            button(label)
        ttk.Label(bar, text="Pen", style="Faint.TLabel").pack(side="left", padx=px(6))
        pen = ttk.Scale(bar, from_=THINNEST, to=THICKEST, value=width, length=px(80))
        pen.configure(command=self._on_pen)
        pen.pack(side="left")
        Tooltip(pen, "Width of the pen")
        self._dot = ttk.Label(bar)
        self._dot.pack(side="left", padx=px(6))
        button("What the network sees", "right")
        button("Open…", "right")
        ttk.Frame(self, style="Line.TFrame", height=1).pack(fill="x")

    def set_theme(self) -> None:
        """Apply the theme."""
        self._on_pen(str(self._window.session.pen_width))

    def show(self) -> None:
        """Let the buttons be as usable as their actions, and show what is on."""
        on = {"Eraser": self._window.canvas.erases}
        on["What the network sees"] = self._window.settings.panel
        for label, button in self.buttons.items():
            usable = "!disabled" if self._window.menus.can(label) else "disabled"
            button.state([usable, "alternate" if on.get(label) else "!alternate"])

    def _on_pen(self, value: str) -> None:
        """Set the pen's width and show it beside its slider."""
        self._window.session.pen_width = round(float(value), 1)
        look, side = self._look, self._look.px(THICKEST)
        pen = self._window.session.pen_width * look.pixel
        share = draw([np.full((1, 2), side / 2)], [pen], (side, side))
        dot = Image.fromarray(look.mixed(share, look.theme.ground, look.theme.ink))
        self._photo = ImageTk.PhotoImage(dot, master=self)
        self._dot.configure(image=str(self._photo))


def icon(look: Look) -> Image.Image:
    """Return the icon of the window: a 7 in its box."""
    theme = THEMES["light"]
    pixels = look.mixed(draw([SEVEN], [3.0], (32, 32)), theme.paper, theme.ink)
    for side in ((2, 3), (28, 29)):
        pixels[side, 2:30] = pixels[2:30, side] = look.rgb(theme.sure)
    return Image.fromarray(pixels).resize((64, 64))
