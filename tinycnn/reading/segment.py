"""Ink becomes pieces, pieces become lines, lines offer candidates for digits.

A *piece* is ink that belongs together: a connected component, a part of one between two
cuts, or a stroke of a pen. A *candidate* is a run of neighbouring pieces that may be one
digit. Nothing is decided here: a search over all ways to divide a line into candidates,
scored by networks, does that (`tinycnn.reading.reader`). This is the over-segmentation
of LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
recognition" (1998), section V.

How much two neighbours look like parts of one digit is their *bond*, in log odds.

It knows the shapes of ink, and no network.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

from tinycnn.ink.normalize import normalize, normalize_strokes
from tinycnn.ink.strokes import Strokes

INK = 0.4  # what counts as ink when asking what touches
EIGHT = np.ones((3, 3), bool)  # neighbours touch at corners, too
MOST_PIECES = 8  # of one digit
TALL = 0.45  # of the typical height: a bar or a dot is lower, a digit is not
APART = -20.0  # the bond of what has nothing to do with each other

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """Ink that belongs together.

    Attributes
    ----------
    x0, y0, x1, y1 : float
        Its box, half open, in pixels of the ink.
    area : float
        Pixels of ink.
    whole, part : int
        The component or stroke, and which part of it, left to right.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    area: float
    whole: int
    part: int = 0

    @property
    def height(self) -> float:
        """Its height in pixels."""
        return self.y1 - self.y0


@dataclass(frozen=True)
class Line:
    """One line of writing.

    Attributes
    ----------
    pieces : tuple of int
        Numbers of the page's pieces, left to right.
    height : float
        The typical height of its digits, in pixels.
    bonds : tuple of float
        One between each two neighbours: the log odds that they are of one digit.
    """

    pieces: tuple[int, ...]
    height: float
    bonds: tuple[float, ...]


@dataclass(frozen=True)
class Candidate:
    """What may be one digit.

    Attributes
    ----------
    start, stop : int
        The run of pieces in its line, half open.
    pieces : tuple of int
        Numbers of the page's pieces.
    wholes : int
        How many components or strokes they are of.
    box : (float, float, float, float)
        ``x0, y0, x1, y1`` in pixels of the ink, half open.
    """

    start: int
    stop: int
    pieces: tuple[int, ...]
    wholes: int
    box: tuple[float, float, float, float]


class PicturePage:
    """Pieces of ink whose strokes nobody knows: its connected components.

    Parameters
    ----------
    values : float32 array (H, W)
        1 = ink.

    Attributes
    ----------
    pieces : list of Piece
    """

    def __init__(self, values: Floats) -> None:
        self.values = values
        labels, count = ndimage.label(values >= INK, EIGHT)
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        self.pieces = [
            Piece(x.start, y.start, x.stop, y.stop, int(areas[n + 1]), n)
            for n, (y, x) in enumerate(ndimage.find_objects(labels))
        ]
        # The soft edge belongs to the ink beside it.
        for _ in range(2):
            labels = np.where(labels, labels, ndimage.maximum_filter(labels, 3))
        self.owner = labels  # number of the piece + 1, or 0
        self._crossed: dict[tuple[int, int], float] = {}

    def image(self, pieces: Sequence[int]) -> Floats:
        """Return the 28×28 image of some pieces together."""
        chosen = [self.pieces[i] for i in pieces]
        x0, y0, x1, y1 = _box(chosen)
        edge = 2
        window = (
            slice(max(int(y0) - edge, 0), int(y1) + edge),
            slice(max(int(x0) - edge, 0), int(x1) + edge),
        )
        keep = np.zeros(len(self.pieces) + 1, np.float32)
        keep[np.add(pieces, 1)] = 1
        return normalize(self.values[window] * keep[self.owner[window]])

    def cut(self, wholes: Iterable[int]) -> None:
        """Cut components where one digit may end and the next begin.

        Parameters
        ----------
        wholes : iterable of int
            Which; not cut before.
        """
        typical = _typical_height(self.pieces)
        for number in wholes:
            whole = self.pieces[number]
            window = (
                slice(int(whole.y0), int(whole.y1)),
                slice(int(whole.x0), int(whole.x1)),
            )
            labels = self.owner[window]
            mine = labels == number + 1
            values = np.where(mine, self.values[window], np.float32(0))
            seams = _seams(values, min(typical, whole.height))
            part = np.zeros(values.shape, np.int32)
            for seam, _ in seams:
                part += np.arange(values.shape[1]) >= seam[:, np.newaxis]
            for n in range(len(seams) + 1):
                inside = mine & (part == n)
                y, x = np.nonzero(inside & (values >= INK))
                piece = Piece(
                    whole.x0 + (x.min() if len(x) else 0),
                    whole.y0 + (y.min() if len(y) else 0),
                    whole.x0 + (x.max() + 1 if len(x) else 0),
                    whole.y0 + (y.max() + 1 if len(y) else 0),
                    len(x),
                    whole.whole,
                    n,
                )
                if n == 0:
                    self.pieces[number] = piece
                else:
                    labels[inside] = len(self.pieces) + 1
                    self.pieces.append(piece)
                    self._crossed[whole.whole, n] = seams[n - 1][1]

    def bond(self, i: int, j: int, height: float) -> float:
        """Return the log odds that two pieces are of one digit.

        Parameters
        ----------
        i, j : int
            Numbers of pieces.
        height : float
            Of the line, in pixels.
        """
        a, b = self.pieces[i], self.pieces[j]
        if a.whole != b.whole:
            return _bond(self._gap(i, j) / height, a, b, height)
        if abs(a.part - b.part) != 1:
            return APART
        return CUT + CROSSED * self._crossed[a.whole, max(a.part, b.part)]

    def _gap(self, i: int, j: int) -> float:
        """Return the smallest distance along a row, or of the boxes where none meets
        both.
        """
        a, b = self.pieces[i], self.pieces[j]
        top, bottom = max(a.y0, b.y0), min(a.y1, b.y1)
        if top >= bottom:
            return _distance(a, b)
        x0, x1 = int(min(a.x0, b.x0)), int(max(a.x1, b.x1))
        labels = self.owner[int(top) : int(bottom), x0:x1]
        left, right = labels == i + 1, labels == j + 1
        ends = x1 - x0 - left[:, ::-1].argmax(axis=1), right.argmax(axis=1)
        both = left.any(axis=1) & right.any(axis=1)
        return float(max((ends[1] - ends[0])[both].min(), 0)) if both.any() else 0.0


class StrokePage:
    """Pieces of ink that a pen left: its strokes.

    Parameters
    ----------
    strokes : Strokes

    Attributes
    ----------
    pieces : list of Piece
    """

    def __init__(self, strokes: Strokes) -> None:
        self.points = strokes.points
        self.pieces = []
        for n, (points, pen) in enumerate(
            zip(strokes.points, strokes.pen_widths, strict=True)
        ):
            low, high = points.min(axis=0) - pen / 2, points.max(axis=0) + pen / 2
            length = np.hypot(*np.diff(points, axis=0).T).sum()
            x0, y0, x1, y1 = map(float, (*low, *high))
            self.pieces.append(Piece(x0, y0, x1, y1, float(pen * (length + pen)), n))

    def image(self, pieces: Sequence[int]) -> Floats:
        """Return the 28×28 image of some strokes together."""
        return normalize_strokes([self.points[i] for i in pieces])

    def cut(self, wholes: Iterable[int]) -> None:
        """Leave strokes whole: nobody writes two digits without lifting the pen."""

    def bond(self, i: int, j: int, height: float) -> float:
        """Return the log odds that two strokes are of one digit."""
        a, b = self.pieces[i], self.pieces[j]
        gap = _distance(a, b)
        if gap < height:
            fine = 0.05 * height
            gap = float(cdist(_dense(self.points[i], fine), _dense(self.points[j], fine)).min())
        return _bond(gap / height, a, b, height)


Page = PicturePage | StrokePage

CUT, CROSSED = 2.0, 0.1


def _bond(gap: float, a: Piece, b: Piece, height: float) -> float:
    """Return the log odds that two separate pieces are of one digit.

    Fitted to the neighbouring strokes of written numbers: those that touch are of one
    digit 19 times of 20, those that are apart by a fifth of the height hardly ever,
    unless one is above the other.
    """
    beside = (min(a.x1, b.x1) - max(a.x0, b.x0)) / height
    return max(2 - 33 * gap + 10 * max(beside, 0), APART)


def _dense(points: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return the points of a stroke, and more between those that are far apart."""
    if len(points) == 1:
        return points
    along = np.concatenate([[0], np.hypot(*np.diff(points, axis=0).T).cumsum()])
    places = np.linspace(0, along[-1], int(along[-1] / step) + 2)
    return np.stack([np.interp(places, along, axis) for axis in points.T], axis=1)


def _typical_height(pieces: Sequence[Piece]) -> float:
    """Return the height of the piece that holds the middle of all ink."""
    order = sorted(pieces, key=lambda piece: piece.height)
    half = np.cumsum([piece.area for piece in order])
    return order[int(np.searchsorted(half, half[-1] / 2))].height


SP, LIM, LAT = 0.05, 4.5, 2.0


def _seams(values: Floats, height: float) -> list[tuple[NDArray[np.int64], float]]:
    """Return paths from top to bottom that cross little ink, left to right.

    A path moves by at most one column a row and pays for ink and for moving sideways.
    ``down[y, x]`` is the price of the cheapest path from the top to (y, x), ``up`` the
    same from the bottom; their sum in the middle row is that of the cheapest path
    through each column, and its local minima are where digits may touch.

    Returns
    -------
    list of (int array (H,), float)
        The first column of the right side in each row, and the ink crossed in widths of
        a stroke.
    """
    H, W = values.shape
    if H < 8 or W < 0.3 * height:
        return []
    cost = values + np.float32(0.01)
    down, up = np.empty_like(cost), np.empty_like(cost)
    for total, rows in ((down, range(H)), (up, range(H - 1, -1, -1))):
        before = np.zeros(W, np.float32)
        for y in rows:
            total[y] = before + cost[y]
            np.minimum(total[y, 1:], before[:-1] + LAT + cost[y, 1:], out=total[y, 1:])
            np.minimum(total[y, :-1], before[1:] + LAT + cost[y, :-1], out=total[y, :-1])
            before = total[y]
    middle = H // 2
    through = down[middle] + up[middle] - cost[middle]
    ink = values >= INK
    rim = ink & ~ndimage.binary_erosion(ink)
    stroke = 2 * ink.sum() / max(rim.sum(), 1)
    spacing = max(int(SP * height), 2)
    least = ndimage.minimum_filter1d(through, 2 * spacing + 1, mode="nearest")
    margin = max(int(0.1 * height), 1)
    chosen: list[int] = []
    for x in range(margin, W - margin):
        cheap = through[x] == least[x] and through[x] <= LIM * stroke + 0.01 * H
        if cheap and (not chosen or x - chosen[-1] >= spacing):
            chosen.append(x)
    return [
        (_path(down, up, x), float(through[x] / stroke)) for x in chosen
    ]


def _path(down: Floats, up: Floats, x: int) -> NDArray[np.int64]:
    """Follow the cheapest path from column x of the middle row to top and bottom."""
    H, W = down.shape
    middle = H // 2
    path = np.empty(H, np.int64)
    for total, rows in ((down, range(middle - 1, -1, -1)), (up, range(middle + 1, H))):
        at = path[middle] = x
        for y in rows:
            near = range(max(at - 1, 0), min(at + 2, W))
            at = min(near, key=lambda j: total[y, j] + LAT * (j != at))  # noqa: B023
            path[y] = at
    return path


def lines(page: Page) -> list[Line]:
    """Return the lines of writing, top to bottom.

    Tall components make the lines, from left to right: each joins the line whose last
    ones are beside it. What is low goes with the nearest.

    Parameters
    ----------
    page : PicturePage or StrokePage

    Returns
    -------
    list of Line
    """
    parts: dict[int, list[int]] = {}
    for i, piece in enumerate(page.pieces):
        parts.setdefault(piece.whole, []).append(i)
    if not parts:
        return []
    wholes = {}
    for n, numbers in parts.items():
        area = sum(page.pieces[i].area for i in numbers)
        wholes[n] = Piece(*_box([page.pieces[i] for i in numbers]), area, n)
    least = TALL * _typical_height(list(wholes.values()))
    rows: list[list[int]] = []
    for n in sorted(wholes, key=lambda n: wholes[n].x0):
        if wholes[n].height >= least:
            beside = [
                max(_overlap(wholes[n], wholes[m]) for m in row[-2:]) for row in rows
            ]
            if beside and max(beside) > 0.3:
                rows[beside.index(max(beside))].append(n)
            else:
                rows.append([n])
    middles = [np.mean([wholes[n].y0 + wholes[n].y1 for n in row]) for row in rows]
    tall = [rows[r] for r in np.argsort(middles, kind="stable")]
    rows = [list(row) for row in tall]
    for n, whole in wholes.items():
        if whole.height < least:
            near = [min(_distance(whole, wholes[m]) for m in row) for row in tall]
            rows[near.index(min(near))].append(n)
    return [_line(page, [wholes[n] for n in row], parts) for row in rows]


def _line(page: Page, wholes: list[Piece], parts: dict[int, list[int]]) -> Line:
    """Put the pieces of some components in order."""
    height = _typical_height(wholes)
    numbers = [i for whole in wholes for i in parts[whole.whole]]
    numbers.sort(key=lambda i: (page.pieces[i].x0 + page.pieces[i].x1, i))
    bonds = []
    for k in range(1, len(numbers)):
        across = (
            page.bond(i, j, height)
            for i in numbers[max(k - 3, 0) : k]
            for j in numbers[k : k + 3]
        )
        bonds.append(max(across))
    return Line(tuple(numbers), height, tuple(bonds))


def candidates(page: Page, line: Line) -> Iterator[Candidate]:
    """Yield the runs of neighbouring pieces that may be one digit.

    A single piece always may; several may if no bond between them says otherwise and
    they are no wider than a digit.
    """
    for start in range(len(line.pieces)):
        for stop in range(start + 1, min(start + MOST_PIECES, len(line.pieces)) + 1):
            numbers = line.pieces[start:stop]
            pieces = [page.pieces[i] for i in numbers]
            box = _box(pieces)
            wholes = len({piece.whole for piece in pieces})
            if stop > start + 1 and (
                line.bonds[stop - 2] < -6
                or (wholes > 1 and box[2] - box[0] > 1.4 * max(line.height, box[3] - box[1]))
            ):
                break
            yield Candidate(start, stop, numbers, wholes, box)


def _box(pieces: Sequence[Piece]) -> tuple[float, float, float, float]:
    """Return the box around some pieces."""
    return (
        min(piece.x0 for piece in pieces),
        min(piece.y0 for piece in pieces),
        max(piece.x1 for piece in pieces),
        max(piece.y1 for piece in pieces),
    )


def _overlap(a: Piece, b: Piece) -> float:
    """Return how much of the lower piece's height is beside the other."""
    return (min(a.y1, b.y1) - max(a.y0, b.y0)) / min(a.height, b.height)


def _distance(a: Piece, b: Piece) -> float:
    """Return the distance of two boxes."""
    dx = max(a.x0 - b.x1, b.x0 - a.x1, 0)
    dy = max(a.y0 - b.y1, b.y0 - a.y1, 0)
    return float(np.hypot(dx, dy))
