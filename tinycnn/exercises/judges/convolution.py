"""Judges of convolution and pooling, and of the network made of them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinycnn.exercises.judges import basics
from tinycnn.exercises.judges.compare import (
    Tells,
    changed,
    check_layer,
    compare,
    reference,
    refuse,
    unedited,
)
from tinycnn.nn import Sequential
from tinycnn.nn.layers import Array

# N, H, W, C, KH, KW, F, stride: no two sizes of a row are alike, but for the stride
GEOMETRIES = ((2, 5, 7, 3, 3, 4, 6, 1), (1, 9, 8, 2, 3, 4, 5, 2))


def _cases() -> Iterator[tuple[Array, Array, Array, int, Array, Array]]:
    """Yield x, weight, bias, stride, y and dy of every geometry."""
    rng = np.random.default_rng(0)
    for N, H, W, C, KH, KW, F, stride in GEOMETRIES:
        shapes = ((N, H, W, C), (KH, KW, C, F), (F,))
        x, weight, bias = (rng.standard_normal(s).astype(np.float32) for s in shapes)
        y = reference("convolution").convolve(x, weight, bias, stride)
        dy = rng.standard_normal(y.shape).astype(np.float32)
        yield x, weight, bias, stride, y, dy


def convolution(mine: Any) -> None:
    """Judge the forward in loops."""
    right = reference("convolution").convolve
    for x, weight, bias, stride, y, _ in _cases():
        names = {"x": x, "weight": weight, "bias": bias, "stride": stride, "y": y}
        found = unedited(mine.convolve, x, weight, bias, stride)
        tells = Tells("convolution", convolve=right, **names)
        compare(f"with stride {stride}, y", found, y, tells, "y")


def convolution_backward(mine: Any) -> None:
    """Judge the backward in loops."""
    right = reference("convolution_backward").convolve_backward
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
    right = reference("im2col")
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
        basics.with_bias(layers[0], np.random.default_rng(3))

        def more(conv: Any, dy: Array, names: dict[str, Any] = names) -> dict[str, Any]:
            dcols = dy @ conv.weight.value.reshape(-1, dy.shape[-1]).T
            dcols = dcols.reshape(names["cols"].shape)
            patches = conv._cols.reshape(dcols.shape)
            dw, db = conv.weight.grad, conv.bias.grad
            return names | {"dweight": dw, "dbias": db, "dcols": dcols, "cols": patches}

        check_layer("im2col", layers, x, more=more)


def pooling(mine: Any) -> None:
    """Judge max pooling: of distinct numbers, negative ones, and ties."""
    right = reference("pooling")
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


def cnn(mine: Any) -> str:
    """Judge the layers of the network, then train it."""
    check_network(mine, ("Conv2D", "MaxPool2D", "ReLU", "Dense"))
    return basics.check_training(mine, 0.96)[0]


def check_network(mine: Any, needed: tuple[str, ...]) -> None:
    """Refuse a network that lacks a layer, or does not make logits of images."""
    layers = mine.network(np.random.default_rng(0))
    refuse("network", layers=layers)
    kinds = [type(layer).__name__ for layer in layers]
    for kind in needed:
        refuse("kinds", kind=kind, kinds=kinds)
    logits = Sequential(layers).forward(np.ones((3, 28, 28, 1), np.float32))
    refuse("logits", logits=logits, kinds=kinds)
