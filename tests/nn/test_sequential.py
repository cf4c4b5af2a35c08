"""The laws of layers in a row: order, names, batches, and a table worked by hand."""

import copy
import re

import numpy as np
import pytest
from geometries import batch_norm, dense, network

from tinycnn.nn import (
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Sequential,
)


class Noted(Layer):
    """Multiplies by a number and writes down that it was called, and with what."""

    def __init__(self, factor, notes):
        self.factor, self.notes = factor, notes

    def forward(self, x, training=False):
        self.notes.append(("forward", self.factor, len(x), training))
        return x * self.factor

    def backward(self, dy):
        self.notes.append(("backward", self.factor))
        return dy * self.factor


@pytest.mark.parametrize("training", [True, False])
def test_forward_runs_through_the_list_and_backward_through_its_reverse(training):
    notes = []
    model = Sequential([Noted(2, notes), Noted(3, notes), Noted(5, notes)])
    assert model.forward(np.ones(1), training).item() == 30
    assert model.backward(np.ones(1)).item() == 30
    assert notes[:3] == [("forward", factor, 1, training) for factor in (2, 3, 5)]
    assert notes[3:] == [("backward", factor) for factor in (5, 3, 2)]


def test_forward_is_not_training_unless_told():
    notes = []
    Sequential([Noted(2, notes)]).forward(np.ones(1))
    assert notes == [("forward", 2, 1, False)]


def test_a_sequence_without_layers_changes_nothing():
    x = np.arange(3.0)
    assert Sequential([]).forward(x) is x


def test_parameters_and_state_follow_the_order_of_the_layers():
    model = network()
    names = ["0.weight", "0.bias", "3.weight", "3.bias"]
    names += ["3.running_mean", "3.running_var", "6.weight", "6.bias"]
    assert list(model.state()) == names
    trained = [name for name in names if "running" not in name]
    for name, parameter in zip(trained, model.parameters(), strict=True):
        assert model.state()[name] is parameter.value


def test_no_two_arrays_share_a_name():
    model = Sequential([batch_norm(2) for _ in range(12)])
    assert len(model.state()) == 12 * 4


def test_cast_reaches_every_layer():
    model = network()
    model.cast(np.float32)
    assert {array.dtype for array in model.state().values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 250])
def test_predict_is_forward_whatever_the_batches(batch_size):
    model = network()
    x = np.random.default_rng(0).normal(size=(10, 7, 6, 1))
    before = {name: array.copy() for name, array in model.state().items()}
    y = model.predict(x, batch_size)
    np.testing.assert_allclose(y, model.forward(x), rtol=1e-12)
    for name, array in model.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_predict_goes_batch_by_batch_with_a_ragged_last_one():
    notes = []
    model = Sequential([Noted(2, notes)])
    np.testing.assert_array_equal(
        model.predict(np.arange(7.0), batch_size=3), 2 * np.arange(7)
    )
    assert [note[2] for note in notes] == [3, 3, 1]
    assert not any(note[3] for note in notes)


def test_predict_between_two_steps_leaves_nothing_behind():
    x, other = np.random.default_rng(1).normal(size=(2, 4, 7, 6, 1))
    dy = np.random.default_rng(2).normal(size=(4, 4))

    def gradients(model):
        model.forward(x, training=True)
        dx = model.backward(dy)
        return [dx, *(p.grad for p in model.parameters())]

    disturbed, calm = network(), network()
    gradients(disturbed)
    disturbed.predict(other)
    gradients(calm)
    for a, b in zip(gradients(disturbed), gradients(calm), strict=True):
        np.testing.assert_array_equal(a, b)


def whole(model):
    """Give every parameter small whole numbers: sums are exact in any order."""
    rng = np.random.default_rng(7)
    for parameter in model.parameters():
        parameter.value[:] = rng.integers(-2, 3, parameter.value.shape)
    return model


def usual(rng):
    convolution = [Conv2D(1, 5, 3, rng=rng), ReLU(), MaxPool2D(2), Dropout(0.5)]
    return [*convolution, Flatten(), Dense(30, 64, rng=rng), ReLU()]


MODELS = {
    "a row": usual,
    "a network first": lambda rng: [Sequential(usual(rng)), Dense(64, 3, rng=rng)],
    "and first in it another": lambda rng: [
        Sequential([Sequential(usual(rng)[:4]), Flatten(), Dense(30, 2, rng=rng)])
    ],
    "an empty network first": lambda rng: [Sequential([]), *usual(rng)],
    "first a layer that learns nothing": lambda rng: [Dropout(0.5), *usual(rng)],
    "one layer": lambda rng: [Conv2D(1, 3, 3, rng=rng)],
    "batch norm first": lambda rng: [BatchNorm2D(1), *usual(rng)],
    "dense first": lambda rng: [Flatten(), Dense(48, 64, rng=rng)],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_the_gradients_of_the_parameters_alone_are_the_same(name, fuse, dtype):
    model = whole(Sequential(MODELS[name](np.random.default_rng(0)), fuse=fuse))
    model.cast(dtype)
    x = np.random.default_rng(1).integers(-2, 3, (3, 8, 6, 1)).astype(dtype)
    y = model.forward(x, training=True)
    dy = (np.arange(y.size, dtype=dtype) % 5 - 2).reshape(y.shape)
    model.backward(dy)
    wanted = [parameter.grad for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = None
    assert model.backward_parameters(dy) is None
    assert wanted
    for parameter, grad in zip(model.parameters(), wanted, strict=True):
        assert parameter.grad is not grad
        np.testing.assert_array_equal(parameter.grad, grad)


@pytest.mark.parametrize("fuse", [True, False])
def test_only_the_first_layer_is_spared_the_gradient_of_its_input(fuse):
    class Spared(Noted):
        def backward_parameters(self, dy):
            assert dy.item() == 15
            self.notes.append(("backward_parameters", self.factor))

    notes = []
    layers = [Spared(2, notes), Spared(3, notes), Spared(5, notes)]
    model = Sequential(layers, fuse=fuse)
    model.forward(np.ones(1))
    model.backward_parameters(np.ones(1))
    kinds = [("backward", 5), ("backward", 3), ("backward_parameters", 2)]
    assert notes[3:] == kinds


def test_a_sequence_without_layers_has_no_gradients():
    model = Sequential([])
    model.forward(np.ones(1))
    model.backward_parameters(np.ones(1))
    assert model.parameters() == []


def test_backward_before_forward_is_refused():
    model = Sequential(usual(np.random.default_rng(0)))
    for backward in (model.backward, model.backward_parameters):
        with pytest.raises(RuntimeError, match="needs a forward first"):
            backward(np.ones((1, 64)))


def test_the_summary_is_right_to_the_last_number():
    rng = np.random.default_rng(0)
    model = Sequential(
        [
            Conv2D(1, 4, 3, rng=rng),  # (8-3+1)² = 36 places; 3·3·1·4 + 4 parameters
            BatchNorm2D(4),
            ReLU(),
            MaxPool2D(2),
            Conv2D(4, 6, (2, 3), stride=(1, 2), padding="same", bias=False, rng=rng),
            Flatten(),
            Dropout(0.5),
            Dense(36, 10, rng=rng),
        ]
    )
    model.fuse = False  # no line about the plan
    # Columns are apart by two spaces or more.
    lines = model.summary((8, 8, 1)).splitlines()
    rows = [re.split(r" {2,}", line) for line in lines]
    assert rows == [
        ["layer", "output shape", "parameters", "multiply-adds"],
        ["0 Conv2D", "6 × 6 × 4", "40", "1,296"],
        ["1 BatchNorm2D", "6 × 6 × 4", "8", "0"],
        ["2 ReLU", "6 × 6 × 4", "0", "0"],
        ["3 MaxPool2D", "3 × 3 × 4", "0", "0"],
        ["4 Conv2D", "3 × 2 × 6", "144", "864"],
        ["5 Flatten", "36", "0", "0"],
        ["6 Dropout", "36", "0", "0"],
        ["7 Dense", "10", "370", "360"],
        ["total", "562", "2,520"],
    ]


def test_a_summary_changes_nothing():
    model = network()
    model.cast(np.float32)
    before = {name: array.copy() for name, array in model.state().items()}
    model.summary((7, 6, 1))
    for name, array in model.state().items():
        np.testing.assert_array_equal(array, before[name])
    assert model.layers[4].step == 0


def test_a_deep_copy_computes_the_same_and_shares_nothing():
    model = network()
    x = np.random.default_rng(3).normal(size=(2, 7, 6, 1))
    twin = copy.deepcopy(model)
    wanted = model.forward(x, training=True).copy()
    np.testing.assert_array_equal(twin.forward(x, training=True), wanted)
    for array in twin.state().values():
        array += 1
    np.testing.assert_array_equal(copy.deepcopy(network()).forward(x, True), wanted)
    for name, array in model.state().items():
        assert not np.shares_memory(array, twin.state()[name])


def dropouts(seed=0):
    return Sequential([Dropout(0.5), ReLU(), Dropout(0.5), Dropout(0.5)], seed)


def test_each_dropout_layer_has_a_number_of_its_own_and_the_seed_of_the_model():
    found = [layer for layer in dropouts(8).layers if isinstance(layer, Dropout)]
    assert len({layer.number for layer in found}) == 3
    assert {(layer.seed, layer.step) for layer in found} == {(8, 0)}
    ones = np.ones(200)
    masks = {layer.forward(ones, training=True).tobytes() for layer in found}
    assert len(masks) == 3


def test_a_seed_is_a_run_and_another_seed_another():
    ones = np.ones((20, 20))
    first, again, other = (
        dropouts(seed).forward(ones, training=True) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_model_that_is_told_its_step_drops_what_the_uninterrupted_one_drops():
    ones = np.ones((20, 20))
    model = dropouts(4)
    uninterrupted = [model.forward(ones, training=True).copy() for _ in range(4)]
    resumed = dropouts(4)
    resumed.seed_dropout(4, step=2)
    for wanted in uninterrupted[2:]:
        np.testing.assert_array_equal(resumed.forward(ones, training=True), wanted)


def test_a_sequence_is_a_layer_among_layers():
    inner = Sequential([dense(4, 3), ReLU()])
    model = Sequential([dense(5, 4), inner, dense(3, 2)])
    names = [f"{n}.{kind}" for n in ("0", "1.0", "2") for kind in ("weight", "bias")]
    assert list(model.state()) == names
    x = np.random.default_rng(5).normal(size=(3, 5))
    wanted = dense(3, 2).forward(inner.forward(dense(5, 4).forward(x)))
    np.testing.assert_array_equal(model.forward(x), wanted)


def test_dropout_in_a_network_within_a_network_has_a_number_of_its_own():
    def inner():
        return Sequential([Dropout(0.5), ReLU()])

    model = Sequential([inner(), Dropout(0.5), inner()])
    model.seed_dropout(3, step=7)
    layers = [model.layers[0].layers[0], model.layers[1], model.layers[2].layers[0]]
    assert [(layer.seed, layer.step) for layer in layers] == [(3, 7)] * 3
    assert len({layer.number for layer in layers}) == 3


def test_a_network_within_a_network_counts_each_of_its_layers():
    rng = np.random.default_rng(0)
    inner = Sequential([Conv2D(1, 4, 3, stride=2, rng=rng), Flatten()])
    model = Sequential([inner, Dense(36, 2, rng=rng)])
    first, second = model.summary((8, 8, 1)).splitlines()[1:3]
    assert first.split()[-1] == "324"  # 3 × 3 places of 3 × 3 weights for 4 filters
    assert second.split()[-1] == "72"
