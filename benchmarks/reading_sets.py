"""The pictures that reading is measured on, each with its truth.

A set is a function that yields items: what the reader is given, the text that is right,
the box of every digit, and every digit's own image for the ceiling. It is made from a
folder laid out so; a set whose part is absent raises `MissingError`:

    mnist/       the four files of MNIST (the mirrors are named in `tinycnn.data.mnist`)
    strokes/ujipenchars2.jsonl.gz, strokes/pendigits-train.jsonl.gz
                 digits by pen (UCI): {"label": "1", "strokes": [[[x, y], ...]]}
    strokes/crohme-train-symbols.jsonl.gz
                 letters and signs of CROHME's training parts, laid out alike
    strokes/crohme-train-numbers.jsonl.gz
                 numbers as people wrote them on tablets, from the training parts of
                 CROHME (the competition on recognizing handwritten formulas; TC11 and
                 Zenodo have it). Gzipped JSON lines, y downward, any unit:
                 {"text": "125", "digits": [{"label": "1", "strokes": [[[x, y], ...]]}]}
    cheques/     pictures of cheque amounts, from the training part of ORAND-CAR-A
                 (the ICFHR 2014 competition HDSRC), with boxes that others added since.
                 labels.jsonl: {"file": "a.jpg", "text": "125",
                 "boxes": [[x, y, width, height], ...]}, one for each digit of the text

Item i of a set is made with a generator seeded by the seed and by i, so it is the same
picture whatever else is measured. Where only some items of a set are asked for, they
are drawn at random, with the same seed.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tinycnn.data import DataError, Digits, load_mnist, split_validation
from tinycnn.ink.normalize import SIDE, normalize, normalize_strokes
from tinycnn.ink.picture import picture_ink
from tinycnn.ink.strokes import Strokes

Box = tuple[float, float, float, float]  # x0, y0, x1, y1, half open, in pixels
Random = np.random.Generator

HALF = 0.5  # a pixel with more ink than paper belongs to the digit
FAINT = 0.05  # softer than this is nothing that resampling left around a digit

PENS = (0.03, 0.04, 0.06, 0.09, 0.16, 0.22)  # of the height
DIGITS = {
    "UJI": "ujipenchars2.jsonl.gz",
    "pendigits": "pendigits-train.jsonl.gz",
    "CROHME": "crohme-train-numbers.jsonl.gz",
}
SYMBOLS = {"CROHME": "crohme-train-symbols.jsonl.gz"}
NUMBERS = 2000  # synthetic ones, of each set
APART, TOUCHING = (0.0, 0.3), (-0.15, 0.0)  # gaps in widths of a digit
PAPERS = 200  # pictures of each kind of nothing
PAGES = 200
TIMED = 50  # pictures
LONG = 5  # of each kind of what takes long


class MissingError(Exception):
    """A part of the folder is absent; the message names it."""


@dataclass(frozen=True, eq=False)
class Item:
    """What the reader is given, and the truth.

    Attributes
    ----------
    given : uint8 array (H, W) or (H, W, 3), or Strokes
    text : str
        The D digits, from left to right.
    boxes : tuple of D boxes
        In pixels of the picture, or of the strokes' canvas.
    images : float32 array (D, 28, 28)
        What the network is shown for the ceiling: every digit's own ink, normalised.
    kind : str
        Of the picture, where a set has several kinds.
    """

    given: NDArray[np.uint8] | Strokes
    text: str
    boxes: tuple[Box, ...]
    images: NDArray[np.float32]
    kind: str = ""


# --- the truth -------------------------------------------------------------------


def ink_box(ink: NDArray[np.float32]) -> Box:
    """Return the tight box of the pixels that are more ink than paper.

    Parameters
    ----------
    ink : float32 array (H, W)
        At least one pixel is above 0.5.
    """
    rows, columns = (np.flatnonzero((ink > HALF).any(axis=a)) for a in (1, 0))
    return float(columns[0]), float(rows[0]), columns[-1] + 1.0, rows[-1] + 1.0


# --- digits of MNIST, pasted -----------------------------------------------------


def mnist(folder: Path, seed: int, limit: int | None) -> Iterator[Item]:
    """Yield MNIST's test digits, one a picture, at random sizes, places and polarity.

    The longer side of a digit is 20 to 300 pixels, as many small ones as large ones
    (uniform in its logarithm); the picture is 1.3 to 3 times as wide and as high. The
    image for the ceiling is the original one.
    """
    images, labels = _mnist_test(folder)
    for index, rng in _chosen(len(images), seed, limit):
        digit = scaled(images[index], np.exp(rng.uniform(np.log(20), np.log(300))))
        room = (digit.shape * rng.uniform(1.3, 3.0, 2)).astype(int) + 2
        ink = np.zeros(room, np.float32)
        y, x = rng.integers(1, room - digit.shape)
        _paste(ink, digit, y, x)
        picture = _dark_on_light(ink)
        boxes = (ink_box(ink),)
        yield Item(
            255 - picture if rng.random() < 0.5 else picture,
            str(labels[index]),
            boxes,
            images[index : index + 1].astype(np.float32) / 255,
        )


def ten_digits(folder: Path, seed: int, limit: int | None) -> Iterator[Item]:
    """Yield pictures of 900×300 with ten MNIST test digits in a row, 60 pixels high."""
    images, labels = _mnist_test(folder)
    for _, rng in _chosen(TIMED, seed, limit):
        picked = rng.integers(0, len(images), 10)
        yield number(
            images[picked], labels[picked], 60.0, (0.1, 0.2), rng, size=(900, 300)
        )


def number(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    height: float,
    gaps: tuple[float, float],
    rng: Random,
    size: tuple[int, int] | None = None,
) -> Item:
    """Return a picture of MNIST digits in a row, dark on light.

    Each digit is 10 % smaller to 10 % larger than `height` and stands up to 5 % of it
    off the line. Where digits overlap, the darker ink counts.

    Parameters
    ----------
    images : uint8 array (D, 28, 28)
    labels : uint8 array (D,)
    height : float
        Pixels that 20 pixels of MNIST, the longer side of a digit, become.
    gaps : (float, float)
        Least and most of the gaps between the boxes of neighbours, a share of the mean
        of their widths. Below 0 the boxes overlap.
    rng : numpy Generator
    size : (int, int) or None
        Width and height of the picture; None leaves margins of about half a digit.

    Returns
    -------
    Item
    """
    digits = [scaled(image, height * rng.uniform(0.9, 1.1)) for image in images]
    boxes = [ink_box(digit) for digit in digits]
    # Where each box begins and ends, the first at x = 0, the line at y = 0.
    corners = []
    x = 0.0
    for i, (x0, _, x1, y1) in enumerate(boxes):
        if i > 0:
            before = boxes[i - 1][2] - boxes[i - 1][0]
            x += rng.uniform(*gaps) * (before + x1 - x0) / 2
        corners.append((round(x - x0), round(rng.uniform(-0.05, 0.05) * height - y1)))
        x += x1 - x0
    margin = round(0.5 * height)
    left = min(x for x, _ in corners)
    top = min(y for _, y in corners)
    right = max(x + d.shape[1] for (x, _), d in zip(corners, digits, strict=True))
    bottom = max(y + d.shape[0] for (_, y), d in zip(corners, digits, strict=True))
    width, depth = size or (right - left + 2 * margin, bottom - top + 2 * margin)
    across, down = (width - right - left) // 2, (depth - bottom - top) // 2
    inks = []
    for digit, (x, y) in zip(digits, corners, strict=True):
        inks.append(np.zeros((depth, width), np.float32))
        _paste(inks[-1], digit, y + down, x + across)
    return _item(
        _dark_on_light(np.maximum.reduce(inks)),
        "".join(str(label) for label in labels),
        inks,
        [normalize(ink) for ink in inks],
    )


def scaled(image: NDArray[np.uint8], side: float) -> NDArray[np.float32]:
    """Return the tight ink of an MNIST image whose longer side becomes `side`.

    Parameters
    ----------
    image : uint8 array (28, 28)
    side : float
        Pixels.

    Returns
    -------
    float32 array (H, W)
        In [0, 1], bicubically resampled.
    """
    x0, y0, x1, y1 = ink_box(image / np.float32(255))
    large = round(SIDE * side / max(x1 - x0, y1 - y0))
    # Shrinking widens Pillow's kernel, so thin strokes fade rather than vanish.
    page = Image.fromarray(image).resize((large, large), Image.Resampling.BICUBIC)
    ink = np.asarray(page, np.float32) / np.float32(255)
    rows, columns = (np.flatnonzero((ink > FAINT).any(axis=a)) for a in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _numbers(
    source: Callable[[Path], tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    gaps: tuple[float, float],
    folder: Path,
    seed: int,
    limit: int | None,
) -> Iterator[Item]:
    """Yield numbers of 2 to 8 digits of MNIST, 40 to 100 pixels high.

    Parameters
    ----------
    source : callable
        Returns images and labels from the folder.
    gaps : (float, float)
        As `number` takes them.
    """
    images, labels = source(folder)
    for _, rng in _chosen(NUMBERS, seed, limit):
        picked = rng.integers(0, len(images), rng.integers(2, 9))
        height = rng.uniform(40, 100)
        yield number(images[picked], labels[picked], height, gaps, rng)


def _mnist(folder: Path) -> Digits:
    try:
        return load_mnist(folder / "mnist")
    except DataError as error:
        raise MissingError(str(error)) from error


def _mnist_test(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    digits = _mnist(folder)
    return digits.test_images, digits.test_labels


def _mnist_validation(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    digits = _mnist(folder)
    return split_validation(digits.train_images, digits.train_labels)[2:]


numbers = partial(_numbers, _mnist_test, APART)
numbers_touching = partial(_numbers, _mnist_test, TOUCHING)
# The last 5,000 training images: constants of the reader are chosen on these.
choosing = partial(_numbers, _mnist_validation, APART)
choosing_touching = partial(_numbers, _mnist_validation, TOUCHING)


# --- numbers of CROHME -----------------------------------------------------------


def crohme_pictures(folder: Path, seed: int, limit: int | None) -> Iterator[Item]:
    """Yield CROHME's numbers drawn as pictures, dark on light.

    A number is 60 to 120 pixels high, its pen 4 to 10 % of that wide.
    """
    for strokes, text, inks, _ in _crohme(folder, seed, limit):
        images = [normalize(ink) for ink in inks]
        yield _item(_dark_on_light(strokes.draw()), text, inks, images)


def crohme_strokes(folder: Path, seed: int, limit: int | None) -> Iterator[Item]:
    """Yield the same numbers as strokes, digit after digit."""
    for strokes, text, inks, digits in _crohme(folder, seed, limit):
        yield _item(strokes, text, inks, [normalize_strokes(d) for d in digits])


def crohme_pens(folder: Path, seed: int, limit: int | None) -> Iterator[Item]:
    """Yield CROHME's numbers as pictures, with pens of 3 to 22 % of their height."""
    for pen in PENS:
        for strokes, text, inks, _ in _crohme(folder, seed, limit, (pen, pen)):
            images = [normalize(ink) for ink in inks]
            item = _item(_dark_on_light(strokes.draw()), text, inks, images)
            yield replace(item, kind=f"pen {pen}")


def _singles(
    files: dict[str, str], folder: Path, seed: int, limit: int | None
) -> Iterator[Item]:
    """Yield single digits, or letters and signs, each as strokes and as a picture."""
    for kind, file in files.items():
        rows = json_lines(folder / "strokes" / file)
        written = [digit for row in rows for digit in row.get("digits", [row])]
        for index, rng in _chosen(len(written), seed, limit):
            shape = [np.array(s, np.float64) for s in written[index]["strokes"]]
            everything = np.concatenate(shape)
            low, high = everything.min(axis=0), everything.max(axis=0)
            height = rng.uniform(60, 160)
            pen = height * rng.uniform(0.04, 0.12)
            scale = (height - pen) / max(high[1] - low[1], (high[0] - low[0]) / 2, 1e-6)
            points = [(stroke - low) * scale + height / 2 for stroke in shape]
            across, down = np.ceil((high - low) * scale + height).astype(int).tolist()
            strokes = _by_pen(points, pen, (across, down))
            ink, label = strokes.draw(), str(written[index]["label"])
            images = normalize_strokes(points)[np.newaxis]
            text, boxes = (label, (ink_box(ink),)) if label.isdecimal() else ("", ())
            yield Item(strokes, text, boxes, images, f"{kind}, strokes")
            yield Item(_dark_on_light(ink), text, boxes, images, f"{kind}, pictures")


singles = partial(_singles, DIGITS)
symbols = partial(_singles, SYMBOLS)


def place_strokes(
    digits: Sequence[Sequence[NDArray[np.float64]]],
    height: float,
    pen_width: float,
) -> list[list[NDArray[np.float64]]]:
    """Scale a number's strokes, and move them half its height off the corner.

    Parameters
    ----------
    digits : sequence of D lists of float arrays (P, 2)
        In any unit, y downward.
    height : float
        Of the number with its ink, pixels.
    pen_width : float
        Pixels.

    Returns
    -------
    list of D lists of float arrays (P, 2)
        In pixels.
    """
    everything = np.concatenate([stroke for digit in digits for stroke in digit])
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = (height - pen_width) / (high - low)[1]
    edge = height / 2 + pen_width / 2
    return [[(stroke - low) * scale + edge for stroke in digit] for digit in digits]


def _crohme(
    folder: Path,
    seed: int,
    limit: int | None,
    pens: tuple[float, float] = (0.04, 0.1),
) -> Iterator[tuple[Strokes, str, list[NDArray[np.float32]], Any]]:
    """Yield strokes, text, and every digit's ink alone and points."""
    written = json_lines(folder / "strokes" / "crohme-train-numbers.jsonl.gz")
    for index, rng in _chosen(len(written), seed, limit):
        height = rng.uniform(60, 120)
        pen_width = height * rng.uniform(*pens)
        points = [
            [np.array(stroke, np.float64) for stroke in digit["strokes"]]
            for digit in written[index]["digits"]
        ]
        digits = place_strokes(points, height, pen_width)
        furthest = np.concatenate([s for digit in digits for s in digit]).max(axis=0)
        across, down = np.ceil(furthest + height / 2 + pen_width / 2).astype(int)
        size = int(across), int(down)
        inks = [_by_pen(digit, pen_width, size).draw() for digit in digits]
        everything = [stroke for digit in digits for stroke in digit]
        strokes = _by_pen(everything, pen_width, size)
        yield strokes, written[index]["text"], inks, digits


def _by_pen(
    points: Sequence[NDArray[np.float64]], pen_width: float, size: tuple[int, int]
) -> Strokes:
    return Strokes(tuple(points), (pen_width,) * len(points), size)


# --- pages on a desk -------------------------------------------------------------


def desks(folder: Path, seed: int, limit: int | None) -> Iterator[Item]:
    """Yield photographs of a page with one to three of CROHME's numbers on a desk.

    The desk has one of ten shades; the page is turned by up to 15 degrees and seen a
    little from the side, and a shadow lies on both.
    """
    written = json_lines(folder / "strokes" / "crohme-train-numbers.jsonl.gz")
    for index, rng in _chosen(PAGES, seed, limit):
        texts, digits, inks = [], [], []
        for row in range(rng.integers(1, 4)):
            height = rng.uniform(60, 90)
            chosen = written[rng.integers(len(written))]
            points = [[np.array(s) for s in d["strokes"]] for d in chosen["digits"]]
            pen = height * rng.uniform(0.05, 0.1)
            shift = 60 - height / 2, 50 + 140 * row - height / 2
            placed = [
                [stroke + shift for stroke in digit]
                for digit in place_strokes(points, height, pen)
            ]
            if max(stroke[:, 0].max() for digit in placed for stroke in digit) < 620:
                texts.append(chosen["text"])
                digits += placed
                inks += [_by_pen(digit, pen, (680, 480)).draw() for digit in placed]
        if texts:
            desk = 20 + 20 * (index % 10)
            photo, seen = _photograph(np.maximum.reduce(inks), desk, rng)
            boxes = []
            for x0, y0, x1, y1 in map(ink_box, inks):
                corners = np.array([[x0, x0, x1, x1], [y0, y1, y0, y1], [1] * 4])
                x, y, z = seen @ corners
                boxes.append((min(x / z), min(y / z), max(x / z), max(y / z)))
            images = np.stack([normalize_strokes(digit) for digit in digits])
            yield Item(photo, "\n".join(texts), tuple(boxes), images, f"desk {desk}")


def turned(folder: Path, seed: int, limit: int | None) -> Iterator[Item]:
    """Yield these photographs turned by 90, 180 and 270 degrees counter-clockwise."""
    for index, item in enumerate(desks(folder, seed, limit)):
        turns, picture = index % 3 + 1, np.asarray(item.given)
        H, W, *_ = picture.shape
        x0, y0, x1, y1 = np.array(item.boxes).T
        for _ in range(turns):
            x0, y0, x1, y1, W, H = y0, W - x1, y1, W - x0, H, W
        boxes = tuple(zip(x0, y0, x1, y1, strict=True))
        kind = f"{90 * turns} degrees"
        yield replace(item, given=np.rot90(picture, turns), boxes=boxes, kind=kind)


def _photograph(
    ink: NDArray[np.float32], desk: int, rng: Random
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the photograph (720, 1000) of a page (480, 680), and the projection.

    The projection (3, 3) takes homogeneous x, y of the page to the photograph's.
    """
    H, W = ink.shape
    angle = np.radians(rng.uniform(-15, 15))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[0, 0], [W, 0], [W, H], [0, H]], float)
    seen = (corners - (W / 2, H / 2)) @ turn.T * 1.05 + (500, 360)
    seen += rng.uniform(-25, 25, (4, 2))
    rows = []  # of eight equations for the projection of the photograph onto the page
    for (x, y), (u, v) in zip(seen, corners, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    projection = np.linalg.solve(np.array(rows), corners.ravel())
    page = Image.fromarray(np.rint(246 - 200 * ink).astype(np.uint8))
    method = Image.Transform.PERSPECTIVE, projection.tolist()
    on_desk = page.transform((1000, 720), *method, Image.Resampling.BILINEAR)
    grain = ndimage.gaussian_filter(rng.normal(size=(720, 1000)), (1, 12)) * 20
    levels = np.asarray(on_desk, np.float64)
    scene = np.where(levels > 0, levels, desk + grain)
    y, x = np.mgrid[-1:1:720j, -1:1:1000j]
    side = rng.uniform(-0.15, 0.15, 2)
    dark = 1 / (1 + np.exp(-8 * (x * rng.choice([-1, 1]) + y * 0.5 - 0.4)))
    light = 0.95 + side[0] * x + side[1] * y - rng.uniform(0, 0.3) * dark
    photo = ndimage.gaussian_filter(scene * light, 0.8)
    photo += rng.normal(size=photo.shape) * 3
    inverse = np.linalg.inv(np.append(projection, 1).reshape(3, 3))
    return np.clip(np.rint(photo), 0, 255).astype(np.uint8), inverse


# --- cheques ---------------------------------------------------------------------


def cheques(folder: Path, seed: int, limit: int | None) -> Iterator[Item]:
    """Yield cheque amounts.

    No digit's own ink is known here: for the ceiling, all ink within its box counts as
    its own. A few of the labels are wrong.
    """
    labelled = json_lines(folder / "cheques" / "labels.jsonl")
    for index, _ in _chosen(len(labelled), seed, limit):
        entry = labelled[index]
        try:
            with Image.open(folder / "cheques" / entry["file"]) as page:
                picture = np.asarray(page.convert("RGB"))
        except OSError as error:
            raise MissingError(f"cheques: {error}") from error
        ink = picture_ink(picture)
        boxes = [(x, y, x + w, y + h) for x, y, w, h in entry["boxes"]]
        inks = [_within(ink.values, box, ink.scale) for box in boxes]
        yield Item(
            picture,
            entry["text"],
            tuple(boxes),
            np.stack([normalize(own) for own in inks]),
        )


def _within(values: NDArray[np.float32], box: Box, scale: float) -> NDArray[np.float32]:
    """Return ink (H, W) with nothing left outside a box in pixels of the picture."""
    x0, y0, x1, y1 = (max(round(edge / scale), 0) for edge in box)
    own = np.zeros_like(values)
    own[y0:y1, x0:x1] = values[y0:y1, x0:x1]
    return own


# --- pictures without a digit ----------------------------------------------------


def nothing(folder: Path, seed: int, limit: int | None) -> Iterator[Item]:  # noqa: ARG001
    """Yield pictures that hold no digit; they need no folder.

    `limit` counts those of one kind.
    """
    for i, (kind, draw) in enumerate(PAPER.items()):
        for _, rng in _chosen(PAPERS, seed + i, limit):
            shape = int(rng.integers(100, 401)), int(rng.integers(200, 901))
            grey = np.clip(draw(shape, rng), 0, 255).astype(np.uint8)
            yield Item(grey, "", (), np.zeros((0, SIDE, SIDE), np.float32), kind)


def _blank(shape: tuple[int, int], rng: Random) -> NDArray[np.float64]:
    """Return paper of any one grey, from black to white."""
    return np.full(shape, rng.uniform(0, 255))


def _noise(shape: tuple[int, int], rng: Random) -> NDArray[np.float64]:
    """Return a grain of 2 to 25 grey levels, fine or of a few pixels."""
    grain = ndimage.gaussian_filter(rng.normal(size=shape), rng.choice([0, 0.7, 1.5]))
    return rng.uniform(30, 225) + grain / grain.std() * rng.uniform(2, 25)


def _lined(shape: tuple[int, int], rng: Random) -> NDArray[np.float64]:
    """Return ruled lines 20 to 60 pixels apart, a little noisy."""
    spacing, thick = int(rng.integers(20, 61)), int(rng.integers(1, 4))
    on_a_line = (np.arange(shape[0]) + rng.integers(spacing)) % spacing < thick
    paper = np.full(shape, rng.uniform(225, 255))
    paper[on_a_line] = rng.uniform(60, 210)
    return paper + rng.normal(size=shape) * rng.uniform(0, 4)


def _squared(shape: tuple[int, int], rng: Random) -> NDArray[np.float64]:
    """Return squares of 15 to 50 pixels, a little noisy."""
    spacing, thick = int(rng.integers(15, 51)), int(rng.integers(1, 4))
    rows, columns = (
        (np.arange(length) + rng.integers(spacing)) % spacing < thick
        for length in shape
    )
    paper = np.full(shape, rng.uniform(225, 255))
    paper[rows[:, None] | columns] = rng.uniform(60, 210)
    return paper + rng.normal(size=shape) * rng.uniform(0, 4)


def _shaded(shape: tuple[int, int], rng: Random) -> NDArray[np.float64]:
    """Return light from one side and the soft shadow of a hand."""
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    angle, at = rng.uniform(0, 2 * np.pi), rng.uniform(-1, 1, 2)
    slope = (x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(10, 60)
    far = (x - at[0]) ** 2 + (y - at[1]) ** 2
    shadow = np.exp(-far / rng.uniform(0.1, 1.0)) * rng.uniform(20, 120)
    return rng.uniform(180, 240) + slope - shadow + rng.normal(size=shape) * 2


def _specks(shape: tuple[int, int], rng: Random) -> NDArray[np.float64]:
    """Return 1 to 60 dark dots, 1 to 5 pixels across, on white paper."""
    dots = [rng.uniform(0, 1, (1, 2)) * shape[::-1] for _ in range(rng.integers(1, 61))]
    widths = rng.uniform(1, 5, len(dots)).tolist()
    return _drawn(dots, widths, shape)


def _scribbles(shape: tuple[int, int], rng: Random) -> NDArray[np.float64]:
    """Return one to three tangles of a pen, 60 to 200 pixels across.

    A tangle is a sum of sine waves, with too many turns for a digit.
    """
    tangles = []
    turns = np.arange(3, 12)[:, None, None]
    t = np.linspace(0, 2 * np.pi, 300)[:, None]
    for _ in range(rng.integers(1, 4)):
        sizes = rng.normal(size=(9, 1, 2)) / np.sqrt(turns)
        wave = (sizes * np.sin(turns * t + rng.uniform(0, 7, (9, 1, 2)))).sum(axis=0)
        wave *= rng.uniform(60, 200) / np.ptp(wave, axis=0).max()
        # The whole tangle lies within the picture if it is small enough for it.
        low, high = -wave.min(axis=0) + 8, np.array(shape[::-1]) - wave.max(axis=0) - 8
        tangles.append(wave + rng.uniform(low, np.maximum(low, high)))
    return _drawn(tangles, [rng.uniform(2, 8)] * len(tangles), shape)


def _drawn(
    points: Sequence[NDArray[np.float64]], widths: list[float], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return strokes in black on white paper (H, W)."""
    strokes = Strokes(tuple(points), tuple(widths), (shape[1], shape[0]))
    return 255 * (1 - strokes.draw().astype(np.float64))


PAPER: dict[str, Callable[[tuple[int, int], Random], NDArray[np.float64]]] = {
    "blank": _blank,
    "noise": _noise,
    "lined": _lined,
    "squared": _squared,
    "shaded": _shaded,
    "specks": _specks,
    "scribbles": _scribbles,
}


# --- what takes longest ----------------------------------------------------------


def longest(folder: Path, seed: int, limit: int | None) -> Iterator[Item]:  # noqa: ARG001
    """Yield what takes long to read: too many pieces, cuts, pixels or points.

    `limit` counts those of one kind.
    """
    for i, (kind, make) in enumerate(LONGEST.items()):
        for _, rng in _chosen(LONG, seed + i, limit):
            yield Item(make(rng), "", (), np.zeros((0, SIDE, SIDE), np.float32), kind)


def _squares(rng: Random) -> NDArray[np.uint8]:
    """Return 2,000 black squares of 2 to 20 pixels."""
    picture = np.full((1000, 2000), 255, np.uint8)
    for x, y, side in rng.integers((0, 0, 2), (1980, 980, 21), (2000, 3)):
        picture[y : y + side, x : x + side] = 0
    return picture


def _bars(rng: Random) -> NDArray[np.uint8]:
    """Return 1,000 bars in one to four lines."""
    lines = int(rng.integers(1, 5))
    line = np.pad(np.zeros((200, 1), np.uint8), ((50, 50), (1, 2)), constant_values=255)
    return np.tile(line, (lines, 1000 // lines))


def _angles(rng: Random) -> NDArray[np.uint8]:
    """Return some hundred right angles, one in the other: each box is most of it."""
    picture, step = np.full((2000, 2000), 255, np.uint8), int(rng.integers(4, 20))
    for x in range(0, 1900, step):
        picture[: 2000 - x, x : x + 2] = picture[1998 - x : 2000 - x, x:] = 0
    return picture


def _tangles(rng: Random) -> NDArray[np.uint8]:
    """Return a hundred walks of 3 pixels' pen on 4 million pixels."""
    strokes = _walks(100, 30, 30.0, (2000, 2000), rng)
    return np.rint(_drawn(strokes.points, [3.0] * 100, (2000, 2000))).astype(np.uint8)


def _walks(
    count: int, points: int, step: float, size: tuple[int, int], rng: Random
) -> Strokes:
    """Return strokes that are random walks."""
    starts = rng.uniform(0, 1, (count, 1, 2)) * size
    walks = np.cumsum(rng.normal(0, step, (count, points, 2)), axis=1) + starts
    return Strokes(tuple(np.clip(walks, 0, size)), (4.0,) * count, size)


LONGEST: dict[str, Callable[[Random], NDArray[np.uint8] | Strokes]] = {
    "squares": _squares,
    "bars": _bars,
    "angles": _angles,
    "tangles": _tangles,
    "noise": lambda rng: np.where(rng.random((60, 65_535)) < 0.3, 0, 255).astype("u1"),
    "500 strokes of 40 points": lambda rng: _walks(500, 40, 6.0, (900, 300), rng),
    "200 strokes of 100 points": lambda rng: _walks(200, 100, 5.0, (900, 300), rng),
}


# --- what the sets share ---------------------------------------------------------


def _chosen(count: int, seed: int, limit: int | None) -> Iterator[tuple[int, Random]]:
    """Yield the indices of all items or of some, each with its own generator."""
    indices = np.arange(count)
    if limit is not None and limit < count:
        rng = np.random.default_rng(seed)
        indices = np.sort(rng.choice(count, limit, replace=False))
    for index in indices.tolist():
        yield index, np.random.default_rng([seed, index])


def _item(
    given: NDArray[np.uint8] | Strokes,
    text: str,
    inks: Sequence[NDArray[np.float32]],
    images: Sequence[NDArray[np.float32]],
) -> Item:
    """Return an item whose boxes follow from every digit's own ink."""
    boxes = tuple(ink_box(ink) for ink in inks)
    return Item(given, text, boxes, np.stack(images))


def _paste(
    ink: NDArray[np.float32], digit: NDArray[np.float32], y: int, x: int
) -> None:
    """Put a digit's ink (h, w) into a picture's (H, W), which has room for it."""
    ink[y : y + digit.shape[0], x : x + digit.shape[1]] = digit


def _dark_on_light(ink: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(255 * (1 - ink)).astype(np.uint8)


def json_lines(path: Path) -> list[Any]:
    """Return the objects of a file of JSON lines, gzipped or not."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingError(f"{path}: {error.strerror or error}") from error
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    return [json.loads(line) for line in content.splitlines()]
