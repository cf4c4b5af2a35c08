"""Convolution, ReLU, max pooling and dropout as one step.

::

                image (H, W, C)          map (OH, OW, F)        y, winner
    forward     +--+                     . . | . .
                |  | patch  -> * weight  . . | 7 .   -> max,    7, cell 2
                +--+                     ----+----      ReLU
    backward    dpatch      <- * weight  0 0 | g 0   <- g, of the cell that won
                dweight += g * patch

**Forward.** The feature maps of an image, or of a few small ones, are computed into a
buffer that stays in the cache, and only what survives ReLU, pooling and dropout is
written, with the number of the cell that won. A map is a product whose left rows are
the patches, read straight from the image (in NHWC a row of a patch is one run); from 16
channels on it is many smaller ones: `winograd.convolve`.

**Backward.** The gradient of the map goes back to the image the same way. It is mostly
zeros: pooling sends each gradient to one cell of its window, and ReLU sends none where
it was closed. What is alive, g of filter f at pixel h, w, adds ``g * x[h + kh, w + kw,
c]`` to ``dweight[f, kh, kw, c]``: by filter, a sum of few rows, which the registers
hold until all are in. In a first layer such a row is short, but a digit is mostly
paper: a pixel with ink adds ``x[h, w] * dmap[h - kh, w - kw]`` to ``dweight[kh, kw]``.

**Dropout** multiplies what it keeps by a factor: ReLU lets factors pass, so weights and
bias are multiplied instead, and their gradients.
"""

import numpy as np
from numba import uint8, uintp

from tinycnn.fast import winograd
from tinycnn.fast.compiled import inlined, shared
from tinycnn.fast.dense import add, find, lists
from tinycnn.fast.pooling import DEAD, pool
from tinycnn.fast.vectors import COLUMNS, add_to_rows, address, multiply
from tinycnn.nn.layers import Array, Conv2D, Dropout, Layer, MaxPool2D, _pair

# To images goes what is alive, one by one, of maps of which no more than 1 of 8 is.
SPARSE = 8
# Of images, whatever the number of threads; their parts of a sum are added in order.
BLOCKS = 8
PATCHES = 32  # of Winograd, of several images: weights come to the processor once


@shared(
    y="N, OH, OW, F", winner="uint8: N, OH, OW, F", x="N, H, W, C", bias="F",
    weight="KH if C < 16 else (KH + 3)**2, KW * C if C < 16 else C, F",
    top=int, left=int, KH=int, KW=int, side=int,
)  # fmt: skip
def forward(block, blocks, job):
    """Convolve, add the bias, close what is negative, pool, and drop.

    Above and to the left of images lie ``top`` rows and ``left`` columns of zeros. From
    16 channels on, KH is KW, 3 or 5, and weights are those of
    `winograd.transform_kernels`. ``side``, and ``winner`` before: see `pool`.
    """
    y, winner, x, bias, weight, top, left, KH, KW, side = job[0]
    (_, H, W, C), (N, _, _, F) = x.shape, y.shape
    images, maps, grid = _room(blocks, x.shape, y.shape, (top, left), (KH, KW), side)
    (group, rows, columns, _), (_, high, wide) = images.shape, grid
    values, products = winograd.room(weight, 0 if C < COLUMNS else group * high * wide)
    for first in range(N * block // blocks, N * (block + 1) // blocks, group):
        count, image = min(group, N * (block + 1) // blocks - first), address(x, first)
        if rows > H or columns > W:
            image = address(images)
            for i in range(count):
                _copy(x, first + i, 0, 0, images, i, top, left)
        if C >= COLUMNS:
            winograd.convolve(
                winograd.FORWARD, image, images.shape, weight, maps,
                (count, high, wide), values, products,
            )  # fmt: skip
        for oh in range(high if C < COLUMNS else 0):  # row by row, directly
            multiply(
                image + 4 * oh * columns * C, 4 * C, 4 * columns * C, KH, KW * C, wide,
                address(weight), 4 * F, F, address(maps, 0, oh), 4 * F,
            )  # fmt: skip
        for i in range(count):
            pool(maps, i, side, bias, y, winner, first + i)


@inlined
def _room(blocks, x_shape, y_shape, corner, kernel, side):
    """Return zeros for a few padded images, and for their maps; and the grid.

    Of `winograd` maps are whole patches, and images reach as far: the grid is how many
    images, and how many patches (of direct sums, pixels) down and across.
    """
    (N, H, W, C), (_, OH, OW, F), (KH, KW) = x_shape, y_shape, kernel
    (top, left), m = corner, 1 if C < COLUMNS else winograd.OUTPUTS
    high, wide = -(-side * OH // m), -(-side * OW // m)
    group = 1 if m == 1 else min(max(1, PATCHES // (high * wide)), -(-N // blocks))
    rows, columns = max(m * high + KH - 1, top + H), max(m * wide + KW - 1, left + W)
    images = np.zeros((group, rows, columns, C), np.float32)
    maps = np.zeros((group, m * high, m * wide, F), np.float32)
    return images, maps, (group, high, wide)


@inlined
def _copy(x, n, h, w, y, i, top, left):
    """Copy image n to image i, from row h and column w on as much as both have."""
    for row in range(min(x.shape[1], y.shape[1])):  # a slice takes long to compile
        for column in range(min(x.shape[2], y.shape[2])):
            for c in range(uintp(x.shape[3])):
                value = x[uintp(n), uintp(h + row), uintp(w + column), c]
                y[uintp(i), uintp(top + row), uintp(left + column), c] = value


@shared(
    dy="N, OH, OW, F", winner="uint8: N, OH, OW, F", x="N, H, W, C", dx="N, H, W, C",
    dweight="blocks, F, K, K, C", dbias="blocks, F", weight="F, K, K * C",
    transformed="(K + 3)**2, F, C", top=int, left=int, side=int,
)  # fmt: skip
def backward(block, blocks, job):
    """Fill ``dx``, and, of each block, ``dweight`` and ``dbias``, zeros before.

    C and F are multiples of 16, weights ``transformed`` those of
    `winograd.transform_kernels` with channels and filters swapped.
    """
    dy, winner, x, dx, dweight, dbias, weight, transformed, top, left, side = job[0]
    (_, OH, OW, F), (N, _, _, C), K = dy.shape, x.shape, dweight.shape[2]
    images, dmaps, grid = _room(blocks, x.shape, dy.shape, (top, left), (K, K), side)
    (group, rows, columns, _), (_, high, wide) = images.shape, grid
    values, products = winograd.room(transformed, group * high * wide)
    dimages, width = np.empty(images.shape, np.float32), dmaps.shape[2]
    pixels = dmaps.reshape(dmaps.size // F, F)
    alive = lists(F, group * OH * OW)  # outputs, by filter: where patches begin, and g
    counts, patches, shares = alive
    for first in range(N * block // blocks, N * (block + 1) // blocks, group):
        count = min(group, N * (block + 1) // blocks - first)
        dimages[...], counts[:] = 0, 0
        for i in range(count):
            _copy(x, first + i, 0, 0, images, i, top, left)
            _collect(dy, winner, first + i, side, i * rows * columns, columns, alive)
            _add_to_bias(dy, winner, first + i, dbias, block)
        sparse = SPARSE * counts.sum() < count * side * OH * side * OW * F
        for i in range(0 if sparse else count):
            map_pixel = i * dmaps.shape[1] * width
            _unpool(dy, winner, first + i, side, pixels, map_pixel, width)
        if not sparse:
            winograd.convolve(
                winograd.BACK, address(dmaps), dmaps.shape, transformed, dimages,
                (count, high, wide), values, products,
            )  # fmt: skip
        for f in range(F):
            for kh in range(K):
                y = address(dweight, block, f, kh)
                add(alive, f, 4 * C, address(images, 0, kh), y, K * C)
                if sparse:
                    add_to_rows(
                        address(patches, f), address(shares, f), counts[f], 4 * C,
                        address(dimages, 0, kh), address(weight, f, kh), K * C,
                    )  # fmt: skip
        for i in range(count):
            _copy(dimages, i, top, left, dx, first + i, 0, 0)


@inlined
def _collect(dy, winner, n, side, at, width, alive):
    """Put what is alive of an image, whose pixels begin ``at``, in lists by filter."""
    (_, OH, OW, F), n = dy.shape, uintp(n)
    (counts, patches, shares), offsets = alive, np.array([0, 1, width, width + 1])
    found = np.empty(F + 1, np.int64)
    for oh in range(uintp(OH)):
        for ow in range(uintp(OW)):
            pixel, count = at + side * (np.int64(oh) * width + np.int64(ow)), uintp(0)
            for f in range(uintp(F)):  # without a branch: it is often guessed wrongly
                found[count] = f
                count += uintp(winner[n, oh, ow, f] != DEAD)
            for i in range(count):
                f = uintp(found[i])
                last = uintp(counts[f])
                patches[f, last] = pixel + offsets[uintp(winner[n, oh, ow, f])]
                shares[f, last] = dy[n, oh, ow, f]
                counts[f] += 1


@inlined
def _unpool(dy, winner, n, side, pixels, at, width):
    """Fill the gradient of a map before pooling.

    In ``pixels`` (all, F) it begins at pixel ``at``, and a row is ``width`` pixels.
    """
    (_, OH, OW, F), n = dy.shape, uintp(n)
    offsets = np.array([0, 1, width, width + 1])
    for oh in range(uintp(OH)):
        for ow in range(uintp(OW)):
            window = uintp(at + side * (np.int64(oh) * width + np.int64(ow)))
            for cell in range(side * side):
                pixel = window + uintp(offsets[cell])
                for f in range(uintp(F)):  # without a branch: it runs along vectors
                    g = dy[n, oh, ow, f]
                    won = winner[n, oh, ow, f] == uint8(cell)
                    pixels[pixel, f] = g if won else np.float32(0)


@inlined
def _add_to_bias(dy, winner, n, dbias, block):
    """Add an image's gradient of the bias."""
    (_, OH, OW, F), n, block = dy.shape, uintp(n), uintp(block)
    for oh in range(uintp(OH)):
        for ow in range(uintp(OW)):
            for f in range(uintp(F)):
                g, dead = dy[n, oh, ow, f], winner[n, oh, ow, f] == uint8(DEAD)
                dbias[block, f] += np.float32(0) if dead else g


@shared(
    dy="N, OH, OW, F", winner="uint8: N, OH, OW, F", x="N, C, H, W",
    dweight="blocks, KH, KW, C, F", dbias="blocks, F", side=int,
)  # fmt: skip
def backward_of_ink(block, blocks, job):
    """Give every pixel with ink its share of the weights' gradient; as `backward`."""
    dy, winner, x, dweight, dbias, side = job[0]
    (N, _, _, F), (_, C, H, W), (_, KH, KW, _, _) = dy.shape, x.shape, dweight.shape
    HW, planes = H * W, x.reshape(N * C, H * W)
    ink = lists(1, HW)
    # The gradient of a map before pooling, but as wide as an image: in its last columns
    # and before it there are zeros for windows that would begin to the left or above.
    before = (KH - 1) * W + KW - 1
    dmap = np.zeros((before + HW, F), np.float32)
    for n in range(N * block // blocks, N * (block + 1) // blocks):
        _unpool(dy, winner, n, side, dmap, before, W)
        _add_to_bias(dy, winner, n, dbias, block)
        for c in range(C):
            find(planes, n * C + c, HW, ink, 0)
            for kh in range(KH):
                for kw in range(KW):
                    rows = address(dmap, before - kh * W - kw)
                    add(ink, 0, 4 * F, rows, address(dweight, block, kh, kw, c), F)


class FusedConvolution(Layer):
    """Conv2D, ReLU and perhaps MaxPool2D and Dropout as one step: see `fits`."""

    def __init__(
        self, conv: Conv2D, pool: MaxPool2D | None, dropout: Dropout | None
    ) -> None:
        self.conv, self.pool, self.dropout = conv, pool, dropout
        self._side = 1 if pool is None else 2
        self._kept: tuple[Array, Array] | None = None

    def __repr__(self) -> str:  # sooner than `Layer.__repr__`: for every forward
        conv, pool = self.conv, self.pool and (self.pool.kernel_size, self.pool.stride)
        return f"{conv.weight.value.shape}, {conv.stride, conv.padding}, {pool}"

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map images (N, H, W, C) to pooled feature maps (N, OH, OW, F)."""
        (N, H, W, _), (KH, KW, _, F) = x.shape, self.conv.weight.value.shape
        top, bottom, left, right = self.conv.margins(H, W)
        OH, OW = top + H + bottom - KH + 1, left + W + right - KW + 1
        if min(OH, OW) < self._side or not fits(self.conv, self.pool):
            raise ValueError(
                f"{self.conv} and {self.pool} do not take {H}×{W} pixels; fuse again"
            )
        y = np.empty((N, OH // self._side, OW // self._side, F), np.float32)
        winner, factor, x = np.ones(y.shape, np.uint8), 1.0, np.ascontiguousarray(x)
        dropout = self.dropout if training else None
        if dropout is not None:
            winner[...], factor = dropout.next_mask(y.shape)
        forward(
            min(BLOCKS, N), y, winner, x, self.conv.bias.value * factor,
            self._rows(factor, training), top, left, KH, KW, self._side,
        )  # fmt: skip
        self._remember(y, x, winner, factor, (top, bottom, left, right))
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, OH, OW, F) to that of x (N, H, W, C)."""
        x, winner, factor, (top, bottom, left, right) = self._recall(dy)
        weight, blocks = self.conv.weight.value * factor, min(BLOCKS, len(x))
        K, _, C, F = weight.shape
        dy, dbias = np.ascontiguousarray(dy), np.zeros((blocks, F), np.float32)
        if C < COLUMNS:
            planes = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
            planes = np.ascontiguousarray(planes.transpose(0, 3, 1, 2))
            grad = np.zeros((blocks, *weight.shape), np.float32)
            backward_of_ink(blocks, dy, winner, planes, grad, dbias, self._side)
            dx = np.broadcast_to(np.float32(np.nan), x.shape)  # not computed
            dweight = grad.sum(axis=0)
        else:
            turned = winograd.transform_kernels(weight.swapaxes(2, 3))
            rows = np.ascontiguousarray(weight.transpose(3, 0, 1, 2))
            grad, dx = np.zeros((blocks, F, K, K, C), np.float32), np.empty_like(x)
            backward(
                blocks, dy, winner, x, dx, grad, dbias, rows.reshape(F, K, K * C),
                turned, top, left, self._side,
            )  # fmt: skip
            dweight = grad.sum(axis=0).transpose(1, 2, 3, 0)
        self.conv.weight.grad = np.ascontiguousarray(dweight * factor)
        self.conv.bias.grad = dbias.sum(axis=0) * factor
        return dx

    def _rows(self, factor: float, training: bool) -> Array:
        """Return the weights as `forward` takes them; in inference, laid out once."""
        weight = self.conv.weight.value
        if self._kept is not None and not training:
            before, kept = self._kept
            if np.array_equal(weight, before):
                return kept
        (KH, _, C, F), rows = weight.shape, np.ascontiguousarray(weight * factor)
        direct = C < COLUMNS
        rows = rows.reshape(KH, -1, F) if direct else winograd.transform_kernels(rows)
        self._kept = None if training else (weight.copy(), rows)
        return rows


def fits(conv: Conv2D, pool: MaxPool2D | None) -> bool:
    """Return whether a fused convolution does what these layers do."""
    KH, KW, C, F = (1, 1, *conv.weight.value.shape)[-4:]
    pooling = () if pool is None else (pool.kernel_size, pool.stride)
    return (
        conv.weight.value.ndim == 4
        and F % COLUMNS == 0
        and (C < COLUMNS or (C % COLUMNS == 0 and KH == KW and KH in (3, 5)))
        and _pair("stride", conv.stride, least=1) == (1, 1)
        and all(_pair("pooling", side, least=1) == (2, 2) for side in pooling)
    )
