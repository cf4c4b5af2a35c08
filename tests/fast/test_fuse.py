"""The laws of the plan: what becomes one step, when, and that nobody can tell.

It knows models and their steps. What a step computes is in `test_convolution`,
`test_dense` and `test_normalization`.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinycnn import models
from tinycnn.fast.fuse import agree, make_plan
from tinycnn.fast.steps import FusedBatchNorm, FusedConvolution, FusedDense
from tinycnn.nn import (
    SGD,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    Parameter,
    ReLU,
    Sequential,
    softmax_cross_entropy,
)
from tinycnn.nn.layers import Layer


def conv(C=1, F=2):
    return Conv2D(C, F, 3, padding="same", rng=np.random.default_rng(C))


def dense(U, D=5):
    return Dense(D, U, rng=np.random.default_rng(U))


class OtherDense(Dense):
    """A reader's own."""


class OtherConv2D(Conv2D):
    """A reader's own."""


class OtherReLU(ReLU):
    """A reader's own."""


class OtherMaxPool2D(MaxPool2D):
    """A reader's own."""


class OtherDropout(Dropout):
    """A reader's own."""


class OtherBatchNorm2D(BatchNorm2D):
    """A reader's own."""


POOL, DROP, BIG = MaxPool2D(2), Dropout(0.5), MaxPool2D((16, 16))

# Layers, and how many of them each step stands in for: * is a fused step.
PLANS = {
    "nothing": ([], ""),
    "a convolution alone": ([conv()], "1"),
    "a convolution before another": ([conv(), conv(2)], "1 1"),
    "with its ReLU": ([conv(), ReLU()], "2*"),
    "and pooling": ([conv(), ReLU(), POOL], "3*"),
    "and dropout": ([conv(), ReLU(), DROP], "3*"),
    "and both": ([conv(), ReLU(), POOL, DROP], "4*"),
    "both in the other order": ([conv(), ReLU(), DROP, POOL], "3* 1"),
    "pooling before the ReLU": ([conv(), POOL, ReLU()], "1 1 1"),
    "dropout before the ReLU": ([conv(), DROP, ReLU()], "1 1 1"),
    "pooling twice": ([conv(), ReLU(), POOL, MaxPool2D(2)], "3* 1"),
    "255 cells in a window": ([conv(), ReLU(), MaxPool2D((15, 17))], "3*"),
    "256 cells in a window": ([conv(), ReLU(), BIG], "2* 1"),
    "and dropout after it": ([conv(), ReLU(), BIG, DROP], "2* 1 1"),
    "batch norm": ([BatchNorm2D(1)], "1*"),
    "batch norm before the ReLU": ([conv(), BatchNorm2D(2), ReLU()], "1 1* 1"),
    "two in a row": ([conv(), ReLU(), conv(2), ReLU(), POOL], "2* 3*"),
    "a dense layer with 63 outputs": ([dense(63)], "1"),
    "a dense layer with 64 outputs": ([dense(64)], "1*"),
    "however many inputs": ([dense(63, 900), dense(64, 1)], "1 1*"),
    "and nothing with it": ([Flatten(), dense(99), ReLU(), DROP], "1 1* 1 1"),
    "a subclass of Dense": ([OtherDense(5, 64, rng=np.random)], "1"),
    "no convolution": ([Flatten(), ReLU(), POOL, DROP], "1 1 1 1"),
    "a subclass of Conv2D": ([OtherConv2D(1, 2, 1, rng=np.random), ReLU()], "1 1"),
    "a subclass of ReLU": ([conv(), OtherReLU()], "1 1"),
    "a subclass of MaxPool2D": ([conv(), ReLU(), OtherMaxPool2D(2)], "2* 1"),
    "a subclass of Dropout": ([conv(), ReLU(), POOL, OtherDropout(0.5)], "3* 1"),
    "a subclass of BatchNorm2D": ([OtherBatchNorm2D(1)], "1"),
}


@pytest.mark.parametrize("name", PLANS)
def test_each_step_stands_in_for_its_layers(name):
    layers, wanted = PLANS[name]
    steps, rest = make_plan(layers), list(layers)
    assert len(steps) == len(wanted.split())
    for step, count in zip(steps, wanted.split(), strict=True):
        mine, rest = rest[: int(count[0])], rest[int(count[0]) :]
        if "*" not in count:
            assert [step] == mine
        elif isinstance(step, FusedBatchNorm):
            assert [step.norm] == mine
        elif isinstance(step, FusedDense):
            assert [step.dense] == mine
        else:
            assert isinstance(step, FusedConvolution)
            found = [step.conv, mine[1], step.pool, step.dropout]
            assert [layer for layer in found if layer is not None] == mine
    assert rest == []


def test_the_networks_are_planned():
    found = {
        name: [type(step).__name__ for step in models.build(name).plan]
        for name in models.NETWORKS
    }
    convolution, norm = "FusedConvolution", "FusedBatchNorm"
    three = [convolution, norm] * 3 + ["Flatten", "Dropout", "Dense"]
    assert found == {
        "classic": [convolution] * 2
        + ["Flatten", "FusedDense", "ReLU", "Dropout", "Dense"],
        "quick": [convolution, norm] * 3 + ["Flatten", "Dense"],
        "best": [convolution, norm] * 5 + ["Flatten", "Dropout", "Dense"],
        "tiny": [convolution, norm] * 5 + ["GlobalAveragePool2D", "Dense"],
        **dict.fromkeys(("default", "judge"), three),
    }


def test_the_summary_names_the_steps():
    layers = [conv(), ReLU(), BatchNorm2D(2), Flatten(), dense(64, 32), dense(2, 64)]
    model = Sequential(layers)
    last = model.summary((4, 4, 1)).splitlines()[-1]
    assert last == "fused: FusedConvolution, FusedBatchNorm, Flatten, FusedDense, Dense"
    model.fuse = False
    assert "fused" not in model.summary((4, 4, 1))


def small():
    """Return a model with two fused convolutions, for images (N, 6, 6, 1)."""
    layers = [conv(), ReLU(), conv(2, 3), ReLU(), MaxPool2D(2), Dropout(0.5)]
    model = Sequential(
        [*layers, Flatten(), Dense(27, 4, rng=np.random.default_rng(5))], seed=1
    )
    make_whole(model)
    return model


def make_whole(model):
    """Give every parameter small whole numbers: sums are exact in any order."""
    rng = np.random.default_rng(7)
    for parameter in model.parameters():
        parameter.value[:] = rng.integers(-2, 3, parameter.value.shape)


def whole_images():
    rng = np.random.default_rng(0)
    return rng.integers(-2, 3, (3, 6, 6, 1)).astype(np.float32)


def compute(model, x):
    """Return output and all gradients of a training step."""
    y = model.forward(x, training=True)
    dy = np.arange(y.size, dtype=y.dtype).reshape(y.shape) % 5 - 2
    return [y, model.backward(dy), *(p.grad for p in model.parameters())]


def assert_same(found, wanted):
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


@pytest.fixture
def fused_calls(monkeypatch):
    """Return a list that grows by one with each forward of a fused convolution."""
    calls, forward = [], FusedConvolution.forward

    def noting(self, x, training=False):
        calls.append(len(x))
        return forward(self, x, training)

    monkeypatch.setattr(FusedConvolution, "forward", noting)
    return calls


def test_float32_goes_through_the_plan_and_comes_out_the_same(fused_calls):
    found = compute(small(), whole_images())
    assert fused_calls == [3, 3]
    plain = small()
    plain.fuse = False
    assert_same(found, compute(plain, whole_images()))
    assert fused_calls == [3, 3]


def test_who_asks_for_the_layers_gets_them(fused_calls):
    model = Sequential(small().layers, fuse=False)
    compute(model, whole_images())
    model.predict(whole_images())
    assert fused_calls == []


def test_float64_runs_the_layers_as_they_are_written(fused_calls):
    for x_type, model_type in [(np.float64, np.float32), (np.float32, np.float64)]:
        model = small()
        model.cast(model_type)
        y, *_ = compute(model, whole_images().astype(x_type))
        assert y.dtype == np.float64
    assert fused_calls == []
    model.cast(np.float32)
    compute(model, whole_images())
    assert fused_calls == [3, 3]


def test_backward_belongs_to_the_forward_that_ran():
    """Also where ``fuse`` is changed in between."""
    x, model, plain = whole_images(), small(), small()
    plain.fuse = False
    for y_model in (model, plain):
        y = y_model.forward(x, training=True)
        y_model.fuse = not y_model.fuse
    dy = np.ones_like(y)
    assert_same([model.backward(dy)], [plain.backward(dy)])


def test_layers_that_were_changed_are_planned_anew():
    model = Sequential([conv(), ReLU()])
    assert len(model.plan) == 1
    assert model.plan is model.plan
    model.layers.append(MaxPool2D(2))
    assert model.plan[0].pool is model.layers[2]
    model.layers[1] = OtherReLU()
    assert model.plan == model.layers
    model.layers = [BatchNorm2D(1)]
    assert model.plan[0].norm is model.layers[0]
    assert model.forward(whole_images()).shape == (3, 6, 6, 1)


def test_a_deep_copy_has_a_plan_over_its_own_parameters():
    model, x = small(), whole_images()
    wanted = compute(model, x)
    twin = copy.deepcopy(model)
    assert twin.plan[0].conv is twin.layers[0]
    assert twin.plan[1].dropout is twin.layers[5]
    for parameter in twin.parameters():
        parameter.value[:] = 0
    assert not twin.forward(x).any()
    model.seed_dropout(1)
    assert_same(compute(model, x), wanted)


def test_a_model_in_a_model_is_planned_by_itself():
    def nested():
        inner = Sequential([conv(2, 3), ReLU(), MaxPool2D(2)])
        layers = [conv(), ReLU(), inner, Flatten()]
        model = Sequential([*layers, Dense(27, 4, rng=np.random.default_rng(0))])
        make_whole(model)
        return model, inner

    model, inner = nested()
    found = compute(model, whole_images())
    assert [type(step) for step in inner.plan] == [FusedConvolution]
    model, inner = nested()
    model.fuse = inner.fuse = False
    assert_same(found, compute(model, whole_images()))


def test_backward_before_forward_is_refused():
    for layer in (small(), FusedConvolution(conv(), None, None), FusedDense(dense(64))):
        for backward in (layer.backward, layer.backward_parameters):
            with pytest.raises(RuntimeError, match="needs a forward first"):
                backward(np.zeros((3, 4), np.float32))


INTERPRETED = """
import numpy as np, test_plan as t
model, x = t.small(), t.whole_images()
assert model.plan == model.layers
print(*(float(np.abs(array).sum()) for array in t.compute(model, x)))
"""


def test_interpreted_python_runs_the_layers():
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        cwd=Path(__file__).parent,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wanted = [np.abs(array).sum() for array in compute(small(), whole_images())]
    np.testing.assert_array_equal([float(n) for n in done.stdout.split()], wanted)


def digits(N):
    """Return images with as much ink as digits have."""
    x = np.random.default_rng(0).random((N, 28, 28, 1), np.float32)
    return np.where(x > 0.8, x, np.float32(0))


def two(name):
    """Return a network twice: fused, and as it is written."""
    model, plain = models.build(name), models.build(name)
    plain.fuse = False
    return model, plain


@pytest.mark.parametrize("name", models.NETWORKS)
def test_the_networks_agree_with_themselves(name):
    model, plain = two(name)
    before = {key: array.copy() for key, array in model.state().items()}
    assert agree(model, plain, digits(2))
    for key, array in model.state().items():  # neither is changed
        np.testing.assert_array_equal(array, before[key])
    assert all(p.grad is None for p in [*model.parameters(), *plain.parameters()])
    assert all(layer.step == 0 for layer in model.layers if type(layer) is Dropout)


def leaky(forward):
    def edited(self, x, training=False):
        forward(self, x, training)
        return np.where(x > 0, x, np.float32(0.01) * x)

    return edited


def leaky_in_inference(forward):
    def edited(self, x, training=False):
        return forward(self, x, training) if training else leaky(forward)(self, x)

    return edited


def twice(method):
    return lambda self, *arguments: 2 * method(self, *arguments)


def without_running_averages(forward):
    def edited(self, x, training=False):
        before = self.running_mean.copy(), self.running_var.copy()
        y = forward(self, x, training)
        self.running_mean[:], self.running_var[:] = before
        return y

    return edited


def without_bias_gradient(backward):
    def edited(self, dy):
        dx = backward(self, dy)
        self.bias.grad = None
        return dx

    return edited


def not_a_number(forward):
    return lambda self, *arguments: forward(self, *arguments) * np.float32(np.nan)


EDITS = {
    "ReLU.forward": (ReLU, "forward", leaky),
    "ReLU.forward in inference only": (ReLU, "forward", leaky_in_inference),
    "ReLU.backward": (ReLU, "backward", twice),
    "Conv2D.forward": (Conv2D, "forward", twice),
    "Conv2D.forward gives NaN": (Conv2D, "forward", not_a_number),
    "Conv2D.backward": (Conv2D, "backward", twice),
    "Conv2D.backward forgets": (Conv2D, "backward", without_bias_gradient),
    "MaxPool2D.backward": (MaxPool2D, "backward", twice),
    "BatchNorm2D.backward": (BatchNorm2D, "backward", twice),
    "running averages": (BatchNorm2D, "forward", without_running_averages),
    "Dense.forward": (Dense, "forward", twice),
    "Dense.forward gives NaN": (Dense, "forward", not_a_number),
    "Dense.backward": (Dense, "backward", twice),
    "Dense.backward forgets": (Dense, "backward", without_bias_gradient),
}


def with_every_step():
    """Return a small network with each step of the plan, twice, and its images."""
    rng = np.random.default_rng(0)
    convolutions = [conv(), ReLU(), MaxPool2D(2), conv(2, 3), ReLU(), BatchNorm2D(3)]
    layers = [*convolutions, Flatten(), dense(64, 27), ReLU(), dense(3, 64)]
    plain = Sequential(copy.deepcopy(layers), fuse=False)
    x = rng.random((4, 6, 6, 1), np.float32)
    return Sequential(layers), plain, x


@pytest.mark.parametrize("name", EDITS)
def test_a_layer_that_was_edited_does_not_agree_with_its_step(name, monkeypatch):
    kind, method, edit = EDITS[name]
    assert agree(*with_every_step())
    monkeypatch.setattr(kind, method, edit(getattr(kind, method)))
    assert not agree(*with_every_step())


def test_a_bias_without_a_gradient_is_no_disagreement():
    """Batch norm takes away what a bias before it adds: its gradient is rounding."""
    rng = np.random.default_rng(0)
    layers = [conv(), BatchNorm2D(2), ReLU(), Flatten(), dense(3, 72)]
    plain = Sequential(copy.deepcopy(layers), fuse=False)
    assert agree(Sequential(layers), plain, rng.random((4, 6, 6, 1), np.float32))


def test_a_few_steps_of_training_stay_together():
    """Measured: after 5 steps that move weights by 0.06 they are 1e-6 apart."""
    found = []
    labels = np.arange(20) % 10
    for model in two("default"):
        optimizer = SGD(model.parameters(), 0.1)
        for _ in range(5):
            _, dy = softmax_cross_entropy(model.forward(digits(20), True), labels)
            model.backward(dy)
            optimizer.step()
        found.append(np.concatenate([p.value.ravel() for p in model.parameters()]))
    fresh = [p.value.ravel() for p in models.build("default").parameters()]
    moved = np.abs(found[1] - np.concatenate(fresh)).max()
    assert np.abs(found[0] - found[1]).max() <= 2e-4 * moved


def without_bias(self, x, training=False):
    bias, self.bias = self.bias, None
    y = plain_convolution(self, x, training)
    self.bias = bias
    return y


def without_scale(self, x, training=False):
    plain_norm(self, x, training)
    return self._memory[1]


plain_convolution, plain_norm = Conv2D.forward, BatchNorm2D.forward


@pytest.mark.parametrize(
    ("kind", "edited"), [(Conv2D, without_bias), (BatchNorm2D, without_scale)]
)
def test_an_edit_that_fresh_weights_would_hide_is_seen(monkeypatch, kind, edited):
    model, plain = models.build("default"), models.build("default")
    plain.fuse = False
    x = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    assert agree(model, plain, x)
    monkeypatch.setattr(kind, "forward", edited)
    assert not agree(model, plain, x)


class TwiceFromALimit(Layer):
    """Scale an input, and twice as much or with twice the gradient if it has much ink.

    What has no limit stays as it is.
    """

    def __init__(self, output=np.inf, gradient=np.inf):
        self.scale = Parameter(np.ones(1, np.float32), "scale")
        self.output, self.gradient = output, gradient

    def parameters(self):
        return [self.scale]

    def forward(self, x, training=False):  # noqa: ARG002
        self._x = x
        return self.scale.value * (2 * x if x.sum() > self.output else x)

    def backward(self, dy):
        factor = 2 if self._x.sum() > self.gradient else 1
        self.scale.grad = np.float32(factor) * (self._x * dy).sum(keepdims=True).ravel()
        return dy


def four_pairs(inked):
    x = np.zeros((8, 4), np.float32)
    x[: 2 * inked] = 1
    return x


@pytest.mark.parametrize(("pairs", "agreed"), [(0, True), (1, True), (3, False)])
def test_a_gradient_that_differs_for_one_pair_in_four_is_rounding(pairs, agreed):
    """A ReLU that rounding opens must not keep a run from its fused steps."""
    model, plain = TwiceFromALimit(), TwiceFromALimit(gradient=4)
    assert agree(model, plain, four_pairs(pairs)) is agreed


@pytest.mark.parametrize(("pairs", "agreed"), [(0, True), (1, False)])
def test_an_output_that_differs_for_one_pair_is_an_edit(pairs, agreed):
    """Such as a ReLU that only cuts off what is very large."""
    model, plain = TwiceFromALimit(), TwiceFromALimit(output=4)
    assert agree(model, plain, four_pairs(pairs)) is agreed
