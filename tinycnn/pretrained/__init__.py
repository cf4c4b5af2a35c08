"""The weights that ship, and the network of the reader, as a list.

The list shares no line with the presets of `tinycnn.models`, so that an edited preset
leaves the shipped file readable.
"""

from pathlib import Path

import numpy as np

from tinycnn import nn

SHIPPED = Path(__file__).with_name("reader.safetensors")


def reader(rng: np.random.Generator) -> list[nn.Layer]:
    """Return the network that reads: ten digits, and an eleventh class, no digit."""
    return [
        nn.Conv2D(1, 48, 5, padding="same", rng=rng),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.BatchNorm2D(48),
        nn.Conv2D(48, 96, 3, rng=rng),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.BatchNorm2D(96),
        nn.Conv2D(96, 192, 3, rng=rng),
        nn.ReLU(),
        nn.BatchNorm2D(192),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Dense(4 * 4 * 192, 11, rng=rng),
    ]
