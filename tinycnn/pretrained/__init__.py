"""The weights that ship, and the reader's own two networks, as lists.

The lists share no line with the presets of `tinycnn.models`, so that an edited preset
leaves the shipped files readable.
"""

from pathlib import Path

import numpy as np

from tinycnn import nn

SHIPPED = Path(__file__).with_name("digits.safetensors")
JUDGE = Path(__file__).with_name("judge.safetensors")


def digits(rng: np.random.Generator) -> list[nn.Layer]:
    """Return the shipped network that names digits."""
    return [
        nn.Conv2D(1, 32, 5, padding="same", rng=rng),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.BatchNorm2D(32),
        nn.Conv2D(32, 32, 3, padding="same", rng=rng),
        nn.ReLU(),
        nn.BatchNorm2D(32),
        nn.Conv2D(32, 32, 3, padding="same", rng=rng),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.BatchNorm2D(32),
        nn.Conv2D(32, 64, 3, padding="same", rng=rng),
        nn.ReLU(),
        nn.BatchNorm2D(64),
        nn.Conv2D(64, 64, 3, padding="same", rng=rng),
        nn.ReLU(),
        nn.BatchNorm2D(64),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Dense(7 * 7 * 64, 10, rng=rng),
    ]


def judge(rng: np.random.Generator) -> list[nn.Layer]:
    """Return the shipped network whose eleventh class is no digit at all."""
    return [
        nn.Conv2D(1, 32, 5, padding="same", rng=rng),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.BatchNorm2D(32),
        nn.Conv2D(32, 64, 3, rng=rng),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.BatchNorm2D(64),
        nn.Conv2D(64, 128, 3, rng=rng),
        nn.ReLU(),
        nn.BatchNorm2D(128),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Dense(4 * 4 * 128, 11, rng=rng),
    ]
