"""The result of reading: digits, line by line.

Plain values that can be pickled: the window shows them in a process that loads no
network.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Digit:
    """One digit, or ink of a digit's size that was refused.

    Attributes
    ----------
    digit : int or None
        0 to 9; None is refused.
    confidence : float
        The probability of this digit, by its own ink alone. Whether the digit is
        refused also depends on ink it was cut from: an uncertain digit among digits is
        read, a likely one in a scribble is refused.
    box : (int, int, int, int)
        ``x0, y0, x1, y1``, half open, in pixels of the upright picture or the canvas.
    top : three of (int, float)
        The likeliest digits and their probabilities. The probabilities of all digits
        and of no digit add up to 1.
    """

    digit: int | None
    confidence: float
    box: tuple[int, int, int, int]
    top: tuple[tuple[int, float], ...]

    @property
    def label(self) -> str:
        """The digit as text; ``?`` if it was refused."""
        return "?" if self.digit is None else str(self.digit)


@dataclass(frozen=True)
class Reading:
    """The digits in a picture or a drawing.

    Attributes
    ----------
    lines : tuple of tuples of Digit
        Top to bottom, left to right.
    """

    lines: tuple[tuple[Digit, ...], ...] = ()

    def refusing(self, confidence: float) -> "Reading":
        """Return the same, with digits of a lower confidence refused."""

        def checked(digit: Digit) -> Digit:
            return (
                replace(digit, digit=None) if digit.confidence < confidence else digit
            )

        return Reading(tuple(tuple(map(checked, line)) for line in self.lines))

    @property
    def text(self) -> str:
        """The digits as text, ``?`` for refused ones, with a newline between lines."""
        return "\n".join("".join(d.label for d in line) for line in self.lines)

    @property
    def digits(self) -> tuple[Digit, ...]:
        """All digits in reading order."""
        return tuple(digit for line in self.lines for digit in line)
