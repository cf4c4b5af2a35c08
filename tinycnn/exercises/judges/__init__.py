"""The judges: each looks at one exercise and raises `Wrong`, or returns a remark."""

from collections.abc import Callable
from typing import Any

from tinycnn.exercises.judges import basics, convolution, training

JUDGES: dict[str, Callable[[Any], str | None]] = {
    "relu": basics.relu,
    "dense": basics.dense,
    "loss": basics.loss,
    "sgd": basics.sgd,
    "training": basics.training,
    "convolution": convolution.forward,
    "convolution_backward": convolution.backward,
    "im2col": convolution.im2col,
    "pooling": convolution.pooling,
    "cnn": convolution.cnn,
    "adam": training.adam,
    "dropout": training.dropout,
    "batchnorm": training.batch_norm,
    "window": training.window,
}
