"""Two colour themes for the window and its ttk widgets.

The colours of boxes are from the palette of Okabe and Ito, which is safe for colour
blindness: blue is sure, vermilion or orange unsure, grey refused. Line style and
numbers repeat the colour coding.
"""

import tkinter as tk
from dataclasses import dataclass
from tkinter import font as tkfont
from tkinter import ttk


@dataclass(frozen=True)
class Theme:
    """A palette.

    Attributes
    ----------
    ground, raised, line : str
        Window background, buttons, separators.
    paper, ink : str
        Canvas background, strokes.
    text, faint, disabled : str
        Text, secondary text, disabled controls.
    sure, doubtful, refused : str
        Boxes.
    fires : str
        Regions where a feature is active.
    """

    ground: str
    raised: str
    line: str
    paper: str
    ink: str
    text: str
    faint: str
    disabled: str
    sure: str
    doubtful: str
    refused: str
    fires: str


THEMES = {
    "light": Theme(
        ground="#f3f4f6",
        raised="#e6e9ed",
        line="#d5d9df",
        paper="#ffffff",
        ink="#15181d",
        text="#1b1f24",
        faint="#5d6673",
        disabled="#a4acb7",
        sure="#0072b2",
        doubtful="#c44f00",
        refused="#6b7280",
        fires="#b0568a",
    ),
    "dark": Theme(
        ground="#16191d",
        raised="#262b32",
        line="#333a43",
        paper="#1e2227",
        ink="#f4f6f8",
        text="#eef1f4",
        faint="#9aa5b3",
        disabled="#5c6672",
        sure="#56b4e9",
        doubtful="#e69f00",
        refused="#9aa0a6",
        fires="#cc79a7",
    ),
}


@dataclass(frozen=True)
class Fonts:
    """The fonts; sizes in points, so that they scale with the screen's density."""

    small: tkfont.Font
    plain: tkfont.Font
    strong: tkfont.Font
    title: tkfont.Font
    medium: tkfont.Font
    number: tkfont.Font


def make_fonts(root: tk.Misc) -> Fonts:
    """Return the fonts, in the system's default family."""
    family = tkfont.nametofont("TkDefaultFont", root).actual("family")

    def font(size: int, weight: str = "normal") -> tkfont.Font:
        return tkfont.Font(root, family=family, size=size, weight=weight)  # type: ignore[arg-type]

    return Fonts(
        small=font(8),
        plain=font(10),
        strong=font(12, "bold"),
        title=font(10, "bold"),
        medium=font(18, "bold"),
        number=font(30, "bold"),
    )


def apply_theme(root: tk.Misc, theme: Theme, fonts: Fonts, pixel: float) -> None:
    """Apply a theme to every ttk widget.

    Parameters
    ----------
    root : tk.Misc
    theme : Theme
    fonts : Fonts
    pixel : float
        Screen pixels per canvas unit.
    """

    def px(units: float) -> int:
        return max(round(units * pixel), 1)

    style = ttk.Style(root)
    style.theme_use("clam")
    style.configure(
        ".",
        background=theme.ground,
        foreground=theme.text,
        font=fonts.plain,
        bordercolor=theme.line,
        lightcolor=theme.ground,
        darkcolor=theme.ground,
        troughcolor=theme.raised,
        focuscolor=theme.sure,
        selectbackground=theme.sure,
        selectforeground=theme.paper,
    )
    style.configure(
        "TButton",
        background=theme.raised,
        lightcolor=theme.raised,
        darkcolor=theme.raised,
        bordercolor=theme.raised,
        relief="flat",
        width=0,
        padding=(px(14), px(6)),
    )
    style.map(
        "TButton",
        background=[
            ("disabled", theme.ground),
            ("active", theme.line),
            ("alternate", theme.line),  # switched on
        ],
        foreground=[("disabled", theme.disabled)],
        bordercolor=[("focus", theme.sure), ("disabled", theme.ground)],
        lightcolor=[("active", theme.line), ("disabled", theme.ground)],
        darkcolor=[("active", theme.line), ("disabled", theme.ground)],
    )
    style.configure("Fold.TButton", background=theme.ground, anchor="w")
    style.configure(
        "Fold.TButton",
        lightcolor=theme.ground,
        darkcolor=theme.ground,
        bordercolor=theme.ground,
        font=fonts.title,
        padding=(px(2), px(5)),
    )
    style.configure("Faint.TLabel", foreground=theme.faint)
    style.configure("Small.TLabel", foreground=theme.faint, font=fonts.small)
    style.configure("Strong.TLabel", font=fonts.strong)
    style.configure("Line.TFrame", background=theme.line)
    style.configure(
        "Horizontal.TScale",
        background=theme.text,
        lightcolor=theme.text,
        darkcolor=theme.text,
        bordercolor=theme.ground,
        troughcolor=theme.raised,
        sliderlength=px(14),
        gripcount=0,
    )
    style.map("Horizontal.TScale", background=[("active", theme.sure)])
    style.configure(
        "TScrollbar",
        background=theme.raised,
        lightcolor=theme.raised,
        darkcolor=theme.raised,
        bordercolor=theme.ground,
        troughcolor=theme.ground,
        arrowcolor=theme.faint,
        arrowsize=px(12),
        gripcount=0,
    )
    style.map("TScrollbar", background=[("active", theme.line)])
    style.configure(
        "Horizontal.TProgressbar",
        background=theme.sure,
        lightcolor=theme.sure,
        darkcolor=theme.sure,
        bordercolor=theme.raised,
        troughcolor=theme.raised,
        thickness=px(8),
    )
    root.winfo_toplevel().configure(background=theme.ground)


def apply_menu_theme(menu: tk.Menu, theme: Theme) -> None:
    """Apply a theme to a menu and its submenus, where the system allows it."""
    menu.configure(
        background=theme.ground,
        foreground=theme.text,
        activebackground=theme.sure,
        activeforeground=theme.paper,
        disabledforeground=theme.disabled,
        selectcolor=theme.text,
        borderwidth=0,
        relief="flat",
        activeborderwidth=0,
    )
    for below in menu.winfo_children():
        if isinstance(below, tk.Menu):
            apply_menu_theme(below, theme)
