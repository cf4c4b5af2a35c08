"""The steps of a runner: each does the work of one layer or several, sooner.

A step works on the parameters of the layers that it stands in for: its forward returns
what theirs return, within rounding, and its backward assigns the same gradients. A step
whose ``backward`` is expensive for the first layer of a network also has a
``backward_parameters``, which does not compute the gradient of the images.
"""

from typing import Any, NamedTuple

import numpy as np

from tinycnn.fast import convolution, dense, normalization, winograd
from tinycnn.fast.pooling import DEAD
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


def patch_side(conv: Conv2D, OH: int, OW: int) -> int:
    """Return the side of the patches of Winograd, or 0 if it would not pay.

    It is for 3×3 and 5×5 kernels that move pixel by pixel, over channels that fill
    vectors, where at least half of the multiplications are saved: patches that hang
    over the edge of a small map are computed all the same.
    """
    KH, KW, C, F = conv.weight.value.shape
    if conv.stride != (1, 1) or KH != KW or KH not in (3, 5):
        return 0
    if C % LANES != 0 or F < COLUMNS:
        return 0
    P, m = winograd.count_points(KH), winograd.OUTPUTS
    patches = -(-OH // m) * -(-OW // m)  # -(-a // b) rounds up
    return P if 2 * patches * P**2 <= OH * OW * KH * KW else 0


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


class Layout(NamedTuple):
    """The sizes of a convolution and its pooling, for images of one size.

    Attributes
    ----------
    margins : (int, int)
        Rows of zeros above, columns of zeros to the left.
    padded : (int, int)
        Rows and columns of an image with all its margins.
    stride : (int, int)
        Of the convolution.
    window : (int, int, int, int)
        Window and stride of the pooling; all 1 if there is none.
    size : (int, int)
        Rows and columns after pooling.
    patch : int
        From `patch_side`.
    image, map : (int, int)
        Rows and columns of an image and of its map, as they are computed.
    group : int
        How many images are convolved together.
    patches : int
        How many are transformed before they are multiplied.
    """

    margins: tuple[int, int]
    padded: tuple[int, int]
    stride: tuple[int, int]
    window: tuple[int, int, int, int]
    size: tuple[int, int]
    patch: int
    image: tuple[int, int]
    map: tuple[int, int]
    group: int
    patches: int


class FusedConvolution(Step):
    """Conv2D, ReLU and perhaps MaxPool2D and Dropout as one step.

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
        self._layout: tuple[tuple[Any, ...], Layout] | None = None
        self._kernels: tuple[Array, int, Array] | None = None
        self._workspace: tuple[tuple[int, int], list[Array]] | None = None

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map images (N, H, W, C) to pooled feature maps (N, OH, OW, F)."""
        layout = self._layout_for(x)
        N, F = len(x), self.conv.weight.value.shape[-1]
        x = np.ascontiguousarray(x, np.float32)
        y = np.empty((N, *layout.size, F), np.float32)
        winner = np.empty(y.shape, np.uint8)
        # Without dropout the mask is not used, but an address must be given.
        mask, drops, scale = winner, np.uint32(0), np.float32(1)
        if self.dropout is not None and training:
            survives, factor = self.dropout.next_mask(y.shape)
            survives = np.ascontiguousarray(np.broadcast_to(survives, y.shape), bool)
            mask, drops = survives.view(np.uint8), np.uint32(1)
            scale = np.float32(factor)

        blocks = min(convolution.BLOCKS, N)
        convolution.forward(
            blocks, x, *layout.margins, self._kernels_for(layout.patch), *layout.stride,
            layout.patch, self._bias(), *layout.window, mask, drops, scale,
            *self._workspace_for(layout, blocks, -(-N // convolution.BLOCKS)),
            y, winner,
        )  # fmt: skip
        self._remember(y, self._settings(), x, layout, winner, scale)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, OH, OW, F) to that of x (N, H, W, C)."""
        x, layout, winner, scale = self._recall(dy, self._settings())
        weight = self.conv.weight.value
        KH, KW, C, F = weight.shape
        filters = weight.reshape(KH, KW * C, F).transpose(2, 0, 1)
        sizes = (*layout.padded, C), (*layout.padded, C), (F, KH, KW * C), (F,)
        images, dimages, dweights, dbiases = self._zeros(len(x), sizes)
        dx = np.empty(x.shape, np.float32)
        convolution.backward(
            len(images), np.ascontiguousarray(dy, np.float32), winner, x,
            *layout.margins, *layout.stride, *layout.window, scale,
            np.ascontiguousarray(filters, np.float32), images, dimages, dweights,
            dbiases, dx,
        )  # fmt: skip
        grad = dweights.sum(axis=0).transpose(1, 2, 0)
        self._assign(grad.reshape(KH, KW, C, F), dbiases)
        return dx

    def backward_parameters(self, dy: Array) -> None:
        """Assign the gradients of the parameters alone."""
        x, layout, winner, scale = self._recall(dy, self._settings())
        KH, KW, C, F = self.conv.weight.value.shape
        if C >= LANES or layout.stride != (1, 1):
            self.backward(dy)
            return
        around = layout.padded[0] + KH - 1, layout.padded[1] + KW - 1
        sizes = (*around, F), (KH, KW, C, F), (F,)
        dmaps, dweights, dbiases = self._zeros(len(x), sizes)
        convolution.backward_of_ink(
            len(dmaps), np.ascontiguousarray(dy, np.float32), winner, x,
            *layout.margins, *layout.window, scale, dmaps, dweights, dbiases,
        )  # fmt: skip
        self._assign(dweights.sum(axis=0), dbiases)

    @staticmethod
    def _zeros(N: int, sizes: tuple[tuple[int, ...], ...]) -> list[Array]:
        """Return arrays of zeros, each with a slice for every block of N images."""
        blocks = min(convolution.BLOCKS, N)
        return [np.zeros((blocks, *size), np.float32) for size in sizes]

    def _assign(self, grad: Array, dbiases: Array) -> None:
        """Assign the gradients of weight and bias; the latter comes in blocks."""
        self.conv.weight.grad = grad
        self.conv.bias.grad = dbiases.sum(axis=0)

    def _bias(self) -> Array:
        bias = self.conv.bias.value
        _check_lengths(self.conv.weight.value.shape[-1], bias)
        return np.ascontiguousarray(bias, np.float32)

    def _settings(self) -> tuple[Any, ...]:
        """Return what must be the same in forward and backward."""
        conv, pool = self.conv, self.pool
        pooling = None if pool is None else f"{pool.kernel_size} {pool.stride}"
        # As text, which keeps what a list held.
        return conv.weight.value.shape, f"{conv.stride} {conv.padding}", pooling

    def _layout_for(self, x: Array) -> Layout:
        """Return the sizes for images; from batch to batch they are the same."""
        key = *x.shape[1:], len(x) == 0, *self._settings()
        if self._layout is None or self._layout[0] != key:
            # Reset the workspace first, so that an interrupt leaves a consistent state.
            self._workspace, self._layout = None, (key, self._lay_out(x))
        return self._layout[1]

    def _lay_out(self, x: Array) -> Layout:
        """Return the sizes for images, computed.

        One empty image goes through the plain layers, which refuse what does not fit:
        the kernels here go by addresses.
        """
        conv, pool = self.conv, self.pool
        maps = conv.forward(np.zeros_like(x[:1]))
        size = maps.shape[1:3] if pool is None else pool.forward(maps).shape[1:3]
        window = (1, 1, 1, 1)
        if pool is not None:
            window = *_pair(pool.kernel_size), *_pair(pool.stride)
            if window[0] * window[1] > DEAD:  # the number of a cell fits into a byte
                raise ValueError(
                    f"the window of {pool} has grown beyond {DEAD} cells; fuse again"
                )
        _, H, W, _ = x.shape
        KH, KW, _, _ = conv.weight.value.shape
        top, bottom, left, right = conv.margins(H, W)
        padded = top + H + bottom, left + W + right
        OH, OW = maps.shape[1:3]
        group, patches, patch = 1, 0, patch_side(conv, OH, OW)
        if patch:  # whole patches, though they hang over the edge
            m = winograd.OUTPUTS
            high, wide = -(-OH // m), -(-OW // m)
            OH, OW = m * high, m * wide
            group = max(1, PATCHES // (high * wide))
            patches = min(-(-PATCHES // wide), group * high) * wide
        SH, SW = stride = _pair(conv.stride)
        image = max((OH - 1) * SH + KH, top + H), max((OW - 1) * SW + KW, left + W)
        return Layout(
            (top, left), padded, stride, window, size, patch, image, (OH, OW), group,
            patches,
        )  # fmt: skip

    def _workspace_for(self, layout: Layout, blocks: int, most: int) -> list[Array]:
        """Return the arrays `convolution.forward` works in, for blocks of ``most``.

        They are kept for images of one size, as long as the step is: fresh memory is
        handed out, and cleared, page by page, which takes longer than a small image.
        """
        group = min(layout.group, most)
        key = blocks, group
        if self._workspace is None or self._workspace[0] != key:
            _, _, C, F = self.conv.weight.value.shape
            F16, points = -(-F // COLUMNS) * COLUMNS, layout.patch**2
            images = np.zeros((blocks * group, *layout.image, C), np.float32)
            sizes = [
                (blocks * group, *layout.map, F16),
                (blocks, points, layout.patches * C + LINE),
                (blocks, points, layout.patches * COLUMNS + LINE),
            ]
            rest = [np.empty(size, np.float32) for size in sizes]
            self._workspace = key, [images, *rest]
        return self._workspace[1]

    def _kernels_for(self, patch: int) -> Array:
        """Return the weights as `convolution.forward` wants them.

        In inference they are the same from batch to batch: then they are laid out once.
        """
        weight = self.conv.weight.value
        if self._kernels is not None:
            before, patch_before, kernels = self._kernels
            same = weight.shape == before.shape and bool((weight == before).all())
            if same and patch == patch_before:
                return kernels
        KH, KW, C, F = weight.shape
        if patch:
            rows = winograd.transform_kernels(weight)
        else:
            rows = weight.reshape(KH, KW * C, F)
        panels = -(-F // COLUMNS)
        padded = np.zeros((*rows.shape[:2], panels * COLUMNS), np.float32)
        padded[..., :F] = rows
        padded = padded.reshape(*rows.shape[:2], panels, COLUMNS)
        laid_out: Array = np.ascontiguousarray(padded.transpose(2, 0, 1, 3))
        self._kernels = weight.copy(), patch, laid_out
        return laid_out


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
        blocks = min(convolution.BLOCKS, -(-D // dense.ROWS_FORWARD))
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
        normalization.gradient_sums(rows, x_hat, sums[0], sums[1])
        self.norm.weight.grad, self.norm.bias.grad = sums.astype(np.float32)
        # Outside training, mean and variance do not depend on x: no second terms.
        means = (sums / M if training else np.zeros_like(sums)).astype(np.float32)
        dx = np.empty_like(rows)
        scale = self.norm.weight.value / std
        normalization.input_gradient(rows, x_hat, scale, means[1], means[0], dx)
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
