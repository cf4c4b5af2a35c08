"""The loops of convolution and pooling, compiled by Numba.

All arrays are NHWC: image, row, column, channel. In this layout a row of a patch,
``KW`` pixels of ``C`` channels, is one contiguous run of ``KW * C`` numbers. ``KH, KW``
are height and width of a kernel or window, ``SH, SW`` its vertical and horizontal
stride, all integers. The caller pads, checks the shapes and makes every array, all
C-contiguous; the one that is filled comes last.

Why the parallel loops are safe: each runs over the images of the batch, and image ``n``
is read from and written to slices with index ``n`` alone. No sum crosses two images, so
the bits do not depend on the number of threads.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, prange


def compiled(*, parallel: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles at the first call and caches the machine code.

    Contraction of ``a * b + c`` into one instruction is allowed, no other liberty: NaN
    and the order of a sum keep their meaning. With ``parallel``, ``prange`` loops are
    shared among threads, which costs seconds of compilation.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        options: dict[str, Any] = {"parallel": parallel, "fastmath": {"contract"}}
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # no folder for the cache: a read-only install, no HOME
            return njit(**options)(function)

    return decorate


@compiled(parallel=True)
def im2col(x, KH, KW, SH, SW, cols):
    """Copy every patch under the kernel into a row of a matrix.

    ``cols[n, oh, ow, kh, kw, c] = x[n, oh * SH + kh, ow * SW + kw, c]``

    Parameters
    ----------
    x : float array (N, H, W, C)
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
def col2im(cols, KH, KW, SH, SW, x):
    """Add every row of the matrix back to the patch it came from: im2col transposed.

    ``x[n, oh * SH + kh, ow * SW + kw, c] += cols[n, oh, ow, kh, kw, c]``

    A pixel that several patches share receives the sum over them.

    Parameters
    ----------
    cols : float array (N, OH, OW, KH, KW * C)
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
def max_pool(x, KH, KW, SH, SW, y, winner):
    """Keep the largest value of every window and remember which cell it came from.

    A tie goes to the first cell in row-major order. NaN beats every number, so that
    a diverged network is not hidden.

    Parameters
    ----------
    x : float array (N, H, W, C)
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
def max_pool_backward(dy, winner, KW, SH, SW, dx):
    """Give every window's gradient to the one cell that won.

    A cell that won several overlapping windows receives the sum.

    Parameters
    ----------
    dy : float array (N, OH, OW, C)
    winner : int32 array (N, OH, OW, C)
        As filled by `max_pool`.
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
