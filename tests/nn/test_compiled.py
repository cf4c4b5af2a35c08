"""The laws of `compiled`: the result is the function's, with a cache or without one."""

import math

import numpy as np
import pytest
from numba import config, njit

from tinycnn.nn.compiled import compiled

SOURCE = "def double(x):\n    return 2 * x\n"


def from_no_file():
    """Return a function whose machine code Numba has no place to keep."""
    namespace = {}
    exec(compile(SOURCE, "<no file>", "exec"), namespace)
    return namespace["double"]


def test_where_nothing_can_be_kept_the_kernel_is_compiled_all_the_same():
    # Numba refuses to decorate such a function with a cache; see whether it still does.
    if not config.DISABLE_JIT:
        with pytest.raises(RuntimeError, match="cannot cache"):
            njit(cache=True)(from_no_file())
    assert compiled()(from_no_file())(21) == 42


def test_not_a_number_keeps_its_meaning():
    @compiled()
    def is_nan(x):
        return x != x or np.isnan(x)

    assert is_nan(math.nan)
    assert not is_nan(math.inf)


def test_a_sum_keeps_its_order():
    @compiled()
    def add(values):
        total = 0.0
        for i in range(len(values)):
            total += values[i]
        return total

    # Any other order, or several sums side by side, would keep a 1.
    values = np.array([1.0, 1e100, 1.0, -1e100] * 64)
    assert add(values) == 0
