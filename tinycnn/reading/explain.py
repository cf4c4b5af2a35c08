"""Explain how a digit was read, and how the network would learn from it.

Image and probabilities are those of the reading itself; feature maps and gradients are
computed by the plain layers.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinycnn import nn
from tinycnn.fast import fuse
from tinycnn.ink.normalize import FAINT, ink_window, normalize
from tinycnn.ink.strokes import Ink, Strokes
from tinycnn.models import predict
from tinycnn.reading import segment
from tinycnn.reading.reader import Found, Reader
from tinycnn.reading.result import (
    Box,
    Damage,
    Explanation,
    FeatureMaps,
    Floats,
    Gradients,
    Trial,
    turned,
)


def explain(reader: Reader, ink: Ink, box: Box) -> Explanation | None:
    """Explain how the digit with this box was read; None if there is no such digit."""
    page, found = _found(reader, ink, [box])
    if not found:
        return None
    one = found[0]
    image, likeliest = page.image(one.candidate.pieces), one.digit.top[0][0]
    # The box of the ink in the image lies on that in the drawing, once it is level.
    there = np.reshape(one.candidate.box, (2, 2))
    rows, columns = ink_window(image > FAINT)
    inside = np.array([(columns.start, rows.start), (columns.stop, rows.stop)])
    middles = np.zeros((2, 2))  # of the page, and of the picture as it is
    if isinstance(page, segment.PicturePage):
        middles = np.array([page.values.shape, ink.values.shape])[:, ::-1] / 2
        if page.tilt:
            alone = page.values * np.isin(page.owner, one.candidate.pieces)
            level = turned(np.argwhere(alone > FAINT)[:, ::-1] + 0.5, -page.tilt)
            there = np.stack([level.min(axis=0) - 0.5, level.max(axis=0) + 0.5])
    pixel = float(np.ptp(there, axis=0).max() / np.ptp(inside, axis=0).max())
    corner = turned(there.mean(axis=0) - pixel * inside.mean(axis=0), page.tilt)
    corner = turned(corner - middles[0], 90 * page.turns) + middles[1]
    x, y = (corner * ink.scale).tolist()
    return Explanation(
        probabilities=one.probabilities,
        image=image,
        feature_maps=gradients(reader.model, image, likeliest).feature_maps,
        origin=(x, y),
        pixel=pixel * ink.scale,
        tilt=page.tilt + 90 * page.turns,
    )


def corrected(
    reader: Reader, ink: Ink, read: Sequence[Box], boxes: Sequence[Box]
) -> list[tuple[Floats, Strokes | None]]:
    """Return the image (28, 28) and the strokes, if any, of digits read otherwise.

    `read` are the boxes of what was read in their place; `boxes` are their own: those,
    one around all of them, or parts of one, which have no strokes. Without ink there,
    an image is all 0.
    """
    page, found = _found(reader, ink, read)
    inks = []
    for box in boxes:
        mine = [one for one in found if one.digit.box == box] or found
        pieces = [n for one in mine for n in one.candidate.pieces]
        strokes = None
        if isinstance(page, segment.PicturePage):
            values = np.rot90(page.values * np.isin(page.owner, pieces), -page.turns)
        else:
            strokes = page.strokes.only(pieces)
            values = strokes.draw()
        if mine and box == segment.around([one.digit.box for one in mine]):
            inks.append((page.image(pieces), strokes))
        else:
            x0, y0, x1, y1 = (round(side / ink.scale) for side in box)
            part = np.rot90(values[y0:y1, x0:x1], page.turns)
            inks.append((normalize(page.level(part) if part.size else part), None))
    return inks


def _found(
    reader: Reader, ink: Ink, boxes: Sequence[Box]
) -> tuple[segment.Page, list[Found]]:
    """Read ink, and return its page and the digits with these boxes."""
    page, lines = reader.find(ink)
    return page, [one for line in lines for one in line if one.digit.box in boxes]


def gradients(model: nn.Sequential, image: Floats, label: int) -> Gradients:
    """Return what the plain layers make of an image, and the gradients of its loss.

    Parameters
    ----------
    model : nn.Sequential
    image : float32 array (H, W)
    label : int
        The class that would be right.
    """
    x, steps = image[np.newaxis, :, :, np.newaxis], []
    # Receptive fields as in `FeatureMaps` (Araujo, Norris and Sim 2019, "Computing
    # Receptive Fields of Convolutional Neural Networks").
    size, step, start = np.array([(1, 1), (1, 1), (0, 0)])
    for layer in model.layers:
        y = layer.forward(x)
        kernel, margins = np.ones(2, int), (0, 0, 0, 0)
        stride = layer.stride if isinstance(layer, nn.Conv2D | nn.MaxPool2D) else 1
        if isinstance(layer, nn.Conv2D):
            kernel = np.array(layer.weight.value.shape[:2])
            margins = layer.margins(*x.shape[1:3])
        elif isinstance(layer, nn.MaxPool2D):
            kernel = np.broadcast_to(layer.kernel_size, 2)
        size, start = size + step * (kernel - 1), start - step * margins[::2]
        step = step * stride
        steps.append((layer, x[0], y[0], margins, np.stack([size, step, start])))
        x = y
    loss, dlogits = nn.softmax_cross_entropy(x, np.array([label]))
    dy, feature_maps = dlogits, []
    for layer, inputs, maps, margins, field in reversed(steps):
        dx = layer.backward(dy)
        if isinstance(layer, nn.Conv2D):
            one = FeatureMaps(
                inputs=np.pad(inputs, (margins[:2], margins[2:], (0, 0))),
                kernels=layer.weight.value.copy(),
                dkernels=np.array(layer.weight.grad),
                bias=layer.bias.value.copy(),
                maps=maps.copy(),
                dmaps=dy[0].copy(),
                stride=np.broadcast_to(layer.stride, 2),
                field=field,
            )
            feature_maps.append(one)
        dy = dx
    return Gradients(label, loss, dlogits[0], dy[0, :, :, 0], tuple(feature_maps[::-1]))


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

    def right(self) -> int:
        """Return how many of the digits are named right."""
        logits = predict(self._runner, self._images)[:, :10]
        return int((logits.argmax(axis=1) == self._labels).sum())

    def train(
        self, image: Floats, label: int, rate: float, *, keep: bool = False
    ) -> Trial:
        """Do one step of gradient descent on one image, and undo it unless kept.

        Layers are as in evaluation: no dropout, and batch norm's running statistics.
        """

        def figures() -> tuple[float, Floats, int]:
            loss = gradients(self._reader.model, image, label).loss
            shares = self._reader.probabilities(image[np.newaxis], views=True)[0]
            return loss, shares, self.right()

        weights, before = self._copy(), figures()
        nn.SGD(self._reader.model.parameters(), rate).step()
        after = figures()
        if keep:
            self._base = self._copy()
        else:
            self._put(weights)
        (loss, shares, right), (new_loss, new_shares, new_right) = before, after
        return Trial((loss, new_loss), (shares, new_shares), (right, new_right))

    def apply(self, damage: Damage) -> int:
        """Damage the weights and return `right`; no damage undoes kept steps, too."""
        if damage == Damage():
            self._base = self._whole
        self._put(self._base)
        layers, rng = self._reader.model.layers, np.random.default_rng(0)
        for weight in (p.value for p in self._reader.model.parameters()):
            if weight.ndim > 1:  # no bias, nothing of batch norm
                noise = rng.standard_normal(weight.shape, np.float32)
                weight += np.float32(damage.noise) * weight.std() * noise
                weight[...] = _rounded(weight, damage.bits)
        convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2D)]
        for number, feature in damage.muted:
            convolutions[number].weight.value[..., feature] = 0
            convolutions[number].bias.value[feature] = 0
        return self.right()

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
