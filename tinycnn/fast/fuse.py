"""Which layers become one step, and whether the steps compute what the layers do."""

import contextlib
import copy
import ctypes
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

from tinycnn.fast.layout import applies
from tinycnn.fast.steps import (
    FusedBatchNorm,
    FusedConvolution,
    FusedDense,
    FusedFlatten,
)
from tinycnn.nn.layers import (
    Array,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
)
from tinycnn.nn.sequential import (
    Sequential,
    _check_gradients,
    _check_output,
    _named,
)

# The largest difference that rounding may make, as a share of the largest number.
AGREEMENT = 1e-3
# With so many outputs or more, a dense layer is more than one product of BLAS.
LARGE = 64
# One thread at a time: a runner and its steps remember the last forward, and Numba's
# simplest threading layer aborts the process when two threads run parallel kernels.
_LOCK = threading.RLock()


def fuse(model: Sequential, *, input_gradient: bool = False) -> "Runner":
    """Return a runner with the forward and backward of a network, in fewer steps.

    ====================================================== =====================
    Conv2D, ReLU and, if they follow, MaxPool2D, Dropout   `FusedConvolution`
    BatchNorm2D                                            `FusedBatchNorm`
    Dense with at least 64 outputs                         `FusedDense`
    Flatten, but not as the first layer                    `FusedFlatten`
    anything else                                          the layer itself
    ====================================================== =====================

    Fused are what the networks of `models` are made of, convolutions of stride 1 with a
    multiple of 16 filters and 2×2 poolings of stride 2; every other stays the plain
    layer. Only these exact classes are recognised: a subclass of `ReLU` may compute
    anything. Settings that are changed afterwards, so that a step no longer does what
    its layers do, are refused.

    Parameters
    ----------
    model : Sequential
        It keeps its parameters; the runner works on them.
    input_gradient : bool
        Whether backward returns the gradient of the images, a third of a training step
        that training does not need.

    Returns
    -------
    Runner
    """
    _keep_freed_memory()
    return Runner(model, input_gradient)


class Runner:
    """What `fuse` returns.

    Float32 goes through the fused steps, if they agree with the layers on the first
    images of the first batch. If they differ, because a layer was edited, a warning
    says so and the layers run as they are written. They always do so for float64, for a
    subclass of `Sequential`, which may do anything with its layers, and with
    ``NUMBA_DISABLE_JIT=1``, because interpreted Python has no addresses.

    Attributes
    ----------
    model : Sequential
    steps : dict of int to step
        Layers and what stands in for them, by the place of the (first) layer.
    """

    def __init__(self, model: Sequential, input_gradient: bool) -> None:
        self.model, self.steps = model, make_steps(model)
        self._input_gradient = input_gradient
        self._shapes: dict[int, tuple[int, ...]] = {}  # of each step's x
        self._layers, self._parameters = model.layers, model.parameters()
        self._token = object()  # in the network's memory if this forward was the last
        self._checked: set[bool] = set()  # training, or inference, or both
        jit = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]
        self._agrees = jit and type(model) is Sequential
        self._fused: bool | None = None  # whether the last forward was

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return what ``model.forward`` returns, within rounding.

        Parameters
        ----------
        x : float array (N, ...)
        training : bool

        Raises
        ------
        ValueError
            As ``model.forward`` does.
        """
        with _LOCK:
            if self.model.layers is not self._layers:
                raise ValueError("the network has other layers than before; fuse again")
            values = [x, *(parameter.value for parameter in self._parameters)]
            fused = all(getattr(one, "dtype", None) == np.float32 for one in values)
            if fused and self._agrees and training not in self._checked:
                self._compare(x, training)
            self._fused = fused and self._agrees
            y = x
            try:
                for place, step in self.steps.items() if self._fused else ():
                    with _named(place, self.model.layers[place]):
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

        Returns
        -------
        dx : float array or None
            None unless the runner was made with ``input_gradient``.

        Raises
        ------
        ValueError
            If there was no forward, or as ``model.backward`` does.
        """
        if self.model._memory != (self._token,):
            raise ValueError("backward needs a forward first, of the same runner")
        with _LOCK:
            return self._backward(dy)

    def _backward(self, dy: Array) -> Array | None:
        """Do the work of `backward`."""
        if not self._fused:
            self.model._memory = None  # which refuses what a runner has begun
            dx = self.model.backward(dy)
            self.model._memory = (self._token,)
            return dx if self._input_gradient else None
        for place, step in reversed(self.steps.items()):
            layer = self.model.layers[place]
            with _named(place, layer):
                if place > 0 or self._input_gradient:
                    dx, shape = step.backward(dy), self._shapes[place]
                else:
                    getattr(step, "backward_parameters", step.backward)(dy)
                    dx, shape = dy, dy.shape  # not needed
                _check_gradients(layer, dy, dx, shape)
            dy = dx
        return dy if self._input_gradient else None

    def _compare(self, x: Array, training: bool) -> None:
        """Compare steps and layers on a few images."""
        try:
            agrees = agree(self.model, x[:8], training)
        except ValueError:
            raise  # it names the layer with the mistake
        except Exception:  # noqa: BLE001 - such as a layer that cannot be copied
            agrees = False
        if agrees is not None:
            self._agrees = agrees
            self._checked |= {training, False}
        if not self._agrees:
            warnings.warn(
                "the fused steps do not compute what the layers compute (was a layer "
                "edited?), so every layer runs as it is written",
                stacklevel=1,  # one place for all runners: said once a process
            )


def make_steps(model: Sequential) -> dict[int, Any]:
    """Return the steps that do the work of a network, in float32, by place."""
    rest: list[Any] = list(model.layers)
    steps: dict[int, Any] = {}
    while rest:
        place, first = len(model.layers) - len(rest), rest.pop(0)
        if type(first) is Conv2D and _next_is(ReLU, rest) and applies(first, None):
            del rest[0]
            pooled = _next_is(MaxPool2D, rest) and applies(first, rest[0])
            pool = rest.pop(0) if pooled else None
            dropout = rest.pop(0) if _next_is(Dropout, rest) else None
            steps[place] = FusedConvolution(first, pool, dropout)
        elif type(first) is BatchNorm2D:
            steps[place] = FusedBatchNorm(first)
        elif type(first) is Dense and first.weight.value.shape[1] >= LARGE:
            steps[place] = FusedDense(first)
        elif type(first) is Flatten and steps:
            steps[place] = FusedFlatten()
        else:
            steps[place] = first
    return steps


def agree(model: Sequential, x: Array, training: bool) -> bool | None:
    """Return whether the fused steps compute what the layers compute, within rounding.

    In training, outputs, running averages and gradients are compared, and inference
    after it; else inference alone. This is done for two inputs at a time, on copies.
    Outputs must agree for all of them. A number that rounding carries over 0, though,
    opens a ReLU or closes it, which changes an output by next to nothing but sends a
    whole gradient another way: that happens to one pair in a hundred or so. So
    gradients must agree for half of the pairs. Where the layers' own results are not
    finite, those of the steps need only be so too; None if that is so everywhere.

    Parameters
    ----------
    model : Sequential
        Not changed.
    x : float32 array (N, ...)
        A few inputs.
    training : bool
    """
    pairs = np.array_split(x, max(len(x) // 2, 1))
    outputs, gradients = [], []
    for pair in pairs:
        plain = _computed(model, pair, training, fused=False)
        ours = _computed(model, pair, training, fused=True)
        finite = [all(np.isfinite(one).all() for one in y) for y, _ in (plain, ours)]
        if finite == [False, True]:
            return False
        if not finite[0]:
            continue
        outputs.append(_same(ours[0], plain[0]))
        gradients.append(_same(ours[1], plain[1], among=True))
    if not outputs:
        return None
    return all(outputs) and 2 * sum(gradients) >= len(outputs)


def _computed(
    model: Sequential, x: Array, training: bool, *, fused: bool
) -> tuple[list[Array], list[Array]]:
    """Return what a copy of a network makes of inputs, and its gradients."""
    model = copy.deepcopy(model)
    # Fresh biases are all 0 and fresh scales all 1, which would hide their absence.
    rng = np.random.default_rng(0)
    for array in model.state().values():
        if array.ndim == 1:
            array += rng.uniform(0.1, 0.2, array.shape).astype(array.dtype)
    steps = list(make_steps(model).values()) if fused else [model]

    def forward(training: bool) -> Array:
        y = x
        for step in steps:
            y = step.forward(y, training)
        return y.copy()

    with np.errstate(over="ignore", invalid="ignore"):
        if not training:
            return [forward(training=False)], []
        y = forward(training=True)
        dy = np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape)
        for step in reversed(steps[1:]):
            dy = step.backward(dy)
        getattr(steps[0], "backward_parameters", steps[0].backward)(dy)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        # Then the running averages, and what inference makes of them.
        return [y, *model.state().values(), forward(training=False)], gradients


def _same(ours: Sequence[Array], theirs: Sequence[Array], among: bool = False) -> bool:
    """Return whether arrays are the same within rounding.

    Among others, an array may be rounding and no more: a bias before batch norm has no
    gradient.
    """
    sizes = [float(np.abs(other).max()) for other in theirs]
    least = max(sizes, default=0.0) / 100 if among else 0.0
    return len(ours) == len(theirs) and all(
        one.shape == other.shape
        and bool(np.abs(one - other).max() <= AGREEMENT * max(size, least))
        for one, other, size in zip(ours, theirs, sizes, strict=True)
    )


def _keep_freed_memory() -> None:
    """Keep freed arrays in the process, for the next batch.

    By default the GNU C library returns large ones to the system, which clears every
    page before it hands it out again. Other C libraries lack mallopt.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 2**30)  # M_MMAP_THRESHOLD in malloc.h
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def _next_is(kind: type[Layer], rest: list[Layer]) -> bool:
    """Return whether the next layer is exactly of this class."""
    return bool(rest) and type(rest[0]) is kind
