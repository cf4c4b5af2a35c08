"""Convolution, ReLU, max pooling and dropout as one step.

::

                image (H, W, C)          map (OH, OW, F)        y, winner
    forward     +--+                     . . | . .
                |  | patch  -> * weight  . . | 7 .   -> max,    7, cell 2
                +--+                     ----+----      ReLU
    backward    dpatch      <- * weight  0 0 | g 0   <- g, of the cell that won
                dweight += g * patch

**Forward.** The maps of an image, or of a few small ones, stay in the cache; what
survives ReLU, pooling and dropout is written, with the number of the cell that won. A
map is a product whose left rows are the patches, read straight from the image (in NHWC
a row of a patch is one run); from 16 channels on, many smaller ones: `winograd`.

**Backward.** The gradient of the map is mostly zeros: pooling sends each gradient to
one cell of its window, and a closed ReLU none. What is alive, g of filter f at pixel h,
w, adds ``g * x[h + kh, w + kw, c]`` to ``dweight[f, kh, kw, c]``: by filter, a sum of
few rows, which the registers hold until all are in. To the image it adds ``g *
weight[f]``: by pixel, a sum of few rows as well, or, if much is alive, by Winograd. In
a first layer, a pixel with ink (few have any) adds ``x[h, w] * dmap[h - kh, w - kw]``
to ``dweight[kh, kw]``.

**Dropout** multiplies what it keeps by a factor: ReLU lets factors pass, so weights and
bias are multiplied instead, and their gradients.
"""

from typing import Any

import numpy as np
from numba import uint8, uintp

from tinycnn.fast import winograd
from tinycnn.fast.compiled import BLOCKS, aligned, empty, inline, memcpy, memset, shared
from tinycnn.fast.dense import add, find, lists
from tinycnn.fast.vectors import COLUMNS, address, multiply
from tinycnn.nn.layers import Array, Conv2D, Dropout, Layer, MaxPool2D, _pair

DEAD = 255  # the winner where nothing passes: ReLU was closed, or dropped
_ZERO, _NONE = np.float32(0), uint8(DEAD)
SPARSE = 8  # where fewer than 1 in 8 outputs is alive, images get direct sums
PIXELS = 800  # of the images of a group: for all, weights come to the processor once


@shared(
    y="N, OH, OW, F", winner="uint8: N, OH, OW, F", x="N, XH, XW, C", bias="F",
    weight="KH if m == 1 else (KH + m - 1)**2, KW * C if m == 1 else C, F",
    m=int, H=int, W=int, top=int, left=int, KH=int, KW=int, side=int, drops=int,
)  # fmt: skip
def forward(block, blocks, job):
    """Convolve, add the bias, close what is negative, pool, and drop.

    Images are x in zeros, H × W pixels: then maps are whole patches of m × m outputs.
    If m is 1, sums are direct; else KH is KW, 3 or 5, and weights are those of
    `winograd.transform_kernels`. ``side``, ``drops`` and ``winner`` before: see `pool`.
    """
    y, winner, x, bias, weight, m, H, W, top, left, KH, KW, side, drops = job[0]
    N, C, F = len(y), x.shape[3], len(bias)
    high, wide = (H - KH + 1) // m, (W - KW + 1) // m
    group = 1 if m == 1 else min(max(1, PIXELS // (H * W)), -(-N // blocks))
    maps = empty(np.float32, group, m * high, m * wide, F)
    images = empty(np.float32, group, H, W, C)
    memset(address(images), 0, 4 * images.size)
    for first in range(N * block // blocks, N * (block + 1) // blocks, group):
        count, image = min(group, N * (block + 1) // blocks - first), address(x, first)
        if x.shape[1:3] != (H, W):
            image = address(images)
            _copy(count, x, first, 0, 0, images, 0, top, left)
        if m > 1:
            winograd.convolve(
                winograd.FORWARD, image, count, H, W, C, address(weight), KH, m, F,
                address(maps),
            )  # fmt: skip
        for oh in range(high if m == 1 else 0):  # row by row, directly
            multiply(
                image + 4 * oh * W * C, 4 * C, 4 * W * C, KH, KW * C, wide,
                address(weight), 4 * F, F, address(maps, 0, oh), 4 * F,
            )  # fmt: skip
        for i in range(count):
            pool(maps, i, side, drops, bias, y, winner, first + i)


@inline
def _copy(count, x, n, h, w, y, i, top, left):
    """Copy images from n on to i and on: from row h and column w what both have."""
    size = 4 * min(x.shape[2], y.shape[2]) * x.shape[3]
    for image in range(count):
        for row in range(min(x.shape[1], y.shape[1])):
            place = address(y, i + image, top + row, left)
            memcpy(place, address(x, n + image, h + row, w), size)


@inline
def pool(maps, i, side, drops, bias, y, winner, n):
    """Fill image n of ``y`` and ``winner`` (N, OH, OW, F) from map i.

    Of every window of every channel, the largest number and the bias: if the sum is
    positive and dropout keeps it, it is written, and so is the number of its cell,
    ``side * kh + kw``. Otherwise 0 is written, and DEAD. ``side`` is 2, without pooling
    1. With ``drops``, ``winner`` is 0 before where dropout drops it, else 1. A tie goes
    to the first cell. NaN wins and stays NaN, in spite of dropout; no gradient
    passes it, as none passes ReLU there. Channels are innermost, to become vectors.
    """
    _, OH, OW, F = y.shape
    place, n, side, one = uintp(i), uintp(n), uintp(side), uintp(1)
    for oh in range(uintp(OH)):
        for ow in range(uintp(OW)):
            h, w = side * oh, side * ow
            for f in range(uintp(F)):
                best, cell = maps[place, h, w, f], uint8(0)
                if side > one:
                    for other in range(one, uintp(4)):  # in one piece, after unrolling
                        value = maps[place, h + (other >> one), w + (other & one), f]
                        wins = (value > best) | (value != value)
                        best = value if wins else best
                        cell = uint8(other) if wins else cell
                best += bias[f]
                kept = (drops == 0) | (winner[n, oh, ow, f] > 0)
                alive = (best > _ZERO) & kept
                y[n, oh, ow, f] = best if alive | (best != best) else _ZERO
                winner[n, oh, ow, f] = cell if alive else _NONE


@shared(
    dy="N, OH, OW, F", winner="uint8: N, OH, OW, F", x="N, XH, XW, C",
    dx="N, XH, XW, C", dweight="blocks, F, K, K, C", dbias="blocks, F",
    weight="F, K, K * C",
    turned="(K + m - 1)**2, F, C", m=int, H=int, W=int, top=int, left=int, side=int,
)  # fmt: skip
def backward(block, blocks, job):
    """Fill ``dx``, and, of each block, ``dbias``, zeros before, and ``dweight``.

    C and F are multiples of 16, images as in `forward`, weights ``turned`` those of
    `winograd.transform_kernels` with channels and filters swapped.
    """
    dy, winner, x, dx, dweight, dbias, weight, turned, m, H, W, top, left, side = job[0]
    (N, OH, OW, F), C, K = dy.shape, x.shape[3], dweight.shape[2]
    group = min(max(1, PIXELS // (H * W)), -(-N // blocks))
    images = empty(np.float32, group, H, W, C)
    memset(address(images), 0, 4 * images.size)
    dimages = empty(np.float32, group, H, W, C)
    pixels = empty(np.float32, group * H * W, F)  # the gradient of maps
    # Outputs, by filter: at which pixel their patch begins, and their gradient.
    counts, places, shares = alive = lists(F, group * OH * OW)
    memset(address(dweight, block), 0, 4 * F * K * K * C)
    of_pixels = lists(len(pixels), F)  # the same by pixel: of which filters
    for first in range(N * block // blocks, N * (block + 1) // blocks, group):
        count = min(group, N * (block + 1) // blocks - first)
        _copy(count, x, first, 0, 0, images, 0, top, left)
        memset(address(dimages), 0, 4 * dimages.size)
        memset(address(counts), 0, 8 * F)
        for i in range(count):
            _collect(dy, winner, first + i, side, i * H * W, W, alive, dbias[block])
        if SPARSE * sum(counts) < count * side * OH * side * OW * F:
            memset(address(of_pixels[0]), 0, 8 * len(pixels))
            for f in range(uintp(F)):
                for i in range(uintp(counts[f])):
                    _append(of_pixels, uintp(places[f, i]), f, shares[f, i])
            for kh in range(K):  # a row of each kernel: they stay in the cache
                row, part = address(dimages, 0, kh), address(weight, 0, kh)
                for p in range(len(pixels)):
                    if of_pixels[0][p] > 0:
                        add(of_pixels, p, 4 * K * K * C, part, row + 4 * p * C, K * C)
        else:
            memset(address(pixels), 0, 4 * pixels.size)
            for f in range(uintp(F)):
                for i in range(uintp(counts[f])):
                    pixels[uintp(places[f, i]), f] = shares[f, i]
            winograd.convolve(
                winograd.BACK, address(pixels), count, H, W, F, address(turned), K, m,
                C, address(dimages),
            )  # fmt: skip
        for f in range(F):
            for kh in range(K):
                y = address(dweight, block, f, kh)
                add(alive, f, 4 * C, address(images, 0, kh), y, K * C)
        _copy(count, dimages, 0, top, left, dx, first, 0, 0)


@inline
def _collect(dy, winner, n, side, at, width, alive, dbias):
    """Put what is alive of an image, from pixel ``at`` on, in lists, and into dbias."""
    (_, OH, OW, F), n = dy.shape, uintp(n)
    found = empty(np.int64, F)
    for oh in range(uintp(OH)):
        for ow in range(uintp(OW)):
            pixel, count = at + side * (np.int64(oh) * width + np.int64(ow)), uintp(0)
            for f in range(uintp(F)):  # without a branch: it is often guessed wrongly
                found[count] = f
                count += uintp(winner[n, oh, ow, f] != DEAD)
            for i in range(count):
                f, g = uintp(found[i]), dy[n, oh, ow, uintp(found[i])]
                cell = np.int64(winner[n, oh, ow, f])
                _append(alive, f, pixel + cell // 2 * width + cell % 2, g)
                dbias[f] += g


@inline
def _append(found, row, index, share):
    """Append to list ``row``: see `lists`."""
    counts, indices, shares = found
    last = uintp(counts[row])
    indices[row, last], shares[row, last] = index, share
    counts[row] += 1


@shared(
    dy="N, OH, OW, F", winner="uint8: N, OH, OW, F", dweight="blocks, KH, KW, C, F",
    dbias="blocks, F", planes="N * C, HW", W=int, side=int,
)  # fmt: skip
def backward_of_ink(block, blocks, job):
    """Give pixels with ink their share of ``dweight``, zeros before; as `backward`."""
    dy, winner, dweight, dbias, planes, W, side = job[0]
    (N, OH, OW, F), (_, KH, KW, C, _) = dy.shape, dweight.shape
    HW, ink = planes.shape[1], lists(1, planes.shape[1])
    # The gradient of a map before pooling, but as wide as an image: in its last columns
    # and before it there are zeros for windows that would begin to the left or above.
    before = (KH - 1) * W + KW - 1
    dmap = empty(np.float32, before + HW, F)
    memset(address(dmap), 0, 4 * (before + HW) * F)
    for n in range(N * block // blocks, N * (block + 1) // blocks):
        for oh in range(uintp(OH)):
            for ow in range(uintp(OW)):
                window = uintp(before + side * (np.int64(oh) * W + np.int64(ow)))
                for cell in range(side * side):
                    pixel = window + uintp(cell // 2 * W + cell % 2)
                    for f in range(uintp(F)):  # without a branch: it runs along vectors
                        won = winner[uintp(n), oh, ow, f] == uint8(cell)
                        g = dy[uintp(n), oh, ow, f] if won else np.float32(0)
                        dmap[pixel, f] = g
                        dbias[uintp(block), f] += g
        for c in range(C):
            find(planes, n * C + c, 0, HW, ink, 0)
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
        self._kept: tuple[Any, Any] = None, None  # key, and weights laid out
        self._plan: tuple[Any, Any] = None, None  # settings and sizes of the last batch

    def __repr__(self) -> str:  # what `_recall` compares; quicker than a layer's
        conv, pool = self.conv, self.pool and (self.pool.kernel_size, self.pool.stride)
        return f"{conv.weight.value.shape}, {conv.stride, conv.padding}, {pool}"

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map images (N, H, W, C) to pooled feature maps (N, OH, OW, F)."""
        (N, H, W, C), (KH, KW, _, F) = x.shape, self.conv.weight.value.shape
        settings, plan = (repr(self), H, W), self._plan
        if settings != plan[0]:  # as they seldom do
            top, bottom, left, right = self.conv.margins(H, W)
            OH, OW = top + H + bottom - KH + 1, left + W + right - KW + 1
            if min(OH, OW) < self._side or not fits(self.conv, self.pool):
                refused = f"{self.conv} and {self.pool} do not take {H}×{W} pixels"
                raise ValueError(f"{refused}; fuse again")
            OH, OW = OH - OH % self._side, OW - OW % self._side
            # The patches, of m × m outputs each, that take the fewest products.
            ways = (1,) if C < COLUMNS else winograd.OUTPUTS[KH]
            m = min(ways, key=lambda m: -(-OH // m) * -(-OW // m) * (KH + m - 1) ** 2)
            rows = max(-(-OH // m) * m + KH - 1, top + H)
            columns = max(-(-OW // m) * m + KW - 1, left + W)
            plan = self._plan = settings, (OH, OW, (m, rows, columns, top, left))
        OH, OW, room = plan[1]
        m, y = room[0], aligned(N, OH // self._side, OW // self._side, F)
        winner, factor, x = np.empty(y.shape, np.uint8), 1.0, np.ascontiguousarray(x)
        dropout = self.dropout if training else None
        if dropout:
            mask, factor = dropout.next_mask(y.shape)
            winner = mask.view(np.uint8)
        forward(
            min(BLOCKS, N), y, winner, x, self.conv.bias.value * factor,
            self._rows(factor, m, training), *room, KH, KW, self._side,
            int(dropout is not None),
        )  # fmt: skip
        self._memory = settings[0], (y.dtype, y.shape), x, winner, factor, room
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, OH, OW, F) to that of x (N, H, W, C)."""
        x, winner, factor, room = self._recall(dy)
        m, rows, columns, top, left = room
        weight, (N, H, W, C) = self.conv.weight.value, x.shape
        K, blocks, F = len(weight), min(BLOCKS, N), weight.shape[3]
        dy, dbias = np.ascontiguousarray(dy), np.zeros((blocks, F), np.float32)
        if C < COLUMNS:
            planes = np.zeros((N, C, rows, columns), np.float32)
            planes[:, :, top : top + H, left : left + W] = x.transpose(0, 3, 1, 2)
            grad = np.zeros((blocks, *weight.shape), np.float32)
            backward_of_ink(
                blocks, dy, winner, grad, dbias, planes.reshape(N * C, -1), columns,
                self._side,
            )  # fmt: skip
            dx = np.broadcast_to(np.float32(np.nan), x.shape)  # not computed
            dweight = grad.sum(axis=0)
        else:
            by_filter = np.multiply(weight.transpose(3, 0, 1, 2), factor, order="C")
            turned = aligned((K + m - 1) ** 2, F, C)
            winograd.transform_kernels(BLOCKS, turned, by_filter.reshape(-1), K, m, 1)
            grad, dx = aligned(blocks, F, K, K, C), aligned(*x.shape)
            backward(
                blocks, dy, winner, x, dx, grad, dbias, by_filter.reshape(F, K, -1),
                turned, *room, self._side,
            )  # fmt: skip
            dweight = grad.sum(axis=0).transpose(1, 2, 3, 0)
        self.conv.weight.grad = np.multiply(dweight, factor, order="C")
        self.conv.bias.grad = dbias.sum(axis=0) * factor
        return dx

    def _rows(self, factor: float, m: int, training: bool) -> Array:
        """Return the weights as `forward` takes them; in inference, laid out once."""
        weight, (kept, rows) = self.conv.weight.value, self._kept
        if training or (key := (m, weight.shape, weight.tobytes())) != kept:
            direct, (KH, _, C, F) = np.ascontiguousarray(weight * factor), weight.shape
            rows = direct.reshape(KH, -1, F)
            if C >= COLUMNS:
                rows = aligned((KH + m - 1) ** 2, C, F)
                winograd.transform_kernels(BLOCKS, rows, direct.reshape(-1), KH, m, 0)
            self._kept = (None, None) if training else (key, rows)
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
