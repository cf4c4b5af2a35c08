"""A dense layer that leaves out what is zero.

Behind ReLU half of the numbers are zero, behind 2×2 pooling and dropout many more, and
so are their gradients. A product with many zeros is a sum of few rows:

``y[n] = bias + sum over i with x[n, i] != 0 of x[n, i] * weight[i]``,
``dx[n] = sum over j with dy[n, j] != 0 of dy[n, j] * weight[:, j]`` and
``dweight[:, j] = sum over n with dy[n, j] != 0 of dy[n, j] * x[n]``.

::

    x[n]  3  0  0  2  0       indices 0 3        3 * weight[0] +
                          ->  shares  3 2    ->  2 * weight[3]     = y[n] - bias

Forward, where less than half of x is zero, the whole product is quicker. Nothing is
approximated; only 0 times what is infinite or not a number, which these sums leave out,
is NaN by definition. The weights are worked through in blocks of rows that stay in the
cache while all images pass by, and that threads share. Forward, each block gives a part
of the sums, and the parts are added in order; backward, nothing is summed over rows. D
and U are multiples of 16, so that rows fill vectors.
"""

import numpy as np
from numba import uintp

from tinycnn.fast.compiled import BLOCKS, aligned, empty, inline, memcpy, memset, shared
from tinycnn.fast.vectors import COLUMNS, add_weighted_rows, address, multiply
from tinycnn.nn.layers import Array, Dense, Flatten, Layer

ROWS_FORWARD, ROWS_BACKWARD = 64, 96
FEW = 8  # images, whose zeros stand for those of all
WORTH_A_THREAD = 2**18  # multiplications: to wake a thread takes as long


@shared(x="N, D", weight="D, U", y="blocks, N, U")
def forward(block, blocks, job):
    """Fill ``y[block]``: the part of ``x @ weight`` of a block of rows of weights."""
    x, weight, y = job[0]
    (N, D), U = x.shape, weight.shape[1]
    start, end, alive = D * block // blocks, D * (block + 1) // blocks, uintp(0)
    for n in range(uintp(FEW if N > FEW else 0)):
        for i in range(uintp(start), uintp(end)):
            alive += uintp(x[n, i] != 0)
    if N > FEW and 2 * alive > FEW * (end - start):  # little to leave out
        multiply(
            address(x, 0, start), 4 * D, 0, 1, end - start, N,
            address(weight, start), 4 * U, U, address(y, block), 4 * U,
        )  # fmt: skip
        return
    memset(address(y, block), 0, 4 * N * U)
    found, weights = lists(1, ROWS_FORWARD), empty(np.float32, ROWS_FORWARD, U)
    for first in range(start, end, ROWS_FORWARD):
        rows, part = min(ROWS_FORWARD, end - first), address(weight, first)
        if N > FEW:  # worth a copy: rows begin with a line of the cache
            part = address(weights)
            memcpy(part, address(weight, first), 4 * rows * U)
        for n in range(N):
            find(x, n, first, rows, found, 0)
            add(found, 0, 4 * U, part, address(y, block, n), U)


@inline
def lists(count, most):
    """Return empty lists of rows and shares: how many, which, and how much of each."""
    counts = empty(np.int64, count)
    memset(address(counts), 0, 8 * count)
    return counts, empty(np.int32, count, most), empty(np.float32, count, most)


@inline
def find(x, n, first, count, found, row):
    """Make list ``row`` what is not zero in a part of ``x[n]``: where, and what."""
    (counts, indices, shares), end, n, row = found, uintp(0), uintp(n), uintp(row)
    for i in range(uintp(count)):
        value = x[n, uintp(first) + i]
        indices[row, end], shares[row, end] = i, value
        end += uintp(value != 0)  # a branch would often be guessed wrongly
    counts[row] = end


@inline
def add(found, n, stride, rows, y, length):
    """Add to y the weighted sum of the rows in list n: see `add_weighted_rows`."""
    counts, indices, shares = found
    add_weighted_rows(
        address(indices, n), address(shares, n), counts[n], stride, rows, y, length
    )


@shared(dy="N, U", columns="U, N", x="N, D", weight="D, U", dweight="D, U", dx="N, D")
def backward(block, blocks, job):
    """Fill, for a part of D, ``dweight = (columns @ x).T``, ``dx = dy @ weight.T``."""
    dy, columns, x, weight, dweight, dx = job[0]  # columns: dy.T
    (N, U), D = dy.shape, len(weight)
    of_images, of_outputs = lists(N, U), lists(U, N)
    for n in range(N):
        find(dy, n, 0, U, of_images, n)
    for j in range(U):
        find(columns, j, 0, N, of_outputs, j)
    # In parts. Weights and their gradient are turned: their rows become columns.
    weights = empty(np.float32, U, ROWS_BACKWARD)
    inputs = empty(np.float32, N, ROWS_BACKWARD)
    sums, parts = empty(np.float32, U, ROWS_BACKWARD), -(-D // ROWS_BACKWARD)
    for part in range(parts * block // blocks, parts * (block + 1) // blocks):
        first = part * ROWS_BACKWARD
        last = min(first + ROWS_BACKWARD, D)
        for i in range(uintp(last - first)):
            for j in range(uintp(U)):
                weights[j, i] = weight[uintp(first) + i, j]
        for n in range(N):
            memcpy(address(inputs, n), address(x, n, first), 4 * (last - first))
            y = address(dx, n, first)
            memset(y, 0, 4 * (last - first))
            add(of_images, n, 4 * ROWS_BACKWARD, address(weights), y, last - first)
        memset(address(sums), 0, 4 * U * ROWS_BACKWARD)
        for j in range(U):
            y = address(sums, j)
            add(of_outputs, j, 4 * ROWS_BACKWARD, address(inputs), y, last - first)
        for i in range(uintp(last - first)):
            for j in range(uintp(U)):
                dweight[uintp(first) + i, j] = sums[j, i]


class FusedDense(Layer):
    """Perhaps Flatten, and Dense without its products with zero: see `fits`."""

    def __init__(self, flatten: Flatten | None, dense: Dense) -> None:
        self.flatten, self.dense = flatten, dense

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map (N, in_features), or what becomes that if flat, to (N, out_features)."""
        weight, bias = self.dense.weight.value, self.dense.bias.value
        if not fits(self.dense):
            raise ValueError(f"{self} is not what was fused; fuse again")
        x, (D, U), shape = np.ascontiguousarray(x), weight.shape, x.shape
        x = x.reshape(len(x), -1) if self.flatten else x  # the same memory
        worth = max(1, len(x) * D * U // WORTH_A_THREAD)
        blocks = min(BLOCKS, worth, -(-D // ROWS_FORWARD))
        parts = aligned(blocks, len(x), U)
        forward(blocks, x, np.ascontiguousarray(weight), parts)
        y = parts.sum(axis=0) + bias
        self._remember(y, x, shape)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, out_features) to that of x."""
        x, shape = self._recall(dy)
        weight = np.ascontiguousarray(self.dense.weight.value)
        dy, columns = np.ascontiguousarray(dy), np.ascontiguousarray(dy.T)
        grad, dx = aligned(*weight.shape), aligned(*x.shape)
        blocks = min(BLOCKS, -(-len(weight) // ROWS_BACKWARD))
        backward(blocks, dy, columns, x, weight, grad, dx)
        self.dense.weight.grad, self.dense.bias.grad = grad, dy.sum(axis=0)
        return dx.reshape(shape)


def fits(dense: Dense) -> bool:
    """Return whether a layer is large, and its weights are in whole vectors."""
    shape = dense.weight.value.shape
    whole = len(shape) == 2 and not any(size % COLUMNS for size in shape)
    return whole and shape[1] >= 64 and dense.bias.value.shape == shape[1:]
