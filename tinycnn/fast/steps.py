"""The steps of a runner: each does the work of one layer or several, sooner.

A step works on the parameters of the layers that it stands in for: its forward returns
what theirs return, within rounding, and its backward assigns the same gradients. A step
whose ``backward`` is expensive for the first layer of a network also has a
``backward_parameters``, which does not compute the gradient of the images.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinycnn.fast import convolution, dense, normalization, winograd
from tinycnn.fast.convolution import BLOCKS
from tinycnn.fast.vectors import COLUMNS, LANES
from tinycnn.fast.winograd import LINE
from tinycnn.nn.layers import (
    Array,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    MaxPool2D,
    _kind,
)

# Rows of patches are transformed, of as many images as it takes, until there are so
# many; then they are multiplied, and the weights come to the processor once for all.
PATCHES = 24
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


def applies(conv: Conv2D, pool: MaxPool2D | None) -> bool:
    """Return whether `FusedConvolution` does what these layers do."""
    shape = conv.weight.value.shape
    return (
        len(shape) == 4
        and shape[-1] % COLUMNS == 0
        and _pair(conv.stride) == (1, 1)
        and (pool is None or _pair(pool.kernel_size) == _pair(pool.stride) == (2, 2))
    )


def patch_side(conv: Conv2D, OH: int, OW: int) -> int:
    """Return the side of the patches of Winograd, or 0 if it would not pay.

    It is for 3×3 and 5×5 kernels over channels that fill vectors, where at least half
    of the multiplications are saved: patches that hang over the edge of a small map are
    computed all the same.
    """
    KH, KW, C, _ = conv.weight.value.shape
    if KH != KW or KH not in (3, 5) or C % LANES != 0:
        return 0
    P, m = winograd.count_points(KH), winograd.OUTPUTS
    patches = -(-OH // m) * -(-OW // m)  # -(-a // b) rounds up
    return P if 2 * patches * P**2 <= OH * OW * KH * KW else 0


class Layout(NamedTuple):
    """The sizes of a fused convolution, for images of one size.

    Attributes
    ----------
    margins : (int, int)
        Rows of zeros above, columns of zeros to the left.
    size : (int, int)
        Rows and columns after pooling.
    patch : int
        From `patch_side`.
    work : tuple of shapes
        Of what `convolution.forward` works in. There are places for some images with
        their margins, (blocks * group, HP, WP, C), and for their maps, (blocks * group,
        OH, OW, F); and for `winograd.convolve`, values (blocks, P * P, patches * C +
        LINE) and products (blocks, P * P, patches * 16 + LINE), which are empty if it
        is not used: then P is 0.
    """

    margins: tuple[int, int]
    size: tuple[int, int]
    patch: int
    work: tuple[tuple[int, ...], ...]


def lay_out(conv: Conv2D, side: int, x: Array) -> Layout | None:
    """Return the layout for images, or None if the convolution does not take them."""
    KH, KW, C, F = conv.weight.value.shape
    if x.ndim != 4 or x.shape[3] != C or len(x) == 0:
        return None
    N, H, W, _ = x.shape
    top, bottom, left, right = conv.margins(H, W)
    OH, OW = top + H + bottom - KH + 1, left + W + right - KW + 1
    if min(OH, OW) < side:
        return None
    size = OH // side, OW // side
    blocks, group, patches, patch = min(BLOCKS, N), 1, 0, patch_side(conv, OH, OW)
    if patch:  # whole patches, though they hang over the edge
        m = winograd.OUTPUTS
        high, wide = -(-OH // m), -(-OW // m)
        OH, OW = m * high, m * wide
        group = min(max(1, PATCHES // (high * wide)), -(-N // blocks))
        patches = min(-(-PATCHES // wide), group * high) * wide
    work = (
        (blocks * group, OH + KH - 1, OW + KW - 1, C),
        (blocks * group, OH, OW, F),
        (blocks, patch**2, patches * C + LINE),
        (blocks, patch**2, patches * COLUMNS + LINE),
    )
    return Layout((top, left), size, patch, work)


class Workspaces:
    """Arrays to work in, kept for the next call with the same layout.

    Fresh memory is handed out, and cleared, page by page, which takes longer than a
    small image. A call takes the arrays and gives them back, so no two threads work in
    the same ones.
    """

    def __init__(self) -> None:
        self._free: list[tuple[Array, ...]] = []

    def take(self, layout: Layout) -> tuple[Array, ...]:
        """Return arrays that nothing else uses; what the images do not fill is 0."""
        with contextlib.suppress(IndexError):  # there are none
            while True:
                arrays = self._free.pop()
                if tuple(array.shape for array in arrays) == layout.work:
                    return arrays
        images, *others = layout.work
        rest = [np.empty(shape, np.float32) for shape in others]
        return np.zeros(images, np.float32), *rest

    def give_back(self, arrays: tuple[Array, ...]) -> None:
        """Keep arrays for another call."""
        self._free.append(arrays)


class FusedConvolution(Step):
    """Conv2D, ReLU and perhaps MaxPool2D and Dropout as one step, where it `applies`.

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
        layout = self._lay_out(x)
        F = self.conv.weight.value.shape[-1]
        x = np.ascontiguousarray(x, np.float32)
        y = np.empty((len(x), *layout.size, F), np.float32)
        scale, kept = 1.0, np.ones((), bool)
        if self.dropout is not None and training:
            kept, scale = self.dropout.next_mask(y.shape)
        winner = np.empty(y.shape, np.uint8)
        winner[...] = kept
        _check_lengths(F, self.conv.bias.value)
        bias = np.ascontiguousarray(self.conv.bias.value, np.float32)
        work = self._workspaces.take(layout)
        convolution.forward(
            min(BLOCKS, len(x)), x, layout.margins,
            self._panels_for(layout.patch), bias, self._side, np.float32(scale), work,
            y, winner,
        )  # fmt: skip
        self._workspaces.give_back(work)
        self._remember(y, self._settings(), x, layout, winner, np.float32(scale))
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
        grad = work[2].sum(axis=0).transpose(1, 2, 0)
        self._assign(grad.reshape(KH, KW, C, F), work[3])
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
        self._assign(work[1].sum(axis=0), work[2])

    @staticmethod
    def _zeros(N: int, *shapes: Sequence[int]) -> tuple[Array, ...]:
        """Return arrays of zeros, each with a slice for every block of N images."""
        blocks = min(BLOCKS, N)
        return tuple([np.zeros((blocks, *shape), np.float32) for shape in shapes])

    def _assign(self, grad: Array, dbiases: Array) -> None:
        """Assign the gradients of weight and bias; the latter comes in blocks."""
        self.conv.weight.grad = grad
        self.conv.bias.grad = dbiases.sum(axis=0)

    def _settings(self) -> tuple[Any, ...]:
        """Return what must be the same in forward and backward."""
        conv, pool = self.conv, self.pool
        pooling = None if pool is None else f"{pool.kernel_size} {pool.stride}"
        # As text, which keeps what a list held.
        return conv.weight.value.shape, f"{conv.stride} {conv.padding}", pooling

    def _lay_out(self, x: Array) -> Layout:
        """Return the layout for images; the layers themselves refuse what is wrong."""
        layers = [layer for layer in (self.conv, self.pool) if layer is not None]
        fits = applies(self.conv, self.pool)
        layout = lay_out(self.conv, self._side, x) if fits else None
        if layout is not None:
            return layout
        for layer in layers:
            x = layer.forward(x)
        raise ValueError(
            f"{layers} is not what was fused: the strides are no longer 1 and 2, the "
            f"windows 2×2, or the filters a multiple of {COLUMNS}; fuse again"
        )

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
        if patch:
            rows = winograd.transform_kernels(weight)
        else:
            rows = weight.reshape(KH, KW * C, F)
        panels = rows.reshape(*rows.shape[:2], F // COLUMNS, COLUMNS)
        panels = np.ascontiguousarray(panels.transpose(2, 0, 1, 3), np.float32)
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
        lists = (
            np.empty(N * (U + 1), np.int32),
            np.empty(N * (U + 1), np.float32),
            np.empty(N, np.int64),
        )
        dense.find_all(dy, dy.view(np.int32), *lists)
        grad = np.empty_like(weight)
        dx = np.empty_like(x)
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
        normalization.normalize(
            rows,
            mean,
            std,
            norm.weight.value,
            norm.bias.value,
            x_hat,
            y.reshape(rows.shape),
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


def _pair(side: Any) -> tuple[int, int]:
    """Return (vertical, horizontal) from one integer for both, or a pair."""
    vertical, horizontal = side if isinstance(side, tuple | list) else (side, side)
    return vertical, horizontal


def _check_lengths(length: int, *arrays: Array) -> None:
    """Refuse arrays of another length: the kernels do not look at it."""
    for array in arrays:
        if array.shape != (length,):
            raise ValueError(
                f"a parameter or buffer has the shape {array.shape}, not ({length},)"
            )
