"""Convolution, ReLU, max pooling and dropout as one step.

**Forward.** An image at a time, or a few small ones: their feature maps are computed
into a buffer that stays in the cache, and only what survives ReLU, pooling and dropout
is written, with the number of the cell that won. The large maps of a whole batch never
exist. The map itself is a matrix product whose left rows are the patches, read straight
from the image (in NHWC a row of a patch is one contiguous run), or several smaller
ones: `winograd.convolve`.

**Backward.** Pooling sends each gradient to one cell of its window, and ReLU sends none
where it was closed: behind 2×2 pooling at most a quarter of the outputs carry any
gradient. So instead of two dense products, every output that is alive adds its share (g
is its gradient, after pooling, at pixel h, w of filter f):

``dweight[f, kh, kw, c] += g * x[h + kh, w + kw, c]`` and
``dx[h + kh, w + kw, c] += g * weight[f, kh, kw, c]``

Both run along a row of a patch, KW * C contiguous numbers, with the weights laid out
filter by filter. Collected by filter, the first is a sum of few rows out of many, which
the registers hold until all are in; so is the second, collected by pixel. This is
exact: only terms that are zero are left out.

The first layer is another matter: a patch of one channel is too short to run along, and
the gradient of an image is not needed. But an image of a digit is mostly paper: each
pixel with ink adds ``x[h, w] * dmap[h - kh, w - kw, :]`` to ``dweight[kh, kw, :]``.

**Threads.** The images are cut into at most 8 blocks, whatever the number of threads.
A block has buffers of its own, goes through its images in order, and adds its share of
the weights' gradient into a slice of its own; the slices are added in order.

Kernels go by the addresses of arrays: the caller makes sure that they are float32,
contiguous and of the shapes given.
"""

import numpy as np
from numba import uintp

from tinycnn.fast import winograd
from tinycnn.fast.compiled import compiled, shared
from tinycnn.fast.pooling import DEAD, pool
from tinycnn.fast.vectors import COLUMNS, add_weighted_rows, multiply

BLOCKS = 8


@shared
def forward(
    block, blocks, x, top, left, weight, SH, SW, P, bias, KHP, KWP, SHP, SWP,
    mask, drops, scale, images, maps, values, products, y, winner,
):  # fmt: skip
    """Convolve, add the bias, close what is negative, pool, and drop.

    Parameters
    ----------
    block, blocks : int
        Each block is a part of the images; see `tinycnn.fast.compiled.shared`.
    x : float32 array (N, H, W, C)
    top, left : int
        Rows of zeros above and columns of zeros to the left.
    weight : float32 array (panels, KH, KW * C, 16), or (panels, P * P, C, 16) for P > 0
        Cut into panels of 16 filters; the rest of the last is zeros. If P is not 0, it
        comes from `winograd.transform_kernels`.
    SH, SW : int
        Stride of the convolution.
    P : int
        6 or 8, the side of a patch, for `winograd.convolve`; else 0.
    bias : float32 array (F,)
    KHP, KWP, SHP, SWP : int
        Window and stride of the pooling; all 1 if there is none.
    mask : uint8 array (N, OH, OW, F)
        0 where dropout drops, else 1.
    drops : uint32
        1 if there is dropout, else 0.
    scale : float32
        What dropout multiplies the survivors by; 1 if there is none.
    images : float32 array (blocks * group, HP, WP, C)
        Places for some images with their margins, which are zeros. Images without
        margins stay where they are.
    maps : float32 array (blocks * group, OH, OW, F16)
        Places for their maps; F16 is 16 times the panels.
    values, products : float32 array (blocks, P * P, ...)
        Places for `winograd.convolve`.
    y : float32 array (N, OH, OW, F)
        Filled; OH and OW after pooling.
    winner : uint8 array (N, OH, OW, F)
        Filled with ``kh * KWP + kw`` of the cell that won, or DEAD.
    """
    N, height, width, C = x.shape
    places, H, W, _ = images.shape
    _, OH, OW, F16 = maps.shape
    group = places // blocks
    image = images.ctypes.data + 4 * block * group * H * W * C
    map_ = maps.ctypes.data + 4 * block * group * OH * OW * F16
    end = N * (block + 1) // blocks
    for first in range(N * block // blocks, end, group):
        count = min(group, end - first)
        if height == H and width == W:
            image = x.ctypes.data + 4 * first * H * W * C
        else:
            for i in range(count):
                _copy_inside(x, first + i, images, block * group + i, top, left)
        if P > 0:
            high, wide = OH // winograd.OUTPUTS, OW // winograd.OUTPUTS
            band = (values.shape[2] - winograd.LINE) // (wide * C)
            winograd.convolve(
                image, count, H, W, C, weight.ctypes.data, F16, P, high, wide,
                band, values.ctypes.data + 4 * block * (values.size // blocks),
                products.ctypes.data + 4 * block * (products.size // blocks), map_,
            )  # fmt: skip
        else:
            panels, KH, run, _ = weight.shape
            for i in range(count):
                for oh in range(OH):
                    for p in range(panels):
                        multiply(
                            image + 4 * (i * H + oh * SH) * W * C,
                            4 * SW * C, 4 * W * C, OW, KH, run,
                            weight.ctypes.data + 4 * p * KH * run * COLUMNS,
                            map_ + 4 * ((i * OH + oh) * OW * F16 + p * COLUMNS),
                            4 * F16,
                        )  # fmt: skip
        for i in range(count):
            pool(
                maps, block * group + i, bias, (KHP, KWP), (SHP, SWP),
                mask, drops, scale, y, winner, first + i,
            )  # fmt: skip


@compiled()
def _copy_inside(x, n, padded, block, top, left):
    """Copy an image (H, W, C) into its place in a larger one."""
    _, H, W, C = x.shape
    top, left = uintp(top), uintp(left)
    for h in range(uintp(H)):
        for w in range(uintp(W)):
            for c in range(uintp(C)):
                padded[uintp(block), h + top, w + left, c] = x[uintp(n), h, w, c]


@shared
def backward(
    block, blocks, dy, winner, x, top, left, SH, SW, KHP, KWP, SHP, SWP, scale, weight,
    images, dimages, dweights, dbiases, dx,
):  # fmt: skip
    """Give every output that is alive its share of the gradients.

    Parameters
    ----------
    block, blocks : int
    dy : float32 array (N, OH, OW, F)
    winner : uint8 array (N, OH, OW, F)
    x : float32 array (N, H, W, C)
    top, left, SH, SW, KHP, KWP, SHP, SWP, scale
        As in `forward`.
    weight : float32 array (F, KH, KW * C)
    images, dimages : float32 array (blocks, HP, WP, C)
        Zeros; places for an image with its margins, and its gradient. Without margins,
        both are where they belong from the beginning.
    dweights : float32 array (blocks, F, KH, KW * C)
    dbiases : float32 array (blocks, F)
        Zeros, to which the gradients are added, summed over a block of images.
    dx : float32 array (N, H, W, C)
        Filled.
    """
    N, OH, OW, F = dy.shape
    _, height, width, _ = x.shape
    _, H, W, C = images.shape
    _, KH, run = weight.shape
    margins = height < H or width < W
    image = images.ctypes.data + 4 * block * images.size // blocks
    dimage = dimages.ctypes.data + 4 * block * images.size // blocks
    dkernels = dweights.ctypes.data + 4 * block * weight.size
    # By cell of a window, which filters are alive in it, and by filter, which patches.
    cells, places = KHP * KWP, OH * OW
    in_cell, of_filter = np.empty(cells, np.int64), np.empty(F, np.int64)
    filters, shares = np.empty(cells * F, np.int32), np.empty(cells * F, np.float32)
    patches, steps = np.empty(F * places, np.int32), np.empty(F * places, np.float32)
    alive, first = np.empty(F + 1, np.int64), np.empty(cells, np.int64)
    for cell in range(cells):
        first[cell] = cell // KWP * SH * W + cell % KWP * SW
    for n in range(N * block // blocks, N * (block + 1) // blocks):
        if margins:
            _copy_inside(x, n, images, block, top, left)
            _clear(dimages, block)
        else:
            image = x.ctypes.data + 4 * n * H * W * C
            dimage = dx.ctypes.data + 4 * n * H * W * C
            _clear(dx, n)
        for f in range(F):
            of_filter[f] = 0
        for oh in range(OH):
            for ow in range(OW):
                window = oh * SHP * SH * W + ow * SWP * SW
                for cell in range(cells):
                    in_cell[cell] = 0
                # Without a branch, which would often be guessed wrongly.
                count = 0
                for f in range(F):
                    alive[uintp(count)] = f
                    count += winner[uintp(n), uintp(oh), uintp(ow), uintp(f)] != DEAD
                for i in range(count):
                    f = alive[uintp(i)]
                    won = np.int64(winner[uintp(n), uintp(oh), uintp(ow), uintp(f)])
                    g = dy[uintp(n), uintp(oh), uintp(ow), uintp(f)] * scale
                    dbiases[uintp(block), uintp(f)] += g
                    at = uintp(won * F + in_cell[uintp(won)])
                    filters[at], shares[at] = f, g
                    in_cell[uintp(won)] += 1
                    at = uintp(f * places + of_filter[uintp(f)])
                    patches[at], steps[at] = window + first[uintp(won)], g
                    of_filter[uintp(f)] += 1
                for cell in range(cells):
                    if in_cell[cell] > 0:
                        at = 4 * cell * F
                        patch = dimage + 4 * (window + first[cell]) * C
                        for kh in range(KH):
                            add_weighted_rows(
                                filters.ctypes.data + at, shares.ctypes.data + at,
                                in_cell[cell], 4 * KH * run,
                                weight.ctypes.data + 4 * kh * run,
                                patch + 4 * kh * W * C, run,
                            )  # fmt: skip
        for f in range(F):
            at = 4 * f * places
            for kh in range(KH):
                add_weighted_rows(
                    patches.ctypes.data + at, steps.ctypes.data + at,
                    of_filter[f], 4 * C,
                    image + 4 * kh * W * C, dkernels + 4 * (f * KH + kh) * run, run,
                )  # fmt: skip
        if margins:
            _copy_outside(dimages, block, dx, n, top, left)


@compiled()
def _clear(images, block):
    """Fill an image with zeros."""
    _, H, W, C = images.shape
    for h in range(uintp(H)):
        for w in range(uintp(W)):
            for c in range(uintp(C)):
                images[uintp(block), h, w, c] = 0


@compiled()
def _copy_outside(padded, block, x, n, top, left):
    """Copy an image (H, W, C) from its place in a larger one."""
    _, H, W, C = x.shape
    top, left = uintp(top), uintp(left)
    for h in range(uintp(H)):
        for w in range(uintp(W)):
            for c in range(uintp(C)):
                x[uintp(n), h, w, c] = padded[uintp(block), h + top, w + left, c]


@shared
def backward_of_ink(
    block, blocks, dy, winner, x, top, left, KHP, KWP, SHP, SWP, scale,
    dmaps, dweights, dbiases,
):  # fmt: skip
    """Give every pixel with ink its share of the weights' gradient; the stride is 1.

    Parameters
    ----------
    block, blocks, dy, winner, x, top, left, KHP, KWP, SHP, SWP, scale
        As in `backward`.
    dmaps : float32 array (blocks, OH + 2 * (KH - 1), OW + 2 * (KW - 1), F)
        Zeros; a place for the gradient of a map, with room around it.
    dweights : float32 array (blocks, KH, KW, C, F)
    dbiases : float32 array (blocks, F)
        Zeros, to which the gradients are added, summed over a block of images.
    """
    _, _, W, F = dmaps.shape
    _, KH, KW, C, _ = dweights.shape
    N, OH, OW, _ = dy.shape
    _, height, width, _ = x.shape
    dmap = dmaps.ctypes.data + 4 * block * (dmaps.size // blocks)
    dweight = dweights.ctypes.data + 4 * block * (dweights.size // blocks)
    places = np.empty(height * width, np.int32)
    ink = np.empty(height * width, np.float32)
    for n in range(N * block // blocks, N * (block + 1) // blocks):
        _clear(dmaps, block)
        for oh in range(OH):
            for ow in range(OW):
                h, w = uintp(oh * SHP + KH - 1), uintp(ow * SWP + KW - 1)
                if KHP * KWP == 1:  # without a branch inside, it runs along vectors
                    for f in range(uintp(F)):
                        alive = winner[uintp(n), uintp(oh), uintp(ow), f] != DEAD
                        g = dy[uintp(n), uintp(oh), uintp(ow), f] * scale
                        g = g if alive else np.float32(0)
                        dmaps[uintp(block), h, w, f] = g
                        dbiases[uintp(block), f] += g
                    continue
                for f in range(uintp(F)):
                    cell = uintp(winner[uintp(n), uintp(oh), uintp(ow), f])
                    if cell != DEAD:
                        g = dy[uintp(n), uintp(oh), uintp(ow), f] * scale
                        row, column = cell // uintp(KWP), cell % uintp(KWP)
                        dmaps[uintp(block), h + row, w + column, f] += g
                        dbiases[uintp(block), f] += g
        for c in range(C):
            count = 0
            for h in range(height):
                for w in range(width):
                    value = x[uintp(n), uintp(h), uintp(w), uintp(c)]
                    if value != 0:
                        row, column = h + top + KH - 1, w + left + KW - 1
                        places[uintp(count)] = row * W + column
                        ink[uintp(count)] = value
                        count += 1
            for kh in range(KH):
                for kw in range(KW):
                    add_weighted_rows(
                        places.ctypes.data, ink.ctypes.data, count, 4 * F,
                        dmap - 4 * (kh * W + kw) * F,
                        dweight + 4 * ((kh * KW + kw) * C + c) * F, F,
                    )  # fmt: skip
