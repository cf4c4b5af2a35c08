"""The law of threads: their number changes the time and never a bit."""

import numba
import numpy as np
import pytest
import threadpoolctl
from geometries import DIFFERENT, LAYERS, UNPADDED, images, output_size

from tinycnn import threads
from tinycnn.nn import kernels
from tinycnn.threads import available_cores, use_threads

needs_two = pytest.mark.skipif(
    numba.config.NUMBA_NUM_THREADS < 2, reason="this machine has one core"
)


@pytest.fixture(autouse=True)
def _the_threads_of_before():
    count = numba.get_num_threads()
    with threadpoolctl.threadpool_limits():
        yield
    numba.set_num_threads(count)


def blas_threads():
    pools = threadpoolctl.threadpool_info()
    return {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"}


def all_kernels(g):
    """Return what every kernel fills, in float64, for a batch of seven images."""
    g = g._replace(N=7)
    sizes = (g.KH, g.KW, g.SH, g.SW)
    x = images(g)
    shape = (g.N, *output_size(g), g.C)
    cols = np.empty((*shape[:3], g.KH, g.KW * g.C))
    kernels.im2col(x, *sizes, cols)
    back, dx = np.empty_like(x), np.empty_like(x)
    kernels.col2im(cols * 0.1, *sizes, back)
    y, winner = np.empty(shape), np.empty(shape, np.int32)
    kernels.max_pool(x, *sizes, y, winner)
    kernels.max_pool_backward(y * 0.1, winner, *sizes[1:], dx)
    return [cols, back, y, winner, dx, kernels.hashed_bits(np.uint32(3), 99)]


@needs_two
@pytest.mark.parametrize("g", [g for n, g in UNPADDED.items() if n in DIFFERENT])
def test_every_kernel_gives_the_same_bits_on_one_and_two_threads(g):
    found = []
    for count in (1, 2):
        assert use_threads(count) == count
        found.append([array.tobytes() for array in all_kernels(g)])
    assert found[0] == found[1]


@needs_two
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_gives_the_same_bits_on_one_and_two_threads(name):
    found = []
    for count in (1, 2):
        use_threads(count)
        layer, x = LAYERS[name].make()
        layer.cast(np.float32)
        y = layer.forward(x.astype(np.float32), training=True)
        dx = layer.backward(y * y)
        arrays = [y, dx, *(p.grad for p in layer.parameters())]
        found.append([array.tobytes() for array in arrays])
    assert found[0] == found[1]


@pytest.mark.parametrize("count", [None, 1])
def test_matrix_products_get_one_thread(count):
    threadpoolctl.threadpool_limits(2, user_api="blas")
    use_threads(count)
    assert blas_threads() <= {1}


def test_kernels_get_the_threads_that_were_asked_for():
    assert use_threads(1) == 1
    assert numba.get_num_threads() == 1


def test_unless_told_kernels_get_a_thread_a_core():
    # As many as the process started with, and no more than it may use.
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    most = min(available_cores(), numba.config.NUMBA_NUM_THREADS)
    assert use_threads() == most
    assert numba.get_num_threads() == most


def test_more_threads_than_there_are_is_refused():
    with pytest.raises(ValueError, match="threads"):
        use_threads(numba.config.NUMBA_NUM_THREADS + 1)


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(
        threads.os, "sched_getaffinity", lambda _: {3, 5, 9}, raising=False
    )
    assert available_cores() == 3
    monkeypatch.delattr(threads.os, "sched_getaffinity")
    monkeypatch.setattr(threads.os, "cpu_count", lambda: None)
    assert available_cores() == 1
