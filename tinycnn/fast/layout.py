"""The sizes of a fused convolution, and the arrays that it works in.

::

    image (H, W)        with margins (OH + KH - 1, OW + KW - 1)     map (OH, OW)
    +-----+             0 0 0 0 0                                   . . | . . | +
    |     |       ->    0       0      as many as whole patches     . . | . . | +
    +-----+             0 0 0 0 0 + +  of Winograd need (+)         + +   + +
"""

import contextlib
from typing import Any, NamedTuple

import numpy as np

from tinycnn.fast import winograd
from tinycnn.fast.convolution import BLOCKS
from tinycnn.fast.vectors import COLUMNS, LANES
from tinycnn.nn.layers import Array, Conv2D, MaxPool2D

# Rows of patches are transformed, of as many images as it takes, until there are so
# many; then they are multiplied, and the weights come to the processor once for all.
PATCHES = 24


class Layout(NamedTuple):
    """The sizes of a fused convolution, for images of one size.

    Attributes
    ----------
    image : (int, int)
        Rows and columns.
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

    image: tuple[int, int]
    margins: tuple[int, int]
    size: tuple[int, int]
    patch: int
    work: tuple[tuple[int, ...], ...]


def applies(conv: Conv2D, pool: MaxPool2D | None) -> bool:
    """Return whether a fused convolution does what these layers do."""
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


def lay_out(conv: Conv2D, pool: MaxPool2D | None, x: Array) -> Layout:
    """Return the layout for images.

    Raises
    ------
    ValueError
        From a layer, if it does not take them; or if a fused convolution no longer does
        what the layers do.
    """
    shape, side = conv.weight.value.shape, 1 if pool is None else 2
    layers = [conv] if pool is None else [conv, pool]
    if not applies(conv, pool) or x.ndim != 4 or x.shape[3] != shape[2] or len(x) == 0:
        _refuse(layers, x)
    (N, H, W, C), (KH, KW, _, F) = x.shape, shape
    top, bottom, left, right = conv.margins(H, W)
    OH, OW = top + H + bottom - KH + 1, left + W + right - KW + 1
    if min(OH, OW) < side:
        _refuse(layers, x)
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
        (blocks, patch**2, patches * C + winograd.LINE),
        (blocks, patch**2, patches * COLUMNS + winograd.LINE),
    )
    return Layout((H, W), (top, left), size, patch, work)


def _refuse(layers: list[Any], x: Array) -> None:
    """Let the layers say what is wrong, or say what has changed."""
    for layer in layers:
        x = layer.forward(x)
    raise ValueError(
        f"{layers} is not what was fused: the strides are no longer 1 and 2, the "
        f"windows 2×2, or the filters a multiple of {COLUMNS}; fuse again"
    )


def _pair(side: Any) -> tuple[Any, ...]:
    """Return (vertical, horizontal) from one number for both, or a pair."""
    return tuple(side) if isinstance(side, tuple | list) else (side, side)


class Workspaces:
    """Arrays to work in, kept for the next call with the same layout.

    Fresh memory is handed out, and cleared, page by page, which takes longer than a
    small image. A call takes the arrays and gives them back, so no two threads work in
    the same ones. Around the images they hold zeros, which only images of the same size
    in the same place leave as they are.
    """

    def __init__(self) -> None:
        self._free: list[tuple[Layout, tuple[Array, ...]]] = []

    def take(self, layout: Layout) -> tuple[Array, ...]:
        """Return arrays that nothing else uses; what the images do not fill is 0."""
        with contextlib.suppress(IndexError):  # there are none
            while True:
                before, arrays = self._free.pop()
                if before == layout:
                    return arrays
        images, *others = layout.work
        rest = [np.empty(shape, np.float32) for shape in others]
        return np.zeros(images, np.float32), *rest

    def give_back(self, layout: Layout, arrays: tuple[Array, ...]) -> None:
        """Keep arrays for another call with the same layout."""
        self._free.append((layout, arrays))
