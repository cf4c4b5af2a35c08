"""How the window looks: colour themes, fonts, the density of the screen.

The colours of boxes are from the palette of Okabe and Ito, which is safe for colour
blindness: blue is sure, vermilion or orange unsure, grey refused. Line style and
numbers repeat the colour coding. ``theme.txt`` has a line a colour.
"""

import tkinter as tk
from functools import partial
from pathlib import Path
from tkinter import font as tkfont
from tkinter import ttk
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

Theme = SimpleNamespace
ROOM = 600, 450  # units
TABLE = Path(__file__).with_suffix(".txt").read_text("utf-8")
ROWS = [line.split() for line in TABLE.splitlines()]
THEMES = {
    name: Theme(**{row[0]: row[column] for row in ROWS})
    for column, name in enumerate(("light", "dark"), start=1)
}


class Look:
    """Theme, fonts and density. A unit is a 96th of an inch, `pixel` screen pixels.

    It is less on a screen that has no room for `ROOM` units.
    """

    def __init__(self, root: tk.Tk) -> None:
        self.root = root
        screen = root.winfo_screenwidth(), root.winfo_screenheight()
        fits = min(side / units for side, units in zip(screen, ROOM, strict=True))
        self.pixel = min(root.winfo_fpixels("1p") * 0.75, fits)
        root.tk.call("tk", "scaling", self.pixel / 0.75)  # of fonts, too
        self.theme = THEMES["light"]
        family = tkfont.nametofont("TkDefaultFont", root).actual("family")
        font = partial(tkfont.Font, root, family=family)  # sizes in points, too
        bold = partial(font, weight="bold")
        self.fonts = SimpleNamespace(plain=font(size=10), title=bold(size=10))
        self.fonts.strong, self.fonts.number = bold(size=12), bold(size=30)

    def px(self, units: float) -> int:
        """Return units as screen pixels, at least 1."""
        return max(round(units * self.pixel), 1)

    def rgb(self, colour: str) -> NDArray[np.float64]:
        """Return red, green and blue of a colour, 0 to 255."""
        return np.array(self.root.winfo_rgb(colour)) / 257

    def set_theme(self, name: str) -> None:
        """Apply a theme to every ttk widget."""
        self.theme = theme = THEMES[name]
        plain = {"background": theme.ground, "foreground": theme.text}
        colours = {"activeBackground": theme.sure, "activeForeground": theme.paper}
        colours |= {"selectBackground": theme.sure, "selectForeground": theme.paper}
        # Of menus, of texts, and of lists that drop down.
        disabled = theme.disabled
        self.root.tk_setPalette(disabledForeground=disabled, **plain, **colours)
        self.root.option_add("*Canvas.foreground", "black")  # file dialogs are white
        self.root.option_add("*Dialog.dtl.wrapLength", "5i")
        px, style = self.px, ttk.Style(self.root)
        style.theme_use("clam")
        plain |= {"lightcolor": theme.raised, "darkcolor": theme.raised}
        plain |= {"troughcolor": theme.raised, "bordercolor": theme.line}
        plain |= {"fieldbackground": theme.paper, "insertcolor": theme.text}
        plain |= {"selectbackground": theme.sure, "selectforeground": theme.paper}
        plain |= {"focuscolor": theme.sure, "arrowcolor": theme.text}
        style.configure(".", font=self.fonts.plain, gripcount=0, **plain)
        style.configure(".", arrowsize=px(12), indicatorsize=px(12))
        style.map(".", foreground=[("disabled", theme.disabled)])
        for name, padding in (("TButton", px(11)), ("TNotebook.Tab", px(8))):
            style.configure(name, background=theme.raised, padding=(padding, px(5)))
        style.configure("TButton", width=0)
        style.configure("TCheckbutton", indicatorbackground=theme.paper)
        style.configure("TCheckbutton", indicatorforeground=theme.text)
        style.configure("Horizontal.TScale", background=theme.faint)
        style.configure("Horizontal.TProgressbar", background=theme.sure)
        states = [("disabled", theme.raised), ("selected", theme.ground)]
        states += [("active", theme.line), ("alternate", theme.line)]
        for name in ("TButton", "TScrollbar", "TNotebook.Tab", "TCombobox"):
            style.map(name, background=states, lightcolor=states, darkcolor=states)
        for name in ("TButton", "TNotebook.Tab", "TCombobox", "TEntry"):
            style.map(name, bordercolor=[("focus", theme.sure)])
        style.map("Horizontal.TScale", background=[("focus", theme.sure)])
        readonly = [("readonly", theme.paper)]
        style.map("TCombobox", fieldbackground=readonly, foreground=[])
        style.configure("Line.TFrame", background=theme.line)


def percent(share: float) -> str:
    """Return a probability in per cent; 100 only from 99.95 on."""
    return f"{min(int(100 * share + 0.5), 99 if share < 0.9995 else 100)} %"
