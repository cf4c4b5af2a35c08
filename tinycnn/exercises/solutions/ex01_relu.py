"""ReLU: the reference solution."""

import numpy as np

from tinycnn.nn import Layer


class ReLU(Layer):
    """The positive part of every number."""

    def forward(self, x, training=False):
        self.positive = x > 0
        return np.maximum(x, 0)

    def backward(self, dy):
        return dy * self.positive
