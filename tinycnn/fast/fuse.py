"""Which layers become one step, and the runner that takes the steps."""

import os
import threading
from typing import Any

import numpy as np

from tinycnn.fast import convolution, dense
from tinycnn.fast.convolution import FusedConvolution
from tinycnn.fast.dense import FusedDense
from tinycnn.fast.normalization import FusedBatchNorm
from tinycnn.fast.vectors import COLUMNS
from tinycnn.fast.written import is_as_written
from tinycnn.nn import BatchNorm2D, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU
from tinycnn.nn.layers import Array, Layer
from tinycnn.nn.sequential import Sequential, _check_gradients, _check_output, _named

# One thread at a time: a runner and its steps remember the last forward, and Numba's
# simplest threading layer aborts the process when two threads run parallel kernels.
_LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):  # held by no thread that a child would lack
    _end = _LOCK.release
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_end, after_in_child=_end)


class Runner:
    """The forward and backward of a network, in fewer steps; ``fuse(model)`` makes one.

    ====================================================== =====================
    Conv2D, ReLU and, if they follow, MaxPool2D, Dropout   `FusedConvolution`
    BatchNorm2D                                            `FusedBatchNorm`
    Dense with 64 outputs or more and Flatten, if before   `FusedDense`
    anything else                                          the layer itself
    ====================================================== =====================

    Fused are what the networks of `models` are made of: convolutions of 3×3 or 5×5 and
    stride 1, poolings of 2×2 and stride 2, channels in multiples of 16 (a first layer
    of up to 15: any kernel); every other stays the plain layer, as do subclasses. All
    run as they are written if one was edited (see `tinycnn.fast.written`), for float64,
    for a subclass of `Sequential`, and with ``NUMBA_DISABLE_JIT=1``. Settings changed
    so that a step no longer does what its layers do are refused. x is kept until
    `backward`, not copied: it must not be edited before. `backward` returns its
    gradient if ``input_gradient`` is given.

    Attributes
    ----------
    steps : dict of int to Layer
        What stands in for layers, by the place of the one with parameters.
    """

    def __init__(self, model: Sequential, *, input_gradient: bool = False) -> None:
        self.model = model
        self.steps = make_steps(model, COLUMNS if input_gradient else 1)
        self._input_gradient = input_gradient
        self._shapes: dict[int, tuple[int, ...]] = {}  # of each step's x
        self._layers, self._parameters = model.layers, model.parameters()
        self._token = object()  # in the network's memory if this forward was the last
        self._may = type(model) is Sequential and is_as_written("a layer")
        self._fused = False  # whether the last forward was

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return what ``model.forward`` returns, within rounding; raise as it does."""
        with _LOCK:
            if self.model.layers is not self._layers:
                raise ValueError("the network has other layers than before; fuse again")
            values = [x, *(parameter.value for parameter in self._parameters)]
            kinds = {getattr(one, "dtype", None) for one in values}
            self._fused = self._may and kinds == {np.dtype(np.float32)} and x.size > 0
            y = x
            try:
                for place, step in self.steps.items() if self._fused else ():
                    y, before = step.forward(y, training), y
                    _check_output(before, y)
                    self._shapes[place] = before.shape
            except ValueError:
                self.model.forward(x, training)  # names the layer with the mistake
                raise
            if not self._fused:
                y = self.model.forward(x, training)
            self.model._memory = (self._token,)
        return y

    def backward(self, dy: Array) -> Array | None:
        """Assign the gradients of the parameters, as ``model.backward`` does.

        It raises ValueError as that does, or if there was no forward.
        """
        if self.model._memory != (self._token,):
            raise ValueError("backward needs a forward first, of the same runner")
        with _LOCK:
            if not self._fused:
                self.model._memory = None  # which refuses what a runner has begun
                dy = self.model.backward(dy)
                self.model._memory = (self._token,)
            for place, step in reversed(self.steps.items()) if self._fused else ():
                layer, shape = self.model.layers[place], self._shapes[place]
                with _named(place, layer):
                    dx = step.backward(dy)
                    _check_gradients(layer, dy, dx, shape)
                dy = dx
        return dy if self._input_gradient else None


def make_steps(model: Sequential, least: int = 1) -> dict[int, Any]:
    """Return the steps that do the work of a network, in float32, by place."""
    rest: list[Any] = list(model.layers)
    steps: dict[int, Any] = {}
    while rest:
        place, first = len(model.layers) - len(rest), rest.pop(0)
        # Of fewer channels, backward goes from pixels with ink to the weights alone.
        if (
            _is(Conv2D, [first])
            and _is(ReLU, rest)
            and convolution.fits(first, None)
            and first.weight.value.shape[2] >= (COLUMNS if place else least)
        ):
            del rest[0]
            pooled = _is(MaxPool2D, rest) and convolution.fits(first, rest[0])
            pool = rest.pop(0) if pooled else None
            dropout = rest.pop(0) if _is(Dropout, rest) else None
            steps[place] = FusedConvolution(first, pool, dropout)
        elif _is(BatchNorm2D, [first]):
            steps[place] = FusedBatchNorm(first)
        elif _is(Flatten, [first]) and _is(Dense, rest) and dense.fits(rest[0]):
            steps[place + 1] = FusedDense(first, rest.pop(0))
        elif _is(Dense, [first]) and dense.fits(first):
            steps[place] = FusedDense(None, first)
        else:
            steps[place] = first
    return steps


def _is(kind: type[Layer], layers: list[Any]) -> bool:
    """Return whether the first of some layers is exactly of a class, methods too."""
    own = [vars(layer).values() for layer in layers[:1] if type(layer) is kind]
    return bool(own) and not any(map(callable, own[0]))
