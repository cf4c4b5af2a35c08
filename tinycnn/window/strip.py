"""The strip below the sheet: the number in large type, a line of status, a bar.

It knows how a reading looks as text. It does not know where readings come from, nor
what else there is to be said.
"""

import tkinter as tk
from collections.abc import Callable, Collection
from tkinter import ttk

from tinycnn.reading.result import Digit, Reading
from tinycnn.window.canvas import SURE
from tinycnn.window.theme import Fonts, Theme

LARGE_LINES, LARGE_DIGITS = 2, 24  # in the largest type; more are shown smaller
MOST_LINES = 4  # are seen at once
SHORTLY = 6000  # milliseconds that a message is shown


class Strip(ttk.Frame):
    """The strip.

    Parameters
    ----------
    parent : tk.Misc
    fonts : Fonts
    pixel : float
        Pixels of the screen a unit.
    copy : function
        What the button does.
    unsaid : function
        Called when a message was shown long enough.

    Attributes
    ----------
    number : tk.Text
        What was read; it can be selected and not edited.
    status : ttk.Label
    progress : ttk.Progressbar
    message : str
        What is being said; empty if nothing is.
    """

    def __init__(
        self,
        parent: tk.Misc,
        fonts: Fonts,
        pixel: float,
        copy: Callable[[], None],
        unsaid: Callable[[], None],
    ) -> None:
        super().__init__(parent)
        self._fonts, self._unsaid = fonts, unsaid
        self.message = ""
        self._later: str | None = None
        self._status_shown = "", 0  # the whole text, and the room it had

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
        # Where text that cannot be edited has no focus, it cannot be selected either.
        self.number.bind("<Button-1>", lambda _: self.number.focus_set(), add=True)
        line = ttk.Frame(self)
        line.pack(fill="x", padx=px(16), pady=(0, px(8)))
        self.progress = ttk.Progressbar(line, length=px(160))
        self.status = ttk.Label(line, style="Faint.TLabel", anchor="w")
        self.status.pack(side="left", fill="x", expand=True)

    def set_theme(self, theme: Theme) -> None:
        """Take other colours."""
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
        """Show a number, line by line; what is unsure in its colour."""
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
        """Return what is selected of the number."""
        ranges = self.number.tag_ranges("sel")
        return self.number.get(ranges[0], ranges[1]) if ranges else ""

    def say(self, message: str, *, stays: bool = False) -> None:
        """Say something for a while, or until something else is said."""
        self.forget()
        self.message = message
        if not stays:
            self._later = self.after(SHORTLY, self._forget_later)

    def is_to_stay(self) -> bool:
        """Return whether what is being said was to stay."""
        return bool(self.message) and self._later is None

    def forget(self) -> None:
        """Say nothing any more."""
        if self._later is not None:
            self.after_cancel(self._later)
            self._later = None
        self.message = ""

    def _forget_later(self) -> None:
        self._later = None
        self.forget()
        self._unsaid()

    def show_status(self, text: str) -> None:
        """Show a line of status; of what has no room, the middle is left out."""
        shown = text, self.status.winfo_width()
        if shown != self._status_shown:
            self._status_shown = shown
            measure = self._fonts.plain.measure
            # Around its text, a label has some pixels of its own.
            border = self.status.winfo_reqwidth() - measure(self.status.cget("text"))
            self.status.configure(text=elided(text, shown[1] - border, measure))

    def show_progress(self, share: float | None) -> None:
        """Show how much of some work is done; None hides the bar."""
        if share is None:
            self.progress.pack_forget()
            return
        self.progress.configure(value=100 * share)
        if not self.progress.winfo_manager():
            self.progress.pack(side="right")


def elided(text: str, room: int, measure: Callable[[str], int]) -> str:
    """Return a line without its middle, if it is too long.

    Parameters
    ----------
    text : str
    room : int
        For the line, in pixels.
    measure : function
        Returns how long a text is, in pixels.
    """
    if measure(text) <= room:
        return text
    for kept in range(len(text), 1, -1):
        head = kept // 2
        short = f"{text[:head].rstrip()} … {text[head - kept :].lstrip()}"
        if measure(short) <= room:
            return short
    return text
