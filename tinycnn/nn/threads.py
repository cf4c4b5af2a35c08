"""How many threads compute: one in matrix products, as many as asked for in kernels.

It knows the two libraries that start threads, BLAS and Numba, and nothing of the work.
"""

import os

import numba
import threadpoolctl


def use_threads(count: int | None = None) -> int:
    """Set the threads of this process, and return how many the kernels will use.

    BLAS gets one thread, always: on two it adds in another order and rounds otherwise,
    and its threads would compete with those of the kernels. The kernels divide whole
    images among theirs, which changes no sum.

    Parameters
    ----------
    count : int or None
        From 1 to the number of cores, or to ``NUMBA_NUM_THREADS`` in the environment
        when Numba was imported; None is one a core.

    Returns
    -------
    int
    """
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")
    if count is None:
        count = min(available_cores(), numba.get_num_threads())
    numba.set_num_threads(count)
    return count


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
