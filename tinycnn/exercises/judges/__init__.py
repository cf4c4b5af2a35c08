"""The judges: each looks at one exercise and raises `Wrong`, or returns a remark."""

from collections.abc import Callable

from tinycnn.exercises.judges import basics, convolution
from tinycnn.exercises.judges.compare import Mine

JUDGES: dict[str, Callable[[Mine], str | None]] = {
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
}
