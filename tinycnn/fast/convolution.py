"""Convolution, ReLU, max pooling and dropout as one step.

::

                image (H, W, C)          map (OH, OW, F)        y, winner
    forward     +--+                     . . | . .
                |  | patch  -> * weight  . . | 7 .   -> max,    7, cell 2
                +--+                     ----+----      ReLU
    backward    patch += g * weight[f]   <- g at the cell that won, of filter f
                weight[f] += g * patch

**Forward.** The feature maps of an image, or of a few small ones, are computed into a
buffer that stays in the cache, and only what survives ReLU, pooling and dropout is
written, with the number of the cell that won. A map is a matrix product whose left rows
are the patches, read straight from the image (in NHWC a row of a patch is one
contiguous run), or several smaller ones: `winograd.convolve`.

**Backward.** Pooling sends each gradient to one cell of its window, and ReLU sends none
where it was closed. So instead of two dense products, every output that is alive adds
its share (g is its gradient, after pooling, at pixel h, w of filter f):

``dweight[f, kh, kw, c] += g * x[h + kh, w + kw, c]`` and
``dx[h + kh, w + kw, c] += g * weight[f, kh, kw, c]``

Both run along a row of a patch, KW * C contiguous numbers. Collected by filter, the
first is a sum of few rows out of many, which the registers hold until all are in; so is
the second, collected by pixel. Only terms that are zero are left out.

In the first layer a patch of one channel is too short to run along, and the gradient of
an image is not needed. But an image of a digit is mostly paper: each pixel with ink
adds ``x[h, w] * dmap[h - kh, w - kw, :]`` to ``dweight[kh, kw, :]``.

**Dropout** multiplies what it keeps by a factor: ReLU lets factors pass, so weights and
bias are multiplied instead, and their gradients.
"""

import numpy as np
from numba import uint8, uintp

from tinycnn.fast import winograd
from tinycnn.fast.compiled import inlined, shared
from tinycnn.fast.dense import add, find, lists
from tinycnn.fast.pooling import DEAD, pool
from tinycnn.fast.vectors import COLUMNS, address, multiply
from tinycnn.nn.layers import Array, Conv2D, Dropout, Layer, MaxPool2D, _pair

# Of images, whatever the number of threads; their parts of a sum are added in order.
BLOCKS = 8
# Images are convolved one by one, or together until there are so many patches of
# Winograd: then the weights come to the processor once for all.
PATCHES = 24


@shared(
    y="N, OH, OW, F", winner="uint8: N, OH, OW, F", x="N, H, W, C", bias="F",
    weight="F // 16, (KH + 3)**2 if transform else KH, C if transform else KW * C, 16",
    top=int, left=int, KH=int, KW=int, transform=int, side=int, drops=int,
)  # fmt: skip
def forward(block, blocks, job):
    """Convolve, add the bias, close what is negative, pool, and drop.

    Above and to the left of images lie ``top`` rows and ``left`` columns of zeros.
    ``transform``: the address of Winograd's, `winograd.transform_for`, or 0 for direct
    sums. The weights, `winograd.transform_kernels` or (KH, KW * C, F), are cut into
    panels of 16 filters. ``side``, ``drops``, and ``winner`` before: see `pool`.
    """
    y, winner, x, bias, weight, top, left, KH, KW, transform, side, drops = job[0]
    (N, H, W, C), (_, OH, OW, F) = x.shape, y.shape
    m = winograd.OUTPUTS if transform else 1  # whole patches, though they hang over
    points = (KH + m - 1) ** 2 if transform else 0
    high, wide = -(-side * OH // m), -(-side * OW // m)
    group = min(max(1, PATCHES // (high * wide)), -(-N // blocks)) if transform else 1
    rows, columns = max(m * high + KH - 1, top + H), max(m * wide + KW - 1, left + W)
    copied = rows > H or columns > W
    images = np.zeros((group if copied else 0, rows, columns, C), np.float32)
    patches, panels = group * high * wide, len(weight)
    maps = np.empty((group, m * high, m * wide, F), np.float32)
    values = np.empty((points, patches * C + winograd.LINE), np.float32)
    products = np.empty((points, patches * COLUMNS + winograd.LINE), np.float32)
    end = N * (block + 1) // blocks
    for first in range(N * block // blocks, end, group):
        count, image = min(group, end - first), address(x, first)
        if copied:
            for i in range(count):
                _copy(x, first + i, (0, 0), images, i, (top, left), (H, W))
            image = address(images)
        if transform:
            winograd.convolve(
                image, (rows, columns), count, weight, maps, values, products, transform
            )
        for oh in range(0 if transform else high):  # a product for each row of the map
            for p in range(panels):
                multiply(
                    image + 4 * oh * columns * C, 4 * C, 4 * columns * C, wide, KH,
                    KW * C, address(weight, p), address(maps, 0, oh, 0, p * COLUMNS),
                    4 * F,
                )  # fmt: skip
        for i in range(count):
            pool(maps, i, side, bias, drops, y, winner, first + i)


@shared(
    dy="N, OH, OW, F", winner="uint8: N, OH, OW, F", x="N, H, W, C",
    weight="F, KH, KW, C", dweight="blocks, F, KH, KW, C", dbias="blocks, F",
    dx="N, H, W, C", top=int, left=int, side=int,
)  # fmt: skip
def backward(block, blocks, job):
    """Give every output that is alive its share of the gradients.

    To ``dweight`` and ``dbias``, zeros before, a block adds in its own slice; ``dx`` is
    filled. C is a multiple of 16.
    """
    dy, winner, x, weight, dweight, dbias, dx, top, left, side = job[0]
    (N, OH, OW, F), (_, KH, KW, C), (_, H, W, _) = dy.shape, weight.shape, x.shape
    # An image with the zeros around it, and its gradient.
    size = 1, max(side * OH + KH - 1, top + H), max(side * OW + KW - 1, left + W), C
    image, dimage = np.zeros(size, np.float32), np.empty(size, np.float32)
    alive = lists(F, OH * OW)  # outputs, by filter: where their patches begin, and g
    for n in range(N * block // blocks, N * (block + 1) // blocks):
        _copy(x, n, (0, 0), image, 0, (top, left), (H, W))
        dimage[...] = 0
        _to_image(dy[n], winner[n], side, weight, dimage[0], alive, dbias[block])
        _copy(dimage, 0, (top, left), dx, n, (0, 0), (H, W))
        for f in range(F):
            for kh in range(KH):
                y = address(dweight, block, f, kh)
                add(alive, f, 4 * C, address(image, 0, kh), y, KW * C)


@inlined
def _copy(x, n, corner, y, i, to, size):
    """Copy so many rows and columns of image n to image i, from corner to corner."""
    (h, w), (y_h, y_w), (H, W) = corner, to, size
    for row in range(H):
        for column in range(W):
            for c in range(uintp(x.shape[3])):
                value = x[uintp(n), uintp(h + row), uintp(w + column), c]
                y[uintp(i), uintp(y_h + row), uintp(y_w + column), c] = value


@inlined
def _to_image(dy, winner, side, weight, dimage, alive, dbias):
    """Add the gradient of an image, and that of the bias; fill ``alive``."""
    (OH, OW, F), (_, KH, KW, C), width = dy.shape, weight.shape, dimage.shape[1]
    cells, offsets = side * side, np.array([0, 1, width, width + 1])
    winners = lists(cells, F)  # filters, by cell of a window: which won there, and g
    (in_cell, filters, gradients), (counts, patches, shares) = winners, alive
    found = np.empty(F + 1, np.int64)
    counts[:] = 0
    for oh in range(uintp(OH)):
        for ow in range(uintp(OW)):
            pixel = side * (np.int64(oh) * width + np.int64(ow))
            in_cell[:], count = 0, uintp(0)
            for f in range(uintp(F)):  # without a branch: it is often guessed wrongly
                found[count] = f
                count += uintp(winner[oh, ow, f] != DEAD)
            for i in range(count):
                f = uintp(found[i])
                g, cell = dy[oh, ow, f], uintp(winner[oh, ow, f])
                dbias[f] += g
                at = uintp(in_cell[cell])
                filters[cell, at], gradients[cell, at] = f, g
                in_cell[cell] += 1
                at = uintp(counts[f])
                patches[f, at], shares[f, at] = pixel + offsets[cell], g
                counts[f] += 1
            for cell in range(cells):
                patch = address(dimage) + 4 * (pixel + offsets[cell]) * C
                for kh in range(KH if in_cell[cell] > 0 else 0):
                    rows, y = address(weight, 0, kh), patch + 4 * kh * width * C
                    add(winners, cell, 4 * KH * KW * C, rows, y, KW * C)


@shared(
    dy="N, OH, OW, F", winner="uint8: N, OH, OW, F", x="N, C, H, W",
    dweight="blocks, KH, KW, C, F", dbias="blocks, F", side=int,
)  # fmt: skip
def backward_of_ink(block, blocks, job):
    """Give every pixel with ink its share of the weights' gradient; as `backward`."""
    dy, winner, x, dweight, dbias, side = job[0]
    (N, OH, OW, F), (_, C, H, W), (_, KH, KW, _, _) = dy.shape, x.shape, dweight.shape
    HW, planes = H * W, x.reshape(N * C, H * W)
    side, offsets = uintp(side), np.array([0, 1, W, W + 1])
    ink = lists(1, HW)
    # The gradient of a map before pooling, but as wide as an image: in its last columns
    # and before it there are zeros for windows that would begin to the left or above.
    before = (KH - 1) * W + KW - 1
    dmap = np.zeros((before + HW, F), np.float32)
    for n in range(N * block // blocks, N * (block + 1) // blocks):
        for oh in range(uintp(OH)):
            for ow in range(uintp(OW)):
                for cell in range(side * side):
                    pixel = side * (oh * uintp(W) + ow) + uintp(before + offsets[cell])
                    for f in range(uintp(F)):  # without a branch: it runs along vectors
                        g = dy[uintp(n), oh, ow, f]
                        won = winner[uintp(n), oh, ow, f] == uint8(cell)
                        g = g if won else np.float32(0)
                        dmap[pixel, f] = g
                        dbias[block, f] += g
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
        self._panels: tuple[Array, int, Array] | None = None

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
        patch = winograd.patch_side(self.conv.weight.value.shape, OH, OW)
        y = np.empty((N, OH // self._side, OW // self._side, F), np.float32)
        winner, factor, x = np.empty(y.shape, np.uint8), 1.0, np.ascontiguousarray(x)
        dropout = self.dropout if training else None
        if dropout is not None:
            winner[...], factor = dropout.next_mask(y.shape)
        forward(
            min(BLOCKS, N), y, winner, x, self.conv.bias.value * factor,
            self._panels_for(patch, factor, training), top, left, KH, KW,
            winograd.transform_for(patch), self._side, int(dropout is not None),
        )  # fmt: skip
        self._remember(y, x, winner, factor, (top, bottom, left, right))
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, OH, OW, F) to that of x (N, H, W, C)."""
        x, winner, factor, (top, bottom, left, right) = self._recall(dy)
        weight, shape = self.conv.weight.value * factor, x.shape
        (KH, KW, C, F), N, side = weight.shape, len(x), self._side
        blocks = min(BLOCKS, N)
        dy, dbias = np.ascontiguousarray(dy), np.zeros((blocks, F), np.float32)
        if C < COLUMNS:
            x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
            planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
            grad = np.zeros((blocks, KH, KW, C, F), np.float32)
            backward_of_ink(blocks, dy, winner, planes, grad, dbias, side)
            dx = np.broadcast_to(np.float32(np.nan), shape)  # not computed
            dweight = grad.sum(axis=0)
        else:
            filters = np.ascontiguousarray(weight.transpose(3, 0, 1, 2))
            dx, grad = np.empty_like(x), np.zeros((blocks, F, KH, KW, C), np.float32)
            backward(blocks, dy, winner, x, filters, grad, dbias, dx, top, left, side)
            dweight = grad.sum(axis=0).transpose(1, 2, 3, 0)
        self.conv.weight.grad = np.ascontiguousarray(dweight * factor)
        self.conv.bias.grad = dbias.sum(axis=0) * factor
        return dx

    def _panels_for(self, patch: int, factor: float, training: bool) -> Array:
        """Return the weights as `forward` takes them; in inference, laid out once."""
        weight = self.conv.weight.value
        if self._panels is not None and not training:
            before, patch_before, panels = self._panels
            if patch == patch_before and np.array_equal(weight, before):
                return panels
        KH, KW, C, F = weight.shape
        rows: Array = (weight * factor).reshape(KH, KW * C, F)
        if patch:
            rows = winograd.transform_kernels(rows.reshape(weight.shape))
        rows = rows.reshape(*rows.shape[:2], F // COLUMNS, COLUMNS)
        panels = np.ascontiguousarray(rows.transpose(2, 0, 1, 3))
        self._panels = None if training else (weight.copy(), patch, panels)
        return panels


def fits(conv: Conv2D, pool: MaxPool2D | None) -> bool:
    """Return whether a fused convolution does what these layers do."""
    *_, C, F = (1, 1, *conv.weight.value.shape)
    pooling = () if pool is None else (pool.kernel_size, pool.stride)
    return (
        conv.weight.value.ndim == 4
        and F % COLUMNS == 0
        and (C % COLUMNS == 0 or C < COLUMNS)
        and _pair("stride", conv.stride, least=1) == (1, 1)
        and all(_pair("pooling", side, least=1) == (2, 2) for side in pooling)
    )
