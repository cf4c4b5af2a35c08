"""Layers in a row: order, names, dropout's numbers, threads. See also test_mistakes."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from geometries import batch_norm, dense, network

from tinycnn import nn
from tinycnn.nn import kernels


class Noted(nn.Layer):
    """Multiply by a number, and note each call with what came in."""

    def __init__(self, factor, notes):
        self.factor, self.notes = factor, notes

    def forward(self, x, training=False):
        self.notes.append(("forward", self.factor, x.item(), training))
        return x * self.factor

    def backward(self, dy):
        self.notes.append(("backward", self.factor, dy.item()))
        return dy * self.factor


@pytest.mark.parametrize("training", [True, False])
def test_forward_runs_through_the_list_and_backward_through_its_reverse(training):
    notes = []
    model = nn.Sequential([Noted(factor, notes) for factor in (2, 3, 5)])
    assert isinstance(model.layers, tuple)
    assert model.forward(np.ones(1), training).item() == 30
    assert model.backward(np.ones(1)).item() == 30
    assert notes[:3] == [
        ("forward", f, x, training) for f, x in ((2, 1), (3, 2), (5, 6))
    ]
    assert notes[3:] == [("backward", f, dy) for f, dy in ((5, 1), (3, 5), (2, 15))]
    model.forward(np.ones(1))
    assert not any(note[-1] for note in notes[6:])  # not training unless told


def test_every_written_method_and_kernel_runs_once_a_layer_and_batch(monkeypatch):
    calls = []

    def count(owner, name):
        function = getattr(owner, name)

        def counted(*arguments):
            calls.append(f"{getattr(owner, '__name__', owner)}.{name}")
            return function(*arguments)

        monkeypatch.setattr(owner, name, counted)

    model = network()
    for layer in model.layers:
        count(type(layer), "forward")
        count(type(layer), "backward")
    for name in ("im2col", "col2im", "max_pool", "max_pool_backward"):
        count(kernels, name)
    y = model.forward(np.ones((2, 7, 6, 1)), training=True)
    model.backward(np.ones_like(y))
    names = [type(layer).__name__ for layer in model.layers]
    of_layers = [call for call in calls if "kernels" not in call]
    assert of_layers[:7] == [f"{name}.forward" for name in names]
    assert of_layers[7:] == [f"{name}.backward" for name in reversed(names)]
    of_kernels = [call.rpartition(".")[2] for call in calls if "kernels" in call]
    assert of_kernels == ["im2col", "max_pool", "max_pool_backward", "col2im"]


def test_parameters_and_state_follow_the_order_of_the_layers():
    model = network()
    names = ["0.weight", "0.bias", "3.weight", "3.bias"]
    names += ["3.running_mean", "3.running_var", "6.weight", "6.bias"]
    assert list(model.state()) == names
    trained = [name for name in names if "running" not in name]
    for name, parameter in zip(trained, model.parameters(), strict=True):
        assert model.state()[name] is parameter.value
    assert len(nn.Sequential([batch_norm(2) for _ in range(12)]).state()) == 12 * 4


def test_a_sequence_without_layers_changes_nothing():
    x, model = np.arange(3.0), nn.Sequential([])
    np.testing.assert_array_equal(model.forward(x), x)
    np.testing.assert_array_equal(model.backward(x), x)
    assert model.parameters() == []


def test_a_deep_copy_computes_the_same_and_shares_nothing():
    model = network()
    x = np.random.default_rng(3).normal(size=(2, 7, 6, 1))
    twin = copy.deepcopy(model)
    wanted = model.forward(x, training=True)
    np.testing.assert_array_equal(twin.forward(x, training=True), wanted)
    for name, array in model.state().items():
        assert not np.shares_memory(array, twin.state()[name])


def test_several_threads_may_ask_one_network():
    model = network()
    batches = [
        np.random.default_rng(seed).normal(size=(1 + seed % 5, 7, 6, 1))
        for seed in range(40)
    ]
    wanted = [network().forward(x) for x in batches]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            for y, right in zip(
                threads.map(model.forward, batches), wanted, strict=True
            ):
                np.testing.assert_array_equal(y, right)


# --- dropout ----------------------------------------------------------------------


def dropouts(seed=0):
    layers = [nn.Dropout(0.5), nn.ReLU(), nn.Dropout(0.5), nn.Dropout(0.5)]
    return nn.Sequential(layers, seed)


def masks(model):
    """Return what each dropout layer makes of many ones."""
    ones, found = np.ones((20, 20)), []
    for layer in model.layers:
        if isinstance(layer, nn.Dropout):
            found.append(layer.forward(ones, training=True).tobytes())
        if isinstance(layer, nn.Sequential):
            found += masks(layer)
    return found


def test_each_dropout_layer_has_a_mask_of_its_own_and_each_seed_another_run():
    first, again, other = masks(dropouts(1)), masks(dropouts(1)), masks(dropouts(2))
    assert first == again
    assert len({*first, *other}) == 6


def test_a_mask_is_a_function_of_seed_number_and_step():
    model = dropouts(8)
    model.seed_dropout(8, step=5)
    for number, layer in enumerate(model.layers, start=1):
        if isinstance(layer, nn.Dropout):
            alike = nn.Dropout(0.5)
            alike.restart(8, number, 5)
            for a, b in zip(
                layer.next_mask((9, 9)), alike.next_mask((9, 9)), strict=True
            ):
                np.testing.assert_array_equal(a, b)


def test_a_network_told_its_step_drops_what_the_uninterrupted_one_drops():
    ones = np.ones((20, 20))
    model, resumed = dropouts(4), dropouts(4)
    uninterrupted = [model.forward(ones, training=True) for _ in range(4)]
    resumed.seed_dropout(4, step=2)
    for wanted in uninterrupted[2:]:
        np.testing.assert_array_equal(resumed.forward(ones, training=True), wanted)


def test_dropout_in_a_network_within_a_network_has_a_mask_of_its_own():
    def inner():
        return nn.Sequential([nn.Dropout(0.5), nn.ReLU()])

    model = nn.Sequential([inner(), nn.Dropout(0.5), inner()], seed=3)
    first = masks(model)
    assert len(set(first)) == 3
    model.seed_dropout(3, step=0)
    assert masks(model) == first
    model.seed_dropout(3, step=1)
    assert not {*masks(model)} & {*first}


def test_a_sequence_is_a_layer_among_layers():
    inner = nn.Sequential([dense(4, 3), nn.ReLU()])
    model = nn.Sequential([dense(5, 4), inner, dense(3, 2)])
    names = [f"{n}.{kind}" for n in ("0", "1.0", "2") for kind in ("weight", "bias")]
    assert list(model.state()) == names
    x = np.random.default_rng(5).normal(size=(3, 5))
    wanted = dense(3, 2).forward(inner.forward(dense(5, 4).forward(x)))
    np.testing.assert_array_equal(model.forward(x), wanted)
