"""Whether a layer, or Adam, still is what the steps were written for.

A step stands in for layers, and what is read should be what runs. So if one of their
methods, or a loop of `tinycnn.nn.kernels`, is not what it was when its step was written
(a file was edited, or a class in a notebook), all of them run as they are written. This
is seen by the source of the methods, without comments, docstrings and spaces. Whether
steps and layers compute the same is what the tests are about.
"""

import functools
import hashlib
import inspect
import re
import warnings
from typing import Any

from numba import config

from tinycnn import nn
from tinycnn.nn import kernels

LAYERS = nn.Conv2D, nn.ReLU, nn.MaxPool2D, nn.Dropout, nn.BatchNorm2D, nn.Flatten
KINDS: dict[str, Any] = {"a layer": (*LAYERS, nn.Dense), "Adam": (nn.Adam,)}
LOOPS = ("im2col", "col2im", "max_pool", "max_pool_backward")
FINGERPRINTS = {"a layer": "398848724017da66", "Adam": "587e651352b9ce93"}


def fingerprint(what: str) -> str:
    """Return a digest of the code of `KINDS`, or "" if it cannot be read."""
    things = [thing for kind in KINDS[what] for thing in vars(kind).values()]
    if what == "a layer":
        loops = [getattr(kernels, name) for name in LOOPS]
        things += [getattr(loop, "py_func", loop) for loop in loops]
    return _digest(tuple(filter(inspect.isfunction, things)))


@functools.cache
def _digest(functions: tuple[Any, ...]) -> str:
    try:
        text = "".join(map(inspect.getsource, functions))
    except (OSError, TypeError):  # typed into an interpreter
        return ""
    code = re.sub(r'""".*?"""|#[^\n]*|\s', "", text, flags=re.DOTALL)
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def is_as_written(what: str) -> bool:
    """Return whether something of `KINDS` was not edited; else a warning says so."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return False
    if fingerprint(what) == FINGERPRINTS[what]:
        return True
    warnings.warn(
        f"tinycnn.nn runs as it is written, without tinycnn.fast: was {what} edited?",
        stacklevel=1,  # one place for all: said once a process
    )
    return False
