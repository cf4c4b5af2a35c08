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
stay in the cache while all images pass by, and that threads share. Forward, each block
gives a part of the sums, and the parts are added in order; backward, nothing is summed
over rows. D and U are multiples of 16, so that rows fill vectors.
"""

import numpy as np
from numba import uintp

from tinycnn.fast.compiled import inlined, shared
from tinycnn.fast.vectors import COLUMNS, add_weighted_rows, address
from tinycnn.nn.layers import Array, Dense, Flatten, Layer

BLOCKS = 8
ROWS_FORWARD = 64
ROWS_BACKWARD = 96
# To wake a thread takes as long as so many multiplications.
WORTH_A_THREAD = 2**18


@shared(x="N, D", weight="D, U", y="blocks, N, U")
def forward(block, blocks, job):
    """Compute a part of ``x @ weight``: a block of rows of the weights.

    A block adds to its own slice of ``y``, zeros before.
    """
    x, weight, y = job[0]
    (N, D), U = x.shape, weight.shape[1]
    found, inputs = lists(1, ROWS_FORWARD), np.empty((N, ROWS_FORWARD), np.float32)
    weights, end = np.empty((ROWS_FORWARD, U), np.float32), D * (block + 1) // blocks
    for first in range(D * block // blocks, end, ROWS_FORWARD):
        rows, part = min(ROWS_FORWARD, end - first), address(weight, first)
        if N > 8:  # worth a copy: rows begin with a line of the cache
            part = address(weights)
            for i in range(uintp(rows)):
                for j in range(uintp(U)):
                    weights[i, j] = weight[uintp(first) + i, j]
        # In x itself, the same place of two images may be a multiple of 4096 bytes
        # apart, and then they drive each other out of the cache.
        for n in range(uintp(N)):
            for i in range(uintp(rows)):
                inputs[n, i] = x[n, uintp(first) + i]
        for n in range(N):
            find(inputs, n, rows, found, 0)
            add(found, 0, 4 * U, part, address(y, block, n), U)


@inlined
def lists(count, most):
    """Return empty lists of rows and shares: how many, which, and how much of each."""
    size, counts = (count, most + 1), np.zeros(count, np.int64)  # `find` writes 1 more
    return counts, np.empty(size, np.int32), np.empty(size, np.float32)


@inlined
def find(x, n, count, found, row):
    """Make list ``row`` what is not zero in ``x[n, :count]``: where it is, and what."""
    (counts, indices, shares), end, n, row = found, uintp(0), uintp(n), uintp(row)
    for i in range(uintp(count)):
        indices[row, end], shares[row, end] = i, x[n, i]
        end += uintp(x[n, i] != 0)  # a branch would often be guessed wrongly
    counts[row] = end


@inlined
def add(found, n, stride, rows, y, length):
    """Add to y the weighted sum of the rows in list n: see `add_weighted_rows`."""
    counts, indices, shares = found
    add_weighted_rows(
        address(indices, n), address(shares, n), counts[n], stride, rows, y, length
    )


@shared(dy="N, U", x="N, D", weight="D, U", dweight="D, U", dx="N, D")
def backward(block, blocks, job):
    """Fill ``dweight = x.T @ dy`` and ``dx = dy @ weight.T``: a block of their rows."""
    dy, x, weight, dweight, dx = job[0]
    (N, U), D = dy.shape, len(weight)
    alive, gradients = lists(N, U), np.empty((N, U), np.float32)
    for n in range(N):
        find(dy, n, U, alive, n)
        for j in range(uintp(U)):  # a copy: rows begin with a line of the cache
            gradients[uintp(n), j] = dy[uintp(n), j]
    # Both are turned, in parts: down a column, each number is on another page.
    weights = np.empty((U, ROWS_BACKWARD), np.float32)
    inputs = np.empty((ROWS_BACKWARD, N), np.float32)
    images, parts = lists(1, N), -(-D // ROWS_BACKWARD)
    for part in range(parts * block // blocks, parts * (block + 1) // blocks):
        first = part * ROWS_BACKWARD
        last = min(first + ROWS_BACKWARD, D)
        for i in range(uintp(last - first)):
            for j in range(uintp(U)):
                weights[j, i] = weight[uintp(first) + i, j]
        for n in range(uintp(N)):
            for i in range(uintp(last - first)):
                inputs[i, n] = x[n, uintp(first) + i]
        for n in range(N):
            dx[n, first:last] = 0
            part_of_dx = address(dx, n, first)
            add(alive, n, 4 * ROWS_BACKWARD, address(weights), part_of_dx, last - first)
        for i in range(first, last):
            find(inputs, i - first, N, images, 0)
            dweight[i] = 0
            add(images, 0, 4 * U, address(gradients), address(dweight, i), U)


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
        parts = np.zeros((blocks, len(x), U), np.float32)
        forward(blocks, x, np.ascontiguousarray(weight), parts)
        y = parts.sum(axis=0) + bias
        self._remember(y, x, shape)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, out_features) to that of x."""
        x, shape = self._recall(dy)
        weight = np.ascontiguousarray(self.dense.weight.value)
        dy, grad, dx = np.ascontiguousarray(dy), np.empty_like(weight), np.empty_like(x)
        backward(min(BLOCKS, -(-len(weight) // ROWS_BACKWARD)), dy, x, weight, grad, dx)
        self.dense.weight.grad, self.dense.bias.grad = grad, dy.sum(axis=0)
        return dx.reshape(shape)


def fits(dense: Dense) -> bool:
    """Return whether a layer is large, and its weights are in whole vectors."""
    shape = dense.weight.value.shape
    whole = len(shape) == 2 and not any(size % COLUMNS for size in shape)
    return whole and shape[1] >= 64 and dense.bias.value.shape == shape[1:]
