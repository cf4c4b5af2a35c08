"""The loops under convolution, pooling, dropout and Adam, written out.

This file is their definition: plain loop nests that Numba compiles. It knows arrays
and indices; it does not know layers, parameters, padding (the layer pads first) or
what is in the images. The caller makes every array, the one that is filled comes last;
all are C-contiguous and their shapes were checked.

All arrays are NHWC: image, row, column, channel. In this layout a row of a patch,
``KW`` pixels of ``C`` channels, is one contiguous run of ``KW * C`` numbers.

Why the parallel loops are safe: each runs over the images of the batch (Adam's: over
the numbers), and image ``n`` is read from and written to slices with index ``n`` alone.
No sum crosses two images, so the bits do not depend on the number of threads.
"""

import numpy as np
from numba import prange

from tinycnn.fast.compiled import compiled


@compiled(parallel=True)
def im2col(x, KH, KW, SH, SW, cols):  # type: ignore[no-untyped-def]
    """Lay every patch that a kernel meets in a row of a matrix.

    ``cols[n, oh, ow, kh, kw, c] = x[n, oh * SH + kh, ow * SW + kw, c]``

    Parameters
    ----------
    x : float array (N, H, W, C)
    KH, KW, SH, SW : int
        Height and width of the kernel, vertical and horizontal stride.
    cols : float array (N, OH, OW, KH, KW * C)
        Filled. ``OH = (H - KH) // SH + 1`` and ``OW = (W - KW) // SW + 1``.
    """
    N, H, W, C = x.shape
    rows = x.reshape(N, H, W * C)
    for n in prange(N):
        for oh in range(cols.shape[1]):
            for ow in range(cols.shape[2]):
                for kh in range(KH):
                    for i in range(KW * C):
                        cols[n, oh, ow, kh, i] = rows[n, oh * SH + kh, ow * SW * C + i]


@compiled(parallel=True)
def col2im(cols, KH, KW, SH, SW, x):  # type: ignore[no-untyped-def]
    """Add every row of the matrix back to the patch it came from: im2col transposed.

    ``x[n, oh * SH + kh, ow * SW + kw, c] += cols[n, oh, ow, kh, kw, c]``

    A pixel that several patches share receives the sum over them.

    Parameters
    ----------
    cols : float array (N, OH, OW, KH, KW * C)
    KH, KW, SH, SW : int
        As for `im2col`.
    x : float array (N, H, W, C)
        Filled.
    """
    N, H, W, C = x.shape
    rows = x.reshape(N, H, W * C)
    for n in prange(N):
        rows[n] = 0
        for oh in range(cols.shape[1]):
            for ow in range(cols.shape[2]):
                for kh in range(KH):
                    for i in range(KW * C):
                        rows[n, oh * SH + kh, ow * SW * C + i] += cols[n, oh, ow, kh, i]


@compiled(parallel=True)
def max_pool(x, KH, KW, SH, SW, y, winner):  # type: ignore[no-untyped-def]
    """Keep the largest value of every window and remember which cell it came from.

    A tie goes to the first cell in row-major order. NaN beats every number, so that
    a diverged network is not hidden.

    Parameters
    ----------
    x : float array (N, H, W, C)
    KH, KW, SH, SW : int
        Height and width of the window, vertical and horizontal stride.
    y : float array (N, OH, OW, C)
        Filled.
    winner : int32 array (N, OH, OW, C)
        Filled with ``kh * KW + kw`` of the cell that won.
    """
    N, OH, OW, C = y.shape
    for n in prange(N):
        for oh in range(OH):
            for ow in range(OW):
                for c in range(C):
                    y[n, oh, ow, c] = x[n, oh * SH, ow * SW, c]
                    winner[n, oh, ow, c] = 0
                for kh in range(KH):
                    for kw in range(KW):
                        for c in range(C):
                            value = x[n, oh * SH + kh, ow * SW + kw, c]
                            if value > y[n, oh, ow, c] or np.isnan(value):
                                y[n, oh, ow, c] = value
                                winner[n, oh, ow, c] = kh * KW + kw


@compiled(parallel=True)
def max_pool_backward(dy, winner, KW, SH, SW, dx):  # type: ignore[no-untyped-def]
    """Give every window's gradient to the one cell that won.

    A cell that won several overlapping windows receives the sum.

    Parameters
    ----------
    dy : float array (N, OH, OW, C)
    winner : int32 array (N, OH, OW, C)
        As filled by `max_pool`.
    KW, SH, SW : int
        Width of the window, vertical and horizontal stride.
    dx : float array (N, H, W, C)
        Filled.
    """
    N, OH, OW, C = dy.shape
    for n in prange(N):
        dx[n] = 0
        for oh in range(OH):
            for ow in range(OW):
                for c in range(C):
                    kh = winner[n, oh, ow, c] // KW
                    kw = winner[n, oh, ow, c] % KW
                    dx[n, oh * SH + kh, ow * SW + kw, c] += dy[n, oh, ow, c]


@compiled()
def hashed(key, number):  # type: ignore[no-untyped-def]
    """Hash a number to 32 bits, without any state.

    The result depends on the two arguments alone, so a part of a sequence can be
    computed anywhere and in any order. The mixing steps are the finaliser found by
    Chris Wellons' search ("lowbias32", Prospecting for Hash Functions, 2018).

    Parameters
    ----------
    key : uint32
        Two keys give two unrelated sequences.
    number : uint32

    Returns
    -------
    uint32
    """
    # In 64 bits, where the product of two 32-bit numbers cannot overflow.
    low = np.uint64(0xFFFFFFFF)
    h = (np.uint64(number) * np.uint64(0x9E3779B9) & low) ^ np.uint64(key)
    h = ((h ^ (h >> np.uint64(16))) * np.uint64(0x7FEB352D)) & low
    h = ((h ^ (h >> np.uint64(15))) * np.uint64(0x846CA68B)) & low
    return np.uint32(h ^ (h >> np.uint64(16)))


@compiled()
def hashed_bits(key, count):  # type: ignore[no-untyped-def]
    """Return `hashed` of ``0 .. count - 1``: a uint32 array (count,)."""
    bits = np.empty(count, np.uint32)
    for i in range(count):
        bits[i] = hashed(key, np.uint32(i))
    return bits


@compiled(parallel=True)
def adam(grad, to_m, to_v, rate, correction, eps, decay, m, v, value):  # type: ignore[no-untyped-def]
    """Take a step of Adam: the equations are those of `tinycnn.nn.optim.Adam`.

    NumPy would go over the memory once for each operation; this goes once in all.

    Parameters
    ----------
    grad : float array (M,)
    to_m, to_v : float
        ``1 - beta1`` and ``1 - beta2``.
    rate : float
        ``learning_rate / (1 - beta1 ** steps)``
    correction : float
        ``1 / (1 - beta2 ** steps)``
    eps : float
    decay : float
        What the value is multiplied by first.
    m, v, value : float array (M,)
        Edited in place. All numbers and arrays are of one dtype.
    """
    for i in prange(value.size):
        m_i = m[i] + to_m * (grad[i] - m[i])
        v_i = v[i] + to_v * (grad[i] * grad[i] - v[i])
        value[i] = decay * value[i] - rate * m_i / (np.sqrt(correction * v_i) + eps)
        m[i], v[i] = m_i, v_i
