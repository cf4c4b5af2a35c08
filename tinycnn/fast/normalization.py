"""Batch norm in few passes over the memory.

::

    forward     x -> mean      x -> variance      x -> x_hat, y
    backward    dy, x_hat -> sum(dy * x_hat), sum(dy)      dy, x_hat -> dx

Written with NumPy, batch norm makes a new array for each of its operations, and most of
its time goes into moving them. Here each arrow is one plain loop. Sums are kept in
float64 and in order; there are no threads that could change them. The plain twin, with
the formulas, is `tinycnn.nn.layers.BatchNorm2D`.

Arrays are (M, C): M = N * H * W values of each of C channels. The loops run over the
numbers as they lie in memory, from ``at`` on those of a row.
"""

import numpy as np
from numba import uintp

from tinycnn.fast.compiled import compiled


@compiled()
def moments(x, mean, variance):
    """Fill ``mean[c]`` and ``variance[c]`` over the M values of each channel.

    Parameters
    ----------
    x : float32 array (M, C)
    mean, variance : float64 array (C,)
        Filled. The variance is the biased one, divided by M.
    """
    M, C = x.shape
    x = x.reshape(M * C)
    mean[:] = 0
    variance[:] = 0
    for at in range(0, M * C, C):
        for c in range(uintp(C)):
            mean[c] += x[uintp(at) + c]
    mean /= M
    for at in range(0, M * C, C):
        for c in range(uintp(C)):
            apart = x[uintp(at) + c] - mean[c]
            variance[c] += apart * apart
    variance /= M


@compiled()
def normalize(x, mean, std, weight, bias, x_hat, y):
    """Fill ``x_hat = (x - mean) / std`` and ``y = weight * x_hat + bias``.

    Parameters
    ----------
    x : float32 array (M, C)
    mean, std, weight, bias : float32 array (C,)
    x_hat, y : float32 array (M, C)
        Filled.
    """
    M, C = x.shape
    x, x_hat, y = x.reshape(M * C), x_hat.reshape(M * C), y.reshape(M * C)
    one_over_std = np.float32(1) / std
    for at in range(0, M * C, C):
        for c in range(uintp(C)):
            value = (x[uintp(at) + c] - mean[c]) * one_over_std[c]
            x_hat[uintp(at) + c] = value
            y[uintp(at) + c] = weight[c] * value + bias[c]


@compiled()
def backward(dy, x_hat, scale, training, sums, dx):
    """Fill the gradients of weight and bias, and that of x.

    Parameters
    ----------
    dy, x_hat : float32 array (M, C)
    scale : float32 array (C,)
        ``weight / std``
    training : bool
        Else mean and variance do not depend on x, and dx has no second terms.
    sums : float64 array (2, C)
        Filled with ``sum(dy * x_hat)`` and ``sum(dy)``.
    dx : float32 array (M, C)
        Filled with ``scale * (dy - mean(dy) - x_hat * mean(dy * x_hat))``.
    """
    M, C = dy.shape
    dy, x_hat, dx = dy.reshape(M * C), x_hat.reshape(M * C), dx.reshape(M * C)
    sums[:] = 0
    dweight, dbias = sums[0], sums[1]
    for at in range(0, M * C, C):
        for c in range(uintp(C)):
            dbias[c] += dy[uintp(at) + c]
            dweight[c] += dy[uintp(at) + c] * x_hat[uintp(at) + c]
    means = (sums / M).astype(np.float32)
    if not training:
        means[:] = 0
    mean_dy_x_hat, mean_dy = means[0], means[1]
    for at in range(0, M * C, C):
        for c in range(uintp(C)):
            i = uintp(at) + c
            dx[i] = scale[c] * (dy[i] - mean_dy[c] - x_hat[i] * mean_dy_x_hat[c])
