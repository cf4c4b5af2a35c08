"""The steps of a runner: each does the work of one layer or several, sooner.

A step works on the parameters of the layers that it stands in for: its forward returns
what theirs return, within rounding, and its backward assigns the same gradients. A step
whose ``backward`` is expensive for the first layer of a network also has a
``backward_parameters``, which does not compute the gradient of the images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinycnn.fast import convolution, dense, normalization, winograd
from tinycnn.fast.convolution import BLOCKS
from tinycnn.fast.layout import Workspaces, lay_out
from tinycnn.fast.vectors import COLUMNS, LANES
from tinycnn.nn.layers import (
    Array,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    MaxPool2D,
    _kind,
)

# To wake a thread takes as long as so many multiplications.
WORTH_A_THREAD = 2**18


class Step:
    """What the steps share: what forward leaves for backward."""

    _memory: tuple[Any, ...] | None = None

    def _remember(self, y: Array, shapes: tuple[Any, ...], *values: Any) -> None:
        """Keep the shape of y, those of the parameters, and what backward needs."""
        self._memory = y.shape, shapes, *values

    def _recall(self, dy: Array, shapes: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the values that forward remembered.

        Raises
        ------
        ValueError
            If there was no forward, ``dy`` has not the shape and dtype of ``y``, or the
            parameters have other shapes than in forward.
        """
        if self._memory is None:
            raise ValueError("backward needs a forward first")
        y_shape, shapes_before, *values = self._memory
        is_array = isinstance(dy, np.ndarray)
        if not is_array or dy.shape != y_shape or dy.dtype != np.float32:
            raise ValueError(
                f"backward needs dy like y, float32 {y_shape}, not {_kind(dy)}"
            )
        if shapes != shapes_before:
            raise ValueError(
                f"settings or parameters changed between forward and backward, from "
                f"{shapes_before} to {shapes}; run forward again"
            )
        return tuple(values)


class FusedConvolution(Step):
    """Conv2D, ReLU and perhaps MaxPool2D and Dropout as one step: see `layout.applies`.

    Parameters
    ----------
    conv : Conv2D
    pool : MaxPool2D or None
    dropout : Dropout or None
    """

    def __init__(
        self, conv: Conv2D, pool: MaxPool2D | None, dropout: Dropout | None
    ) -> None:
        self.conv, self.pool, self.dropout = conv, pool, dropout
        self._side = 1 if pool is None else 2
        self._workspaces = Workspaces()
        self._panels: tuple[Array, int, Array] | None = None

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map images (N, H, W, C) to pooled feature maps (N, OH, OW, F)."""
        layout = lay_out(self.conv, self.pool, x)
        bias = np.ascontiguousarray(self.conv.bias.value, np.float32)
        _check_lengths(self.conv.weight.value.shape[-1], bias)
        x = np.ascontiguousarray(x, np.float32)
        y = np.empty((len(x), *layout.size, len(bias)), np.float32)
        winner = np.empty(y.shape, np.uint8)
        drops, scale = self.dropout is not None and training, np.float32(1)
        if self.dropout is not None and training:
            winner[...], factor = self.dropout.next_mask(y.shape)
            scale = np.float32(factor)
        work = self._workspaces.take(layout)
        convolution.forward(
            min(BLOCKS, len(x)), x, layout.margins, self._panels_for(layout.patch),
            bias, self._side, drops, scale, work, y, winner,
        )  # fmt: skip
        self._workspaces.give_back(layout, work)
        self._remember(y, self._settings(), x, layout, winner, scale)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, OH, OW, F) to that of x (N, H, W, C)."""
        x, layout, winner, scale = self._recall(dy, self._settings())
        weight = self.conv.weight.value
        KH, KW, C, F = weight.shape
        filters = weight.reshape(KH, KW * C, F).transpose(2, 0, 1)
        _, *image = layout.work[0]
        work = self._zeros(len(x), image, image, (F, KH, KW * C), (F,))
        dx = np.empty(x.shape, np.float32)
        convolution.backward(
            len(work[0]), np.ascontiguousarray(dy, np.float32), winner, x,
            layout.margins, self._side, scale,
            np.ascontiguousarray(filters, np.float32), work, dx,
        )  # fmt: skip
        *_, dweights, dbiases = work
        grad = dweights.sum(axis=0).transpose(1, 2, 0)
        self.conv.weight.grad = grad.reshape(KH, KW, C, F)
        self.conv.bias.grad = dbiases.sum(axis=0)
        return dx

    def backward_parameters(self, dy: Array) -> None:
        """Assign the gradients of the parameters alone."""
        KH, KW, C, F = self.conv.weight.value.shape
        if C >= LANES:
            self.backward(dy)
            return
        x, layout, winner, scale = self._recall(dy, self._settings())
        _, H, W, _ = layout.work[0]
        around = H + KH - 1, W + KW - 1, F
        work = self._zeros(len(x), around, (KH, KW, C, F), (F,))
        convolution.backward_of_ink(
            len(work[0]), np.ascontiguousarray(dy, np.float32), winner, x,
            layout.margins, self._side, scale, work,
        )  # fmt: skip
        self.conv.weight.grad, self.conv.bias.grad = (
            blocks.sum(axis=0) for blocks in work[1:]
        )

    @staticmethod
    def _zeros(N: int, *shapes: Sequence[int]) -> tuple[Array, ...]:
        """Return arrays of zeros, each with a slice for every block of N images."""
        blocks = min(BLOCKS, N)
        return tuple([np.zeros((blocks, *shape), np.float32) for shape in shapes])

    def _settings(self) -> tuple[Any, ...]:
        """Return what must be the same in forward and backward."""
        conv, pool = self.conv, self.pool
        pooling = None if pool is None else f"{pool.kernel_size} {pool.stride}"
        # As text, which keeps what a list held.
        return conv.weight.value.shape, f"{conv.stride} {conv.padding}", pooling

    def _panels_for(self, patch: int) -> Array:
        """Return the weights as `convolution.forward` takes them.

        In inference they are the same from batch to batch: then they are laid out once.
        """
        weight = self.conv.weight.value
        if self._panels is not None:
            before, patch_before, panels = self._panels
            same = weight.shape == before.shape and bool((weight == before).all())
            if same and patch == patch_before:
                return panels
        KH, KW, C, F = weight.shape
        rows: Array = weight.reshape(KH, KW * C, F)
        if patch:
            rows = winograd.transform_kernels(weight)
        rows = rows.reshape(*rows.shape[:2], F // COLUMNS, COLUMNS)
        panels = np.ascontiguousarray(rows.transpose(2, 0, 1, 3), np.float32)
        self._panels = weight.copy(), patch, panels
        return panels


class FusedDense(Step):
    """Dense, without its products with zero.

    Parameters
    ----------
    dense : Dense
    """

    def __init__(self, dense: Dense) -> None:
        self.dense = dense

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map (N, in_features) to (N, out_features)."""
        weight = np.ascontiguousarray(self.dense.weight.value, np.float32)
        D, U = weight.shape
        if x.shape != (len(x), D) or len(x) == 0:
            return self.dense.forward(x)  # refuses it
        x = np.ascontiguousarray(x, np.float32)
        blocks = min(BLOCKS, -(-D // dense.ROWS_FORWARD))
        blocks = min(blocks, max(1, len(x) * D * U // WORTH_A_THREAD))
        parts = np.zeros((blocks, len(x), U), np.float32)
        dense.forward(blocks, x, weight, parts)
        y = parts.sum(axis=0) + self.dense.bias.value
        self._remember(y, weight.shape, x)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, out_features) to that of x (N, in_features)."""
        (x,) = self._recall(dy, self.dense.weight.value.shape)
        weight = np.ascontiguousarray(self.dense.weight.value, np.float32)
        dy = np.ascontiguousarray(dy, np.float32)
        N, U = dy.shape
        size = N * (U + 1)
        places, shares = np.empty(size, np.int32), np.empty(size, np.float32)
        lists = places, shares, np.empty(N, np.int64)
        dense.find_all(dy, dy.view(np.int32), *lists)
        grad, dx = np.empty_like(weight), np.empty_like(x)
        blocks = -(-len(weight) // dense.ROWS_BACKWARD)
        dense.backward(blocks, dy, x, weight, *lists, grad, dx)
        self.dense.weight.grad = grad
        self.dense.bias.grad = dy.sum(axis=0)
        return dx


class FusedBatchNorm(Step):
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
        if x.shape[3:] != (C,) or len(x) == 0:
            return norm.forward(x)  # refuses it
        _check_lengths(
            C, norm.weight.value, norm.bias.value, norm.running_mean, norm.running_var
        )
        rows = np.ascontiguousarray(x, np.float32).reshape(-1, C)
        mean, var = norm.running_mean, norm.running_var
        if training:
            moments = np.empty((2, C), np.float64)
            normalization.moments(rows, moments[0], moments[1])
            mean, var = moments.astype(np.float32)
            unbiased = var * (len(rows) / max(len(rows) - 1, 1))
            norm.running_mean += norm.momentum * (mean - norm.running_mean)
            norm.running_var += norm.momentum * (unbiased - norm.running_var)
        std = np.sqrt(var + norm.eps)
        x_hat, y = np.empty_like(rows), np.empty(x.shape, np.float32)
        scale, shift = norm.weight.value, norm.bias.value
        normalization.normalize(
            rows, mean, std, scale, shift, x_hat, y.reshape(rows.shape)
        )
        self._remember(y, norm.weight.value.shape, x_hat, std, training)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, H, W, C) to that of x."""
        x_hat, std, training = self._recall(dy, self.norm.weight.value.shape)
        M, C = x_hat.shape
        rows = np.ascontiguousarray(dy, np.float32).reshape(M, C)
        sums = np.empty((2, C), np.float64)
        dx = np.empty_like(rows)
        scale = self.norm.weight.value / std
        normalization.backward(rows, x_hat, scale, training, sums, dx)
        self.norm.weight.grad, self.norm.bias.grad = sums.astype(np.float32)
        return dx.reshape(dy.shape)


class FusedFlatten(Step):
    """Flatten without a copy: between two steps nothing else holds the array."""

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map (N, ...) to (N, the product of the rest)."""
        y = x.reshape(len(x), -1)
        self._remember(y, (), x.shape)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y back to the shape of x."""
        (x_shape,) = self._recall(dy, ())
        return dy.reshape(x_shape)


def _check_lengths(length: int, *arrays: Array) -> None:
    """Refuse arrays of another length: the kernels do not look at it."""
    for array in arrays:
        if array.shape != (length,):
            raise ValueError(
                f"a parameter or buffer has the shape {array.shape}, not ({length},)"
            )
