"""The law of threads: their number changes the time and never a bit."""

import numba
import numpy as np
import pytest
import threadpoolctl

from tinycnn import models, threads
from tinycnn.fast import fuse
from tinycnn.threads import available_cores, use_threads


@pytest.fixture(autouse=True)
def _the_threads_of_before():
    count = numba.get_num_threads()
    with threadpoolctl.threadpool_limits():
        yield
    numba.set_num_threads(count)


@pytest.mark.skipif(
    numba.config.NUMBA_NUM_THREADS < 2, reason="this machine has one core"
)
@pytest.mark.parametrize("network", ["quick", "classic"])
@pytest.mark.parametrize("prepare", [None, fuse])
def test_one_and_two_threads_give_the_same_bits(network, prepare):
    """For a step on seven images, which two threads cannot share evenly."""
    x = np.random.default_rng(0).random((7, 28, 28, 1), np.float32)
    found = []
    for count in (1, 2):
        assert use_threads(count) == numba.get_num_threads() == count
        model = models.build(network)
        runner = prepare(model) if prepare else model
        y = runner.forward(x, training=True)
        runner.backward(y * y)
        arrays = [y, *model.state().values(), *(p.grad for p in model.parameters())]
        found.append([array.tobytes() for array in arrays])
    assert found[0] == found[1]


@pytest.mark.parametrize("count", [None, 1])
def test_matrix_products_get_one_thread(count):
    threadpoolctl.threadpool_limits(2, user_api="blas")
    use_threads(count)
    pools = threadpoolctl.threadpool_info()
    assert {p["num_threads"] for p in pools if p["user_api"] == "blas"} <= {1}


def test_kernels_get_a_thread_a_core_unless_told_and_no_more(monkeypatch):
    most = numba.config.NUMBA_NUM_THREADS
    numba.set_num_threads(most)
    assert use_threads() == numba.get_num_threads() == min(available_cores(), most)
    with pytest.raises(ValueError, match="threads"):
        use_threads(most + 1)
    cores = {3, 5, 9}
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: cores, raising=False)
    assert available_cores() == 3
    monkeypatch.delattr(threads.os, "sched_getaffinity")
    monkeypatch.setattr(threads.os, "cpu_count", lambda: None)
    assert available_cores() == 1
