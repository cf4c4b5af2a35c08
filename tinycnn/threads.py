"""How this process computes: on how many threads, and with which memory.

It knows the libraries that start threads, BLAS and Numba, and the C library, which
hands out memory; it knows nothing of the work.
"""

import ctypes
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
    _keep_freed_memory()
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")
    if count is None:
        count = min(available_cores(), numba.get_num_threads())
    numba.set_num_threads(count)
    return count


def _keep_freed_memory() -> None:
    """Ask the C library to keep what is freed: the next batch needs as much.

    It would give large arrays back to the system, which fills each page with zeros
    before it hands it out again. Where the library is not GNU's, nothing is asked.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
    mallopt(M_MMAP_THRESHOLD, 2**30)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
