"""How one digit was read and learned from: arrays, and their positions in the ink.

`tinycnn.reading.explain` makes these in the process that reads; the window shows them
in another one. So this file imports neither layers nor compiled code.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_REGIONS = 3  # of a feature map
Floats = NDArray[np.floating[Any]]
Pair = NDArray[np.int64]
Box = tuple[float, float, float, float]


class Step(NamedTuple):
    """A picture (H, W) on the way from the ink to the image, in [0, 1], 1 = ink."""

    title: str
    picture: NDArray[np.float32]


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of a layer's outputs; every pair is (rows, columns).

    Attributes
    ----------
    size : int array (2,)
        Pixels of the image.
    step : int array (2,)
        Pixels from the field of an output to that of its neighbour.
    start : int array (2,)
        The first pixel of the field of output (0, 0); negative if it is padding.
    """

    size: Pair = field(default_factory=lambda: np.ones(2, int))
    step: Pair = field(default_factory=lambda: np.ones(2, int))
    start: Pair = field(default_factory=lambda: np.zeros(2, int))

    def after(self, kernel: Pair, stride: Pair, padding: Pair) -> "ReceptiveField":
        """Return the field of a layer's outputs, given this field of its inputs.

        `padding` is above and to the left. See Araujo, Norris and Sim 2019, "Computing
        Receptive Fields of Convolutional Neural Networks".
        """
        return ReceptiveField(
            self.size + (kernel - 1) * self.step,
            self.step * stride,
            self.start - padding * self.step,
        )

    def box(self, row: int, column: int, side: int) -> tuple[int, int, int, int]:
        """Return the field of output (row, column), clipped to the image.

        Parameters
        ----------
        row, column : int
        side : int
            Height and width of the image, in pixels.

        Returns
        -------
        (x0, y0, x1, y1)
            Half open, in pixels of the image. Where pooling drops a remainder and
            padding follows, the fields of the last outputs include that remainder.
        """
        first = self.start + self.step * (row, column)
        y0, x0, y1, x1 = np.clip([*first, *(first + self.size)], 0, side).tolist()
        return x0, y0, x1, y1


@dataclass(frozen=True)
class FeatureMaps:
    """The outputs of one convolution layer.

    Attributes
    ----------
    maps : float32 array (OH, OW, F)
        The outputs.
    kernels : float32 array (KH, KW, C, F)
        The weights; kernel f makes map f.
    field : ReceptiveField
        Of the outputs.
    inputs : float32 array (H, W, C)
        What the layer was given, with its padding.
    bias : float32 array (F,)
    stride : (int, int)
    """

    maps: NDArray[np.float32]
    kernels: NDArray[np.float32]
    field: ReceptiveField
    inputs: NDArray[np.float32]
    bias: NDArray[np.float32]
    stride: tuple[int, int]

    def products(self, row: int, column: int, feature: int) -> NDArray[np.float32]:
        """Return input times weight (KH, KW, C) of one pixel of a map.

        Their sum and the bias are the pixel, within rounding.
        """
        KH, KW = self.kernels.shape[:2]
        y, x = row * self.stride[0], column * self.stride[1]
        return self.inputs[y : y + KH, x : x + KW] * self.kernels[..., feature]


@dataclass(frozen=True)
class Explanation:
    """The explanation of how one digit was read.

    Attributes
    ----------
    digit : int or None
        The digit as it was read; None is refused.
    probabilities : float array (10,)
        Of each digit; 1 minus their sum is the probability of no digit.
    top : three of (int, float)
        The likeliest digits and their probabilities.
    steps : tuple of Step
        From the ink to the input of the network (28, 28), which is the last.
    feature_maps : tuple of FeatureMaps
        One for each convolution layer of the network that names digits.
    occlusion : float32 array (28, 28)
        How much the likeliest digit's probability falls when the ink around a pixel is
        removed; negative where it rises.
    origin : (float, float)
        Position x, y of the image's corner in the picture or on the canvas.
    pixel : float
        Width of a pixel of the image, in pixels of the picture.
    """

    digit: int | None
    probabilities: Floats
    top: tuple[tuple[int, float], ...]
    steps: tuple[Step, ...]
    feature_maps: tuple[FeatureMaps, ...]
    occlusion: NDArray[np.float32]
    origin: tuple[float, float]
    pixel: float

    @property
    def image(self) -> NDArray[np.float32]:
        """The input of the network, (28, 28)."""
        return self.steps[-1].picture


def where_it_fires(
    explanation: Explanation, layer: int, feature: int
) -> list[tuple[float, Box]]:
    """Return the parts of the image that activate a feature most.

    Parameters
    ----------
    explanation : Explanation
    layer : int
        Index into its feature maps.
    feature : int
        Index of the map.

    Returns
    -------
    list of (float, (x0, y0, x1, y1))
        At most three, strongest first: the map's positive local maxima, and their
        receptive fields in pixels of the picture or canvas.
    """
    found = explanation.feature_maps[layer]
    values = found.maps[..., feature]
    around = np.pad(values, 1, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3))
    peaks = np.argwhere((values > 0) & (values == windows.max(axis=(2, 3))))
    strengths = values[tuple(peaks.T)]
    order = np.argsort(-strengths, kind="stable")[:MAX_REGIONS]
    boxes = [
        found.field.box(row, column, len(explanation.image))
        for row, column in peaks[order].tolist()
    ]
    placed = np.array(boxes).reshape(-1, 4) * explanation.pixel + explanation.origin * 2
    return list(zip(strengths[order].tolist(), placed.tolist(), strict=True))


@dataclass(frozen=True)
class Gradients:
    """The gradients of the loss of one digit, for the label that would be right.

    Attributes
    ----------
    label : int
    loss : float
        Cross-entropy of the network that names digits.
    logits, dlogits : float32 array (K,)
        The network's outputs, and the gradient of the loss with respect to them.
    maps : tuple of float32 arrays (OH, OW, F)
        With respect to each convolution's outputs.
    kernels : tuple of float32 arrays (KH, KW, C, F)
        With respect to each convolution's weights.
    ink : float32 array (28, 28)
        With respect to the image.
    """

    label: int
    loss: float
    logits: NDArray[np.float32]
    dlogits: NDArray[np.float32]
    maps: tuple[NDArray[np.float32], ...]
    kernels: tuple[NDArray[np.float32], ...]
    ink: NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """One training step on one digit; every pair is before and after it.

    Attributes
    ----------
    loss : (float, float)
    probabilities : two float32 arrays (10,)
        Of each digit, as `Explanation` has them.
    right : (int, int)
        How many of the sample's `total` test digits are named right.
    total : int
    """

    loss: tuple[float, float]
    probabilities: tuple[Floats, Floats]
    right: tuple[int, int]
    total: int


@dataclass(frozen=True)
class Damage:
    """What is done to the weights of the network that names digits.

    Attributes
    ----------
    muted : tuple of (int, int)
        Convolution, counted from 0, and filter: its weights and bias are 0.
    noise : float
        Standard deviation of what is added to each weight, as a share of that of the
        weights of its layer.
    bits : int
        Weights are rounded to 2^bits levels (2 bits: -1, 0 and 1 times the largest;
        1 bit: the sign times the mean magnitude); 32 leaves them as they are.
    """

    muted: tuple[tuple[int, int], ...] = ()
    noise: float = 0.0
    bits: int = 32
