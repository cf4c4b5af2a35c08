"""Our tricks, each left out alone: what is replaced, and by what.

A kernel is compiled at its first call, so a trick must be left out before anything was
computed, and with a folder for compiled code that no other run uses (Numba does not
see that a function was replaced). `benchmarks.versus_worker` takes care of both.

What remains computes the same, which a test holds; only the way is the plain one.

This file knows the inner names of `tinycnn.nn.fast`, and changes with them. It does not
know clocks.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
from numba import njit

from tinycnn.nn import kernels
from tinycnn.nn.fast import convolution
from tinycnn.nn.fast.convolution import DEAD, ROWS, tile_of_1
from tinycnn.nn.layers import Array


def dense_backward(step: Any, dy: Array) -> Array:
    """Do `FusedConvolution.backward` with nothing left out.

    The gradient is laid out over the whole map, zeros and all, and goes through the two
    dense products of the plain layer. (BLAS computes these on one thread, as always
    here.)
    """
    x, margins, winner, scale = step._recall(dy)
    KH, KW, C, F = step.conv.weight.value.shape
    SH, SW, _, KWP, SHP, SWP = step._geometry()
    N, H, W, _ = x.shape
    OH, OW = (H - KH) // SH + 1, (W - KW) // SW + 1
    alive = winner != DEAD
    dmap = np.empty((N, OH, OW, F), np.float32)
    cells = np.where(alive, winner, 0).astype(np.int32)
    kernels.max_pool_backward(dy * alive * scale, cells, KWP, SHP, SWP, dmap)
    cols = np.empty((N, OH, OW, KH, KW * C), np.float32)
    kernels.im2col(x, KH, KW, SH, SW, cols)
    step.conv._remember(
        dmap.shape, cols.reshape(N * OH * OW, KH * KW * C), x.shape, margins
    )
    return step.conv.backward(dmap)


@njit
def row_by_row(  # type: ignore[no-untyped-def]
    a, a_row, a_run, a_step, S, K, b, b_row, start, start_row, y, y_row
):
    """Do `tile_of_6` a row at a time: what was loaded serves one row, not six."""
    for i in range(ROWS):
        tile_of_1(
            a + i * a_row, a_row, a_run, a_step, S, K, b, b_row,
            start + i * start_row, start_row, y + i * y_row, y_row,
        )  # fmt: skip


def layer_itself(layer: Any) -> Any:
    """Return the layer where a faster step would stand in for it."""
    return layer


@dataclass(frozen=True)
class Trick:
    """Something that makes us faster.

    Attributes
    ----------
    layer : str
        Networks with such a layer profit, named as in `benchmarks.versus_networks`.
    left_out : callable
        Gives a context in which we do without.
    """

    layer: str
    left_out: Callable[[], AbstractContextManager[object]]


ABLATIONS = {
    "fusion": Trick("conv", lambda: patch("tinycnn.nn.sequential.make_plan", list)),
    "sparse backward": Trick(
        "conv",
        lambda: patch("tinycnn.nn.fast.plan.FusedConvolution.backward", dense_backward),
    ),
    "tiles": Trick("conv", lambda: patch.object(convolution, "tile_of_6", row_by_row)),
    "fused batch norm": Trick(
        "norm", lambda: patch("tinycnn.nn.fast.plan.FusedBatchNorm", layer_itself)
    ),
}
