"""The mathematics: layers, loss, optimizers, and a network's weights in a file."""

from tinycnn.nn.layers import (
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    Parameter,
    ReLU,
)
from tinycnn.nn.losses import softmax, softmax_cross_entropy
from tinycnn.nn.optim import SGD, Adam, cosine, one_cycle
from tinycnn.nn.sequential import Sequential

__all__ = [
    "SGD",
    "Adam",
    "BatchNorm2D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePool2D",
    "Layer",
    "MaxPool2D",
    "Parameter",
    "ReLU",
    "Sequential",
    "cosine",
    "one_cycle",
    "softmax",
    "softmax_cross_entropy",
]
