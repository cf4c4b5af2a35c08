"""One decorator: compile a kernel with Numba, keep the machine code where possible.

It knows where compiled code may be kept between runs and nothing about what the
kernels compute.
"""

import os
from collections.abc import Callable
from typing import Any

from numba import njit

# Between two parallel loops the threads sleep. OpenMP's default is to wait in a busy
# loop, which takes the cores from BLAS and from other programs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def compiled(*, parallel: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function at its first call and cache the machine code on disk.

    Numba keeps the code beside the source or, where that is read-only, in the user's
    cache folder. Where it finds neither (a read-only install and no ``HOME``), it
    refuses to decorate at all; then the kernel is compiled anew in each process.

    Parameters
    ----------
    parallel : bool
        Whether ``prange`` loops are shared among threads. It costs seconds of
        compilation, so only loops over whole images ask for it.

    Returns
    -------
    Callable
        The decorator. Contraction of ``a * b + c`` into one instruction is allowed,
        no other liberty: NaN and the order of a sum keep their meaning.
    """
    options: dict[str, Any] = {"parallel": parallel, "fastmath": {"contract"}}

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:
            return njit(**options)(function)

    return decorate
