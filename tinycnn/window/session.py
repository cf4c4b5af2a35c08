"""The drawing, its history, reading and corrections: the window without its widgets.

All lengths are in canvas units, which do not depend on the screen's density, the size
of the window or the theme. A drawing is a tuple of immutable strokes, so undoing a step
restores the previous tuple.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tinycnn.ink.strokes import (
    LARGEST_SIDE,
    MOST_POINTS,
    MOST_STROKES,
    PEN_WIDTH,
    Strokes,
)
from tinycnn.reading.result import Digit, Reading
from tinycnn.window.messages import Drawing, Picture

Points = NDArray[np.float64]
Box = tuple[float, float, float, float]

NEAREST = 2.0  # units; smaller movements of the pointer are ignored
STEADY = 1.0  # units that smoothing may move a point
SPACING = 4.0  # units between points of a smooth line, at most
MOST_STEPS = 200  # of the history
SAME = 0.7  # intersection over union from which two boxes are the same digit
NEAR = 4.0  # units around a box that still belong to it


@dataclass(frozen=True, eq=False)
class Stroke:
    """One stroke.

    Attributes
    ----------
    points : float64 array (P, 2)
        x right, y down.
    pen_width : float
    """

    points: Points
    pen_width: float

    @cached_property
    def box(self) -> Box:
        """The bounding box of its ink."""
        x0, y0 = self.points.min(axis=0).tolist()
        x1, y1 = self.points.max(axis=0).tolist()
        half = self.pen_width / 2
        return x0 - half, y0 - half, x1 + half, y1 + half


@dataclass(frozen=True)
class Correction:
    """The right label of a misread digit."""

    box: tuple[int, int, int, int]
    label: int


@dataclass(frozen=True)
class Drawn:
    """The content of the canvas: everything that a step can change."""

    strokes: tuple[Stroke, ...] = ()
    picture: Picture | None = None
    corrections: tuple[Correction, ...] = ()


class Session:
    """One drawing and its history.

    Parameters
    ----------
    size : (int, int)
        Initial width and height of the canvas, in units.

    Attributes
    ----------
    size : (int, int)
        Grows with the window and with opened drawings; never shrinks.
    pen_width : float
        Of the next stroke.
    revision : int
        Counts the changes of the ink.
    reading : Reading
        The newest reading, with corrections applied.
    """

    def __init__(self, size: tuple[int, int] = (1, 1)) -> None:
        self.size = size
        self.pen_width = PEN_WIDTH
        self.revision = 0
        self.reading = Reading()
        self._as_read = Reading()  # before corrections are applied
        self._read_revision = 0  # that `reading` is of
        self._oldest = 0  # readings of earlier revisions show removed ink
        self._settled_at = 0  # the revision at pen down
        self._steps = [Drawn()]
        self._at = 0
        self._pen: _Pen | None = None
        self._erased: Drawn | None = None  # while the eraser is down

    # --- content -------------------------------------------------------------------

    @property
    def drawn(self) -> Drawn:
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
    def drawing(self) -> Drawing:
        """The input of the reader: the strokes, or the file of a picture."""
        picture = self.drawn.picture
        return self.strokes() if picture is None else picture.path

    def strokes(self) -> Strokes:
        """Return all strokes, including the one being drawn."""
        strokes = self.drawn.strokes
        if self._pen is not None:
            strokes = (*strokes, self._pen.stroke())
        return Strokes(
            tuple(stroke.points for stroke in strokes),
            tuple(stroke.pen_width for stroke in strokes),
            self.size,
        )

    def extent(self) -> tuple[float, float]:
        """Return the largest x and y of the strokes' points and the picture."""
        drawn = self.drawn
        corners = [(1.0, 1.0)]
        for stroke in drawn.strokes:
            _, _, right, low = stroke.box
            half = stroke.pen_width / 2
            corners.append((right - half, low - half))
        if drawn.picture is not None:
            corners.append((drawn.picture.size[0], drawn.picture.size[1]))
        return max(x for x, _ in corners), max(y for _, y in corners)

    def grow(self, width: float, height: float) -> None:
        """Enlarge the canvas to at least this size."""
        larger = (
            min(max(self.size[0], math.ceil(width)), LARGEST_SIDE),
            min(max(self.size[1], math.ceil(height)), LARGEST_SIDE),
        )
        if larger != self.size:
            self.size = larger

    # --- the pen -------------------------------------------------------------------

    def pen_down(self, x: float, y: float) -> bool:
        """Begin a stroke, or return False if there are too many.

        The stroke replaces a picture; undoing it brings the picture back.
        """
        self.pen_up()
        self.eraser_up()
        strokes = self.drawn.strokes
        points = sum(len(stroke.points) for stroke in strokes)
        if len(strokes) >= MOST_STROKES or points >= MOST_POINTS / 2:
            return False
        self._pen = _Pen(
            self.pen_width, _kept(np.array([x, y], np.float64)), MOST_POINTS - points
        )
        self._settled_at = self.revision
        if self.drawn.picture is not None:
            self._forget_all()
        self.revision += 1
        return True

    def pen_move(self, x: float, y: float) -> Points | None:
        """Continue the stroke.

        Returns
        -------
        float64 array (P, 2) or None
            The new final piece of the smooth line, from the end of the last one; None
            if there is none.
        """
        if self._pen is None:
            return None
        piece = self._pen.move(_kept(np.array([x, y], np.float64)))
        if piece is not None:
            self.revision += 1
        return piece

    def pen_tail(self) -> list[tuple[float, float]]:
        """Return the end of the stroke, which is not smooth yet."""
        return [] if self._pen is None else self._pen.tail()

    def pen_up(self) -> Stroke | None:
        """End the stroke and return it."""
        if self._pen is None:
            return None
        stroke = self._pen.end()
        self._pen = None
        drawn = self.drawn
        kept = tuple(c for c in drawn.corrections if _share(stroke, c.box) < 0.5)
        if drawn.picture is not None:
            kept = ()
        self._add_step(Drawn((*drawn.strokes, stroke), None, kept))
        self.revision += 1
        return stroke

    def pen_cancel(self) -> Stroke | None:
        """Cancel and return the stroke, as if the pen had never been down."""
        if self._pen is None:
            return None
        stroke, self._pen = self._pen.stroke(), None
        self.revision += 1
        if self._read_revision == self._settled_at:  # it is without the stroke
            self._read_revision = self.revision
        return stroke

    # --- the eraser ----------------------------------------------------------------

    def erase(self, x0: float, y0: float, x1: float, y1: float, reach: float) -> bool:
        """Remove every stroke that the eraser touches from (x0, y0) to (x1, y1).

        Everything removed before `eraser_up` is one step.

        Parameters
        ----------
        x0, y0, x1, y1 : float
        reach : float
            The eraser's radius.

        Returns
        -------
        bool
            Whether a stroke was removed.
        """
        self.pen_up()
        drawn = self.drawn
        way = np.array([[x0, y0], [x1, y1]])
        gone = [s for s in drawn.strokes if _touches(s, way, reach)]
        if not gone:
            return False
        kept = tuple(stroke for stroke in drawn.strokes if stroke not in gone)
        boxes = [stroke.box for stroke in gone]
        corrections = tuple(
            c for c in drawn.corrections if not any(_meet(c.box, b) for b in boxes)
        )
        self._erased = replace(drawn, strokes=kept, corrections=corrections)
        self._forget(gone)
        return True

    def eraser_up(self) -> bool:
        """Make one step of the erasing; return whether anything was erased."""
        if self._erased is None:
            return False
        erased, self._erased = self._erased, None
        self._add_step(erased)
        return True

    # --- steps ---------------------------------------------------------------------

    def clear(self) -> bool:
        """Clear the canvas; return whether there was anything on it."""
        self.pen_up()
        self.eraser_up()
        if self.is_empty:
            return False
        self._add_step(Drawn())
        self._forget_all()
        return True

    def put(self, strokes: Strokes) -> None:
        """Replace the content with strokes, for example those of a file."""
        self.pen_up()
        self.eraser_up()
        self.grow(*strokes.size)
        pairs = zip(strokes.points, strokes.pen_widths, strict=True)
        self._add_step(Drawn(tuple(Stroke(np.round(p, 3), w) for p, w in pairs)))
        self._forget_all()

    def put_picture(self, picture: Picture, reading: Reading) -> None:
        """Replace the content with a picture and its reading."""
        self.pen_up()
        self.eraser_up()
        self._add_step(Drawn(picture=picture))
        self._forget_all()
        self.answer(self.revision, reading)

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return self._at > 0 or self._pen is not None or self._erased is not None

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return self._at < len(self._steps) - 1

    def undo(self) -> str:
        """Undo a step; return its kind: "ink", "correction", or "" for none."""
        self.pen_up()
        self.eraser_up()
        return self._go(-1)

    def redo(self) -> str:
        """Redo a step; return its kind as `undo` does."""
        self.pen_up()
        self.eraser_up()
        return self._go(1)

    def _go(self, by: int) -> str:
        if not 0 <= self._at + by < len(self._steps):
            return ""
        before = self.drawn
        self._at += by
        if before.picture is not self.drawn.picture:
            self._forget_all()
        elif before.strokes is not self.drawn.strokes:
            now = set(self.drawn.strokes)
            gone = [stroke for stroke in before.strokes if stroke not in now]
            self._forget(gone)
        else:
            self._correct_all()
            return "correction"
        return "ink"

    def _add_step(self, drawn: Drawn) -> None:
        del self._steps[self._at + 1 :]
        self._steps.append(drawn)
        del self._steps[:-MOST_STEPS]
        self._at = len(self._steps) - 1

    # --- reading and corrections ---------------------------------------------------

    def answer(self, revision: int, reading: Reading) -> bool:
        """Accept a reading, unless it is outdated or shows removed ink.

        Returns
        -------
        bool
            Whether it was accepted.
        """
        if revision < max(self._oldest, self._read_revision) or self.is_empty:
            return False
        self._read_revision = revision
        self._as_read = reading
        self._correct_all()
        return True

    def digit_at(self, x: float, y: float) -> int | None:
        """Return the index of the digit at a point, of several the smallest one's."""
        found = [
            ((x1 - x0) * (y1 - y0), number)
            for number, digit in enumerate(self.reading.digits)
            for x0, y0, x1, y1 in [digit.box]
            if x0 - NEAR <= x <= x1 + NEAR and y0 - NEAR <= y <= y1 + NEAR
        ]
        return min(found)[1] if found else None

    def last_digit(self) -> int | None:
        """Return the index of the digit drawn last, else of the last in the reading."""
        digits = self.reading.digits
        for stroke in reversed(self.drawn.strokes):
            shares = [(_share(stroke, digit.box), -n) for n, digit in enumerate(digits)]
            if shares and max(shares)[0] > 0.5:
                return -max(shares)[1]
        return len(digits) - 1 if digits else None

    def correct(self, index: int, label: int) -> None:
        """Correct the label of a digit, as a step of the history."""
        box = self.reading.digits[index].box
        others = tuple(c for c in self.drawn.corrections if _overlap(c.box, box) < SAME)
        corrected = (*others, Correction(box, label))
        self._add_step(replace(self.drawn, corrections=corrected))
        self._correct_all()

    def is_corrected(self, index: int) -> bool:
        """Return whether a digit's label is a correction."""
        box = self.reading.digits[index].box
        return any(_overlap(c.box, box) >= SAME for c in self.drawn.corrections)

    def digit_of(self, correction: Correction) -> int | None:
        """Return the index of the digit that a correction belongs to."""
        for number, digit in enumerate(self.reading.digits):
            if _overlap(correction.box, digit.box) >= SAME:
                return number
        return None

    def _correct_all(self) -> None:
        """Apply the corrections to the reading."""

        def corrected(digit: Digit) -> Digit:
            for correction in self.drawn.corrections:
                if _overlap(correction.box, digit.box) >= SAME:
                    return replace(digit, digit=correction.label)
            return digit

        self.reading = Reading(
            tuple(tuple(map(corrected, line)) for line in self._as_read.lines)
        )

    def _forget(self, gone: Iterable[Stroke]) -> None:
        """Drop the digits of removed strokes until the next reading."""
        boxes = [stroke.box for stroke in gone]
        lines = (
            tuple(d for d in line if not any(_meet(d.box, box) for box in boxes))
            for line in self._as_read.lines
        )
        self._as_read = Reading(tuple(line for line in lines if line))
        self.revision += 1
        self._oldest = self.revision
        if self.is_empty:
            self._as_read = Reading()
            self._read_revision = self.revision
        self._correct_all()

    def _forget_all(self) -> None:
        """Drop the whole reading."""
        self._as_read = Reading()
        self._forget([])


class _Pen:
    """A stroke being drawn: pointer positions, and a smooth line through them.

    The line is a centripetal Catmull-Rom spline (Yuksel, Schaefer and Keyser 2011),
    which interpolates all positions without loops. A segment needs the position after
    its end, so the line is one position behind the pointer. Positions are whole pixels,
    which makes staircases of slow lines; each is first moved a little towards the
    midpoint of its neighbours.
    """

    def __init__(self, width: float, start: Points, most: int) -> None:
        self.width = width
        self.positions = [start]
        self.last = start  # position of the pointer, even where it moved too little
        self.line = [start[np.newaxis]]
        self.room = most - 1  # points that may still be added

    def move(self, position: Points) -> Points | None:
        self.last = position
        if math.dist(position, self.positions[-1]) < NEAREST or self.room < 200:
            return None
        self._steady(position)
        self.positions.append(position)
        return self._grown() if len(self.positions) > 2 else np.empty((0, 2))

    def _steady(self, after: Points) -> None:
        """Smooth the last position, now that the one after it is known.

        It moves at most `STEADY`, so a corner stays.
        """
        if len(self.positions) > 1:
            off = (self.positions[-2] + after) / 2 - self.positions[-1]
            far = max(float(np.hypot(*off)) / 2, 1e-9)
            moved = self.positions[-1] + off / 2 * min(1.0, STEADY / far)
            self.positions[-1] = np.round(moved, 3)

    def tail(self) -> list[tuple[float, float]]:
        """Return the polyline from the end of the line to the pointer."""
        ends = [self.line[-1][-1], self.positions[-1], self.last]
        return [(float(x), float(y)) for x, y in ends]

    def stroke(self) -> Stroke:
        """Return the stroke up to the pointer."""
        points = np.concatenate([*self.line, np.array(self.tail()[1:])])
        different = np.any(points[1:] != points[:-1], axis=1)
        return Stroke(points[np.concatenate([[True], different])], self.width)

    def end(self) -> Stroke:
        """Smooth the line to its end."""
        if self.last is not self.positions[-1]:
            if math.dist(self.last, self.positions[-1]) > NEAREST / 2:
                self._steady(self.last)
                self.positions.append(self.last)
                if len(self.positions) > 2:
                    self._grown()
            self.last = self.positions[-1]
        if len(self.positions) > 1:
            *earlier, before, last = self.positions
            beyond = 2 * last - before
            first = earlier[-1] if earlier else 2 * before - beyond
            self.line.append(_spline(first, before, last, beyond))
        return self.stroke()

    def _grown(self) -> Points:
        """Append the segment from the third last to the second last position."""
        start, stop, after = self.positions[-3:]
        first = self.positions[-4] if len(self.positions) > 3 else 2 * start - stop
        piece = _spline(first, start, stop, after)
        self.line.append(piece)
        self.room -= len(piece)
        return np.concatenate([start[np.newaxis], piece])


def _spline(p0: Points, p1: Points, p2: Points, p3: Points) -> Points:
    """Return the curve from p1 (excluded) to p2, its points about `SPACING` apart."""
    # The maximum bounds the points of a very long segment.
    steps = min(math.ceil(math.dist(p1, p2) / SPACING), 100)
    t = (np.arange(1, steps + 1) / steps)[:, np.newaxis]
    # Knot distances are the roots of point distances, which may be 0 at the ends.
    a, b, c = (
        max(math.sqrt(math.dist(q, r)), 1e-3) for q, r in ((p0, p1), (p1, p2), (p2, p3))
    )
    slope1 = ((p1 - p0) / a - (p2 - p0) / (a + b) + (p2 - p1) / b) * b
    slope2 = ((p2 - p1) / b - (p3 - p1) / (b + c) + (p3 - p2) / c) * b
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * p1
        + (t**3 - 2 * t**2 + t) * slope1
        + (3 * t**2 - 2 * t**3) * p2
        + (t**3 - t**2) * slope2
    )
    return _kept(curve)


def _kept(points: Points) -> Points:
    """Return points clipped and rounded as in a stroke file."""
    kept: Points = points.clip(-LARGEST_SIDE, LARGEST_SIDE).round(3)
    return kept


def _touches(stroke: Stroke, way: Points, reach: float) -> bool:
    """Return whether the eraser's path touches a stroke's ink."""
    near = reach + stroke.pen_width / 2
    low, high = way.min(axis=0) - near, way.max(axis=0) + near
    points = stroke.points
    if (points.max(axis=0) < low).any() or (points.min(axis=0) > high).any():
        return False
    length = math.dist(way[0], way[1])
    steps = max(math.ceil(length / max(reach, 1)), 1)
    samples = way[0] + np.linspace(0, 1, steps + 1)[:, None] * (way[1] - way[0])
    starts = points if len(points) == 1 else points[:-1]
    legs = points[1:] - points[:-1] if len(points) > 1 else np.zeros((1, 2))
    off = samples[:, None] - starts  # (samples, legs, 2)
    along = (off * legs).sum(-1) / np.maximum((legs**2).sum(-1), 1e-9)
    off -= np.clip(along, 0, 1)[..., None] * legs
    return bool(((off**2).sum(-1) <= near**2).any())


def _share(stroke: Stroke, box: Box) -> float:
    """Return the share of a stroke's points inside a box."""
    low, high = np.array(box[:2]), np.array(box[2:])
    inside = (stroke.points >= low) & (stroke.points <= high)
    return float(inside.all(axis=1).mean())


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _overlap(a: Box, b: Box) -> float:
    """Return the intersection over the union of two boxes."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    shared = width * height
    return shared / max(both - shared, 1e-9)
