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
    Layer,
    MaxPool2D,
    ReLU,
    Sequential,
)
from tinycnn.nn.saving import TensorFileError, load_weights, read_metadata

INPUT_SHAPE = (28, 28, 1)


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


def default(rng: np.random.Generator) -> list[Layer]:
    """Return a small network that learns fast.

    Batch norm stands behind the pooling, where it has a quarter of the pixels to look
    at.
    """
    return [
        Conv2D(1, 16, 5, padding="same", rng=rng),
        ReLU(),
        MaxPool2D(2),
        BatchNorm2D(16),
        Conv2D(16, 32, 5, padding="same", rng=rng),
        ReLU(),
        MaxPool2D(2),
        BatchNorm2D(32),
        Conv2D(32, 64, 3, rng=rng),
        ReLU(),
        BatchNorm2D(64),
        Flatten(),
        Dropout(0.3),
        Dense(5 * 5 * 64, 10, rng=rng),
    ]


def judge(rng: np.random.Generator) -> list[Layer]:
    """Return the default network with an eleventh class: no digit at all."""
    return [*default(rng)[:-1], Dense(5 * 5 * 64, 11, rng=rng)]


NETWORKS = {"classic": classic, "default": default, "judge": judge}
SHIPPED = Path(__file__).parent / "pretrained" / "default.safetensors"
JUDGE = SHIPPED.with_name("judge.safetensors")


def build(architecture: str, seed: int = 0) -> Sequential:
    """Return a named network with fresh weights.

    Parameters
    ----------
    architecture : str
        A key of `NETWORKS`.
    seed : int
        Of the initial weights and of dropout.

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
    return Sequential(NETWORKS[architecture](np.random.default_rng(seed)), seed)


def load(path: str | Path) -> tuple[Sequential, dict[str, str]]:
    """Return the network that a weights file is of, with these weights.

    Parameters
    ----------
    path : str or Path

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
        model = build(architecture)
    except ValueError as error:
        raise TensorFileError(
            f"{path}: {error}; use a weights.safetensors that tinycnn.train wrote"
        ) from None
    return model, load_weights(path, model)


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
