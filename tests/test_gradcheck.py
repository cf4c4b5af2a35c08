"""The laws of the gradient check and of its command.

What is right passes and what is wrong is named. Layers are broken here on purpose, one
way each, and the check must say where.
"""

import copy
import json
import math
import re

import numpy as np
import pytest

from tinycnn import nn
from tinycnn.gradcheck import check_gradients, examples, main

X = np.random.default_rng(0).normal(size=(4, 3))


class Curve(nn.Layer):
    """``y = weight * tanh(x) + bias``: a right layer, to be broken below."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.weight = nn.Parameter(rng.normal(size=3), "weight")
        self.bias = nn.Parameter(rng.normal(size=3), "bias")

    def forward(self, x, training=False):  # noqa: ARG002
        bent = np.tanh(x)
        y = self.weight.value * bent + self.bias.value
        self._remember(y, bent)
        return y

    def backward(self, dy):
        (bent,) = self._recall(dy)
        self.weight.grad = (dy * bent).sum(axis=0)
        self.bias.grad = dy.sum(axis=0)
        return dy * self.weight.value * (1 - bent**2)


class Map(nn.Layer):
    """A function of every number by itself, with its derivative."""

    def __init__(self, function, derivative):
        self.function, self.derivative = function, derivative

    def forward(self, x, training=False):  # noqa: ARG002
        self._remember(x, self.derivative(x))
        return self.function(x)

    def backward(self, dy):
        (slope,) = self._recall(dy)
        return dy * slope


def curve(**changes):
    """Return a `Curve` whose gradients are changed by these functions of them."""

    class Broken(Curve):
        def backward(self, dy):
            dx = super().backward(dy)
            for parameter in self.parameters():
                change = changes.get(parameter.name, lambda grad: grad)
                parameter.grad = change(parameter.grad)
            return changes.get("x", lambda grad: grad)(dx)

    return Broken()


def put(value, *index):
    """Return a function that puts a value into a copy of an array."""

    def change(array):
        array = array.copy()
        array[index] = value
        return array

    return change


def dense(inputs=3, outputs=2):
    return nn.Dense(inputs, outputs, rng=np.random.default_rng(0))


def wrong(layer, x=X, **settings):
    """Return the checks that failed, by parameter."""
    checks = check_gradients(layer, x, **settings)
    return {check.parameter: check for check in checks if not check.ok}


def why(layer, x=X):
    """Return the sentence with which the check refuses a layer."""
    with pytest.raises(ValueError, match=type(layer).__name__) as refusal:
        check_gradients(layer, x)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (Curve(), ["x", "weight", "bias"]),
        (
            nn.Sequential([dense(3, 4), nn.ReLU(), dense(4, 2)]),
            ["x", "0.weight", "0.bias", "2.weight", "2.bias"],
        ),
        (Map(np.square, lambda x: 2 * x), ["x"]),
        (Map(np.zeros_like, np.zeros_like), ["x"]),
    ],
    ids=str,
)
def test_a_right_layer_of_any_numbers_passes_without_a_kink(layer, names):
    for x in (X, X.astype(np.float32), (9 * X).astype(int).tolist()):
        checks = check_gradients(layer, x)
        assert [c.parameter for c in checks] == names
        assert all(c.ok and c.kinks == 0 for c in checks)


# --- gradients that are wrong -----------------------------------------------------


def test_the_message_has_the_index_and_both_numbers():
    (failure,) = wrong(curve(weight=put(0.125, 2))).values()
    right = Curve()
    dy = np.random.default_rng([0, 1]).standard_normal(right.forward(X).shape)
    right.backward(dy)
    assert (failure.layer, failure.parameter) == ("Broken", "weight")
    assert failure.message.startswith("weight[2] has the gradient 0.125 by backward")
    assert f"{right.weight.grad[2]:.6g} by the difference" in failure.message
    assert f"{failure.max_relative_error:.1e}" in failure.message


@pytest.mark.parametrize("name", ["x", "weight", "bias"])
def test_what_is_wrong_is_seen_in_every_tensor(name):
    def failure(change):
        failures = wrong(curve(**{name: change}))
        assert set(failures) == {name}
        return failures[name]

    # A wrong scale is half of the larger number.
    assert failure(lambda grad: grad * 2).max_relative_error == pytest.approx(0.5)
    # Ten times what is tolerated, measured against the largest entry.
    failure(lambda grad: put(grad.flat[-1] + 1e-5 * abs(grad).max(), ..., -1)(grad))
    first = f"{name}[0, 0]" if name == "x" else f"{name}[0]"
    missing = failure(put(0, *[0] * (1 + (name == "x"))))
    assert missing.message.startswith(f"{first} has the gradient 0 by backward")
    not_a_number = failure(put(np.nan, *[0] * (1 + (name == "x"))))
    assert not_a_number.max_relative_error == math.inf
    assert not_a_number.message.startswith(first)


def test_what_is_wrong_outside_training_only_is_seen():
    class Broken(nn.Dropout):
        def backward(self, dy):
            dx = super().backward(dy)
            return dx * 2 if np.array_equal(dx, dy) else dx

    (failure,) = [c for c in check_gradients(Broken(0.5), X) if not c.ok]
    assert failure.layer == "Broken (inference)"


def test_a_layer_of_nothing_but_kinks_or_jumps_is_not_passed():
    layer = Map(np.abs, np.sign)
    failure = wrong(layer, np.zeros((2, 3)))["x"]
    assert failure.kinks == 6
    assert "at 6 of 6; choose another x" in failure.message
    assert not wrong(layer, np.arange(6) + 0.5)
    jump = Map(lambda x: np.where(x > 0, x.dtype.type(1), 0), np.zeros_like)
    assert "x" in wrong(jump, np.zeros((2, 3)))


# --- layers that break their contract ---------------------------------------------


def test_a_gradient_that_is_not_assigned_is_named():
    """What `Sequential` refuses is in ``tests/nn/test_mistakes.py``."""
    assert "Parameter(bias, (3,)" in why(curve(bias=lambda _: None))

    def kept(add):
        class Broken(Curve):
            def backward(self, dy):
                before = self.bias.grad
                dx = super().backward(dy)
                if not add:
                    self.bias.grad = before
                elif before is not None:
                    self.bias.grad += before
                return dx

        return why(Broken())

    assert "no gradient to Parameter(bias" in kept(add=False)
    assert "Broken: backward adds to the gradient of bias; assign it" in kept(add=True)


def test_what_differs_from_call_to_call_is_named_and_no_kink():
    rng = np.random.default_rng(0)  # outside the layer: copies of it share it
    noise = lambda x: x + np.asarray(rng.random(x.shape), x.dtype)  # noqa: E731
    assert "the gradient of x differs from call" in why(curve(x=noise))
    assert "y differs from call to call" in why(Map(noise, np.ones_like))


def test_a_forward_without_a_finite_array_is_named_in_both_ways_it_behaves():
    class NoInference(nn.Dropout):
        def forward(self, x, training=False):
            return super().forward(x, training) if training else None

    for value in (np.nan, -np.inf):
        forward = Map(lambda x, value=value: np.full_like(x, value), np.ones_like)
        assert "NaN or infinity" in why(forward)
    assert "forward returned None" in why(NoInference(0.5))


def test_an_edited_argument_is_an_error():
    def edit(array):
        array += 1
        return array

    class EditsDy(Map):
        def backward(self, dy):
            return edit(dy)

    assert "edits its argument" in why(Map(edit, np.ones_like))
    assert "edits its argument" in why(EditsDy(np.copy, np.ones_like))


# --- layers that are right --------------------------------------------------------


def test_a_kink_is_counted_and_hides_no_fault_beside_it():
    class Broken(nn.ReLU):
        def backward(self, dy):
            dx = super().backward(dy)
            dx[0, 0] += 0.01
            return dx

    x = np.arange(1.0, 21).reshape(4, 5)
    x[1, 2] = x[3, 3] = 0
    (check,) = check_gradients(nn.ReLU(), x)
    assert check.ok
    assert check.kinks == 2
    failure = wrong(Broken(), x)["x"]
    assert failure.kinks == 2
    assert failure.message.startswith("x[0, 0]")


def test_a_slope_of_0_is_no_kink_and_large_numbers_hide_no_fault():
    """Rounding makes differences of 1e-11 beside 0, and of 1 beside numbers of 1e8."""
    rng = np.random.default_rng(0)
    before_norm = nn.Sequential([nn.Conv2D(2, 3, 3, rng=rng), nn.BatchNorm2D(3)])
    for check in check_gradients(before_norm, rng.normal(size=(3, 6, 7, 2))):
        assert check.ok, check.message
    for offset in (0, 1e6, 1e8, 1e10):
        wrong = Map(lambda x, offset=offset: x + offset, lambda x: 2 + 0 * x)
        (check,) = check_gradients(wrong, X)
        assert not check.ok, offset


def test_the_layer_and_the_input_are_left_as_they_were():
    model = nn.Sequential([dense(), nn.Dropout(0.5)])
    for layer, x in [*examples(), (model, X)]:
        layer.cast(np.float32)
        twin, x_before = copy.deepcopy(layer), x.tobytes()
        check_gradients(layer, x)
        assert x.tobytes() == x_before
        assert vars(layer).keys() == vars(twin).keys()
        for key, array in layer.state().items():
            assert array.dtype == np.float32
            assert array.tobytes() == twin.state()[key].tobytes()
        assert all(p.grad is None for p in layer.parameters())
        assert getattr(layer, "step", 0) == 0


def test_the_upstream_gradient_is_random_and_a_function_of_the_seed():
    def difference(seed):
        found = wrong(Map(np.sin, lambda x: np.cos(x) + 0.01), seed=seed)["x"]
        return found.max_relative_error

    assert difference(0) == difference(0) != difference(1)
    # Were it all ones, a gradient that has lost its dy would pass.
    assert wrong(Map(np.sin, np.cos), seed=0) == {}
    assert "x" in wrong(curve(x=np.ones_like))


# --- the command ------------------------------------------------------------------

FILE = '''
"""A learner's file."""
import numpy as np
from tinycnn.nn import Layer


class LeakyReLU(Layer):
    def forward(self, x, training=False):
        print("shape", x.shape)
        self._remember(x, np.where(x > 0, 1.0, 0.1).astype(x.dtype))
        return np.where(x > 0, x, 0.1 * x)

    def backward(self, dy):
        (slope,) = self._recall(dy)
        return dy * slope


class Wrong(LeakyReLU):
    def backward(self, dy):
        return 2 * super().backward(dy)


class Raises(LeakyReLU):
    def backward(self, dy):
        return dy @ np.ones((99, 99))


X = np.linspace(-1.05, 1.05, 8).reshape(2, 4)
NUMBER = 3
right = lambda: (LeakyReLU(), X)
wrong = lambda: (Wrong(), X)
raises = lambda: (Raises(), X)
broken = lambda: 1 / 0
not_a_pair = lambda: LeakyReLU()
not_a_layer = lambda: ("LeakyReLU", X)
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_layer.py"
    path.write_text(FILE)
    return path


def refused(capsys, *arguments):
    """Return the exit code of a command that leaves at once, and its one line."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert out == ""
    *printed, line = err.splitlines()
    assert set(printed) <= {"shape (2, 4)"}
    return exit_.value.code, line


def test_all_built_in_layers_pass_without_a_kink_in_both_ways_they_behave(capsys):
    assert main(["--seed", "7"]) == 0
    out, err = capsys.readouterr()
    heading, *lines = out.splitlines()
    assert heading.split() == ["layer", "parameter", "entries", "kinks", "error"]
    titles = set()
    for line in lines:
        title, _, entries, kinks, _, verdict = re.split(" {2,}", line)
        titles.add(title)
        assert int(entries) > int(kinks) == 0
        assert verdict == "ok"
    both_ways = {"Dropout (inference)", "BatchNorm2D (inference)"}
    assert {title for title in titles if "inference" in title} == both_ways
    assert {"Conv2D", "MaxPool2D", "Dense", "ReLU", "Flatten", "CrossEntropy"} < titles
    assert err == ""


def test_the_table_names_what_is_wrong_and_json_has_the_promised_fields(file, capsys):
    assert main([f"{file}:wrong", f"{file}:right", "--json", "--seed", "3"]) == 1
    out, err = capsys.readouterr()
    wrong_row, right_row = map(json.loads, out.splitlines())
    fields = ["layer", "parameter", "max_relative_error", "ok", "why"]
    assert list(wrong_row) == list(right_row) == fields
    assert wrong_row["max_relative_error"] == pytest.approx(0.5)
    assert 0 <= right_row["max_relative_error"] <= 1e-6
    assert list(wrong_row.values())[::3] == ["Wrong", False]
    assert list(right_row.values())[::3] == ["LeakyReLU", True]
    assert wrong_row["why"].startswith("every entry is 2 times what it should be")
    assert right_row["why"] is None
    # As a table; what the file prints is not on stdout.
    assert err.splitlines()[-1] == "1 of 2 gradients are wrong"
    assert "shape (2, 4)" in err
    assert main([f"{file}:wrong", f"{file}:right"]) == 1
    _, wrong_line, sentence, right_line = capsys.readouterr().out.splitlines()
    assert re.match(r"Wrong +x +8 +0 +5\.0e-01  WRONG", wrong_line)
    assert re.match(r"LeakyReLU +x +8 +0 .*  ok", right_line)
    assert sentence.startswith("x[")


def test_what_names_no_example_is_refused_in_one_line(file, capsys):
    for name in (f"{file}", f"{file.parent}/no_such_file.py:right"):
        code, line = refused(capsys, name)
        assert (code, name in line) == (2, True)
        assert "needs FILE.py:NAME, with a file that exists" in line
    code, line = refused(capsys, f"{file}:NUMBER")
    assert (code, "no function named 'NUMBER'" in line) == (1, True)


def test_code_that_fails_exits_with_1_and_one_sentence_with_its_line(file, capsys):
    matmul, division = (
        next(n for n, line in enumerate(FILE.splitlines(), 1) if code in line)
        for code in ("dy @ np.ones", "1 / 0")
    )
    for name, words in {
        "raises": f"Raises.*matmul.*my_layer.py, line {matmul}\\)",
        "broken": f"ZeroDivisionError: .* \\(.*my_layer.py, line {division}\\)",
        "not_a_pair": r"not_a_pair\(\) must return \(layer, x\)",
        "not_a_layer": r"layer 0 .str.: it is 'LeakyReLU', which is no Layer",
    }.items():
        code, line = refused(capsys, f"{file}:{name}")
        assert code == 1, line
        assert re.search(words, line), line
    for code in ("def right(:", "raise OSError('no\\nluck')", "import sys; sys.exit()"):
        file.write_text(code)
        status, line = refused(capsys, f"{file}:right")
        assert status == 1
        assert line.startswith("error: ")
        assert str(file) in line
