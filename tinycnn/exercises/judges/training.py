"""Judges of what helps a network learn: Adam, dropout, batch norm."""

from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.exercises.judges import basics
from tinycnn.exercises.judges.compare import (
    Tells,
    check_definition,
    check_layer,
    compare,
    reference,
    refuse,
)
from tinycnn.exercises.judges.convolution import check_network
from tinycnn.nn.layers import Array
from tinycnn.userfile import UserFunction


def adam(mine: Any) -> None:
    """Judge Adam after a step, with tiny gradients, and after five steps."""
    basics.check_optimizer("adam", "Adam", mine, "adam 1", 1)
    basics.check_optimizer("adam", "Adam", mine, "adam small", 1, scale=1e-8)
    basics.check_optimizer("adam", "Adam", mine, "adam 5", 5)


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
    layers = [module.BatchNorm2D(3) for module in (mine, reference("batchnorm"))]
    values = [rng.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4)]
    for layer in layers:
        for array, value in zip(layer.state().values(), values, strict=True):
            array[:] = value

    def more(right: Any, dy: Array) -> dict[str, Any]:
        names = {"x_hat": right._x_hat, "std": right._std, "M": dy.size // 3}
        return names | {"dw": right.weight.grad, "db": right.bias.grad}

    x = 2 * rng.standard_normal((4, 2, 5, 3)) + 1
    check_layer("batchnorm", layers, x, training=True, more=more)


def window(mine: Any) -> str:
    """Judge the network, its training and its file: a drawn 7 must be read."""
    from tinycnn.ink.strokes import Strokes
    from tinycnn.reading.reader import Reader

    check_network(mine, ("Conv2D", "BatchNorm2D", "Dropout", "Dense"))
    said, model = basics.check_training(mine, 0.96)
    path = Path(mine.__file__).with_name("mine.safetensors")
    path.unlink(missing_ok=True)
    mine.save(model, path)
    refuse("file", path=path)
    reader = Reader(path, network=UserFunction(mine.__file__, "network"))
    for name, value in model.state().items():
        refuse("state", value=value, other=reader.model.state()[name], name=name)
    seven = np.array([[90.0, 70], [190, 72], [150, 140], [120, 230]])
    text = reader.read_strokes(Strokes((seven,), (14.0,), (300, 300))).text
    refuse("seven", text=text)
    return (
        f"{said}; a drawn 7 is read. Now yours: tinycnn draw --weights {path.name} "
        f"--network {Path(mine.__file__).name}:network"
    )
