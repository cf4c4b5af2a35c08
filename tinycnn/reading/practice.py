"""What the reader learns from: candidates cut from numbers that the code composes.

The reader tells digits from several digits run together, and both from pieces of
digits, letters and scribbles. Digits are set side by side and the segmenter offers its
candidates. Which ink belongs to which digit is known, so the labels are, too.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from tqdm import tqdm

from tinycnn.glyphs.writer import DIGITS, SIGNS, write, written
from tinycnn.ink.normalize import (
    BOX,
    normalize,
    normalize_strokes,
    stroke_width,
    tighten,
    with_pen,
)
from tinycnn.ink.strokes import Strokes, draw
from tinycnn.pretrained import NONE, SEVERAL
from tinycnn.reading import segment

IS_DIGIT, IS_NONE = 0.88, 0.75  # likeness above or below which a candidate is one
BEST_IS_DIGIT = 0.6  # the same for the candidate most like a digit
SLIM = 0.4  # heights; a narrower piece of a letter may be a 1
HALF = 0.5  # of a digit's ink: a candidate that holds more of two digits is several
MOST_OTHERS = 6  # of a page: candidates of several digits, and as many of none
MOST_DIGITS = 8  # of a number
PIXEL_HEIGHTS = 24, 72  # of composed digits
WORN = 0.25  # of composed pictures: those with ragged edges
PENS = 0.02, 0.25  # of the height; of composed digits
THINNING = 0.6  # of an image's own pen that is left at least
PRINTED = "ABCDEFGHJKLMNPRTUVWXYacdefhijkmnprtuvwxy%&?#"  # none looks like a digit
SIGNS_EACH = 8  # letters and signs by themselves, for each number composed
Floats = NDArray[np.floating[Any]]
Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]
Points = NDArray[np.float64]
Example = tuple[Floats, int]  # a 28×28 image and its label, 0 to 9, NONE or SEVERAL


def with_composed(
    share: float, seed: int, stream: int, images: Images, labels: Labels, times: int
) -> tuple[Images, Labels]:
    """Return digits, then what is composed of them, then letters and signs.

    Parameters
    ----------
    share : float
        Numbers to compose for each image; `SIGNS_EACH` times as many letters and signs.
    seed, stream : int
        What is composed is a function of these and of the digits.
    images : uint8 array (N, 28, 28)
    labels : uint8 array (N,)
    times : int
        How often the digits are returned.

    Returns
    -------
    images, labels
        Labels are 0 to 9, NONE or SEVERAL.
    """
    count = max(round(share * len(images)), 1)
    made = [
        compose(images, labels, np.random.default_rng([seed, stream, i]))
        for i in tqdm(range(count), "numbers", unit="", disable=None)
    ]
    rng = np.random.default_rng([seed, stream, 4])
    others, _ = written(SIGNS, SIGNS_EACH * count, rng)
    none = np.full(len(others), NONE, np.uint8)
    return (
        np.concatenate([images] * times + [part for part, _ in made] + [others]),
        np.concatenate([labels] * times + [part for _, part in made] + [none]),
    )


def compose(
    images: Images, labels: Labels, rng: np.random.Generator
) -> tuple[Images, Labels]:
    """Return the candidates of a composed number, scribbles, and what code writes.

    Code writes letters and signs, in nine of ten calls a number, in one of ten print.

    Parameters
    ----------
    images : uint8 array (N, 28, 28)
        Single digits, 255 = ink; the number has one to eight.
    labels : uint8 array (N,)
    rng : numpy Generator

    Returns
    -------
    images : uint8 array (K, 28, 28)
    labels : uint8 array (K,)
        0 to 9, NONE or SEVERAL.
    """
    chosen = rng.integers(0, len(images), rng.integers(1, MOST_DIGITS + 1))
    ink = images[chosen].astype(np.float32) / 255
    examples = [*_from_images(ink, labels[chosen], rng)]
    for _ in range(3):
        examples += _from_scribble(rng)
    if rng.random() < 0.1:
        examples += _from_print(rng)
    if rng.random() < 0.9:
        chosen = rng.integers(0, 10, rng.integers(1, 6))
        strokes = [write(DIGITS[digit], rng) for digit in chosen]
        examples += _from_strokes(strokes, chosen, rng)
    strokes = [write(SIGNS[k], rng) for k in rng.integers(0, len(SIGNS), 3)]
    examples += _from_strokes(strokes, np.full(len(strokes), NONE), rng)
    composed, names = zip(*examples, strict=True)
    grey = np.rint(np.stack(composed) * 255).astype(np.uint8)
    return grey, np.array(names, np.uint8)


def _from_images(
    images: Iterable[Floats], labels: NDArray[np.integer], rng: np.random.Generator
) -> Iterator[Example]:
    """Set digits side by side and yield the candidates that the segmenter finds.

    Images are float32 arrays (28, 28), the ink of single digits.
    """
    height = int(rng.integers(*PIXEL_HEIGHTS))
    if rng.random() < 0.5:  # otherwise with MNIST's pens
        pen = BOX * rng.uniform(*PENS)
        # Strokes vary, and the thin ones of a thick pen would vanish.
        images = [with_pen(i, max(pen, THINNING * stroke_width(i))) for i in images]
    glyphs = [_scaled(image, height, rng) for image in images]
    lowest, highest = ((-0.25, 0.05), (-0.15, 0), (0, 0.3))[rng.integers(3)]
    layers = _side_by_side(glyphs, rng.uniform(lowest, highest, len(glyphs)), rng)
    yield from _of_picture(layers, labels, rng)


def _from_strokes(
    digits: Sequence[list[Points]],
    labels: NDArray[np.integer],
    rng: np.random.Generator,
) -> Iterator[Example]:
    """Write digits side by side and yield the candidates, of strokes or of ink.

    The strokes of each digit are float arrays (P, 2), in any unit.
    """
    height = float(rng.integers(*PIXEL_HEIGHTS))
    pen = height * rng.uniform(*PENS)
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
    areas = np.array([piece.area for piece in page.pieces.values()])
    of_each = [len(strokes) for strokes in placed]
    shares = areas * np.repeat(np.eye(len(placed)), of_each, axis=1)
    yield from _examples(page, shares, areas, labels, rng)


def _from_print(rng: np.random.Generator) -> Iterator[Example]:
    """Print digits, or letters, and yield the candidates that the segmenter finds."""
    height = int(rng.integers(*PIXEL_HEIGHTS))
    digits = rng.random() < 0.5
    text = rng.choice(list("0123456789" if digits else PRINTED), rng.integers(1, 5))
    font = ImageFont.load_default(height / 0.72)  # the height of its capitals
    glyphs = []
    for character in text:
        left, top, right, bottom = font.getbbox(character)
        image = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
        ImageDraw.Draw(image).text((1 - left, 1 - top), character, 255, font)
        glyphs.append(np.asarray(image, np.float32) / 255)
    layers = _side_by_side(glyphs, rng.uniform(0.1, 0.4, len(glyphs)), rng)
    labels = np.array([int(c) if digits else NONE for c in text])
    yield from _of_picture(layers, labels, rng)


def _from_scribble(rng: np.random.Generator) -> Iterator[Example]:
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
        pen = side * rng.uniform(*PENS)
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
    ink = layers.max(axis=0)
    page = segment.PicturePage(_worn(ink, rng) if rng.random() < WORN else ink)
    page.cut(list(page.pieces))
    owner = page.owner.ravel()
    shares: Any = np.stack([np.bincount(owner, layer.ravel()) for layer in layers])
    areas: Any = np.bincount(owner, page.values.ravel())
    yield from _examples(page, shares, areas, labels, rng)


def _worn(ink: Floats, rng: np.random.Generator) -> Floats:
    """Return ink with ragged edges, as on patterned paper or in a coarse scan."""
    grain = ndimage.gaussian_filter(rng.normal(size=ink.shape), 1)
    grain *= rng.uniform(0, 0.1) / grain.std()
    soft = ndimage.gaussian_filter(ink, rng.uniform(0.3, 0.8)) * (1 + 2 * grain) + grain
    return np.clip((soft - 0.3) / 0.4, 0, 1).astype(np.float32) * (soft > 0.3)


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
    below another bound, and several if it holds most of two. Others are left out.
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
    others: dict[int, list[segment.Candidate]] = {NONE: [], SEVERAL: []}
    for i, candidate in enumerate(offered):
        best = int(like[i].argmax())
        least = BEST_IS_DIGIT if closest[best] == i else IS_DIGIT
        whole = labels[held[i] > HALF]
        if len(whole) > 1:
            others[NONE if NONE in whole else SEVERAL].append(candidate)
        elif like[i, best] > least:
            yield page.image(candidate.pieces), int(labels[best])
        elif like[i, best] < IS_NONE:
            # The upright of a letter is a 1 by itself.
            x0, y0, x1, y1 = candidate.box
            if labels[best] != NONE or x1 - x0 > SLIM * (y1 - y0):
                others[NONE].append(candidate)
    for label, found in others.items():
        for i in rng.permutation(len(found))[:MOST_OTHERS].tolist():
            yield page.image(found[i].pieces), label


def _scaled(image: Floats, height: float, rng: np.random.Generator) -> Floats:
    """Return a digit without its margin, scaled to about a height in pixels."""
    tight = tighten(image)
    scale = height * rng.uniform(0.85, 1.1) / max(tight.shape)
    H, W = (max(int(length * scale), 2) for length in tight.shape)
    picture = Image.fromarray(tight).resize((W, H), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(picture), 0, 1)


def _side_by_side(
    glyphs: Sequence[Floats], gaps: NDArray[np.float64], rng: np.random.Generator
) -> Floats:
    """Return one layer a digit, (K, H, W); gaps are shares of the digits' width."""
    margin = 4
    H = int(1.1 * max(len(glyph) for glyph in glyphs)) + 2 * margin
    widths = np.array([glyph.shape[1] for glyph in glyphs])
    gaps = np.rint(gaps[1:] * (widths[:-1] + widths[1:]) / 2).astype(int)
    lefts = np.cumsum([0, *(widths[:-1] + gaps)])
    lefts += margin - lefts.min()
    W = (lefts + widths).max() + margin
    layers = np.zeros((len(glyphs), H, W), np.float32)
    for layer, x, glyph in zip(layers, lefts, glyphs, strict=True):
        y = margin + int(rng.uniform(0, 0.1) * len(glyph))
        layer[y : y + len(glyph), x : x + glyph.shape[1]] = glyph
    if rng.random() < 0.6:
        return layers
    # Others lean to the right.
    shifts = np.rint(rng.uniform(0.1, 0.6) * np.arange(H)[::-1]).astype(np.int64)
    wide = np.pad(layers, ((0, 0), (0, 0), (0, int(shifts[0]))))
    columns = (np.arange(wide.shape[2]) - shifts[:, np.newaxis]) % wide.shape[2]
    return np.take_along_axis(wide, columns[np.newaxis], axis=2)
