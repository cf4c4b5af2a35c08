"""The drawing, its history, reading and corrections: the window without its widgets.

Lengths are in drawing units, which do not depend on the screen's density, the size of
the window or the theme; on a picture they are its pixels.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycnn.ink.strokes import (
    LARGEST_SIDE,
    MOST_POINTS,
    MOST_STROKES,
    PEN_WIDTH,
    WIDEST_PEN,
    Strokes,
)
from tinycnn.reading.result import Reading
from tinycnn.window.pen import Pen, Points

Box = tuple[float, float, float, float]
DigitBox = tuple[int, int, int, int]
MOST_STEPS = 200  # of the history
SAME = 0.7  # intersection over union from which two boxes are the same digit
SURE = 0.95  # a digit of a lower confidence is doubtful
NOTHING = Reading()
NEAR = 4.0  # screen pixels around a box that still belong to it


@dataclass(frozen=True, eq=False)
class Stroke:
    """One stroke: points (P, 2), x right and y down, and the width of its pen."""

    points: Points
    pen_width: float

    @cached_property
    def box(self) -> Box:
        """The bounding box of its ink."""
        half = self.pen_width / 2
        x0, y0 = (self.points.min(axis=0) - half).tolist()
        x1, y1 = (self.points.max(axis=0) + half).tolist()
        return x0, y0, x1, y1


@dataclass(frozen=True, eq=False)
class Picture:
    """An opened picture: RGB (H, W, 3), perhaps scaled down; its upright size."""

    path: Path
    pixels: NDArray[np.uint8]
    size: tuple[int, int]


@dataclass(frozen=True)
class Drawing:
    """What is read: strokes, on the picture of a file if there is one."""

    strokes: Strokes
    picture: Path | None = None


@dataclass(frozen=True)
class Correction:
    """Digits that were read, by their boxes, and the right boxes and labels."""

    boxes: tuple[DigitBox, ...]
    digits: tuple[tuple[DigitBox, int], ...]


@dataclass(eq=False)
class Step:
    """The content of the canvas after a step, and how it was read then."""

    strokes: tuple[Stroke, ...] = ()
    picture: Picture | None = None
    corrections: tuple[Correction, ...] = ()
    as_read: Reading = NOTHING

    @property
    def extent(self) -> tuple[float, float]:
        """The largest x and y of the strokes' points, 1 without strokes."""
        corners = [(1.0, 1.0), *(s.points.max(axis=0).tolist() for s in self.strokes)]
        return max(x for x, _ in corners), max(y for _, y in corners)


class Session:
    """One drawing and its history.

    `reading` is the newest one, with corrections applied; `revision` counts the changes
    of the ink. The next stroke is `pen_width` screen pixels of `unit` units wide.
    """

    def __init__(self, size: tuple[int, int] = (1, 1)) -> None:
        self._size = size  # of the sheet: grows with the window, never shrinks
        self.pen_width, self.unit = PEN_WIDTH, 1.0
        self.reading, self.revision = Reading(), 0
        self._read_revision = 0  # that `reading` is of
        self._oldest = 0  # readings of earlier revisions show removed ink
        self._steps, self._at = [Step()], 0
        self._pen: Pen | None = None
        self._erased: Step | None = None  # while the eraser is down

    # --- content -------------------------------------------------------------------

    @property
    def drawn(self) -> Step:
        """The content of the canvas without the stroke being drawn."""
        return self._erased or self._steps[self._at]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read."""
        drawn = self.drawn
        return not drawn.strokes and drawn.picture is None and self._pen is None

    @property
    def is_settled(self) -> bool:
        """Whether the reading is of the current ink."""
        return self._read_revision == self.revision

    @property
    def pen_ink(self) -> float:
        """The width of the next stroke, in units."""
        return min(self.pen_width * self.unit, WIDEST_PEN)

    @property
    def drawing(self) -> Drawing:
        """The input of the reader, with the stroke being drawn."""
        picture = self.drawn.picture
        points = [stroke.points for stroke in self.drawn.strokes]
        widths = [stroke.pen_width for stroke in self.drawn.strokes]
        if self._pen is not None:
            points.append(self._pen.points())
            widths.append(self._pen.width)
        wide, high = self._size if picture is None else picture.size
        size = min(wide, LARGEST_SIDE), min(high, LARGEST_SIDE)
        drawing = Strokes(tuple(points), tuple(widths), size)
        return Drawing(drawing, None if picture is None else picture.path)

    def grow(self, width: float, height: float) -> None:
        """Enlarge the sheet to at least this size."""
        wide, high = max(self._size[0], width), max(self._size[1], height)
        wide, high = min(wide, LARGEST_SIDE), min(high, LARGEST_SIDE)
        self._size = math.ceil(wide), math.ceil(high)

    # --- the pen and the eraser ----------------------------------------------------

    def pen_down(self, x: float, y: float) -> bool:
        """Begin a stroke, or return False if there are too many."""
        self.settle()
        strokes = self.drawn.strokes
        points = sum(len(stroke.points) for stroke in strokes)
        if len(strokes) >= MOST_STROKES or points >= MOST_POINTS / 2:
            return False
        start, room = np.array([x, y], np.float64), MOST_POINTS - points
        self._pen = Pen(self.pen_ink, start, room, self.unit)
        self.revision += 1
        return True

    def pen_move(self, x: float, y: float) -> Points | None:
        """Continue the stroke; return the new final piece of its line, if any."""
        if self._pen is None:
            return None
        piece = self._pen.move(np.array([x, y], np.float64))
        self.revision += piece is not None
        return piece

    def pen_tail(self) -> list[list[float]]:
        """Return the end of the stroke, which is not smooth yet."""
        return [] if self._pen is None else self._pen.tail().tolist()

    def pen_up(self) -> Stroke | None:
        """End the stroke and return it."""
        if self._pen is None:
            return None
        stroke, self._pen = Stroke(self._pen.points(), self._pen.width), None
        drawn = self.drawn
        kept = tuple(
            c
            for c in drawn.corrections
            if all(_share(stroke, b) < 0.5 for b in c.boxes)
        )
        self._add(drawn, strokes=(*drawn.strokes, stroke), corrections=kept)
        self.revision += 1
        return stroke

    def erase(self, x0: float, y0: float, x1: float, y1: float, reach: float) -> bool:
        """Remove the strokes that the eraser, of this radius, touches on its way.

        Everything removed before `eraser_up` is one step. Returns whether any was.
        """
        self.pen_up()
        way = np.array([[x0, y0], [x1, y1]])
        return self._remove([s for s in self.drawn.strokes if _touches(s, way, reach)])

    def eraser_up(self) -> bool:
        """Make one step of the erasing; return whether anything was erased."""
        if self._erased is None:
            return False
        erased, self._erased = self._erased, None
        self._add(erased)
        return True

    def erase_digit(self, index: int) -> bool:
        """Remove the strokes of a digit, as a step; return False if it has none."""
        self.settle()
        box = self.reading.digits[index].box
        self._remove([s for s in self.drawn.strokes if _share(s, box) > 0.5])
        return self.eraser_up()

    def _remove(self, gone: list[Stroke]) -> bool:
        drawn, boxes = self.drawn, [stroke.box for stroke in gone]
        if gone:
            self._erased = replace(
                drawn,
                strokes=tuple(s for s in drawn.strokes if s not in gone),
                corrections=tuple(
                    correction
                    for correction in drawn.corrections
                    if not any(_meet(a, b) for a in correction.boxes for b in boxes)
                ),
                as_read=_without(drawn.as_read, boxes),
            )
            self._forget()
        return bool(gone)

    # --- steps ---------------------------------------------------------------------

    def settle(self) -> None:
        """End a stroke or an erasing under way."""
        self.pen_up()
        self.eraser_up()

    def put(self, strokes: Strokes | None, picture: Picture | None = None) -> None:
        """Replace the content with strokes, on a picture if there is one."""
        self.settle()
        drawn: tuple[Stroke, ...] = ()
        if strokes is not None:
            if picture is None:
                self.grow(*strokes.size)
            pairs = zip(strokes.points, strokes.pen_widths, strict=True)
            drawn = tuple(Stroke(np.round(points, 3), width) for points, width in pairs)
        self._add(Step(drawn, picture))
        self._forget()

    def clear(self) -> bool:
        """Clear the canvas; return whether there was anything on it."""
        self.settle()
        empty = self.is_empty
        if not empty:
            self.put(None)
        return not empty

    def can_step(self, by: int) -> bool:
        """Return whether there is a step to undo (-1) or redo (1)."""
        unfinished = self._pen is not None or self._erased is not None
        return 0 <= self._at + by < len(self._steps) or (by < 0 and unfinished)

    def step(self, by: int) -> str:
        """Undo (-1) or redo (1) a step; return "ink", "correction", or "" for none."""
        self.settle()
        if not self.can_step(by):
            return ""
        before = self.drawn
        self._at += by
        if (before.strokes, before.picture) == (self.drawn.strokes, self.drawn.picture):
            self.drawn.as_read = before.as_read
            self._correct()
            return "correction"
        self._forget()
        return "ink"

    def _add(self, drawn: Step, **changes: Any) -> None:
        step = replace(drawn, **changes)
        self._steps = [*self._steps[: self._at + 1], step][-MOST_STEPS:]
        self._at = len(self._steps) - 1

    def _forget(self) -> None:
        """Let the reading be that of the step until the next one arrives."""
        self.revision += 1
        self._oldest = self.revision
        if self.is_empty:
            self.drawn.as_read, self._read_revision = NOTHING, self.revision
        self._correct()

    # --- reading and corrections ---------------------------------------------------

    def answer(self, revision: int, reading: Reading) -> bool:
        """Accept a reading, unless it is outdated or shows removed ink."""
        if revision < max(self._oldest, self._read_revision) or self.is_empty:
            return False
        self._read_revision = revision
        self.drawn.as_read = reading
        self._correct()
        return True

    def correct(self, indices: Sequence[int], right: Iterable[tuple[Box, int]]) -> None:
        """Put boxes and labels in the place of digits, as a step of the history.

        A correction takes the place of one whose digits it corrects.
        """
        boxes = [self.reading.digits[index].box for index in indices]
        digits = [(_whole(box), label) for box, label in right]
        others = []
        for old in self.drawn.corrections:
            mine = [box for box, _ in old.digits]
            if any(box in mine for box in boxes):
                digits += [item for item in old.digits if item[0] not in boxes]
                boxes = [*old.boxes, *(box for box in boxes if box not in mine)]
            else:
                others.append(old)
        new = Correction(tuple(boxes), tuple(sorted(digits)))
        self._add(self.drawn, corrections=(*others, new))
        self._correct()

    def is_corrected(self, index: int) -> bool:
        """Return whether a digit's label is a correction."""
        box = self.reading.digits[index].box
        return any(box == b for c in self.drawn.corrections for b, _ in c.digits)

    def kinds(self) -> list[str]:
        """Return "sure", "doubtful" or "refused" for every digit of the reading."""
        kinds = []
        for number, digit in enumerate(self.reading.digits):
            sure = digit.confidence >= SURE or self.is_corrected(number)
            kinds.append("sure" if sure else "doubtful")
            if digit.digit is None:
                kinds[-1] = "refused"
        return kinds

    def _correct(self) -> None:
        """Apply the corrections to the reading."""
        self.reading = corrected(self.drawn.as_read, self.drawn.corrections)


def corrected(reading: Reading, corrections: Iterable[Correction]) -> Reading:
    """Return a reading with corrections applied, but not those of other ink."""
    lines = [list(line) for line in reading.lines]
    for correction in corrections:
        found = [
            (line, digit)
            for line in lines
            for digit in line
            if any(_overlap(box, digit.box) >= SAME for box in correction.boxes)
        ]
        if len(found) == len(correction.boxes):
            row, first = found[0]
            at = row.index(first)
            for line, digit in found:
                line.remove(digit)
            right = correction.digits
            row[at:at] = [replace(first, digit=n, box=box) for box, n in right]
    return replace(reading, lines=tuple(tuple(line) for line in lines if line))


def digit_at(reading: Reading, x: float, y: float, unit: float = 1.0) -> int | None:
    """Return the index of the digit at a point, of several the smallest one's."""
    near = NEAR * unit
    found = [
        ((x1 - x0) * (y1 - y0), number)
        for number, digit in enumerate(reading.digits)
        for x0, y0, x1, y1 in [digit.box]
        if x0 - near <= x <= x1 + near and y0 - near <= y <= y1 + near
    ]
    return min(found)[1] if found else None


def last_digit(reading: Reading, strokes: Sequence[Stroke]) -> int | None:
    """Return the index of the digit drawn last, else of the last in the reading."""
    digits = reading.digits
    for stroke in reversed(strokes):
        shares = [(_share(stroke, digit.box), -n) for n, digit in enumerate(digits)]
        if shares and max(shares)[0] > 0.5:
            return -max(shares)[1]
    return len(digits) - 1 if digits else None


def _without(reading: Reading, boxes: Sequence[Box]) -> Reading:
    """Return a reading without the digits that one of the boxes meets."""
    kept = (
        tuple(d for d in line if not any(_meet(d.box, box) for box in boxes))
        for line in reading.lines
    )
    return replace(reading, lines=tuple(line for line in kept if line))


def _touches(stroke: Stroke, way: Points, reach: float) -> bool:
    """Return whether the eraser's path (2, 2) touches a stroke's ink."""
    near, points = reach + stroke.pen_width / 2, stroke.points
    low, high = way.min(axis=0) - near, way.max(axis=0) + near
    if (points.max(axis=0) < low).any() or (points.min(axis=0) > high).any():
        return False
    steps = max(math.ceil(math.dist(*way) / max(reach, 1)), 1)
    samples = way[0] + np.linspace(0, 1, steps + 1)[:, None] * (way[1] - way[0])
    starts = points[:-1] if len(points) > 1 else points
    legs = np.diff(points, axis=0) if len(points) > 1 else np.zeros((1, 2))
    off = samples[:, None] - starts  # (samples, legs, 2)
    along = (off * legs).sum(-1) / np.maximum((legs**2).sum(-1), 1e-9)
    off -= np.clip(along, 0, 1)[..., None] * legs
    return bool(((off**2).sum(-1) <= near**2).any())


def _share(stroke: Stroke, box: Box) -> float:
    """Return the share of a stroke's points inside a box."""
    inside = (stroke.points >= box[:2]) & (stroke.points <= box[2:])
    return float(inside.all(axis=1).mean())


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _overlap(a: Box, b: Box) -> float:
    """Return the intersection over the union of two boxes."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / max(both - width * height, 1e-9)


def _whole(box: Box) -> DigitBox:
    x0, y0, x1, y1 = map(round, box)
    return x0, y0, x1, y1
