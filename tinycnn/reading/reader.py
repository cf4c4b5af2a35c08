"""Reader: pictures, ink and strokes become numbers.

One network scores every candidate: its classes are ten digits, none, and several. A
search then picks, of all ways to divide a line into candidates, the likeliest.
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl
from numpy.typing import NDArray
from scipy.special import logit

from tinycnn import models
from tinycnn.fast import fuse
from tinycnn.fast.fuse import _LOCK
from tinycnn.ink.picture import picture_ink
from tinycnn.ink.strokes import Ink, Strokes
from tinycnn.nn import softmax
from tinycnn.nn.weights import WeightsError
from tinycnn.pretrained import CLASSES, NONE, SEVERAL, THRESHOLD, class_shares
from tinycnn.reading import segment
from tinycnn.reading.result import Digit, Reading, turned_box

SURE = 0.9  # candidates of at least this confidence are not cut
MOST_DOUBTS = 100  # components to cut at most; a page of numbers has fewer
BONDS = 0.12  # weight of the bonds beside the network's scores
OFFERED = 5  # odds of no digit, of all candidates by those chosen; chosen on CROHME
MOST_PAIRS = 1_000  # of strokes of a line that are near; writing has fewer
JUNK = -3.0  # log probability of ink as large as a digit that is none
LOW = 0.55  # of the line's height; hardly any digit is lower
WALLS = 0.1  # of the digits' height: how far a form's walls reach beyond them
LEFT_OUT = 9  # weight of ink left out: a tenth of a component outweighs the rest
AMONG = 0.2  # of the threshold, for ink among digits; with less, letters are named
MOST_CANDIDATES = 1_000  # of a page; with more, fewer pieces make one
# Chosen on numbers, cheques and letters of the development sets, turned and upright.
POOR = 0.9  # mean confidence; a picture with a lower one may have to be turned
TURNED, MORE = 0.85, 0.1  # mean confidence of the turned one, and its gain, at least
MOST_TURNED = 60  # components of a page that is turned; bounds the time
CERTAIN, MOST_VIEWED = 0.99, 300  # surer and further digits of a page: one view
VIEWS = (0.2, 1), (-0.2, 1), (0, 1.15), (0, 0.87)  # slant, breadth; chosen on CROHME
PARTS = 0.8, 1.2  # weights of parts of pictures, of strokes; chosen on CROHME
UNSEEN = np.eye(CLASSES, dtype=np.float32)[SEVERAL]  # of blank images; parts stay apart
LEAST = 1e-9  # lower bound of probabilities: keeps their logarithm finite
LARGEST_LOGIT = 1e30  # stays finite in float32 when divided by a temperature
_BLAS = threadpoolctl.ThreadpoolController()
Floats = NDArray[np.floating[Any]]
Pieces = tuple[int, ...]  # of a candidate, their numbers
Scores = dict[Pieces, Floats]  # probability of each class


class Found(NamedTuple):
    """A digit of a reading, with its candidate.

    Attributes
    ----------
    digit : Digit
    candidate : Candidate
    probabilities : float array (10,)
        Of each digit; their sum is the probability of a digit at all.
    """

    digit: Digit
    candidate: segment.Candidate
    probabilities: Floats


class Reader:
    """Reads the numbers in pictures, ink and strokes.

    One reader may be used by several threads.

    Parameters
    ----------
    weights : str or Path or None
        A weights file of the preset ``reader``, or of a network of ten digits: that one
        names the digits that the shipped reader finds. None is the shipped file.
    network : function or None
        The network of ``weights``, if it is one of your own: see `tinycnn.models.load`.

    Attributes
    ----------
    model : Sequential
        The network that names digits.
    finds : bool
        Whether it also finds them; if not, the shipped network does.
    threshold : float
        Of the confidence; below it a digit is refused, but see `Digit`.

    Raises
    ------
    WeightsError
        If the weights cannot be read or are of another kind of network.
    OSError
        If there is no such file.
    """

    threshold = THRESHOLD

    def __init__(
        self,
        weights: str | Path | None = None,
        network: models.Network | None = None,
    ) -> None:
        path = models.SHIPPED if weights is None else Path(weights)
        self.model, facts = models.load(path, network)
        self.finds = facts["network"] == "reader"
        count = CLASSES if self.finds else 10
        fits = (facts["image_size"], facts["first_label"]) == ([28, 28], 0)
        if not fits or models.classes(self.model, (28, 28)) != count:
            raise WeightsError(
                f"cannot use {path}: reading needs a network of 28×28 images and the "
                "ten digits from 0; name the weights of one"
            )
        self._namer = fuse(self.model), facts["temperature"], path
        self._finder = self._namer
        if not self.finds:
            finder, facts = models.load(models.SHIPPED)
            self._finder = fuse(finder), facts["temperature"], models.SHIPPED

    def read(self, source: Any) -> Reading:
        """Read a picture, a drawing by its strokes, or ink.

        Parameters
        ----------
        source : Ink, Strokes, str, Path, bytes, file, PIL.Image.Image or array
            Ink is read by its strokes if it has any. For what a picture may be see
            `tinycnn.ink.picture.picture_ink`.

        Returns
        -------
        Reading

        Raises
        ------
        PictureError
            If a picture cannot be read; this is a ValueError.
        WeightsError
            If the weights overflow; so do all methods that read.
        """
        if isinstance(source, Strokes):
            source = Ink(np.zeros((0, 0), np.float32), source.size, strokes=source)
        ink = source if isinstance(source, Ink) else picture_ink(source)
        page, lines = self.find(ink)
        turned = ink.turned(page.turns - ink.turns)
        kept = {n for line in lines for found in line for n in found.candidate.pieces}
        ignored = [
            _outer(piece.box, turned)
            for n, piece in page.pieces.items()
            if n not in kept and piece.longest >= segment.SMALLEST
        ]
        digits = tuple(tuple(found.digit for found in line) for line in lines)
        return Reading(digits, tuple(ignored), page.turns)

    read_picture = read_strokes = read_ink = read  # names in use, by what is given

    def find(self, ink: Ink) -> tuple[segment.Page, list[list[Found]]]:
        """Read ink and return the candidate of every digit.

        A picture of several digits that is read poorly is read turned by a quarter, a
        half and three quarters, too. The likeliest is taken instead if it is far more
        confident and half of its digits are no ones: bars are, whichever way they lie.
        A picture of two is not turned if one of them is sure, nor one that takes long.

        Parameters
        ----------
        ink : Ink

        Returns
        -------
        page : PicturePage or StrokePage
            With the pieces that the candidates refer to.
        lines : list of lists of Found
            Top to bottom, left to right; boxes of digits are of the picture as it is.
        """
        page, lines = self._find(ink)
        sure = _confidences(lines)
        few = len({piece.component for piece in page.pieces.values()}) <= MOST_TURNED
        quick = 2 * page.left > segment.MOST_PIXELS and ink.strokes is None
        if few and quick and len(sure) > 1 and np.mean(sure) < POOR:
            inks = [ink.turned(turns) for turns in (1, 2, 3)]  # first uncut: faster
            uncut = [_confidences(self._find(one, cuts=False)[1]) for one in inks]
            best = max(range(3), key=lambda n: sum(uncut[n]))
            if 2 * sum(uncut[best]) < len(uncut[best]):
                return page, lines
            turned = self._find(inks[best])
            digits = [found.digit.digit for found in chain(*turned[1])]
            others = sum(digit not in (1, None) for digit in digits)
            least = max(TURNED, float(np.mean(sure)) + MORE)
            surer = bool(digits) and np.mean(_confidences(turned[1])) >= least
            ambiguous = len(digits) == 2 and max(sure) >= SURE  # 58 turned is 85
            if surer and not ambiguous and 1 < len(digits) <= 2 * others:
                return turned
        return page, lines

    def _find(
        self, ink: Ink, *, cuts: bool = True
    ) -> tuple[segment.Page, list[list[Found]]]:
        """Read ink as it is, with or without cuts of its components."""
        page: segment.Page
        if ink.strokes is None:
            page = segment.PicturePage(ink.values, ink.tilt, ink.turns)
        else:
            page = segment.StrokePage(seen(ink.strokes))
        page.unframe()
        scores: Scores = {}
        lines = self._scored(page, scores)
        if cuts and page.cut(_doubtful(page, lines, scores)):
            lines = self._scored(page, scores)
        found, viewed = [], set[Pieces]()
        while True:  # until all views of what is chosen and not certain were seen
            as_offered = {n: _as_offered(s) for n, s in scores.items()}
            chosen = [_search(line, offered, as_offered) for line, offered in lines]
            every = {candidate.pieces for candidate in chain(*chosen)}
            unsure = {n for n in every if scores[n][:NONE].max() < CERTAIN}
            new = sorted(unsure - viewed)[: MOST_VIEWED - len(viewed)]
            if not new:
                break
            self._score(page, new, scores, views=True)
            viewed.update(new)
        for (line, offered), candidates in zip(lines, chosen, strict=True):
            digits = [self._found(c, scores[c.pieces], ink) for c in candidates]
            found.append(self._together(page, line, offered, digits, scores, ink))
        return page, _tidied(page, found, ink, self.threshold)

    def probabilities(self, images: Floats, views: bool = False) -> Floats:
        """Return the calibrated probability of each digit.

        Parameters
        ----------
        images : float array (N, 28, 28)
            See `tinycnn.ink.normalize`.
        views : bool
            The mean over images and `VIEWS`, as of what is found and not certain.

        Returns
        -------
        float32 array (N, 10)
            The sum of a row is the probability of one digit.

        Raises
        ------
        WeightsError
            If a network's weights are so large that its logits overflow.
        """
        return self._shares(images, views)[:, :NONE]

    def _shares(self, images: Floats, views: bool) -> Floats:
        """Return the probability of each class, (N, 12): see `probabilities`."""
        every = np.concatenate([images, *(_view(images, *v) for v in VIEWS if views)])
        shares = class_shares(*_logits(*self._finder, every))
        if not self.finds:
            logits, temperature = _logits(*self._namer, every)
            names = softmax(logits / np.float32(temperature))
            shares[:, :NONE] = names * shares[:, :NONE].sum(axis=1, keepdims=True)
        return shares.reshape(-1, *shares[: len(images)].shape).mean(axis=0)

    def _scored(
        self, page: segment.Page, scores: Scores
    ) -> list[tuple[segment.Line, list[segment.Candidate]]]:
        """Return the lines and their candidates; score the new ones in one batch."""
        found = segment.lines(page)
        for most in (segment.MOST_PIECES, 4, 2, 1):
            lines = [(line, [*segment.candidates(page, line, most)]) for line in found]
            if sum(len(offered) for _, offered in lines) <= MOST_CANDIDATES:
                break
        new = [c.pieces for _, offered in lines for c in offered]
        new = [pieces for pieces in new if pieces not in scores]
        self._score(page, new, scores, views=False)
        return lines

    def _score(
        self, page: segment.Page, new: list[Pieces], scores: Scores, views: bool
    ) -> None:
        """Add the probabilities of candidates to the scores; blank ones keep theirs."""
        if new:  # more threads of BLAS round otherwise, and wait for each other long
            with _LOCK, _BLAS.limit(limits=1, user_api="blas"):
                images = np.stack([page.image(pieces) for pieces in new])
                shares = self._shares(images, views)
            for pieces, image, share in zip(new, images, shares, strict=True):
                scores[pieces] = share if image.any() else scores.get(pieces, UNSEEN)

    def _together(
        self,
        page: segment.Page,
        line: segment.Line,
        offered: Sequence[segment.Candidate],
        found: list[Found],
        scores: Scores,
        ink: Ink,
    ) -> list[Found]:
        """Score bundles as a whole where that is likelier than several digits.

        The parts of a letter look like digits, uprights like ones. The surer they are,
        the less need the whole look like several digits for them to stay apart. Where
        one part alone is a digit, the whole is read instead.
        """
        for bundle in _bundles(page, line, offered, found):
            parts = [one for one in found if bundle.intersection(one.candidate.pieces)]
            pieces = tuple(n for n in line.pieces if n in bundle)
            beyond = {n for one in parts for n in one.candidate.pieces} - bundle
            unscored = ink.strokes is None and pieces not in scores  # mostly too wide
            if not parts or beyond or unscored or parts[0].candidate.pieces == pieces:
                continue
            self._score(page, [pieces], scores, views=True)
            box = segment.around([page.pieces[n].box for n in pieces])
            whole = replace(parts[0].candidate, pieces=pieces, box=box)
            shares = [scores[pieces][SEVERAL], *(one.digit.confidence for one in parts)]
            several, *of_parts = logit(np.clip(shares, LEAST, 1 - LEAST))
            apart = several + PARTS[ink.strokes is not None] * sum(of_parts) >= 0
            if apart and len(parts) > 1:
                continue
            together = self._found(whole, scores[pieces], ink)
            found = [one for one in found if one is parts[0] or one not in parts]
            found[found.index(parts[0])] = together
        return found

    def _found(self, candidate: segment.Candidate, shares: Floats, ink: Ink) -> Found:
        """Return a candidate with its digit, box and probabilities."""
        probabilities = shares[:NONE].astype(np.float64)
        order = np.argsort(-probabilities, kind="stable")[:3].tolist()
        top = tuple((n, float(probabilities[n])) for n in order)
        label, confidence = top[0]
        shown = label if confidence >= self.threshold else None
        named = Digit(shown, confidence, _outer(candidate.box, ink), top)
        return Found(named, candidate, probabilities)


def _doubtful(
    page: segment.Page,
    lines: list[tuple[segment.Line, list[segment.Candidate]]],
    scores: Scores,
) -> list[int]:
    """Return the pieces without a candidate that is a sure digit, largest first.

    Pieces too low for a digit are not among them.
    """
    sure: set[int] = set()
    for line, offered in lines:
        low = segment.TALL * line.height
        sure.update(n for n in line.pieces if page.pieces[n].height < low)
        for candidate in offered:
            if _as_offered(scores[candidate.pieces]).max() >= SURE:
                sure.update(candidate.pieces)
    doubtful = (n for n in page.pieces if n not in sure)
    return sorted(doubtful, key=lambda n: -page.pieces[n].area)[:MOST_DOUBTS]


def _search(
    line: segment.Line, offered: Sequence[segment.Candidate], scores: Scores
) -> list[segment.Candidate]:
    """Return the digits and the refused ink of the likeliest division of a line.

    ``best[k]`` is the log probability of the best division of the first k pieces.
    Each candidate is a digit, junk as large as one, or dropped; between neighbours
    a digit ends or continues.
    """
    bonds = np.array(line.bonds)
    joined = BONDS * -np.logaddexp(0, -bonds)
    parted = np.append(0, BONDS * -np.logaddexp(0, bonds))
    best = [0.0] + [-math.inf] * len(line.pieces)
    last: list[tuple[segment.Candidate, bool] | None] = [None] * len(best)
    for candidate in offered:  # in order of their start
        start, stop, (x0, y0, x1, y1) = candidate.start, candidate.stop, candidate.box
        so_far = best[start] + joined[start : stop - 1].sum() + parted[start]
        low = min(max(y1 - y0, (x1 - x0) / 2) / line.height / LOW, 1)
        shares = scores[candidate.pieces].astype(np.float64)
        as_digit = math.log(max(shares.max(), LEAST)) + math.log(low)
        as_junk = math.log(max(1 - shares.sum(), LEAST)) + JUNK
        scored = (as_digit, True), (as_junk, True), (candidate.dropped, False)
        for score, kept in scored:
            if so_far + score > best[stop]:
                best[stop], last[stop] = so_far + score, (candidate, kept)
    found, at = [], len(line.pieces)
    while (step := last[at]) is not None:
        candidate, kept = step
        if kept:
            found.append(candidate)
        at = candidate.start
    return found[::-1]


def _as_offered(shares: Floats) -> Floats:
    """Return the probability of each digit before any candidate is chosen.

    Few of all candidates are digits, most of the chosen ones are: see `class_shares`.
    """
    digits = shares[:NONE].astype(np.float64)
    return digits / (1 + (OFFERED - 1) * max(1 - digits.sum(), 0))


def _confidences(lines: list[list[Found]]) -> list[float]:
    """Return the confidence of every digit, 0 of those that were refused."""
    digits = [found.digit for found in chain(*lines)]
    return [0.0 if one.digit is None else one.confidence for one in digits]


def _outer(box: segment.Box, ink: Ink) -> tuple[int, int, int, int]:
    """Return a box in whole pixels of the picture, which is not turned."""
    x0, y0, x1, y1 = (edge * ink.scale for edge in box)
    outer = math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
    size = [round(side * ink.scale) for side in ink.values.shape[::-1]]
    outer = turned_box(outer, -ink.turns, size)
    x0, y0, x1, y1 = np.clip(outer, 0, (*ink.size, *ink.size)).tolist()
    return x0, y0, x1, y1


def seen(strokes: Strokes) -> Strokes:
    """Return the strokes without taps and without those off the canvas."""
    pens = strokes.pen_widths
    kept = [
        n
        for n, points in enumerate(strokes.points)
        if np.ptp(points, axis=0).max() > pens[n] / 4
        and (points.max(axis=0) + pens[n] / 2 > 0).all()
        and (points.min(axis=0) - pens[n] / 2 < strokes.size).all()
    ]
    return strokes.only(kept)


def _view(images: Floats, slant: float, breadth: float) -> Floats:
    """Return images (N, 28, 28) slanted and broadened about their middle."""
    y, x, column = np.ogrid[-13.5:14, -13.5:14, -13.5:14]
    # A matrix for each row, of linear interpolation: its columns are those of the view.
    shares = np.maximum(1 - abs(column / breadth + slant * y - x), 0)
    return (images.transpose(1, 0, 2) @ shares.astype(images.dtype)).transpose(1, 0, 2)


def _logits(
    runner: models.Model, temperature: float, path: Path, images: Floats
) -> tuple[Floats, float]:
    """Return logits (N, K), and their temperature."""
    with contextlib.suppress(ArithmeticError):
        logits = models.predict(runner, images)
        if np.abs(logits).max() < LARGEST_LOGIT:
            return logits, temperature
    raise WeightsError(
        f"cannot use {path}: its weights are so large that the logits overflow; train "
        "again"
    )


def _bundles(
    page: segment.Page,
    line: segment.Line,
    offered: Sequence[segment.Candidate],
    found: Sequence[Found],
) -> list[set[int]]:
    """Return the sets of parts of one component, or of strokes that meet.

    Of strokes, specks and commas are in none.
    """
    if isinstance(page, segment.PicturePage):
        components: dict[int, set[int]] = {}
        for n in line.pieces:
            components.setdefault(page.pieces[n].component, set()).add(n)
        return list(components.values())
    strokes = [c.pieces[0] for c in offered if len(c.pieces) == 1 and c.dropped < 0]
    reach = segment.MEETING * line.height
    near = [
        (i, j)
        for i, j in combinations(strokes, 2)
        if segment.distance(page.pieces[i].box, page.pieces[j].box) <= reach
    ]
    if len(near) > MOST_PAIRS:
        return []
    links = [set(one.candidate.pieces) for one in found]
    links += [{i, j} for i, j in near if page.meet(i, j, line.height)]
    bundles: list[set[int]] = []
    for link in links:
        joined = [bundle for bundle in bundles if bundle & link]
        bundles = [bundle for bundle in bundles if not bundle & link]
        bundles.append(link.union(*joined))
    return bundles


def _tidied(
    page: segment.Page, lines: list[list[Found]], ink: Ink, threshold: float
) -> list[list[Found]]:
    """Drop rules and frames, and let the majority of a cut component decide.

    If most of a component's area is no digit, neither is the rest: the ends of a tangle
    look like ones and nines. Where a tenth of it was left out, the rest is part of a
    letter.
    """
    kept = {n for found in chain(*lines) for n in found.candidate.pieces}
    lines = _without_nothing(lines, ink)
    if ink.strokes is None:
        lines = [_without_walls(line) for line in lines]
    balance = dict.fromkeys((piece.component for piece in page.pieces.values()), 0.0)
    for n, piece in page.pieces.items():
        if n not in kept:
            balance[piece.component] -= LEFT_OUT * piece.area
    for found in chain.from_iterable(lines):
        for piece in (page.pieces[number] for number in found.candidate.pieces):
            area = -piece.area if found.digit.digit is None else piece.area
            balance[piece.component] += area

    def settled(found: Found) -> Found:
        components = {page.pieces[n].component for n in found.candidate.pieces}
        if len(components) > 1 or balance[components.pop()] >= 0:
            return found
        return found._replace(digit=replace(found.digit, digit=None))

    settled_lines = [[settled(found) for found in line] for line in lines]
    rest = [line for line in _without_nothing(settled_lines, ink) if line]
    return [_among_digits(line, threshold) for line in rest]


def _among_digits(line: list[Found], threshold: float) -> list[Found]:
    """Name ink of at least a low confidence, too, where half of a line is digits.

    Likelier ink that is refused was cut from ink that is no digit, and stays refused.
    """
    if 2 * sum(found.digit.digit is not None for found in line) < len(line):
        return line
    return [
        found._replace(digit=replace(found.digit, digit=found.digit.top[0][0]))
        if AMONG * threshold < found.digit.confidence < threshold
        else found
        for found in line
    ]


def _without_nothing(lines: list[list[Found]], ink: Ink) -> list[list[Found]]:
    """Drop ink that is neither a digit nor worth a question mark.

    It is a rule, a dash, the side of a frame, or cut by the border.
    """
    H, W = ink.values.shape

    def is_nothing(found: Found) -> bool:
        x0, y0, x1, y1 = found.candidate.box
        if ink.strokes is not None and len(found.candidate.pieces) > 1:
            return False  # strokes scored together
        cut = ink.strokes is None and (x0 <= 0 or y0 <= 0 or x1 >= W or y1 >= H)
        return cut or x1 - x0 > 3 * (y1 - y0) or y1 - y0 > 5 * (x1 - x0)

    return [
        [f for f in line if f.digit.digit is not None or not is_nothing(f)]
        for line in lines
    ]


def _without_walls(line: list[Found]) -> list[Found]:
    """Drop the sides of a form's cells: bars alike that reach beyond the digits."""
    boxes = np.array([found.candidate.box for found in line]).reshape(-1, 4)
    x0, y0, x1, y1 = boxes.T
    bars = y1 - y0 > 5 * (x1 - x0)
    if bars.sum() < 2 or bars.all():
        return line
    top, foot = y0[~bars].min(), y1[~bars].max()
    slack = WALLS * (foot - top)
    walls = bars & ((y0 < top - slack) | (y1 > foot + slack))
    alike = walls.sum() > 1 and np.ptp(boxes[walls, 1::2], axis=0).max() < slack
    return [line[k] for k in np.flatnonzero(~(walls & alike))]
