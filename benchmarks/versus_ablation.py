"""Our tricks, each left out alone: what is replaced, and by what.

====================== ===============================================================
fusion                 every layer runs as it is written; of the tricks below, only
                       the last two are left
Winograd               patches are multiplied by the weights, nothing is transformed
tiles                  products are made a row at a time, not six: `vectors.multiply`
sparse backward        two dense products, over a gradient that is mostly zeros
ink                    the first layer goes back like the others: the gradient of the
                       image is computed, too, and thrown away
sparse dense layer     BLAS multiplies the zeros, too, on the one thread it has here
fused batch norm       NumPy, an array for each operation
one-pass Adam          NumPy, an array for each operation
kept memory            the C library gives large arrays back to the system as soon as
                       they are freed: its default
====================== ===============================================================

A kernel is compiled at its first call, so a trick must be left out before anything was
computed, and with a folder for compiled code that no other run uses (Numba does not
see that a function was replaced). `benchmarks.versus_worker` takes care of both.

What remains computes the same, which a test holds; only the way is the plain one.

This file knows the inner names of `tinycnn.fast`, and changes with them. It does not
know clocks.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.versus_networks import Network
from tinycnn import threads
from tinycnn.fast import steps, vectors
from tinycnn.fast.fuse import LARGE
from tinycnn.fast.vectors import DEAD
from tinycnn.nn import kernels
from tinycnn.nn.layers import Array, Layer


def dense_backward(step: Any, dy: Array) -> Array:
    """Do `FusedConvolution.backward` with nothing left out.

    The gradient is laid out over the whole map, zeros and all, and goes through the two
    dense products of the plain layer. (BLAS computes these on one thread, as always
    here.)
    """
    x, (top, left), (H, W), winner, scale = step._recall(dy)
    KH, KW, C, F = step.conv.weight.value.shape
    (SH, SW), (_, KWP, SHP, SWP) = step.conv.stride, step._window()
    N, inner_H, inner_W, _ = x.shape
    OH, OW = (H - KH) // SH + 1, (W - KW) // SW + 1
    alive = winner != DEAD
    dmap = np.empty((N, OH, OW, F), np.float32)
    cells = np.where(alive, winner, 0).astype(np.int32)
    kernels.max_pool_backward(dy * alive * scale, cells, KWP, SHP, SWP, dmap)
    margins = top, H - inner_H - top, left, W - inner_W - left
    padded = np.pad(x, ((0, 0), margins[:2], margins[2:], (0, 0)))
    cols = np.empty((N, OH, OW, KH, KW * C), np.float32)
    kernels.im2col(padded, KH, KW, SH, SW, cols)
    step.conv._remember(
        dmap.shape, cols.reshape(N * OH * OW, KH * KW * C), padded.shape, margins
    )
    return step.conv.backward(dmap)


def adam_in_numpy(
    grad: Array,
    to_m: Any,
    to_v: Any,
    rate: Any,
    correction: Any,
    eps: Any,
    decay: Any,
    m: Array,
    v: Array,
    value: Array,
) -> None:
    """Do `kernels.adam`, an operation at a time."""
    m += to_m * (grad - m)
    v += to_v * (grad * grad - v)
    value *= decay
    value -= rate * m / (np.sqrt(correction * v) + eps)


def layer_itself(layer: Any) -> Any:
    """Return the layer where a faster step would stand in for it."""
    return layer


@dataclass(frozen=True)
class Trick:
    """Something that makes us faster.

    Attributes
    ----------
    helps : callable
        Says whether a layer profits, given as in `benchmarks.versus_networks`.
    left_out : callable
        Gives a context in which we do without.
    """

    helps: Callable[[Sequence[Any]], bool]
    left_out: Callable[[], AbstractContextManager[object]]


def convolution(layer: Sequence[Any]) -> bool:
    """Return whether a layer is a convolution."""
    return layer[0] == "conv"


def over_maps(layer: Sequence[Any]) -> bool:
    """Return whether a layer is a convolution of maps, not of images of one channel."""
    return layer[0] == "conv" and layer[1] > 1


ABLATIONS = {
    "fusion": Trick(
        convolution, lambda: patch("tinycnn.nn.sequential.make_plan", list)
    ),
    "Winograd": Trick(
        over_maps, lambda: patch.object(steps, "patch_side", lambda *_: 0)
    ),
    "tiles": Trick(
        convolution,
        lambda: patch.multiple(vectors, ROWS=1, _tile_of_6=vectors._tile_of_1),
    ),
    "sparse backward": Trick(
        over_maps,
        lambda: patch.object(steps.FusedConvolution, "backward", dense_backward),
    ),
    "ink": Trick(
        convolution,
        lambda: patch.object(
            steps.FusedConvolution, "backward_parameters", Layer.backward_parameters
        ),
    ),
    "sparse dense layer": Trick(
        lambda layer: layer[0] == "dense" and layer[2] >= LARGE,
        lambda: patch("tinycnn.fast.fuse.FusedDense", layer_itself),
    ),
    "fused batch norm": Trick(
        lambda layer: layer[0] == "norm",
        lambda: patch("tinycnn.fast.fuse.FusedBatchNorm", layer_itself),
    ),
    "one-pass Adam": Trick(
        lambda layer: layer[0] == "dense",
        lambda: patch.object(kernels, "adam", adam_in_numpy),
    ),
    "kept memory": Trick(
        lambda layer: layer[0] == "dense",
        lambda: patch.object(threads, "_keep_freed_memory", lambda: None),
    ),
}


def tricks_for(network: Network) -> list[str]:
    """Return the tricks that a network profits from."""
    return [name for name, trick in ABLATIONS.items() if any(map(trick.helps, network))]
