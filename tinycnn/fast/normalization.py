"""Batch norm in few passes over the memory.

::

    forward     x -> mean, variance                x -> y
    backward    dy, x -> sum(dy), sum(dy * x)      dy, x -> dx

With NumPy, each operation makes a new array, and moving them takes most of the time.
Here each arrow is one plain loop over arrays (M, C), of M = N * H * W values of each of
C channels; y and dx are straight lines of x, or of x and dy. Sums are of float64, and
of distances from the first row, or the mean: then a variance may be their difference,
even where the mean is large. Each block of rows has its own; they are added in order.
Formulas: `tinycnn.nn.layers.BatchNorm2D`.
"""

import numpy as np
from numba import uintp

from tinycnn.fast.compiled import BLOCK, BLOCKS, aligned, empty, shared
from tinycnn.nn.layers import Array, BatchNorm2D, Layer, _check


@shared(a="M, C", b="M, C", start="2, C", sums="float64: blocks, 2, C")
def add_up(block, blocks, job):
    """Fill sums of ``a`` and ``a * b``, from ``start`` on, by channel: of some rows."""
    a, b, start, sums = job[0]
    (M, C), place = a.shape, uintp(block)
    of_a, of_products = empty(np.float64, C), empty(np.float64, C)
    for c in range(uintp(C)):
        of_a[c] = of_products[c] = 0
    for m in range(uintp(M * block // blocks), uintp(M * (block + 1) // blocks)):
        for c in range(uintp(C)):
            apart = np.float64(a[m, c]) - start[0, c]
            of_a[c] += apart
            of_products[c] += apart * (np.float64(b[m, c]) - start[1, c])
    for c in range(uintp(C)):
        sums[place, 0, c], sums[place, 1, c] = of_a[c], of_products[c]


@shared(x="M, C", dy="M, C", line="4, C", y="M, C", both=int)
def follow(block, blocks, job):
    """Fill a block of rows of ``y = scale * (x - mean) + share * (dy - shift)``.

    ``line`` is mean, scale, share and shift; without ``both``, dy is 0.
    """
    x, dy, line, y, both = job[0]
    M, C = x.shape
    for m in range(uintp(M * block // blocks), uintp(M * (block + 1) // blocks)):
        for c in range(uintp(C)):
            rest = (dy[m, c] if both else np.float32(0)) - line[3, c]
            y[m, c] = line[1, c] * (x[m, c] - line[0, c]) + line[2, c] * rest


class FusedBatchNorm(Layer):
    """BatchNorm2D in few passes over the memory."""

    def __init__(self, norm: BatchNorm2D) -> None:
        self.norm = norm

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map (N, H, W, C) to the same shape."""
        norm, weight, bias = self.norm, self.norm.weight.value, self.norm.bias.value
        _check(norm, x, ("N", "H", "W", len(weight)))
        rows = np.ascontiguousarray(x).reshape(-1, len(weight))
        (M, C), blocks = rows.shape, min(BLOCKS, -(-x.size // BLOCK))
        mean, var = norm.running_mean.copy(), norm.running_var
        if training:
            sums = np.empty((blocks, 2, C), np.float64)
            add_up(blocks, rows, rows, rows[[0, 0]], sums)
            apart, square = sums.sum(axis=0) / M
            mean, var = rows[0] + apart, np.maximum(square - apart * apart, 0)
            unbiased = var * (M / max(M - 1, 1))
            norm.running_mean += norm.momentum * (mean - norm.running_mean)
            norm.running_var += norm.momentum * (unbiased - norm.running_var)
        rate, y = 1 / np.sqrt(var + norm.eps), aligned(*rows.shape)
        line = np.array([mean, weight * rate, np.ones(C), -bias], np.float32)
        follow(blocks, rows, rows, line, y, 0)
        self._remember(x, rows, mean, rate, training)
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, H, W, C) to that of x."""
        x, mean, rate, training = self._recall(dy)
        rows, dx = np.ascontiguousarray(dy).reshape(x.shape), aligned(*x.shape)
        blocks = min(BLOCKS, -(-x.size // BLOCK))
        sums = np.empty((blocks, 2, len(rate)), np.float64)
        share, none = self.norm.weight.value * rate, np.zeros(len(rate), np.float32)
        add_up(blocks, rows, x, np.array([none, mean], np.float32), sums)
        dbias, products = sums.sum(axis=0)
        dweight = rate * products
        line = [none, share, none, none]  # of dy alone
        if training:  # mean and variance depend on x
            line = [mean, -share * rate * dweight / len(x), share, dbias / len(x)]
        x = x if training else rows
        follow(blocks, x, rows, np.array(line, np.float32), dx, int(training))
        self.norm.weight.grad = dweight.astype(np.float32)
        self.norm.bias.grad = dbias.astype(np.float32)
        return dx.reshape(dy.shape)
