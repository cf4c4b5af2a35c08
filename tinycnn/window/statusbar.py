"""The bar below the canvas: the number read, a status line, a progress bar."""

import tkinter as tk
from tkinter import ttk
from typing import Any

from tinycnn.window.session import Session

LARGE = 1, 24  # lines and digits a line that the large type can hold
HEIGHT = 60.0  # units of the number's part, however many lines it has


class StatusBar(ttk.Frame):
    """The status bar."""

    def __init__(self, window: Any) -> None:
        super().__init__(window.root)
        self._window, self._look = window, window.look
        px = self._look.px
        ttk.Frame(self, style="Line.TFrame", height=1).pack(fill="x")
        line = ttk.Frame(self, padding=(px(16), 0, px(16), px(6)))
        line.pack(side="bottom", fill="x")
        row = ttk.Frame(self, height=px(HEIGHT) + 2 * px(4), padding=(px(16), px(4)))
        row.pack(fill="x")
        row.pack_propagate(False)
        self.copy_button = ttk.Button(row, text="Copy", command=self.copy)
        self.copy_button.pack(side="right", padx=(px(8), 0))
        # Selectable, not editable; it scrolls where it has more lines than fit.
        self.number = tk.Text(row, width=1, wrap="char", state="disabled")
        self.number.configure(borderwidth=0, highlightthickness=0, takefocus=False)
        self._bar = ttk.Scrollbar(row, command=self.number.yview)
        self.number.configure(yscrollcommand=self._bar.set)
        self.number.pack(side="left", fill="both", expand=True)
        # Disabled text can be selected only while it has the focus.
        self.number.bind("<Button-1>", lambda _: self.number.focus_set(), add=True)
        self.progress = ttk.Progressbar(line, length=px(160))
        self.status = ttk.Label(line, style="Faint.TLabel", anchor="w", width=1)
        self.status.pack(side="left", fill="x", expand=True)

    def show(self) -> None:
        """Show the number."""
        number, fonts = self.number, self._look.fonts
        text = self._window.session.reading.text
        lines = text.split("\n")
        is_short = len(lines) <= LARGE[0] and max(map(len, lines)) <= LARGE[1]
        font = fonts.number if is_short else fonts.strong
        number.configure(state="normal", font=font)
        number.delete("1.0", "end")
        number.insert("end", text)
        number.configure(state="disabled")
        number.see("end")
        self._bar.pack_forget()
        if not is_short:
            self._bar.pack(side="right", fill="y", before=number)
        self.copy_button.configure(state="normal" if text else "disabled")

    def copy(self) -> None:
        """Copy the selected part of the number, or all of it."""
        ranges = self.number.tag_ranges("sel")
        text = self.number.get(*ranges) if ranges else self._window.session.reading.text
        self.clipboard_clear()
        self.clipboard_append(text)
        self._window.say(f"Copied {' / '.join(text.splitlines())}")

    def show_progress(self, share: float | None) -> None:
        """Show the share of work done, 0 to 1; None hides the bar."""
        if share is None:
            self.progress.pack_forget()
        else:
            self.progress.configure(value=100 * share)
            self.progress.pack(side="right")


def summary(session: Session) -> str:
    """Return how many digits were read, and how surely, in a sentence."""
    kinds = session.kinds()
    unsure, refused = kinds.count("doubtful"), kinds.count("refused")
    read = len(kinds) - refused
    parts = [f"{read} digit{'s' * (read != 1)}"]
    parts += [f"{unsure} unsure"] if unsure else []
    parts += [f"{refused} refused"] if refused else []
    hint = "  Click a box to correct it." if unsure or refused else ""
    text = f"{', '.join(parts)}.{hint}" if kinds else "No digits found yet."
    return "Ready." if session.is_empty else text
