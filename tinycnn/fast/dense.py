"""A dense layer that leaves out what is zero.

Behind ReLU half of the numbers are zero, behind 2×2 pooling and dropout many more, and
so are their gradients. A product with many zeros is a sum of few rows:

``y[n] = bias + sum over i with x[n, i] != 0 of x[n, i] * weight[i]``,
``dx[n] = sum over j with dy[n, j] != 0 of dy[n, j] * weight[:, j]`` and
``dweight[i] = sum over n with x[n, i] != 0 of x[n, i] * dy[n]``.

::

    x[n]  3  0  0  2  0       indices 0 3        3 * weight[0] +
                          ->  shares  3 2    ->  2 * weight[3]     = y[n] - bias

Nothing is approximated; only where a weight is infinite or not a number does the
definition say NaN for 0 times it. The weights are worked through in blocks of rows that
stay in the cache while all images pass by. Where more than half of x is not zero, a
block is multiplied whole, which is sooner.

**Threads.** Rows of the weights are shared out in blocks, whatever the number of
threads. Forward, each block gives a part of the sums, and the parts are added in order;
backward, nothing is summed over rows.

Kernels go by the addresses of arrays: the caller makes sure that they are float32,
contiguous and of the shapes given.
"""

import numpy as np
from numba import uintp

from tinycnn.fast.compiled import compiled, shared
from tinycnn.fast.vectors import COLUMNS, add_weighted_rows, multiply

ROWS_FORWARD = 64
COLUMNS_FORWARD = 96
ROWS_BACKWARD = 96
FEW = 8  # images: for fewer, weights need not be copied to where they lie closer


@shared
def forward(block, blocks, x, weight, y):
    """Compute a part of ``x @ weight``: a block of rows of the weights.

    Parameters
    ----------
    block, blocks : int
    x : float32 array (N, D)
    weight : float32 array (D, U)
    y : float32 array (blocks, N, U)
        Zeros, to which the products are added.
    """
    (N, D), U = x.shape, weight.shape[1]
    tile = np.empty(ROWS_FORWARD * COLUMNS_FORWARD, np.float32)
    room = ROWS_FORWARD + 1
    places, shares = np.empty(N * room, np.int32), np.empty(N * room, np.float32)
    counts = np.empty(N, np.int64)
    inputs = np.empty((N, ROWS_FORWARD), np.float32)
    bits = inputs.view(np.int32)
    product = np.empty(N * COLUMNS_FORWARD, np.float32)
    packed = N >= FEW
    end = D * (block + 1) // blocks
    for first in range(D * block // blocks, end, ROWS_FORWARD):
        last = min(first + ROWS_FORWARD, end)
        # In x itself, the same place of two images may be a multiple of 4096 bytes
        # apart, and then they drive each other out of the cache.
        for n in range(uintp(N)):
            for i in range(uintp(last - first)):
                inputs[n, i] = x[n, uintp(first) + i]
        for n in range(N):
            counts[n] = _find(inputs, bits, n, last - first, places, shares, n * room)
        # Where most is not zero, products of whole tiles are sooner.
        many = packed and U % COLUMNS == 0 and 2 * counts.sum() > N * (last - first)
        for j in range(0, U, COLUMNS_FORWARD):
            columns = min(COLUMNS_FORWARD, U - j)
            rows, stride = weight.ctypes.data + 4 * (first * U + j), 4 * U
            if packed:
                width = COLUMNS if many else columns
                for k in range(0, columns, width):
                    at = k * (last - first)
                    _copy_panel(weight, first, last, j + k, width, tile, at)
                rows, stride = tile.ctypes.data, 4 * width
            if many:
                _add_product(inputs, tile, last - first, product, y, block, j, columns)
                continue
            for n in range(N):
                add_weighted_rows(
                    places.ctypes.data + 4 * n * room,
                    shares.ctypes.data + 4 * n * room, counts[n], stride, rows,
                    y.ctypes.data + 4 * ((block * N + n) * U + j), columns,
                )  # fmt: skip


@compiled()
def _add_product(inputs, panels, rows, product, y, block, j, columns):
    """Add the product of inputs and rows of the weights, cut into panels."""
    for k in range(0, columns, COLUMNS):
        multiply(
            inputs.ctypes.data, 4 * ROWS_FORWARD, 0, len(inputs), 1, rows,
            panels.ctypes.data + 4 * k * rows, product.ctypes.data + 4 * k, 4 * columns,
        )  # fmt: skip
    for n in range(uintp(len(inputs))):
        for k in range(uintp(columns)):
            y[uintp(block), n, uintp(j) + k] += product[n * uintp(columns) + k]


@compiled()
def _copy_panel(weight, first, last, j, width, panels, at):
    """Copy ``weight[first:last, j : j + width]``, row by row, to ``panels[at:]``."""
    at = uintp(at)
    for i in range(uintp(first), uintp(last)):
        for k in range(uintp(width)):
            panels[at + k] = weight[i, uintp(j) + k]
        at += uintp(width)


@compiled()
def _find(x, bits, n, count, places, shares, at):
    """Find what is not zero in ``x[n, :count]``, and return how much there is.

    From index ``at`` on, ``places`` is filled with the i of each and ``shares`` with
    ``x[n, i]``. One more number may be written than there are. ``bits`` is x, read as
    integers.
    """
    end = uintp(at)
    for i in range(uintp(count)):
        places[end] = i
        shares[end] = x[uintp(n), i]
        # Without a branch, which would often be guessed wrongly, and as an integer
        # without its sign: -0 is zero, NaN is not.
        end += uintp((bits[uintp(n), i] & 0x7FFFFFFF) != 0)
    return np.int64(end) - at


@compiled()
def find_all(dy, bits, places, shares, counts):
    """Find in each row what is not zero."""
    N, U = dy.shape
    for n in range(N):
        counts[n] = _find(dy, bits, n, U, places, shares, n * (U + 1))


@shared
def backward(block, blocks, dy, x, weight, places, shares, counts, dweight, dx):  # noqa: ARG001
    """Compute ``dweight = x.T @ dy`` and ``dx = dy @ weight.T``.

    Parameters
    ----------
    block, blocks : int
        Each block is `ROWS_BACKWARD` rows of the weights.
    dy : float32 array (N, U)
    x : float32 array (N, D)
    weight : float32 array (D, U)
    places, shares, counts : int32, float32 array (N * (U + 1),), int64 array (N,)
        From `find_all`: where dy is not zero.
    dweight : float32 array (D, U)
        Filled.
    dx : float32 array (N, D)
        Filled.
    """
    (N, U), D = dy.shape, len(weight)
    first = block * ROWS_BACKWARD
    last = min(first + ROWS_BACKWARD, D)
    # Both are turned, a block at a time: down a column, each number is on another page.
    weights = np.empty((U, ROWS_BACKWARD), np.float32)
    inputs = np.empty((ROWS_BACKWARD, N), np.float32)
    bits = inputs.view(np.int32)
    for i in range(first, last):
        for j in range(U):
            weights[uintp(j), uintp(i - first)] = weight[uintp(i), uintp(j)]
    for n in range(N):
        for i in range(first, last):
            inputs[uintp(i - first), uintp(n)] = x[uintp(n), uintp(i)]
    for n in range(N):
        for i in range(first, last):
            dx[uintp(n), uintp(i)] = 0
        at = 4 * n * (U + 1)
        add_weighted_rows(
            places.ctypes.data + at, shares.ctypes.data + at,
            counts[n], 4 * ROWS_BACKWARD,
            weights.ctypes.data, dx.ctypes.data + 4 * (n * D + first), last - first,
        )  # fmt: skip
    images, values = np.empty(N + 1, np.int32), np.empty(N + 1, np.float32)
    for i in range(first, last):
        count = _find(inputs, bits, i - first, N, images, values, 0)
        for j in range(U):
            dweight[uintp(i), uintp(j)] = 0
        add_weighted_rows(
            images.ctypes.data, values.ctypes.data, count, 4 * U, dy.ctypes.data,
            dweight.ctypes.data + 4 * i * U, U,
        )  # fmt: skip
