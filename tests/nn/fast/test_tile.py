"""The laws of the tile: what it sums, and that nobody touches a number of no array.

A tile goes by addresses and checks nothing, so three things watch over it: a rim of NaN
around its own operands, pages that must not be touched around all arrays of a fused
convolution, and a twin in NumPy that asks for every address whose array it is.
"""

import ctypes
import functools
import itertools
import mmap
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numba import njit
from test_convolution import Case, hold_together

from tinycnn.nn import Conv2D
from tinycnn.nn.fast import convolution, plan
from tinycnn.nn.fast.convolution import add_multiple, tile_of_1, tile_of_6

RIM = 8  # numbers on both sides of a buffer


@njit
def six_rows(a, a_row, a_run, a_step, S, K, b, b_row, start, start_row, y, y_row):
    tile_of_6(a, a_row, a_run, a_step, S, K, b, b_row, start, start_row, y, y_row)


@njit
def one_row(a, a_row, a_run, a_step, S, K, b, b_row, start, start_row, y, y_row):
    tile_of_1(a, a_row, a_run, a_step, S, K, b, b_row, start, start_row, y, y_row)


@njit
def add(factor, x, y, count):
    add_multiple(factor, x, y, count)


class Buffer:
    """Normal numbers at some places of memory, and NaN everywhere else."""

    def __init__(self, places, rng):
        self.places = RIM + places
        self.memory = np.full(
            self.places.max(initial=RIM) + 1 + RIM, np.nan, np.float32
        )
        self.memory[self.places] = rng.standard_normal(places.shape)
        self.address = self.memory.ctypes.data + 4 * RIM

    def values(self):
        return self.memory[self.places].astype(np.float64)

    def rim_is_intact(self):
        outside = np.ones(self.memory.size, bool)
        outside[self.places] = False
        return np.isnan(self.memory[outside]).all()


@pytest.mark.parametrize(("rows", "run"), [(6, six_rows), (1, one_row)])
@pytest.mark.parametrize("seed", range(40))
def test_a_tile_is_start_plus_a_times_b(rows, run, seed):
    rng = np.random.default_rng(seed)
    S, K = map(int, rng.integers(1, 8, 2)) if seed else (1, 1)
    a_row, a_run, a_step = map(int, rng.integers(1, 40, 3))
    b_row, y_row = map(int, rng.integers(16, 36, 2))
    start_row = int(rng.choice([0, 16, 19]))
    i, s, k = np.ogrid[:rows, :S, :K]
    j = np.arange(16)
    a = Buffer(i * a_row + s * a_run + k * a_step, rng)
    b = Buffer(np.arange(S * K)[:, None] * b_row + j, rng)
    start = Buffer(np.arange(rows)[:, None] * start_row + j, rng)
    y = Buffer(np.arange(rows)[:, None] * y_row + j, rng)
    operands = [buffer.memory.copy() for buffer in (a, b, start)]
    run(
        *(a.address, 4 * a_row, 4 * a_run, 4 * a_step, S, K, b.address, 4 * b_row),
        *(start.address, 4 * start_row, y.address, 4 * y_row),
    )
    wanted = start.values() + a.values().reshape(rows, -1) @ b.values()
    scale = 1 + np.abs(a.values().reshape(rows, -1)) @ np.abs(b.values())
    assert np.abs((y.values() - wanted) / scale).max() < 1e-6
    assert y.rim_is_intact()
    for before, buffer in zip(operands, (a, b, start), strict=True):
        np.testing.assert_array_equal(buffer.memory, before)


def test_a_tile_may_begin_with_what_it_overwrites():
    rng = np.random.default_rng(0)
    a, b, y = (Buffer(np.arange(n).reshape(-1, 16), rng) for n in (16, 256, 96))
    before = y.values()
    six_rows(a.address, 0, 0, 4, 1, 16, b.address, 64, y.address, 64, y.address, 64)
    wanted = before + a.values() @ b.values()
    np.testing.assert_allclose(y.values(), wanted, atol=1e-5)


@pytest.mark.parametrize("count", range(70))
def test_a_multiple_is_added_to_so_many_numbers_and_no_more(count):
    rng = np.random.default_rng(count)
    x, y = (Buffer(np.arange(count), rng) for _ in "xy")
    x_before, y_before = x.memory.copy(), y.values()
    add(np.float32(0.7), x.address, y.address, count)
    wanted = y_before + np.float32(0.7) * x.values()
    np.testing.assert_allclose(y.values(), wanted, rtol=0, atol=1e-6)
    assert y.rim_is_intact()
    np.testing.assert_array_equal(x.memory, x_before)


def python(statement):
    """Run a statement of this file in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", f"import test_tile as t; t.{statement}"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )


# What touches the first and the last numbers of every array.
TIGHT = [
    Case(1, 1, 1, (1, 1), (1, 1)),
    Case(2, 3, 17, (4, 7), (3, 5), pool=(2, 2), rate=0.5),
    Case(17, 2, 5, (5, 5), (7, 5), (2, 3), pool=(3, 1), rate=0.5),
    Case(3, 16, 33, (6, 13), (1, 1), pool=((3, 2), (3, 2))),
    Case(2, 1, 16, (3, 12), (2, 4), (3, 1), "same"),
]


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
    pad = Conv2D.pad
    for at_end in (True, False):
        plan.np = fences = Fences(at_end)

        def fenced_pad(self, x, fences=fences):
            padded, margins = pad(self, x)
            return fences.ascontiguousarray(padded), margins

        Conv2D.pad = fenced_pad
        for case in TIGHT:
            hold_together(case)


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
    done = python("run_between_fences()")
    assert done.returncode == 0, done.stderr


@on_linux
@pytest.mark.parametrize("at_end", [True, False])
def test_a_fence_is_a_fence(at_end):
    assert python(f"step_over_a_fence({at_end})").returncode == -signal.SIGSEGV


class Twin:
    """The tile and `add_multiple` in NumPy: they take no number of no array."""

    def __init__(self, *arrays):
        self.arrays = list(arrays)

    def at(self, address, count):
        """Return numbers from an address on, all of them in one array."""
        for array in self.arrays:
            first = (int(address) - array.ctypes.data) // 4
            if first >= 0 and first + count <= array.size:
                return array.reshape(-1)[first : first + count]
        raise IndexError(f"{count} numbers at {address} are not in any array")

    def tile(self, rows):
        def tile(a, a_row, a_run, a_step, S, K, b, b_row, start, start_row, y, y_row):
            assert a_step == 4
            for i in range(rows):
                total = self.at(start + i * start_row, 16).copy()
                for s, k in itertools.product(range(S), range(K)):
                    (number,) = self.at(a + i * a_row + s * a_run + k * 4, 1)
                    total += number * self.at(b + (s * K + k) * b_row, 16)
                self.at(y + i * y_row, 16)[:] = total

        return tile

    def add_multiple(self, factor, x, y, count):
        self.at(y, count)[:] += factor * self.at(x, count)

    def empty(self, shape, dtype):
        """Return an array in which a number that is never filled is seen."""
        self.arrays.append(np.full(shape, 99, dtype))
        return self.arrays[-1]


@pytest.mark.parametrize("case", TIGHT)
def test_as_plain_python_the_kernels_stay_inside_their_arrays(case, monkeypatch):
    """Here the small buffer that forward makes for itself is watched too."""
    kernels = {name: getattr(convolution, name) for name in ("forward", "backward")}
    largest = convolution._largest.py_func
    monkeypatch.setattr(convolution, "_largest", largest)

    def watched(*arguments, kernel):
        arrays = [a for a in arguments if isinstance(a, np.ndarray) and a.itemsize == 4]
        twin = Twin(*arrays)
        numpy = SimpleNamespace(**vars(np) | {"empty": twin.empty})
        monkeypatch.setattr(convolution, "np", numpy)
        monkeypatch.setattr(convolution, "tile_of_6", twin.tile(6))
        monkeypatch.setattr(convolution, "tile_of_1", twin.tile(1))
        monkeypatch.setattr(convolution, "add_multiple", twin.add_multiple)
        kernel(*arguments)

    for name, kernel in kernels.items():
        run = functools.partial(watched, kernel=kernel.py_func)
        monkeypatch.setattr(convolution, name, run)
    hold_together(case._replace(N=min(case.N, 2)))
