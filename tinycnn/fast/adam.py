"""Adam in one pass over the memory, where NumPy makes one for each operation.

The parameters of a network are many and small, so one call of the kernel takes them
all, from a table of where each lies:

::

    weight   decays 1   size 288   addresses of grad, m, v, value
    bias            0         32                ...
"""

from array import array
from typing import Any

import numpy as np
from numba import uintp

from tinycnn import nn
from tinycnn.fast.compiled import KIND, data, floats, shared
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

    def step(self) -> None:
        """Update every parameter by its gradient; ValueError as `tinycnn.nn.Adam`."""
        self._table = array("q")
        super().step()
        numbers = (
            1 - self.beta1,
            1 - self.beta2,
            self.learning_rate / (1 - self.beta1**self.steps),
            1 / (1 - self.beta2**self.steps),
            self.eps,
            self.learning_rate * self.weight_decay,
        )
        table = np.array(self._table).reshape(-1, 6)
        blocks = -(-int(table[:, 1].sum()) // BLOCK)
        if blocks > 0:
            adam(blocks, np.array(numbers, np.float32), table)

    def _update(self, number: int, value: Array, grad: Array) -> None:
        arrays = grad, self._m[number], self._v[number], value
        kinds = [*map(KIND, arrays)]  # the gate, for `floats` goes by addresses
        alike = kinds.count(kinds[0]) == 4 and value.dtype == np.float32
        if self._quick and alike and value.flags.c_contiguous:
            self._table.extend((value.ndim >= 2, value.size, *map(data, arrays)))
        else:
            super()._update(number, value, grad)


@shared(numbers="6", table="int64: P, 6")
def adam(block, blocks, job):
    """Take a step of Adam: a block of every parameter.

    Blocks are safe in parallel because number i needs number i alone.
    """
    numbers, table = job[0]
    to_m, to_v, rate, correction = numbers[0], numbers[1], numbers[2], numbers[3]
    eps = numbers[4]
    for p in range(len(table)):
        first, last = table[p, 1] * block // blocks, table[p, 1] * (block + 1) // blocks
        grad, m = floats(table[p, 2]), floats(table[p, 3])
        v, value = floats(table[p, 4]), floats(table[p, 5])
        decay = np.float32(1 - table[p, 0] * numbers[5])
        for i in range(uintp(first), uintp(last)):
            m_i = m[i] + to_m * (grad[i] - m[i])
            v_i = v[i] + to_v * (grad[i] * grad[i] - v[i])
            value[i] = decay * value[i] - rate * m_i / (np.sqrt(correction * v_i) + eps)
            m[i], v[i] = m_i, v_i
