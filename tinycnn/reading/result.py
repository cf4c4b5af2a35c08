"""The result of reading: digits, line by line.

Plain values that can be pickled: the window shows them in a process that loads no
network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

BROAD = 0.7  # heights; the least width of a digit: that of a 1 tells nothing
STANDS_OUT = 1.4  # times the usual step from a digit to the next
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Digit:
    """One digit, or ink of a digit's size that was refused.

    Attributes
    ----------
    digit : int or None
        0 to 9; None is refused.
    confidence : float
        The probability of this digit, by its own ink alone. Whether the digit is
        refused also depends on its line and on ink it was cut from: an uncertain digit
        among digits is read, a likely one in a scribble is refused.
    box : Box
        ``x0, y0, x1, y1``, half open, in pixels of the upright picture or the canvas.
    top : three of (int, float)
        The likeliest digits and their probabilities. The probabilities of all digits
        and of no digit add up to 1.
    """

    digit: int | None
    confidence: float
    box: Box
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
    ignored : tuple of boxes
        Of ink that was left out: points, dashes, rules, what the border cuts.
    turns : int
        Quarter turns counter-clockwise by which the picture was turned to be read.
    """

    lines: tuple[tuple[Digit, ...], ...] = ()
    ignored: tuple[Box, ...] = ()
    turns: int = 0

    def refusing(self, confidence: float) -> "Reading":
        """Return the same, with digits of a lower confidence refused."""

        def checked(digit: Digit) -> Digit:
            return (
                replace(digit, digit=None) if digit.confidence < confidence else digit
            )

        lines = tuple(tuple(map(checked, line)) for line in self.lines)
        return replace(self, lines=lines)

    def upright(self, size: Sequence[int] = (0, 0)) -> "Reading":
        """Return the same with boxes of the turned picture; see `turned_box`."""

        def turn(box: Box) -> Box:
            return turned_box(box, self.turns, size)

        lines = tuple(
            tuple(replace(digit, box=turn(digit.box)) for digit in line)
            for line in self.lines
        )
        return Reading(lines, tuple(map(turn, self.ignored)))

    @property
    def text(self) -> str:
        """The digits as text, ``?`` for refused ones, with a newline between lines.

        A gap wider than a digit is a space.
        """
        return "\n".join(_text(line) for line in self.upright().lines if line)

    @property
    def digits(self) -> tuple[Digit, ...]:
        """All digits in reading order."""
        return tuple(digit for line in self.lines for digit in line)


def turned_box(box: Box, turns: int, size: Sequence[int] = (0, 0)) -> Box:
    """Return where a box is after quarter turns counter-clockwise.

    `size` is the width and height of the picture before them. The default turns about
    (0, 0), which keeps the positions of boxes to each other.
    """
    (x0, y0, x1, y1), (width, height) = box, size
    for _ in range(turns % 4):
        x0, y0, x1, y1 = y0, width - x1, y1, width - x0
        width, height = height, width
    return x0, y0, x1, y1


def _text(line: Sequence[Digit]) -> str:
    """Return the text of a line; a space is a gap that stands out, too.

    Steps are twice the distances of the middles. Alone, one is compared with a digit.
    """
    boxes = [digit.box for digit in line]
    broad = median([max(x1 - x0, BROAD * (y1 - y0)) for x0, y0, x1, y1 in boxes])
    gaps = [right[0] - left[2] for left, right in pairwise(boxes)]
    steps = [right[0] + right[2] - left[0] - left[2] for left, right in pairwise(boxes)]
    usual = median([*steps, 4 * broad][: max(len(steps), 2)])
    text = line[0].label
    for gap, step, digit in zip(gaps, steps, line[1:], strict=True):
        apart = gap > broad and step > STANDS_OUT * usual
        text += " " + digit.label if apart else digit.label
    return text
