"""The actions of the window: menus, shortcuts, tooltips, the help that lists them."""

import sys
import tkinter as tk
from collections.abc import Callable
from functools import partial
from tkinter import ttk
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tinycnn.window.view import Window

MAC = sys.platform == "darwin"
CONTROL = "Command" if MAC else "Control"
DELAY = 600  # milliseconds until a tooltip is shown

# Menu, label, keys; the method of `Window` or of one of its parts; when it can be used.
ACTIONS = """
File     Open…                     Ctrl+O        documents.open
File     Paste a picture           Ctrl+V        documents.paste
File     Save…                     Ctrl+S        documents.save            drawn
File     Save with boxes…          -             documents.save_annotated  drawn
File     Quit                      Ctrl+Q        close
Edit     Undo                      Ctrl+Z        undo                      undo
Edit     Redo                      Ctrl+Shift+Z  redo                      redo
Edit     Clear                     Ctrl+Delete   clear                     drawn
Edit     Eraser                    F6            toggle_eraser
Edit     Copy the number           Ctrl+C        copy                      read
Correct  Choose the next digit     F7            correcting.walk           read
Correct  It is no digit            N             correcting.no_digit       chosen
Correct  It is two digits          T             correcting.two_digits     chosen
Correct  It and the next are one   J             correcting.one_with_next  chosen
Correct  Erase it                  Delete        delete                    drawn
Learn    Learn from my corrections -             finetuning.learn          idle
Learn    Stop learning             -             finetuning.stop           learning
Learn    Undo the last learning    -             finetuning.undo           idle
View     What the network sees     F2            toggle_panel
View     Light or dark             F3            toggle_theme
View     Put broken weights back   F4            panel.breaking.put_back
Help     Shortcuts                 F1            show_help
Help     About tinycnn             -             show_about
"""
COLUMNS = (0, 9, 35, 49, 75)
USABLE: dict[str, Callable[[Any], bool]] = {
    "": lambda _: True,
    "drawn": lambda w: not w.session.is_empty,
    "read": lambda w: bool(w.session.reading.text),
    "chosen": lambda w: bool(w.correcting.chosen),
    "undo": lambda w: w.session.can_step(-1),
    "redo": lambda w: w.session.can_step(1),
    "idle": lambda w: not w.finetuning.is_under_way,
    "learning": lambda w: w.finetuning.is_under_way,
}
HELP = """Draw: left button, pen or finger
Erase strokes: right button, or Eraser
Choose a digit: click it; Tab, ← and →
Choose two: click one, Shift and click
Correct the chosen digit: 0 to 9
A solid box: 95 % sure or more; dashed: less; dotted: less than 75 %
Grey, with a question mark: as large as a digit, but none"""


class Action(NamedTuple):
    """Something to do: what its menu says, and its keys."""

    menu: str
    label: str
    keys: str
    method: str
    when: str

    @property
    def shown(self) -> str:
        """The keys as this system shows them."""
        return self.keys.replace("Ctrl+", "⌘") if MAC else self.keys

    @property
    def events(self) -> list[str]:
        """Tk's names of the keys; of a letter both cases, as Caps Lock makes both."""
        *held, key = self.keys.replace("Ctrl", CONTROL).split("+")
        forms = {key.lower(), key.upper()} if len(key) == 1 else {key} - {""}
        return [f"<{'-'.join([*held, form])}>" for form in sorted(forms)]


class Menus:
    """The menu bar, and the keys. What cannot be used is grey, and its keys do nothing.

    `actions` are all actions by their labels.
    """

    def __init__(self, window: "Window") -> None:
        self._window = window
        self.bar = tk.Menu(window.root, tearoff=False)
        self.menus: dict[str, tk.Menu] = {}
        self.actions: dict[str, Action] = {}
        ends = (*COLUMNS[1:], None)
        for line in ACTIONS.strip().splitlines():
            cells = [line[a:b].strip() for a, b in zip(COLUMNS, ends, strict=True)]
            action = Action(*(cell if cell != "-" else "" for cell in cells))
            self.actions[action.label] = action
            self._add(action)
            for event in action.events:
                window.root.bind(event, partial(self._on_key, action.label))
        window.root.configure(menu=self.bar)

    def can(self, label: str) -> bool:
        """Return whether an action can be used now."""
        return USABLE[self.actions[label].when](self._window)

    def do(self, label: str) -> None:
        """Do an action, if it can be used."""
        if self.can(label):
            method: Any = self._window
            for name in self.actions[label].method.split("."):
                method = getattr(method, name)
            method()

    def refresh(self) -> None:
        """Make what cannot be used now grey."""
        for action in self.actions.values():
            state: Any = "normal" if self.can(action.label) else "disabled"
            self.menus[action.menu].entryconfigure(action.label, state=state)

    def set_theme(self) -> None:
        """Apply the theme, where the system allows it."""
        theme = self._window.look.theme
        for menu in (self.bar, *self.menus.values()):
            menu.configure(background=theme.ground, foreground=theme.text)
            menu.configure(activebackground=theme.sure, activeforeground=theme.paper)
            menu.configure(disabledforeground=theme.disabled, borderwidth=0)

    def _add(self, action: Action) -> None:
        if action.menu not in self.menus:
            menu = tk.Menu(self.bar, tearoff=False, postcommand=self.refresh)
            self.menus[action.menu] = menu
            self.bar.add_cascade(label=action.menu, menu=menu, underline=0)
        menu, letters = self.menus[action.menu], action.label.lower()
        labels = [a.label for a in self.actions.values() if a.menu == action.menu]
        taken = [
            label[int(menu.entrycget(label, "underline"))].lower()
            for label in labels[:-1]
        ]
        free = [n for n, c in enumerate(letters) if c.isalpha() and c not in taken]
        do = partial(self.do, action.label)
        menu.add_command(label=action.label, accelerator=action.shown, command=do)
        menu.entryconfigure("end", underline=free[0])

    def _on_key(self, label: str, _: Any) -> str:
        self.do(label)
        return "break"


class Tooltip:
    """A line about a widget, shown while the pointer rests on it."""

    def __init__(self, widget: tk.Widget, text: str) -> None:
        self._widget, self.text = widget, text
        self._later: str | None = None
        self._window: tk.Toplevel | None = None
        widget.bind("<Enter>", self._plan, add=True)
        for event in ("<Leave>", "<ButtonPress>", "<Destroy>"):
            widget.bind(event, self._hide, add=True)

    def _plan(self, _: Any) -> None:
        self._hide()
        self._later = self._widget.after(DELAY, self.show)

    def show(self) -> None:
        """Show the line now."""
        self._hide()
        self._window = window = tk.Toplevel(self._widget)
        window.overrideredirect(True)
        ttk.Label(window, text=self.text, style="Tip.TLabel", padding=4).pack()
        x, y = self._widget.winfo_rootx(), self._widget.winfo_rooty()
        x = min(x, window.winfo_screenwidth() - window.winfo_reqwidth())
        window.geometry(f"+{x}+{y + self._widget.winfo_height() + 4}")

    def _hide(self, _: Any = None) -> None:
        if self._later is not None:
            self._widget.after_cancel(self._later)
        if self._window is not None:
            self._window.destroy()
        self._later = self._window = None


def show_help(window: "Window") -> None:
    """List all actions in a window of its own, which replaces an earlier one."""
    for child in window.root.winfo_children():
        if isinstance(child, tk.Toplevel):
            child.destroy()
    px = window.look.px
    top = tk.Toplevel(window.root, background=window.look.theme.ground)
    top.title("Help")
    top.transient(window.root)
    frame = ttk.Frame(top, padding=px(20))
    frame.pack()
    rows = [(a.label, a.shown) for a in window.menus.actions.values() if a.keys]
    for number, (label, keys) in enumerate(rows):
        column, row = divmod(number, (len(rows) + 1) // 2)
        for k, (text, style) in enumerate(((label, "TLabel"), (keys, "Faint.TLabel"))):
            cell = ttk.Label(frame, text=text, style=style, padding=(0, 2, px(20), 2))
            cell.grid(row=row, column=2 * column + k, sticky="w")
    hints = ttk.Label(frame, text=HELP, style="Faint.TLabel")
    hints.grid(columnspan=4, sticky="w", pady=(px(12), 0))
    x, y = window.root.winfo_rootx(), window.root.winfo_rooty()
    top.geometry(f"+{x + px(20)}+{y + px(20)}")
    for event in ("<Escape>", "<F1>"):
        top.bind(event, lambda _: top.destroy())
    top.focus_set()
