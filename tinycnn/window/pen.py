"""A smooth line through the positions of the pointer.

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


def smooth(positions: Points, spacing: float, most: int) -> Points:
    """Return a smooth line of up to `most` points, each as in a stroke file.

    Parameters
    ----------
    positions : float64 array (P, 2)
    spacing : float
        Between points of the line, in the unit of the positions.
    most : int

    Returns
    -------
    float64 array (Q, 2)
        From the first position to the last; no two neighbours are the same.
    """
    controls = positions[1:-1]
    middles = (controls + positions[2:]) / 2
    line, start = [positions[:1]], positions[0]
    for control, stop in zip(controls, middles, strict=True):
        long = math.dist(start, control) + math.dist(control, stop)
        # The maximum bounds the points of a very long segment.
        steps = min(math.ceil(long / spacing), 100)
        t = (np.arange(1, steps + 1) / steps)[:, np.newaxis]
        line.append((1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * stop)
        start = stop
    inner = np.concatenate(line)
    thinned = inner[:: len(inner) // (most - 1) + 1]
    points = kept(np.concatenate([thinned, positions[-1:]]))
    different = np.any(points[1:] != points[:-1], axis=1)
    return points[np.concatenate([[True], different])]


def kept(points: Points) -> Points:
    """Return points clipped and rounded as in a stroke file."""
    clipped: Points = points.clip(-LARGEST_SIDE, LARGEST_SIDE).round(3)
    return clipped
