"""A kernel does every block once, and refuses arguments that are not as declared.

With a cache or without one, never by outdated code, on any number of threads.
"""

import importlib.metadata
import importlib.util
import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pairs import output
from test_vectors import example

from tinycnn.fast import compiled as module
from tinycnn.fast.compiled import BLOCK, aligned, shared
from tinycnn.threads import available_cores


@shared(x="M", y="2", values="float64: K", total="float64: 1")
def look(block, blocks, job):  # noqa: ARG001
    x, y, values, total = job[0]
    y[0], y[1] = x[0] != x[0], x[1] != x[1]
    for i in range(len(values)):
        total[0] += values[i]


def test_not_a_number_and_the_order_of_a_sum_keep_their_meaning():
    x, y, total = np.float32([math.nan, math.inf]), np.zeros(2, np.float32), np.zeros(1)
    # Any other order, or several sums side by side, would keep a 1.
    look(1, x, y, np.array([1.0, 1e100, 1.0, -1e100] * 64), total)
    assert y.tolist() == [1, 0]
    assert total == 0


@shared(numbers="int64: M", half="int64: M // 2", step=int)
def fill(block, blocks, job):
    numbers, _, step = job[0]
    M = len(numbers)
    for i in range(M * block // blocks, M * (block + 1) // blocks):
        numbers[i] += step * (block + 1)


def run_fill(M, blocks=1, step=1):
    numbers = np.zeros(M, np.int64)
    fill(blocks, numbers, np.zeros(M // 2, np.int64), step)
    return numbers


def test_every_block_is_done_exactly_once():
    for blocks in (0, 1, 2, 3, 7, 16, 100, 1000):
        for step in (1, -2):
            wanted = step * np.arange(1, blocks + 1)
            np.testing.assert_array_equal(run_fill(blocks, blocks, step), wanted)


GOOD, HALF = np.zeros(6, np.int64), np.zeros(3, np.int64)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((GOOD.astype(np.int32), HALF), "numbers .* not int32"),
        ((GOOD.astype(">i8"), HALF), "numbers .* not >i8"),
        ((GOOD[::-1], HALF), "numbers"),
        ((GOOD.reshape(2, 3), HALF), r"numbers .* \(2, 3\)"),
        ((GOOD, GOOD), r"half int64 \(M // 2\), where {'M': 6}, not int64 \(6,\)"),
    ],
)
def test_arguments_that_are_not_as_declared_are_refused_with_the_numbers(
    arguments, said
):
    for _ in range(2):
        with pytest.raises(ValueError, match=f"fill needs {said}"):
            fill(1, *arguments, 1)
        fill(1, GOOD, HALF, 1)  # also after arguments that are right


INTERRUPTED = """
import os, signal
import test_compiled as t
from tinycnn.fast import compiled
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may begin ignored
class Slow(compiled.CFunc):
    def compile(self):
        compiled.CFunc = type(self).mro()[1]
        os.kill(os.getpid(), signal.SIGINT)
        super().compile()
compiled.CFunc = Slow
for _ in range(2):
    try:
        print(t.run_fill(4).sum())
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_ctrl_c_waits_until_a_kernel_is_loaded():
    assert output(INTERRUPTED) == ["interrupted", "4"]


LAYER = """
import multiprocessing, numba, numpy as np
from test_compiled import run_fill
def work(value):
    return run_fill(100, 8, value)
if __name__ == "__main__":
    here = work(3)
    print(numba.threading_layer())
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(all(np.array_equal(one, here) for one in pool.map(work, [3] * 4)))
"""
has_tbb = pytest.mark.skipif(
    importlib.util.find_spec("numba.np.ufunc.tbbpool") is None
    or not any(d.name == "tbb" for d in importlib.metadata.distributions())
    or available_cores() == 1,
    reason="needs two cores and the package tbb, which some systems have no wheel of",
)


@has_tbb
def test_onetbb_shares_the_blocks_and_survives_a_fork():
    unset = dict.fromkeys(("NUMBA_THREADING_LAYER", "NUMBA_NUM_THREADS"))
    assert output(LAYER, **unset) == ["tbb", "True"]


IN_A_THREAD_AND_FORKED = """
import os, threading
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import test_compiled as t
thread = threading.Thread(target=lambda: print(*t.sums(), flush=True))
thread.start()
thread.join()
os.fork()
"""
FORKED_MEANWHILE = """
import os, threading, time
from tinycnn.{} as lock
def compute():
    with lock:
        time.sleep(1)
threading.Thread(target=compute).start()
time.sleep(0.2)
child = os.fork() or os._exit(not lock.acquire(timeout=9))
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
@pytest.mark.parametrize("threads", [None, "2"])
def test_a_process_on_one_core_computes_the_same_and_ends(threads):
    assert output(IN_A_THREAD_AND_FORKED, NUMBA_NUM_THREADS=threads) == sums()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.parametrize("lock", ["fast.fuse import _LOCK", "ink.picture import _lock"])
def test_a_fork_waits_for_the_thread_that_computes(lock):
    assert output(FORKED_MEANWHILE.format(lock)) == ["0"]


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


# --- other processes ------------------------------------------------------------------

CALLEE = """
from tinycnn.fast.compiled import inline

@inline
def twice(x):
    return 2 * x
"""
CALLER = """
import numpy as np
from tinycnn.fast.compiled import shared
from tinycnn.fast.callee import twice

@shared(numbers="int64: M")
def double(block, blocks, job):
    numbers, = job[0]
    numbers[block] = twice(numbers[block])
"""
ASK = """
import numpy as np
from tinycnn.fast.caller import double
numbers = np.arange(5)
double(5, numbers)
((code, *_),) = double._jobs.values()
print(*numbers, code.cache_hits)
"""


@pytest.fixture
def folder(tmp_path):
    """Return a package of that name with our decorators, and two small files."""
    package = tmp_path / "tinycnn"
    for path in (package, package / "fast", package / "nn"):
        path.mkdir()
        (path / "__init__.py").touch()
    shutil.copy(module.__file__, package / "fast")
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
    assert ask(ASK, folder, **settings) == [0, 2, 4, 6, 8, 0]
    assert ask(ASK, folder, **settings) == [0, 2, 4, 6, 8, 1]  # from the disk
    kept = cache.rglob("*.nbc") if chosen else folder.rglob("*.nbc")
    assert any(kept)
    (folder / "fast" / "callee.py").write_text(CALLEE.replace("2 * x", "3 * x"))
    assert ask(ASK, folder, **settings) == [0, 3, 6, 9, 12, 0]


def test_two_first_runs_at_once_both_compute_and_leave_sound_code(folder):
    chosen = {"NUMBA_CACHE_DIR": str(folder.parent / "cache")}
    with ThreadPoolExecutor(2) as both:
        found = list(both.map(lambda _: ask(ASK, folder, **chosen), range(2)))
    assert [one[:5] for one in found] == [[0, 2, 4, 6, 8]] * 2
    assert ask(ASK, folder, **chosen) == [0, 2, 4, 6, 8, 1]


def test_an_install_that_cannot_be_written_and_no_home_still_compute(folder):
    # A file where a folder would be made stops the superuser too.
    for path in (folder, folder / "fast", folder / "nn"):
        (path / "__pycache__").touch()
    nowhere = {"NUMBA_CACHE_DIR": None, "HOME": os.devnull, "XDG_CACHE_HOME": None}
    assert ask(ASK, folder, **nowhere) == [0, 2, 4, 6, 8, 0]
    assert not list(folder.parent.rglob("*.nb?"))


@pytest.mark.parametrize("shape", [(0, 3), (BLOCK - 1,), (BLOCK,), (3, 5, BLOCK + 1)])
def test_large_arrays_begin_with_a_line_of_the_cache(shape):
    array = aligned(*shape)
    assert array.shape == shape
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    if array.size >= BLOCK:
        first, memory = array.ctypes.data, array.base
        assert first % 64 == 0
        assert memory.ctypes.data <= first
        assert first + array.nbytes <= memory.ctypes.data + memory.nbytes
