"""Reading beside the pen: what is asked of the reading process, and when."""

from collections.abc import Callable
from typing import Any

from tinycnn.reading.explanation import Explanation
from tinycnn.reading.result import Reading
from tinycnn.window.session import last_digit

PAUSE = 120  # milliseconds between readings of a stroke, and before explanations
NOTHING = "Draw a digit to see what the network makes of it."
NEWEST = "read", "explain", "gradients", "damage"  # of these only the last call counts
THEIRS = "This digit is your correction; the network did not read it."


class LiveReading:
    """Asks for readings and explanations, the newest of each."""

    def __init__(self, window: Any) -> None:
        self._window, self._session = window, window.session
        self._explained: tuple[int, int] | None = None  # revision and digit
        self._timers: dict[str, str] = {}  # of Tk, by what they wait for

    def ask(self, name: str, *arguments: Any, then: Callable[[Any], object]) -> None:
        """Call a method of the reading process."""
        self._window.worker.ask(name, *arguments, then=then, newest=name in NEWEST)
        self._window.poll_soon()

    def ask_about(
        self, name: str, *arguments: Any, then: Callable[[Any], object]
    ) -> None:
        """Call a method with the digit that is explained."""
        if self._explained is not None and self._session.is_settled:
            where = self._as_read(self._explained[1])
            if where is not None:
                self.ask(name, self._session.drawing, where, *arguments, then=then)

    def read(self) -> None:
        """Read the drawing as it is now."""
        if self._session.is_empty:
            self._window.worker.forget(*NEWEST)
            self._window.show_reading()
            return
        revision = self._session.revision

        def show(reading: Reading) -> None:
            if self._session.answer(revision, reading):
                self._window.show_reading()

        self.ask("read", self._session.drawing, then=show)

    def read_soon(self) -> None:
        """Read a growing stroke at intervals, also while the pen rests."""
        if "read" not in self._timers:
            self._later("read", self._read_meanwhile)

    def _read_meanwhile(self) -> None:
        if not self._session.is_settled:
            self.read()

    def read_anew(self) -> None:
        """Read and explain with other weights."""
        self._explained = None
        self.read()

    def explain_soon(self, *, anew: bool = False) -> None:
        """Explain the digit of interest once the pen has rested."""
        self._cancel("explain")
        self._explained = None if anew else self._explained
        if self._window.settings.panel:
            self._later("explain", self._explain)

    def stop(self) -> None:
        """Cancel all timers."""
        for what in [*self._timers]:
            self._cancel(what)

    def _explain(self) -> None:
        panel, index = self._window.panel, self._subject_index()
        if index is None:
            self._explained = None
            panel.show(None, NOTHING)
        elif self._session.is_settled:
            asked, where = (self._session.revision, index), self._as_read(index)
            if where is None:
                panel.show(None, THEIRS)
            elif asked == self._explained:
                panel.subject.configure(text=self._subject(index))
            else:

                def show(explanation: Explanation) -> None:
                    if asked[0] == self._session.revision:
                        self._explained = asked
                        panel.show(explanation, self._subject(index))

                self.ask("explain", self._session.drawing, where, then=show)

    def _as_read(self, index: int) -> int | None:
        """Return the index of a digit among those that were read, if it is one."""
        boxes = [digit.box for digit in self._session.drawn.as_read.digits]
        digits = self._session.reading.digits
        box = digits[index].box if index < len(digits) else None
        return boxes.index(box) if box in boxes else None

    def _subject_index(self) -> int | None:
        """Return the index of the digit to explain: the first chosen, or drawn last."""
        for number in self._window.correcting.chosen:
            return number
        return last_digit(self._session.reading, self._session.drawn.strokes)

    def _subject(self, index: int) -> str:
        digits = self._session.reading.digits
        if index >= len(digits):
            return NOTHING
        label = digits[index].label
        how = "refused" if label == "?" else f"read as {label}"
        return f"Digit {index + 1} of {len(digits)}, {how}"

    def _later(self, what: str, action: Callable[[], object]) -> None:
        def act() -> None:
            del self._timers[what]
            action()

        self._timers[what] = self._window.root.after(PAUSE, act)

    def _cancel(self, what: str) -> None:
        if what in self._timers:
            self._window.root.after_cancel(self._timers.pop(what))
