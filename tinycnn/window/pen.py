"""The pen: a smooth line through the positions of the pointer.

Between the midpoints of its segments, the polyline of the positions is replaced by
quadratic Bézier curves whose control points are the positions: the line has no corners,
and the staircases of slow lines, whose positions are whole pixels, are smoothed.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tinycnn.ink.strokes import LARGEST_SIDE

Points = NDArray[np.float64]
NEAREST = 2.0  # screen pixels; smaller movements of the pointer are ignored
SPACING = 4.0  # screen pixels between points of the line, at most about


class Pen:
    """A stroke being drawn, of up to `room` points; `unit` is units a screen pixel."""

    def __init__(self, width: float, start: Points, room: int, unit: float) -> None:
        self.width, self._room, self._unit = width, room, unit
        self._positions = [kept(start)]
        self._line = [self._positions[0][np.newaxis]]  # the final pieces of the line
        self._last = self._positions[0]  # the pointer, even where it moved too little

    def move(self, position: Points) -> Points | None:
        """Continue; return the new final piece of the line, None if nothing is new."""
        self._last = position = kept(position)
        before = self._positions[-1]
        near = math.dist(position, before) < NEAREST * self._unit
        if near or self._room < 200:
            return None
        self._positions.append(position)
        if len(self._positions) == 2:
            return np.empty((0, 2))
        start, stop = self._line[-1][-1], (before + position) / 2
        long = math.dist(start, before) + math.dist(before, stop)
        # The maximum bounds the points of a very long segment.
        steps = min(math.ceil(long / (SPACING * self._unit)), 100)
        t = (np.arange(1, steps + 1) / steps)[:, np.newaxis]
        piece = (1 - t) ** 2 * start + 2 * t * (1 - t) * before + t**2 * stop
        self._line.append(kept(piece))
        self._room -= steps
        return np.concatenate([start[np.newaxis], self._line[-1]])

    def tail(self) -> Points:
        """Return the line (2, 2) from the end of the smooth part to the pointer."""
        return np.array([self._line[-1][-1], self._last])

    def points(self) -> Points:
        """Return all points (P, 2), up to the pointer."""
        points = np.concatenate([*self._line, self._last[np.newaxis]])
        different = np.any(points[1:] != points[:-1], axis=1)
        return points[np.concatenate([[True], different])]


def kept(points: Points) -> Points:
    """Return points clipped and rounded as in a stroke file."""
    clipped: Points = points.clip(-LARGEST_SIDE, LARGEST_SIDE).round(3)
    return clipped
