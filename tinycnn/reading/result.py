"""What was read: digits, line by line.

Plain values that can be pickled: the window shows them in a process that loads no
network. This file knows how a reading is written down, and not how one is made; that is
`tinycnn.reading.reader`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Digit:
    """One digit as it was read, or ink of a digit's size that is none.

    Attributes
    ----------
    digit : int or None
        0 to 9; None is refused.
    confidence : float
        The probability that it is a digit and this one, by its own ink alone. Of ink
        that was cut, the rest counts, too: a doubtful digit among digits is read, a
        likely one in a scribble is refused.
    box : (int, int, int, int)
        ``x0, y0, x1, y1``, half open, in pixels of the picture as a person sees it, or
        of the canvas.
    top : three of (int, float)
        The likeliest digits and their probabilities. What these and the others lack to
        1 is the probability that it is no digit.
    """

    digit: int | None
    confidence: float
    box: tuple[int, int, int, int]
    top: tuple[tuple[int, float], ...]

    @property
    def label(self) -> str:
        """The digit as it is written; ``?`` if it was refused."""
        return "?" if self.digit is None else str(self.digit)


@dataclass(frozen=True)
class Reading:
    """What a picture or a drawing says.

    Attributes
    ----------
    lines : tuple of tuples of Digit
        Top to bottom, left to right.
    """

    lines: tuple[tuple[Digit, ...], ...] = ()

    @property
    def text(self) -> str:
        """The digits, ``?`` for what was refused, a line a line."""
        return "\n".join("".join(d.label for d in line) for line in self.lines)

    @property
    def digits(self) -> tuple[Digit, ...]:
        """All digits in reading order."""
        return tuple(digit for line in self.lines for digit in line)
