"""Which layers become one step, and the steps themselves.

`make_plan` turns the list of layers that the reader wrote into a second list, of steps
over the same parameters. A step is a layer as far as anyone can tell: it has forward
and backward, and assigns the same gradients. Layers that no rule knows stay what they
are. A rule holds for the exact class alone: a subclass of `ReLU` may compute anything.

It knows the layers and which kernels do their work.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

from tinycnn.nn.fast import convolution, normalization
from tinycnn.nn.fast.convolution import COLUMNS
from tinycnn.nn.layers import (
    Array,
    BatchNorm2D,
    Conv2D,
    Dropout,
    Layer,
    MaxPool2D,
    ReLU,
    check_shape,
    output_size,
)

# The largest difference that rounding may make, as a share of the largest number.
AGREEMENT = 1e-3


def make_plan(layers: Sequence[Layer]) -> list[Layer]:
    """Return the steps that do the work of the layers, in float32.

    ======================================================= =========================
    Conv2D, ReLU and, if they follow, MaxPool2D and Dropout `FusedConvolution`
    BatchNorm2D                                             `FusedBatchNorm`
    anything else                                           the layer itself
    ======================================================= =========================

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
        else:
            plan.append(first)
    return plan


def agree(model: Layer, plain: Layer, x: Array) -> bool:
    """Return whether two models compute the same, within rounding.

    Outputs in training and in inference, gradients and running averages are compared.

    Parameters
    ----------
    model, plain : Layer
        With the same parameters; neither is changed.
    x : float32 array (N, ...)
        A few inputs.
    """
    found = []
    for one in (copy.deepcopy(model), copy.deepcopy(plain)):
        # Fresh biases are all 0 and fresh scales all 1, which would hide their absence.
        rng = np.random.default_rng(0)
        for array in one.state().values():
            if array.ndim == 1:
                array += rng.uniform(0.1, 0.2, array.shape).astype(array.dtype)
        y = one.forward(x, training=True)
        # Any upstream gradient will do; this one is random enough and needs no seed.
        one.backward(np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape))
        grads = [parameter.grad for parameter in one.parameters()]
        # Then the running averages, and what inference makes of them.
        found.append([y.copy(), *grads, *one.state().values(), one.forward(x)])
    return all(
        ours is not None
        and theirs is not None
        and ours.shape == theirs.shape
        and bool(np.abs(ours - theirs).max() <= AGREEMENT * np.abs(theirs).max())
        for ours, theirs in zip(*found, strict=True)
    )


def _next_is(kind: type[Layer], rest: list[Layer]) -> bool:
    """Return whether the next layer is exactly of this class."""
    return bool(rest) and type(rest[0]) is kind


def _small(pool: Any) -> bool:
    """Return whether the number of a window's cell fits into a byte, beside DEAD."""
    KHP, KWP = pool.kernel_size
    return bool(KHP * KWP <= convolution.DEAD)


class FusedConvolution(Layer):
    """Conv2D, ReLU and perhaps MaxPool2D and Dropout as one step.

    Parameters
    ----------
    conv : Conv2D
    pool : MaxPool2D or None
    dropout : Dropout or None
    """

    def __init__(self, conv: Any, pool: Any, dropout: Any) -> None:
        self.conv: Conv2D = conv
        self.pool: MaxPool2D | None = pool
        self.dropout: Dropout | None = dropout

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map images (N, H, W, C) to pooled feature maps (N, OH, OW, F)."""
        KH, KW, C, F = self.conv.weight.value.shape
        padded, margins = self.conv.pad(x)
        # Whatever floats came in, the kernel goes by addresses of float32.
        padded = padded.astype(np.float32, copy=False)
        size = output_size(self.conv, *padded.shape[1:3])
        if self.pool is not None:
            size = output_size(self.pool, *size)
        y = np.empty((len(x), *size, F), np.float32)
        winner = np.empty(y.shape, np.uint8)
        survives, scale = np.empty(0, np.bool_), np.float32(1)
        if self.dropout is not None and training:
            survives = self.dropout.next_mask(y.shape).reshape(-1)
            scale = np.float32(1 / (1 - self.dropout.rate))

        width = -(-F // COLUMNS) * COLUMNS  # F rounded up to whole tiles
        weight = np.zeros((KH, KW * C, width), np.float32)
        weight[..., :F] = self.conv.weight.value.reshape(KH, KW * C, F)
        bias = np.zeros(width, np.float32)
        if self.conv.bias is not None:
            bias[:F] = self.conv.bias.value
        convolution.forward(
            padded, weight, bias, *self._geometry(), survives, scale, y, winner
        )
        self._remember(y.shape, padded, margins, winner, scale)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, OH, OW, F) to that of x (N, H, W, C)."""
        x, (top, bottom, left, right), winner, scale = self._recall(dy)
        KH, KW, C, F = self.conv.weight.value.shape
        N, H, W, _ = x.shape
        blocks = min(convolution.BLOCKS, N)
        SH, SW, _, KWP, SHP, SWP = self._geometry()
        dy = np.ascontiguousarray(dy, np.float32)
        weight = self.conv.weight.value.reshape(KH, KW * C, F)
        weight = np.ascontiguousarray(weight.transpose(2, 0, 1))
        dweight = np.empty((blocks, F, KH, KW * C), np.float32)
        dbias = np.empty((blocks, F), np.float32)
        dx = np.empty((N, H, W, C), np.float32)
        convolution.backward(
            dy, winner, x, SH, SW, KWP, SHP, SWP, scale, weight, dweight, dbias, dx
        )
        grad = dweight.sum(axis=0).transpose(1, 2, 0)
        self.conv.weight.grad = grad.reshape(KH, KW, C, F)
        if self.conv.bias is not None:
            self.conv.bias.grad = dbias.sum(axis=0)
        return dx[:, top : H - bottom, left : W - right]

    def _geometry(self) -> tuple[int, ...]:
        """Return the stride of the convolution, window and stride of the pooling."""
        if self.pool is None:
            return *self.conv.stride, 1, 1, 1, 1
        return *self.conv.stride, *self.pool.kernel_size, *self.pool.stride


class FusedBatchNorm(Layer):
    """BatchNorm2D in few passes over the memory.

    Parameters
    ----------
    norm : BatchNorm2D
    """

    def __init__(self, norm: BatchNorm2D) -> None:
        self.norm = norm

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map (N, H, W, C) to the same shape."""
        norm = self.norm
        C = len(norm.weight.value)
        check_shape(norm, x, ("N", "H", "W", C))
        rows = np.ascontiguousarray(x, np.float32).reshape(-1, C)
        mean, var = norm.running_mean, norm.running_var
        if training:
            moments = np.empty((2, C), np.float64)
            normalization.moments(rows, moments[0], moments[1])
            mean, var = moments.astype(np.float32)
            norm.update_running(mean, var, len(rows))
        std = np.sqrt(var + norm.eps)
        x_hat, y = np.empty_like(rows), np.empty_like(rows)
        normalization.normalize(
            rows, mean, std, norm.weight.value, norm.bias.value, x_hat, y
        )
        self._remember(x.shape, x_hat, std, training)
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, H, W, C) to that of x."""
        x_hat, std, training = self._recall(dy)
        M, C = x_hat.shape
        rows = np.ascontiguousarray(dy, np.float32).reshape(M, C)
        sums = np.empty((2, C), np.float64)
        normalization.gradient_sums(rows, x_hat, sums[0], sums[1])
        self.norm.weight.grad, self.norm.bias.grad = sums.astype(np.float32)
        # Outside training, mean and variance do not depend on x: no second terms.
        means = (sums / M if training else np.zeros_like(sums)).astype(np.float32)
        dx = np.empty_like(rows)
        scale = self.norm.weight.value / std
        normalization.input_gradient(rows, x_hat, scale, means[1], means[0], dx)
        return dx.reshape(dy.shape)
