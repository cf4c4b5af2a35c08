"""The laws of `benchmarks.accuracy`: every run once, nothing lost, figures as they are.

Training is stood in for by a few lines that leave behind what it would; that it trains
is the business of ``test_train.py``.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import accuracy
from tinycnn import models
from tinycnn.nn.weights import save_weights
from tinycnn.train import PRESETS


class Training:
    """Stands in for the command: remembers how it was called, leaves a run behind."""

    def __init__(self):
        self.commands = []
        self.code = 0
        self.test_images = 10_000

    def __call__(self, command, **_options):
        assert command[:4] == [sys.executable, "-m", "tinycnn.train", "--json"]
        self.commands.append(command[4:])
        flags = dict(zip(command[4::2], command[5::2], strict=True))
        run = Path(flags.get("--out") or flags["--resume"])
        preset, seed = run.name.split("_")
        run.mkdir(exist_ok=True)
        (run / "checkpoint.safetensors").touch()
        if self.code:
            return subprocess.CompletedProcess(command, self.code, "")
        weights = run / "weights.safetensors"
        save_weights(weights, models.build(preset), {"best_epoch": "2"})
        errors = 100 + 20 * int(seed)
        result = {
            "preset": preset,
            "seed": int(seed),
            "epochs": 3,
            "val_accuracy": 0.9,
            "test_accuracy": 1 - errors / 10_000,
            "test_errors": errors,
            "test_images": self.test_images,
            "seconds": 50.0,
            "weights": str(weights),
            "data": "mnist",
        }
        return subprocess.CompletedProcess(command, 0, json.dumps(result) + "\n")


@pytest.fixture
def training(monkeypatch, tmp_path):
    training = Training()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", training)
    monkeypatch.setattr(accuracy, "gflops", lambda: 87.5)
    return training


def measure(*arguments):
    """Return the exit code."""
    try:
        return accuracy.main(["runs", *arguments])
    except SystemExit as error:
        return error.code


def record():
    return [json.loads(line) for line in Path("runs/runs.jsonl").read_text().split("\n")
            if line]  # fmt: skip


def test_every_seed_of_every_preset_is_trained_once(training):
    assert measure("--preset", "quick", "tiny", "--seeds", "2") == 0
    expected = [(preset, seed) for preset in ("quick", "tiny") for seed in ("0", "1")]
    assert [(c[1], c[3]) for c in training.commands] == expected
    assert [c[::2] for c in training.commands] == [["--preset", "--seed", "--out"]] * 4
    assert [(run["preset"], str(run["seed"])) for run in record()] == expected
    assert measure("--preset", "quick", "tiny", "--seeds", "2") == 0
    assert len(training.commands) == 4


def test_more_seeds_add_to_those_that_are_there(training):
    measure("--preset", "quick", "--seeds", "1")
    measure("--preset", "quick", "--seeds", "3")
    assert [command[3] for command in training.commands] == ["0", "1", "2"]


def test_without_flags_all_presets_have_their_seeds(training):
    assert measure() == 0
    made = [(command[1], int(command[3])) for command in training.commands]
    counts = {preset: sum(name == preset for name, _ in made) for preset in PRESETS}
    assert counts == dict.fromkeys(PRESETS, 5) | {"best": 3}
    assert len(set(made)) == len(made)


@pytest.mark.usefixtures("training")
def test_what_another_command_finished_meanwhile_is_kept(monkeypatch):
    one_run = accuracy.one_run

    def slowly(folder, preset, seed, data):
        if preset == "tiny":
            assert measure("--preset", "quick", "--seeds", "1") == 0
        return one_run(folder, preset, seed, data)

    monkeypatch.setattr(accuracy, "one_run", slowly)
    assert measure("--preset", "tiny", "--seeds", "1") == 0
    assert [run["preset"] for run in record()] == ["quick", "tiny"]


def test_an_interrupted_run_is_resumed_and_the_finished_ones_stay(training, capsys):
    assert measure("--preset", "quick", "--seeds", "1") == 0
    training.code = 143
    assert measure("--preset", "quick", "--seeds", "2") == 1
    assert "quick with seed 1 ended with exit code 143" in capsys.readouterr().err
    assert [run["seed"] for run in record()] == [0]
    training.code = 0
    assert measure("--preset", "quick", "--seeds", "2") == 0
    assert training.commands[-1] == ["--resume", str(Path("runs/quick_1"))]
    assert [run["seed"] for run in record()] == [0, 1]


def test_a_run_without_mnist_is_no_result(training, capsys):
    training.test_images = 1000
    assert measure("--preset", "quick", "--seeds", "1") == 1
    assert "not MNIST" in capsys.readouterr().err
    assert not Path("runs/runs.jsonl").exists()


def test_a_record_holds_what_the_table_says_and_no_path(training, tmp_path):
    assert not training.commands
    measure("--preset", "quick", "--seeds", "1")
    (run,) = record()
    assert run["parameters"] == sum(
        p.value.size for p in models.build("quick").parameters()
    )
    assert run["gflops"] == 87.5
    assert run["best_epoch"] == 2
    assert str(tmp_path) not in Path("runs/runs.jsonl").read_text()
    assert "runs/" not in Path("runs/runs.jsonl").read_text()


def test_the_table_has_mean_deviation_and_scaled_seconds(training, capsys):
    assert not training.commands
    measure("--preset", "quick", "--seeds", "3")
    *_, line = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    columns = dict(zip(accuracy.COLUMNS, cells, strict=True))
    test = [99.0, 98.8, 98.6]
    assert columns["preset"] == "quick"
    assert columns["seeds"] == "3"
    assert columns["mean"] == "98.800"
    assert columns["sd"] == f"{statistics.stdev(test):.3f}" == "0.200"
    assert (columns["min"], columns["max"]) == ("98.60", "99.00")
    assert columns["validation"] == "90.000"
    assert columns["seconds"] == "50"
    assert columns["at 175 GFLOP/s"] == "25"


def test_runs_of_another_recipe_are_not_mixed_with_todays(training, capsys):
    measure("--preset", "quick", "--seeds", "1")
    runs = record()
    runs[0]["recipe"]["epochs"] += 1
    Path("runs/runs.jsonl").write_text(json.dumps(runs[0]))
    assert measure("--preset", "quick", "--seeds", "2") == 1
    assert "another recipe" in capsys.readouterr().err
    assert len(training.commands) == 1
    assert measure("--preset", "tiny", "--seeds", "1") == 0


def test_the_data_folder_is_passed_on(training, tmp_path):
    measure("--preset", "quick", "--seeds", "1", "--data", str(tmp_path))
    assert training.commands[0][-2:] == ["--data", str(tmp_path)]


@pytest.mark.parametrize(
    "line", ['{"preset": "quick", "se', "5", "[]", '{"seed": 0}', '{"preset": "quick"}']
)
def test_a_damaged_record_is_refused_and_left(training, capsys, line):
    Path("runs").mkdir()
    Path("runs/runs.jsonl").write_text(line)
    assert measure("--preset", "quick", "--seeds", "1") == 1
    assert "damaged" in capsys.readouterr().err
    assert not training.commands


def test_the_pace_of_the_machine_is_a_number_of_its_time(monkeypatch):
    monkeypatch.setattr(accuracy, "SIDE", 64)
    assert 0.01 < accuracy.gflops() < 1e5
