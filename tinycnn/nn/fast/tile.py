"""A small matrix product held in registers: the one place that speaks of vectors.

A processor core multiplies and adds eight floats at once, if the numbers are already in
registers. So the unit of work here is a tile of the product that fits into them: 6 rows
by 16 columns are 12 registers of sums, which leaves 4 of the usual 16 for operands.
Each step of the inner loop loads 16 numbers of ``b`` and 6 of ``a`` and does 96
multiply-adds, so the arithmetic and not the memory sets the pace. (Goto and van de
Geijn 2008, sections 4 and 6.)

A compiler given plain loops does not find this tile, hence the instructions are spelt
out, as LLVM vectors that every processor understands. The plain twin is two lines of
NumPy, in the tests. This file knows addresses and strides; it does not know what they
belong to, and it checks nothing: callers prove that all of a tile lies in their arrays.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

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
