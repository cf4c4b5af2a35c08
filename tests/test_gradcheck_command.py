"""The laws of ``python -m tinycnn.gradcheck``: exit codes, one sentence, JSON."""

import json
import subprocess
import sys

import pytest

from tinycnn.gradcheck import main

LAYER = '''
"""A learner's file."""
import numpy as np
from tinycnn.nn import Layer


class LeakyReLU(Layer):
    def forward(self, x, training=False):
        self._remember(x.shape, np.where(x > 0, 1.0, 0.1))
        return np.where(x > 0, x, 0.1 * x)

    def backward(self, dy):
        (slope,) = self._recall(dy)
        return dy * slope


class Wrong(LeakyReLU):
    def backward(self, dy):
        return 2 * super().backward(dy)


class Offset(LeakyReLU):
    def backward(self, dy):
        return super().backward(dy) + 0.01


class Raises(LeakyReLU):
    def backward(self, dy):
        return dy @ np.ones((99, 99))


X = np.linspace(-1.05, 1.05, 8).reshape(2, 4)
NUMBER = 3


def right():
    return LeakyReLU(), X


def wrong():
    return Wrong(), X


def offset():
    return Offset(), X


def raises():
    return Raises(), X


def broken():
    return 1 / 0


def not_a_pair():
    return LeakyReLU()


def not_a_layer():
    return "LeakyReLU", X
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_layer.py"
    path.write_text(LAYER)
    return path


def stopped(*arguments):
    """Return the exit code of a command that leaves at once."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code


def test_all_built_in_layers_pass_and_a_table_closes_the_run(capsys):
    assert main([]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("layer")
    assert all(line.endswith("  ok") for line in lines[1:])
    named = {line.split()[0] for line in lines[1:]}
    assert {"Conv2D", "MaxPool2D", "Dense", "BatchNorm2D", "CrossEntropy"} <= named
    assert err == ""


def test_json_has_exactly_the_promised_fields_a_tensor_a_line(capsys):
    assert main(["--json", "--seed", "3"]) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) > 20
    for row in rows:
        assert list(row) == ["layer", "parameter", "max_relative_error", "ok"]
        assert row["ok"] is True
        assert 0 <= row["max_relative_error"] <= 1e-6
    assert err == ""


def test_a_right_layer_of_a_file_exits_with_0(file, capsys):
    assert main([f"{file}:right"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[:3] == ["LeakyReLU", "x", "8"]
    assert err == ""


def test_a_wrong_layer_of_a_file_exits_with_1_and_is_named(file, capsys):
    assert main([f"{file}:wrong", f"{file}:right"]) == 1
    out, err = capsys.readouterr()
    assert "Wrong: x[" in out
    assert err == "1 of 2 gradients are wrong\n"


def test_a_wrong_layer_is_said_in_json(file, capsys):
    assert main([f"{file}:wrong", f"{file}:right", "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["layer"], row["ok"]) for row in rows] == [
        ("Wrong", False),
        ("LeakyReLU", True),
    ]
    assert rows[0]["max_relative_error"] == pytest.approx(0.5)


def test_the_seed_draws_the_upstream_gradient(file, capsys):
    errors = []
    for seed in ("1", "1", "2"):
        assert main([f"{file}:offset", "--json", "--seed", seed]) == 1
        errors.append(json.loads(capsys.readouterr().out)["max_relative_error"])
    assert errors[0] == errors[1] != errors[2]


@pytest.mark.parametrize(
    "example",
    [
        "{file}",
        "{file}:",
        "{file}:no_such_name",
        "{file}:NUMBER",
        "{file}:not an identifier",
        "{folder}/no_such_file.py:right",
        "{folder}:right",
        "{file}c:right",
        "right",
        "",
    ],
)
def test_a_wrong_name_exits_with_2_and_one_line(example, file, capsys):
    example = example.format(file=file, folder=file.parent)
    assert stopped(example) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "argument FILE.py:NAME: " in err


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.5", "abc", "", "1_0", "٣"])
def test_a_wrong_seed_exits_with_2_and_one_line(seed, capsys):
    assert stopped(f"--seed={seed}") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "--seed" in err
    assert "from 0 to 4294967295" in err
    assert repr(seed) in err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", ["Raises raised ValueError", "my_layer.py, line 29"]),
        ("broken", ["broken raised ZeroDivisionError", "my_layer.py, line "]),
        ("not_a_pair", ["not_a_pair must return (layer, x)"]),
        ("not_a_layer", ["not_a_layer must return (layer, x)"]),
    ],
)
def test_code_that_fails_exits_with_1_and_one_sentence(name, said, file, capsys):
    assert stopped(f"{file}:{name}") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    for words in said:
        assert words in err


@pytest.mark.parametrize("code", ["def right(:", "raise OSError('no\\nluck')"])
def test_a_file_that_cannot_be_run_exits_with_1_and_one_sentence(
    code, tmp_path, capsys
):
    path = tmp_path / "broken.py"
    path.write_text(code)
    assert stopped(f"{path}:right") == 1
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert str(path) in err


def test_the_command_line_gives_the_exit_code_to_the_shell(file):
    command = [sys.executable, "-m", "tinycnn.gradcheck", "--json", f"{file}:wrong"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert json.loads(done.stdout)["layer"] == "Wrong"
    assert done.stderr == "1 of 1 gradients are wrong\n"


def test_help_answers_before_numpy_is_loaded():
    code = (
        "import sys\n"
        "from tinycnn.gradcheck import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit as done:\n"
        "    loaded = [m for m in ('numpy', 'numba') if m in sys.modules]\n"
        "    sys.exit(f'{loaded} was imported' if loaded else done.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "FILE.py:NAME" in done.stdout
