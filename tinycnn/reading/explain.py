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
from tinycnn.ink.normalize import BOX, PEN, ink_window, normalize, normalize_strokes
from tinycnn.ink.strokes import Strokes
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
from tinycnn.reading.result import Digit

PATCH = 6  # side in pixels of the ink that is removed; two widths of MNIST's pen
STRIDE = 2  # pixels from patch to patch
SHOWN = 112  # pixels of a side; the ink is shown no larger
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
        The input of the network.
    values : float32 array (H, W)
        The ink of this digit alone, cut out.
    corner : (int, int)
        Position x, y of that cut in the ink of the drawing.
    scale : float
        Pixels of the picture or the canvas per pixel of its ink.
    strokes : Strokes or None
        Those of this digit alone, in pixels of the ink; None if it was not drawn.
    """

    digit: Digit
    probabilities: Floats
    image: NDArray[np.float32]
    values: NDArray[np.float32]
    corner: tuple[int, int]
    scale: float
    strokes: Strokes | None


def read_parts(reader: Reader, ink: Ink) -> tuple[Part, ...]:
    """Read ink, and return the ink of each digit, in reading order.

    Parameters
    ----------
    reader : Reader
    ink : Ink
        Its values, too, where it has strokes.

    Returns
    -------
    tuple of Part
        One for each digit of `Reader.read_ink`.
    """
    page, lines = reader.find(ink)
    return tuple(_part(page, ink, found) for line in lines for found in line)


def _part(page: segment.Page, ink: Ink, found: Found) -> Part:
    """Return the ink of a digit found on a page."""
    pieces, strokes = found.candidate.pieces, None
    if isinstance(page, segment.StrokePage):
        assert ink.strokes is not None
        mine = {id(page.points[piece]) for piece in pieces}
        both = zip(ink.strokes.points, ink.strokes.pen_widths, strict=True)
        points, widths = zip(
            *(each for each in both if id(each[0]) in mine), strict=True
        )
        strokes = Strokes(points, widths, ink.strokes.size)
        values = strokes.draw()
    else:
        values = page.values * np.isin(page.owner, pieces)
    rows, columns = ink_window(values)
    return Part(
        digit=found.digit,
        probabilities=found.probabilities,
        image=page.image(pieces),
        values=values[rows, columns],
        corner=(columns.start, rows.start),
        scale=ink.scale,
        strokes=strokes,
    )


def ink_of(
    parts: Sequence[Part], box: tuple[int, int, int, int]
) -> tuple[NDArray[np.float32], Strokes | None]:
    """Return the image (28, 28) and the strokes, if any, of a digit read otherwise.

    `parts` are what was read in its place, at least one; `box` is its own box: that of
    one part, that around several, or a piece of it.
    """
    first = parts[0]
    if len(parts) == 1 and first.digit.box == box:
        return first.image, first.strokes
    x0, y0, x1, y1 = (round(side / first.scale) for side in box)
    if first.strokes is not None:
        drawn = [part.strokes for part in parts if part.strokes is not None]
        pairs = [
            (p[((p >= (x0 - 1, y0 - 1)) & (p <= (x1 + 1, y1 + 1))).all(axis=1)], width)
            for strokes in drawn
            for p, width in zip(strokes.points, strokes.pen_widths, strict=True)
        ]
        lines, widths = zip(*(each for each in pairs if len(each[0])), strict=True)
        return normalize_strokes(lines), Strokes(lines, widths, first.strokes.size)
    page = np.zeros((y1 + segment.EDGE, x1 + segment.EDGE), np.float32)
    for part in parts:
        (x, y), cut = part.corner, part.values
        there = page[y : y + cut.shape[0], x : x + cut.shape[1]]
        np.maximum(there, cut[: there.shape[0], : there.shape[1]], out=there)
    return normalize(page[y0:y1, x0:x1]), None


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
    origin, pixel = _placed(part)
    n = math.ceil(max(part.values.shape) / SHOWN)
    shown = Image.fromarray(part.values).reduce(n)
    return Explanation(
        digit=part.digit.digit,
        probabilities=part.probabilities,
        top=part.digit.top,
        steps=(
            Step("As it was written", np.asarray(shown, np.float32)),
            Step("By one pen, its weight in the middle", part.image),
        ),
        feature_maps=feature_maps(reader.model, part.image),
        occlusion=occlusion(reader, part.image, part.digit.top[0][0]),
        origin=origin,
        pixel=pixel,
    )


def _placed(part: Part) -> tuple[tuple[float, float], float]:
    """Return position x, y and pixel size of the image on the drawing.

    The middle of the ink's box is that of the box in the image, whose longer side is
    `BOX`, the pen of the image included.
    """
    size = np.array(part.values.shape[::-1])
    middle, pixel = part.corner + size / 2, max(size) / BOX
    if part.strokes is not None:
        points = np.concatenate(part.strokes.points)
        low, high = points.min(axis=0), points.max(axis=0)
        middle, pixel = (low + high) / 2, max(*(high - low), 1) / (BOX - PEN)
    rows, columns = ink_window(part.image)
    inside = np.array([columns.start + columns.stop, rows.start + rows.stop]) / 2
    x, y = (part.scale * (middle - pixel * inside)).tolist()
    return (x, y), part.scale * pixel


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
            kernel = np.array(layer.weight.value.shape[:2])
            field = field.after(kernel, _pair(layer.stride), np.array([top, left]))
        elif isinstance(layer, MaxPool2D):
            pool = _pair(layer.kernel_size)
            field = field.after(pool, _pair(layer.stride), np.zeros(2, int))
        x = layer.forward(x)
        if isinstance(layer, Conv2D):
            weight, bias = layer.weight.value.copy(), layer.bias.value.copy()
            row, column = _pair(layer.stride).tolist()
            maps = x[0].copy()
            found.append(FeatureMaps(maps, weight, field, inputs, bias, (row, column)))
    return tuple(found)


def _pair(value: int | tuple[int, int]) -> NDArray[np.int64]:
    """Return a size or stride, which may be one integer for both, as a pair."""
    return np.broadcast_to(np.array(value), 2)


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
    corners = [(max(y, 0), max(x, 0), y, x) for y in starts for x in starts]
    hidden = np.zeros((len(corners), *image.shape), bool)
    for mask, (top, left, y, x) in zip(hidden, corners, strict=True):
        mask[top : y + PATCH, left : x + PATCH] = True
    hidden = hidden[(hidden & (image > 0)).any(axis=(1, 2))]
    images = np.concatenate([image[np.newaxis], np.where(hidden, 0, image)])
    kept = reader.probabilities(images)[:, answer]
    fall = np.tensordot(kept[0] - kept[1:], hidden.astype(np.float32), axes=1)
    fall /= (PATCH / STRIDE) ** 2  # patches that cover a pixel
    return fall.astype(np.float32)


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
            shares = self._reader.probabilities(image[np.newaxis])
            right = self.right() if tried or self._right is None else self._right
            tried.append((found.loss, shares[0], right))
            if len(tried) == 1:
                SGD(self._reader.model.parameters(), rate).step()
        self._right = tried[keep][2]
        if keep:
            self._base = self._copy()
        else:
            self._put(before)
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
        self._right = self.right()
        return self._right

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
