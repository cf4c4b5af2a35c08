"""Kernels: checked, compiled at their first call, and shared among threads by blocks.

::

    Python     forward(blocks, x, weight, y)         kinds and shapes: as declared?
                    |
                   job                               addresses and sizes, in memory
                    |
    threads    kernel(0, blocks, job)   kernel(1, blocks, job)   kernel(2, blocks, job)

A kernel is a Numba function that does one block of the work; it becomes a C function
that is called by its address. So the parallel loop is compiled once for all kernels,
and none needs the wrapper with which Python would call it: both take long to compile.

Where the package `tbb` is installed, oneTBB shares the blocks: a thread that runs takes
those that wait. OpenMP waits at the end of every loop for all of its threads, also for
one that another program keeps off its core. The bits are the same.
"""

import collections
import contextlib
import ctypes
import functools
import importlib.metadata
import math
import operator
import re
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import config, from_dtype, get_num_threads, njit, prange, types
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.cpu import CPUContext
from numba.extending import intrinsic
from numba.np.arrayobj import _empty_nd_impl
from numpy.typing import NDArray

# As `tinycnn.nn.kernels.compiled`, and 1 / 0 is infinite, which needs no branch.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}
_EXTERNAL: dict[str, Callable[..., None]] = {}  # by the names that kernels call
BLOCK = 2**15  # numbers; to wake the threads takes as long as a pass over so many
BLOCKS = 8  # at most, whatever the number of threads: their sums are added in order
KIND = operator.attrgetter("__class__", "dtype", "shape", "strides")  # of an array
# New arrays in kernels (of the whole process) begin with a line of the cache, not with
# half of one, Numba's choice: 16 floats across two lines are two accesses.
CPUContext.get_preferred_array_alignment = lambda *_: 64  # type: ignore[method-assign]
LINE = 16  # floats of the processor's cache come and go together
# All of the memory as integers of eight bytes: number i lies at address 8 * i. That of
# an array's numbers is the first field of its C struct; ``array.ctypes.data`` is slow.
_MEMORY, DATA = (ctypes.c_int64 * 2**57).from_address(0), object.__basicsize__

# Before Numba chooses: in a virtual environment it does not find oneTBB by itself. And
# here: started by a thread that ends, oneTBB without threads of its own hangs at exit;
# so it does after a fork on one core (if that is a quota, it is not seen here).
_CONFIG: Any = config
_ALONE = min(_CONFIG.NUMBA_NUM_THREADS, _CONFIG.NUMBA_DEFAULT_NUM_THREADS) == 1
with contextlib.suppress(importlib.metadata.PackageNotFoundError, OSError):
    for _file in () if _ALONE else importlib.metadata.files("tbb") or ():
        if _file.name in ("libtbb.so.12", "tbb12.dll"):
            ctypes.CDLL(str(_file.locate()), mode=ctypes.RTLD_GLOBAL)
            get_num_threads()  # starts it


# Inner loops count in uintp: an int64 may count from the end, which is asked at every
# access (2.3 times the time). Both together give int64; but one name for both, or the
# smaller of both, is silently float64. So a counter is one or the other throughout.
inline: Any = njit(inline="always", **_OPTIONS)  # a part of every kernel that calls it


def external(function: Callable[..., None]) -> Any:
    """Compile a function of integers once; kernels call it like a C library's."""
    name = f"tinycnn_{function.__name__}"
    _EXTERNAL[name] = function
    kinds = [types.int64] * function.__code__.co_argcount
    called: Any = types.ExternalFunction(name, types.void(*kinds))
    called.py_func = function
    return called


@functools.cache  # and kept: with what is returned, its machine code would be freed
def machine_code(function: Callable[..., None], *last: Any, **options: Any) -> Any:
    """Compile a Python function for C; return it, with `function` and `address`.

    Its arguments are integers, but the last ones, whose Numba types are given.
    """
    kinds = [types.int64] * (function.__code__.co_argcount - len(last)) + list(last)
    code: Any = CFunc(function, (tuple(kinds), types.void), {}, _OPTIONS | options)
    with contextlib.suppress(RuntimeError):  # no folder can be written
        code._cache = FunctionCache(function)
        # A kernel contains what it calls: it is stale if any file here was edited.
        files = sorted(Path(__file__).parent.glob("*.py"))
        stamps = [(file.stat().st_mtime_ns, file.stat().st_size) for file in files]
        code._cache._cache_file._source_stamp = stamps
    # In a thread of its own, because Ctrl-C in its middle would leave Numba unusable.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(code.compile).result()
    function_of = ctypes.PYFUNCTYPE(None, *[ctypes.c_int64] * len(kinds))
    code.function = function_of(code.address)
    return code


@intrinsic
def call(_, address, block, blocks, job):
    """Call a kernel by its address."""

    def generate(context, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 3)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def empty(_, dtype, *sizes):
    """Return a new array; what `numpy.empty` compiles to for each shape takes long."""
    kind = types.Array(dtype.dtype, len(sizes), "C")

    def generate(context, builder, signature, values):
        numbers = cgutils.unpack_tuple(builder, values[1], len(sizes))
        return _empty_nd_impl(context, builder, kind, numbers)._getvalue()

    return kind(dtype, types.UniTuple(types.int64, len(sizes))), generate


# C's functions, of addresses and bytes: slices take long to compile, too.
memcpy: Any = types.ExternalFunction("memcpy", types.void(*[types.int64] * 3))
memset: Any = types.ExternalFunction("memset", types.void(*[types.int64] * 3))


def _for_each_block(kernel, blocks, job):
    for block in prange(blocks):
        call(kernel, block, blocks, job)


def aligned(*shape: int) -> NDArray[np.float32]:
    """Return a new array; large ones begin with a line of the cache, unlike NumPy's."""
    size = math.prod(shape)
    if size < BLOCK:
        return np.empty(shape, np.float32)
    memory = np.empty(size + LINE, np.float32)
    first = -_MEMORY[(id(memory) + DATA) // 8] // 4 % LINE
    return memory[first : first + size].reshape(shape)


class Kernel:
    """A function of ``(block, blocks, job)`` that does block ``block`` of ``blocks``.

    What it writes belongs to that block alone, and how many blocks there are does not
    depend on the threads: then neither do the bits. ``job[0]`` is the tuple of the
    arguments, arrays and then integers. ``shapes`` have for an array names of sizes and
    expressions of names that came before or are of integers: ``"N, H, W, C"``, or
    ``"uint8: N, 2 * H"`` if it is not of float32; and `int` for an integer.
    """

    def __init__(self, function: Callable[..., None], shapes: dict[str, Any]) -> None:
        self.function, self.shapes = function, shapes
        self._arrays = sum(wanted is not int for wanted in shapes.values())
        self._jobs: dict[Any, Any] = {}  # by kinds of the arguments

    def __call__(self, blocks: int, *arguments: Any) -> None:
        """Do all blocks, in parallel if there are several.

        ValueError is raised if an argument is not as declared. Only the first arguments
        of their kinds are compared; later ones need but their addresses.
        """
        arrays, integers = arguments[: self._arrays], arguments[self._arrays :]
        key = (blocks, integers, *map(KIND, arrays))
        prepared = self._jobs.get(key)
        if prepared is None:
            self._check(blocks, arguments)
            if len(self._jobs) == 1000:  # of many shapes there is no end
                self._jobs.clear()
            prepared = self._jobs[key] = self._prepare(arguments)
        code, words, places = prepared
        job = words[:]
        for place, one in zip(places, arrays, strict=True):
            job[place] = _MEMORY[(id(one) + DATA) // 8]
        if blocks > 1 and not _ALONE:  # alone, no threads are started
            loop = machine_code(_for_each_block, parallel=True).function
            loop(code.address, blocks, job.buffer_info()[0])
        else:
            for block in range(blocks):
                code.function(block, blocks, job.buffer_info()[0])

    def _prepare(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Compile; return the code, the job, where in it addresses go."""
        kinds, words, places = list[Any](), list[int](), list[int]()
        for one in arguments[: self._arrays]:  # in memory, as Numba's ArrayModel says
            kinds.append(types.Array(from_dtype(one.dtype), one.ndim, "C"))
            places.append(len(words) + 4)
            words += [0, 0, one.size, one.itemsize, 0, *one.shape, *one.strides]
        kinds += [types.int64] * (len(arguments) - self._arrays)
        words += arguments[self._arrays :]
        job = types.CPointer(types.BaseTuple.from_types(kinds))
        for name, function in _EXTERNAL.items():
            llvmlite.binding.add_symbol(name, machine_code(function).address)
        return machine_code(self.function, job), array("q", words), places

    def _check(self, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Refuse what is not as declared: kernels go by addresses."""
        named = dict(zip(self.shapes, arguments, strict=True))
        integers = list(self.shapes)[self._arrays :]
        sizes = {name: int(named[name]) for name in integers} | {"blocks": blocks}
        for name, one in list(named.items())[: self._arrays]:
            dtype, _, text = self.shapes[name].rpartition(": ")
            dtype = dtype or "float32"
            for side, size in zip(text.split(", "), one.shape, strict=False):
                if side.isidentifier():  # its first array says how large it is
                    sizes.setdefault(side, size)
            shape = eval(f"({text},)", {}, collections.defaultdict(int, sizes))
            found = one.dtype, one.shape
            if found != (dtype, shape) or not one.flags.c_contiguous:
                known = {w: sizes[w] for w in re.findall(r"\w+", text) if w in sizes}
                raise ValueError(
                    f"{self.function.__name__} needs {name} {dtype} ({text}), "
                    f"where {known}, not {found[0]} {found[1]}"
                )


def shared(**shapes: Any) -> Callable[[Callable[..., None]], Kernel]:
    """Return a decorator that makes a `Kernel` of a function."""
    return lambda function: Kernel(function, shapes)
