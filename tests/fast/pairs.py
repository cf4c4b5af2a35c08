"""What the laws of the steps are tried on: a step beside the layers it stands in for.

Images, weights and gradients are small whole numbers: their sums are exact in float32
in any order, so a step must give the bits of its layers, and ties are everywhere. Only
Winograd's fractions round: see `rounding`.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, Phase, settings

from tinycnn import nn
from tinycnn.fast.fuse import make_steps

# The same examples in every run; one that fails is not shrunk, which takes minutes.
drawn = settings(
    max_examples=100,
    phases=[Phase.generate],
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Pair(NamedTuple):
    """A step, the layers whose parameters it works on, and a copy of these layers."""

    step: Any
    layer: nn.Layer
    plain: nn.Layer

    def compute(self, x, training=True, dy=None):
        """Return what the step computes: y, dx and the gradients of the parameters."""
        return computed(self.step, self.layer, x, training, dy)

    def compute_plain(self, x, training=True, dy=None):
        """Return what the layers compute."""
        return computed(self.plain, self.plain, x, training, dy)

    def hold_together(self, x, dy=None):
        """Assert the same bits: twice in training, with another mask, and once not."""
        for training in (True, True, False):
            assert_same(
                self.compute(x, training, dy), self.compute_plain(x, training, dy)
            )


def computed(step, layer, x, training, dy):
    y = step.forward(x, training)
    dy = whole_numbers(y.shape, seed=2) if dy is None else dy
    dx = step.backward(dy)
    if x.ndim == 4 and x.shape[3] < 16 and isinstance(layer.layers[0], nn.Conv2D):
        dx = np.float32(0)  # of a first layer's images there is no gradient
    return [y, dx, *(p.grad for p in layer.parameters())]


def assert_same(found, wanted):
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == np.float32


def whole_numbers(shape, seed=0, zeros=0.15):
    """Return whole numbers from -3 to 3, of which so many are zero."""
    rng = np.random.default_rng(seed)
    values = rng.choice([-3, -2, -1, 1, 2, 3], shape)
    return (values * (rng.random(shape) >= zeros)).astype(np.float32)


def pair_of(layers, seed=3):
    """Return a pair of a step and the layers that become it."""
    layer = nn.Sequential(layers, seed)
    for number, parameter in enumerate(layer.parameters()):
        parameter.value[:] = whole_numbers(parameter.value.shape, number)
    (step,) = make_steps(layer).values()
    assert step not in layers
    return Pair(step, layer, copy.deepcopy(layer))


class Case(NamedTuple):
    """Sizes of a convolution, with what follows it."""

    N: int
    C: int
    F: int
    size: tuple[int, int]  # rows and columns of the map before pooling
    kernel: tuple[int, int] = (3, 3)
    padding: int | tuple[int, int] | str = 0
    pool: bool = False
    rate: float = 0

    def image(self):
        """Return H and W."""
        if self.padding == "same":
            return self.size
        P = self.padding if isinstance(self.padding, tuple) else (self.padding,) * 2
        return tuple(self.size[i] + self.kernel[i] - 1 - 2 * P[i] for i in (0, 1))

    def images(self, zeros=0.15):
        """Return images of whole numbers."""
        return whole_numbers((self.N, *self.image(), self.C), zeros=zeros)

    def pair(self):
        """Return the fused convolution and its layers."""
        conv = nn.Conv2D(
            self.C, self.F, self.kernel, padding=self.padding,
            rng=np.random.default_rng(1),
        )  # fmt: skip
        pooling = [nn.MaxPool2D(2)] if self.pool else []
        dropout = [nn.Dropout(self.rate)] if self.rate else []
        return pair_of([conv, nn.ReLU(), *pooling, *dropout])


def dense_pair(D, U, *before):
    """Return a dense step and its layer, and perhaps Flatten before it."""
    return pair_of([*before, nn.Dense(D, U, rng=np.random.default_rng(0))])


def norm_pair(C):
    """Return the step of a batch norm and its layer."""
    pair = pair_of([nn.BatchNorm2D(C, momentum=0.3)])
    for layer in (pair.layer, pair.plain):
        layer.layers[0].running_mean[:] = whole_numbers(C, 4)
        layer.layers[0].running_var[:] = np.linspace(0.5, 2, C)
    return pair


def rounding(case, training=True):
    """Return the error of the output, as a share of the largest pre-activation.

    And those of the gradients, as shares of their own largest, beside the layers in
    float64. Gradients are 0 where rounding may decide which cell wins.
    """
    pair = case.pair()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.N, *case.image(), case.C)).astype(np.float32)
    for p, q in zip(pair.layer.parameters(), pair.plain.parameters(), strict=True):
        p.value = rng.standard_normal(p.value.shape).astype(np.float32)
        q.value = p.value.astype(np.float64)
    y = pair.step.forward(x, training)
    pair.layer.seed_dropout(3)
    (N, OH, OW, F), side = y.shape, 2 if case.pool else 1
    maps = pair.plain.layers[0].forward(x.astype(np.float64))
    windows = maps[:, : side * OH, : side * OW].reshape(N, OH, side, OW, side, F)
    windows = windows.transpose(2, 4, 0, 1, 3, 5).reshape(-1, *y.shape)
    *_, second, best = np.sort([np.zeros(y.shape), *windows], axis=0)
    dy = np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape)
    dy[best - second < 1e-4 * np.abs(maps).max()] = 0
    assert np.count_nonzero(dy) > 0.9 * dy.size
    found = pair.compute(x, training, dy)
    exact = [array.astype(np.float64) for array in (x, dy)]
    wanted = pair.compute_plain(exact[0], training, exact[1])
    sizes = [np.abs(array).max() or 1 for array in (maps, *wanted[1:])]
    return [
        np.abs(ours - theirs).max() / size
        for ours, theirs, size in zip(found, wanted, sizes, strict=True)
    ]


# A convolution with everything that a step can do, and another with Winograd.
USUAL = Case(5, 3, 32, (7, 8), (3, 5), (1, 2), True, rate=0.5)
WINOGRAD = Case(17, 16, 32, (8, 8), padding="same", pool=True, rate=0.5)
UNPOOLED = Case(5, 32, 16, (7, 9), (5, 5), (1, 2))
# The first layer of a network of digits: gradients go from pixels with ink.
INK = Case(17, 1, 48, (8, 10), (5, 5), padding=2, pool=True, rate=0.5)


def backwards(array):
    return array[..., ::-1].copy()[..., ::-1]


def every_other(array):
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = [np.asfortranarray, backwards, every_other, read_only]

# Each step with an input for it.
STEPS = {
    "convolution": (USUAL.pair, USUAL.images()),
    "convolution of ink": (INK.pair, INK.images()),
    "Winograd": (WINOGRAD.pair, WINOGRAD.images()),
    "Winograd without pooling": (UNPOOLED.pair, UNPOOLED.images()),
    "dense": (lambda: dense_pair(144, 80), whole_numbers((9, 144), zeros=0.5)),
    "dense of one image": (lambda: dense_pair(80, 64), whole_numbers((1, 80))),
    "flat": (lambda: dense_pair(96, 64, nn.Flatten()), whole_numbers((9, 2, 3, 16))),
    "batch norm": (lambda: norm_pair(3), whole_numbers((4, 5, 6, 3))),
}


def python(code, folder=Path(__file__).parent, **settings):
    """Run code in a process of its own; a setting of None is taken away."""
    env = (os.environ | settings).items()
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process", "-c", code],
        cwd=folder,
        env={name: value for name, value in env if value is not None},
        capture_output=True,
        text=True,
        timeout=100,
    )


def output(code, folder=Path(__file__).parent, **settings):
    """Return what code prints, a list of words."""
    done = python(code, folder, **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
