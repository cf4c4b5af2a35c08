"""What bias, ReLU, max pooling and dropout leave of a feature map.

Of every window of every channel, the largest number and the bias: if the sum is
positive and dropout keeps it, it is written, and so is the number ``side * kh + kw`` of
its cell, the winner. Otherwise 0 is written, and DEAD.

::

    map (OH, OW, F)          y            winner
    0.1  0.9 | -3   -2
    0.4  0.2 | -1   -5   ->  0.9   0      1   DEAD      (bias 0, windows 2×2)

A tie goes to the first cell. NaN wins and stays NaN, in spite of dropout; no gradient
passes it, as none passes ReLU there. The loops run over whole maps, channels innermost:
a compiler turns them into vectors by itself.
"""

import numpy as np
from numba import uint8, uintp

from tinycnn.fast.compiled import inlined

DEAD = 255  # the winner where nothing passes: ReLU was closed, or dropped
_ZERO, _NONE = np.float32(0), uint8(DEAD)


@inlined
def pool(maps, i, side, bias, y, winner, n):
    """Fill image n of ``y`` and ``winner`` (N, OH, OW, F) from map i.

    ``side`` is 2, the side and the stride of a window, or 1 if there is no pooling.
    ``winner`` is 0 before where dropout drops a number, else 1.
    """
    _, OH, OW, F = y.shape
    place, n, side, one = uintp(i), uintp(n), uintp(side), uintp(1)
    for oh in range(uintp(OH)):
        for ow in range(uintp(OW)):
            h, w = side * oh, side * ow
            for f in range(uintp(F)):
                best, cell = maps[place, h, w, f], uint8(0)
                if side > one:
                    right = maps[place, h, w + one, f]
                    below = maps[place, h + one, w, f]
                    across = maps[place, h + one, w + one, f]
                    best, cell = _larger(best, cell, right, uint8(1))
                    best, cell = _larger(best, cell, below, uint8(2))
                    best, cell = _larger(best, cell, across, uint8(3))
                best += bias[f]
                alive = (best > _ZERO) & (winner[n, oh, ow, f] > 0)
                y[n, oh, ow, f] = best if alive | (best != best) else _ZERO
                winner[n, oh, ow, f] = cell if alive else _NONE


@inlined
def _larger(best, cell, value, number):
    """Return the larger of two values, and its number."""
    wins = (value > best) | (value != value)
    return (value if wins else best), (number if wins else cell)
