"""Three micro-kernels, written as instructions for vectors of floats.

A core multiplies and adds 8 or 16 floats at once, if they are in registers. A compiler
that is given plain loops does not keep so many sums there, so these programs are
written instruction by instruction; LLVM translates them for every processor.

::

    multiply            y = a @ b               some rows of a by 2 vectors at a time
    make_transforms     y = M @ x @ M.T         M is known beforehand; for `winograd`
    add_weighted_rows   y += shares @ rows[indices]

    sum += number * vector:     a b c d e f g h    <- 8 columns
                              * n n n n n n n n    <- a number, repeated
                              + . . . . . . . .    <- a sum: stays in its register

Arguments are integers: addresses, counts, and distances in bytes. The caller makes sure
that what lies there is float32 and large enough.
"""

import functools
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from tinycnn.fast.compiled import external

# How many floats a vector of the processor has, for which code is made.
_FEATURES: Any = config.CPU_FEATURES  # type: ignore[attr-defined]
if _FEATURES is None:
    _FEATURES = llvmlite.binding.get_host_cpu_features().flatten()
LANES = 16 if "+avx512f" in _FEATURES.split(",") else 8
COLUMNS = 16  # whatever lies in rows has a multiple of it
WIDE, ROWS = 2 * LANES, 4  # of a tile

_FLOAT, _INT32, _INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_constant = functools.cache(ir.Constant)  # to write many floats as text takes long


class Value:
    """An integer or a vector in a register: the notation of the micro-kernels."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _with(self, name: str, other: "Value | float") -> "Value":
        is_vector = self.value.type == _VECTOR
        if not isinstance(other, Value):
            constant: Any = (float(other),) * LANES if is_vector else other
            other = Value(self.builder, _constant(self.value.type, constant))
        instruction = getattr(self.builder, f"f{name}" if is_vector else name)
        flags = ("contract",) if is_vector else ()  # a + b * c in one instruction
        return Value(self.builder, instruction(self.value, other.value, flags=flags))

    __add__ = functools.partialmethod(_with, "add")
    __mul__ = functools.partialmethod(_with, "mul")
    __floordiv__ = functools.partialmethod(_with, "udiv")

    def load(self, kind: Any = _VECTOR) -> "Value":
        """Return what lies at this address: a vector, or something of another kind."""
        pointer = self.builder.inttoptr(self.value, kind.as_pointer())
        return Value(self.builder, self.builder.load(pointer, align=4))

    def load_repeated(self) -> "Value":
        """Return a vector that repeats the number at this address."""
        one = self.load(ir.VectorType(_FLOAT, 1)).value
        first = ir.Constant(ir.VectorType(_INT32, LANES), None)  # 0, in every lane
        return Value(self.builder, self.builder.shuffle_vector(one, one, first))

    def store(self, vector: "Value") -> None:
        """Put a vector at this address."""
        pointer = self.builder.inttoptr(self.value, _VECTOR.as_pointer())
        self.builder.store(vector.value, pointer, align=4)


def loop(count: Value, carried: Any, body: Callable[..., Any]) -> list[Value]:
    """Write ``for _ in range(count): carried = body(*carried)``, in registers."""
    builder = count.builder
    places = [cgutils.alloca_once_value(builder, value.value) for value in carried]

    def values() -> list[Value]:
        return [Value(builder, builder.load(place)) for place in places]

    with cgutils.for_range(builder, count.value):
        for place, value in zip(places, body(*values()), strict=True):
            builder.store(value.value, place)
    return values()


def _micro_kernel(write: Callable[..., None]) -> Any:
    """Return what kernels call with integers, from a function that writes it."""
    count = write.__code__.co_argcount

    @intrinsic
    def micro_kernel(_, *numbers):
        def generate(context, builder, signature, values):
            values = cgutils.unpack_tuple(builder, values[0], count)
            write(*(Value(builder, value) for value in values))
            return context.get_dummy_value()

        return types.void(types.UniTuple(types.int64, count)), generate

    return micro_kernel


@intrinsic
def address(_, array, *index):
    """Return where ``array[index]`` begins; a slice takes longer, also to compile."""

    def generate(context, builder, signature, values):
        data = context.make_array(array)(context, builder, values[0])
        numbers = cgutils.unpack_tuple(builder, values[1], len(index))
        numbers += [ir.Constant(_INT64, 0)] * (array.ndim - len(index))
        pointer = cgutils.get_item_pointer(context, builder, array, data, numbers)
        return builder.ptrtoint(pointer, _INT64)

    return types.int64(array, types.UniTuple(types.int64, len(index))), generate


def make_tile(rows: int, columns: int) -> Any:
    """Return the product of some rows and columns, for use inside kernels.

    ``y[i, j] = sum over s < S, k < K of a[i, s, k] * b[s * K + k, j]``

    The sums fill 8 registers of the usual 16, which leaves some for operands. For every
    number and vector that it loads, it multiplies and adds several vectors: arithmetic
    and not memory sets the pace (Goto and van de Geijn 2008, sections 4 and 6). More
    rows are no faster, and the last tile of few rows would compute more of them twice.

    ``a`` is read in S runs of K numbers, ``a_run`` bytes apart, as a patch of an image
    is: a convolution is this product with nothing copied. The rows of a, b and y are
    ``a_row``, ``b_row`` and ``y_row`` bytes apart.
    """
    lanes = range(0, 4 * columns, 4 * LANES)

    def tile(a, a_row, a_run, S, K, b, b_row, y, y_row):
        def along_k(a, b, *sums):
            parts, totals = [(b + lane).load() for lane in lanes], list(sums)
            for i in range(rows):
                number = (a + a_row * i).load_repeated()
                for j, part in enumerate(parts, i * len(parts)):
                    totals[j] += number * part
            return a + 4, b + b_row, *totals

        def along_runs(a, b, *sums):
            _, *rest = loop(K, [a, b, *sums], along_k)
            return a + a_run, *rest

        zeros = [Value(a.builder, ir.Constant(_VECTOR, None))] * (rows * len(lanes))
        _, _, *sums = loop(S, [a, b, *zeros], along_runs)
        for i in range(rows):
            for lane in lanes:
                (y + y_row * i + lane).store(sums.pop(0))

    return _micro_kernel(tile)


_wide_tile, _tile = make_tile(ROWS, WIDE), make_tile(ROWS, COLUMNS)
_tile_of_1 = make_tile(1, COLUMNS)


@external
def multiply(a, a_row, a_run, S, K, M, b, b_row, columns, y, y_row):
    """Multiply M rows by whole panels of 16 columns: `make_tile`, again and again."""
    j, rows = 0, ROWS if M >= ROWS else 1
    while j < columns:
        wide, i = rows == ROWS and j + WIDE <= columns, 0
        while i < M:
            ai, bj, yi = a + i * a_row, b + 4 * j, y + i * y_row + 4 * j
            if wide:
                _wide_tile(ai, a_row, a_run, S, K, bj, b_row, yi, y_row)
            elif rows == ROWS:
                _tile(ai, a_row, a_run, S, K, bj, b_row, yi, y_row)
            else:
                _tile_of_1(ai, a_row, a_run, S, K, bj, b_row, yi, y_row)
            # The last tile steps back, not over the edge; sums are in the same order.
            i = M if i + rows == M else min(i + rows, M - rows)
        j += WIDE if wide else COLUMNS


def make_transforms(*cases: tuple[NDArray[np.floating], int]) -> Any:
    """Return ``y = matrix @ x @ matrix.T`` for the channels of a vector, for kernels.

    A case is a matrix and whether it adds, 1; kernels give its number first.
    Matrices are small and known beforehand, so there is no loop, and each product with
    0 is left out. From row to row of x it is ``x_row`` bytes, from column to column
    ``x_column``.
    """

    def product(row, values):
        first, *rest = [value * f for f, value in zip(row, values, strict=True) if f]
        return sum(rest, first)

    def transform(matrix, adds, x, x_row, x_column, y, y_row, y_column):
        half = []  # matrix @ x, by columns
        for b in range(matrix.shape[1]):
            top = x + x_column * b
            column = [(top + x_row * a).load() for a in range(matrix.shape[1])]
            half.append([product(row, column) for row in matrix])
        for i in range(len(matrix)):
            for j, row in enumerate(matrix):
                value = product(row, [column[i] for column in half])
                place = y + y_row * i + y_column * j
                place.store(value + place.load() if adds else value)

    def transforms(number, x, x_row, x_column, y, y_row, y_column):
        builder = number.builder
        for i, case in enumerate(cases):
            here = builder.icmp_signed("==", number.value, ir.Constant(_INT64, i))
            with builder.if_then(here):
                transform(*case, x, x_row, x_column, y, y_row, y_column)

    return _micro_kernel(transforms)


# Of the parts of a row, so that their sums fill at most 12 registers.
SIZES = [n for n in (192, 128, 96, 80, 64, 48, 32, 16) if n <= 12 * LANES]


@_micro_kernel
def _sum_of_rows(indices, shares, count, stride, rows, y, length):
    """Write the instructions of `add_weighted_rows`."""
    builder = y.builder

    def add_part(rows, y):
        def add_row(indices, shares, *sums):
            index = Value(builder, builder.sext(indices.load(_INT32).value, _INT64))
            row, share, totals = rows + index * stride, shares.load_repeated(), []
            for offset, s in zip(offsets, sums, strict=True):
                totals.append(s + share * (row + offset).load())
            return indices + 4, shares + 4, *totals

        sums = [(y + offset).load() for offset in offsets]
        _, _, *sums = loop(count, [indices, shares, *sums], add_row)
        for offset, total in zip(offsets, sums, strict=True):
            (y + offset).store(total)
        return rows + 4 * size, y + 4 * size

    for size in SIZES:
        offsets = range(0, 4 * size, 4 * LANES)
        parts = length // size
        rows, y = loop(parts, [rows, y], add_part)
        length = length + parts * -size


@external
def add_weighted_rows(indices, shares, count, stride, rows, y, length):
    """Add a weighted sum of rows; their length is a multiple of 16.

    ``y[j] += sum over i < count of shares[i] * rows[indices[i], j]``

    Sums stay in registers until all rows are in. Indices are int32, rows ``stride``
    bytes apart.
    """
    _sum_of_rows(indices, shares, count, stride, rows, y, length)
