"""The drawing, its history, reading and corrections: the window without its widgets.

Lengths are in drawing units, which do not depend on the screen's density, the size of
the window or the theme; on a picture they are its pixels.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from tinycnn.reading.result import Reading, turned_box

Points = NDArray[np.float64]
Box = tuple[float, float, float, float]
DigitBox = tuple[int, int, int, int]
MOST_STEPS = 200  # of the history
NEAREST = 2.0  # points of the screen; smaller movements of the pointer are ignored
SPACING = 4.0  # points of the screen between those of a stroke
ROUNDS = 3  # of cutting corners
SURE = 0.95  # a digit of a lower confidence is doubtful
MARGIN = 40.0  # units, right of and below the ink of a drawing
NEAR = 4.0  # points of the screen around a box that still belong to it
OWN = 0.95  # of a stroke's points are in the box of the only digit it belongs to


@dataclass(frozen=True, eq=False)
class Stroke:
    """One stroke: points (P, 2), x right and y down, and the width of its pen."""

    points: Points
    pen_width: float

    def inside(self, *boxes: Box) -> NDArray[np.bool_]:
        """Return which of its points are inside one of several boxes."""
        (x, y), found = self.points.T, np.zeros(len(self.points), bool)
        for x0, y0, x1, y1 in boxes:
            found |= (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)
        return found

    def without(self, *boxes: Box) -> list["Stroke"]:
        """Return the parts of it that are outside all of several boxes."""
        inside = self.inside(*boxes)
        runs = np.split(self.points, np.flatnonzero(np.diff(inside)) + 1)
        outside = runs[int(inside[0]) :: 2]
        return [Stroke(run, self.pen_width) for run in outside if len(run) > 1]


@dataclass(frozen=True, eq=False)
class Picture:
    """An opened picture: RGB (H, W, 3), perhaps scaled down; its upright size."""

    path: Path
    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    is_light: bool = True  # its paper, where its ink is


@dataclass(frozen=True)
class Drawing:
    """What is read: strokes, on the picture of a file if there is one."""

    strokes: Strokes
    picture: Path | None = None


@dataclass(frozen=True, eq=False)
class Correction:
    """Digits that were read, by their boxes, and the right boxes and labels.

    Two of equal values are two: those of another drawing, for example.
    """

    boxes: tuple[DigitBox, ...]
    digits: tuple[tuple[DigitBox, int], ...]


@dataclass(frozen=True)
class Step:
    """The content of the canvas after a step."""

    strokes: tuple[Stroke, ...] = ()
    picture: Picture | None = None
    corrections: tuple[Correction, ...] = ()


class Session:
    """One drawing and its history.

    `reading` is the newest one, with corrections applied; `revision` counts the changes
    of the ink. The next stroke is `pen_width` points of the screen wide, 96ths of an
    inch; one is `unit` units.
    """

    def __init__(self) -> None:
        self.pen_width, self.unit = PEN_WIDTH, 1.0
        self._as_read, self.revision = Reading(), 0
        self.read_revision = 0  # of the ink that the reading is of
        self._done, self._undone = [Step()], list[Step]()
        self._pen: list[Points] = []  # positions of the stroke being drawn
        self._is_erasing = False  # the last step can take more

    # --- content -------------------------------------------------------------------

    @property
    def drawn(self) -> Step:
        """The content of the canvas without the stroke being drawn."""
        return self._done[-1]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read."""
        return not (self.drawn.strokes or self.drawn.picture)

    @property
    def is_settled(self) -> bool:
        """Whether the reading is of the current ink."""
        return self.read_revision == self.revision

    @property
    def pen_ink(self) -> float:
        """The width of the next stroke, in units."""
        return min(self.pen_width * self.unit, WIDEST_PEN)

    @property
    def drawing(self) -> Drawing:
        """The input of the reader, without the stroke being drawn."""
        picture = self.drawn.picture
        points = tuple(stroke.points for stroke in self.drawn.strokes)
        widths = tuple(stroke.pen_width for stroke in self.drawn.strokes)
        far = np.ceil(extent(points) + MARGIN).clip(max=LARGEST_SIDE).astype(int)
        size = tuple(far.tolist()) if picture is None else picture.size
        strokes = Strokes(points, widths, size)
        return Drawing(strokes, None if picture is None else picture.path)

    # --- the pen and the eraser ----------------------------------------------------

    def pen_down(self, x: float, y: float) -> bool:
        """Begin a stroke, or return False if there are too many."""
        self.settle()
        if len(self.drawn.strokes) >= MOST_STROKES or self._room < MOST_POINTS / 2:
            return False
        self._pen = [np.array([x, y], np.float64)]
        return True

    def pen_move(self, x: float, y: float) -> Points | None:
        """Continue the stroke; return its new segment (2, 2), None for too short a way.

        It becomes a smooth line when it ends.
        """
        position = np.array([x, y], np.float64)
        if not self._pen or len(self._pen) >= self._room:
            return None
        if math.dist(self._pen[-1], position) < NEAREST * self.unit:
            return None
        self._pen.append(position)
        return np.array(self._pen[-2:])

    def pen_up(self) -> Stroke | None:
        """End the stroke and return it."""
        if not self._pen:
            return None
        points = smooth(np.array(self._pen), SPACING * self.unit, self._room)
        stroke, self._pen = Stroke(points, self.pen_ink), []
        self._redraw((*self.drawn.strokes, stroke))
        return stroke

    def erase(self, strokes: Collection[Stroke]) -> bool:
        """Remove strokes; all until `settle` is one step. Return whether there are any.

        An unfinished stroke ends first.
        """
        self.pen_up()
        if strokes:
            left = tuple(s for s in self.drawn.strokes if s not in strokes)
            self._redraw(left, further=self._is_erasing)
            self._is_erasing = True
        return bool(strokes)

    def erase_digits(self, indices: Collection[int]) -> bool:
        """Remove the ink of digits, as a step; return False if they have no strokes.

        Of a stroke that they share with another digit, the part in their boxes goes.
        """
        self.settle()
        every, left = [digit.box for digit in self.reading.digits], list[Stroke]()
        boxes = [every[index] for index in indices]
        others = [box for box in every if box not in boxes]
        for stroke in self.drawn.strokes:
            share = float(stroke.inside(*boxes).mean())
            if share <= OWN and any(stroke.inside(o).mean() > OWN for o in others):
                share = 0.0
            if share == 0:
                left.append(stroke)
            elif share <= OWN:
                left += stroke.without(*boxes)
        found = left != [*self.drawn.strokes] and len(left) <= MOST_STROKES
        if found:
            self._redraw(tuple(left))
        return found

    @property
    def _room(self) -> int:
        """How many points one more stroke can have."""
        return MOST_POINTS - sum(len(stroke.points) for stroke in self.drawn.strokes)

    def _redraw(self, strokes: tuple[Stroke, ...], *, further: bool = False) -> None:
        """Replace the strokes; corrections of ink that has changed go."""
        changed = {*strokes} ^ {*self.drawn.strokes}
        corrections = tuple(
            each
            for each in self.drawn.corrections
            if all(s.inside(box).mean() < 0.5 for s in changed for box in each.boxes)
        )
        step = replace(self.drawn, strokes=strokes, corrections=corrections)
        done = self._done[:-1] if further else self._done
        self._go([*done, step])

    # --- steps ---------------------------------------------------------------------

    def settle(self) -> None:
        """End a stroke or an erasing under way."""
        self.pen_up()
        self._is_erasing = False

    def put(
        self,
        strokes: Strokes | None = None,
        picture: Picture | None = None,
        corrections: Iterable[Correction] = (),
    ) -> None:
        """Replace the content with strokes, on a picture if there is one."""
        self.settle()
        drawn: tuple[Stroke, ...] = ()
        if strokes is not None:
            pairs = zip(strokes.points, strokes.pen_widths, strict=True)
            drawn = tuple(Stroke(np.round(points, 3), width) for points, width in pairs)
        self._go([*self._done, Step(drawn, picture, tuple(corrections))])

    def can_step(self, by: int) -> bool:
        """Return whether there is a step to undo (-1) or redo (1)."""
        return bool(self._undone if by > 0 else self._pen or self._done[1:])

    def step(self, by: int) -> bool:
        """Undo (-1) or redo (1) a step; return whether there was one."""
        self.settle()
        possible = self.can_step(by)
        if possible and by < 0:
            self._go(self._done[:-1], [*self._undone, self.drawn])
        elif possible:
            self._go([*self._done, self._undone[-1]], self._undone[:-1])
        return possible

    def _go(self, done: list[Step], undone: Sequence[Step] = ()) -> None:
        """Replace the history; the last step that is done is the current one."""
        before, drawn = self.drawn, done[-1]
        self._done, self._undone = done[-MOST_STEPS:], [*undone]
        ink = drawn.strokes, drawn.picture
        self.revision += ink != (before.strokes, before.picture)
        if self.is_empty:
            self._as_read, self.read_revision = Reading(), self.revision

    # --- reading and corrections ---------------------------------------------------

    @property
    def reading(self) -> Reading:
        """The newest reading, with corrections applied."""
        return corrected(self._as_read, self.drawn.corrections)

    def answer(self, revision: int, reading: Reading) -> bool:
        """Accept a reading, unless a newer one is known or the canvas is empty."""
        if revision < self.read_revision or self.is_empty:
            return False
        self.read_revision, self._as_read = revision, reading
        return True

    def correct(
        self, indices: Sequence[int], right: Iterable[tuple[DigitBox, int]]
    ) -> None:
        """Put boxes and labels in the place of digits, as a step of the history.

        A correction takes the place of one whose digits it corrects.
        """
        boxes = [self.reading.digits[index].box for index in indices]
        digits, others = [*right], []
        for old in self.drawn.corrections:
            mine = [box for box, _ in old.digits]
            if any(box in mine for box in boxes):
                digits += [item for item in old.digits if item[0] not in boxes]
                boxes = [*old.boxes, *(box for box in boxes if box not in mine)]
            else:
                others.append(old)
        digits.sort(key=lambda item: turned_box(item[0], self.reading.turns))
        new = Correction(tuple(boxes), tuple(digits))
        self._go([*self._done, replace(self.drawn, corrections=(*others, new))])

    def corrected_boxes(self) -> set[DigitBox]:
        """Return the boxes of the digits whose labels are corrections."""
        return {box for each in self.drawn.corrections for box, _ in each.digits}

    def kinds(self) -> list[str]:
        """Return "sure", "doubtful" or "refused" for every digit of the reading."""
        kinds, mine = [], self.corrected_boxes()
        for digit in self.reading.digits:
            sure = digit.confidence >= SURE or digit.box in mine
            kind = "sure" if sure else "doubtful"
            kinds.append("refused" if digit.digit is None else kind)
        return kinds


def smooth(positions: Points, spacing: float, most: int) -> Points:
    """Return a smooth line (Q, 2) from the first position (P, 2) to the last.

    It has a point every `spacing` units, `most` at most. Corners are cut at a quarter
    of each segment, again and again (Chaikin 1974): that smooths the staircases of slow
    lines, whose positions are whole pixels, too.
    """
    line = positions
    for _ in range(ROUNDS):
        early, late = (s * line[:-1] + (1 - s) * line[1:] for s in (0.75, 0.25))
        cut = np.stack([early, late], axis=1).reshape(-1, 2)
        line = np.concatenate([line[:1], cut, line[-1:]])
    along = np.cumsum([0.0, *np.hypot(*np.diff(line, axis=0).T)])
    count = min(math.ceil(along[-1] / spacing) + 1, most)
    at = np.linspace(0, along[-1], count)
    x, y = (np.interp(at, along, side) for side in line.T)
    return np.stack([x, y], axis=1).clip(-LARGEST_SIDE, LARGEST_SIDE).round(3)


def extent(points: Iterable[Points]) -> Points:
    """Return the largest x and y of points, at least 1."""
    return np.concatenate([np.ones((1, 2)), *points]).max(axis=0)


def corrected(reading: Reading, corrections: Iterable[Correction]) -> Reading:
    """Return a reading with corrections applied, but not those of other ink."""
    lines = [list(line) for line in reading.lines]
    for correction in corrections:
        found = [
            (line, digit)
            for line in lines
            for digit in line
            if digit.box in correction.boxes
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
