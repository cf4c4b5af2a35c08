"""The named networks, each a list that can be read aloud.

It knows which layers follow which; how they are trained is in
`tinycnn.training.recipes`. Images come in as (N, 28, 28, 1), ink 1 and paper 0, and
logits go out as (N, 10).
"""

import math
from pathlib import Path

import numpy as np

from tinycnn.nn import (
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    ReLU,
    Sequential,
)
from tinycnn.nn.layers import Array
from tinycnn.nn.weights import TensorFileError, load_weights, read_metadata

INPUT_SHAPE = (28, 28, 1)
PLACES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # pixels down and to the right


class FiveViews(Sequential):
    """Layers that look at every image five times, and answer with the mean.

    ``y = 1/5 sum over the places of layer_n(... layer_0(x moved there))``, the places
    being where the image is and one pixel from there on each side. A network is surest
    of a digit at one place and mistaken at another; the mean is right more often
    (Krizhevsky, Sutskever and Hinton 2012, section 4.1: the mean of probabilities, at
    five places and in the mirror). Training looks once: there, augmentation does the
    moving; and `summary` counts one look.
    """

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map images (N, H, W, C) to logits (N, K)."""
        self._looks = 1 if training else len(PLACES)
        views = [_moved(x, down, right) for down, right in PLACES[: self._looks]]
        y = super().forward(np.concatenate(views), training)  # (looks * N, K)
        mean: Array = y.reshape(self._looks, len(x), -1).mean(axis=0)
        return mean

    def backward(self, dy: Array) -> Array:
        """Map the gradient of the logits (N, K) to that of the images (N, H, W, C)."""
        dx = super().backward(np.tile(dy / self._looks, (self._looks, 1)))
        views = dx.reshape(self._looks, len(dy), *dx.shape[1:])
        pairs = zip(views, PLACES, strict=False)
        back = [_moved(view, -down, -right) for view, (down, right) in pairs]
        total: Array = np.sum(back, axis=0, dtype=dx.dtype)
        return total

    def backward_parameters(self, dy: Array) -> None:
        """Do what `backward` does, without the gradient of the images."""
        super().backward_parameters(np.tile(dy / self._looks, (self._looks, 1)))


def _moved(x: Array, down: int, right: int) -> Array:
    """Return images (N, H, W, C) moved by at most a pixel; what enters is paper, 0."""
    H, W = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return padded[:, 1 - down : 1 - down + H, 1 - right : 1 - right + W]


def classic(rng: np.random.Generator) -> list[Layer]:
    """Return the network of countless tutorials: 2.4 million weights, no batch norm."""
    return [
        Conv2D(1, 32, 3, rng=rng),
        ReLU(),
        Conv2D(32, 64, 3, rng=rng),
        ReLU(),
        MaxPool2D(2),
        Dropout(0.25),
        Flatten(),
        Dense(12 * 12 * 64, 256, rng=rng),
        ReLU(),
        Dropout(0.5),
        Dense(256, 10, rng=rng),
    ]


def quick(rng: np.random.Generator) -> list[Layer]:
    """Return the default network with half the filters, which learns in seconds."""
    return [*_three_convolutions(16, rng), Flatten(), Dense(4 * 4 * 64, 10, rng=rng)]


def default(rng: np.random.Generator) -> list[Layer]:
    """Return three convolutions and a dense layer; it looks five times."""
    return [
        *_three_convolutions(32, rng),
        Flatten(),
        Dropout(0.2),
        Dense(4 * 4 * 128, 10, rng=rng),
    ]


def best(rng: np.random.Generator) -> list[Layer]:
    """Return five convolutions and a dense layer; it looks five times."""
    return [
        *_five_convolutions(5, (32, 32, 32, 64, 64), rng),
        Flatten(),
        Dropout(0.3),
        Dense(7 * 7 * 64, 10, rng=rng),
    ]


def _three_convolutions(filters: int, rng: np.random.Generator) -> list[Layer]:
    """Return 28×28 to 4×4: each convolution has twice the filters of the last.

    Batch norm stands behind the pooling, where it has a quarter of the pixels to look
    at.
    """
    return [
        Conv2D(1, filters, 5, padding="same", rng=rng),
        ReLU(),
        MaxPool2D(2),
        BatchNorm2D(filters),
        Conv2D(filters, 2 * filters, 3, rng=rng),
        ReLU(),
        MaxPool2D(2),
        BatchNorm2D(2 * filters),
        Conv2D(2 * filters, 4 * filters, 3, rng=rng),
        ReLU(),
        BatchNorm2D(4 * filters),
    ]


def tiny(rng: np.random.Generator) -> list[Layer]:
    """Return a network of fewer than 10,000 weights.

    Five convolutions of few filters see as far as two large ones, and the mean of each
    last feature map takes the place of a dense layer, which would have most weights. It
    looks five times, which costs no weight.
    """
    return [
        *_five_convolutions(3, (16,) * 5, rng),
        GlobalAveragePool2D(),
        Dense(16, 10, rng=rng),
    ]


def _five_convolutions(
    kernel_size: int, filters: tuple[int, ...], rng: np.random.Generator
) -> list[Layer]:
    """Return 28×28 to 7×7, pooled behind the first convolution and the third.

    The first has kernels of that size, the others of 3×3.
    """
    layers: list[Layer] = []
    channels = 1
    for F, pooled in zip(filters, (True, False, True, False, False), strict=True):
        layers += [Conv2D(channels, F, kernel_size, padding="same", rng=rng), ReLU()]
        layers += [MaxPool2D(2)] if pooled else []
        layers.append(BatchNorm2D(F))
        channels, kernel_size = F, 3
    return layers


def judge(rng: np.random.Generator) -> list[Layer]:
    """Return the default network with an eleventh class: no digit at all."""
    return [*default(rng)[:-1], Dense(4 * 4 * 128, 11, rng=rng)]


NETWORKS = {
    "quick": quick,
    "default": default,
    "best": best,
    "tiny": tiny,
    "classic": classic,
    "judge": judge,
}
LOOKS_FIVE_TIMES = {"default", "best", "tiny"}
SHIPPED = Path(__file__).parent / "pretrained" / "digits.safetensors"
JUDGE = SHIPPED.with_name("judge.safetensors")


def build(architecture: str, seed: int = 0, once: bool = False) -> Sequential:
    """Return a named network with fresh weights.

    Parameters
    ----------
    architecture : str
        A key of `NETWORKS`.
    seed : int
        Of the initial weights and of dropout.
    once : bool
        Let it look once, though it be of `LOOKS_FIVE_TIMES`: for somebody with many
        images and little time.

    Returns
    -------
    Sequential

    Raises
    ------
    ValueError
        If there is no network of that name.
    """
    if architecture not in NETWORKS:
        raise ValueError(
            f"there is no network named {architecture!r}; there are "
            f"{', '.join(NETWORKS)}"
        )
    five_times = architecture in LOOKS_FIVE_TIMES and not once
    kind = FiveViews if five_times else Sequential
    return kind(NETWORKS[architecture](np.random.default_rng(seed)), seed)


def load(path: str | Path, once: bool = False) -> tuple[Sequential, dict[str, str]]:
    """Return the network that a weights file is of, with these weights.

    Parameters
    ----------
    path : str or Path
    once : bool
        As in `build`.

    Returns
    -------
    Sequential, dict of str to str
        The network and the file's metadata, "architecture" among them.

    Raises
    ------
    TensorFileError
        If the file is damaged, or of no network that there is.
    OSError
        If there is no such file.
    """
    architecture = read_metadata(path).get("architecture", "")
    try:
        model = build(architecture, once=once)
    except ValueError as error:
        raise TensorFileError(
            f"{path}: {error}; use a weights.safetensors that tinycnn.train wrote"
        ) from None
    return model, load_weights(path, model)


def load_naming(
    path: str | Path, once: bool = False
) -> tuple[Sequential, float, dict[str, str]]:
    """Return a network that names digits, and its temperature.

    Parameters
    ----------
    path, once
        As in `load`.

    Returns
    -------
    Sequential, float, dict of str to str
        The network, what its logits are to be divided by, and the file's metadata.

    Raises
    ------
    TensorFileError
        As `load`, or if it is the judge, whose temperature is of a sum of logits.
    OSError
        If there is no such file.
    """
    model, metadata = load(path, once)
    if metadata["architecture"] == "judge":
        raise TensorFileError(
            f"{path}: is the network that tells digits from other ink; name the "
            "weights of one that names digits"
        )
    return model, positive(metadata, "temperature", path), metadata


def positive(metadata: dict[str, str], name: str, path: str | Path) -> float:
    """Return a positive number of a weights file's metadata.

    A temperature that is not there is 1, which leaves logits as they are.

    Raises
    ------
    TensorFileError
        If it is no positive number, or not there and no temperature.
    """
    text = metadata.get(name, "1" if name == "temperature" else "missing")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise TensorFileError(
            f"{path}: its {name} is {text!r:.40}, no positive number; train again"
        )
    return value
