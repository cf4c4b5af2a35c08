"""Convolution, ReLU, max pooling and dropout as one step.

::

                image (H, W, C)          map (OH, OW, F)        y, winner
    forward     +--+                     . . | . .
                |  | patch  -> * weight  . . | 7 .   -> max,    7, cell 2
                +--+                     ----+----      ReLU
    backward    patch += g * weight[f]   <- g at the cell that won, of filter f
                weight[f] += g * patch

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
from tinycnn.fast.vectors import COLUMNS, add_weighted_rows, address, multiply

BLOCKS = 8


@shared
def forward(
    block, blocks, x, margins, weight, bias, side, drops, scale, work, y, winner
):  # fmt: skip
    """Convolve, add the bias, close what is negative, pool, and drop.

    Parameters
    ----------
    block, blocks : int
        Each block is a part of the images; see `tinycnn.fast.compiled.shared`.
    x : float32 array (N, H, W, C)
    margins : (int, int)
        Rows of zeros above and columns of zeros to the left.
    weight : float32 array (F / 16, KH, KW * C, 16) or (F / 16, P * P, C, 16)
        Cut into panels of 16 filters. The latter is for `winograd.convolve` and comes
        from `winograd.transform_kernels`.
    bias : float32 array (F,)
    side : int
        2, the side and the stride of the pooling's windows, or 1 if there is none.
    drops : bool
        Whether there is dropout.
    scale : float32
        What dropout multiplies the survivors by; 1 if there is none.
    work : tuple of arrays
        Places to work in, as `layout.Layout` describes them.
    y : float32 array (N, OH, OW, F)
        Filled; OH and OW after pooling.
    winner : uint8 array (N, OH, OW, F)
        Before, if there is dropout, 0 where it drops, else 1. Filled with the number of
        the cell that won, or DEAD: see `tinycnn.fast.pooling`.
    """
    images, maps, values, _ = work
    N, group = len(x), len(images) // blocks
    end = N * (block + 1) // blocks
    for first in range(N * block // blocks, end, group):
        count = min(group, end - first)
        place = block * group
        image = address(x, first)
        if x.shape[1:3] != images.shape[1:3]:
            for i in range(count):
                _copy(x, first + i, (0, 0), images, place + i, margins, x.shape[1:3])
            image = address(images, place)
        if values.size > 0:
            winograd.convolve(image, count, weight, work, block, place)
        else:
            _convolve(image, images.shape, weight, maps, place)
        for i in range(count):
            pool(maps, place + i, side, bias, drops, scale, y, winner, first + i)


@compiled()
def _convolve(image, shape, weight, maps, place):
    """Convolve the image (H, W, C) at an address: a product for each row of its map."""
    _, _, W, C = shape
    _, OH, OW, F = maps.shape
    panels, KH, run, _ = weight.shape
    for oh in range(OH):
        for p in range(panels):
            multiply(
                image + 4 * oh * W * C, 4 * C, 4 * W * C, OW, KH, run,
                address(weight, p), address(maps, place, oh, 0, p * COLUMNS), 4 * F,
            )  # fmt: skip


@compiled()
def _copy(x, n, corner, y, place, y_corner, size):
    """Copy the rows and columns of image n from a corner on into another image."""
    h, w, y_h, y_w = corner[0], corner[1], y_corner[0], y_corner[1]
    for i in range(size[0]):
        for j in range(size[1]):
            for c in range(uintp(x.shape[3])):
                value = x[uintp(n), uintp(h + i), uintp(w + j), c]
                y[uintp(place), uintp(y_h + i), uintp(y_w + j), c] = value


@shared
def backward(block, blocks, dy, winner, x, margins, side, scale, weight, work, dx):
    """Give every output that is alive its share of the gradients.

    Parameters
    ----------
    block, blocks : int
    dy : float32 array (N, OH, OW, F)
    winner : uint8 array (N, OH, OW, F)
    x : float32 array (N, H, W, C)
    margins, side, scale
        As in `forward`.
    weight : float32 array (F, KH, KW * C)
    work : tuple of float32 arrays
        Zeros: places for an image with its margins and for its gradient, both (blocks,
        HP, WP, C) and not used without margins; dweight (blocks, F, KH, KW * C) and
        dbias (blocks, F), to which the gradients are added, summed over a block.
    dx : float32 array (N, H, W, C)
        Filled.
    """
    images, dimages, dweights, dbiases = work
    (N, OH, OW, F), (_, _, W, C) = dy.shape, images.shape
    _, KH, run = weight.shape
    has_margins = x.shape[1:3] != images.shape[1:3]
    # For each filter, how many outputs are alive, where their patches begin, and g.
    counts = np.empty(F, np.int64)
    patches = np.empty((F, OH * OW), np.int32)
    shares = np.empty((F, OH * OW), np.float32)
    for n in range(N * block // blocks, N * (block + 1) // blocks):
        image, dimage = address(x, n), address(dx, n)
        if has_margins:
            _copy(x, n, (0, 0), images, block, margins, x.shape[1:3])
            image, dimage = address(images, block), address(dimages, block)
            dimages[block] = 0
        else:
            dx[n] = 0
        _to_image(
            dy[n], winner[n], side, scale, weight, dimage, (W, C),
            (counts, patches, shares), dbiases[block],
        )  # fmt: skip
        for f in range(F):
            for kh in range(KH):
                add_weighted_rows(
                    address(patches, f), address(shares, f), counts[f], 4 * C,
                    image + 4 * kh * W * C, address(dweights, block, f, kh), run,
                )  # fmt: skip
        if has_margins:
            _copy(dimages, block, margins, dx, n, (0, 0), x.shape[1:3])


@compiled()
def _to_image(dy, winner, side, scale, weight, dimage, shape, alive, dbias):
    """Add the gradient of the image at an address, and that of the bias.

    Of the image, ``shape`` is W and C. The arrays of ``alive`` are filled.
    """
    (OH, OW, F), (_, KH, run), (W, C) = dy.shape, weight.shape, shape
    counts, patches, shares = alive
    counts[:] = 0
    # For each cell of a window, how many filters won there, which, and their g.
    cells = side * side
    in_cell, offsets = np.empty(cells, np.int64), np.empty(cells, np.int64)
    filters, gradients = np.empty((cells, F), np.int32), np.empty((cells, F), dy.dtype)
    for cell in range(cells):
        offsets[cell] = cell // side * W + cell % side
    found = np.empty(F + 1, np.int64)
    for oh in range(uintp(OH)):
        for ow in range(uintp(OW)):
            window = side * (np.int64(oh) * W + np.int64(ow))
            in_cell[:] = 0
            count = 0
            for f in range(F):  # without a branch, which is often guessed wrongly
                found[uintp(count)] = f
                count += winner[oh, ow, uintp(f)] != DEAD
            for i in range(count):
                f = uintp(found[uintp(i)])
                g, cell = dy[oh, ow, f] * scale, uintp(winner[oh, ow, f])
                dbias[f] += g
                at = uintp(in_cell[cell])
                filters[cell, at], gradients[cell, at] = f, g
                in_cell[cell] += 1
                at = uintp(counts[f])
                patches[f, at], shares[f, at] = window + offsets[cell], g
                counts[f] += 1
            for cell in range(cells):
                for kh in range(KH if in_cell[cell] > 0 else 0):
                    add_weighted_rows(
                        address(filters, cell), address(gradients, cell),
                        in_cell[cell], 4 * KH * run, address(weight, 0, kh),
                        dimage + 4 * (window + offsets[cell] + kh * W) * C, run,
                    )  # fmt: skip


@shared
def backward_of_ink(block, blocks, dy, winner, x, margins, side, scale, work):
    """Give every pixel with ink its share of the weights' gradient.

    Parameters
    ----------
    block, blocks, dy, winner, x, margins, side, scale
        As in `backward`.
    work : tuple of float32 arrays
        Zeros: dmap (blocks, OH + 2 * (KH - 1), OW + 2 * (KW - 1), F), a place for the
        gradient of a map before pooling, with room around it; dweight (blocks, KH, KW,
        C, F) and dbias (blocks, F), to which the gradients are added.
    """
    dmaps, dweights, dbiases = work
    _, _, W, F = dmaps.shape
    _, KH, KW, C, _ = dweights.shape
    N, height, width, _ = x.shape
    top, left = margins[0] + KH - 1, margins[1] + KW - 1
    pixels = np.empty(height * width, np.int32)
    ink = np.empty(height * width, np.float32)
    for n in range(N * block // blocks, N * (block + 1) // blocks):
        dmaps[block] = 0
        corner, dmap, dbias = (KH - 1, KW - 1), dmaps[block], dbiases[block]
        _unpool(dy[n], winner[n], side, scale, dmap, corner, dbias)
        for c in range(C):
            count = 0
            for h in range(height):
                for w in range(width):
                    value = x[uintp(n), uintp(h), uintp(w), uintp(c)]
                    if value != 0:
                        pixels[uintp(count)] = (h + top) * W + w + left
                        ink[uintp(count)] = value
                        count += 1
            for kh in range(KH):
                for kw in range(KW):
                    add_weighted_rows(
                        pixels.ctypes.data, ink.ctypes.data, count, 4 * F,
                        address(dmaps, block) - 4 * (kh * W + kw) * F,
                        address(dweights, block, kh, kw, c), F,
                    )  # fmt: skip


@compiled()
def _unpool(dy, winner, side, scale, dmap, corner, dbias):
    """Send gradients to the cells that won, from a corner on, and add the bias's."""
    OH, OW, F = dy.shape
    side, one = uintp(side), uintp(1)
    top, left = uintp(corner[0]), uintp(corner[1])
    for oh in range(uintp(OH)):
        for ow in range(uintp(OW)):
            h, w = top + side * oh, left + side * ow
            if side == one:  # without a branch inside, it runs along vectors
                for f in range(uintp(F)):
                    g = dy[oh, ow, f] * scale
                    g = g if winner[oh, ow, f] != DEAD else np.float32(0)
                    dmap[h, w, f] = g
                    dbias[f] += g
                continue
            for f in range(uintp(F)):
                cell = uintp(winner[oh, ow, f])
                if cell != DEAD:
                    g = dy[oh, ow, f] * scale
                    dmap[h + (cell >> one), w + (cell & one), f] += g
                    dbias[f] += g
