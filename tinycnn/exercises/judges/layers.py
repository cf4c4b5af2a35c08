"""Judges of single layers: each raises `Wrong`, or returns None."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from tinycnn.exercises.judges.compare import (
    changed,
    check_definition,
    check_function,
    check_layer,
    compare,
    refuse,
)
from tinycnn.nn.layers import Array

# N, H, W, C, KH, KW, F, stride: no two sizes of a row are alike, but for the stride
GEOMETRIES = ((2, 5, 7, 3, 3, 4, 6, 1), (1, 9, 8, 2, 3, 4, 5, 2))


def relu(mine: Any) -> None:
    """Judge ReLU: the forward, the backward, and the corner at 0."""
    rng = np.random.default_rng(0)
    x = rng.permutation(60).reshape(3, 4, 5) / 10 - 3.0  # one entry is exactly 0
    check_layer("relu", (mine.ReLU(), changed("relu").ReLU()), x)


def dense(mine: Any) -> None:
    """Judge Dense, with sizes that are all different."""
    rng = np.random.default_rng(0)
    layer, right = mine.Dense(5, 3, rng=rng), changed("dense").Dense(5, 3, rng=rng)
    check_layer("dense", (layer, right), rng.standard_normal((7, 5)))


def _cases() -> Iterator[tuple[Array, Array, Array, int]]:
    """Yield x, weight, bias and stride of every geometry."""
    rng = np.random.default_rng(0)
    for N, H, W, C, KH, KW, F, stride in GEOMETRIES:
        shapes = ((N, H, W, C), (KH, KW, C, F), (F,))
        x, weight, bias = (rng.standard_normal(s).astype(np.float32) for s in shapes)
        yield x, weight, bias, stride


def convolution(mine: Any) -> None:
    """Judge the forward in loops."""
    both = mine.convolve, changed("convolution").convolve
    for given in _cases():
        check_function("convolution", f"with stride {given[-1]}, ", both, given, ("y",))


def convolution_backward(mine: Any) -> None:
    """Judge the backward in loops."""
    exercise, results = "convolution_backward", ("dx", "dweight", "dbias")
    both = mine.convolve_backward, changed(exercise).convolve_backward
    convolve = changed("convolution").convolve
    for x, weight, bias, stride in _cases():
        dy = np.random.default_rng(1).permuted(convolve(x, weight, bias, stride))
        given, what = (dy, x, weight, stride), f"with stride {stride}, "
        check_function(exercise, what, both, given, results)


def im2col(mine: Any) -> None:
    """Judge im2col, col2im and the layer made of them."""
    right = changed("im2col")
    for x, weight, _, stride in _cases():
        KH, KW, C, F = weight.shape
        cols = np.random.default_rng(1).permuted(right.im2col(x, KH, KW, stride))

        def gradient(dy: Array, weight: Array, shape: Any = cols.shape) -> Array:
            columns = weight.reshape(-1, dy.shape[-1]).T
            return (dy @ columns).reshape(shape)

        names = {"x": x, "KH": KH, "KW": KW, "stride": stride, "gradient": gradient}
        both, what = (mine.im2col, right.im2col), f"with stride {stride}, "
        names |= {"im2col": right.im2col, "right_col2im": right.col2im}
        check_function("im2col", what, both, (x, KH, KW, stride), ("cols",), **names)
        both, given = (mine.col2im, right.col2im), (cols, x.shape, stride)
        check_function("im2col", what, both, given, ("col2im",), cols=cols, **names)
        layers = [
            module.Conv2D(C, F, (KH, KW), stride=stride, rng=np.random.default_rng(2))
            for module in (mine, right)
        ]
        check_layer("im2col", layers, **names)


def pooling(mine: Any) -> None:
    """Judge max pooling: of distinct numbers, negative ones, and ties."""
    right = changed("pooling")
    rng = np.random.default_rng(0)
    distinct = rng.permutation(2 * 7 * 8 * 3).reshape(2, 7, 8, 3) / 10 - 60
    ties = rng.integers(-3, 0, (2, 7, 8, 3)) / 1

    def pool(layer: Any, x: Array, dy: Array, *texts: str, add: str = "+=") -> Any:
        module = changed("pooling", *texts)
        module.col2im = changed("im2col", "] += cols", f"] {add} cols").col2im
        wrong = module.MaxPool2D(layer.kernel_size, stride=layer.stride)
        return wrong.forward(x), wrong.backward(dy)

    for x in (distinct, ties):
        for size, stride in ((2, 2), (3, 2), (3, 1)):
            layers = [m.MaxPool2D(size, stride=stride) for m in (mine, right)]
            check_layer("pooling", layers, x, definition=x is distinct, pool=pool)


def dropout(mine: Any) -> None:
    """Judge dropout: its mask and scale, its backward, and that masks differ."""
    rng, rate = np.random.default_rng(1), 0.25
    x, dy = rng.uniform(1, 2, (2, 20, 50)).astype(np.float32)
    layer = mine.Dropout(rate, seed=3)
    y = layer.forward(x.copy(), training=True)
    refuse("mask", y=y, x=x)
    mask = y != 0
    scale = mask / np.float32(1 - rate)
    check = partial(compare, "dropout", x=x, y=y, dy=dy, rate=rate, mask=mask)
    check("train", "y in training", y, x * scale)
    refuse("dropped", mask=mask)
    check("dx", "dx in training", layer.backward(dy.copy()), dy * scale)
    again = layer.forward(x.copy(), training=True)
    refuse("again", mask=mask, again=again)
    check("otherwise", "y outside training", layer.forward(x.copy()), x)
    check("otherwise", "dx outside training", layer.backward(dy.copy()), dy)
    check_definition(mine.Dropout(rate, seed=3), x[:4, :6])


def batchnorm(mine: Any) -> None:
    """Judge the backward of batch norm, in training and outside."""
    rng = np.random.default_rng(0)
    layers = [module.BatchNorm2D(3) for module in (mine, changed("batchnorm"))]
    values = [rng.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4)]
    for layer in layers:
        for array, value in zip(layer.state().values(), values, strict=True):
            array[:] = value
    x = 2 * rng.standard_normal((4, 2, 5, 3)) + 1
    check_layer("batchnorm", layers, x, training=True, M=x.size // 3)
