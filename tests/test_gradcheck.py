"""The laws of the gradient check: what is right passes, and what is wrong is named.

Layers are broken here on purpose, one way each, and the check must say where.
"""

import copy
import dataclasses
import math

import numpy as np
import pytest
from geometries import LAYERS, apart, batch_norm, dense

from tinycnn import nn
from tinycnn._gradcheck_core import check_gradients, distinct_values, examples, table

X = np.random.default_rng(0).normal(size=(4, 3))


class Curve(nn.Layer):
    """``y = weight * tanh(x) + bias``: a right layer, to be broken below."""

    linear_in = ("weight", "bias")

    def __init__(self):
        rng = np.random.default_rng(1)
        self.weight = nn.Parameter(rng.normal(size=3), "weight")
        self.bias = nn.Parameter(rng.normal(size=3), "bias")

    def forward(self, x, training=False):  # noqa: ARG002
        bent = np.tanh(x)
        self._remember(x.shape, bent)
        return self.weight.value * bent + self.bias.value

    def backward(self, dy):
        (bent,) = self._recall(dy)
        self.weight.grad = (dy * bent).sum(axis=0)
        self.bias.grad = dy.sum(axis=0)
        return dy * self.weight.value * (1 - bent**2)


def wrong(layer, x=X, **settings):
    """Return the checks that failed, by parameter."""
    checks = check_gradients(layer, x, **settings)
    return {check.parameter: check for check in checks if not check.ok}


def test_a_right_layer_passes():
    checks = check_gradients(Curve(), X)
    assert [c.parameter for c in checks] == ["x", "weight", "bias"]
    assert [c.entries for c in checks] == [12, 3, 3]
    assert [c.tolerance for c in checks] == [1e-6, 1e-9, 1e-9]
    assert all(c.ok and c.layer == "Curve" and c.kinks == 0 for c in checks)


# --- layers that are wrong --------------------------------------------------------


def test_a_missing_term_is_named_and_shown():
    class Broken(Curve):
        def backward(self, dy):
            super().backward(dy)
            return dy * self.weight.value

    failures = wrong(Broken())
    assert set(failures) == {"x"}
    assert failures["x"].layer == "Broken"
    assert failures["x"].message.startswith("x[")
    assert "by backward" in failures["x"].message


def test_the_message_has_the_index_and_both_numbers():
    class Broken(Curve):
        def backward(self, dy):
            dx = super().backward(dy)
            self.weight.grad[2] = 0.125
            return dx

    failure = wrong(Broken())["weight"]
    right = Curve()
    dy = np.random.default_rng([0, 1]).standard_normal(right.forward(X).shape)
    right.backward(dy)
    assert failure.message.startswith("weight[2] has the gradient 0.125 by backward")
    assert f"{right.weight.grad[2]:.6g} by the difference" in failure.message
    assert f"{failure.max_relative_error:.1e}" in failure.message


@pytest.mark.parametrize("parameter", ["weight", "bias"])
def test_a_wrong_scale_is_half_of_the_larger_number(parameter):
    class Broken(Curve):
        def backward(self, dy):
            dx = super().backward(dy)
            getattr(self, parameter).grad *= 2
            return dx

    failures = wrong(Broken())
    assert set(failures) == {parameter}
    assert failures[parameter].max_relative_error == pytest.approx(0.5)


def test_a_forgotten_gradient_is_named():
    class Broken(Curve):
        def backward(self, dy):
            dx = super().backward(dy)
            self.bias.grad = None
            return dx

    failures = wrong(Broken())
    assert set(failures) == {"bias"}
    assert "gave no gradient of bias" in failures["bias"].message
    assert failures["bias"].max_relative_error == math.inf


def test_a_gradient_of_another_shape_is_named_with_both_shapes():
    class Broken(Curve):
        def backward(self, dy):
            dx = super().backward(dy)
            self.bias.grad = self.bias.grad[:, np.newaxis]
            return dx

    failures = wrong(Broken())
    assert set(failures) == {"bias"}
    assert "(3, 1), not (3,)" in failures["bias"].message


def test_a_gradient_that_is_not_a_number_is_wrong():
    class Broken(Curve):
        def backward(self, dy):
            dx = super().backward(dy)
            dx[1, 2] = np.nan
            return dx

    failures = wrong(Broken())
    assert set(failures) == {"x"}
    assert failures["x"].max_relative_error == math.inf
    assert failures["x"].message.startswith("x[1, 2]")


@pytest.mark.parametrize("parameter", ["x", "weight", "bias"])
def test_one_entry_that_is_a_little_off_is_seen(parameter):
    class Broken(Curve):
        def backward(self, dy):
            dx = super().backward(dy)
            grads = {"x": dx, "weight": self.weight.grad, "bias": self.bias.grad}
            # Ten times what is tolerated, measured against the largest entry.
            grad = grads[parameter].reshape(-1)
            grad[-1] += abs(grad).max() * (1e-5 if parameter == "x" else 1e-8)
            return dx

    assert set(wrong(Broken())) == {parameter}


def test_an_entry_without_any_gradient_is_compared_too():
    class Broken(Curve):
        def backward(self, dy):
            dx = super().backward(dy)
            dx[0, 0] = 0
            return dx

    failures = wrong(Broken())
    assert set(failures) == {"x"}
    assert failures["x"].message.startswith("x[0, 0] has the gradient 0 by backward")


def test_batch_norm_without_its_last_term_is_seen():
    class Broken(nn.BatchNorm2D):
        def backward(self, dy):
            _, std, training = self._recall(dy)
            super().backward(dy)
            M = dy.size // dy.shape[-1]
            if training:
                dy = dy - self.bias.grad / M
            return dy * (self.weight.value / std)

    layer = Broken(2)
    x = np.random.default_rng(2).normal(size=(2, 3, 2, 2))
    checks = check_gradients(layer, x)
    assert [c.parameter for c in checks if not c.ok] == ["x"]
    assert [c.layer for c in checks if not c.ok] == ["Broken"]


def test_what_is_wrong_outside_training_only_is_seen():
    class Broken(nn.Dropout):
        def backward(self, dy):
            dx = super().backward(dy)
            return dx * 2 if dx is dy else dx

    (failure,) = [c for c in check_gradients(Broken(0.5), X) if not c.ok]
    assert failure.layer == "Broken (inference)"


def test_a_gradient_that_is_added_is_seen_by_its_second_backward():
    # The check runs one backward only, so the law is in test_layers; here it passes.
    class Adding(Curve):
        def backward(self, dy):
            before = self.weight.grad
            dx = super().backward(dy)
            self.weight.grad = self.weight.grad + (0 if before is None else before)
            return dx

    assert not wrong(Adding())


@pytest.mark.parametrize("argument", ["x in forward", "x in backward", "dy"])
def test_an_edited_argument_is_an_error_of_every_tensor(argument):
    class Broken(nn.Layer):
        linear_in = ("x",)

        def forward(self, x, training=False):  # noqa: ARG002
            self._remember(x.shape, x)
            y = x * 2
            if argument == "x in forward":
                np.maximum(x, 0, out=x)
            return y

        def backward(self, dy):
            (x,) = self._recall(dy)
            dx = dy * 2
            if argument == "x in backward":
                x += 1
            elif argument == "dy":
                dy *= 2
            return dx

    failure = wrong(Broken())["x"]
    assert "edits its argument" in failure.message


def test_a_layer_that_is_falsely_declared_linear_fails():
    class Broken(Curve):
        linear_in = ("x", "weight", "bias")

    failures = wrong(Broken())
    assert set(failures) == {"x"}
    assert "declares itself linear in x" in failures["x"].message


def test_a_layer_of_nothing_but_kinks_is_not_passed():
    class Absolute(nn.Layer):
        def forward(self, x, training=False):  # noqa: ARG002
            self._remember(x.shape, np.sign(x))
            return abs(x)

        def backward(self, dy):
            (sign,) = self._recall(dy)
            return dy * sign

    failure = wrong(Absolute(), np.zeros((2, 3)))["x"]
    assert failure.kinks == 6
    assert "6 of 6 entries sit on a kink" in failure.message
    assert not wrong(Absolute(), apart((2, 3)))


def test_a_jump_is_not_passed():
    class Step(nn.Layer):
        def forward(self, x, training=False):  # noqa: ARG002
            self._remember(x.shape)
            return np.where(x > 0, 1.0, 0.0)

        def backward(self, dy):
            self._recall(dy)
            return np.zeros_like(dy)

    assert "x" in wrong(Step(), np.zeros((2, 3)))


# --- layers that are right --------------------------------------------------------


def test_a_kink_is_counted_and_is_no_fault():
    x = apart((4, 5))
    x[1, 2] = x[3, 3] = 0
    (check,) = check_gradients(nn.ReLU(), x)
    assert check.ok
    assert check.kinks == 2


def test_a_kink_hides_no_fault_beside_it():
    class Broken(nn.ReLU):
        def backward(self, dy):
            dx = super().backward(dy)
            dx[0, 0] += 0.01
            return dx

    x = abs(apart((4, 5)))
    x[1, 2] = 0
    failure = wrong(Broken(), x)["x"]
    assert failure.kinks == 1
    assert failure.message.startswith("x[0, 0]")


def test_a_steep_curve_is_no_kink():
    class Square(nn.Layer):
        def forward(self, x, training=False):  # noqa: ARG002
            self._remember(x.shape, x)
            return x**2

        def backward(self, dy):
            (x,) = self._recall(dy)
            return 2 * x * dy

    (check,) = check_gradients(Square(), X)
    assert check.ok
    assert check.kinks == 0


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_and_the_input_are_left_as_they_were(name):
    layer, x = LAYERS[name].make()
    layer.cast(np.float32)
    twin, x_before = copy.deepcopy(layer), x.tobytes()
    check_gradients(layer, x[:1])
    assert x.tobytes() == x_before
    for key, array in layer.state().items():
        assert array.dtype == np.float32
        assert array.tobytes() == twin.state()[key].tobytes()
    assert all(p.grad is None for p in layer.parameters())
    assert getattr(layer, "step", 0) == 0
    assert layer._memory is None


@pytest.mark.parametrize("x", [X.astype(np.float32), X.astype(int).tolist()])
def test_a_float32_layer_and_any_numbers_are_checked_in_float64(x):
    layer = nn.Dense(3, 2, rng=np.random.default_rng(0))
    assert not wrong(layer, x)
    assert layer.weight.value.dtype == np.float32


def test_a_layer_that_draws_from_its_own_generator_keeps_its_draws():
    class Noise(nn.Layer):
        linear_in = ("x",)

        def __init__(self):
            self.rng = np.random.default_rng(0)

        def forward(self, x, training=False):
            factors = self.rng.normal(size=x.shape) if training else np.ones(x.shape)
            self._remember(x.shape, factors)
            return x * factors

        def backward(self, dy):
            (factors,) = self._recall(dy)
            return dy * factors

    checks = check_gradients(Noise(), X)
    assert [c.layer for c in checks] == ["Noise", "Noise (inference)"]
    assert all(c.ok for c in checks)


def test_a_layer_without_gradient_may_say_zero():
    class Nothing(nn.Layer):
        def forward(self, x, training=False):  # noqa: ARG002
            self._remember(x.shape)
            return np.zeros_like(x)

        def backward(self, dy):
            self._recall(dy)
            return np.zeros_like(dy)

    (check,) = check_gradients(Nothing(), X)
    assert check.ok
    assert check.max_relative_error == 0


def test_only_layers_that_differ_are_checked_both_ways():
    titles = {
        name: {c.layer for c in check_gradients(*LAYERS[name].make())}
        for name in ("Dropout", "BatchNorm2D", "ReLU", "Dense")
    }
    assert titles["Dropout"] == {"Dropout", "Dropout (inference)"}
    assert titles["BatchNorm2D"] == {"BatchNorm2D", "BatchNorm2D (inference)"}
    assert titles["ReLU"] == {"ReLU"}
    assert titles["Dense"] == {"Dense"}


def test_parameters_of_layers_in_a_row_are_named_like_their_files():
    model = nn.Sequential([dense(3, 4), Curve(), dense(3, 2)])
    model.layers[1] = nn.ReLU()
    model.layers[2] = dense(4, 2)
    names = [c.parameter for c in check_gradients(model, X)]
    assert names == ["x", "0.weight", "0.bias", "2.weight", "2.bias"]


def test_the_upstream_gradient_is_random_and_a_function_of_the_seed():
    seen = []

    class Spy(nn.ReLU):
        def backward(self, dy):
            seen.append(dy.copy())
            return super().backward(dy)

    for seed in (0, 0, 1):
        check_gradients(Spy(), apart((4, 3)), seed=seed)
    np.testing.assert_array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])
    assert len(np.unique(seen[0])) == 12


# --- the examples and the table ---------------------------------------------------


@pytest.mark.parametrize("seed", [0, 7])
def test_every_example_passes_without_a_kink(seed):
    for layer, x in examples(seed):
        for check in check_gradients(layer, x, seed=seed):
            assert check.ok, check.message
            assert check.kinks == 0


def test_the_values_of_the_examples_are_apart():
    x = np.sort(distinct_values((3, 4, 5), np.random.default_rng(0)).ravel())
    assert np.diff(x).min() > 0.05
    assert abs(x).min() > 0.04


def test_the_table_has_a_line_a_check_and_a_sentence_a_failure():
    good, _, bad = check_gradients(batch_norm(2), apart((2, 2, 3, 2)))[:3]
    bad = dataclasses.replace(bad, ok=False, message="bias[0] is off")
    lines = table([good, bad]).splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["layer", "parameter", "entries", "kinks", "error"]
    assert lines[1].split()[:4] == ["BatchNorm2D", "x", "24", "0"]
    assert lines[1].endswith("  ok")
    assert lines[2].endswith("  WRONG")
    assert lines[3] == "BatchNorm2D: bias[0] is off"


class SometimesSquared(nn.Layer):
    """Declares itself linear, and is not at every third number."""

    linear_in = ("x",)

    def forward(self, x, training=False):  # noqa: ARG002
        return np.where(np.arange(x.size).reshape(x.shape) % 3 == 0, x**2, x)

    def backward(self, dy):
        return dy


def test_a_false_claim_of_linearity_is_an_error_at_a_single_entry():
    x = np.random.default_rng(0).standard_normal((3, 4)) + 3
    (check,) = check_gradients(SometimesSquared(), x)
    assert not check.ok
    assert "linear_in" in check.message
