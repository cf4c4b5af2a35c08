"""No kernel touches a number that is in no array.

The kernels go by addresses and check nothing. Here pages that must not be touched lie
around all arrays that a step makes; and the kernels run as plain Python, in which NumPy
checks the indices, with twins of the micro-kernels that look up whose array an address
is in. A rim round the operands of each micro-kernel is in `test_vectors`.
"""

import ctypes
import mmap
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import test_dense
from pairs import Case, norm_pair, python, rounding, whole_numbers

from tinycnn.fast import convolution, dense, normalization, winograd
from tinycnn.fast.adam import adam
from tinycnn.fast.compiled import BLOCK, Kernel
from tinycnn.fast.vectors import LANES

# What touches the first and the last numbers of every array.
TIGHT = [
    Case(2, 3, 16, (4, 7), (3, 5), pool=True, rate=0.5),
    Case(17, 2, 32, (5, 5), (7, 5), rate=0.5),
    Case(3, 1, 48, (6, 13), (1, 1), pool=True),
    Case(2, 4, 16, (3, 12), (2, 4), "same"),
    Case(1, 1, 16, (1, 1), (1, 1)),
    Case(17, 1, 16, (1, 1), (1, 1)),
    Case(2, 2, 32, (6, 5), (5, 4), padding="same", pool=True),
    Case(2, 7, 16, (4, 5), (2, 3), padding=2),
]
WINOGRAD = [
    Case(2, 16, 16, (4, 4), (3, 3)),
    Case(17, 16, 32, (7, 8), (3, 3), padding="same", pool=True),
    Case(1, 16, 48, (3, 5), (5, 5), padding=1),
    Case(1, 48, 16, (1, 1), (5, 5)),
    Case(19, 16, 48, (9, 9), (3, 3), padding=5, rate=0.5),
    Case(1, 16, 16, (60, 8), (3, 3), padding="same"),
    Case(5, 16, 16, (11, 23), (3, 3), pool=True),  # patches of 6 × 6 outputs
    Case(18, 16, 32, (8, 8), (3, 3), padding="same", pool=True, rate=0.7),  # SPARSE
]
DENSE = [(1, 16, 64), (1, 64, 96), (8, 80, 64), (9, 112, 208), (3, 208, 80)]


def run_all():
    """Take every step, over arrays of every kind of size."""
    for case in TIGHT:
        case.pair().hold_together(case.images())
    for case in WINOGRAD:
        case.pair().compute(case.images())
    for N, D, U in DENSE:
        test_dense.hold_together(N, D, U)
    for C in (1, 3, 17):
        x = whole_numbers((2, 5, 3, C))
        norm_pair(C).compute(x, True, x)


# --- fences ---------------------------------------------------------------------------


class Fences:
    """NumPy, but new arrays lie right at a page that must not be touched."""

    def __init__(self, at_end):
        self.at_end, self.kept = at_end, []
        self.protect = ctypes.CDLL(None).mprotect

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype):
        dtype, page = np.dtype(dtype), mmap.PAGESIZE
        size = int(np.prod(shape)) * dtype.itemsize
        pages = max(-(-size // page), 1)
        memory = mmap.mmap(-1, (pages + 2) * page)
        self.kept.append(memory)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for fence in (address, address + (pages + 1) * page):
            arguments = ctypes.c_void_p(fence), ctypes.c_size_t(page), 0  # PROT_NONE
            assert self.protect(*arguments) == 0
        first = page + (pages * page - size if self.at_end else 0)
        flat = np.frombuffer(memory, dtype, size // dtype.itemsize, first)
        return flat.reshape(shape)

    def aligned(self, *shape):
        return self.empty(shape, np.float32)

    def zeros(self, shape, dtype):
        array = self.empty(shape, dtype)
        array[...] = 0
        return array

    def ascontiguousarray(self, values, dtype=None):
        array = self.empty(np.shape(values), dtype or values.dtype)
        array[...] = values
        return array


def run_between_fences():
    """Give the kernels nothing but arrays between fences."""
    run_all()  # compiles them
    for at_end in (True, False):
        fences = Fences(at_end)
        for module in (convolution, dense, normalization):
            module.np, module.aligned = fences, fences.aligned
        run_all()
        assert len(fences.kept) > 150
        for M in (1, 17, BLOCK + 5):
            arrays = [fences.zeros(M, np.float32) for _ in range(4)]
            adam(-(-M // BLOCK), *arrays, fences.zeros(6, np.float32), 1)


def step_over_a_fence(at_end):
    """Read a number next to an array: this must end the process."""
    array = Fences(at_end).zeros(5, np.float32)
    next_to_it = array.ctypes.data + (20 if at_end else -4)
    print(ctypes.c_float.from_address(next_to_it).value)


on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="pages are protected with Linux's mprotect"
)


@on_linux
def test_the_kernels_stay_inside_their_arrays():
    done = python("import test_addresses as t; t.run_between_fences()")
    assert done.returncode == 0, done.stderr


@on_linux
@pytest.mark.parametrize("at_end", [True, False])
def test_a_fence_is_a_fence(at_end):
    code = f"import test_addresses as t; t.step_over_a_fence({at_end})"
    assert python(code).returncode == -signal.SIGSEGV


# --- twins ----------------------------------------------------------------------------


class Twins:
    """The micro-kernels in NumPy: they take no number that is in no array."""

    def __init__(self, arrays):
        self.arrays = list(arrays)

    def at(self, address, count, dtype=np.float32):
        """Return numbers, or bytes, from an address on, all of them in one array."""
        size = np.dtype(dtype).itemsize
        for array in self.arrays:
            first = int(address) - array.ctypes.data
            inside = first >= 0 and first + count * size <= array.nbytes
            if dtype in (array.dtype, np.uint8) and inside:
                assert first % size == 0
                return array.reshape(-1).view(dtype)[first // size :][:count]
        raise IndexError(f"{count} numbers at {address} are not in any array")

    def multiply(self, a, a_row, a_run, S, K, M, b, b_row, columns, y, y_row):
        matrix = [self.at(b + k * b_row, columns) for k in range(S * K)]
        for i in range(M):
            runs = [self.at(a + i * a_row + s * a_run, K) for s in range(S)]
            self.at(y + i * y_row, columns)[:] = np.concatenate(runs) @ np.array(matrix)

    def transform(self, number, x, x_row, x_column, y, y_row, y_column):
        matrix, adds = winograd.CASES[number]
        out, size = matrix.shape
        found = [
            [self.at(x + i * x_row + j * x_column, LANES) for j in range(size)]
            for i in range(size)
        ]
        result = np.einsum("ia,jb,abc->ijc", matrix, matrix, np.array(found))
        for i, j in np.ndindex(out, out):
            place = self.at(y + i * y_row + j * y_column, LANES)
            place[:] = result[i, j] + (place if adds else 0)

    def add_weighted_rows(self, places, shares, count, stride, rows, y, length):
        found = self.at(places, count, np.int32), self.at(shares, count)
        for place, share in zip(*found, strict=True):
            row = self.at(rows + int(place) * int(stride), length)
            self.at(y, length)[:] += share * row

    def memset(self, y, value, size):
        self.at(y, size, np.uint8)[:] = value

    def memcpy(self, y, x, size):
        self.at(y, size, np.uint8)[:] = self.at(x, size, np.uint8)

    def empty(self, shape, dtype):
        """Return an array in which a number that is never filled is seen."""
        self.arrays.append(np.full(shape, 99, dtype))
        return self.arrays[-1]

    def zeros(self, shape, dtype):
        self.arrays.append(np.zeros(shape, dtype))
        return self.arrays[-1]


@pytest.fixture
def interpreted(monkeypatch):
    """Run the kernels as plain Python, between twins; NumPy looks at the indices."""
    twins = Twins([])
    numpy = SimpleNamespace(**vars(np) | {"empty": twins.empty, "zeros": twins.zeros})

    def run(self, blocks, *arguments):
        self._check(blocks, arguments)
        twins.arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        given = len(twins.arrays)
        for block in range(blocks):
            self.function(block, blocks, (arguments,))
            del twins.arrays[given:]

    replaced = {
        "np": numpy,
        "uintp": int,
        "empty": lambda dtype, *sizes: twins.empty(sizes, dtype),
        "memset": twins.memset,
        "memcpy": twins.memcpy,
        "address": lambda a, *i: a.ctypes.data + int(np.dot(i, a.strides[: len(i)])),
        "multiply": twins.multiply,
        "transform": twins.transform,
        "add_weighted_rows": twins.add_weighted_rows,
        "pool": convolution.pool.py_func,
    }
    monkeypatch.setattr(Kernel, "__call__", run)
    for module in (convolution, dense, normalization, winograd):
        for name, value in list(vars(module).items()):
            if name in replaced:
                monkeypatch.setattr(module, name, replaced[name])
            elif hasattr(value, "py_func"):
                monkeypatch.setattr(module, name, value.py_func)


interpretedly = pytest.mark.usefixtures("interpreted")


@interpretedly
@pytest.mark.parametrize("case", TIGHT)
def test_as_plain_python_a_convolution_stays_inside_its_arrays(case):
    case = case._replace(N=min(case.N, 2))
    case.pair().hold_together(case.images())


@interpretedly
@pytest.mark.parametrize("case", WINOGRAD)
def test_so_does_winograd(case):
    assert max(rounding(case._replace(N=min(case.N, 2)))) <= 2.4e-5


@interpretedly
def test_so_do_few_pixels_where_all_filters_are_alive():
    case = Case(1, 16, 32, (12, 13))
    pair, x = case.pair(), np.zeros((1, *case.image(), 16), np.float32)
    x[0, 5, 6, 0] = 1
    for layer in (pair.layer, pair.plain):
        weight, bias = layer.parameters()
        weight.value[...], bias.value[...] = 1, -0.5
    for ours, theirs in zip(pair.compute(x), pair.compute_plain(x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@interpretedly
def test_so_do_a_dense_layer_and_batch_norm():
    for N, D, U in DENSE:
        test_dense.hold_together(N, D, U)
    for C in (1, 3, 17):
        pair, x = norm_pair(C), whole_numbers((2, 3, 4, C))
        wanted = pair.compute_plain(x)
        for ours, theirs in zip(pair.compute(x), wanted, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
