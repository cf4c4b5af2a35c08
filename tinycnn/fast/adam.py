"""Adam in one pass over the memory, where NumPy makes one for each operation.

::

    NumPy    grad, m -> grad - m -> (1 - beta1) * ... -> m     an array at each arrow
    here     grad[i], m[i], v[i], value[i] -> m[i], v[i], value[i]
"""

from typing import Any

import numpy as np
from numba import uintp

from tinycnn import nn
from tinycnn.fast.compiled import BLOCK, KIND, shared
from tinycnn.fast.written import is_as_written
from tinycnn.nn.layers import Array


class Adam(nn.Adam):
    """The optimizer `tinycnn.nn.Adam`: the same settings, equations and state.

    That itself runs for float64, for arrays that are not contiguous, and if it was
    edited, which a warning says.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._quick = is_as_written("Adam")

    def step(self) -> None:
        """Update every parameter by its gradient; ValueError as `tinycnn.nn.Adam`."""
        steps = self.steps + 1  # with this one
        numbers = [
            1 - self.beta1,
            1 - self.beta2,
            self.learning_rate / (1 - self.beta1**steps),
            1 / (1 - self.beta2**steps),
            self.eps,
            self.learning_rate * self.weight_decay,
        ]
        self._numbers = np.array(numbers, np.float32)
        super().step()

    def _update(self, number: int, value: Array, grad: Array) -> None:
        arrays = grad, self._m[number], self._v[number], value
        alike = len(set(map(KIND, arrays))) == 1 and value.dtype == np.float32
        if self._quick and alike and value.flags.c_contiguous:
            rows = [one.reshape(-1) for one in arrays]  # the same memory
            decays, blocks = int(value.ndim >= 2), -(-value.size // BLOCK)
            adam(blocks, *rows, self._numbers, decays)
        else:
            super()._update(number, value, grad)


@shared(grad="M", m="M", v="M", value="M", numbers="6", decays=int)
def adam(block, blocks, job):
    """Take a step of Adam: a block of a parameter, whose numbers need no others."""
    grad, m, v, value, numbers, decays = job[0]
    to_m, to_v, rate, correction = numbers[0], numbers[1], numbers[2], numbers[3]
    eps, decay = numbers[4], np.float32(1 - decays * numbers[5])
    M = len(value)
    for i in range(uintp(M * block // blocks), uintp(M * (block + 1) // blocks)):
        m_i = m[i] + to_m * (grad[i] - m[i])
        v_i = v[i] + to_v * (grad[i] * grad[i] - v[i])
        value[i] = decay * value[i] - rate * m_i / (np.sqrt(correction * v_i) + eps)
        m[i], v[i] = m_i, v_i
