"""The micro-kernels, each against a twin of a few lines in NumPy.

They go by addresses and check nothing. Here a rim of NaN lies around all their
operands: what is read beyond them spoils the result, what is written there is seen.
"""

import ctypes
import itertools

import numpy as np
import pytest
from pairs import WINOGRAD, output

from tinycnn.fast import vectors
from tinycnn.fast.compiled import machine_code
from tinycnn.fast.vectors import LANES, ROWS, make_transforms

RIM = 16  # numbers on both sides of a buffer


def micro(function):
    """Return a function of addresses and counts as machine code."""
    kinds = [ctypes.c_int64] * function.__code__.co_argcount
    return ctypes.CFUNCTYPE(None, *kinds)(machine_code(function).address)


multiply = micro(vectors.multiply.py_func)
add_weighted_rows = micro(vectors.add_weighted_rows.py_func)


class Buffer:
    """Normal numbers at some places of memory, and NaN everywhere else."""

    def __init__(self, places, rng):
        self.places = RIM + np.asarray(places)
        self.memory = np.full(
            self.places.max(initial=RIM) + 1 + RIM, np.nan, np.float32
        )
        self.memory[self.places] = rng.standard_normal(self.places.shape)
        self.address = self.memory.ctypes.data + 4 * RIM
        self.before = self.memory.copy()

    def values(self):
        return self.memory[self.places]

    def fill(self, values):
        self.memory[self.places] = values
        self.before = self.memory.copy()

    def assert_rim(self):
        outside = np.ones(self.memory.size, bool)
        outside[self.places] = False
        assert np.isnan(self.memory[outside]).all()

    def assert_unedited(self):
        np.testing.assert_array_equal(self.memory, self.before)


def assert_rounded(found, wanted, magnitudes, tolerance=1e-6):
    """Assert that rounding is a share of the sum of the magnitudes."""
    assert (np.abs(found - wanted) <= tolerance * magnitudes).all()


# --- make_tile, through multiply ----------------------------------------------------


# With 4 or 8 rows and more, tiles of as many; with fewer, of 1; of 2 vectors, or one.
@pytest.mark.parametrize("panels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("S", "K"), [(1, 1), (1, 7), (5, 1), (3, 4)])
def test_multiply_is_a_matrix_product(panels, S, K):
    for M in (*range(1, 2 * ROWS + 2), 3 * ROWS):
        rng, columns = np.random.default_rng([panels, M, S, K]), 16 * panels
        a_row, a_run = map(int, rng.integers(1, 40, 2))  # runs may overlap
        b_row, y_row = map(int, columns + rng.integers(0, 40, 2))
        i, s, k = np.ogrid[:M, :S, :K]
        a = Buffer(i * a_row + s * a_run + k, rng)
        b = Buffer(np.arange(S * K)[:, None] * b_row + np.arange(columns), rng)
        y = Buffer(i[..., 0] * y_row + np.arange(columns), rng)
        multiply(
            *(a.address, 4 * a_row, 4 * a_run, S, K, M),
            *(b.address, 4 * b_row, columns, y.address, 4 * y_row),
        )
        rows, matrix = (
            buffer.values().reshape(shape).astype(np.float64)
            for buffer, shape in ((a, (M, S * K)), (b, (S * K, columns)))
        )
        assert_rounded(y.values(), rows @ matrix, np.abs(rows) @ np.abs(matrix))
        y.assert_rim()
        a.assert_unedited()
        b.assert_unedited()


# --- make_transforms ----------------------------------------------------------------

RNG = np.random.default_rng(0)
CASES = [
    (np.array([[-2.5]]), False),
    (RNG.choice([0.0, 1, -1], (4, 5)) + 2 * np.eye(4, 5), True),
    (RNG.choice([0, 1, -1, 0.25, -4, 5], (3, 6)) + 6 * np.eye(3, 6), False),
    (RNG.random((5, 4)) + 1, True),
]
apply_any = make_transforms(*CASES)


def apply(number, x, x_row, x_column, y, y_row, y_column):
    apply_any(number, x, x_row, x_column, y, y_row, y_column)


def test_a_transform_is_the_matrix_on_both_sides_or_adds_it():
    run, rng = micro(apply), np.random.default_rng(0)
    for number, (matrix, adds) in enumerate(CASES):
        assert matrix.any(axis=1).all()  # a row of zeros has no program
        out, size = matrix.shape
        i, j, c = np.ogrid[:size, :size, :LANES]
        x = Buffer(i * 9 * 19 + j * 19 + c, rng)
        i, j, c = np.ogrid[:out, :out, :LANES]
        y = Buffer(i * 9 * 17 + j * 17 + c, rng)
        before = y.values().astype(np.float64) if adds else 0
        run(number, x.address, 4 * 9 * 19, 4 * 19, y.address, 4 * 9 * 17, 4 * 17)
        values = x.values().astype(np.float64).transpose(2, 0, 1)
        wanted = (matrix @ values @ matrix.T).transpose(1, 2, 0)
        magnitudes = np.abs(matrix) @ np.abs(values) @ np.abs(matrix).T
        magnitudes = magnitudes.transpose(1, 2, 0) + np.abs(before)
        assert_rounded(y.values(), wanted + before, magnitudes)
        y.assert_rim()
        x.assert_unedited()


# --- sums of rows -------------------------------------------------------------------


def test_a_weighted_sum_of_rows_is_added():
    for length, count in itertools.product(range(16, 500, 16), (0, 1, 5)):
        rng = np.random.default_rng([length, count])
        stride = length + 5
        rows = Buffer(np.arange(7)[:, None] * stride + np.arange(length), rng)
        shares, y = Buffer(np.arange(count), rng), Buffer(np.arange(length), rng)
        places = rng.integers(-3, 4, count).astype(np.int32)  # also to the left
        before = y.values().astype(np.float64)
        add_weighted_rows(
            *(places.ctypes.data, shares.address, count, 4 * stride),
            *(rows.address + 3 * 4 * stride, y.address, length),
        )
        found, weights = rows.values()[places + 3].astype(np.float64), shares.values()
        magnitudes = np.abs(before) + np.abs(weights) @ np.abs(found)
        assert_rounded(y.values(), before + weights @ found, magnitudes)
        y.assert_rim()
        rows.assert_unedited()
        shares.assert_unedited()


def test_a_sum_keeps_the_order_of_its_rows():
    """Then it is the same on every processor with the same multiply-add."""
    rows = np.array([[1e30], [1.0], [-1e30]], np.float32) * np.ones(96, np.float32)
    places, shares = np.arange(3, dtype=np.int32), np.ones(3, np.float32)
    y = np.zeros(96, np.float32)
    addresses = [array.ctypes.data for array in (places, shares, rows, y)]
    add_weighted_rows(*addresses[:2], 3, 384, *addresses[2:], 96)
    assert not y.any()


# --- other processors ---------------------------------------------------------------


def example():
    """Return what a step with each kind of vector computes, and projections of it."""
    pair, rng = WINOGRAD.pair(), np.random.default_rng(0)
    for parameter in pair.layer.parameters():
        parameter.value[...] = rng.standard_normal(parameter.value.shape)
    x = rng.standard_normal(WINOGRAD.images().shape).astype(np.float32)
    results = pair.compute(x)
    return results, [np.cos(np.arange(one.size)) @ one.ravel() for one in results]


@pytest.mark.long
def test_a_processor_with_neither_avx_nor_fma_computes_the_same(tmp_path):
    """The vectors are LLVM's, which cuts them to the processor's: no second code."""
    code = "import test_vectors as t; print(*t.example()[1])"
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    found = output(code, NUMBA_CACHE_DIR=str(tmp_path), **generic)
    for number, array, wanted in zip(found, *example(), strict=True):
        assert abs(float(number) - wanted) <= 1e-5 * np.linalg.norm(array)
