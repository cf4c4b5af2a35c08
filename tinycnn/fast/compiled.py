"""Two decorators: compile a kernel with Numba, and share its work among threads.

Which thread computes which block is decided by oneTBB, where the package `tbb` is
installed: a thread that runs takes the blocks that wait. OpenMP, Numba's next choice,
waits at the end of every loop for all of its threads, also for one that another program
keeps off its core. The blocks, and so the bits, are the same.
"""

import contextlib
import ctypes
import functools
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Of OpenMP: between two parallel loops the threads wait in a busy loop for a fraction
# of a millisecond, then they sleep. To wake them takes 100 microseconds, which is long
# for a small kernel; the default, never to sleep, takes the cores from other programs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import numpy as np
from numba import config, prange, typeof, types
from numba.core import caching, cgutils
from numba.extending import intrinsic

from tinycnn.nn import kernels


def _load_tbb() -> None:
    """Load oneTBB, which Numba does not find in a virtual environment by itself.

    Before the first parallel loop, when Numba chooses.
    """
    names = ("libtbb.so.12", "tbb12.dll")
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, OSError):
        for file in importlib.metadata.files("tbb") or ():
            if file.name in names:
                ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)


_load_tbb()


class _WithItsFolder:
    """A cache of machine code that is stale if any file of this folder was edited.

    Numba compares the file of a kernel alone, but a kernel contains those that it
    calls, and here they lie in other files.
    """

    _py_file: str

    def get_source_stamp(self) -> Any:
        files = sorted(Path(self._py_file).parent.glob("*.py"))
        stamps = [(file.stat().st_mtime_ns, file.stat().st_size) for file in files]
        return super().get_source_stamp(), stamps  # type: ignore[misc]


class ChosenFolder(_WithItsFolder, caching.UserProvidedCacheLocator):
    """The folder that ``NUMBA_CACHE_DIR`` names."""


class BesideTheSource(_WithItsFolder, caching.InTreeCacheLocator):
    """The folder ``__pycache__``."""


class FolderOfTheUser(_WithItsFolder, caching.UserWideCacheLocator):
    """Where the source is read-only."""


_LOCATORS = ",".join(
    f"{place.__module__}.{place.__name__}"
    for place in (ChosenFolder, BesideTheSource, FolderOfTheUser)
)


def compiled(*, parallel: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator of `tinycnn.nn.kernels`, with the cache of this folder.

    Parameters
    ----------
    parallel : bool
        Whether ``prange`` loops are shared among threads. It costs seconds of
        compilation, so only loops over whole images ask for it.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        settings: Any = config
        before = settings.CACHE_LOCATOR_CLASSES
        settings.CACHE_LOCATOR_CLASSES = before or _LOCATORS
        try:
            return kernels.compiled(parallel=parallel)(function)
        finally:
            settings.CACHE_LOCATOR_CLASSES = before

    return decorate


def shared(function: Callable[..., None]) -> Callable[..., None]:
    """Compile a kernel that does a block of the work; share the blocks among threads.

    Parameters
    ----------
    function : function of (block, blocks, *arguments)
        It does block number ``block`` of ``blocks``. What it writes belongs to that
        block alone, and how many blocks there are does not depend on the threads: then
        neither do the bits. Arguments are C-contiguous arrays, numbers, and tuples of
        these.

    Returns
    -------
    function of (blocks, *arguments)
        Returns when all blocks are done.
    """
    kernel = compiled()(function)
    addresses: dict[Any, int] = {}

    def share(blocks: int, *arguments: Any) -> None:
        # One block needs no threads; and NUMBA_DISABLE_JIT=1 leaves a plain function.
        if blocks == 1 or not hasattr(kernel, "compile"):
            for block in range(blocks):
                kernel(block, blocks, *arguments)
            return
        # Machine code takes the parts of a tuple one by one. A parallel loop takes no
        # tuple inside the tuple of arguments, so it is given the parts.
        flat: list[Any] = []
        for one in arguments:
            flat += one if type(one) is tuple else (one,)
        kind = tuple(
            [
                (one.dtype, one.ndim) if type(one) is np.ndarray else type(one)
                for one in flat
            ]
        )
        if kind not in addresses:
            signature = types.int64, types.int64, *map(typeof, arguments)
            kernel.compile(signature)
            code = kernel.overloads[signature]
            addresses[kind] = code.library.get_pointer_to_function(
                code.fndesc.llvm_func_name
            )
        _for_each_block(addresses[kind], blocks, tuple(flat))

    return functools.wraps(function)(share)


@intrinsic
def _call(typing_context, address, block, blocks, arguments):
    """Call a kernel by its address."""

    def generate(context, builder, signature, values):
        address, block, blocks, arguments = values
        kinds = [types.int64, types.int64, *signature.args[3].types]
        given = cgutils.unpack_tuple(builder, arguments, len(kinds) - 2)
        function = context.call_conv.get_function_type(types.none, kinds)
        address = builder.inttoptr(address, function.as_pointer())
        status, _ = context.call_conv.call_function(
            builder, address, types.none, kinds, [block, blocks, *given]
        )
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, arguments), generate


@compiled(parallel=True)
def _for_each_block(address, blocks, arguments):
    """Do all blocks.

    The kernel is called by its address. If it were called by its name, Numba would
    compile it once more, into this loop, which takes longer than the first time.
    """
    for block in prange(blocks):
        _call(address, np.int64(block), blocks, arguments)
