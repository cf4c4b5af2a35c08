"""What the laws are tried on: a table of shapes, and every layer with an input."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinycnn import nn


class Geometry(NamedTuple):
    """The sizes of a convolution or of a pooling (which ignores F and padding)."""

    N: int
    H: int
    W: int
    C: int
    F: int
    KH: int
    KW: int
    SH: int
    SW: int
    padding: int | tuple[int, int] | str = 0


# No size comes twice in a row of this table: code that takes one for another gives a
# wrong shape or value. Kernels overlap, touch and leave gaps; both strides lead.
DIFFERENT = {
    "wide kernel, wide stride": Geometry(2, 9, 13, 3, 5, 4, 6, 1, 7),
    "overlap both ways": Geometry(2, 9, 8, 3, 7, 5, 6, 4, 1),
    "gaps between rows": Geometry(2, 10, 11, 3, 7, 1, 6, 4, 5),
    "a pair of paddings": Geometry(3, 6, 9, 2, 5, 4, 7, 1, 8, (1, 3)),
    "same, odd and even": Geometry(2, 6, 10, 3, 4, 5, 8, 1, 7, "same"),
    "same, wider stride than kernel": Geometry(2, 8, 9, 3, 5, 4, 1, 6, 7, "same"),
}

COMMON = {
    "3×3 same": Geometry(2, 6, 5, 2, 3, 3, 3, 1, 1, "same"),
    "5×5 same": Geometry(2, 6, 7, 1, 2, 5, 5, 1, 1, "same"),
    "4×4 same, stride 2": Geometry(2, 7, 6, 2, 3, 4, 4, 2, 2, "same"),
    "2×2 stride 2": Geometry(2, 6, 8, 3, 2, 2, 2, 2, 2),
    "3×3 stride 1": Geometry(2, 5, 6, 2, 3, 3, 3, 1, 1),
    "1×1": Geometry(2, 4, 3, 3, 2, 1, 1, 1, 1),
    "kernel as big as the image": Geometry(3, 4, 5, 2, 3, 4, 5, 1, 1),
}

CONVOLUTIONS = DIFFERENT | COMMON
# Pooling and the kernels know no padding; the same sizes without it, where they fit.
UNPADDED = {
    name: g._replace(padding=0)
    for name, g in CONVOLUTIONS.items()
    if g.KH <= g.H and g.KW <= g.W
}


def output_size(g: Geometry) -> tuple[int, int]:
    """Return OH and OW of a geometry without padding."""
    return (g.H - g.KH) // g.SH + 1, (g.W - g.KW) // g.SW + 1


def images(g: Geometry, seed: int = 0):
    """Return normal random images."""
    return np.random.default_rng(seed).standard_normal((g.N, g.H, g.W, g.C))


def apart(shape: tuple[int, ...], seed: int = 0):
    """Return shuffled values, no two within 0.25 and none within 0.1 of 0."""
    count = int(np.prod(shape))
    values = (np.arange(count) - count // 2) * 0.25 + 0.1
    return np.random.default_rng(seed).permutation(values).reshape(shape)


def convolution(g: Geometry) -> nn.Conv2D:
    """Return a float64 convolution with a bias that is not zero."""
    rng, kernel, stride = np.random.default_rng(1), (g.KH, g.KW), (g.SH, g.SW)
    layer = nn.Conv2D(g.C, g.F, kernel, stride=stride, padding=g.padding, rng=rng)
    layer.cast(np.float64)
    layer.bias.value[:] = rng.standard_normal(g.F)
    return layer


def pooling(g: Geometry) -> nn.MaxPool2D:
    """Return a max pooling."""
    return nn.MaxPool2D((g.KH, g.KW), stride=(g.SH, g.SW))


def batch_norm(channels: int) -> nn.BatchNorm2D:
    """Return a float64 batch norm whose every array says something."""
    rng = np.random.default_rng(1)
    layer = nn.BatchNorm2D(channels)
    layer.cast(np.float64)
    layer.weight.value[:] = rng.standard_normal(channels)
    layer.bias.value[:] = rng.standard_normal(channels)
    layer.running_mean[:] = rng.standard_normal(channels)
    layer.running_var[:] = rng.uniform(0.5, 2, channels)
    return layer


def dense(in_features: int, out_features: int) -> nn.Dense:
    """Return a float64 dense layer with a bias that is not zero."""
    rng = np.random.default_rng(1)
    layer = nn.Dense(in_features, out_features, rng=rng)
    layer.cast(np.float64)
    layer.bias.value[:] = rng.standard_normal(out_features)
    return layer


def network() -> nn.Sequential:
    """Return every kind of layer in a row, for images (N, 7, 6, 1)."""
    convolutional = [
        convolution(Geometry(2, 7, 6, 1, 3, 3, 2, 1, 1, "same")),
        nn.ReLU(),
        nn.MaxPool2D(2),
        batch_norm(3),
    ]
    return nn.Sequential(
        [*convolutional, nn.Dropout(0.3), nn.Flatten(), dense(27, 4)], seed=5
    )


_SMALL = Geometry(2, 6, 7, 3, 4, 3, 5, 2, 1)
_IMAGES = images(Geometry(3, 4, 5, 2, 1, 1, 1, 1, 1))
_ROWS = _IMAGES[0, :, :, 0]

# Layers to try the laws on, each with an input.
LAYERS: dict[str, Callable[[], tuple[nn.Layer, np.ndarray]]] = {
    "Conv2D": lambda: (convolution(_SMALL), images(_SMALL)),
    "Conv2D same": lambda: (
        convolution(_SMALL._replace(padding="same")),
        images(_SMALL),
    ),
    "MaxPool2D": lambda: (nn.MaxPool2D(2), apart((2, 5, 6, 3))),
    "MaxPool2D overlapping": lambda: (
        nn.MaxPool2D((3, 2), stride=(2, 1)),
        apart((2, 7, 6, 3)),
    ),
    "GlobalAveragePool2D": lambda: (nn.GlobalAveragePool2D(), _IMAGES.copy()),
    "Flatten": lambda: (nn.Flatten(), _IMAGES.copy()),
    "ReLU": lambda: (nn.ReLU(), apart((3, 4, 5, 2))),
    "Dropout": lambda: (nn.Dropout(0.4), _IMAGES.copy()),
    "BatchNorm2D": lambda: (batch_norm(2), _IMAGES.copy()),
    "Dense": lambda: (dense(5, 3), _ROWS.copy()),
    "Sequential": lambda: (network(), apart((2, 7, 6, 1)) / 10),
}
