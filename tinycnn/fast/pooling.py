"""What bias, ReLU, max pooling and dropout leave of a feature map.

Of every window of every channel, the largest number and the bias: if the sum is
positive and dropout keeps it, it is written, times the scale of dropout, and so is the
number ``kh * KW + kw`` of its cell, the winner. Otherwise 0 is written, and DEAD.

::

    map (OH, OW, F)          y            winner
    0.1  0.9 | -3   -2
    0.4  0.2 | -1   -5   ->  0.9   0      1   DEAD      (bias 0, windows 2×2)

A tie goes to the first cell. NaN wins and stays NaN, in spite of dropout, so that it is
not hidden. The loops run over whole maps, channels innermost: a compiler turns them
into vectors by itself.
"""

import numpy as np
from numba import uint8, uintp

from tinycnn.fast.compiled import compiled

DEAD = 255  # the winner where nothing passes: ReLU was closed, or dropped
_ZERO, _NONE = np.float32(0), uint8(DEAD)


@compiled()
def pool(maps, place, bias, window, stride, mask, drops, scale, y, winner, n):
    """Fill image n of ``y`` and ``winner`` from the map at a place.

    Parameters
    ----------
    maps : float32 array (places, OH, OW, at least F)
    place, n : int
    bias : float32 array (F,)
    window, stride : (int, int)
        KH, KW and SH, SW.
    mask : uint8 array (N, OH, OW, F) after pooling
        0 where dropout drops; not read if ``drops`` is 0.
    drops : uint32
        1 if there is dropout, else 0.
    scale : float32
    y : float32 array, winner : uint8 array, both (N, OH, OW, F) after pooling
    """
    KH, KW = window
    SH, SW = stride
    if KH == 2 and KW == 2 and SH == 2 and SW == 2:
        _pool_2x2(maps, uintp(place), bias, mask, drops, scale, y, winner, uintp(n))
        return
    if KH == 1 and KW == 1 and SH == 1 and SW == 1:
        _pool_1x1(maps, uintp(place), bias, mask, drops, scale, y, winner, uintp(n))
        return
    _, OH, OW, F = y.shape
    for oh in range(OH):
        for ow in range(OW):
            for f in range(F):
                best, cell = np.float32(-np.inf), uint8(0)
                for kh in range(KH):
                    for kw in range(KW):
                        value = maps[place, oh * SH + kh, ow * SW + kw, f]
                        best, cell = _larger(best, cell, value, uint8(kh * KW + kw))
                best += bias[f]
                alive = (best > _ZERO) | (best != best)
                if drops > 0:
                    alive &= (mask[n, oh, ow, f] > 0) | (best != best)
                y[n, oh, ow, f] = scale * best if alive else _ZERO
                winner[n, oh, ow, f] = cell if alive else _NONE


@compiled()
def _larger(best, cell, value, number):
    """Return the larger of two values, and its number."""
    wins = (value > best) | (value != value)
    return (value if wins else best), (number if wins else cell)


@compiled()
def _pool_2x2(maps, place, bias, mask, drops, scale, y, winner, n):
    """Do windows of 2×2 that do not overlap."""
    _, OH, OW, F = y.shape
    one, two = uintp(1), uintp(2)
    for oh in range(uintp(OH)):
        for ow in range(uintp(OW)):
            h, w = two * oh, two * ow
            for f in range(uintp(F)):
                best, cell = maps[place, h, w, f], uint8(0)
                right = maps[place, h, w + one, f]
                below = maps[place, h + one, w, f]
                across = maps[place, h + one, w + one, f]
                best, cell = _larger(best, cell, right, uint8(1))
                best, cell = _larger(best, cell, below, uint8(2))
                best, cell = _larger(best, cell, across, uint8(3))
                best += bias[f]
                alive = (best > _ZERO) | (best != best)
                if drops > 0:
                    alive &= (mask[n, oh, ow, f] > 0) | (best != best)
                y[n, oh, ow, f] = scale * best if alive else _ZERO
                winner[n, oh, ow, f] = cell if alive else _NONE


@compiled()
def _pool_1x1(maps, place, bias, mask, drops, scale, y, winner, n):
    """Do without pooling: every cell is a window."""
    _, OH, OW, F = y.shape
    for oh in range(uintp(OH)):
        for ow in range(uintp(OW)):
            for f in range(uintp(F)):
                best = maps[place, oh, ow, f] + bias[f]
                alive = (best > _ZERO) | (best != best)
                if drops > 0:
                    alive &= (mask[n, oh, ow, f] > 0) | (best != best)
                y[n, oh, ow, f] = scale * best if alive else _ZERO
                winner[n, oh, ow, f] = uint8(0) if alive else _NONE
