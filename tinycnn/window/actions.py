"""The actions of the window: menus and shortcuts.

``actions.txt`` has a line an action: menu, label with & before the letter that chooses
it there, keys (- is none), the method of `Window` or of one of its parts, and when it
can be used; two spaces part them.
"""

import re
import sys
import tkinter as tk
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tkinter import messagebox
from typing import Any, NamedTuple

import tinycnn
from tinycnn.finetune import learned

MAC = sys.platform == "darwin"
CONTROL = "Command" if MAC else "Control"
MODIFIERS = 0x4 | (0x20000 if sys.platform == "win32" else 0x8)  # Ctrl, Alt
TABLE = Path(__file__).with_suffix(".txt")
USABLE: dict[str, Callable[[Any], bool]] = {
    "": lambda _: True,
    "drawn": lambda window: not window.session.is_empty,
    "read": lambda window: window.session.reading.text != "",
    "chosen": lambda window: window.correcting.chosen != [],
    "one": lambda window: len(window.correcting.chosen) == 1,
    "next": lambda window: window.correcting.has_next,
    "undo": lambda window: window.session.can_step(-1),
    "redo": lambda window: window.session.can_step(1),
    "taught": lambda window: window.finetuning.is_possible and window.correcting.store,
    "learned": lambda window: window.finetuning.is_possible and learned().exists(),
    "learning": lambda window: window.finetuning.process is not None,
    "broken": lambda window: window.panel.breaking.is_changed,
}


class Action(NamedTuple):
    """Something to do: what its menu says, and its keys."""

    menu: str
    label: str
    keys: str
    method: str
    when: str = ""

    @property
    def shown(self) -> str:
        """The keys as this system shows them."""
        return self.keys.strip("-").replace("Ctrl+", "⌘" if MAC else "Ctrl+")

    @property
    def events(self) -> list[str]:
        """Tk's names of the keys; of a letter both cases, as Caps Lock makes both."""
        *held, key = self.keys.replace("Ctrl", CONTROL).split("+")
        forms = {key.lower(), key.upper()} if len(key) == 1 else {key}
        return [f"<{'-'.join([*held, form])}>" for form in sorted(forms - {"-"})]


class Menus:
    """The menu bar, and the keys. What cannot be used is grey, and its keys do nothing.

    `actions` are all actions by their labels.
    """

    def __init__(self, window: Any) -> None:
        self._window = window
        self.bar = tk.Menu(window.root, tearoff=False, borderwidth=0)
        self.menus: dict[str, tk.Menu] = {}
        self.actions: dict[str, Action] = {}
        for line in TABLE.read_text("utf-8").splitlines():
            menu, label, *others = re.split("  +", line)
            action = Action(menu, label.replace("&", ""), *others)
            self._add(action, label.index("&"))
            for event in action.events:
                window.root.bind(event, partial(self._on_key, action.label, event))
        window.root.configure(menu=self.bar)

    def can(self, label: str) -> bool:
        """Return whether an action can be used now."""
        return bool(USABLE[self.actions[label].when](self._window))

    def do(self, label: str) -> None:
        """Do an action, if it can be used."""
        if self.can(label):
            method = self._window
            for name in self.actions[label].method.split("."):
                method = getattr(method, name)
            method()

    def help(self) -> None:
        """List all actions with keys, and what the pointer does."""
        lines = [TABLE.with_name("help.txt").read_text("utf-8")]
        for menu in self.menus:
            of_menu = [a for a in self.actions.values() if a.menu == menu and a.shown]
            keys = ", ".join(f"{a.label} ({a.shown})" for a in of_menu)
            lines.append(f"{menu}: {keys}")
        self._tell("Help", "\n".join(lines))

    def about(self) -> None:
        """Show name and version."""
        what = "A convolutional network that reads digits; MIT licence."
        self._tell(f"tinycnn {tinycnn.__version__}", what)

    def _tell(self, title: str, text: str) -> None:
        messagebox.showinfo("tinycnn", title, detail=text, parent=self._window.root)

    def refresh(self) -> None:
        """Make what cannot be used now grey."""
        for action in self.actions.values():
            state: Any = "normal" if self.can(action.label) else "disabled"
            self.menus[action.menu].entryconfigure(action.label, state=state)

    def _add(self, action: Action, letter: int) -> None:
        if action.menu not in self.menus:
            menu = tk.Menu(self.bar, tearoff=False, postcommand=self.refresh)
            self.menus[action.menu] = menu
            self.bar.add_cascade(label=action.menu, menu=menu, underline=0)
        menu, label = self.menus[action.menu], action.label
        keys, do = action.shown, partial(self.do, label)
        menu.add_command(label=label, accelerator=keys, command=do, underline=letter)
        self.actions[label] = action

    def _on_key(self, label: str, pattern: str, event: Any) -> str:
        if "-" in pattern or not event.state & MODIFIERS:  # Tk takes Ctrl+N for N
            self.do(label)
        return "break"
