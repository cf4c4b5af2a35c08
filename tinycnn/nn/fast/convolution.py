"""Convolution, ReLU, max pooling and dropout as one step.

**Forward.** An image at a time: the rows of the feature map that one row of pooling
windows needs are computed into a small buffer that stays in the cache, and only what
survives ReLU, pooling and dropout is written, with the number of the cell that won.
The large map never exists. The convolution itself is a matrix product whose left rows
are the patches, read straight from the image: in NHWC a row of a patch is one
contiguous run.

**Backward.** Pooling sends each gradient to one cell of its window, and ReLU sends none
where it was closed: behind 2×2 pooling at most a quarter of the outputs carry any
gradient. So instead of two dense products, every output that is alive adds its share (g
is its gradient, after pooling, at pixel h, w of filter f):

``dweight[kh, kw, c, f] += g * x[h + kh, w + kw, c]`` and
``dx[h + kh, w + kw, c] += g * weight[kh, kw, c, f]``

Both run along a row of a patch, KW * C contiguous numbers, with the weights laid out
filter by filter. This is exact: only terms that are zero are left out.

**Threads.** Forward: image n writes slice n. Backward: the images are cut into at most
16 blocks, whatever the number of threads; a block adds up its images in order, and the
blocks are added in order.

**Tiles.** A processor core multiplies and adds eight floats at once, if the numbers are
already in registers. So the unit of work is a tile of the product that fits into them:
6 rows by 16 columns are 12 registers of sums, which leaves 4 of the usual 16 for
operands. Each step of the inner loop loads 16 numbers of one matrix and 6 of the other
and does 96 multiply-adds, so the arithmetic and not the memory sets the pace (Goto and
van de Geijn 2008, sections 4 and 6). A compiler given plain loops does not find this
tile, hence `make_tile` spells out the instructions, as LLVM vectors that every
processor understands. Its plain twin is two lines of NumPy, in the tests.

It knows arrays, and goes by their addresses: the caller makes sure that they are
float32, contiguous and of the shapes given. It does not know layers;
`tinycnn.nn.fast.plan` does. All of it is one file because Numba, when it looks for
compiled code it kept, asks only whether the file of the kernel itself has changed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types, uintp
from numba.extending import intrinsic

from tinycnn.nn.compiled import compiled

DEAD = 255  # the winner's number where nothing passes: ReLU was closed, or dropped
BLOCKS = 16
LANES = 8
VECTORS = 2
COLUMNS = LANES * VECTORS
ROWS = 6

_FLOAT, _INT32, _INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)


def make_tile(rows: int) -> Any:
    """Return the product of ``rows`` rows and 16 columns, for use inside kernels.

    ``y[i, j] = start[i, j] + sum over s < S, k < K of a[i, s, k] * b[s * K + k, j]``

    Its arguments are all int64: addresses of the first element, strides in bytes and
    counts. ``a`` is read in S runs of K numbers: the rows of a patch of an image are
    such runs, so a convolution is this product with nothing copied.

    ================================== ==============================================
    ``a, a_row, a_run, a_step``        address; stride of i, of s, of k
    ``S, K``                           number of runs, and their length; at least 1
    ``b, b_row``                       address; stride from one k to the next
    ``start, start_row``               what the sums begin with: a bias (stride 0), or y
    ``y, y_row``                       address; stride of i
    ================================== ==============================================
    """

    @intrinsic
    def tile(  # type: ignore[no-untyped-def]
        typing_context,
        a,
        a_row,
        a_run,
        a_step,
        S,
        K,
        b,
        b_row,
        start,
        start_row,
        y,
        y_row,
    ):
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            a, a_row, a_run, a_step, S, K, b, b_row, start, start_row, y, y_row = (
                arguments
            )
            multiply_add = builder.module.declare_intrinsic(
                "llvm.fmuladd.v8f32", fnty=ir.FunctionType(_VECTOR, [_VECTOR] * 3)
            )

            def along_k(values: list[Any]) -> list[Any]:
                a, b, *sums = values
                columns = [_load_vector(builder, b, j) for j in range(VECTORS)]
                for i in range(rows):
                    place = _row(builder, a, a_row, i)
                    place = builder.inttoptr(place, _FLOAT.as_pointer())
                    number = _spread(builder, builder.load(place, align=4))
                    for j in range(VECTORS):
                        at = i * VECTORS + j
                        sums[at] = builder.call(
                            multiply_add, [number, columns[j], sums[at]]
                        )
                return [builder.add(a, a_step), builder.add(b, b_row), *sums]

            def along_runs(values: list[Any]) -> list[Any]:
                a, *rest = values
                _, *rest = _loop(builder, K, [a, *rest], along_k)
                return [builder.add(a, a_run), *rest]

            sums = [
                _load_vector(builder, _row(builder, start, start_row, i), j)
                for i in range(rows)
                for j in range(VECTORS)
            ]
            _, _, *sums = _loop(builder, S, [a, b, *sums], along_runs)
            for i in range(rows):
                for j in range(VECTORS):
                    place = _vector_at(builder, _row(builder, y, y_row, i), j)
                    builder.store(sums[i * VECTORS + j], place, align=4)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12), generate

    return tile


tile_of_6 = make_tile(ROWS)
tile_of_1 = make_tile(1)


@intrinsic
def add_multiple(typing_context, factor, x, y, count):  # type: ignore[no-untyped-def]
    """Add ``factor * x[i]`` to ``y[i]`` for i below count.

    ``factor`` is a float32, ``x`` and ``y`` are addresses of float32, count is int64.
    Compiled from a plain loop, the last ``count % 32`` numbers go one by one; patches
    are short, so here only the last ``count % 8`` do.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        factor, x, y, count = arguments
        vectors = builder.sdiv(count, ir.Constant(_INT64, LANES))
        singles = builder.srem(count, ir.Constant(_INT64, LANES))

        def add(
            kind: Any, factor: Any, bytes_: int
        ) -> Callable[[list[Any]], list[Any]]:
            def body(values: list[Any]) -> list[Any]:
                x, y = values
                into = builder.inttoptr(y, kind.as_pointer())
                number = builder.load(builder.inttoptr(x, kind.as_pointer()), align=4)
                product = builder.fmul(factor, number, flags=["contract"])
                total = builder.fadd(
                    builder.load(into, align=4), product, flags=["contract"]
                )
                builder.store(total, into, align=4)
                step = ir.Constant(_INT64, bytes_)
                return [builder.add(x, step), builder.add(y, step)]

            return body

        spread = _spread(builder, factor)
        x, y = _loop(builder, vectors, [x, y], add(_VECTOR, spread, 4 * LANES))
        _loop(builder, singles, [x, y], add(_FLOAT, factor, 4))
        return context.get_dummy_value()

    return types.void(types.float32, types.int64, types.int64, types.int64), generate


def _row(builder: Any, address: Any, stride: Any, i: int) -> Any:
    """Return the address of row i."""
    return builder.add(address, builder.mul(stride, ir.Constant(_INT64, i)))


def _vector_at(builder: Any, address: Any, j: int) -> Any:
    """Return a pointer to the j-th vector from an address."""
    address = builder.add(address, ir.Constant(_INT64, 4 * LANES * j))
    return builder.inttoptr(address, _VECTOR.as_pointer())


def _load_vector(builder: Any, address: Any, j: int) -> Any:
    """Return eight numbers that lie side by side."""
    return builder.load(_vector_at(builder, address, j), align=4)


def _spread(builder: Any, number: Any) -> Any:
    """Return a vector of one number, eight times."""
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(_INT32, 0))
    zeros = ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, nothing, zeros)


def _loop(
    builder: Any,
    count: Any,
    carried: list[Any],
    body: Callable[[list[Any]], list[Any]],
) -> list[Any]:
    """Emit ``for _ in range(count): carried = body(carried)``."""
    before = builder.block
    test, block, after = (
        builder.append_basic_block(name) for name in ("test", "loop", "after")
    )
    builder.branch(test)
    builder.position_at_end(test)
    counter = builder.phi(_INT64)
    counter.add_incoming(ir.Constant(_INT64, 0), before)
    values = []
    for first in carried:
        value = builder.phi(first.type)
        value.add_incoming(first, before)
        values.append(value)
    builder.cbranch(builder.icmp_signed("<", counter, count), block, after)
    builder.position_at_end(block)
    results = [builder.add(counter, ir.Constant(_INT64, 1)), *body(values)]
    for value, result in zip([counter, *values], results, strict=True):
        value.add_incoming(result, builder.block)
    builder.branch(test)
    builder.position_at_end(after)
    return values


@compiled(parallel=True)
def forward(  # type: ignore[no-untyped-def]
    x, weight, bias, SH, SW, KHP, KWP, SHP, SWP, survives, scale, y, winner
):
    """Convolve, add the bias, close what is negative, pool, and drop.

    Parameters
    ----------
    x : float32 array (N, H, W, C)
        Padded.
    weight : float32 array (KH, KW * C, F16)
        F16 is F rounded up to a multiple of 16, the rest zeros.
    bias : float32 array (F16,)
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
    KH, run, F16 = weight.shape
    _, OH, OW, F = y.shape
    map_columns = (OW - 1) * SWP + KWP
    flat_y, flat_winner = y.reshape(y.size), winner.reshape(y.size)
    for n in prange(N):
        rows = np.empty(KHP * map_columns * F16, np.float32)
        best, won = np.empty(F, np.float32), np.empty(F, np.int32)
        for oh in range(OH):
            for i in range(KHP):
                h = (oh * SHP + i) * SH
                image = x.ctypes.data + 4 * (np.int64(n) * H + h) * W * C
                into = rows.ctypes.data + 4 * i * map_columns * F16
                for f in range(0, F16, COLUMNS):
                    b, start = weight.ctypes.data + 4 * f, bias.ctypes.data + 4 * f
                    # The last tile of a row steps back rather than over the edge.
                    w = 0
                    while w + ROWS <= map_columns:
                        tile_of_6(
                            image + 4 * w * SW * C, 4 * SW * C, 4 * W * C, 4, KH, run,
                            b, 4 * F16, start, 0, into + 4 * (w * F16 + f), 4 * F16,
                        )  # fmt: skip
                        last = w + ROWS == map_columns
                        w = map_columns if last else min(w + ROWS, map_columns - ROWS)
                    while w < map_columns:  # fewer than 6 in all
                        tile_of_1(
                            image + 4 * w * SW * C, 4 * SW * C, 4 * W * C, 4, KH, run,
                            b, 4 * F16, start, 0, into + 4 * (w * F16 + f), 4 * F16,
                        )  # fmt: skip
                        w += 1
            for ow in range(OW):
                _largest(
                    rows, ow * SWP * F16, map_columns * F16, F16, KHP, KWP, best, won
                )
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
