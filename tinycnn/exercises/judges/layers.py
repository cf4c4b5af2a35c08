"""Judges of single layers: each raises `Wrong`, or returns None."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinycnn.exercises.judges.compare import (
    Tells,
    changed,
    check_definition,
    check_layer,
    compare,
    refuse,
    unedited,
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
    with_bias(layer, rng)
    check_layer("dense", (layer, right), rng.standard_normal((7, 5)))


def with_bias(layer: Any, rng: np.random.Generator) -> None:
    """Make the bias other than zero, so that a forgotten one is seen."""
    refuse("bias", layer=layer)
    layer.bias.value[:] = rng.standard_normal(layer.bias.value.shape)


def _cases() -> Iterator[tuple[Array, Array, Array, int, Array, Array]]:
    """Yield x, weight, bias, stride, y and dy of every geometry."""
    rng = np.random.default_rng(0)
    for N, H, W, C, KH, KW, F, stride in GEOMETRIES:
        shapes = ((N, H, W, C), (KH, KW, C, F), (F,))
        x, weight, bias = (rng.standard_normal(s).astype(np.float32) for s in shapes)
        y = changed("convolution").convolve(x, weight, bias, stride)
        dy = rng.standard_normal(y.shape).astype(np.float32)
        yield x, weight, bias, stride, y, dy


def convolution(mine: Any) -> None:
    """Judge the forward in loops."""
    right = changed("convolution").convolve
    for x, weight, bias, stride, y, _ in _cases():
        names = {"x": x, "weight": weight, "bias": bias, "stride": stride, "y": y}
        found = unedited(mine.convolve, x, weight, bias, stride)
        tells = Tells("convolution", convolve=right, **names)
        compare(f"with stride {stride}, y", found, y, tells, "y")


def convolution_backward(mine: Any) -> None:
    """Judge the backward in loops."""
    right = changed("convolution_backward").convolve_backward
    for x, weight, _, stride, _, dy in _cases():
        found = unedited(mine.convolve_backward, dy, x, weight, stride)
        refuse("backward in loops", found=found)
        should = right(dy, x, weight, stride)
        tells = Tells("convolution_backward", dy=dy, x=x, weight=weight, stride=stride)
        tells.names["backward"] = right
        names = ("dx", "dweight", "dbias")
        tells.names |= dict(zip(names, should, strict=True))
        for name, own, wanted in zip(names, found, should, strict=True):
            compare(f"with stride {stride}, {name}", own, wanted, tells, name)


def im2col(mine: Any) -> None:
    """Judge im2col, col2im and the layer made of them."""
    right = changed("im2col")
    for x, weight, _, stride, _, _ in _cases():
        KH, KW, C, F = weight.shape
        patches = right.im2col(x, KH, KW, stride)
        cols = np.random.default_rng(1).permuted(patches)
        names = {"x": x, "KH": KH, "KW": KW, "stride": stride, "cols": cols}
        names |= {"im2col": right.im2col, "col2im": right.col2im}
        tells = Tells("im2col", **names)
        found = unedited(mine.im2col, x, KH, KW, stride)
        compare(f"with stride {stride}, cols", found, patches, tells, "cols")
        found = unedited(mine.col2im, cols, x.shape, stride)
        should = right.col2im(cols, x.shape, stride)
        compare(f"with stride {stride}, x of col2im", found, should, tells, "col2im")
        layers = [
            module.Conv2D(C, F, (KH, KW), stride=stride, rng=np.random.default_rng(2))
            for module in (mine, right)
        ]
        with_bias(layers[0], np.random.default_rng(3))

        def more(conv: Any, dy: Array, names: dict[str, Any] = names) -> dict[str, Any]:
            dcols = dy @ conv.weight.value.reshape(-1, dy.shape[-1]).T
            dcols = dcols.reshape(names["cols"].shape)
            patches = conv._cols.reshape(dcols.shape)
            dw, db = conv.weight.grad, conv.bias.grad
            return names | {"dweight": dw, "dbias": db, "dcols": dcols, "cols": patches}

        check_layer("im2col", layers, x, more=more)


def pooling(mine: Any) -> None:
    """Judge max pooling: of distinct numbers, negative ones, and ties."""
    right = changed("pooling")
    rng = np.random.default_rng(0)
    distinct = rng.permutation(2 * 7 * 8 * 3).reshape(2, 7, 8, 3) / 10 - 60
    ties = rng.integers(-3, 0, (2, 7, 8, 3)) / 1
    for x in (distinct, ties):
        for size, stride in ((2, 2), (3, 2), (3, 1)):
            layers = [m.MaxPool2D(size, stride=stride) for m in (mine, right)]

            def more(_: Any, dy: Array, x: Array = x, layer: Any = layers[1]) -> Any:
                def pool(*texts: str, add: str = "+=") -> tuple[Array, Array]:
                    module = changed("pooling", *texts)
                    im2col = changed("im2col", "] += cols", f"] {add} cols")
                    module.col2im = im2col.col2im
                    wrong = module.MaxPool2D(layer.kernel_size, stride=layer.stride)
                    return wrong.forward(x), wrong.backward(dy)

                return {"pool": pool}

            check_layer("pooling", layers, x, more=more, definition=x is distinct)


def dropout(mine: Any) -> None:
    """Judge dropout: its mask and scale, its backward, and that masks differ."""
    rng, rate = np.random.default_rng(1), 0.25
    x, dy = rng.uniform(1, 2, (2, 20, 50)).astype(np.float32)
    layer = mine.Dropout(rate, seed=3)
    y = layer.forward(x.copy(), training=True)
    refuse("mask", y=y, x=x)
    mask = y != 0
    scale = mask / np.float32(1 - rate)
    tells = Tells("dropout", x=x, y=y, dy=dy, rate=rate, mask=mask)
    compare("y in training", y, x * scale, tells, "train")
    refuse("dropped", mask=mask)
    compare("dx in training", layer.backward(dy.copy()), dy * scale, tells, "dx")
    again = layer.forward(x.copy(), training=True)
    refuse("again", mask=mask, again=again)
    compare("y outside training", layer.forward(x.copy()), x, tells, "otherwise")
    compare("dx outside training", layer.backward(dy.copy()), dy, tells, "otherwise")
    check_definition(mine.Dropout(rate, seed=3), x[:4, :6])


def batchnorm(mine: Any) -> None:
    """Judge the backward of batch norm, in training and outside."""
    rng = np.random.default_rng(0)
    layers = [module.BatchNorm2D(3) for module in (mine, changed("batchnorm"))]
    values = [rng.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4)]
    for layer in layers:
        for array, value in zip(layer.state().values(), values, strict=True):
            array[:] = value

    def more(right: Any, dy: Array) -> dict[str, Any]:
        names = {"x_hat": right._x_hat, "std": right._std, "M": dy.size // 3}
        return names | {"dw": right.weight.grad, "db": right.bias.grad}

    x = 2 * rng.standard_normal((4, 2, 5, 3)) + 1
    check_layer("batchnorm", layers, x, training=True, more=more)
