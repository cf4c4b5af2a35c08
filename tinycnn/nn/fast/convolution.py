"""Convolution, ReLU, max pooling and dropout as one step.

**Forward.** An image at a time: the rows of the feature map that one row of pooling
windows needs are computed into a small buffer that stays in the cache, and only what
survives ReLU, pooling and dropout is written, with the number of the cell that won.
The large map never exists. The convolution itself is a matrix product whose left rows
are the patches, read straight from the image: in NHWC a row of a patch is one
contiguous run (`tinycnn.nn.fast.tile`).

**Backward.** Pooling sends each gradient to one cell of its window, and ReLU sends none
where it was closed; on MNIST 4 to 7 % of the outputs of a convolution with 2×2 pooling
carry any gradient. So instead of two dense products, every output that is alive adds
its share (g is its gradient, after pooling, at pixel h, w of filter f):

``dweight[kh, kw, c, f] += g * x[h + kh, w + kw, c]`` and
``dx[h + kh, w + kw, c] += g * weight[kh, kw, c, f]``

Both run along a row of a patch, KW * C contiguous numbers, with the weights laid out
filter by filter. This is exact: only terms that are zero are left out.

**Threads.** Forward: image n writes slice n. Backward: the images are cut into at most
16 blocks, whatever the number of threads; a block adds up its images in order, and the
blocks are added in order.

It knows arrays, and goes by their addresses: the caller makes sure that they are
float32, contiguous and of the shapes given. It does not know layers;
`tinycnn.nn.fast.plan` does.
"""

import numpy as np
from numba import prange, uintp

from tinycnn.nn.compiled import compiled
from tinycnn.nn.fast.tile import (
    COLUMNS,
    ROWS,
    add_multiple,
    tile_of_1,
    tile_of_6,
)

DEAD = 255  # the winner's number where nothing passes: ReLU was closed, or dropped
BLOCKS = 16


@compiled(parallel=True)
def forward(  # type: ignore[no-untyped-def]
    x, weight, bias, SH, SW, KHP, KWP, SHP, SWP, survives, scale, y, winner
):
    """Convolve, add the bias, close what is negative, pool, and drop.

    Parameters
    ----------
    x : float32 array (N, H, W, C)
        Padded.
    weight : float32 array (KH, KW * C, F')
        F' is F rounded up to a multiple of 16, the rest zeros.
    bias : float32 array (F',)
    SH, SW : int
        Stride of the convolution.
    KHP, KWP, SHP, SWP : int
        Window and stride of the pooling; all 1 if there is none.
    survives : bool array (N * OH * OW * F,), or (0,) if there is no dropout
    scale : float32
        What dropout multiplies the survivors by; 1 if there is none.
    y : float32 array (N, OH, OW, F)
        Filled; OH and OW after pooling.
    winner : uint8 array (N, OH, OW, F)
        Filled with ``kh * KWP + kw`` of the cell that won, or DEAD.
    """
    N, H, W, C = x.shape
    KH, run, FP = weight.shape
    _, OH, OW, F = y.shape
    columns = (OW - 1) * SWP + KWP
    flat_y, flat_winner = y.reshape(y.size), winner.reshape(y.size)
    for n in prange(N):
        rows = np.empty(KHP * columns * FP, np.float32)
        best, won = np.empty(F, np.float32), np.empty(F, np.int32)
        for oh in range(OH):
            for i in range(KHP):
                h = (oh * SHP + i) * SH
                image = x.ctypes.data + 4 * (np.int64(n) * H + h) * W * C
                into = rows.ctypes.data + 4 * i * columns * FP
                for f in range(0, FP, COLUMNS):
                    b, start = weight.ctypes.data + 4 * f, bias.ctypes.data + 4 * f
                    # The last tile of a row steps back rather than over the edge.
                    w = 0
                    while w + ROWS <= columns:
                        tile_of_6(
                            image + 4 * w * SW * C, 4 * SW * C, 4 * W * C, 4, KH, run,
                            b, 4 * FP, start, 0, into + 4 * (w * FP + f), 4 * FP,
                        )  # fmt: skip
                        last = w + ROWS == columns
                        w = columns if last else min(w + ROWS, columns - ROWS)
                    while w < columns:  # fewer than 6 columns in all
                        tile_of_1(
                            image + 4 * w * SW * C, 4 * SW * C, 4 * W * C, 4, KH, run,
                            b, 4 * FP, start, 0, into + 4 * (w * FP + f), 4 * FP,
                        )  # fmt: skip
                        w += 1
            for ow in range(OW):
                _largest(rows, ow * SWP * FP, columns * FP, FP, KHP, KWP, best, won)
                at = uintp(((np.int64(n) * OH + oh) * OW + ow) * F)
                for f in range(uintp(F)):
                    closed = best[f] <= 0
                    if survives.size > 0:  # NaN is not hidden, not even by dropout
                        closed |= (not survives[at + f]) & (best[f] == best[f])
                    flat_y[at + f] = np.float32(0) if closed else best[f] * scale
                    flat_winner[at + f] = np.uint8(DEAD) if closed else np.uint8(won[f])


@compiled()
def _largest(rows, first, row, column, KHP, KWP, best, won):  # type: ignore[no-untyped-def]
    """Fill ``best`` and ``won`` with the largest of a window and its cell's number.

    A tie goes to the first cell; NaN wins. ``first``, ``row`` and ``column`` say where
    the window's first number lies in ``rows``, and how far the next row and column are.
    """
    # Unsigned indices cannot count from the end, which lets the compiler use vectors.
    for f in range(uintp(len(best))):
        best[f] = rows[uintp(first) + f]
        won[f] = 0
    for i in range(KHP):
        for j in range(KWP):
            at = uintp(first + i * row + j * column)
            cell = np.int32(i * KWP + j)
            for f in range(uintp(len(best))):
                value = rows[at + f]
                wins = (value > best[f]) | (value != value)
                best[f] = value if wins else best[f]
                won[f] = cell if wins else won[f]


@compiled(parallel=True)
def backward(  # type: ignore[no-untyped-def]
    dy, winner, x, SH, SW, KWP, SHP, SWP, scale, weight, dweight, dbias, dx
):
    """Give every output that is alive its share of the gradients.

    Parameters
    ----------
    dy : float32 array (N, OH, OW, F)
    winner : uint8 array (N, OH, OW, F)
    x : float32 array (N, H, W, C)
        Padded.
    SH, SW, KWP, SHP, SWP, scale
        As in `forward`.
    weight : float32 array (F, KH, KW * C)
    dweight : float32 array (blocks, F, KH, KW * C)
    dbias : float32 array (blocks, F)
        Filled with the sums over each block of images.
    dx : float32 array (N, H, W, C)
        Filled.
    """
    N, H, W, C = x.shape
    _, OH, OW, F = dy.shape
    _, KH, run = weight.shape
    blocks = len(dweight)
    for block in prange(blocks):
        dweight[block] = 0
        dbias[block] = 0
        dweights = dweight.ctypes.data + 4 * np.int64(block) * weight.size
        for n in range(N * block // blocks, N * (block + 1) // blocks):
            dx[n] = 0
            for oh in range(OH):
                for ow in range(OW):
                    for f in range(F):
                        cell = np.int64(winner[n, oh, ow, f])
                        g = dy[n, oh, ow, f] * scale
                        if cell == DEAD or g == 0:
                            continue
                        dbias[block, f] += g
                        h = (oh * SHP + cell // KWP) * SH
                        w = (ow * SWP + cell % KWP) * SW
                        for kh in range(KH):
                            patch = 4 * ((n * H + h + kh) * W + w) * C
                            kernel = 4 * (f * KH + kh) * run
                            add_multiple(
                                g, x.ctypes.data + patch, dweights + kernel, run
                            )
                            add_multiple(
                                g,
                                weight.ctypes.data + kernel,
                                dx.ctypes.data + patch,
                                run,
                            )
