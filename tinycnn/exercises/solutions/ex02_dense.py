"""Dense: the reference solution."""

import numpy as np

from tinycnn.nn import Layer, Parameter


class Dense(Layer):
    """Every output is a weighted sum of all inputs."""

    linear_in = ("x", "weight", "bias")

    def __init__(self, in_features, out_features, *, rng):
        scale = np.sqrt(2 / in_features)
        weight = scale * rng.standard_normal((in_features, out_features))
        self.weight = Parameter(weight.astype(np.float32), "weight")
        self.bias = Parameter(np.zeros(out_features, np.float32), "bias")

    def forward(self, x, training=False):
        self.x = x
        return x @ self.weight.value + self.bias.value

    def backward(self, dy):
        self.weight.grad = self.x.T @ dy
        self.bias.grad = dy.sum(axis=0)
        return dy @ self.weight.value.T
