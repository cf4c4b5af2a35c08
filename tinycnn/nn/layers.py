"""The layers: each a function of one array with its derivative right under it.

``forward(x, training=False)`` returns ``y`` and remembers what the derivative will
need. ``backward(dy)`` takes the gradient of the loss with respect to ``y``, *assigns*
the gradient of every parameter and returns the gradient with respect to ``x``. Neither
edits its argument, so nothing has to be zeroed between two steps.

Images are NHWC: N images, H rows, W columns, C channels. Float32 goes in and comes
out; float64 goes in and comes out when a gradient is checked.

This file knows calculus. It does not know digits, losses, optimizers or files, and the
loops over pixels are next door in `tinycnn.nn.kernels`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinycnn.nn import kernels

Array = NDArray[np.floating]
Pair = int | tuple[int, int]


@dataclass
class Parameter:
    """An array that is learned, with the gradient of the loss with respect to it.

    Attributes
    ----------
    value : float array
    name : str
        Unique in its layer: ``"weight"``, ``"bias"``.
    grad : float array of the shape of ``value``, or None before the first backward
        Assigned by ``backward``, never added to.
    """

    value: Array
    name: str
    grad: Array | None = None


class Layer:
    """A differentiable function of one array. Subclass it and write two methods.

    Parameters, and layers inside the layer, must be attributes of it, not items of a
    list: that is how they are found, to be trained, saved and checked.

    Attributes
    ----------
    linear_in : tuple of str
        The arguments (``"x"`` and names of parameters) in which ``forward`` is linear
        or affine. The gradient check can then take a large, exact step.
    buffer_names : tuple of str
        Attributes that are saved with the weights but not trained.
    """

    linear_in: tuple[str, ...] = ()
    buffer_names: tuple[str, ...] = ()
    _memory: tuple[Any, ...] | None = None

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return ``y``, and remember what `backward` will need.

        Parameters
        ----------
        x : float array (N, ...)
        training : bool
            Whether dropout drops and batch norm looks at this batch.

        Returns
        -------
        y : float array (N, ...)
        """
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        """Assign every parameter's gradient and return the gradient for ``x``.

        Parameters
        ----------
        dy : float array of the shape of ``y``

        Returns
        -------
        dx : float array of the shape of ``x``
        """
        raise NotImplementedError

    def backward_parameters(self, dy: Array) -> None:
        """Assign every parameter's gradient, and no more.

        Nobody wants the gradient of the images themselves. A layer that can do without
        computing it, does.
        """
        self.backward(dy)

    def parameters(self) -> list[Parameter]:
        """Return the parameters, in the order in which they were made."""
        found: list[Parameter] = []
        for value in vars(self).values():
            if isinstance(value, Parameter):
                found.append(value)
            elif isinstance(value, Layer):
                found += value.parameters()
        return found

    def state(self) -> dict[str, Array]:
        """Return name and live array of every parameter and buffer: what is saved."""
        named: dict[str, Array] = {}
        for attribute, value in vars(self).items():
            if isinstance(value, Parameter):
                named[value.name] = value.value
            elif isinstance(value, Layer):
                inner = value.state().items()
                named |= {f"{attribute}.{name}": array for name, array in inner}
        return named | {name: getattr(self, name) for name in self.buffer_names}

    def cast(self, dtype: DTypeLike) -> None:
        """Convert every parameter and buffer to a dtype, in place."""
        for value in vars(self).values():
            if isinstance(value, Parameter):
                value.value = value.value.astype(dtype)
            elif isinstance(value, Layer):
                value.cast(dtype)
        for name in self.buffer_names:
            setattr(self, name, getattr(self, name).astype(dtype))

    def _remember(self, *values: Any) -> None:
        self._memory = values

    def _recall(self, dy: Array) -> tuple[Any, ...]:
        """Return what forward remembered; its first item is the shape ``dy`` must have.

        Raises
        ------
        RuntimeError
            If there was no forward.
        ValueError
            If ``dy`` has not the shape of ``y``.
        """
        if self._memory is None:
            raise RuntimeError(f"{type(self).__name__}.backward needs a forward first")
        y_shape, *rest = self._memory
        if dy.shape != y_shape:
            raise ValueError(
                f"{type(self).__name__}.backward needs dy of the shape of y, "
                f"{y_shape}, not {dy.shape}"
            )
        return tuple(rest)


class Conv2D(Layer):
    """A convolution (strictly: a cross-correlation) with ``F`` learned kernels.

    ``y[n, oh, ow, f] = bias[f] + sum over kh, kw, c of
    padded_x[n, oh * SH + kh, ow * SW + kw, c] * weight[kh, kw, c, f]``

    With every patch laid in a row of a matrix (im2col), this is one matrix product
    (Chellapilla, Puri and Simard 2006, section 2.1).

    Parameters
    ----------
    in_channels, out_channels : int
        C and F.
    kernel_size : int or (int, int)
        KH and KW.
    stride : int or (int, int)
        SH and SW.
    padding : int, (int, int) or "same"
        Zeros on each side, vertically and horizontally; "same" keeps
        ``OH = ceil(H / SH)``, with the extra row and column at the bottom and right.
    bias : bool
        Whether a bias is added; batch norm right after makes it pointless.
    rng : numpy.random.Generator
        Draws the initial weights: normal, with variance ``2 / (KH * KW * C)`` (He et
        al. 2015, equation 10), so that ReLU layers neither fade nor explode.
    dtype : dtype
        Of the parameters.

    Attributes
    ----------
    weight : Parameter (KH, KW, C, F)
    bias : Parameter (F,) or None

    Raises
    ------
    ValueError
        If a size is not a positive integer, or ``x`` is not (N, H, W, C) or smaller
        than the kernel.
    """

    linear_in = ("x", "weight", "bias")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Pair | str = 0,
        bias: bool = True,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        C = _whole("in_channels", in_channels, least=1)
        F = _whole("out_channels", out_channels, least=1)
        self.kernel_size = KH, KW = _pair("kernel_size", kernel_size, least=1)
        self.stride = _pair("stride", stride, least=1)
        self.padding: tuple[int, int] | None = None  # None is "same"
        if padding != "same":
            self.padding = _pair("padding", padding, least=0)
        self.weight = Parameter(
            _he_normal((KH, KW, C, F), KH * KW * C, rng, dtype), "weight"
        )
        self.bias = Parameter(np.zeros(F, dtype), "bias") if bias else None

    def forward(self, x: Array, training: bool = False) -> Array:  # noqa: ARG002
        """Map images (N, H, W, C) to feature maps (N, OH, OW, F)."""
        (KH, KW), (SH, SW) = self.kernel_size, self.stride
        C, F = self.weight.value.shape[2:]
        x, margins = self.pad(x)
        N, OH, OW = len(x), *output_size(self, *x.shape[1:3])

        cols = np.empty((N, OH, OW, KH, KW * C), x.dtype)
        kernels.im2col(x, KH, KW, SH, SW, cols)
        cols = cols.reshape(N * OH * OW, KH * KW * C)
        y = cols @ self.weight.value.reshape(-1, F)  # (N * OH * OW, F)
        if self.bias is not None:
            y += self.bias.value
        y = y.reshape(N, OH, OW, F)
        self._remember(y.shape, cols, x.shape, margins)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, OH, OW, F) to that of x (N, H, W, C)."""
        cols, (N, H, W, C), (top, bottom, left, right) = self._recall(dy)
        (KH, KW), (SH, SW) = self.kernel_size, self.stride
        _, OH, OW, F = dy.shape
        dy = dy.reshape(-1, F)  # (N * OH * OW, F)

        self.weight.grad = (cols.T @ dy).reshape(KH, KW, C, F)
        if self.bias is not None:
            self.bias.grad = dy.sum(axis=0)
        dcols = dy @ self.weight.value.reshape(-1, F).T  # (N * OH * OW, KH * KW * C)
        dcols = dcols.reshape(N, OH, OW, KH, KW * C)
        dx = np.empty((N, H, W, C), dcols.dtype)
        kernels.col2im(dcols, KH, KW, SH, SW, dx)
        return dx[:, top : H - bottom, left : W - right]

    def pad(self, x: Array) -> tuple[Array, tuple[int, int, int, int]]:
        """Return the images with zeros round them, and how many.

        Parameters
        ----------
        x : float array (N, H, W, C)

        Returns
        -------
        padded : float array (N, top + H + bottom, left + W + right, C)
            Contiguous.
        margins : (top, bottom, left, right)
        """
        check_shape(self, x, ("N", "H", "W", self.weight.value.shape[2]))
        top, bottom, left, right = margins = self.margins(*x.shape[1:3])
        padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        return np.ascontiguousarray(padded), margins

    def margins(self, H: int, W: int) -> tuple[int, int, int, int]:
        """Return the rows of zeros above and below, the columns left and right."""
        if self.padding is not None:
            PH, PW = self.padding
            return PH, PH, PW, PW
        (KH, KW), (SH, SW) = self.kernel_size, self.stride
        PH = max((-(-H // SH) - 1) * SH + KH - H, 0)  # -(-a // b) rounds up
        PW = max((-(-W // SW) - 1) * SW + KW - W, 0)
        return PH // 2, PH - PH // 2, PW // 2, PW - PW // 2


class MaxPool2D(Layer):
    """The largest value of every window, channel by channel.

    ``y[n, oh, ow, c] = max over kh, kw of x[n, oh * SH + kh, ow * SW + kw, c]``

    Its gradient goes to the cell that won; a tie goes to the first in row-major order.

    Parameters
    ----------
    kernel_size : int or (int, int)
        KH and KW.
    stride : int, (int, int) or None
        SH and SW; None is the size of the window. Windows may overlap; rows and columns
        that no whole window reaches are dropped.

    Raises
    ------
    ValueError
        If a size is not a positive integer, or ``x`` is not (N, H, W, C) or smaller
        than the window.
    """

    def __init__(self, kernel_size: Pair, *, stride: Pair | None = None) -> None:
        self.kernel_size = _pair("kernel_size", kernel_size, least=1)
        self.stride = _pair("stride", kernel_size if stride is None else stride, 1)

    def forward(self, x: Array, training: bool = False) -> Array:  # noqa: ARG002
        """Map (N, H, W, C) to (N, OH, OW, C)."""
        (KH, KW), (SH, SW) = self.kernel_size, self.stride
        check_shape(self, x, ("N", "H", "W", "C"))
        N, OH, OW, C = len(x), *output_size(self, *x.shape[1:3]), x.shape[-1]
        y = np.empty((N, OH, OW, C), x.dtype)
        winner = np.empty((N, OH, OW, C), np.int32)
        kernels.max_pool(np.ascontiguousarray(x), KH, KW, SH, SW, y, winner)
        self._remember(y.shape, winner, x.shape)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, OH, OW, C) to that of x (N, H, W, C)."""
        winner, x_shape = self._recall(dy)
        (_, KW), (SH, SW) = self.kernel_size, self.stride
        dx = np.empty(x_shape, dy.dtype)
        dy = np.ascontiguousarray(dy)
        kernels.max_pool_backward(dy, winner, KW, SH, SW, dx)
        return dx


class GlobalAveragePool2D(Layer):
    """The mean of every feature map: ``y[n, c] = mean over h, w of x[n, h, w, c]``.

    (Lin, Chen and Yan 2013, section 3.2.)

    Raises
    ------
    ValueError
        If ``x`` is not (N, H, W, C).
    """

    linear_in = ("x",)

    def forward(self, x: Array, training: bool = False) -> Array:  # noqa: ARG002
        """Map (N, H, W, C) to (N, C)."""
        check_shape(self, x, ("N", "H", "W", "C"))
        y: Array = x.mean(axis=(1, 2))
        self._remember(y.shape, x.shape)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, C) to that of x (N, H, W, C): an equal share."""
        ((N, H, W, C),) = self._recall(dy)
        share = dy.reshape(N, 1, 1, C) / (H * W)
        return np.broadcast_to(share, (N, H, W, C)).copy()


class Flatten(Layer):
    """Lay each image out as one row: (N, H, W, C) to (N, H * W * C)."""

    linear_in = ("x",)

    def forward(self, x: Array, training: bool = False) -> Array:  # noqa: ARG002
        """Map (N, ...) to (N, the product of the rest)."""
        y = x.reshape(len(x), -1)
        self._remember(y.shape, x.shape)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y back to the shape of x."""
        (x_shape,) = self._recall(dy)
        return dy.reshape(x_shape)


class Dense(Layer):
    """Every output sees every input: ``y = x @ weight + bias``.

    Parameters
    ----------
    in_features, out_features : int
        Lengths of a row of x and of a row of y.
    bias : bool
        Whether a bias is added.
    rng : numpy.random.Generator
        Draws the initial weights: normal, with variance ``2 / in_features`` (He et al.
        2015, equation 10).
    dtype : dtype
        Of the parameters.

    Attributes
    ----------
    weight : Parameter (in_features, out_features)
    bias : Parameter (out_features,) or None

    Raises
    ------
    ValueError
        If a size is not a positive integer, or ``x`` is not (N, in_features).
    """

    linear_in = ("x", "weight", "bias")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        shape = (
            _whole("in_features", in_features, least=1),
            _whole("out_features", out_features, least=1),
        )
        self.weight = Parameter(_he_normal(shape, in_features, rng, dtype), "weight")
        self.bias = Parameter(np.zeros(out_features, dtype), "bias") if bias else None

    def forward(self, x: Array, training: bool = False) -> Array:  # noqa: ARG002
        """Map (N, in_features) to (N, out_features)."""
        check_shape(self, x, ("N", self.weight.value.shape[0]))
        y: Array = x @ self.weight.value
        if self.bias is not None:
            y += self.bias.value
        self._remember(y.shape, x)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, out_features) to that of x (N, in_features)."""
        (x,) = self._recall(dy)
        self.weight.grad = x.T @ dy
        if self.bias is not None:
            self.bias.grad = dy.sum(axis=0)
        dx: Array = dy @ self.weight.value.T
        return dx


class ReLU(Layer):
    """Keep what is positive: ``y = max(x, 0)``; its derivative is 1 or 0 (0 at 0)."""

    def forward(self, x: Array, training: bool = False) -> Array:  # noqa: ARG002
        """Map any array to one of the same shape."""
        self._remember(x.shape, x > 0)
        return np.maximum(x, 0)

    def backward(self, dy: Array) -> Array:
        """Let the gradient pass where x was positive."""
        (positive,) = self._recall(dy)
        dx: Array = dy * positive
        return dx


class Dropout(Layer):
    """In training, set a random part of the numbers to zero and scale up the rest.

    ``y = x * mask / (1 - rate)`` with ``mask`` 0 or 1, so that the expectation of y is
    x (Srivastava et al. 2014, section 10). Outside training, ``y = x``.

    Whether an element survives is a hash of (seed, number of the layer, step, index of
    the element in the batch) and not the next number of a generator: a run that was
    resumed at any step drops what the uninterrupted run would have dropped.

    Parameters
    ----------
    rate : float
        The share that is dropped, in [0, 1).

    Attributes
    ----------
    seed, number, step : int
        What the mask is a function of, besides the index. `Sequential` gives each of
        its dropout layers a number; every forward in training adds 1 to the step.

    Raises
    ------
    ValueError
        If the rate is not in [0, 1).
    """

    linear_in = ("x",)

    def __init__(self, rate: float) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"rate must lie in [0, 1), not {rate}")
        self.rate = rate
        self.seed = self.number = self.step = 0

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map any array to one of the same shape."""
        if not training:
            self._remember(x.shape, None)
            return x
        scale = self.next_mask(x.shape) * x.dtype.type(1 / (1 - self.rate))
        self._remember(x.shape, scale)
        y: Array = x * scale
        return y

    def backward(self, dy: Array) -> Array:
        """Let the gradient pass where the element survived, scaled like it."""
        (scale,) = self._recall(dy)
        return dy if scale is None else dy * scale

    def next_mask(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return which elements of an array survive this step, and go on to the next.

        Parameters
        ----------
        shape : tuple of int

        Returns
        -------
        bool array of that shape
        """
        bits = kernels.hashed_bits(self.next_key(), int(np.prod(shape)))
        survives: NDArray[np.bool_] = bits >= self.threshold
        return survives.reshape(shape)

    def next_key(self) -> np.uint32:
        """Return what this step's mask is hashed with, and go on to the next step."""
        entropy = [self.seed, self.number, self.step]
        self.step += 1
        return np.uint32(np.random.SeedSequence(entropy).generate_state(1)[0])

    @property
    def threshold(self) -> np.uint32:
        """What is hashed to less is dropped: of 2**32 numbers the share ``rate``."""
        return np.uint32(self.rate * 2**32)


class BatchNorm2D(Layer):
    """Give every channel mean ``bias`` and standard deviation ``weight``.

    ``x_hat = (x - mean) / sqrt(variance + eps)`` and ``y = weight * x_hat + bias``,
    with mean and variance of the channel over the batch in training, and their running
    averages otherwise (Ioffe and Szegedy 2015, algorithms 1 and 2).

    In training, all M = N * H * W values of a channel move its mean and variance, which
    gives the backward its last two terms (summing over the M values of a channel):

    ``dx = weight / sqrt(variance + eps) * (dy - mean(dy) - x_hat * mean(dy * x_hat))``

    Parameters
    ----------
    channels : int
        C.
    momentum : float
        ``running = (1 - momentum) * running + momentum * batch``, with the variance of
        the batch made unbiased by ``M / (M - 1)``, as in the paper.

    Attributes
    ----------
    weight, bias : Parameter (C,)
        The paper's gamma and beta.
    running_mean, running_var : float array (C,)
        Buffers: saved, not trained.

    Raises
    ------
    ValueError
        If ``channels`` is not positive, ``momentum`` not in [0, 1], or ``x`` is not
        (N, H, W, channels).
    """

    linear_in = ("weight", "bias")
    buffer_names = ("running_mean", "running_var")
    eps = 1e-5

    def __init__(self, channels: int, *, momentum: float = 0.1) -> None:
        C = _whole("channels", channels, least=1)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must lie in [0, 1], not {momentum}")
        self.momentum = momentum
        self.weight = Parameter(np.ones(C, np.float32), "weight")
        self.bias = Parameter(np.zeros(C, np.float32), "bias")
        self.running_mean: Array = np.zeros(C, np.float32)
        self.running_var: Array = np.ones(C, np.float32)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map (N, H, W, C) to the same shape."""
        check_shape(self, x, ("N", "H", "W", len(self.weight.value)))
        mean, var = self.running_mean, self.running_var
        if training:
            mean = x.mean(axis=(0, 1, 2))
            var = x.var(axis=(0, 1, 2))
            self.update_running(mean, var, x.size // x.shape[-1])
        std = np.sqrt(var + self.eps)
        x_hat = (x - mean) / std
        self._remember(x.shape, x_hat, std, training)
        y: Array = self.weight.value * x_hat + self.bias.value
        return y

    def update_running(self, mean: Array, var: Array, M: int) -> None:
        """Move the running averages towards a batch's mean and variance.

        Parameters
        ----------
        mean, var : float array (C,)
            The variance is the biased one.
        M : int
            How many values of each channel they are of.
        """
        # In place: whoever holds the state of this layer holds these arrays.
        self.running_mean += self.momentum * (mean - self.running_mean)
        unbiased = var * (M / max(M - 1, 1))
        self.running_var += self.momentum * (unbiased - self.running_var)

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, H, W, C) to that of x."""
        x_hat, std, training = self._recall(dy)
        self.weight.grad = (dy * x_hat).sum(axis=(0, 1, 2))
        self.bias.grad = dy.sum(axis=(0, 1, 2))
        M = dy.size // dy.shape[-1]
        if training:  # the two means over M are the sums above, divided by M
            dy = dy - self.bias.grad / M - x_hat * (self.weight.grad / M)
        dx: Array = dy * (self.weight.value / std)
        return dx


def _he_normal(
    shape: tuple[int, ...], fan_in: int, rng: np.random.Generator, dtype: DTypeLike
) -> Array:
    """Draw weights with variance ``2 / fan_in``."""
    weight: Array = (rng.standard_normal(shape) * (2 / fan_in) ** 0.5).astype(dtype)
    return weight


def _whole(name: str, value: Any, least: int) -> int:
    """Return ``value`` if it is an integer of at least ``least``."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(f"{name} must be an integer from {least} up, not {value!r}")
    return int(value)


def _pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """Return (vertical, horizontal) from one integer for both, or a pair."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be an integer or a pair, not {value!r}")
    return _whole(name, pair[0], least), _whole(name, pair[1], least)


def check_shape(layer: Layer, x: Array, shape: tuple[int | str, ...]) -> None:
    """Hold ``x`` against a shape in which letters stand for any size."""
    if x.dtype.kind != "f":
        raise ValueError(f"{type(layer).__name__} needs floats, not {x.dtype}")
    fits = x.ndim == len(shape) and all(
        isinstance(wanted, str) or wanted == size
        for wanted, size in zip(shape, x.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{type(layer).__name__} needs x ({wanted}), not {x.shape}")


def output_size(layer: Conv2D | MaxPool2D, H: int, W: int) -> tuple[int, int]:
    """Return OH and OW: at how many places a whole window fits into H × W pixels."""
    (KH, KW), (SH, SW) = layer.kernel_size, layer.stride
    if KH > H or KW > W:
        raise ValueError(
            f"{type(layer).__name__} slides a {KH}×{KW} window over images of at least "
            f"that size, not {H}×{W}"
        )
    return (H - KH) // SH + 1, (W - KW) // SW + 1
