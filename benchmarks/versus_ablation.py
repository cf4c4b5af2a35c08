"""Our tricks, each left out alone: what is replaced, and by what.

====================== ===============================================================
Winograd               from 16 channels on the layers as they are written, not fused
tiles                  products are made a row at a time: `vectors.multiply`
backward               two dense products, over a gradient that is mostly zeros, not
                       Winograd and a sum over what is alive
ink                    the same for the first layer, which goes back from ink alone; the
                       gradient of the image is computed and thrown away
sparse dense layer     BLAS multiplies the zeros, too, on the one thread it has here
one-pass Adam          NumPy, an array for each operation
====================== ===============================================================

A kernel is compiled at its first call, so a trick must be left out before anything was
computed, and with a folder for compiled code that no other run uses (Numba does not
see that a function was replaced). `benchmarks.versus_worker` takes care of both. What
remains computes the same, which is checked before it is timed.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from benchmarks.versus_networks import Network


class Trick(NamedTuple):
    """Something that makes us faster.

    `helps` says whether a layer profits, given as in `benchmarks.versus_networks`;
    `left_out` returns a context in which the trick is not used.
    """

    helps: Callable[[Sequence[Any]], bool]
    left_out: Callable[[], AbstractContextManager[object]]


def dense_backward(step: Any, dy: Any) -> Any:
    """Do `FusedConvolution.backward` with nothing left out.

    The gradient is laid out over the whole map, zeros and all, and goes through the two
    dense products of the plain layer.
    """
    from tinycnn.fast.convolution import DEAD
    from tinycnn.nn import kernels

    x, winner, factor, _ = step._recall(dy)
    (KH, KW, C, F), side = step.conv.weight.value.shape, step._side
    top, bottom, left, right = margins = step.conv.margins(*x.shape[1:3])
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    N, H, W, _ = padded.shape
    OH, OW = H - KH + 1, W - KW + 1
    dy, alive = dy * np.float32(factor), winner != DEAD
    dmap = np.empty((N, OH, OW, F), np.float32)
    cells = np.where(alive, winner, 0).astype(np.int32)
    kernels.max_pool_backward(dy * alive, cells, side, side, side, dmap)
    cols = np.empty((N, OH, OW, KH, KW * C), np.float32)
    kernels.im2col(padded, KH, KW, 1, 1, cols)
    cols = cols.reshape(N * OH * OW, KH * KW * C)
    step.conv._remember(dmap, cols, padded.shape, margins, (1, 1))
    return step.conv.backward(dmap)


def dense_where(first: bool) -> AbstractContextManager[object]:
    """Let the first layer, or all others, go back by `dense_backward`."""
    from tinycnn.fast.convolution import FusedConvolution

    usual = FusedConvolution.backward

    def backward(step: Any, dy: Any) -> Any:
        is_first = step.conv.weight.value.shape[2] < 16
        return dense_backward(step, dy) if is_first == first else usual(step, dy)

    return patch.object(FusedConvolution, "backward", backward)


def row_by_row() -> AbstractContextManager[object]:
    """Make products a row at a time."""
    from tinycnn.fast import vectors

    wide, one = vectors.make_tile(1, vectors.WIDE), vectors._tile_of_1
    return patch.multiple(vectors, ROWS=1, _wide_tile=wide, _tile=one)


def without_winograd() -> AbstractContextManager[object]:
    """Fuse no convolution of 16 channels and more."""
    from tinycnn.fast import convolution

    usual = convolution.fits

    def fits(conv: Any, pool: Any) -> bool:
        return conv.weight.value.shape[2] < 16 and usual(conv, pool)

    return patch.object(convolution, "fits", fits)


def numpy_adam() -> AbstractContextManager[object]:
    """Take the steps of Adam with NumPy."""
    from tinycnn import nn

    return patch("tinycnn.fast.Adam", nn.Adam)


ABLATIONS = {
    "Winograd": Trick(
        lambda layer: layer[0] == "conv" and layer[1] > 1,
        without_winograd,
    ),
    "tiles": Trick(lambda layer: layer[0] == "conv", row_by_row),
    "backward": Trick(
        lambda layer: layer[0] == "conv" and layer[1] > 1,
        lambda: dense_where(first=False),
    ),
    "ink": Trick(lambda layer: layer[0] == "conv", lambda: dense_where(first=True)),
    "sparse dense layer": Trick(
        lambda layer: layer[0] == "dense" and layer[2] > 10,
        lambda: patch("tinycnn.fast.dense.fits", lambda _: False),
    ),
    "one-pass Adam": Trick(lambda layer: layer[0] == "dense", numpy_adam),
}


def tricks_for(network: Network) -> list[str]:
    """Return the tricks that a network profits from."""
    return [name for name, trick in ABLATIONS.items() if any(map(trick.helps, network))]
