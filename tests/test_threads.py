"""The law of threads: their number changes the time and never a bit."""

import numba
import numpy as np
import pytest
import threadpoolctl

from tinycnn import models, threads
from tinycnn.fast import fuse


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
        assert threads.use_threads(count) == numba.get_num_threads() == count
        model = models.build(network)
        runner = prepare(model) if prepare else model
        y = runner.forward(x, training=True)
        runner.backward(y * y)
        arrays = [y, *model.state().values(), *(p.grad for p in model.parameters())]
        found.append([array.tobytes() for array in arrays])
    assert found[0] == found[1]


def test_kernels_get_a_thread_a_core_unless_told_and_matrix_products_one(monkeypatch):
    most = numba.config.NUMBA_NUM_THREADS
    numba.set_num_threads(most)
    for count, wanted in ((None, min(threads.available_cores(), most)), (1, 1)):
        threadpoolctl.threadpool_limits(2, user_api="blas")
        assert threads.use_threads(count) == numba.get_num_threads() == wanted
        pools = threadpoolctl.threadpool_info()
        assert {p["num_threads"] for p in pools if p["user_api"] == "blas"} <= {1}
    assert threads.use_threads(most + 1) == most
    monkeypatch.setattr(
        threads.os, "sched_getaffinity", lambda _: {4, 7}, raising=False
    )
    assert threads.available_cores() == 2
    monkeypatch.delattr(threads.os, "sched_getaffinity")
    monkeypatch.setattr(threads.os, "cpu_count", lambda: None)
    assert threads.available_cores() == 1
