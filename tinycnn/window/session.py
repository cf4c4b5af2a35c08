"""What is drawn, undone, read and corrected: the window without its widgets.

Everything is in units of the canvas, which are no screen's pixels: the size of a
screen's dot, of the window and the theme cannot change what is read. A drawing is a
tuple of strokes that never change, so a step back is simply the tuple of before.

This file knows strokes, steps and readings. It knows no Tk, no process, no network.
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

NEAREST = 2.0  # units; a pointer that moved less says nothing new
STEADY = 1.0  # units that a place may be moved to take the tremble of pixels out
SPACING = 4.0  # units from point to point of a smooth line, at most
MOST_STEPS = 200  # can be undone
SAME = 0.7  # a box that overlaps this much with a corrected one is the same digit
NEAR = 4.0  # units around a box that still belong to it


@dataclass(frozen=True, eq=False)
class Stroke:
    """One stroke as it was drawn.

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
        """The box of its ink."""
        x0, y0 = self.points.min(axis=0).tolist()
        x1, y1 = self.points.max(axis=0).tolist()
        half = self.pen_width / 2
        return x0 - half, y0 - half, x1 + half, y1 + half


@dataclass(frozen=True)
class Correction:
    """What a digit should have been read as."""

    box: tuple[int, int, int, int]
    label: int


@dataclass(frozen=True)
class Drawn:
    """All that a step can change."""

    strokes: tuple[Stroke, ...] = ()
    picture: Picture | None = None
    corrections: tuple[Correction, ...] = ()


class Session:
    """One drawing and its history.

    Parameters
    ----------
    size : (int, int)
        Width and height of the canvas at first, in units.

    Attributes
    ----------
    size : (int, int)
        It grows with the window and with what is opened, and never shrinks.
    pen_width : float
        Of the strokes to come.
    revision : int
        Counts every change of what is to be read.
    reading : Reading
        The newest one, with its corrections.
    """

    def __init__(self, size: tuple[int, int] = (1, 1)) -> None:
        self.size = size
        self.pen_width = PEN_WIDTH
        self.revision = 0
        self.reading = Reading()
        self._as_read = Reading()  # before corrections
        self._read_revision = 0  # of the reading
        self._oldest = 0  # a reading of before that shows ink that has gone
        self._settled_at = 0  # the revision when the pen came down
        self._steps = [Drawn()]
        self._at = 0
        self._pen: _Pen | None = None
        self._erased: Drawn | None = None  # while the eraser is down

    # --- what there is -------------------------------------------------------------

    @property
    def drawn(self) -> Drawn:
        """What is on the canvas, but for a stroke whose pen is still down."""
        return self._erased or self._steps[self._at]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to be read."""
        drawn = self.drawn
        return not drawn.strokes and drawn.picture is None and self._pen is None

    @property
    def is_settled(self) -> bool:
        """Whether the reading is of what is on the canvas now."""
        return self._read_revision == self.revision

    @property
    def drawing(self) -> Drawing:
        """What is to be read: the strokes, or the file of a picture."""
        picture = self.drawn.picture
        return self.strokes() if picture is None else picture.path

    def strokes(self) -> Strokes:
        """Return all strokes, that of a pen that is down included."""
        strokes = self.drawn.strokes
        if self._pen is not None:
            strokes = (*strokes, self._pen.stroke())
        return Strokes(
            tuple(stroke.points for stroke in strokes),
            tuple(stroke.pen_width for stroke in strokes),
            self.size,
        )

    def extent(self) -> tuple[float, float]:
        """Return how far right and down the pen or a picture went."""
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
        """Make the canvas at least this large."""
        larger = (
            min(max(self.size[0], math.ceil(width)), LARGEST_SIDE),
            min(max(self.size[1], math.ceil(height)), LARGEST_SIDE),
        )
        if larger != self.size:
            self.size = larger

    # --- the pen -------------------------------------------------------------------

    def pen_down(self, x: float, y: float) -> bool:
        """Begin a stroke, or return False if there are too many.

        A picture is put away; undoing the stroke brings it back.
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
        """Go on with the stroke.

        Returns
        -------
        float64 array (P, 2) or None
            The piece of the smooth line that is certain now, from where the last one
            ended; None if nothing is.
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
        """Take the pen away as if it had never been down; return what it had drawn."""
        if self._pen is None:
            return None
        stroke, self._pen = self._pen.stroke(), None
        self.revision += 1
        if self._read_revision == self._settled_at:  # the reading is without the dot
            self._read_revision = self.revision
        return stroke

    # --- the eraser ----------------------------------------------------------------

    def erase(self, x0: float, y0: float, x1: float, y1: float, reach: float) -> bool:
        """Take away every stroke that the eraser touches on its way from 0 to 1.

        All that goes until `eraser_up` is one step.

        Parameters
        ----------
        x0, y0, x1, y1 : float
        reach : float
            Half the eraser's breadth.

        Returns
        -------
        bool
            Whether something went.
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
        """Make one step of what was erased; return whether there was anything."""
        if self._erased is None:
            return False
        erased, self._erased = self._erased, None
        self._add_step(erased)
        return True

    # --- steps ---------------------------------------------------------------------

    def clear(self) -> bool:
        """Take everything away; return whether there was anything."""
        self.pen_up()
        self.eraser_up()
        if self.is_empty:
            return False
        self._add_step(Drawn())
        self._forget_all()
        return True

    def put(self, strokes: Strokes) -> None:
        """Show other strokes instead, as those of a file."""
        self.pen_up()
        self.eraser_up()
        self.grow(*strokes.size)
        pairs = zip(strokes.points, strokes.pen_widths, strict=True)
        self._add_step(Drawn(tuple(Stroke(np.round(p, 3), w) for p, w in pairs)))
        self._forget_all()

    def put_picture(self, picture: Picture, reading: Reading) -> None:
        """Show a picture instead, which was read already."""
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
        """Whether there is a step to do again."""
        return self._at < len(self._steps) - 1

    def undo(self) -> str:
        """Go a step back; return what it was: ink, a correction, or nothing ("")."""
        self.pen_up()
        self.eraser_up()
        return self._go(-1)

    def redo(self) -> str:
        """Do again what was undone; return what it was, as `undo` does."""
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

    # --- what was read -------------------------------------------------------------

    def answer(self, revision: int, reading: Reading) -> bool:
        """Take a reading, unless a newer one is known or its ink has gone.

        Returns
        -------
        bool
            Whether it was taken.
        """
        if revision < max(self._oldest, self._read_revision) or self.is_empty:
            return False
        self._read_revision = revision
        self._as_read = reading
        self._correct_all()
        return True

    def digit_at(self, x: float, y: float) -> int | None:
        """Return the number of the digit whose box is here; the smallest of several."""
        found = [
            ((x1 - x0) * (y1 - y0), number)
            for number, digit in enumerate(self.reading.digits)
            for x0, y0, x1, y1 in [digit.box]
            if x0 - NEAR <= x <= x1 + NEAR and y0 - NEAR <= y <= y1 + NEAR
        ]
        return min(found)[1] if found else None

    def last_digit(self) -> int | None:
        """Return the number of the digit that was drawn last; else the very last."""
        digits = self.reading.digits
        for stroke in reversed(self.drawn.strokes):
            shares = [(_share(stroke, digit.box), -n) for n, digit in enumerate(digits)]
            if shares and max(shares)[0] > 0.5:
                return -max(shares)[1]
        return len(digits) - 1 if digits else None

    def correct(self, index: int, label: int) -> None:
        """Say what a digit should have been; a step that can be undone."""
        box = self.reading.digits[index].box
        others = tuple(c for c in self.drawn.corrections if _overlap(c.box, box) < SAME)
        corrected = (*others, Correction(box, label))
        self._add_step(replace(self.drawn, corrections=corrected))
        self._correct_all()

    def is_corrected(self, index: int) -> bool:
        """Return whether a digit's label comes from a person."""
        box = self.reading.digits[index].box
        return any(_overlap(c.box, box) >= SAME for c in self.drawn.corrections)

    def digit_of(self, correction: Correction) -> int | None:
        """Return the number of the digit that a correction is about."""
        for number, digit in enumerate(self.reading.digits):
            if _overlap(correction.box, digit.box) >= SAME:
                return number
        return None

    def _correct_all(self) -> None:
        """Lay the corrections over what was read."""

        def corrected(digit: Digit) -> Digit:
            for correction in self.drawn.corrections:
                if _overlap(correction.box, digit.box) >= SAME:
                    return replace(digit, digit=correction.label)
            return digit

        self.reading = Reading(
            tuple(tuple(map(corrected, line)) for line in self._as_read.lines)
        )

    def _forget(self, gone: Iterable[Stroke]) -> None:
        """Forget the digits whose ink has changed, until there is a new reading."""
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
        """Forget the reading: it is of something else."""
        self._as_read = Reading()
        self._forget([])


class _Pen:
    """A stroke in the making: where the pointer was, and a smooth line through it.

    The line is a centripetal Catmull-Rom spline (Yuksel, Schaefer and Keyser 2011): it
    goes through every place, without loops. A piece of it needs the place after the
    next, so the line is one place behind the pointer. Before that, a place is moved a
    little towards the middle of its neighbours: a pointer counts whole pixels, which
    makes stairs of slow lines, and others on every screen.
    """

    def __init__(self, width: float, start: Points, most: int) -> None:
        self.width = width
        self.places = [start]
        self.last = start  # of the pointer, though it may be too near for a place
        self.line = [start[np.newaxis]]
        self.room = most - 1  # points that there may still be

    def move(self, place: Points) -> Points | None:
        self.last = place
        if math.dist(place, self.places[-1]) < NEAREST or self.room < 200:
            return None
        self._steady(place)
        self.places.append(place)
        return self._grown() if len(self.places) > 2 else np.empty((0, 2))

    def _steady(self, after: Points) -> None:
        """Take the tremble out of the last place, now that the one after it is known.

        A corner is further off the middle of its neighbours than pixels tremble, and
        stays.
        """
        if len(self.places) > 1:
            off = (self.places[-2] + after) / 2 - self.places[-1]
            far = max(float(np.hypot(*off)) / 2, 1e-9)
            moved = self.places[-1] + off / 2 * min(1.0, STEADY / far)
            self.places[-1] = np.round(moved, 3)

    def tail(self) -> list[tuple[float, float]]:
        """Return the way from the end of the line to the pointer."""
        ends = [self.line[-1][-1], self.places[-1], self.last]
        return [(float(x), float(y)) for x, y in ends]

    def stroke(self) -> Stroke:
        """Return the stroke as if the pen were lifted here."""
        points = np.concatenate([*self.line, np.array(self.tail()[1:])])
        different = np.any(points[1:] != points[:-1], axis=1)
        return Stroke(points[np.concatenate([[True], different])], self.width)

    def end(self) -> Stroke:
        """Smooth the line to its end."""
        if self.last is not self.places[-1]:
            if math.dist(self.last, self.places[-1]) > NEAREST / 2:
                self._steady(self.last)
                self.places.append(self.last)
                if len(self.places) > 2:
                    self._grown()
            self.last = self.places[-1]
        if len(self.places) > 1:
            before = self.places[-2]
            beyond = 2 * self.places[-1] - before
            first = self.places[-3] if len(self.places) > 2 else 2 * before - beyond
            self.line.append(_spline(first, before, self.places[-1], beyond))
        return self.stroke()

    def _grown(self) -> Points:
        """Smooth the line from the third last place to the second last."""
        start, stop, after = self.places[-3:]
        first = self.places[-4] if len(self.places) > 3 else 2 * start - stop
        piece = _spline(first, start, stop, after)
        self.line.append(piece)
        self.room -= len(piece)
        return np.concatenate([start[np.newaxis], piece])


def _spline(p0: Points, p1: Points, p2: Points, p3: Points) -> Points:
    """Return the curve from p1 (left out) to p2, a point every few units."""
    # Between places as near as this a curve cannot be told from a line.
    steps = min(math.ceil(math.dist(p1, p2) / SPACING), 100)
    t = (np.arange(1, steps + 1) / steps)[:, np.newaxis]
    # Knots lie as far apart as the root of the distance; the ends may coincide.
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
    """Return points as a file can keep them."""
    kept: Points = points.clip(-LARGEST_SIDE, LARGEST_SIDE).round(3)
    return kept


def _touches(stroke: Stroke, way: Points, reach: float) -> bool:
    """Return whether the eraser on its way comes near enough to a stroke's ink."""
    near = reach + stroke.pen_width / 2
    low, high = way.min(axis=0) - near, way.max(axis=0) + near
    points = stroke.points
    if (points.max(axis=0) < low).any() or (points.min(axis=0) > high).any():
        return False
    length = math.dist(way[0], way[1])
    steps = max(math.ceil(length / max(reach, 1)), 1)
    places = way[0] + np.linspace(0, 1, steps + 1)[:, None] * (way[1] - way[0])
    starts = points if len(points) == 1 else points[:-1]
    legs = points[1:] - points[:-1] if len(points) > 1 else np.zeros((1, 2))
    off = places[:, None] - starts  # (places, legs, 2)
    along = (off * legs).sum(-1) / np.maximum((legs**2).sum(-1), 1e-9)
    off -= np.clip(along, 0, 1)[..., None] * legs
    return bool(((off**2).sum(-1) <= near**2).any())


def _share(stroke: Stroke, box: Box) -> float:
    """Return which share of a stroke's points is in a box."""
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
