"""Explain how a digit was read, and how the network would learn from it.

The image and the probabilities are those of the reading itself. Feature maps and
gradients are computed by the plain layers; the occlusion map by the reader, in one
batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinycnn.fast import fuse
from tinycnn.ink.ink import Ink
from tinycnn.ink.normalize import (
    BOX,
    FAINT,
    FINENESS,
    corner,
    fill_box,
    fit,
    normalize,
    normalize_strokes,
)
from tinycnn.ink.strokes import Strokes, draw
from tinycnn.models import predict
from tinycnn.nn import (
    SGD,
    Conv2D,
    Dense,
    MaxPool2D,
    Sequential,
    softmax_cross_entropy,
)
from tinycnn.reading import segment
from tinycnn.reading.explanation import (
    Damage,
    Explanation,
    FeatureMaps,
    Gradients,
    ReceptiveField,
    Step,
    Trial,
)
from tinycnn.reading.reader import Found, Reader
from tinycnn.reading.result import Digit, Reading

PATCH = 6  # side in pixels of the ink that is removed; two widths of MNIST's pen
STRIDE = 2  # pixels from patch to patch
SHOWN = 112  # pixels of a side; steps are shown no larger
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Part:
    """The ink of one digit of a reading, and how it was read.

    Attributes
    ----------
    digit : Digit
        As in the reading.
    probabilities : float64 array (10,)
        Of each digit; 1 minus their sum is the probability of no digit.
    image : float32 array (28, 28)
        The input of the networks.
    ink : Strokes or float32 array (H, W)
        Its strokes; for a picture the ink of this digit alone, cut out.
    corner : (int, int)
        Position x, y of that cut in the ink of the picture.
    scale : float
        Pixels of the picture per pixel of its ink.
    """

    digit: Digit
    probabilities: Floats
    image: NDArray[np.float32]
    ink: Strokes | NDArray[np.float32]
    corner: tuple[int, int] = (0, 0)
    scale: float = 1.0


def read_parts(
    reader: Reader, drawing: Ink | Strokes
) -> tuple[Reading, tuple[Part, ...]]:
    """Read a drawing, and return the ink of each digit as well.

    Parameters
    ----------
    reader : Reader
    drawing : Ink or Strokes

    Returns
    -------
    reading : Reading
        See `Reader.read_ink` and `Reader.read_strokes`.
    parts : tuple of Part
        One for each of its digits, in reading order.
    """
    if isinstance(drawing, Strokes):
        nothing = np.zeros((0, 0), np.float32)
        drawing = Ink(nothing, drawing.size, strokes=drawing)
    page, lines = reader.find(drawing)
    found = [found for line in lines for found in line]
    reading = Reading(tuple(tuple(found.digit for found in line) for line in lines))
    return reading, tuple(_part(page, drawing, each) for each in found)


def explain(reader: Reader, part: Part) -> Explanation:
    """Explain how a digit was read.

    Parameters
    ----------
    reader : Reader
        The reader that read it.
    part : Part
        From `read_parts`.

    Returns
    -------
    Explanation
    """
    if isinstance(part.ink, Strokes):
        steps, origin, pixel = _steps_of_strokes(part.ink, part.image)
    else:
        steps, origin, pixel = _steps_of_cut(part.ink, part)
    return Explanation(
        digit=part.digit.digit,
        probabilities=part.probabilities,
        top=part.digit.top,
        steps=steps,
        feature_maps=feature_maps(reader.model, part.image),
        occlusion=occlusion(reader, part.image, part.digit.top[0][0]),
        origin=origin,
        pixel=pixel,
    )


def feature_maps(
    model: Sequential, image: NDArray[np.float32]
) -> tuple[FeatureMaps, ...]:
    """Return the outputs of each convolution layer of a network for an image.

    Parameters
    ----------
    model : Sequential
    image : float32 array (H, W)

    Returns
    -------
    tuple of FeatureMaps
    """
    x: Floats = image[np.newaxis, :, :, np.newaxis]
    field = ReceptiveField()
    found = []
    for layer in model.layers:
        inputs = x[0]
        if isinstance(layer, Conv2D):
            top, below, left, right = layer.margins(*x.shape[1:3])
            inputs = np.pad(inputs, ((top, below), (left, right), (0, 0)))
            KH, KW = layer.weight.value.shape[:2]
            field = field.after((KH, KW), _pair(layer.stride), (top, left))
        elif isinstance(layer, MaxPool2D):
            field = field.after(_pair(layer.kernel_size), _pair(layer.stride), (0, 0))
        x = layer.forward(x)
        if isinstance(layer, Conv2D):
            weight, bias = layer.weight.value.copy(), layer.bias.value.copy()
            stride = _pair(layer.stride)
            maps = x[0].copy()
            found.append(FeatureMaps(maps, weight, field, inputs, bias, stride))
    return tuple(found)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return a size or stride, which may be one integer for both, as a pair."""
    return (value, value) if isinstance(value, int) else value


def occlusion(
    reader: Reader, image: NDArray[np.float32], answer: int
) -> NDArray[np.float32]:
    """Return how much an answer's probability depends on the ink around each pixel.

    Patches of ink are removed, one at a time, and the probability falls (Zeiler and
    Fergus 2014, section 4.2). Each pixel is the mean fall over the patches that cover
    it.

    Parameters
    ----------
    reader : Reader
    image : float32 array (28, 28)
    answer : int
        The digit whose probability is measured.

    Returns
    -------
    float32 array (28, 28)
    """
    starts = range(STRIDE - PATCH, len(image), STRIDE)
    windows = [
        np.s_[max(y, 0) : y + PATCH, max(x, 0) : x + PATCH]
        for y in starts
        for x in starts
    ]
    windows = [window for window in windows if image[window].any()]
    images = np.repeat(image[np.newaxis], 1 + len(windows), axis=0)
    for changed, window in zip(images[1:], windows, strict=True):
        changed[window] = 0
    names, digits = reader.opinions(images)
    kept = names[:, answer] * digits
    fall = np.zeros(image.shape, np.float32)
    for window, probability in zip(windows, kept[1:], strict=True):
        fall[window] += kept[0] - probability
    return fall / np.float32((PATCH / STRIDE) ** 2)  # patches that cover a pixel


def gradients(model: Sequential, image: NDArray[np.float32], label: int) -> Gradients:
    """Return the gradients of the loss of one image (H, W), by the plain layers.

    `label` is the class that would be right.
    """
    logits = model.forward(image[np.newaxis, :, :, np.newaxis])
    loss, dlogits = softmax_cross_entropy(logits, np.array([label]))
    maps, kernels, dy = [], [], dlogits
    for layer in reversed(model.layers):
        if isinstance(layer, Conv2D):
            maps.append(dy[0].copy())
        dy = layer.backward(dy)
        if isinstance(layer, Conv2D):
            kernels.append(np.array(layer.weight.grad))
    slopes = dlogits[0], tuple(maps[::-1]), tuple(kernels[::-1]), dy[0, :, :, 0]
    return Gradients(label, loss, logits[0], *slopes)


class Workbench:
    """Changes the weights of a reader's network, and puts them back.

    Images (N, 28, 28) of digits, of uint8, and their labels (N,) are read before and
    after a change.
    """

    def __init__(
        self, reader: Reader, images: NDArray[np.uint8], labels: NDArray[np.uint8]
    ) -> None:
        self._reader, self._images, self._labels = reader, images, labels
        self._runner = fuse(reader.model)
        self._whole = self._copy()
        self._base = self._whole  # with the training steps that were kept
        self._right: int | None = None  # of the weights as they are

    def right(self) -> int:
        """Return how many of the digits are named right."""
        logits = predict(self._runner, self._images)[:, :10]
        return int((logits.argmax(axis=1) == self._labels).sum())

    def train(
        self, image: NDArray[np.float32], label: int, rate: float, *, keep: bool = False
    ) -> Trial:
        """Do one step of gradient descent on one image, and undo it unless kept.

        Layers are as in evaluation: no dropout, and batch norm's running statistics.
        """
        before = self._copy()
        tried: list[tuple[Any, ...]] = []
        for _ in range(2):
            found = gradients(self._reader.model, image, label)
            shares, digit = self._reader.opinions(image[np.newaxis])
            right = self.right() if tried or self._right is None else self._right
            tried.append((found.loss, shares[0] * digit[0], right))
            if len(tried) == 1:
                SGD(self._reader.model.parameters(), rate).step()
        self._right = tried[keep][2]
        if keep:
            self._base = self._copy()
        else:
            self._put(before)
        self._forget()
        losses, names, counts = zip(*tried, strict=True)
        return Trial(losses, names, counts, len(self._labels))

    def apply(self, damage: Damage) -> int:
        """Damage the weights and return `right`; no damage undoes kept steps, too."""
        if damage == Damage():
            self._base = self._whole
        self._put(self._base)
        rng = np.random.default_rng(0)
        convolutions = []
        for layer in self._reader.model.layers:
            if isinstance(layer, Conv2D):
                convolutions.append(layer)
            if isinstance(layer, Conv2D | Dense):
                weight = layer.weight.value
                noise = rng.standard_normal(weight.shape, np.float32)
                weight += np.float32(damage.noise) * weight.std() * noise
                weight[...] = _rounded(weight, damage.bits)
        for number, feature in damage.muted:
            convolutions[number].weight.value[..., feature] = 0
            convolutions[number].bias.value[feature] = 0
        self._forget()
        self._right = self.right()
        return self._right

    def _forget(self) -> None:
        """Drop the scores that the reader remembers: they are of other weights."""
        if self._reader._memory is not None:
            self._reader._memory.clear()

    def _copy(self) -> dict[str, Floats]:
        return {n: array.copy() for n, array in self._reader.model.state().items()}

    def _put(self, state: dict[str, Floats]) -> None:
        for name, array in self._reader.model.state().items():
            array[...] = state[name]


def _rounded(weight: Floats, bits: int) -> Floats:
    """Return weights rounded to 2^bits levels: see `Damage`."""
    if bits >= 32:
        return weight
    if bits == 1:  # Rastegari et al. 2016, "XNOR-Net", section 3.1
        return np.sign(weight) * np.abs(weight).mean()
    step = max(float(np.abs(weight).max()), 1e-12) / (2 ** (bits - 1) - 1)
    return np.rint(weight / np.float32(step)) * np.float32(step)


def ink_of(
    parts: Sequence[Part], box: tuple[int, int, int, int]
) -> tuple[NDArray[np.float32], Strokes | None]:
    """Return the image (28, 28) and the strokes, if any, of a digit read otherwise.

    `parts` are what was read in its place, at least one; `box` is its own box: that of
    one part, that around several, or a piece of it.
    """
    first = parts[0]
    if len(parts) == 1 and first.digit.box == box:
        return first.image, first.ink if isinstance(first.ink, Strokes) else None
    if isinstance(first.ink, Strokes):
        low, high = np.array(box[:2]) - 1, np.array(box[2:]) + 1
        drawn = [part.ink for part in parts if isinstance(part.ink, Strokes)]
        pairs = [
            pair for s in drawn for pair in zip(s.points, s.pen_widths, strict=True)
        ]
        kept = [(p[((p >= low) & (p <= high)).all(axis=1)], w) for p, w in pairs]
        lines, widths = zip(*(each for each in kept if len(each[0])), strict=True)
        strokes = Strokes(tuple(lines), tuple(widths), first.ink.size)
        return normalize_strokes(strokes.points), strokes
    x0, y0, x1, y1 = (round(side / first.scale) for side in box)
    page = np.zeros((y1 + segment.EDGE, x1 + segment.EDGE), np.float32)
    for part in parts:
        (x, y), cut = part.corner, np.asarray(part.ink)
        there = page[y : y + cut.shape[0], x : x + cut.shape[1]]
        np.maximum(there, cut[: there.shape[0], : there.shape[1]], out=there)
    cut, _ = _tight(page[y0:y1, x0:x1])
    return normalize(cut), None


def _tight(
    values: NDArray[np.float32],
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Return the part with ink, and its position x, y."""
    rows, columns = (np.flatnonzero((values > FAINT).any(axis=k)) for k in (1, 0))
    cut = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return cut, (int(columns[0]), int(rows[0]))


def _part(page: segment.Page, ink: Ink, found: Found) -> Part:
    """Return the ink of a digit found on a page."""
    pieces, image = found.candidate.pieces, page.image(found.candidate.pieces)
    if isinstance(page, segment.StrokePage):
        assert ink.strokes is not None
        both = zip(ink.strokes.points, ink.strokes.pen_widths, strict=True)
        width = {id(points): pen_width for points, pen_width in both}
        points = tuple(page.points[piece] for piece in pieces)
        widths = tuple(width[id(each)] for each in points)
        drawn = Strokes(points, widths, ink.strokes.size)
        return Part(found.digit, found.probabilities, image, drawn)
    boxes = np.array([page.pieces[piece].box for piece in pieces], int)
    x0, y0 = np.maximum(boxes[:, :2].min(axis=0) - segment.EDGE, 0).tolist()
    x1, y1 = (boxes[:, 2:].max(axis=0) + segment.EDGE).tolist()
    window = np.s_[y0:y1, x0:x1]
    values = page.values[window] * np.isin(page.owner[window], pieces)
    cut, (x, y) = _tight(values)
    at = x0 + x, y0 + y
    return Part(found.digit, found.probabilities, image, cut, at, ink.scale)


def _steps_of_strokes(
    strokes: Strokes, image: NDArray[np.float32]
) -> tuple[tuple[Step, ...], tuple[float, float], float]:
    """Return the steps to 28×28, and position and pixel size of the image.

    See `tinycnn.ink.normalize.normalize_strokes`.
    """
    everything = np.concatenate(strokes.points)
    low, high = everything.min(axis=0), everything.max(axis=0)
    zoom = SHOWN / ((high - low).max() + max(strokes.pen_widths))
    size = (high - low + max(strokes.pen_widths)) * zoom
    edge = low - max(strokes.pen_widths) / 2
    drawn = draw(
        [(points - edge) * zoom for points in strokes.points],
        [pen_width * zoom for pen_width in strokes.pen_widths],
        (math.ceil(size[0]), math.ceil(size[1])),
    )
    scale, move = fit(strokes.points)
    scaled = [points * scale + move for points in strokes.points]
    cells = SHOWN / BOX
    thin = draw([p * cells for p in scaled], [2.0] * len(scaled), (SHOWN, SHOWN))
    fine = fill_box(strokes.points)
    box = np.asarray(fine.reduce(FINENESS), np.float32) / np.float32(255)
    steps = (
        Step("As it was drawn", drawn),
        Step(f"Scaled to {BOX} × {BOX}", thin),
        Step("Drawn with MNIST's pen", box),
        Step("Its weight in the middle", image),
    )
    x, y = (-(move + corner(fine)) / scale).tolist()
    return steps, (x, y), 1 / scale


def _steps_of_cut(
    cut: NDArray[np.float32], part: Part
) -> tuple[tuple[Step, ...], tuple[float, float], float]:
    """See `_steps_of_strokes` and `tinycnn.ink.normalize.normalize`."""
    side, image = max(cut.shape), part.image
    pixel = side / BOX
    padding = [(side - length) * BOX // (2 * side) for length in cut.shape]  # cells
    top, left = (math.floor(cells * pixel) for cells in padding)
    square = np.zeros((side, side), np.float32)
    square[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    y, x = (int(image.any(axis=1 - k).argmax()) - padding[k] for k in (0, 1))
    steps = (
        Step("Cut out of the picture", _shrunk(cut)),
        Step("Made square", _shrunk(square)),
        Step(f"Averaged to {BOX} × {BOX}", image[y : y + BOX, x : x + BOX]),
        Step("Its weight in the middle", image),
    )
    corner = np.subtract(part.corner, np.add((x, y), padding[::-1]) * pixel)
    left, above = (part.scale * corner).tolist()
    return steps, (left, above), part.scale * pixel


def _shrunk(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a picture reduced to at most `SHOWN` pixels a side."""
    n = math.ceil(max(picture.shape) / SHOWN)
    return np.asarray(Image.fromarray(picture).reduce(n), np.float32)
