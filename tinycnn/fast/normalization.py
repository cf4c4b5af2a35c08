"""Batch norm in few passes over the memory.

::

    forward     x -> mean      x -> variance      x -> y
    backward    dy, x -> sum(dy * x_hat), sum(dy)      dy, x -> dx

With NumPy, each operation makes a new array, and moving them takes most of the time.
Here each arrow is one plain loop over arrays (M, C), of M = N * H * W values of each of
C channels; ``x_hat = (x - mean) / std`` is computed where it is needed. Sums are kept
in float64 and in order, on one thread. Formulas: `tinycnn.nn.layers.BatchNorm2D`.
"""

import numpy as np
from numba import uintp

from tinycnn.fast.compiled import shared
from tinycnn.nn.layers import Array, BatchNorm2D, Layer, _check


@shared(
    x="M, C", eps="1", mean="C", var="C", weight="C", bias="C", rate="C",
    y="M, C", training=int,
)  # fmt: skip
def forward(block, blocks, job):  # noqa: ARG001 - the one block does all
    """Fill ``rate = 1 / sqrt(var + eps)`` and ``y = weight * x_hat + bias``.

    In training ``mean`` and ``var``, too, with those of x, the biased variance.
    """
    x, eps, mean, var, weight, bias, rate, y, training = job[0]
    M, C = x.shape
    if training:
        sums, squares = np.zeros(C, np.float64), np.zeros(C, np.float64)
        for m in range(uintp(M)):
            for c in range(uintp(C)):
                sums[c] += x[m, c]
        sums /= M
        for m in range(uintp(M)):
            for c in range(uintp(C)):
                apart = x[m, c] - sums[c]
                squares[c] += apart * apart
        for c in range(uintp(C)):
            mean[c], var[c] = sums[c], squares[c] / M
    for c in range(uintp(C)):
        rate[c] = np.float32(1) / np.sqrt(var[c] + eps[0])
    for m in range(uintp(M)):
        for c in range(uintp(C)):
            y[m, c] = weight[c] * ((x[m, c] - mean[c]) * rate[c]) + bias[c]


@shared(
    dy="M, C", x="M, C", mean="C", rate="C", weight="C", dweight="C", dbias="C",
    dx="M, C", training=int,
)  # fmt: skip
def backward(block, blocks, job):  # noqa: ARG001 - the one block does all
    """Fill ``dweight = sum(dy * x_hat)``, ``dbias = sum(dy)`` and that of x.

    ``dx = weight * rate * (dy - mean(dy) - x_hat * mean(dy * x_hat))``. Outside
    training, mean and variance do not depend on x: then dx has no second terms.
    """
    dy, x, mean, rate, weight, dweight, dbias, dx, training = job[0]
    M, C = dy.shape
    products, sums = np.zeros(C, np.float64), np.zeros(C, np.float64)
    for m in range(uintp(M)):
        for c in range(uintp(C)):
            sums[c] += dy[m, c]
            products[c] += dy[m, c] * ((x[m, c] - mean[c]) * rate[c])
    mean_dy, mean_dy_x_hat = np.zeros(C, np.float32), np.zeros(C, np.float32)
    for c in range(uintp(C)):
        dweight[c], dbias[c] = products[c], sums[c]
        if training:
            mean_dy[c], mean_dy_x_hat[c] = sums[c] / M, products[c] / M
    for m in range(uintp(M)):
        for c in range(uintp(C)):
            x_hat = (x[m, c] - mean[c]) * rate[c]
            rest = dy[m, c] - mean_dy[c] - x_hat * mean_dy_x_hat[c]
            dx[m, c] = weight[c] * rate[c] * rest


class FusedBatchNorm(Layer):
    """BatchNorm2D in few passes over the memory."""

    def __init__(self, norm: BatchNorm2D) -> None:
        self.norm = norm

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map (N, H, W, C) to the same shape."""
        norm, parameters = self.norm, (self.norm.weight.value, self.norm.bias.value)
        weight, bias = map(np.ascontiguousarray, parameters)
        _check(norm, x, ("N", "H", "W", len(weight)))
        rows = np.ascontiguousarray(x).reshape(-1, len(weight))
        mean, var = norm.running_mean.copy(), norm.running_var.copy()
        eps, y = np.full(1, norm.eps, np.float32), np.empty_like(rows)
        rate = mean.copy()
        forward(1, rows, eps, mean, var, weight, bias, rate, y, int(training))
        if training:
            unbiased = var * (len(rows) / max(len(rows) - 1, 1))
            norm.running_mean += norm.momentum * (mean - norm.running_mean)
            norm.running_var += norm.momentum * (unbiased - norm.running_var)
        self._remember(x, rows, mean, rate, training)
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, H, W, C) to that of x."""
        x, mean, rate, training = self._recall(dy)
        weight = np.ascontiguousarray(self.norm.weight.value)
        rows = np.ascontiguousarray(dy).reshape(x.shape)
        (dweight, dbias), dx = np.empty((2, len(rate)), np.float32), np.empty_like(rows)
        backward(1, rows, x, mean, rate, weight, dweight, dbias, dx, int(training))
        self.norm.weight.grad, self.norm.bias.grad = dweight, dbias
        return dx.reshape(dy.shape)
