"""Reading beside the pen: what is asked of the reading process, and when."""

from collections.abc import Callable
from typing import Any

from tinycnn.reading.result import Explanation, Reading
from tinycnn.window.session import DigitBox, digit_at

PAUSE = 120  # milliseconds before explanations
NOTHING = "Draw a digit to see inside."
NEWEST = "read", "explain", "gradients", "damage"  # of these only the last call counts
THEIRS = "This digit is your correction; the network did not read it."


class LiveReading:
    """Asks for readings and explanations, the newest of each."""

    def __init__(self, window: Any) -> None:
        self._window, self._session = window, window.session
        self._explained: tuple[int, DigitBox] | None = None  # revision and digit
        self._later = "none"  # Tk's name of the timer

    def ask(self, name: str, *arguments: Any, then: Callable[[Any], object]) -> None:
        """Call a method of the reading process."""
        self._window.worker.ask(name, *arguments, then=then, newest=name in NEWEST)

    def read(self) -> None:
        """Read the drawing as it is now."""
        if self._session.is_empty:
            return
        revision = self._session.revision

        def show(reading: Reading) -> None:
            before = self._session.reading
            if self._session.answer(revision, reading):
                if self._session.reading != before:
                    self._window.correcting.choose(None)
                self._window.show()

        self.ask("read", self._session.drawing, then=show)

    def read_anew(self) -> None:
        """Read and explain with other weights."""
        self._explained = None
        self.read()

    def explain_soon(self) -> None:
        """Explain the digit of interest in the open panel once the pen has rested."""
        self._window.root.after_cancel(self._later)
        if self._window.settings.panel:
            self._later = self._window.root.after(PAUSE, self._explain)

    def _explain(self) -> None:
        panel, index = self._window.panel, self._subject()
        digits = self._session.reading.digits
        if index is None:
            self._explained = None
            panel.show(None, NOTHING)
        elif self._session.is_settled:
            digit, asked = digits[index], (self._session.revision, digits[index].box)
            how = "refused" if digit.digit is None else f"read as {digit.label}"
            if digit.box in self._session.corrected_boxes():
                how = f"corrected to {digit.label}"
            subject = f"Digit {index + 1} of {len(digits)}, {how}"
            if asked == self._explained:
                panel.subject.configure(text=subject)
                return

            def show(explanation: Explanation | None) -> None:
                if asked[0] == self._session.revision:
                    self._explained = asked if explanation else None
                    panel.show(explanation, subject if explanation else THEIRS)

            self.ask("explain", self._session.drawing, digit.box, then=show)

    def _subject(self) -> int | None:
        """Return the index of the digit to explain: the first chosen, or drawn last."""
        for number in self._window.correcting.chosen:
            return number
        reading = self._session.reading
        for stroke in self._session.drawn.strokes[-1:]:
            last = digit_at(reading, *stroke.points[len(stroke.points) // 2].tolist())
            if last is not None:
                return last
        return len(reading.digits) - 1 if reading.digits else None
