"""Ink becomes pieces, pieces become lines, lines offer candidates for digits.

A *piece* is a connected component of ink, a part of one between two cuts, or a stroke
of a pen. A *candidate* is a run of neighbouring pieces that may be one digit. A search
over all divisions of a line into candidates, scored by networks, selects among them
(`tinycnn.reading.reader`). This is the over-segmentation of LeCun, Bottou, Bengio and
Haffner, "Gradient-based learning applied to document recognition" (1998), section V.

The *bond* of two neighbours is the log odds that they are parts of one digit.
"""

import math
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from tinycnn.ink.normalize import SIDE, grown, ink_window, normalize, normalize_strokes
from tinycnn.ink.strokes import Strokes, draw_finely

INK = 0.4  # threshold of ink for connectivity
SMALLEST = 8  # pixels; shorter ink is no digit
INSIDE = 0.4  # of a frame's height: the least length of its contents together
MOST_CUTS = 120  # of a component; one with more cuts is no number
MOST_DRAWN = 600  # pixels, the longer side of the picture in which frames are found
EDGE = 2  # pixels of soft edge around thresholded ink
MOST_COMPONENTS = 1_000  # of a picture, the longest, and parts; a page has fewer
MOST_MEASURED = 10_000  # components of a picture, those of most ink; bounds the time
MOST_PIECES = 12  # of one digit
MOST_PIXELS = 150_000_000  # of all images, cuts and gaps of a page; bounds the time
CUTTING, TILTED, POINT = 4, 6, 500  # pixels that take as long as one so, or a point
MOST_SAMPLES = 500  # of a stroke, to measure gaps
MOST_INSIDE = 100  # contents of a frame that are looked at
WIDEST = 1.4  # heights; the width of a digit of several components
TALL = 0.45  # of the typical height; bars and dots are lower, digits are not
SMALL_LINE = 3  # low components at least form a line of their own
SMALL_PART = 0.5  # widths; lower ones are dashes
SAME_LINE = 0.3  # overlap with a neighbour, as a share of the lower one's height
MEETING = 0.05  # heights; the distance of strokes that meet
SIDE_BY_SIDE = 0.5  # share of both strokes near the other, for parallel ones
RINGS = 0.1  # heights of both; most rings of an 8 are nearer; chosen on pendigits
ONE_DIGIT = 1.3  # typical heights of two strokes, one above the other
CUT_OFF = -1.0  # log probability that what was cut off is no part of a digit
APART = -20.0  # the bond of unrelated pieces
UNLIKELY = -6.0  # the least bond within a candidate
STACKED = 0.3  # of the lower part's height; two that share less are of one digit
SAME = 20.0  # the bond of parts one above the other; digits stand side by side
CROSSED = 0.3  # the bond across a cut, per stroke width of ink that it crosses
FILL = 0.12  # heights; cuts twice as far apart get another one between them
SPACING = 0.05  # heights between cuts
THICKEST = 4.5  # stroke widths of ink that a cut may cross
BROAD, BLOTS = 0.75, (0.6, 0.8)  # heights: of broad ink; crossed in narrow, in broad
SIDEWAYS = np.float32(2)  # the cost of a sidestep of a cut, in pixels of ink

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Piece:
    """A component of ink, a part of one, or a stroke.

    Attributes
    ----------
    box : (float, float, float, float)
        ``x0, y0, x1, y1``, half open, in pixels of the ink.
    area : float
        Pixels of ink.
    component : int
        Number of the component or stroke that it is, or is a part of. The numbers of
        the parts of one follow each other, from left to right.
    """

    box: Box
    area: float
    component: int

    @property
    def height(self) -> float:
        """The height in pixels."""
        return self.box[3] - self.box[1]

    @property
    def longest(self) -> float:
        """The longer side of the box in pixels."""
        return max(self.box[2] - self.box[0], self.height)


@dataclass(frozen=True)
class Line:
    """One line of writing.

    Attributes
    ----------
    pieces : tuple of int
        Numbers of pieces, left to right.
    height : float
        The typical height of its digits, in pixels.
    bonds : tuple of float
        For each two neighbours the log odds that they are parts of one digit.
    """

    pieces: tuple[int, ...]
    height: float
    bonds: tuple[float, ...]


@dataclass(frozen=True)
class Candidate:
    """A run of pieces that may be one digit.

    Attributes
    ----------
    start, stop : int
        Indices of the run in its line, half open.
    pieces : tuple of int
        The numbers of the pieces.
    box : (float, float, float, float)
        ``x0, y0, x1, y1``, half open, in pixels of the ink.
    dropped : float
        Log probability that it is specks, a point, a comma or a dash.
    """

    start: int
    stop: int
    pieces: tuple[int, ...]
    box: Box
    dropped: float = -math.inf


class _Page:
    """What the pages of pictures and of strokes have in common.

    `left` is what may still be spent of `MOST_PIXELS`. What costs more is not done: its
    image is blank, it is not cut, and its gap to others is that of their boxes.
    """

    tilt, turns, left = 0.0, 0, MOST_PIXELS
    pieces: dict[int, Piece]

    def _spend(self, effort: int) -> bool:
        """Return whether this many pixels are left, and take them if so."""
        affordable = effort <= self.left
        self.left -= effort * affordable
        return affordable

    def _bond(self, i: int, j: int, height: float) -> float:
        """Return the log odds that i and j, to its right, are parts of one digit.

        Fitted by eye to neighbouring strokes of written numbers: those that touch are
        of one digit in 19 of 20 cases; those that are a fifth of the line's height
        apart hardly ever, unless one is above the other.
        """
        a, b = self.pieces[i].box, self.pieces[j].box
        if distance(a, b) > 0.5 * height:
            return APART
        gap, shared = self._gap(i, j, height), min(a[2], b[2]) - max(a[0], b[0])
        return max(2 - 33 * gap / height + 10 * max(shared, 0) / height, APART)

    def _gap(self, i: int, j: int, height: float) -> float:
        raise NotImplementedError

    def level(self, ink: Floats) -> Floats:
        """Return ink (H, W) of the page, turned so that its writing is level."""
        if not self.tilt:
            return ink
        bicubic = Image.Resampling.BICUBIC
        turned = Image.fromarray(ink).rotate(self.tilt, bicubic, expand=True)
        return np.asarray(turned).clip(0, 1)


class PicturePage(_Page):
    """The pieces of a picture's ink: first its 8-connected components.

    Parameters
    ----------
    values : float32 array (H, W)
        1 = ink.
    tilt : float
        Degrees by which the writing is turned clockwise; images are turned back.
    turns : int
        Quarter turns counter-clockwise from the picture to `values`.

    Attributes
    ----------
    pieces : dict of int to Piece
    owner : int32 array (H, W)
        The number of the piece at each pixel, 0 for paper.
    """

    def __init__(self, values: Floats, tilt: float = 0.0, turns: int = 0) -> None:
        if values.size == 0:
            values = np.zeros((1, 1), np.float32)
        self.values, self.tilt, self.turns = values, tilt, turns
        self.owner = np.zeros(values.shape, np.int32)
        ink = values >= INK
        # All ink with its soft edge; the rest of the picture is skipped.
        rows, columns = ink_window(ink)
        top, left = max(rows.start - EDGE, 0), max(columns.start - EDGE, 0)
        window = np.s_[top : rows.stop + EDGE, left : columns.stop + EDGE]
        owner = self.owner[window]
        self._next: int = 1 + ndimage.label(ink[window], np.ones((3, 3)), owner)
        areas = np.bincount(owner.ravel())
        if len(areas) > MOST_MEASURED + 1:
            measured = 1 + np.argsort(-areas[1:], kind="stable")[:MOST_MEASURED]
            owner *= np.isin(np.arange(len(areas)), measured)[owner]
        pieces = [
            Piece((left + x0, top + y0, left + x1, top + y1), float(areas[n]), n)
            for n, (x0, y0, x1, y1) in _boxes(owner).items()
        ]
        if len(pieces) > MOST_COMPONENTS:
            pieces.sort(key=lambda piece: -piece.longest)
        self.pieces = {piece.component: piece for piece in pieces[:MOST_COMPONENTS]}
        # Assign the soft edge to the ink beside it.
        for _ in range(EDGE):
            np.copyto(owner, grown(owner, corners=True), where=owner == 0)
        self._crossed: dict[int, float] = {}

    def image(self, pieces: Sequence[int]) -> Floats:
        """Return the image (28, 28) of some pieces together."""
        box = _widened(around([self.pieces[n].box for n in pieces]))
        x0, y0, x1, y1 = map(int, box)
        if not self._spend((TILTED if self.tilt else 1) * (y1 - y0) * (x1 - x0)):
            return np.zeros((SIDE, SIDE), np.float32)
        window = np.s_[y0:y1, x0:x1]
        own = np.logical_or.reduce([self.owner[window] == n for n in pieces])
        return normalize(self.level(self.values[window] * own))

    def cut(self, pieces: Iterable[int]) -> bool:
        """Cut pieces where one digit may end and the next begin.

        They are given by number, and parts get new ones. Return whether any was cut.
        """
        before = self._next
        typical = _typical_height(list(self.pieces.values()))
        for number in pieces:
            piece = self.pieces[number]
            x0, y0, x1, y1 = map(int, _widened(piece.box))
            if not self._spend(CUTTING * (y1 - y0) * (x1 - x0)):
                continue
            owner, values = self.owner[y0:y1, x0:x1], self.values[y0:y1, x0:x1]
            mine = owner == number
            values = np.where(mine, values, np.float32(0))
            paths, crossed = _cuts(values, min(typical, piece.height))
            if not crossed or len(self.pieces) + len(crossed) > MOST_COMPONENTS:
                continue
            del self.pieces[number]
            starts = np.zeros(values.shape, int)
            np.add.at(starts, (np.arange(len(values)), paths), 1)
            side = starts.cumsum(axis=1)
            # Join parts that are soft edge only to their neighbour.
            filled = np.unique(side[values >= INK])
            side = np.searchsorted(filled[1:], side, side="right")
            ink = np.where(values >= INK, 1 + side, 0)
            areas = np.bincount(ink.ravel())[1:].tolist()
            owner[mine] = self._next + side[mine]
            for part, (left, top, right, bottom) in enumerate(_boxes(ink).values()):
                box, n = (x0 + left, y0 + top, x0 + right, y0 + bottom), self._next
                self.pieces[n] = Piece(box, areas[part], piece.component)
                self._crossed[n] = crossed[filled[part] - 1] if part else 0.0
                self._next += 1
        return self._next > before

    def unframe(self) -> None:
        """Remove what is drawn around digits: boxes of a form, rings."""
        boxes = np.array([p.box for p in self.pieces.values()], int).reshape(-1, 4)
        for number, piece in list(self.pieces.items()):
            if _is_frame(self.owner, number, piece.box, boxes):
                del self.pieces[number]

    def _bond(self, i: int, j: int, height: float) -> float:
        """Return the log odds; of parts of one component they tell how it was cut."""
        a, b = self.pieces[i], self.pieces[j]
        if a.component == b.component:
            if abs(i - j) > 1:
                return APART
            shared = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
            stacked = shared < STACKED * min(a.height, b.height)
            return SAME if stacked else CROSSED * self._crossed[max(i, j)]
        return super()._bond(i, j, height)

    def _gap(self, i: int, j: int, height: float) -> float:  # noqa: ARG002
        """Return the least distance along a row, or of the boxes if no row has both."""
        a, b = self.pieces[i].box, self.pieces[j].box
        top, bottom = int(max(a[1], b[1])), int(min(a[3], b[3]))
        left, right = int(min(a[0], b[0])), int(max(a[2], b[2]))
        if bottom <= top or not self._spend((bottom - top) * (right - left)):
            return distance(a, b)
        window = np.s_[top:bottom, left:right]
        owner = self.owner[window] * (self.values[window] >= INK)
        in_a, in_b = owner == i, owner == j
        both = in_a.any(axis=1) & in_b.any(axis=1)
        if not both.any():
            return distance(a, b)
        ends = right - left - in_a[both, ::-1].argmax(axis=1)
        return float(max((in_b[both].argmax(axis=1) - ends).min(), 0))


class StrokePage(_Page):
    """The pieces of a drawing: its strokes.

    Parameters
    ----------
    strokes : Strokes

    Attributes
    ----------
    pieces : dict of int to Piece
    """

    def __init__(self, strokes: Strokes) -> None:
        self.strokes, self.points, self.pieces = strokes, strokes.points, {}
        for n, points in enumerate(self.points):
            pen = strokes.pen_widths[n]
            x0, y0 = (points.min(axis=0) - pen / 2).tolist()
            x1, y1 = (points.max(axis=0) + pen / 2).tolist()
            length = float(np.hypot(*np.diff(points, axis=0).T).sum())
            self.pieces[n] = Piece((x0, y0, x1, y1), pen * (length + pen), n)
        self._dense: dict[tuple[int, float], cKDTree] = {}  # points, by the step

    def image(self, pieces: Sequence[int]) -> Floats:
        """Return the image (28, 28) of some strokes together."""
        points = [self.points[n] for n in pieces]
        affordable = self._spend(POINT * sum(map(len, points)))
        return normalize_strokes(points if affordable else [])

    def cut(self, pieces: Iterable[int]) -> bool:  # noqa: ARG002
        """Cut nothing: two digits are seldom written without lifting the pen."""
        return False

    def unframe(self) -> None:
        """Remove the strokes that are drawn around digits; see `PicturePage`.

        Strokes that cross or touch are one component of a small picture: a rectangle
        may consist of four, and a 0 with a slash is no ring around something. If one of
        them is a frame without the others, it alone is removed.
        """
        if len(self.pieces) < 2:
            return
        x0, y0, x1, y1 = around([piece.box for piece in self.pieces.values()])
        # A pixel of this small picture is at least a quarter of a pen width.
        step = max(min(self.strokes.pen_widths) / 4, max(x1 - x0, y1 - y0) / MOST_DRAWN)
        points = [1 + (stroke - (x0, y0)) / step for stroke in self.points]
        size = int((x1 - x0) / step) + 3, int((y1 - y0) / step) + 3
        drawn = draw_finely(points, [4.0] * len(points), size, 1)
        page = PicturePage(np.asarray(drawn, np.float32) / np.float32(255))
        boxes = np.array([piece.box for piece in page.pieces.values()], int)
        page.unframe()
        x, y = np.array([stroke[0] for stroke in points], int).T
        owner = page.owner[y, x]
        for number in set(owner.tolist()) - page.pieces.keys():
            touching, frames = np.flatnonzero(owner == number).tolist(), []
            for n in touching:
                alone = draw_finely([points[n]], [4.0], size, 1)
                box = alone.getbbox() or (0, 0, 0, 0)
                if _is_frame(np.asarray(alone), 255, box, boxes):
                    frames.append(n)
            for n in frames or touching:
                del self.pieces[n]

    def _gap(self, i: int, j: int, height: float) -> float:
        """Return the least distance of two strokes."""
        return float(self._gaps(i, j, height).min())

    def meet(self, i: int, j: int, height: float) -> bool:
        """Return whether two strokes cross or touch, but do not run side by side.

        They are given by number; the height is that of their line, in pixels.
        """
        near_j = self._gaps(i, j, height) < MEETING * height
        if not near_j.any():
            return False
        near_i = self._gaps(j, i, height) < MEETING * height
        return bool(min(near_i.mean(), near_j.mean()) < SIDE_BY_SIDE)

    def _gaps(self, i: int, j: int, height: float) -> NDArray[np.float64]:
        """Return the distances of dense points of stroke j from the nearest of i."""
        step = 0.05 * height
        for n in (i, j):
            if (n, step) not in self._dense:
                lengths = np.hypot(*np.diff(self.points[n], axis=0).T)
                along = np.concatenate([[0], lengths.cumsum()])
                count = min(int(along[-1] / step) + 2, MOST_SAMPLES)
                samples = np.linspace(0, along[-1], count)
                axes = [np.interp(samples, along, axis) for axis in self.points[n].T]
                self._dense[n, step] = cKDTree(np.transpose(axes))
        return np.asarray(self._dense[i, step].query(self._dense[j, step].data)[0])


Page = PicturePage | StrokePage


def _typical_height(pieces: Sequence[Piece]) -> float:
    """Return the median height of the pieces, weighted by their ink; 0 if none.

    Dashes and rules, much broader than high, are ignored if there are others.
    """
    pieces = [p for p in pieces if p.box[2] - p.box[0] < 3 * p.height] or pieces
    if not pieces:
        return 0.0
    order = sorted(pieces, key=lambda piece: piece.height)
    half = np.cumsum([piece.area for piece in order])
    return order[int(np.searchsorted(half, half[-1] / 2))].height


def _cuts(values: Floats, height: float) -> tuple[NDArray[np.int64], list[float]]:
    """Return paths from top to bottom that cross little ink, left to right.

    A path moves by at most one column per row; ink and sidesteps have a cost.
    ``down[y, x]`` is the cost of the cheapest path from the top to (y, x), ``up`` the
    same from the bottom. Their sum in the middle row is the cost of the cheapest path
    through each column; digits may touch at its minima.

    Values (H, W) are the ink of one component alone, the height is that of a digit. A
    path, of (K, H), is the first column right of the cut in each row; they come with
    the ink each crosses, in widths of a stroke.
    """
    H, W = values.shape
    if H < 8 or 0.3 * height > W:
        return np.empty((0, H), int), []
    price = values + np.float32(0.01)  # the shorter of two free paths is cheaper
    down, up = price.copy(), price.copy()
    for total, rows in ((down, range(1, H)), (up, range(H - 2, -1, -1))):
        before = total[rows[0] - rows.step]
        for y in rows:
            cheapest = before.copy()
            aside = before + SIDEWAYS
            np.minimum(cheapest[1:], aside[:-1], out=cheapest[1:])
            np.minimum(cheapest[:-1], aside[1:], out=cheapest[:-1])
            total[y] += cheapest
            before = total[y]
    middle = H // 2
    through = down[middle] + up[middle] - price[middle]
    ink = values >= INK
    rim = ink & ~ndimage.binary_erosion(ink)
    stroke = 2 * ink.sum() / max(rim.sum(), 1)
    spacing = max(int(SPACING * height), 2)
    least = ndimage.minimum_filter1d(through, 2 * spacing + 1, mode="nearest")
    margin = max(int(0.1 * height), 1)
    # A blot is thicker than strokes, and is not cut into ones; a broad one may be two.
    dearest = min(THICKEST * stroke, BLOTS[BROAD * height < W] * height) + 0.01 * H
    minima = np.flatnonzero((through == least) & (through <= dearest))
    chosen: list[int] = []
    for x in minima.tolist():
        if margin <= x < W - margin and (not chosen or x - chosen[-1] >= spacing):
            chosen.append(x)
    # Overlapping digits have no cheap cut: add the cheapest in each wide gap.
    reach = max(int(FILL * height), spacing)
    for left, right in pairwise([0, *chosen, W]):
        inner = through[left + reach : right - reach]
        if len(inner) and inner.min() <= dearest:
            chosen.append(left + reach + int(inner.argmin()))
    chosen = sorted(chosen) if len(chosen) <= MOST_CUTS else []
    return _paths(down, up, chosen), (through[chosen] / stroke).tolist()


def _paths(down: Floats, up: Floats, columns: list[int]) -> NDArray[np.int64]:
    """Follow the cheapest paths (K, H) from columns of the middle row to both ends."""
    H = len(down)
    paths = np.tile(np.array(columns, int)[:, np.newaxis], H)
    price = SIDEWAYS * np.array([1, 0, 1], np.float32)
    for total, rows in ((down, range(H // 2 - 1, -1, -1)), (up, range(H // 2 + 1, H))):
        wide = np.pad(total, ((0, 0), (1, 1)), constant_values=np.inf)
        at = paths[:, H // 2]
        for y in rows:
            near = wide[y, at[:, np.newaxis] + [0, 1, 2]] + price
            paths[:, y] = at = at + near.argmin(axis=1) - 1
    return paths


def lines(page: Page) -> list[Line]:
    """Return the lines of writing on a page, top to bottom.

    Tall components form the lines, from left to right: each joins the line whose last
    ones are beside it. Low components join the nearest line.
    """
    parts: dict[int, list[int]] = {}
    for number, piece in page.pieces.items():
        parts.setdefault(piece.component, []).append(number)
    components = []
    for n, numbers in parts.items():
        pieces = [page.pieces[number] for number in numbers]
        box = around([piece.box for piece in pieces])
        components.append(Piece(box, sum(piece.area for piece in pieces), n))
    found = []
    for row in _rows(page, components):
        height = _typical_height(row)
        numbers = [number for piece in row for number in parts[piece.component]]
        numbers.sort(key=lambda number: sum(page.pieces[number].box[::2]))  # middles
        bonds = []
        for k in range(1, len(numbers)):
            # A bar may come between two pieces of one digit: look at three neighbours.
            left, right = numbers[max(k - 3, 0) : k], numbers[k : k + 3]
            bonds.append(max(page._bond(i, j, height) for i in left for j in right))
        found.append(Line(tuple(numbers), height, tuple(bonds)))
    return found


def _rows(page: Page, components: list[Piece]) -> list[list[Piece]]:
    """Return the components of each line, top to bottom.

    Low ones that are apart from the tall ones form lines of their own if they are
    several: small writing beside large.
    """
    ordered = sorted(components, key=lambda piece: piece.box[0])
    least = TALL * _typical_height(ordered)
    low = [component for component in ordered if component.height < least]
    tall: list[list[Piece]] = []
    for component in (p for p in ordered if p.height >= least):
        beside = [
            max(_beside(page, component, w, ordered) for w in line[-2:])
            for line in tall
        ]
        if beside and max(beside) > SAME_LINE:
            tall[beside.index(max(beside))].append(component)
        else:
            tall.append([component])
    tall_boxes = np.array([w.box for line in tall for w in line])
    far = [
        p
        for p in low
        if SMALLEST <= p.height > SMALL_PART * (p.box[2] - p.box[0])
        and (_squared_distances(p.box, tall_boxes) > p.height**2).all()
    ]
    small = _rows(page, far) if len(far) >= SMALL_LINE else []
    high = TALL * _typical_height(far)
    small = [w for w in small if sum(p.height >= high for p in w) >= SMALL_LINE]
    of_small = {piece.component for line in small for piece in line}
    heads = tall + small
    heads.sort(key=lambda line: np.mean([w.box[1] + w.box[3] for w in line]))
    boxes = np.array([w.box for line in heads for w in line])
    line_of = [line for line in heads for _ in line]  # before low ones are added
    for p in (p for p in low if p.component not in of_small):
        line_of[_squared_distances(p.box, boxes).argmin()].append(p)
    return heads


def candidates(page: Page, line: Line, most: int = MOST_PIECES) -> Iterator[Candidate]:
    """Yield the runs of neighbouring pieces that may be one digit.

    A single piece always is a candidate; several are if no bond between them is too
    low and they are no wider than a digit.

    Parameters
    ----------
    page : PicturePage or StrokePage
    line : Line
    most : int
        Pieces of one candidate.

    Yields
    ------
    Candidate
    """
    count = len(line.pieces)
    for start, alone in enumerate(_dropped(page, line)):
        for stop in range(start + 1, min(start + most, count) + 1):
            numbers = line.pieces[start:stop]
            box = around([page.pieces[n].box for n in numbers])
            components = len({page.pieces[n].component for n in numbers})
            width, height = box[2] - box[0], max(box[3] - box[1], line.height)
            apart = stop > start + 1 and line.bonds[stop - 2] < UNLIKELY
            if apart or (components > 1 and width > WIDEST * height):
                break
            dropped = alone if stop == start + 1 else -math.inf
            if max(page.pieces[n].longest for n in numbers) < SMALLEST:
                dropped = 0.0
            yield Candidate(start, stop, numbers, box, dropped)


def _dropped(page: Page, line: Line) -> Iterator[float]:
    """Yield for each piece of a line the log probability that it is no part of a digit.

    A comma or a point is a low component that hangs from the middle of its neighbours
    or lower; a small digit in that position stands on the line.
    """
    pieces = [page.pieces[number] for number in line.pieces]
    parts: dict[int, list[Box]] = {}
    for piece in pieces:
        parts.setdefault(piece.component, []).append(piece.box)
    tall = [k for k, piece in enumerate(pieces) if piece.height >= 0.5 * line.height]
    for k, piece in enumerate(pieces):
        own = parts[piece.component]
        _, y0, _, y1 = around(own)
        height, hangs = piece.height / line.height, False
        if y1 - y0 < 0.5 * line.height and tall:
            right = bisect(tall, k)  # k is low, so not among them
            beside = [pieces[n].box for n in tall[max(right - 1, 0) : right + 1]]
            _, top, _, foot = np.mean(beside, axis=0)
            hangs = y0 + y1 > 2 * (foot - 0.15 * (foot - top)) and y0 > (top + foot) / 2
        if hangs:
            yield 0.0
        elif len(own) > 1:
            yield CUT_OFF if height < 0.5 else -math.inf
        else:
            yield -0.2 if height < 0.35 else -1.3 if height < 0.5 else -math.inf


def _boxes(owner: NDArray[np.integer]) -> dict[int, Box]:
    """Return the boxes of the numbers in an array of them, without 0."""
    found = enumerate(ndimage.find_objects(owner), 1)
    return {n: (s[1].start, s[0].start, s[1].stop, s[0].stop) for n, s in found if s}


def _is_frame(
    owner: NDArray[np.integer], number: int, box: Box, boxes: NDArray[np.integer]
) -> bool:
    """Return whether a number in an array (H, W) is drawn around some boxes (N, 4).

    A frame has ink on all four sides of the middle of something that may be a digit; a
    line under a number has not. A 0 may have specks in it, so the lengths of a frame's
    contents must have a least sum.
    """
    left, top, right, bottom = box
    if min(right - left, bottom - top) <= SMALLEST:
        return False
    x0, y0, x1, y1 = boxes.T
    longest = np.maximum(x1 - x0, y1 - y0)
    inside = (left < x0) & (top < y0) & (x1 < right) & (y1 < bottom)
    room = INSIDE * (bottom - top)
    for k in np.flatnonzero(inside & (longest > SMALLEST))[:MOST_INSIDE]:
        row, column = owner[(y0[k] + y1[k]) // 2], owner[:, (x0[k] + x1[k]) // 2]
        sides = row[: x0[k]], row[x1[k] :], column[: y0[k]], column[y1[k] :]
        room -= longest[k] if all(number in side for side in sides) else 0
        if room < 0:
            return True
    return False


def around(boxes: Sequence[Box]) -> Box:
    """Return the box around some boxes."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _widened(box: Box) -> Box:
    """Return a box widened by the soft edge of the ink in it."""
    x0, y0, x1, y1 = box
    return max(x0 - EDGE, 0), max(y0 - EDGE, 0), x1 + EDGE, y1 + EDGE


def _beside(page: Page, a: Piece, b: Piece, components: Sequence[Piece]) -> float:
    """Return the vertical overlap as a share of the lower one's height.

    It is 0.5 for two that are one above the other and nearly touch: a digit broken in
    two. So it is for strokes that overlap a little and nearly meet, where the others
    (of all `components`), if any, are about as tall as both together: the rings of an
    8, the bar of a 5.
    """
    shared = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    across = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    least = min(a.height, b.height)
    if across > 0 and 0 <= -shared < 0.1 * (a.height + b.height):
        return 0.5
    narrow = min(a.box[2] - a.box[0], b.box[2] - b.box[0])
    stacked = 0 < shared < SAME_LINE * least and across > narrow / 2
    if stacked and isinstance(page, StrokePage):
        both = a.height + b.height - shared
        others = [component for component in components if component not in (a, b)]
        near = page._gap(a.component, b.component, both) < RINGS * both
        if near and (not others or both <= ONE_DIGIT * _typical_height(others)):
            return 0.5
    return shared / least


def _squared_distances(box: Box, boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the squared `distance` from boxes (N, 4), which is exact in pictures."""
    before, behind = boxes[:, :2] - box[2:], box[:2] - boxes[:, 2:]
    return (np.maximum(np.maximum(before, behind), 0) ** 2).sum(axis=1)


def distance(a: Box, b: Box) -> float:
    """Return the distance of two boxes, 0 if they overlap."""
    dx = max(a[0] - b[2], b[0] - a[2], 0)
    dy = max(a[1] - b[3], b[1] - a[3], 0)
    return math.hypot(dx, dy)
