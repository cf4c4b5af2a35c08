"""Adam in one pass over the memory, where NumPy makes one for each operation."""

from typing import Any

import numpy as np
from numba import uintp

from tinycnn import nn
from tinycnn.fast.compiled import shared
from tinycnn.fast.written import is_as_written
from tinycnn.nn.layers import Array

# To wake the threads takes as long as so many numbers.
BLOCK = 2**15


class Adam(nn.Adam):
    """The optimizer `tinycnn.nn.Adam`: the same settings, equations and state.

    That itself runs for float64, for arrays that are not contiguous, and if it was
    edited, which a warning says.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._quick = is_as_written("Adam")

    def _update(self, number: int, value: Array, grad: Array) -> None:
        arrays = grad, self._m[number], self._v[number], value
        quick = self._quick and value.dtype == np.float32
        if not (quick and all(one.flags.c_contiguous for one in arrays)):
            super()._update(number, value, grad)
            return
        decay = self.learning_rate * self.weight_decay if value.ndim >= 2 else 0
        numbers = (
            1 - self.beta1,
            1 - self.beta2,
            self.learning_rate / (1 - self.beta1**self.steps),
            1 / (1 - self.beta2**self.steps),
            self.eps,
            1 - decay,
        )
        flat = [one.reshape(-1) for one in arrays]
        adam(-(-value.size // BLOCK), np.array(numbers, np.float32), *flat)


@shared(numbers="6", grad="M", m="M", v="M", value="M")
def adam(block, blocks, job):
    """Take a step of Adam; safe in parallel because number i needs number i alone.

    ``numbers``: see `Adam`; the last is what the value is multiplied by first. ``m``,
    ``v`` and ``value`` are edited.
    """
    numbers, grad, m, v, value = job[0]
    to_m, to_v, rate, correction = numbers[0], numbers[1], numbers[2], numbers[3]
    eps, decay, M = numbers[4], numbers[5], len(value)
    for i in range(uintp(M * block // blocks), uintp(M * (block + 1) // blocks)):
        m_i = m[i] + to_m * (grad[i] - m[i])
        v_i = v[i] + to_v * (grad[i] * grad[i] - v[i])
        value[i] = decay * value[i] - rate * m_i / (np.sqrt(correction * v_i) + eps)
        m[i], v[i] = m_i, v_i
