"""What a judge learns from: candidates cut from numbers that the code composes.

The judge tells digits from pieces of digits, from two digits taken for one, and from
scribbles. Digits are set side by side and the segmenter offers its candidates. Which
ink belongs to which digit is known, so every candidate is labelled without a person.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tinycnn.glyphs.writer import write
from tinycnn.ink.normalize import normalize, normalize_strokes
from tinycnn.ink.strokes import Strokes, draw
from tinycnn.reading import segment
from tinycnn.training.augment import Deformation
from tinycnn.training.recipes import Recipe

# Of the network that tells digits from other ink; see `tinycnn.train_judge`.
JUDGE = Recipe(
    "judge",
    epochs=4,
    epochs_of_few=4,
    learning_rate=3e-3,
    weight_decay=0.05,
    deformation=Deformation(rotation=8, scale=0.1, shear=0.1, shift=1),
)
NONE = 10  # the label of what is no digit
IS_DIGIT, IS_NONE = 0.88, 0.75  # likeness above or below which a candidate is one
BEST_IS_DIGIT = 0.6  # the same for the candidate most like a digit
HALF = 0.5  # of a digit's ink: a candidate that holds more of two digits is none
KEPT = 0.25  # of the candidates that are none: they are many and much alike
PIXEL_HEIGHTS = 28, 64  # of composed digits
Floats = NDArray[np.floating[Any]]
Points = NDArray[np.float64]
Example = tuple[Floats, int]  # a 28×28 image and its label, 0 to 9 or NONE


def compose(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator
) -> Iterator[Example]:
    """Yield the candidates of a composed number, two scribbles and a written number.

    Half of the time there is no written number.

    Parameters
    ----------
    images : uint8 array (N, 28, 28)
        Single digits, 255 = ink; the number has one to five.
    labels : uint8 array (N,)
    rng : numpy Generator
    """
    chosen = rng.integers(0, len(images), rng.integers(1, 6))
    ink = images[chosen].astype(np.float32) / 255
    yield from from_images(ink, labels[chosen], rng)
    yield from from_scribble(rng)
    yield from from_scribble(rng)
    if rng.random() < 0.5:
        chosen = rng.integers(0, 10, rng.integers(1, 6))
        strokes = [write(digit, rng) for digit in chosen.tolist()]
        yield from from_strokes(strokes, chosen, rng)


def stacked(
    examples: Sequence[Example],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images (N, 28, 28), 255 = ink, and labels (N,) of examples."""
    grey = [np.rint(image * 255).astype(np.uint8) for image, _ in examples]
    return np.stack(grey), np.array([label for _, label in examples], np.uint8)


def from_images(
    images: Floats, labels: NDArray[np.integer], rng: np.random.Generator
) -> Iterator[Example]:
    """Set digits side by side and yield the candidates that the segmenter finds.

    Parameters
    ----------
    images : float32 array (N, 28, 28)
        Ink of single digits.
    labels : int array (N,)
    rng : numpy Generator
    """
    height = int(rng.integers(*PIXEL_HEIGHTS))
    glyphs = [_thicker(_scaled(image, height, rng), rng) for image in images]
    lowest, highest = ((-0.25, 0.05), (-0.15, 0), (0, 0.3))[rng.integers(3)]
    layers = _side_by_side(glyphs, rng.uniform(lowest, highest, len(glyphs)), rng)
    yield from _of_picture(layers, labels, rng)


def from_strokes(
    digits: Sequence[list[Points]],
    labels: NDArray[np.integer],
    rng: np.random.Generator,
) -> Iterator[Example]:
    """Write digits side by side and yield the candidates, of strokes or of ink.

    Parameters
    ----------
    digits : sequence of lists of float arrays (P, 2)
        The strokes of each digit, in any unit.
    labels : int array
        One a digit.
    rng : numpy Generator
    """
    height = float(rng.integers(*PIXEL_HEIGHTS))
    pen = height * rng.uniform(0.04, 0.14)
    placed, x = [], 2 * pen
    for strokes in digits:
        everything = np.concatenate(strokes)
        low, high = everything.min(axis=0), everything.max(axis=0)
        scale = height * rng.uniform(0.8, 1.1) / max(high[1] - low[1], 1e-6)
        top = 2 * pen + height * rng.uniform(0, 0.15)
        placed.append([(stroke - low) * scale + (x, top) for stroke in strokes])
        x += (high[0] - low[0]) * scale + pen + height * rng.uniform(-0.1, 0.4)
    size = int(x + height), int(1.3 * height + 5 * pen)
    if rng.random() < 0.5:
        layers = np.stack([draw(d, [pen] * len(d), size) for d in placed])
        yield from _of_picture(layers, labels, rng)
        return
    points = tuple(stroke for strokes in placed for stroke in strokes)
    page = segment.StrokePage(Strokes(points, (pen,) * len(points), size))
    owner = np.repeat(np.arange(len(placed)), [len(strokes) for strokes in placed])
    areas = np.array([piece.area for piece in page.pieces.values()])
    shares = areas * (owner == np.arange(len(placed))[:, np.newaxis])
    yield from _examples(page, shares, areas, labels, rng)


def from_scribble(rng: np.random.Generator) -> Iterator[Example]:
    """Scribble, and yield the candidates that the segmenter finds: none is a digit.

    A scribble is a few random strokes, a blot, a cluster of specks, or a level bar.
    """
    kind = rng.random()
    side = int(rng.integers(*PIXEL_HEIGHTS))
    if kind < 0.1:
        y, x = np.mgrid[-1:1:40j, -1:1:40j] / rng.uniform(0.5, 1, (2, 1, 1))
        yield normalize((abs(y) ** 3 + abs(x) ** 3 < 1).astype(np.float32)), NONE
    elif kind < 0.2:
        specks = list(rng.uniform(0.3, 1, (rng.integers(2, 5), 1, 2)) * side)
        widths = rng.uniform(0.15, 0.6, len(specks)) * side
        yield normalize(draw(specks, widths.tolist(), (2 * side, 2 * side))), NONE
    elif kind < 0.3:
        angle = rng.uniform(-0.5, 0.5)
        bar = np.array([[0, 0], [np.cos(angle), np.sin(angle)]])
        yield normalize_strokes([bar]), NONE
    else:
        corners = int(rng.integers(5, 8) if kind < 0.55 else rng.integers(8, 30))
        strokes = [
            _random_stroke(corners, side, rng) for _ in range(rng.integers(1, 5))
        ]
        pen = side * rng.uniform(0.05, 0.16)
        ink = draw(strokes, [pen] * len(strokes), (2 * side, 2 * side))
        yield normalize(ink), NONE
        yield from _of_picture(np.stack([ink, 0 * ink]), np.array([NONE, NONE]), rng)


def _random_stroke(corners: int, side: int, rng: np.random.Generator) -> Points:
    """Return a stroke through random corners, more or less rounded."""
    points = rng.uniform(0, 1, (corners, 2)) * rng.uniform(0.3, 1, 2)
    along = np.linspace(0, corners - 1, 8 * corners)
    line = [np.interp(along, np.arange(corners), axis) for axis in points.T]
    line = ndimage.gaussian_filter1d(line, rng.uniform(0.1, 4), axis=1, mode="nearest")
    return side * (np.transpose(line) + rng.uniform(0.1, 0.6, 2))


def _of_picture(
    layers: Floats, labels: NDArray[np.integer], rng: np.random.Generator
) -> Iterator[Example]:
    """Yield the candidates of a picture, given as one layer (H, W) for each digit."""
    page = segment.PicturePage(layers.max(axis=0))
    page.cut(list(page.pieces))
    owner = page.owner.ravel()
    shares = np.stack([_sums(owner, layer) for layer in layers])
    yield from _examples(page, shares, _sums(owner, page.values), labels, rng)


def _sums(owner: NDArray[np.int32], ink: Floats) -> Floats:
    """Return the sum of ink of every piece, indexed by its number."""
    return np.bincount(owner, weights=ink.ravel()).astype(np.float64)


def _examples(
    page: segment.Page,
    shares: Floats,
    areas: Floats,
    labels: NDArray[np.integer],
    rng: np.random.Generator,
) -> Iterator[Example]:
    """Yield candidates with their labels.

    ``shares[k, i]`` is the ink of digit k in piece i, ``areas[i]`` all ink of piece i.
    The likeness of a candidate and a digit is the smaller of two shares: of the digit's
    ink that the candidate holds, and of the candidate's ink that is the digit's. Above
    a bound the candidate is the digit; the bound is lower for the candidate that is
    most like it, because digits that overlap are never cut quite right. It is none
    below another bound, or if it holds most of two digits. Others are left out.
    """
    offered = [
        candidate
        for line in segment.lines(page)
        for candidate in segment.candidates(page, line)
    ]
    if not offered:
        return
    ink = np.array([shares[:, list(c.pieces)].sum(axis=1) for c in offered])
    all_ink = np.array([areas[list(c.pieces)].sum() for c in offered])
    held = ink / np.maximum(shares.sum(axis=1), 1e-6)  # others may hide a whole digit
    like = np.minimum(held, ink / all_ink[:, np.newaxis])
    closest = like.argmax(axis=0)
    for i, candidate in enumerate(offered):
        best = int(like[i].argmax())
        least = BEST_IS_DIGIT if closest[best] == i else IS_DIGIT
        of_two = (held[i] > HALF).sum() > 1
        if like[i, best] > least and not of_two:
            yield page.image(candidate.pieces), int(labels[best])
        elif (like[i, best] < IS_NONE or of_two) and rng.random() < KEPT:
            yield page.image(candidate.pieces), NONE


def _scaled(image: Floats, height: float, rng: np.random.Generator) -> Floats:
    """Return a digit without its margin, scaled to about a height in pixels."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    tight = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = height * rng.uniform(0.85, 1.1) / 20
    H, W = (max(int(length * scale), 2) for length in tight.shape)
    picture = Image.fromarray(tight).resize((W, H), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(picture), 0, 1)


def _thicker(glyph: Floats, rng: np.random.Generator) -> Floats:
    """Return a digit with thicker, thinner or unchanged strokes."""
    kind = rng.random()
    if kind < 0.25:
        return ndimage.grey_dilation(np.pad(glyph, 1), (2, 2))
    if kind < 0.5:
        thinner = ndimage.grey_erosion(glyph, (2, 2))
        return glyph if thinner.max() < 0.6 else np.divide(thinner, thinner.max())
    return glyph


def _side_by_side(
    glyphs: Sequence[Floats], gaps: NDArray[np.float64], rng: np.random.Generator
) -> Floats:
    """Return one layer a digit, (K, H, W); gaps are shares of the digits' width."""
    margin = 4
    H = int(1.1 * max(len(glyph) for glyph in glyphs)) + 2 * margin
    lefts = [0]
    for k in range(1, len(glyphs)):
        before, after = glyphs[k - 1].shape[1], glyphs[k].shape[1]
        lefts.append(lefts[-1] + before + round(gaps[k] * (before + after) / 2))
    first = min(lefts)
    last = max(left + g.shape[1] for left, g in zip(lefts, glyphs, strict=True))
    layers = np.zeros((len(glyphs), H, last - first + 2 * margin), np.float32)
    for layer, left, glyph in zip(layers, lefts, glyphs, strict=True):
        y = margin + int(rng.uniform(0, 0.1) * len(glyph))
        x = left - first + margin
        layer[y : y + len(glyph), x : x + glyph.shape[1]] = glyph
    return _leaning(layers, rng)


def _leaning(layers: Floats, rng: np.random.Generator) -> Floats:
    """Shear some numbers to the right; return others unchanged."""
    if rng.random() < 0.6:
        return layers
    H = layers.shape[1]
    shifts = np.rint(rng.uniform(0.1, 0.6) * np.arange(H)[::-1]).astype(np.int64)
    wide = np.pad(layers, ((0, 0), (0, 0), (0, int(shifts[0]))))
    for y, shift in enumerate(shifts.tolist()):
        wide[:, y] = np.roll(wide[:, y], shift, axis=1)
    return wide
