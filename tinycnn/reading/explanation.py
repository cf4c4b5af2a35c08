"""How one digit was read and learned from: arrays, and their positions in the ink.

`tinycnn.reading.explain` makes these in the process that reads; the window shows them
in another one. So this file imports neither layers nor compiled code.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class FeatureMaps:
    """The arrays of one convolution layer, for one image; pairs are (rows, columns).

    Attributes
    ----------
    inputs : float32 array (H, W, C)
        What the layer was given, with its padding.
    kernels, dkernels : float32 arrays (KH, KW, C, F)
        The weights, and the gradient of the loss; kernel f makes map f.
    bias : float32 array (F,)
    maps, dmaps : float32 arrays (OH, OW, F)
        The outputs, and the gradient of the loss.
    stride : int array (2,)
    field : int array (3, 2)
        The receptive fields of the outputs in pixels of the image: their size, the step
        from one to its neighbour, and the start of that of output (0, 0), which is
        negative if it is padding.
    """

    inputs: Floats
    kernels: Floats
    dkernels: Floats
    bias: Floats
    maps: Floats
    dmaps: Floats
    stride: NDArray[np.int64]
    field: NDArray[np.int64]

    def products(self, row: int, column: int, feature: int) -> Floats:
        """Return input times weight (KH, KW, C) of one pixel of a map.

        Their sum and the bias are the pixel, within rounding.
        """
        KH, KW = self.kernels.shape[:2]
        y, x = self.stride * (row, column)
        return self.inputs[y : y + KH, x : x + KW] * self.kernels[..., feature]


@dataclass(frozen=True)
class Gradients:
    """One image's way forward through the plain layers, and the loss's way back.

    Attributes
    ----------
    label : int
        The digit that would be right.
    loss : float
        Cross-entropy of the logits as they are: without the temperature and the prior
        that calibrate what the reader says.
    dlogits : float32 array (K,)
        The gradient of the loss with respect to the logits; of 11 classes the last is
        no digit.
    ink : float32 array (28, 28)
        With respect to the image.
    feature_maps : tuple of FeatureMaps
        One for each convolution layer.
    """

    label: int
    loss: float
    dlogits: Floats
    ink: Floats
    feature_maps: tuple[FeatureMaps, ...]


@dataclass(frozen=True)
class Explanation:
    """The explanation of how one digit was read.

    Attributes
    ----------
    probabilities : float array (10,)
        Of each digit, calibrated; 1 minus their sum is the probability of no digit.
    image : float32 array (28, 28)
        The input of the network, 1 = ink.
    feature_maps : tuple of FeatureMaps
        Of the network that names digits; gradients are for the likeliest digit.
    origin, pixel, tilt : (float, float), float, float
        Position x, y of the image's corner in the picture or on the canvas, the width
        of its pixels there, and the degrees by which it lies there turned clockwise.
    """

    probabilities: Floats
    image: Floats
    feature_maps: tuple[FeatureMaps, ...]
    origin: tuple[float, float]
    pixel: float
    tilt: float = 0.0

    def region(self, layer: int, row: int, column: int) -> list[tuple[float, float]]:
        """Return the receptive field of an output, in pixels of the picture or canvas.

        It is the x and y of its four corners. Where pooling drops a remainder and
        padding follows, the fields of the last outputs include that remainder.
        """
        size, step, start = self.feature_maps[layer].field
        first = start + step * (row, column)
        corners = np.clip([first, first + size], 0, len(self.image))
        (top, left), (low, right) = corners.tolist()
        around = np.array([(left, top), (right, top), (right, low), (left, low)])
        placed = turned(around * self.pixel, self.tilt) + self.origin
        return [(x, y) for x, y in placed.tolist()]


def turned(points: Floats, degrees: float) -> Floats:
    """Return points (..., 2), x right and y down, turned clockwise about (0, 0)."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([(cosine, sine), (-sine, cosine)])


class Trial(NamedTuple):
    """A training step on one digit; pairs are before and after it.

    Losses are as of `Gradients`, probabilities as of `Explanation`, and `right` counts
    the sample's test digits that are named right.
    """

    loss: tuple[float, float]
    probabilities: tuple[Floats, Floats]
    right: tuple[int, int]


class Damage(NamedTuple):
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
