"""Batch norm in few passes over the memory.

Written with NumPy, batch norm makes a new array for each of its operations, and most of
its time goes into moving them. Here the same sums run in plain loops: forward reads the
map three times (mean, variance, result), backward twice. Sums are kept in float64 and
in order; there are no threads that could change them. The plain twin is
`tinycnn.nn.layers.BatchNorm2D`.

Arrays are (M, C): M = N * H * W values of each of C channels.
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
    flat = x.reshape(x.size)
    mean[:] = 0
    variance[:] = 0
    for m in range(M):
        at = uintp(m * C)
        for c in range(uintp(C)):
            mean[c] += flat[at + c]
    mean /= M
    for m in range(M):
        at = uintp(m * C)
        for c in range(uintp(C)):
            apart = flat[at + c] - mean[c]
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
    flat, flat_x_hat, flat_y = (
        x.reshape(x.size),
        x_hat.reshape(x.size),
        y.reshape(x.size),
    )
    one_over_std = np.float32(1) / std
    for m in range(M):
        at = uintp(m * C)
        for c in range(uintp(C)):
            value = (flat[at + c] - mean[c]) * one_over_std[c]
            flat_x_hat[at + c] = value
            flat_y[at + c] = weight[c] * value + bias[c]


@compiled()
def gradient_sums(dy, x_hat, dweight, dbias):
    """Fill ``dweight = sum(dy * x_hat)`` and ``dbias = sum(dy)`` of each channel.

    Parameters
    ----------
    dy, x_hat : float32 array (M, C)
    dweight, dbias : float64 array (C,)
        Filled.
    """
    M, C = dy.shape
    flat_dy, flat_x_hat = dy.reshape(dy.size), x_hat.reshape(dy.size)
    dweight[:] = 0
    dbias[:] = 0
    for m in range(M):
        at = uintp(m * C)
        for c in range(uintp(C)):
            dbias[c] += flat_dy[at + c]
            dweight[c] += flat_dy[at + c] * flat_x_hat[at + c]


@compiled()
def input_gradient(dy, x_hat, scale, mean_dy, mean_dy_x_hat, dx):
    """Fill ``dx = scale * (dy - mean_dy - x_hat * mean_dy_x_hat)``.

    Parameters
    ----------
    dy, x_hat : float32 array (M, C)
    scale, mean_dy, mean_dy_x_hat : float32 array (C,)
    dx : float32 array (M, C)
        Filled.
    """
    M, C = dy.shape
    flat_dy, flat_x_hat, flat_dx = (
        dy.reshape(dy.size),
        x_hat.reshape(dy.size),
        dx.reshape(dy.size),
    )
    for m in range(M):
        at = uintp(m * C)
        for c in range(uintp(C)):
            flat_dx[at + c] = scale[c] * (
                flat_dy[at + c] - mean_dy[c] - flat_x_hat[at + c] * mean_dy_x_hat[c]
            )
