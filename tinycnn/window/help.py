"""Keyboard shortcuts, and the window that lists them with the mouse actions."""

import sys
import tkinter as tk
from collections.abc import Callable, Collection
from tkinter import ttk
from typing import NamedTuple

from tinycnn.window.theme import Theme

MAC = sys.platform == "darwin"
KEY, SHOWN = ("Command", "⌘") if MAC else ("Control", "Ctrl+")
BY_HAND = (
    ("Draw", "Left button, pen or finger"),
    ("Erase strokes", "Right button"),
    ("Correct a digit", "Click its box, press 0 to 9"),
)
BOXES = (
    "A solid box: 95 % sure or more. Dashed: less. Dotted: less than 75 %.\n"
    "Grey and dashed with a question mark: the size of a digit, but not one."
)


class Shortcut(NamedTuple):
    """A key and its action."""

    keys: str  # as shown
    events: tuple[str, ...]  # Tk's names
    does: str
    action: Callable[[], None]


def with_control(letter: str, does: str, action: Callable[[], None]) -> Shortcut:
    """Return the shortcut of a letter with Ctrl, on a Mac with Command."""
    events = f"<{KEY}-{letter.lower()}>", f"<{KEY}-{letter.upper()}>"
    return Shortcut(f"{SHOWN}{letter}", events, does, action)


def show_help(
    root: tk.Tk, shortcuts: Collection[Shortcut], theme: Theme, pixel: float
) -> None:
    """List all actions in a window of its own, which replaces an earlier one.

    Parameters
    ----------
    root : tk.Tk
    shortcuts : collection of Shortcut
    theme : Theme
    pixel : float
        Screen pixels a unit.
    """

    def px(units: float) -> int:
        return max(round(units * pixel), 1)

    for child in root.winfo_children():
        if isinstance(child, tk.Toplevel):
            child.destroy()
    window = tk.Toplevel(root)
    window.title("Help")
    window.transient(root)
    window.resizable(False, False)
    window.configure(
        background=theme.ground,
        highlightthickness=1,
        highlightbackground=theme.line,
        highlightcolor=theme.line,
    )
    frame = ttk.Frame(window)
    frame.pack(padx=px(24), pady=px(20))
    rows = [*BY_HAND, *((shortcut.does, shortcut.keys) for shortcut in shortcuts)]
    for row, (does, keys) in enumerate(rows):
        ttk.Label(frame, text=does).grid(row=row, column=0, sticky="w")
        ttk.Label(frame, text=keys, style="Faint.TLabel").grid(
            row=row, column=1, sticky="w", padx=(px(28), 0), pady=px(3)
        )
    ttk.Label(frame, text=BOXES, style="Faint.TLabel").grid(
        row=len(rows), column=0, columnspan=2, sticky="w", pady=(px(14), 0)
    )
    x, y = root.winfo_rootx(), root.winfo_rooty()
    window.geometry(f"+{x + px(60)}+{y + px(40)}")
    for event in ("<Escape>", "<F1>"):
        window.bind(event, lambda _: window.destroy())
    window.focus_set()
