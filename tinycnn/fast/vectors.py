"""Three micro-kernels, written as instructions for vectors of eight floats.

A processor core multiplies and adds eight floats at once, if the numbers are already in
registers. A compiler that is given plain loops does not keep twelve sums in registers,
so these programs are written instruction by instruction; LLVM translates them for every
processor. Everything else in this folder is loops.

::

    multiply            y = a @ b               6 rows of a by 16 columns at a time
    make_transform      y = M @ x @ M.T         M is known beforehand; for `winograd`
    add_weighted_rows   y += shares @ rows[indices]

    sum += number * vector:     a b c d e f g h    <- 8 columns
                              * n n n n n n n n    <- a number, repeated
                              + . . . . . . . .    <- a sum: stays in its register

The plain twins are a line of NumPy each, in the tests. `Code` is the notation: ``+``,
``-`` and ``*`` of addresses and of vectors, `load`, `store`, and a `loop` whose carried
values stay in registers.

Kernels go by addresses: the caller makes sure that what lies there is float32 and large
enough.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tinycnn.fast.compiled import compiled

LANES = 8
COLUMNS = 2 * LANES
ROWS = 6
VECTOR_BYTES = 4 * LANES

_FLOAT, _INT32, _INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)


class Value:
    """A number, an address or a vector in a register, with its arithmetic."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _with(self, floats: str, integers: str, other: "Value | int") -> "Value":
        if isinstance(other, int):
            other = Value(self.builder, ir.Constant(_INT64, other))
        name = integers if self.value.type == _INT64 else floats
        result = getattr(self.builder, name)(self.value, other.value)
        return Value(self.builder, result)

    def __add__(self, other: "Value | int") -> "Value":
        return self._with("fadd", "add", other)

    def __sub__(self, other: "Value | int") -> "Value":
        return self._with("fsub", "sub", other)

    def __mul__(self, other: "Value | int") -> "Value":
        return self._with("fmul", "mul", other)

    def __floordiv__(self, other: "Value | int") -> "Value":
        return self._with("fdiv", "udiv", other)

    def __mod__(self, other: "Value | int") -> "Value":
        return self._with("frem", "urem", other)


class Code:
    """The instructions of a micro-kernel, in the order in which they are written.

    With 8 lanes its numbers are vectors, with 1 they are single floats.
    """

    def __init__(self, builder: Any, lanes: int) -> None:
        self.builder, self.kind = builder, _VECTOR if lanes > 1 else _FLOAT

    def with_lanes(self, lanes: int) -> "Code":
        """Return the same code, with numbers of another kind."""
        return Code(self.builder, lanes)

    def load(self, address: Value, kind: Any = None) -> Value:
        """Return what lies at an address: a vector, or a number of another kind."""
        pointer = self.builder.inttoptr(address.value, (kind or self.kind).as_pointer())
        return Value(self.builder, self.builder.load(pointer, align=4))

    def store(self, value: Value, address: Value) -> None:
        """Put a vector at an address."""
        pointer = self.builder.inttoptr(address.value, self.kind.as_pointer())
        self.builder.store(value.value, pointer, align=4)

    def load_index(self, address: Value) -> Value:
        """Return the int32 at an address as an int64."""
        index = self.load(address, _INT32).value
        return Value(self.builder, self.builder.sext(index, _INT64))

    def load_repeated(self, address: Value) -> Value:
        """Return a vector of eight times the number at an address."""
        number = self.load(address, _FLOAT)
        if self.kind == _FLOAT:
            return number
        nothing, lane = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(_INT32, 0)
        first = self.builder.insert_element(nothing, number.value, lane)
        lanes = ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES)
        return Value(self.builder, self.builder.shuffle_vector(first, nothing, lanes))

    def constant(self, number: float) -> Value:
        """Return a vector of eight times a number that is known beforehand."""
        return Value(self.builder, ir.Constant(_VECTOR, [float(number)] * LANES))

    def multiply_add(self, a: Value, b: Value, total: Value) -> Value:
        """Return ``a * b + total``, as one instruction where the processor has it."""
        name = f"llvm.fmuladd.{'v8f32' if self.kind == _VECTOR else 'f32'}"
        kind = ir.FunctionType(self.kind, [self.kind] * 3)
        function = self.builder.module.declare_intrinsic(name, fnty=kind)
        operands = [a.value, b.value, total.value]
        return Value(self.builder, self.builder.call(function, operands))

    def loop(
        self, count: Value, carried: list[Value], body: Callable[..., list[Value]]
    ) -> list[Value]:
        """Emit ``for _ in range(count): carried = body(*carried)``."""
        builder, before = self.builder, self.builder.block
        test, block, after = map(builder.append_basic_block, ("test", "loop", "after"))
        builder.branch(test)
        builder.position_at_end(test)
        first = [ir.Constant(_INT64, 0), *(value.value for value in carried)]
        values = [builder.phi(value.type) for value in first]
        for phi, value in zip(values, first, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", values[0], count.value), block, after)
        builder.position_at_end(block)
        counter, *rest = (Value(builder, phi) for phi in values)
        for phi, value in zip(values, [counter + 1, *body(*rest)], strict=True):
            phi.add_incoming(value.value, builder.block)
        builder.branch(test)
        builder.position_at_end(after)
        return rest


def _micro_kernel(write: Callable[..., None]) -> Any:
    """Return what kernels call with int64s: the instructions that a function writes."""
    _, *names = inspect.signature(write).parameters

    def typed(_: Any, *__: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            write(Code(builder, LANES), *(Value(builder, value) for value in values))
            return context.get_dummy_value()

        return types.void(*[types.int64] * len(names)), generate

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(n, kind) for n in ("typing_context", *names)]
    typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return intrinsic(typed)


@compiled()
def address(array, *index):
    """Return the address of ``array[index]``: of a number, or of where a part begins.

    As slices do, but a slice takes longer to make inside a loop.
    """
    at = np.int64(array.ctypes.data)
    for axis in range(len(index)):
        at += index[axis] * array.strides[axis]
    return at


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

    def tile(code, a, a_row, a_run, S, K, b, y, y_row):
        def along_k(a, b, *sums):
            left, right = code.load(b), code.load(b + VECTOR_BYTES)
            totals = []
            for i in range(rows):
                number = code.load_repeated(a + a_row * i)
                totals.append(code.multiply_add(number, left, sums[2 * i]))
                totals.append(code.multiply_add(number, right, sums[2 * i + 1]))
            return a + 4, b + 4 * COLUMNS, *totals

        def along_runs(a, b, *sums):
            _, *rest = code.loop(K, [a, b, *sums], along_k)
            return a + a_run, *rest

        sums = [code.constant(0)] * (2 * rows)
        _, _, *sums = code.loop(S, [a, b, *sums], along_runs)
        for i in range(rows):
            code.store(sums[2 * i], y + y_row * i)
            code.store(sums[2 * i + 1], y + y_row * i + VECTOR_BYTES)

    return _micro_kernel(tile)


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

    def transform(code, x, x_row, x_column, y, y_row, y_column):
        def product(row, values):
            total = None
            for factor, value in zip(row, values, strict=True):
                if factor and total is None:
                    total = value if factor == 1 else code.constant(factor) * value
                elif factor in (1, -1):
                    total = total + value if factor == 1 else total - value
                elif factor:
                    total = code.multiply_add(code.constant(factor), value, total)
            return total

        half = []  # matrix @ x, by columns
        for b in range(size):
            column = [code.load(x + x_column * b + x_row * a) for a in range(size)]
            half.append([product(row, column) for row in matrix])
        for i in range(out):
            for j, row in enumerate(matrix):
                value = product(row, [half[b][i] for b in range(size)])
                code.store(value, y + y_row * i + y_column * j)

    return _micro_kernel(transform)


def _write_weighted_rows(code, indices, shares, count, stride, rows, y, length):
    """Write the instructions of `add_weighted_rows`."""
    for size in (96, 80, 48, 32, 16, 8, 1):
        lanes = LANES if size >= LANES else 1
        part = code.with_lanes(lanes)
        offsets = [4 * j for j in range(0, size, lanes)]

        def add_part(rows, y, part=part, offsets=offsets, size=size):
            def add_row(indices, shares, *sums):
                row = rows + code.load_index(indices) * stride
                share = part.load_repeated(shares)
                totals = [
                    part.multiply_add(share, part.load(row + offset), total)
                    for offset, total in zip(offsets, sums, strict=True)
                ]
                return indices + 4, shares + 4, *totals

            sums = [part.load(y + offset) for offset in offsets]
            _, _, *sums = code.loop(count, [indices, shares, *sums], add_row)
            for offset, total in zip(offsets, sums, strict=True):
                part.store(total, y + offset)
            return rows + 4 * size, y + 4 * size

        rows, y = code.loop(length // size, [rows, y], add_part)
        length = length % size


_add_weighted_rows = _micro_kernel(_write_weighted_rows)


@compiled()
def add_weighted_rows(indices, shares, count, stride, rows, y, length):
    """Add a weighted sum of rows of any length.

    ``y[j] += sum over i < count of shares[i] * rows[indices[i], j]``

    A row is taken in as few parts as possible, of up to 96 numbers. The sums of a part
    stay in registers until all rows are in; with one or two, each addition would have
    to wait for the one before.

    All arguments are int64: addresses of the indices (int32) and of the shares
    (float32), the count, the bytes from row to row, addresses of the rows and of y,
    and the length of a row.
    """
    _add_weighted_rows(indices, shares, count, stride, rows, y, length)
