"""The weights that ship, the network of the reader as a list, and what it says.

The list shares no line with the presets of `tinycnn.models`, so that an edited preset
leaves the shipped file readable.
"""

from pathlib import Path

import numpy as np

from tinycnn import nn
from tinycnn.nn.layers import Array

SHIPPED = Path(__file__).with_name("reader.safetensors")
NONE, SEVERAL, CLASSES = 10, 11, 12  # no digit; several; the reader's classes in all
PRIOR = 5.5  # of their logits; see `class_shares`
SHARPNESS = 1.25  # of the logits; the file's temperature was fitted without `PRIOR`
THRESHOLD = 0.55  # of the confidence; a digit below it is refused


def reader(rng: np.random.Generator) -> list[nn.Layer]:
    """Return the network that reads: ten digits, no digit, and several."""
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
        nn.Dropout(0.3),
        nn.Dense(4 * 4 * 192, 128, rng=rng),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Dense(128, CLASSES, rng=rng),
    ]


def class_shares(logits: Array, temperature: float) -> Array:
    """Return the probability of each class, (N, 12), given the logits of a reader.

    `PRIOR` comes off the logits of no digit and of several: half of the images
    learned from are these, far more than of what a search chooses (Saerens, Latinne and
    Decaestecker 2002, "Adjusting the outputs of a classifier to new a priori
    probabilities").
    """
    logits = logits * np.float32(SHARPNESS / temperature)
    logits[:, NONE:] -= np.float32(PRIOR)
    return nn.softmax(logits)
