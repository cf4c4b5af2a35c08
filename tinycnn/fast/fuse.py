"""Which layers become one step.

`make_plan` turns the list of layers that the reader wrote into a second list, of steps
over the same parameters. A step is a layer as far as anyone can tell: it has forward
and backward, and assigns the same gradients. Layers that no rule knows stay what they
are. A rule holds for the exact class alone: a subclass of `ReLU` may compute anything.

It knows the layers and the steps; what a step does is in `tinycnn.fast.steps`.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

from tinycnn.fast.steps import FusedBatchNorm, FusedConvolution, FusedDense
from tinycnn.fast.vectors import DEAD
from tinycnn.nn.layers import (
    Array,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Layer,
    MaxPool2D,
    ReLU,
)

# The largest difference that rounding may make, as a share of the largest number.
AGREEMENT = 1e-3
# From so many outputs on, a dense layer is more than one product of BLAS.
LARGE = 64


def make_plan(layers: Sequence[Layer]) -> list[Layer]:
    """Return the steps that do the work of the layers, in float32.

    ====================================================== =====================
    Conv2D, ReLU and, if they follow, MaxPool2D, Dropout   `FusedConvolution`
    BatchNorm2D                                            `FusedBatchNorm`
    Dense with at least 64 outputs                         `FusedDense`
    anything else                                          the layer itself
    ====================================================== =====================

    With ``NUMBA_DISABLE_JIT=1`` every layer stays itself: interpreted Python has no
    addresses.

    Parameters
    ----------
    layers : sequence of Layer

    Returns
    -------
    list of Layer
    """
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return list(layers)
    plan: list[Layer] = []
    rest = list(layers)
    while rest:
        first = rest.pop(0)
        if type(first) is Conv2D and _next_is(ReLU, rest):
            del rest[0]
            pool = (
                rest.pop(0) if _next_is(MaxPool2D, rest) and _small(rest[0]) else None
            )
            dropout = rest.pop(0) if _next_is(Dropout, rest) else None
            plan.append(FusedConvolution(first, pool, dropout))
        elif type(first) is BatchNorm2D:
            plan.append(FusedBatchNorm(first))
        elif type(first) is Dense and first.weight.value.shape[1] >= LARGE:
            plan.append(FusedDense(first))
        else:
            plan.append(first)
    return plan


def agree(model: Layer, plain: Layer, x: Array) -> bool:
    """Return whether two models compute the same, within rounding.

    Outputs in training and in inference, running averages and gradients are compared,
    for two inputs at a time. Outputs must agree for all of them. A number that rounding
    carries over 0, though, opens a ReLU or closes it, which changes an output by next
    to nothing but sends a whole gradient another way: that happens to one pair in a
    hundred or so. So gradients must agree for half of the pairs.

    Parameters
    ----------
    model, plain : Layer
        With the same parameters; neither is changed.
    x : float32 array (N, ...)
        A few inputs.
    """
    pairs = np.array_split(x, max(len(x) // 2, 1))
    found = [(_computed(model, pair), _computed(plain, pair)) for pair in pairs]
    outputs = [_same(ours[0], theirs[0]) for ours, theirs in found]
    gradients = [_same(ours[1], theirs[1], among=True) for ours, theirs in found]
    return all(outputs) and 2 * sum(gradients) >= len(pairs)


def _computed(model: Layer, x: Array) -> tuple[list[Array | None], ...]:
    """Return what a model makes of inputs, and its gradients; it stays as it is."""
    model = copy.deepcopy(model)
    # Fresh biases are all 0 and fresh scales all 1, which would hide their absence.
    rng = np.random.default_rng(0)
    for array in model.state().values():
        if array.ndim == 1:
            array += rng.uniform(0.1, 0.2, array.shape).astype(array.dtype)
    y = model.forward(x, training=True).copy()
    # Any upstream gradient will do; this one is random enough and needs no seed.
    model.backward_parameters(
        np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape)
    )
    gradients = [parameter.grad for parameter in model.parameters()]
    # Then the running averages, and what inference makes of them.
    return [y, *model.state().values(), model.forward(x)], gradients


def _same(
    ours: list[Array | None], theirs: list[Array | None], among: bool = False
) -> bool:
    """Return whether arrays are the same within rounding; None is like nothing.

    Among others, an array may be rounding and no more: a bias before batch norm has no
    gradient.
    """
    sizes = [0.0 if other is None else float(np.abs(other).max()) for other in theirs]
    least = max(sizes, default=0.0) / 100 if among else 0.0
    return all(
        one is not None
        and other is not None
        and one.shape == other.shape
        and bool(np.abs(one - other).max() <= AGREEMENT * max(size, least))
        for one, other, size in zip(ours, theirs, sizes, strict=True)
    )


def _next_is(kind: type[Layer], rest: list[Layer]) -> bool:
    """Return whether the next layer is exactly of this class."""
    return bool(rest) and type(rest[0]) is kind


def _small(pool: Any) -> bool:
    """Return whether the number of a window's cell fits into a byte, beside DEAD."""
    KHP, KWP = pool.kernel_size
    return bool(KHP * KWP <= DEAD)
