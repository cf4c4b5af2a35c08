"""What reading and explaining return: digits line by line, arrays and their positions.

Plain values that can be pickled: the window shows them in a process that loads neither
networks nor compiled code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BROAD = 0.7  # heights; the least width of a digit: that of a 1 tells nothing
STANDS_OUT = 1.4  # times the usual step from a digit to the next
Box = tuple[int, int, int, int]
Floats = NDArray[np.floating[Any]]


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
        ``x0, y0, x1, y1``, half open, in pixels of the picture as shown, or the canvas.
    top : three of (int, float)
        The likeliest digits and their probabilities. Those of all digits, of no digit
        and of several add up to 1.
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
            sure = digit.confidence >= confidence
            return digit if sure else replace(digit, digit=None)

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


@dataclass(frozen=True)
class FeatureMaps:
    """The arrays of one convolution layer, for one image; pairs are (rows, columns).

    Attributes
    ----------
    inputs : float32 array (H, W, C)
        What the layer was given, with its padding.
    kernels, dkernels : float32 arrays (KH, KW, C, F)
        The weights, and the gradient of the loss; kernel f makes map f.
    bias : float32 array (F,)
    maps, dmaps : float32 arrays (OH, OW, F)
        The outputs, and the gradient of the loss.
    stride : int array (2,)
    field : int array (3, 2)
        The receptive fields of the outputs in pixels of the image: their size, the step
        from one to its neighbour, and the start of that of output (0, 0), which is
        negative if it is padding.
    """

    inputs: Floats
    kernels: Floats
    dkernels: Floats
    bias: Floats
    maps: Floats
    dmaps: Floats
    stride: NDArray[np.int64]
    field: NDArray[np.int64]

    def products(self, row: int, column: int, feature: int) -> Floats:
        """Return input times weight (KH, KW, C) of one pixel of a map.

        Their sum and the bias are the pixel, within rounding.
        """
        KH, KW = self.kernels.shape[:2]
        y, x = self.stride * (row, column)
        return self.inputs[y : y + KH, x : x + KW] * self.kernels[..., feature]


@dataclass(frozen=True)
class Gradients:
    """One image's way forward through the plain layers, and the loss's way back.

    Attributes
    ----------
    label : int
        The digit that would be right.
    loss : float
        Cross-entropy of the logits as they are: without the temperature and the prior
        that calibrate what the reader says.
    dlogits : float32 array (K,)
        The gradient of the loss with respect to the logits; of 12 classes the last
        two are no digit, and several.
    ink : float32 array (28, 28)
        With respect to the image.
    feature_maps : tuple of FeatureMaps
        One for each convolution layer.
    """

    label: int
    loss: float
    dlogits: Floats
    ink: Floats
    feature_maps: tuple[FeatureMaps, ...]


@dataclass(frozen=True)
class Explanation:
    """The explanation of how one digit was read.

    Attributes
    ----------
    probabilities : float array (10,)
        Of each digit, calibrated; 1 minus their sum is that of none or several.
    image : float32 array (28, 28)
        The input of the network, 1 = ink.
    feature_maps : tuple of FeatureMaps
        Of the network that names digits; gradients are for the likeliest digit.
    origin, pixel, tilt : (float, float), float, float
        Position x, y of the image's corner in the picture or on the canvas, the width
        of its pixels there, and the degrees by which it lies there turned clockwise.
    """

    probabilities: Floats
    image: Floats
    feature_maps: tuple[FeatureMaps, ...]
    origin: tuple[float, float]
    pixel: float
    tilt: float = 0.0

    def region(self, layer: int, row: int, column: int) -> list[tuple[float, float]]:
        """Return the receptive field of an output, in pixels of the picture or canvas.

        It is the x and y of its four corners. Where pooling drops a remainder and
        padding follows, the fields of the last outputs include that remainder.
        """
        size, step, start = self.feature_maps[layer].field
        first = start + step * (row, column)
        corners = np.clip([first, first + size], 0, len(self.image))
        (top, left), (low, right) = corners.tolist()
        around = np.array([(left, top), (right, top), (right, low), (left, low)])
        placed = turned(around * self.pixel, self.tilt) + self.origin
        return [(x, y) for x, y in placed.tolist()]


def turned(points: Floats, degrees: float) -> Floats:
    """Return points (..., 2), x right and y down, turned clockwise about (0, 0)."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([(cosine, sine), (-sine, cosine)])


class Trial(NamedTuple):
    """A training step on one digit; pairs are before and after it.

    Losses are as of `Gradients`, probabilities are means over five views, and `right`
    counts the sample's test digits that are named right.
    """

    loss: tuple[float, float]
    probabilities: tuple[Floats, Floats]
    right: tuple[int, int]


class Damage(NamedTuple):
    """What is done to the weights of the network that names digits.

    Attributes
    ----------
    muted : tuple of (int, int)
        Convolution, counted from 0, and filter: its weights and bias are 0.
    noise : float
        Standard deviation of what is added to each weight, as a share of that of the
        weights of its layer.
    bits : int
        Weights are rounded to 2^bits levels (2 bits: -1, 0 and 1 times the largest;
        1 bit: the sign times the mean magnitude); 32 leaves them as they are.
    """

    muted: tuple[tuple[int, int], ...] = ()
    noise: float = 0.0
    bits: int = 32
