"""Layers: functions of one array, each with its derivative right under it.

``forward(x, training=False)`` returns ``y`` and remembers what the derivative will
need. ``backward(dy)`` takes the gradient of the loss with respect to ``y``, *assigns*
the gradient of every parameter and returns the gradient with respect to ``x``. Neither
edits its argument, and gradients are never added to, so nothing has to be zeroed
between two steps.

Images are NHWC: N images, H rows, W columns, C channels. Float32 goes in and comes out,
float64 when a gradient is checked. Derivations: ``exercises/derivations.md``.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinycnn.nn import kernels

Array = NDArray[np.floating]
Pair = int | tuple[int, int]


class Parameter:
    """An array that is learned, with the gradient of the loss with respect to it.

    Parameters
    ----------
    value : float array
    name : str
        Unique in its layer: ``"weight"``, ``"bias"``.

    Attributes
    ----------
    grad : float array of the shape and dtype of ``value``, or None
        None before the first backward. Assigned by ``backward``, never added to.

    Raises
    ------
    ValueError
        If the value is no float array, or the name no text.
    """

    def __init__(self, value: Array, name: str) -> None:
        is_array = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        if not (is_array and isinstance(name, str)):
            raise ValueError(
                "Parameter needs a float array, then its name, as in "
                f'Parameter(x, "bias"), not {_kind(value)} and {type(name).__name__}'
            )
        self.value, self.name = value, name
        self.grad: Array | None = None

    def __repr__(self) -> str:
        return f"Parameter({self.name}, {self.value.shape}, {self.value.dtype})"


class Layer:
    """A differentiable function of one array. Subclass it and write two methods.

    Parameters, and layers inside the layer, must be attributes of it, not items of a
    list: as attributes they are found, to be trained, saved and checked.

    Attributes
    ----------
    buffer_names : tuple of str
        Attributes that are saved with the weights but not trained.

    Raises
    ------
    ValueError
        From a built-in layer, with the numbers: if a setting, or the shape or dtype of
        an array, is not what its class documents.
    """

    buffer_names: tuple[str, ...] = ()
    _memory: tuple[Any, ...] | None = None

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return ``y``, and remember what `backward` will need.

        Parameters
        ----------
        x : float array (N, ...)
        training : bool
            Whether dropout drops and batch norm uses the statistics of this batch.

        Returns
        -------
        y : float array (N, ...)
            Of the dtype of ``x``. The caller may edit it.
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

    def parameters(self) -> list[Parameter]:
        """Return the parameters, in the order in which they were made."""
        found: list[Parameter] = []
        for _, part in self._parts():
            found += [part] if isinstance(part, Parameter) else part.parameters()
        return found

    def state(self) -> dict[str, Array]:
        """Return name and live array of every parameter and buffer: what is saved.

        Raises ValueError if two arrays have one name.
        """
        pairs: list[tuple[str, Array]] = []
        for attribute, part in self._parts():
            if isinstance(part, Parameter):
                pairs.append((part.name, part.value))
            else:
                inner = part.state().items()
                pairs += [(f"{attribute}.{name}", array) for name, array in inner]
        pairs += [(name, getattr(self, name)) for name in self.buffer_names]
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                raise ValueError(
                    f"{type(self).__name__} has two arrays named {name!r}; give each "
                    "Parameter a name of its own"
                )
        return dict(pairs)

    def cast(self, dtype: DTypeLike) -> None:
        """Convert every parameter and buffer to a dtype."""
        for _, part in self._parts():
            if isinstance(part, Parameter):
                part.value = part.value.astype(dtype)
            else:
                part.cast(dtype)
        for name in self.buffer_names:
            setattr(self, name, getattr(self, name).astype(dtype))

    def __repr__(self) -> str:
        """Return one line: the settings, and the shapes of the parameters."""
        shown = [
            f"{name}={value.value.shape if isinstance(value, Parameter) else value}"
            for name, value in vars(self).items()
            if isinstance(value, (Parameter, Layer))
            or (isinstance(value, (int, float, str, tuple, list)) and name[0] != "_")
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _parts(self) -> Iterator[tuple[str, "Parameter | Layer"]]:
        """Yield name and value of every attribute that is a parameter or a layer."""
        for name, value in vars(self).items():
            if isinstance(value, (Parameter, Layer)):
                yield name, value

    def _remember(self, y: Array, *values: Any) -> None:
        """Keep what backward needs, beside the layer's settings and the kind of y."""
        self._memory = repr(self), (y.dtype, y.shape), *values

    def _recall(self, dy: Array) -> tuple[Any, ...]:
        """Return what forward remembered, if ``dy`` fits and the layer is the same."""
        name = type(self).__name__
        if self._memory is None:
            raise ValueError(f"{name}.backward needs a forward first")
        settings, kind, *values = self._memory
        if repr(self) != settings:
            raise ValueError(
                f"{name} has changed between forward and backward, from {settings} to "
                f"{self}; run forward again"
            )
        if (getattr(dy, "dtype", None), np.shape(dy)) != kind:
            wanted = f"{kind[0]} {kind[1]}"
            raise ValueError(
                f"{name}.backward needs dy like y, {wanted}, not {_kind(dy)}"
            )
        return tuple(values)


class Conv2D(Layer):
    """A convolution (strictly: a cross-correlation) with ``F`` learned kernels.

    ``y[n, oh, ow, f] = bias[f] + sum over kh, kw, c of
    padded_x[n, oh * SH + kh, ow * SW + kw, c] * weight[kh, kw, c, f]``

    With every patch laid in a row of a matrix (im2col), this is one matrix product
    (Chellapilla, Puri and Simard 2006, section 2.1).

    Parameters
    ----------
    in_channels, out_channels : int
        C and F, at least 1.
    kernel_size : int or (int, int)
        KH and KW, at least 1 and no larger than a padded image.
    stride : int or (int, int)
        SH and SW, at least 1.
    padding : int, (int, int) or "same"
        Zeros on each side, vertically and horizontally; "same" keeps
        ``OH = ceil(H / SH)``, with the extra row and column at the bottom and right.
    rng : numpy.random.Generator
        Draws the initial weights: normal, with variance ``2 / (KH * KW * C)`` (He et
        al. 2015, equation 10), so that ReLU layers neither fade nor explode.

    Attributes
    ----------
    weight : Parameter (KH, KW, C, F)
    bias : Parameter (F,)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Pair | str = 0,
        rng: np.random.Generator,
    ) -> None:
        C = _integer("in_channels", in_channels, least=1)
        F = _integer("out_channels", out_channels, least=1)
        KH, KW = _pair("kernel_size", kernel_size, least=1)
        self.stride: Pair = _pair("stride", stride, least=1)
        self.padding: Pair | str = padding
        if not isinstance(padding, str):
            self.padding = _pair("padding", padding, least=0)
        self.weight = Parameter(_he_normal((KH, KW, C, F), rng), "weight")
        self.bias = Parameter(np.zeros(F, np.float32), "bias")
        self.margins(KH, KW)  # rejects an invalid padding

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map images (N, H, W, C) to feature maps (N, OH, OW, F)."""
        KH, KW, C, F = self.weight.value.shape
        _check(self, x, ("N", "H", "W", C))
        top, bottom, left, right = margins = self.margins(*x.shape[1:3])
        padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        N, H, W, _ = padded.shape
        (OH, OW), (SH, SW) = _output_size(self, (H, W), (KH, KW), self.stride)

        cols = np.empty((N, OH, OW, KH, KW * C), x.dtype)
        kernels.im2col(np.ascontiguousarray(padded), KH, KW, SH, SW, cols)
        cols = cols.reshape(N * OH * OW, KH * KW * C)
        y = cols @ self.weight.value.reshape(-1, F) + self.bias.value
        y = y.reshape(N, OH, OW, F)
        self._remember(y, cols, padded.shape, margins, (SH, SW))
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, OH, OW, F) to that of x (N, H, W, C)."""
        cols, (N, H, W, C), margins, (SH, SW) = self._recall(dy)
        top, bottom, left, right = margins
        KH, KW, _, F = self.weight.value.shape
        _, OH, OW, _ = dy.shape
        dy = dy.reshape(-1, F)  # (N * OH * OW, F)

        self.weight.grad = (cols.T @ dy).reshape(KH, KW, C, F)
        self.bias.grad = dy.sum(axis=0)
        dcols = dy @ self.weight.value.reshape(-1, F).T  # (N * OH * OW, KH * KW * C)
        dcols = dcols.reshape(N, OH, OW, KH, KW * C)
        dpadded = np.empty((N, H, W, C), dcols.dtype)
        kernels.col2im(dcols, KH, KW, SH, SW, dpadded)
        return dpadded[:, top : H - bottom, left : W - right]

    def margins(self, H: int, W: int) -> tuple[int, int, int, int]:
        """Return the rows of zeros above and below H×W images, the columns beside."""
        if self.padding != "same":
            if isinstance(self.padding, str):
                raise ValueError(
                    'Conv2D needs padding="same", an integer or a pair of integers, '
                    f"not {self.padding!r}; without padding it is 0"
                )
            PH, PW = _pair("padding", self.padding, least=0)
            return PH, PH, PW, PW
        KH, KW = self.weight.value.shape[:2]
        SH, SW = _pair("stride", self.stride, least=1)
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
        KH and KW, at least 1 and no larger than an image.
    stride : int, (int, int) or None
        SH and SW, at least 1; None is the size of the window. Windows may overlap; rows
        and columns that no whole window reaches are dropped.
    """

    def __init__(self, kernel_size: Pair, *, stride: Pair | None = None) -> None:
        self.kernel_size: Pair = _pair("kernel_size", kernel_size, least=1)
        stride = kernel_size if stride is None else stride
        self.stride: Pair = _pair("stride", stride, least=1)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map (N, H, W, C) to (N, OH, OW, C)."""
        _check(self, x, ("N", "H", "W", "C"))
        N, H, W, C = x.shape
        KH, KW = _pair("kernel_size", self.kernel_size, least=1)
        (OH, OW), (SH, SW) = _output_size(self, (H, W), (KH, KW), self.stride)
        y = np.empty((N, OH, OW, C), x.dtype)
        winner = np.empty((N, OH, OW, C), np.int32)
        kernels.max_pool(np.ascontiguousarray(x), KH, KW, SH, SW, y, winner)
        self._remember(y, winner, x.shape, (KW, SH, SW))
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, OH, OW, C) to that of x (N, H, W, C)."""
        winner, x_shape, (KW, SH, SW) = self._recall(dy)
        dx = np.empty(x_shape, dy.dtype)
        kernels.max_pool_backward(np.ascontiguousarray(dy), winner, KW, SH, SW, dx)
        return dx


class GlobalAveragePool2D(Layer):
    """The mean of every feature map: ``y[n, c] = mean over h, w of x[n, h, w, c]``.

    (Lin, Chen and Yan 2013, section 3.2.)
    """

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map (N, H, W, C) to (N, C)."""
        _check(self, x, ("N", "H", "W", "C"))
        y = x.mean(axis=(1, 2))
        self._remember(y, x.shape)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, C) to that of x (N, H, W, C): an equal share."""
        ((N, H, W, C),) = self._recall(dy)
        share = dy.reshape(N, 1, 1, C) / (H * W)
        return np.broadcast_to(share, (N, H, W, C)).copy()


class Flatten(Layer):
    """Reshape each image to one row: (N, H, W, C) to (N, H * W * C)."""

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map (N, ...) to (N, the product of the rest)."""
        y = x.reshape(len(x), -1).copy()
        self._remember(y, x.shape)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y back to the shape of x."""
        (x_shape,) = self._recall(dy)
        return dy.reshape(x_shape).copy()


class Dense(Layer):
    """A fully connected layer: ``y = x @ weight + bias``.

    Parameters
    ----------
    in_features, out_features : int
        Lengths of a row of x and of a row of y, at least 1.
    rng : numpy.random.Generator
        Draws the initial weights: normal, with variance ``2 / in_features`` (He et al.
        2015, equation 10).

    Attributes
    ----------
    weight : Parameter (in_features, out_features)
    bias : Parameter (out_features,)
    """

    def __init__(
        self, in_features: int, out_features: int, *, rng: np.random.Generator
    ) -> None:
        D = _integer("in_features", in_features, least=1)
        U = _integer("out_features", out_features, least=1)
        self.weight = Parameter(_he_normal((D, U), rng), "weight")
        self.bias = Parameter(np.zeros(U, np.float32), "bias")

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map (N, in_features) to (N, out_features)."""
        _check(self, x, ("N", len(self.weight.value)))
        y = x @ self.weight.value + self.bias.value
        self._remember(y, x)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, out_features) to that of x (N, in_features)."""
        (x,) = self._recall(dy)
        self.weight.grad = x.T @ dy
        self.bias.grad = dy.sum(axis=0)
        return dy @ self.weight.value.T


class ReLU(Layer):
    """The positive part: ``y = max(x, 0)``; its derivative is 1 or 0 (0 at 0)."""

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map any array to one of the same shape."""
        y = np.maximum(x, 0)
        self._remember(y, x > 0)
        return y

    def backward(self, dy: Array) -> Array:
        """Pass the gradient where x was positive."""
        (positive,) = self._recall(dy)
        return dy * positive


class Dropout(Layer):
    """In training, set a random part of the numbers to zero and scale up the rest.

    ``y = x * mask / (1 - rate)`` with ``mask`` 0 or 1, so that the expectation of y is
    x (Srivastava et al. 2014, section 10). Outside training, ``y = x``.

    The mask is a function of (seed, number of the layer, step), so that a run which is
    resumed at any step drops what the uninterrupted run would have dropped.

    Parameters
    ----------
    rate : float
        The share that is dropped, in [0, 1), rounded to a multiple of 1/256.
    """

    def __init__(self, rate: float) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"rate must lie in [0, 1), not {rate}")
        self.rate = rate
        self.restart(seed=0, number=0, step=0)

    def restart(self, seed: int, number: int, step: int) -> None:
        """Set the arguments of the next mask; every mask adds 1 to the step."""
        self._seed, self._number, self._step = seed, number, step

    def next_mask(self, shape: tuple[int, ...]) -> tuple[NDArray[np.bool_], float]:
        """Return which numbers of an array are kept, and their factor."""
        rng = np.random.PCG64([self._seed, self._number, self._step])
        self._step += 1
        count = int(np.prod(shape))  # of bytes; a number has eight
        random = rng.random_raw(-(-count // 8)).astype("<u8").view(np.uint8)[:count]
        dropped = min(round(256 * self.rate), 255)  # of the 256 values of a byte
        return random.reshape(shape) >= dropped, 256 / (256 - dropped)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map any array to one of the same shape."""
        scale = np.ones((), x.dtype)
        if training:
            mask, factor = self.next_mask(x.shape)
            scale = mask * x.dtype.type(factor)
        y = x * scale
        self._remember(y, scale)
        return y

    def backward(self, dy: Array) -> Array:
        """Pass the gradient where the number was kept, scaled like it."""
        (scale,) = self._recall(dy)
        return dy * scale


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
        C, at least 1.
    momentum : float
        In [0, 1]: ``running = (1 - momentum) * running + momentum * batch``, with the
        variance of the batch made unbiased by ``M / (M - 1)``, as in the paper.

    Attributes
    ----------
    weight, bias : Parameter (C,)
        The paper's gamma and beta.
    running_mean, running_var : float array (C,)
        Buffers: saved, not trained.
    """

    buffer_names = ("running_mean", "running_var")
    eps = 1e-5

    def __init__(self, channels: int, *, momentum: float = 0.1) -> None:
        C = _integer("channels", channels, least=1)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must lie in [0, 1], not {momentum}")
        self.momentum = momentum
        self.weight = Parameter(np.ones(C, np.float32), "weight")
        self.bias = Parameter(np.zeros(C, np.float32), "bias")
        self.running_mean: Array = np.zeros(C, np.float32)
        self.running_var: Array = np.ones(C, np.float32)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map (N, H, W, C) to the same shape."""
        _check(self, x, ("N", "H", "W", len(self.weight.value)))
        mean, var = self.running_mean, self.running_var
        if training:
            mean, var = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
            M = x.size // x.shape[-1]
            unbiased = var * (M / max(M - 1, 1))
            # In place, because the network's state holds these arrays.
            self.running_mean += self.momentum * (mean - self.running_mean)
            self.running_var += self.momentum * (unbiased - self.running_var)
        std = np.sqrt(var + self.eps)
        x_hat = (x - mean) / std
        y = self.weight.value * x_hat + self.bias.value
        self._remember(y, x_hat, std, training)
        return y

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y (N, H, W, C) to that of x."""
        x_hat, std, training = self._recall(dy)
        self.weight.grad = (dy * x_hat).sum(axis=(0, 1, 2))
        self.bias.grad = dy.sum(axis=(0, 1, 2))
        M = dy.size // dy.shape[-1]
        if training:  # the two means over M are the sums above, divided by M
            dy = dy - self.bias.grad / M - x_hat * (self.weight.grad / M)
        return dy * (self.weight.value / std)


def _he_normal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw weights; the last axis is that of the outputs."""
    fan_in = np.prod(shape[:-1])
    return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)


def _integer(name: str, value: Any, least: int) -> int:
    """Return ``value`` if it is an integer of at least ``least``."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or value < least:
        raise ValueError(f"{name} must be an integer from {least} up, not {value!r}")
    return int(value)


def _pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """Return (vertical, horizontal) from one integer for both, or a pair."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be an integer or a pair, not {value!r}")
    return _integer(name, pair[0], least), _integer(name, pair[1], least)


def _alike(value: Any, array: Array) -> bool:
    """Return whether a value is an array of the shape and dtype of another."""
    is_array = isinstance(value, np.ndarray)
    return is_array and value.shape == array.shape and value.dtype == array.dtype


def _kind(array: Any) -> str:
    """Return the dtype and the shape, of anything."""
    return f"{getattr(array, 'dtype', type(array).__name__)} {np.shape(array)}"


def _check(layer: Layer, x: Array, shape: tuple[int | str, ...]) -> None:
    """Compare ``x`` with a shape in which names stand for any size from 1 up."""
    name, wanted = type(layer).__name__, ", ".join(map(str, shape))
    if not isinstance(x, np.ndarray) or x.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} needs a float32 or float64 array, not {_kind(x)}")
    if x.size == 0:
        raise ValueError(f"{name} needs at least one image, not x {x.shape}")
    fits = x.ndim == len(shape) and all(
        isinstance(wanted, str) or size == wanted
        for wanted, size in zip(shape, x.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} needs x ({wanted}), not {x.shape}")


def _output_size(
    layer: Layer, size: tuple[int, int], window: tuple[int, int], stride: Pair
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (OH, OW), the number of whole windows in (H, W), and (SH, SW)."""
    (H, W), (KH, KW), (SH, SW) = size, window, _pair("stride", stride, least=1)
    if KH > H or KW > W:
        raise ValueError(
            f"{type(layer).__name__} slides a {KH}×{KW} window over images of at least "
            f"that size, not {H}×{W}"
        )
    return ((H - KH) // SH + 1, (W - KW) // SW + 1), (SH, SW)
