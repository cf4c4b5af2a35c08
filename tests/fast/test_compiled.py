"""`compiled` and `shared` give the function's own result.

With a cache or without one, never by outdated code, on any number of threads.
"""

import importlib.metadata
import importlib.util
import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from pairs import output
from test_vectors import example

from tinycnn.fast import compiled as module
from tinycnn.fast import convolution, dense, normalization, vectors, winograd
from tinycnn.fast.compiled import compiled, shared
from tinycnn.nn import kernels


def test_not_a_number_and_the_order_of_a_sum_keep_their_meaning():
    @compiled()
    def is_nan(x):
        return x != x or np.isnan(x)

    @compiled()
    def add(values):
        total = 0.0
        for i in range(len(values)):
            total += values[i]
        return total

    assert is_nan(math.nan)
    assert not is_nan(math.inf)
    # Any other order, or several sums side by side, would keep a 1.
    assert add(np.array([1.0, 1e100, 1.0, -1e100] * 64)) == 0


# --- shared ---------------------------------------------------------------------------


@shared
def fill(block, blocks, numbers, value):
    for i in range(
        numbers.size * block // blocks, numbers.size * (block + 1) // blocks
    ):
        numbers.reshape(-1)[i] += value * (block + 1)


@shared
def refuse(block, blocks, done, bad):  # noqa: ARG001
    if block == bad:
        raise ValueError("this block is bad")
    done[block] = True


def test_every_block_is_done_exactly_once():
    for blocks in (0, 1, 2, 3, 7, 16, 100, 1000):
        numbers = np.zeros(blocks, np.int64)
        for times in (1, 2):
            fill(blocks, numbers, 1)
            np.testing.assert_array_equal(numbers, times * np.arange(1, blocks + 1))


def test_arguments_of_another_kind_get_code_of_their_own():
    kinds = [((6,), np.float32, 2), ((6,), np.float64, 2), ((2, 3), np.float32, 2)]
    for shape, dtype, value in [*kinds, ((6,), np.float32, 2.0), *kinds]:
        numbers = np.ones(shape, dtype)
        fill(3, numbers, value)
        assert numbers.dtype == dtype
        assert numbers.ravel().tolist() == [3, 3, 5, 5, 7, 7]


LAYER = """
import multiprocessing, numba, numpy as np
from test_compiled import fill
def work(value):
    numbers = np.zeros(100)
    fill(8, numbers, value)
    return numbers
if __name__ == "__main__":
    here = work(3)
    print(numba.threading_layer())
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(all(np.array_equal(one, here) for one in pool.map(work, [3] * 4)))
"""
has_tbb = pytest.mark.skipif(
    importlib.util.find_spec("numba.np.ufunc.tbbpool") is None
    or not any(d.name == "tbb" for d in importlib.metadata.distributions()),
    reason="needs the package tbb, which this system has no wheel of",
)


@has_tbb
def test_onetbb_shares_the_blocks_and_survives_a_fork():
    unset = dict.fromkeys(("NUMBA_THREADING_LAYER", "NUMBA_NUM_THREADS"))
    assert output(LAYER, **unset) == ["tbb", "True"]


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param("omp", marks=pytest.mark.skipif("sys.platform == 'darwin'")),
        "workqueue",
    ],
)
def test_the_bits_depend_on_no_threading_layer(layer):
    code = "import test_compiled as t; print(*t.sums())"
    assert output(code, NUMBA_THREADING_LAYER=layer) == sums()


def sums():
    """Return the sum of everything that a step computes, exactly."""
    return [float(one.sum()).hex() for one in example()[0]]


def test_what_a_kernel_raises_on_the_calling_thread_is_heard():
    """As the cause of a SystemError. On another thread it is lost: Numba drops it."""
    before, done = numba.get_num_threads(), np.zeros(4, bool)
    numba.set_num_threads(1)
    with pytest.raises(SystemError) as error:
        refuse(4, done, 2)
    numba.set_num_threads(before)
    assert isinstance(error.value.__cause__, ValueError)
    assert str(error.value.__cause__) == "this block is bad"
    assert not done[2]


# --- other processes ------------------------------------------------------------------

CALLEE = """
from tinycnn.fast.compiled import compiled

@compiled()
def twice(x):
    return 2 * x
"""
CALLER = """
import numpy as np
from tinycnn.fast.compiled import compiled, shared
from tinycnn.fast.callee import twice

@compiled()
def twice_and_one(x):
    return twice(x) + 1

@shared
def double(block, blocks, numbers):
    numbers[block] = twice(numbers[block])
"""
ASK = """
from tinycnn.fast.caller import twice_and_one
print(twice_and_one(20), sum(twice_and_one.stats.cache_hits.values()))
"""
ASK_SHARED = """
import numpy as np
from tinycnn.fast.caller import double
numbers = np.arange(5)
double(5, numbers)
print(*numbers)
"""


@pytest.fixture
def folder(tmp_path):
    """Return a package of that name with our decorators, and two small files."""
    package = tmp_path / "tinycnn"
    for path in (package, package / "fast", package / "nn"):
        path.mkdir()
        (path / "__init__.py").touch()
    shutil.copy(module.__file__, package / "fast")
    shutil.copy(kernels.__file__, package / "nn")
    (package / "fast" / "caller.py").write_text(CALLER)
    (package / "fast" / "callee.py").write_text(CALLEE)
    return package


def ask(program, folder, **settings):
    """Return the numbers that a program prints with that package."""
    settings = {"PYTHONPATH": str(folder.parent), **settings}
    return [int(word) for word in output(program, folder, **settings)]


@pytest.mark.parametrize("chosen", [True, False])
def test_an_edit_to_what_a_kernel_calls_in_another_file_is_seen(folder, chosen):
    cache = folder.parent / "cache" if chosen else None
    settings = {"NUMBA_CACHE_DIR": str(cache) if chosen else None}
    assert ask(ASK, folder, **settings) == [41, 0]
    assert ask(ASK, folder, **settings) == [41, 1]  # from the disk
    kept = cache.rglob("*.nbc") if chosen else folder.rglob("*.nbc")
    assert any(kept)
    (folder / "fast" / "callee.py").write_text(CALLEE.replace("2 * x", "3 * x"))
    assert ask(ASK, folder, **settings) == [61, 0]


def test_only_kernels_in_fast_call_kernels_of_another_file():
    """For them alone an edit to the other file is noticed."""
    found = set()
    for file in (convolution, dense, normalization, vectors, winograd, kernels):
        for value in vars(file).values():
            function = getattr(value, "py_func", getattr(value, "__wrapped__", None))
            if function is None or function.__module__ != file.__name__:
                continue
            for name in function.__code__.co_names:
                called = getattr(file, name, None)
                called = getattr(called, "py_func", called)
                if callable(called) and called.__module__ != file.__name__:
                    found.add((file.__name__, called.__module__))
    ours = {pair for pair in found if pair[1].startswith("tinycnn")}
    assert (dense.__name__, vectors.__name__) in ours
    assert all("tinycnn.fast." in a and "tinycnn.fast." in b for a, b in ours)


def test_two_first_runs_at_once_both_compute_and_leave_sound_code(folder):
    chosen = {"NUMBA_CACHE_DIR": str(folder.parent / "cache")}
    with ThreadPoolExecutor(2) as both:
        found = list(both.map(lambda _: ask(ASK_SHARED, folder, **chosen), range(2)))
    assert found == [[0, 2, 4, 6, 8]] * 2
    assert ask(ASK_SHARED, folder, **chosen) == found[0]


def test_an_install_that_cannot_be_written_and_no_home_still_compute(folder):
    assert ask(ASK_SHARED, folder, NUMBA_DISABLE_JIT="1") == [0, 2, 4, 6, 8]
    # A file where a folder would be made stops the superuser too.
    for path in (folder, folder / "fast", folder / "nn"):
        (path / "__pycache__").touch()
    nowhere = {"NUMBA_CACHE_DIR": None, "HOME": os.devnull, "XDG_CACHE_HOME": None}
    both = f"{ASK}{ASK_SHARED}"
    assert ask(both, folder, **nowhere) == [41, 0, 0, 2, 4, 6, 8]
    assert not list(folder.parent.rglob("*.nb?"))
