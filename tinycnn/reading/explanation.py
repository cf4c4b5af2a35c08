"""What a network saw of one digit: plain numbers, to be shown.

`tinycnn.reading.explain` makes an `Explanation` in the process that reads; the window
shows it in another. So this file knows arrays and where they lie in the ink, and loads
neither layers nor compiled code.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_REGIONS = 3  # of a feature map; more is a crowd
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Step:
    """One step on the way from ink to what the network gets.

    Attributes
    ----------
    title : str
    picture : float32 array (H, W)
        In [0, 1], 1 = ink.
    """

    title: str
    picture: NDArray[np.float32]


@dataclass(frozen=True)
class ReceptiveField:
    """The part of the image that an output can see; everything is (rows, columns).

    Attributes
    ----------
    size : (int, int)
        Pixels of the image.
    step : (int, int)
        Pixels from the field of an output to that of its neighbour.
    start : (int, int)
        The first pixel of the field of output (0, 0); negative where it begins in the
        padding.
    """

    size: tuple[int, int] = (1, 1)
    step: tuple[int, int] = (1, 1)
    start: tuple[int, int] = (0, 0)

    def after(
        self, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> "ReceptiveField":
        """Return the field of a layer's outputs, if this is that of its inputs.

        Each row or column that a kernel adds is a step of the inputs away, and so is
        each one of padding (Araujo, Norris and Sim 2019, "Computing Receptive Fields
        of Convolutional Neural Networks").

        Parameters
        ----------
        kernel, stride : (int, int)
        padding : (int, int)
            Zeros above and to the left.
        """
        (KH, KW), (SH, SW), (top, left) = kernel, stride, padding
        down, across = self.step
        return ReceptiveField(
            (self.size[0] + (KH - 1) * down, self.size[1] + (KW - 1) * across),
            (down * SH, across * SW),
            (self.start[0] - top * down, self.start[1] - left * across),
        )

    def box(self, row: int, column: int, side: int) -> tuple[int, int, int, int]:
        """Return what output (row, column) sees of an image.

        Parameters
        ----------
        row, column : int
        side : int
            Of the image, in pixels; padding is left out.

        Returns
        -------
        (x0, y0, x1, y1)
            Half open, in pixels of the image. Where pooling drops a remainder and
            padding follows, the last ones are said to see that remainder.
        """
        y0 = self.start[0] + row * self.step[0]
        x0 = self.start[1] + column * self.step[1]
        y1, x1 = y0 + self.size[0], x0 + self.size[1]
        return max(x0, 0), max(y0, 0), min(x1, side), min(y1, side)


@dataclass(frozen=True)
class FeatureMaps:
    """What one convolution layer made of the image.

    Attributes
    ----------
    layer : str
        Its number and kind, as in the summary of the network: ``"0 Conv2D"``.
    maps : float32 array (OH, OW, F)
        The layer's own outputs.
    kernels : float32 array (KH, KW, C, F)
        Its weights; kernel f makes map f.
    field : ReceptiveField
        Of its outputs.
    """

    layer: str
    maps: NDArray[np.float32]
    kernels: NDArray[np.float32]
    field: ReceptiveField


@dataclass(frozen=True)
class Explanation:
    """What the networks saw of one digit, and what they made of it.

    Attributes
    ----------
    digit : int or None
        What it was read as; None is refused.
    probabilities : float array (10,)
        Of each digit, as the reader says them. What they lack to 1 is the probability
        that it is no digit.
    top : three of (int, float)
        The likeliest digits and their probabilities.
    steps : tuple of Step
        From ink to the image, which is the last.
    feature_maps : tuple of FeatureMaps
        One for each convolution layer of the network that names digits.
    occlusion : float32 array (28, 28)
        How much of the likeliest digit's probability is lost when the ink around a
        pixel is taken away; negative where that makes it likelier.
    origin : (float, float)
        Where the image's corner lies in the picture or on the canvas: x, y.
    pixel : float
        How many of the picture's pixels a pixel of the image is wide.
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
        """The image (28, 28) that the networks got."""
        return self.steps[-1].picture


@dataclass(frozen=True)
class Region:
    """Where a feature fires.

    Attributes
    ----------
    value : float
        The activation.
    box : (int, int, int, int)
        ``x0, y0, x1, y1``, half open, in pixels of the 28×28 image.
    ink_box : (float, float, float, float)
        The same in pixels of the picture or canvas.
    """

    value: float
    box: tuple[int, int, int, int]
    ink_box: tuple[float, float, float, float]


def where_it_fires(
    explanation: Explanation, layer: int, feature: int
) -> tuple[Region, ...]:
    """Return the parts of the image that a feature answers to most.

    Parameters
    ----------
    explanation : Explanation
    layer : int
        Which of its feature maps, from 0.
    feature : int
        Which map, from 0.

    Returns
    -------
    tuple of Region
        At most three, strongest first: the places where the map is positive and no
        neighbour is higher, and what the layer sees from there.
    """
    found = explanation.feature_maps[layer]
    values = found.maps[..., feature]
    around = np.pad(values, 1, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3))
    peaks = np.argwhere((values > 0) & (values == windows.max(axis=(2, 3))))
    strengths = values[tuple(peaks.T)]
    order = np.argsort(-strengths, kind="stable")[:MOST_REGIONS]
    regions = []
    for row, column in peaks[order].tolist():
        box = found.field.box(row, column, len(explanation.image))
        x, y = explanation.origin
        edges = np.array(box) * explanation.pixel + (x, y, x, y)
        x0, y0, x1, y1 = edges.tolist()
        regions.append(Region(float(values[row, column]), box, (x0, y0, x1, y1)))
    return tuple(regions)
