"""The bar below the canvas: the number read, a status line, a progress bar."""

import tkinter as tk
from collections.abc import Callable, Collection
from tkinter import ttk

from tinycnn.reading.result import Digit, Reading
from tinycnn.window.canvas import SURE
from tinycnn.window.theme import Fonts, Theme

LARGE_LINES, LARGE_DIGITS = 2, 24  # in the largest type; more are shown smaller
MOST_LINES = 4  # visible at once
SHORTLY = 6000  # milliseconds that a message is shown


class StatusBar(ttk.Frame):
    """The status bar.

    Parameters
    ----------
    parent : tk.Misc
    fonts : Fonts
    pixel : float
        Screen pixels a unit.
    copy : function
        The action of the Copy button.
    expired : function
        Called when a message has been shown long enough.

    Attributes
    ----------
    number : tk.Text
        The number read; selectable, not editable.
    status : ttk.Label
    progress : ttk.Progressbar
    message : str
        The current message, or empty.
    """

    def __init__(
        self,
        parent: tk.Misc,
        fonts: Fonts,
        pixel: float,
        copy: Callable[[], None],
        expired: Callable[[], None],
    ) -> None:
        super().__init__(parent)
        self._fonts, self._expired = fonts, expired
        self.message = ""
        self._later: str | None = None
        self._status_shown = "", 0  # the full text, and the width for it

        def px(units: float) -> int:
            return max(round(units * pixel), 1)

        ttk.Frame(self, style="Line.TFrame", height=1).pack(fill="x")
        row = ttk.Frame(self)
        row.pack(fill="x", padx=px(16), pady=(px(6), 0))
        self._copy = ttk.Button(row, text="Copy", command=copy, takefocus=False)
        self._copy.pack(side="right", anchor="n", pady=px(8))
        self.number = tk.Text(
            row,
            height=1,
            width=1,
            wrap="char",
            borderwidth=0,
            highlightthickness=0,
            state="disabled",
            cursor="xterm",
            font=fonts.number,
        )
        self.number.pack(side="left", fill="x", expand=True)
        # Disabled text can be selected only while it has the focus.
        self.number.bind("<Button-1>", lambda _: self.number.focus_set(), add=True)
        line = ttk.Frame(self)
        line.pack(fill="x", padx=px(16), pady=(0, px(8)))
        self.progress = ttk.Progressbar(line, length=px(160))
        self.status = ttk.Label(line, style="Faint.TLabel", anchor="w")
        self.status.pack(side="left", fill="x", expand=True)

    def set_theme(self, theme: Theme) -> None:
        """Apply a theme."""
        self.number.configure(
            background=theme.ground,
            foreground=theme.text,
            selectbackground=theme.sure,
            selectforeground=theme.paper,
            inactiveselectbackground=theme.sure,
        )
        self.number.tag_configure("doubtful", foreground=theme.doubtful)
        self.number.tag_configure("refused", foreground=theme.refused)

    def show(self, reading: Reading, corrected: Collection[Digit]) -> None:
        """Show a reading line by line, unsure and refused digits in their colours."""
        lines, number = reading.lines, self.number
        large = len(lines) <= LARGE_LINES
        large = large and all(len(line) <= LARGE_DIGITS for line in lines)
        number.configure(
            state="normal",
            height=min(max(len(lines), 1), MOST_LINES),
            font=self._fonts.number if large else self._fonts.medium,
        )
        number.delete("1.0", "end")
        for row, line in enumerate(lines):
            if row:
                number.insert("end", "\n")
            for digit in line:
                sure = digit.confidence >= SURE or digit in corrected
                name = "refused" if digit.digit is None else "" if sure else "doubtful"
                number.insert("end", digit.label, name)
        number.configure(state="disabled")
        self._copy.configure(state="normal" if lines else "disabled")

    def selected(self) -> str:
        """Return the selected part of the number."""
        ranges = self.number.tag_ranges("sel")
        return self.number.get(ranges[0], ranges[1]) if ranges else ""

    def say(self, message: str, *, stays: bool = False) -> None:
        """Show a message for a while, or until the next one."""
        self.forget()
        self.message = message
        if not stays:
            self._later = self.after(SHORTLY, self._forget_later)

    def is_to_stay(self) -> bool:
        """Return whether the current message has no time limit."""
        return bool(self.message) and self._later is None

    def forget(self) -> None:
        """Drop the current message."""
        if self._later is not None:
            self.after_cancel(self._later)
            self._later = None
        self.message = ""

    def _forget_later(self) -> None:
        self._later = None
        self.forget()
        self._expired()

    def show_status(self, text: str) -> None:
        """Show a status line; the middle of a long one is elided."""
        shown = text, self.status.winfo_width()
        if shown != self._status_shown:
            self._status_shown = shown
            measure = self._fonts.plain.measure
            # A label is a few pixels wider than its text.
            border = self.status.winfo_reqwidth() - measure(self.status.cget("text"))
            self.status.configure(text=elided(text, shown[1] - border, measure))

    def show_progress(self, share: float | None) -> None:
        """Show the share of work done, 0 to 1; None hides the bar."""
        if share is None:
            self.progress.pack_forget()
            return
        self.progress.configure(value=100 * share)
        if not self.progress.winfo_manager():
            self.progress.pack(side="right")


def elided(text: str, room: int, measure: Callable[[str], int]) -> str:
    """Return a line, its middle elided if it is too long.

    Parameters
    ----------
    text : str
    room : int
        Width for the line, in pixels.
    measure : function
        Returns the width of a text in pixels.
    """
    if measure(text) <= room:
        return text
    for kept in range(len(text), 1, -1):
        head = kept // 2
        short = f"{text[:head].rstrip()} … {text[head - kept :].lstrip()}"
        if measure(short) <= room:
            return short
    return text
