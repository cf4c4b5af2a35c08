"""How many threads this process computes with."""

import os

import numba
import threadpoolctl


def use_threads(count: int | None = None) -> int:
    """Set the number of threads that kernels use, and return it.

    BLAS always gets one thread. With more it adds in another order, which changes
    rounding, and its threads compete with those of the kernels. Kernels give each
    thread whole images, which changes no sum.

    Parameters
    ----------
    count : int or None
        None is one thread a core. That, or ``NUMBA_NUM_THREADS``, is also the most.
    """
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")
    if count is None:
        count = min(available_cores(), numba.get_num_threads())
    count = min(count, numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(count)
    return count


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
