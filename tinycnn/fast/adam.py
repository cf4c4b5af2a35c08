"""Adam in one pass over the memory, where NumPy makes one for each operation."""

import warnings
from typing import Any

import numpy as np
from numba import prange

from tinycnn import nn
from tinycnn.fast.compiled import compiled
from tinycnn.nn.layers import Array


class Adam(nn.Adam):
    """The optimizer `tinycnn.nn.Adam`: the same settings, equations and state.

    Its first update of every parameter is compared with that of `tinycnn.nn.Adam`. If
    they differ, because that was edited, a warning says so and the edited one is used.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._compared: set[int] = set()
        self._differs = False

    def _update(self, number: int, value: Array, grad: Array) -> None:
        if number not in self._compared and not self._differs:
            self._compare(number, value, grad)
        if self._differs:
            super()._update(number, value, grad)
        else:
            self._update_in_one_pass(number, value, grad)

    def _compare(self, number: int, value: Array, grad: Array) -> None:
        """Compare both updates of a parameter, on copies.

        Their moments are not zero: from zero, the first step of Adam is that of many
        another optimizer.
        """
        m, v = self._m[number], self._v[number]
        size = np.abs(grad).max()
        results = []
        for update in (super()._update, self._update_in_one_pass):
            self._m[number], self._v[number] = m + size, v + size * size
            new = value.copy()
            update(number, new, grad.copy())
            results.append((new - value, self._m[number], self._v[number]))
        self._m[number], self._v[number] = m, v
        self._compared.add(number)
        roundings = 1e-6 * np.abs(value).max(), 0, 0  # the step is a difference
        if not all(
            np.abs(ours - plain).max() <= 0.01 * np.abs(plain).max() + rounding
            for plain, ours, rounding in zip(*results, roundings, strict=True)
            if np.isfinite(plain).all()
        ):
            self._differs = True
            warnings.warn(
                "fast.Adam does not compute what nn.Adam computes (was it edited?), so "
                "nn.Adam runs as it is written",
                stacklevel=1,  # one place for all optimizers: said once a process
            )

    def _update_in_one_pass(self, number: int, value: Array, grad: Array) -> None:
        decay = self.learning_rate * self.weight_decay if value.ndim >= 2 else 0
        numbers = (
            1 - self.beta1,
            1 - self.beta2,
            self.learning_rate / (1 - self.beta1**self.steps),
            1 / (1 - self.beta2**self.steps),
            self.eps,
            1 - decay,
        )
        arrays = grad, self._m[number], self._v[number], value
        flat, *edited = (array.reshape(-1) for array in arrays)
        adam(flat, *map(value.dtype.type, numbers), *edited)
        for array, rows in zip(arrays[1:], edited, strict=True):
            if not array.flags.c_contiguous:  # then the kernel was given a copy
                array[...] = rows.reshape(array.shape)


@compiled(parallel=True)
def adam(grad, to_m, to_v, rate, correction, eps, decay, m, v, value):
    """Take a step of Adam; safe in parallel because number i needs number i alone.

    Parameters
    ----------
    grad : float array (M,)
    to_m, to_v : float
        ``1 - beta1`` and ``1 - beta2``.
    rate : float
        ``learning_rate / (1 - beta1 ** steps)``
    correction : float
        ``1 / (1 - beta2 ** steps)``
    eps : float
    decay : float
        What the value is multiplied by first.
    m, v, value : float array (M,)
        Edited in place. All numbers and arrays are of one dtype.
    """
    for i in prange(value.size):
        m_i = m[i] + to_m * (grad[i] - m[i])
        v_i = v[i] + to_v * (grad[i] * grad[i] - v[i])
        value[i] = decay * value[i] - rate * m_i / (np.sqrt(correction * v_i) + eps)
        m[i], v[i] = m_i, v_i
