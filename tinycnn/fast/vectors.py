"""Four micro-kernels, spelled out in vectors of eight floats.

A processor core multiplies and adds eight floats at once, if the numbers are already in
registers. A compiler that is given plain loops does not find these programs, so each is
written as the instructions themselves, in LLVM's language, which it translates for
every processor: one whose vectors are shorter takes two for one of ours.

======================== ====================================== =====================
`make_tile`              a small matrix product                 `multiply`
`make_transform`         ``matrix @ x @ matrix.T``              `winograd.convolve`
`make_pool`              the largest of a window, if it lives   `pool_channels`
`make_weighted_sum`      a sum of few rows out of many          `add_weighted_rows`
======================== ====================================== =====================

The right column names the user. The plain twins are a line of NumPy each, in the
tests.

Kernels go by addresses: the caller makes sure that what lies there is float32 and large
enough.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tinycnn.fast.compiled import compiled

LANES = 8
VECTORS = 2
COLUMNS = LANES * VECTORS
ROWS = 6
DEAD = 255  # the winner where nothing passes: ReLU was closed, or dropped

_FLOAT = ir.FloatType()
_INT8, _INT32, _INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)


def make_tile(rows: int) -> Any:
    """Return the product of ``rows`` rows and 16 columns, for use inside kernels.

    ``y[i, j] = sum over s < S, k < K of a[i, s, k] * b[s * K + k, j]``

    6 rows by 16 columns are 12 registers of sums, which leaves 4 of the usual 16 for
    operands. Each step of the inner loop loads 16 numbers of one matrix and 6 of the
    other and does 96 multiply-adds, so the arithmetic and not the memory sets the pace
    (Goto and van de Geijn 2008, sections 4 and 6).

    Its arguments are all int64: addresses of the first element, strides in bytes and
    counts. ``a`` is read in S runs of K numbers: the rows of a patch of an image are
    such runs, so a convolution is this product with nothing copied.

    ================================== ==============================================
    ``a, a_row, a_run``                address; stride of i, of s
    ``S, K``                           number of runs, and their length; at least 1
    ``b``                              address; 16 numbers, then those of the next k
    ``y, y_row``                       address; stride of i
    ================================== ==============================================
    """

    @intrinsic
    def tile(typing_context, a, a_row, a_run, S, K, b, y, y_row):
        def generate(context, builder, signature, arguments):
            a, a_row, a_run, S, K, b, y, y_row = arguments

            def along_k(values: list[Any]) -> list[Any]:
                a, b, *sums = values
                columns = [_load(builder, b, j) for j in range(VECTORS)]
                for i in range(rows):
                    number = _load(builder, _row(builder, a, a_row, i), kind=_FLOAT)
                    number = _spread(builder, number, _VECTOR)
                    for j in range(VECTORS):
                        at = i * VECTORS + j
                        sums[at] = _add_product(builder, number, columns[j], sums[at])
                b = builder.add(b, _bytes(4 * COLUMNS))
                return [builder.add(a, _bytes(4)), b, *sums]

            def along_runs(values: list[Any]) -> list[Any]:
                a, *rest = values
                _, *rest = _loop(builder, K, [a, *rest], along_k)
                return [builder.add(a, a_run), *rest]

            sums = [ir.Constant(_VECTOR, [0.0] * LANES)] * (rows * VECTORS)
            _, _, *sums = _loop(builder, S, [a, b, *sums], along_runs)
            for i in range(rows):
                for j in range(VECTORS):
                    number = sums[i * VECTORS + j]
                    _store(builder, number, _row(builder, y, y_row, i), j)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), generate

    return tile


_tile_of_6, _tile_of_4, _tile_of_1 = make_tile(ROWS), make_tile(4), make_tile(1)


@compiled()
def multiply(a, a_row, a_run, M, S, K, b, y, y_row):
    """Multiply M rows by 16 columns: `make_tile`, as often as it takes.

    ``b`` is (S * K, 16), contiguous. A matrix of more columns is cut into such panels
    beforehand: then a panel is read from beginning to end.
    """
    i = 0
    while i < M:
        ai, yi = a + i * a_row, y + i * y_row
        if M >= ROWS:
            _tile_of_6(ai, a_row, a_run, S, K, b, yi, y_row)
            rows = ROWS
        elif M >= 4:
            _tile_of_4(ai, a_row, a_run, S, K, b, yi, y_row)
            rows = 4
        else:
            _tile_of_1(ai, a_row, a_run, S, K, b, yi, y_row)
            rows = 1
        # The last tile steps back rather than over the edge.
        i = M if i + rows == M else min(i + rows, M - rows)


def make_transform(matrix: NDArray[np.floating]) -> Any:
    """Return ``y = matrix @ x @ matrix.T`` for eight channels, for use inside kernels.

    The matrix is small and known beforehand, so there is no loop: each product with 0
    is left out, and each with 1 is no product.

    Parameters
    ----------
    matrix : float array (out, size)

    Returns
    -------
    intrinsic
        Its arguments are int64: the address of x (size, size, 8), its strides in bytes
        from row to row and from column to column; the same of y (out, out, 8).
    """
    out, size = matrix.shape

    @intrinsic
    def transform(typing_context, x, x_row, x_column, y, y_row, y_column):
        def generate(context, builder, signature, arguments):
            x, x_row, x_column, y, y_row, y_column = arguments

            def along(values: list[Any], i: int) -> Any:
                total = None
                for factor, value in zip(matrix[i], values, strict=True):
                    if factor == 0:
                        continue
                    if total is None:
                        total = _multiple(builder, factor, value)
                    elif factor in (1, -1):
                        add = builder.fadd if factor == 1 else builder.fsub
                        total = add(total, value)
                    else:
                        constant = ir.Constant(_VECTOR, [float(factor)] * LANES)
                        total = _add_product(builder, constant, value, total)
                return total

            half = []  # matrix @ x, by columns
            for b in range(size):
                column = _row(builder, x, x_column, b)
                values = [
                    _load(builder, _row(builder, column, x_row, a)) for a in range(size)
                ]
                half.append([along(values, i) for i in range(out)])
            for i in range(out):
                row = _row(builder, y, y_row, i)
                for j in range(out):
                    value = along([half[b][i] for b in range(size)], j)
                    _store(builder, value, _row(builder, row, y_column, j))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return transform


def make_pool(lanes: int, *, drop: bool, side: int = 0) -> Any:
    """Return what max pooling, bias, ReLU and dropout leave of 8 channels, or of 1.

    ``largest = bias + max over i < KHP, j < KWP of x[i, j]``; y is ``scale * largest``
    and the winner the number ``i * KWP + j`` of its cell, or y is 0 and the winner 255
    where the largest is not positive, or was dropped. A tie goes to the first cell; NaN
    wins, and is not hidden, not even by dropout.

    Parameters
    ----------
    lanes : int
        8 or 1.
    drop : bool
        Whether there may be dropout.
    side : int
        Of a square window that is known beforehand. It stands there cell by cell: to
        go round in a loop takes longer than to look at a cell. 0 is any window.

    Returns
    -------
    intrinsic
        Its arguments are int64, if nothing else is said: the address of x, its strides
        in bytes from row to row and from column to column, KHP, KWP; the address of the
        bias, that of the mask of dropout (a byte a channel, 0 where it drops); whether
        there is dropout (uint32, 1 or 0) and its scale (float32); the addresses of y
        and of the winner.
    """
    kind = _VECTOR if lanes > 1 else _FLOAT
    whole = ir.VectorType(_INT32, lanes) if lanes > 1 else _INT32
    byte = ir.VectorType(_INT8, lanes) if lanes > 1 else _INT8

    def constant(value: int) -> Any:
        return ir.Constant(whole, [value] * lanes if lanes > 1 else value)

    @intrinsic
    def pool(
        typing_context,
        x,
        x_row,
        x_column,
        KHP,
        KWP,
        bias,
        mask,
        drops,
        scale,
        y,
        winner,
    ):
        def generate(context, builder, signature, arguments):
            x, x_row, x_column, KHP, KWP, bias = arguments[:6]
            mask, drops, scale, y, winner = arguments[6:]

            def along_row(values: list[Any]) -> list[Any]:
                x, cell, best, won = values
                value = _load(builder, x, kind=kind)
                wins = builder.or_(
                    builder.fcmp_ordered(">", value, best),
                    builder.fcmp_unordered("uno", value, value),
                )
                return [
                    builder.add(x, x_column),
                    builder.add(cell, constant(1)),
                    builder.select(wins, value, best),
                    builder.select(wins, cell, won),
                ]

            def along_rows(values: list[Any]) -> list[Any]:
                x, *rest = values
                _, *rest = _loop(builder, KWP, [x, *rest], along_row)
                return [builder.add(x, x_row), *rest]

            KHP, KWP = (side, side) if side else (KHP, KWP)
            none = ir.Constant(kind, [-np.inf] * lanes if lanes > 1 else -np.inf)
            _, _, best, won = _loop(
                builder, KHP, [x, constant(0), none, constant(0)], along_rows
            )
            best = builder.fadd(best, _load(builder, bias, kind=kind))
            nothing = ir.Constant(kind, [0.0] * lanes if lanes > 1 else 0.0)
            closed = builder.fcmp_ordered("<=", best, nothing)
            if drop:
                place = builder.inttoptr(mask, byte.as_pointer())
                bits = builder.zext(builder.load(place, align=1), whole)
                dropped = builder.icmp_unsigned(
                    "<", bits, _spread(builder, drops, whole)
                )
                a_number = builder.fcmp_ordered("ord", best, best)
                closed = builder.or_(closed, builder.and_(dropped, a_number))
                best = builder.fmul(best, _spread(builder, scale, kind))
            _store(builder, builder.select(closed, nothing, best), y)
            won = builder.select(closed, constant(DEAD), won)
            place = builder.inttoptr(winner, byte.as_pointer())
            builder.store(builder.trunc(won, byte), place, align=1)
            return context.get_dummy_value()

        kinds = [types.int64] * 7 + [types.uint32, types.float32] + [types.int64] * 2
        return types.void(*kinds), generate

    return pool


_pool_1x1 = make_pool(LANES, drop=False, side=1)
_pool_2x2 = make_pool(LANES, drop=False, side=2)
_pool_2x2_and_drop = make_pool(LANES, drop=True, side=2)
_pool_any = make_pool(LANES, drop=True)
_pool_one_channel = make_pool(1, drop=True)


@compiled()
def pool_channels(x, x_row, x_column, KHP, KWP, bias, mask, drops, scale, y, winner, F):
    """Pool a window of F channels: see `make_pool`."""
    side = KHP if KHP == KWP else 0
    f = 0
    while f < F:
        arguments = (
            x + 4 * f, x_row, x_column, KHP, KWP, bias + 4 * f,
            mask + f, drops, scale, y + 4 * f, winner + f,
        )  # fmt: skip
        if f + LANES > F:
            _pool_one_channel(*arguments)
            f += 1
            continue
        if side == 1 and drops == 0:
            _pool_1x1(*arguments)
        elif side == 2 and drops == 0:
            _pool_2x2(*arguments)
        elif side == 2:
            _pool_2x2_and_drop(*arguments)
        else:
            _pool_any(*arguments)
        f += LANES


def make_weighted_sum(vectors: int) -> Any:
    """Return a sum of rows of ``8 * vectors`` floats, or of one for 0.

    ``y[j] += sum over i < count of shares[i] * rows[places[i], j]``

    The sums stay in registers until all rows are in.

    Returns
    -------
    intrinsic
        Its arguments are int64: addresses of the places (int32) and of the shares
        (float32), the count, what a place is in bytes, addresses of the rows and of y.
    """
    kind, size = (_VECTOR, vectors) if vectors else (_FLOAT, 1)

    @intrinsic
    def weighted_sum(typing_context, places, shares, count, stride, rows, y):
        def generate(context, builder, signature, arguments):
            places, shares, count, stride, rows, y = arguments

            def body(values: list[Any]) -> list[Any]:
                places, shares, *sums = values
                place = _load(builder, places, kind=_INT32)
                place = builder.mul(builder.sext(place, _INT64), stride)
                row = builder.add(rows, place)
                share = _spread(builder, _load(builder, shares, kind=_FLOAT), kind)
                sums = [
                    _add_product(builder, share, _load(builder, row, j, kind), total)
                    for j, total in enumerate(sums)
                ]
                return [
                    builder.add(places, _bytes(4)),
                    builder.add(shares, _bytes(4)),
                    *sums,
                ]

            sums = [_load(builder, y, j, kind) for j in range(size)]
            _, _, *sums = _loop(builder, count, [places, shares, *sums], body)
            for j, total in enumerate(sums):
                _store(builder, total, y, j)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return weighted_sum


_sum_of_96, _sum_of_80, _sum_of_48, _sum_of_32, _sum_of_16, _sum_of_8, _sum_of_1 = (
    make_weighted_sum(vectors) for vectors in (12, 10, 6, 4, 2, 1, 0)
)


@compiled()
def add_weighted_rows(places, shares, count, stride, rows, y, length):
    """Add the weighted sum of ``count`` rows of any length: see `make_weighted_sum`.

    A row is taken in as few parts as possible: with one or two sums, each addition
    would have to wait for the one before.
    """
    while length > 0:
        if length >= 96:
            size = 96
            _sum_of_96(places, shares, count, stride, rows, y)
        elif length >= 80:
            size = 80
            _sum_of_80(places, shares, count, stride, rows, y)
        elif length >= 48:
            size = 48
            _sum_of_48(places, shares, count, stride, rows, y)
        elif length >= 32:
            size = 32
            _sum_of_32(places, shares, count, stride, rows, y)
        elif length >= 16:
            size = 16
            _sum_of_16(places, shares, count, stride, rows, y)
        elif length >= 8:
            size = 8
            _sum_of_8(places, shares, count, stride, rows, y)
        else:
            size = 1
            _sum_of_1(places, shares, count, stride, rows, y)
        rows += 4 * size
        y += 4 * size
        length -= size


def _bytes(count: int) -> Any:
    return ir.Constant(_INT64, count)


def _row(builder: Any, address: Any, stride: Any, i: int) -> Any:
    """Return the address of row i."""
    return builder.add(address, builder.mul(stride, _bytes(i)))


def _pointer(builder: Any, address: Any, j: int, kind: Any) -> Any:
    """Return a pointer to the j-th vector, or number, from an address."""
    size = 4 * LANES if kind == _VECTOR else 4
    return builder.inttoptr(builder.add(address, _bytes(j * size)), kind.as_pointer())


def _load(builder: Any, address: Any, j: int = 0, kind: Any = _VECTOR) -> Any:
    """Return the j-th vector, or number, from an address."""
    return builder.load(_pointer(builder, address, j, kind), align=4)


def _store(builder: Any, value: Any, address: Any, j: int = 0) -> None:
    """Put a vector, or a number, at the j-th place from an address."""
    builder.store(value, _pointer(builder, address, j, value.type), align=4)


def _spread(builder: Any, number: Any, kind: Any) -> Any:
    """Return a vector of one number, or the number itself, if that is the kind."""
    if number.type == kind:
        return number
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(_INT32, 0))
    zeros = ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, nothing, zeros)


def _multiple(builder: Any, factor: float, value: Any) -> Any:
    """Return ``factor * value``."""
    if factor == 1:
        return value
    return builder.fmul(ir.Constant(_VECTOR, [float(factor)] * LANES), value)


def _add_product(builder: Any, a: Any, b: Any, total: Any) -> Any:
    """Return ``a * b + total``, as one instruction where the processor has it."""
    name = "llvm.fmuladd.v8f32" if total.type == _VECTOR else "llvm.fmuladd.f32"
    kind = ir.FunctionType(total.type, [total.type] * 3)
    return builder.call(
        builder.module.declare_intrinsic(name, fnty=kind), [a, b, total]
    )


def _loop(
    builder: Any,
    count: Any,
    carried: list[Any],
    body: Callable[[list[Any]], list[Any]],
) -> list[Any]:
    """Emit ``for _ in range(count): carried = body(carried)``.

    If the count is known, which is an int of Python, the body stands there as often.
    """
    if isinstance(count, int):
        for _ in range(count):
            carried = body(carried)
        return carried
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
