"""The laws of ``python -m tinycnn.train``: messages, files, exit codes, resuming.

Nearly all runs are made in this process, on a few images of the bundled sample, and
what stops them (a signal, a power cut, a full disk) is made to happen at a chosen
batch. What a step and an epoch do is tested in ``tests/training``.
"""

import errno
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest
import tqdm
from weights_file import read_arrays, save_arrays

from tinycnn import evaluate, fast, models, nn, train
from tinycnn.data import load_mnist, mnist, split_validation, write_idx
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.glyphs.writer import DIGITS, written
from tinycnn.models import predict
from tinycnn.nn import BatchNorm2D, Conv2D, Dropout, MaxPool2D, ReLU, kernels
from tinycnn.nn.weights import read_facts
from tinycnn.training import fit, recipes
from tinycnn.training.checkpoint import RunFolder
from tinycnn.training.fit import Trainer

TRAIN_IMAGES, TEST_IMAGES = 60, 20  # 5 of the 60 validate, 55 are learned from


class PowerCut(BaseException):
    """Ends a run at once, as a killed process does: nothing is saved on the way."""


@pytest.fixture(autouse=True)
def surroundings(empty_folder):  # noqa: ARG001
    """Undo what a command sets."""
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def no_waiting():
    """Do not wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # noqa: ARG005
        yield


def write_digits(folder, first=0):
    """Write a folder of few digits, from the sample's ``first`` on."""
    sample = load_mnist(SAMPLE_FOLDER)
    chosen, tested = slice(first, first + TRAIN_IMAGES), slice(TEST_IMAGES)
    folder.mkdir()
    write_idx(folder / "train-images-idx3-ubyte", sample.train_images[chosen])
    write_idx(folder / "train-labels-idx1-ubyte", sample.train_labels[chosen])
    write_idx(folder / "t10k-images-idx3-ubyte", sample.test_images[tested])
    write_idx(folder / "t10k-labels-idx1-ubyte", sample.test_labels[tested])
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Return a folder of few digits, known as the sample: written ones join it."""
    folder = write_digits(tmp_path_factory.mktemp("data") / "digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mnist.SOURCES, load_mnist(folder).checksum, "sample")
        yield folder


@pytest.fixture
def settings(digits):
    """Return the arguments of a run of 2 epochs of 3 batches: 22, 22 and 14 images."""
    return ["--data", str(digits), "--epochs", "2", "--batch-size", "22"]


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """Return the folder of such a run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    arguments = ["--data", str(digits), "--epochs", "2", "--batch-size", "22"]
    assert train.main([*arguments, "--out", str(out)]) == 0
    return out


@pytest.fixture
def trainers(monkeypatch):
    """Note every trainer that is made."""
    made, original = [], Trainer.__init__

    def noted(self, *arguments, **options):
        original(self, *arguments, **options)
        made.append(self)

    monkeypatch.setattr(Trainer, "__init__", noted)
    return made


def exit_code(argv):
    """Return how a command ends, whether it returns or exits."""
    try:
        return train.main([str(argument) for argument in argv])
    except SystemExit as error:
        return error.code


def at_step(monkeypatch, number, happens):
    """Let something happen within a step of this sitting, from 1; return the steps."""
    original, steps = fit.train_step, []

    def step(*arguments):
        steps.append(arguments)
        if len(steps) == number:
            happens()
        return original(*arguments)

    monkeypatch.setattr(fit, "train_step", step)
    return steps


def stopped(monkeypatch, number, happens, argv):
    """Run the command and let something happen within a step; return the exit code."""
    with monkeypatch.context() as patch:
        at_step(patch, number, happens)
        return exit_code(argv)


def send(signum):
    """Return a function that sends this process a signal."""
    return lambda: os.kill(os.getpid(), signum)


def cut_power():
    raise PowerCut


def printed_command(stderr):
    """Return the arguments of the command that continues, as it was printed."""
    command = stderr.strip().splitlines()[-1].split("to continue: ")[1]
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "tinycnn.train"]
    return words[3:]


def refusal(capsys, argv, code=1):
    """Return the last line of stderr, in which the command says why it ended."""
    capsys.readouterr()
    ended = exit_code(argv)
    out, err = capsys.readouterr()
    assert (ended, out) == (code, ""), (argv, err)
    assert "Traceback" not in err
    *_, last = err.splitlines()
    assert last.startswith("error: ")
    assert len(last) < 700
    assert last.isprintable()
    return last


def contents(folder):
    """Return the content of every file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def figures_of(folder):
    """Return the lines of metrics.jsonl without their times."""
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return [{k: v for k, v in json.loads(x).items() if k != "seconds"} for x in lines]


def assert_same_run(folder, other):
    assert (Path(folder) / "weights.safetensors").read_bytes() == (
        other / "weights.safetensors"
    ).read_bytes()
    assert figures_of(Path(folder)) == figures_of(other)
    snapshots = (contents(Path(run) / "snapshots") for run in (folder, other))
    assert next(snapshots) == next(snapshots)


# --- what comes out --------------------------------------------------------------


def test_json_is_the_last_and_only_line_of_stdout(settings, capsys):
    assert exit_code([*settings, "--seed", "3", "--json", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    result = json.loads(line)
    fields = "preset network seed epochs train_images val_accuracy test_accuracy "
    fields += "test_errors test_images seconds images_per_second weights data"
    assert result.keys() >= set(fields.split())
    expected = {
        "preset": "default",
        "seed": 3,
        "epochs": 2,
        "train_images": 55,
        "test_images": TEST_IMAGES,
        "weights": str(Path("run", "weights.safetensors")),
        "data": "sample",
    }
    assert result | expected == result
    assert result["test_accuracy"] == 1 - result["test_errors"] / TEST_IMAGES
    assert 0 <= result["val_accuracy"] <= 1
    assert result["seconds"] > 0
    assert result["images_per_second"] > 0
    assert "epoch 2/2" in err


def test_the_sample_stands_in_and_is_named(capsys):
    argv = ["--preset", "quick", "--limit", "40", "--epochs", "1", "--out", "run"]
    assert exit_code([*argv, "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert (result["data"], result["train_images"]) == ("sample", 40)
    assert result["test_images"] == 1000
    assert "bundled sample" in err


def test_people_read_accuracy_errors_and_where_the_weights_are(settings, capsys):
    assert exit_code(settings) == 0
    out, err = capsys.readouterr()
    assert "test accuracy" in out
    assert f"errors in {TEST_IMAGES} images" in out
    last = [line.split(":")[0] for line in err.splitlines()[-2:]]
    assert last == ["epoch 1/2", "epoch 2/2"]
    weights = Path(out.splitlines()[-1].removeprefix("weights: "))
    assert re.fullmatch(r"runs.\d{4}-\d\d-\d\d_\d{6}_default_\d+", str(weights.parent))
    assert sorted(path.name for path in weights.parent.iterdir()) == [
        *("checkpoint.safetensors", "config.json", "curve.svg", "first_epoch.jsonl"),
        *("metrics.jsonl", "snapshots", "weights.safetensors"),
    ]


def test_the_progress_bar_ends_full_also_when_a_run_is_resumed(settings, monkeypatch):
    bars = []

    class Noted(tqdm.tqdm):
        def __init__(self, **options):
            super().__init__(**options | {"disable": False, "file": io.StringIO()})
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Noted)
    argv = [*settings, "--out", "run"]
    assert stopped(monkeypatch, 4, send(signal.SIGTERM), argv) == 143
    assert exit_code(["--resume", "run"]) == 0
    assert [(bar.initial, bar.n, bar.total) for bar in bars] == [
        (0, 58 + 22, 116),
        (58 + 22, 116, 116),
    ]


def test_the_config_says_what_was_run_and_on_what(whole, digits):
    config = json.loads((whole / "config.json").read_text("utf-8"))
    flags = ["--preset=default", "--epochs=2", "--batch-size=22", "--lr=0.008"]
    assert sorted(config["flags"]) == sorted([*flags, "--seed=0"])
    assert config["recipe"]["network"] == "default"
    assert config["data_folder"] == str(digits)
    assert config["data_checksum"] == load_mnist(digits).checksum
    assert {"tinycnn", "numpy", "numba"} <= set(config["versions"])
    assert config["threads"] >= 1
    assert config["cpu"]


def test_the_weights_file_is_complete_and_holds_no_time_and_no_path(
    settings, whole, digits, capsys
):
    assert exit_code([*settings, "--json", "--out", "run"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert_same_run("run", whole)  # the same settings, the same bytes
    model, facts = models.load(result["weights"])
    shared = ("preset", "seed", "epochs", "train_images", "val_accuracy")
    tested = ("test_accuracy", "test_errors", "test_images")
    expected = {name: result[name] for name in (*shared, *tested)} | {
        "network": "default",
        "layers": [repr(layer) for layer in models.build("default").layers],
        "classes": 10,
        "image_size": [28, 28],
        "first_label": 0,
        "views": 5,
        "data": "sample",
        "data_checksum": load_mnist(digits).checksum,
        "train_sha256": load_mnist(digits).train_sha256,
        "written": 3,  # of the recipe's 5 % of 55
    }
    others = {"temperature", "best_epoch", "checksum"}
    assert facts == expected | {name: facts[name] for name in others}
    assert facts["best_epoch"] in {1, 2}
    content = Path(result["weights"]).read_bytes()
    for place in (whole, digits, Path.cwd()):
        assert str(place).encode() not in content

    # The figures and the temperature are those of these weights.
    data = load_mnist(digits)
    errors = predict(model, data.test_images, 5).argmax(axis=1) != data.test_labels
    assert errors.sum() == facts["test_errors"]
    _, _, images, labels = split_validation(data.train_images, data.train_labels)
    temperature = fit.fit_temperature(predict(model, images, 5), labels)
    assert facts["temperature"] == pytest.approx(temperature, rel=1e-2)
    evaluate.main([result["weights"], "--data", str(digits), "--json"])
    assert json.loads(capsys.readouterr().out)["errors"] == facts["test_errors"]


def test_weights_of_a_run_under_way_have_no_temperature_yet(settings, monkeypatch):
    argv = [*settings, "--out", "run"]
    assert stopped(monkeypatch, 5, send(signal.SIGINT), argv) == 130
    facts = read_facts("run/weights.safetensors")
    assert not facts.keys() & {"temperature", "test_errors"}


def test_written_digits_join_the_first_images_and_are_counted_apart(
    settings, digits, monkeypatch, trainers, capsys
):
    recipe = replace(recipes.PRESETS["default"], written=0.2)
    monkeypatch.setitem(recipes.PRESETS, "default", recipe)
    argv = [*settings, "--epochs", "1", "--seed", "7", "--limit", "30", "--json"]
    assert exit_code([*argv, "--out", "run"]) == 0
    (trainer,) = trainers
    assert type(trainer.optimizer) is fast.Adam
    assert trainer.optimizer.weight_decay == recipe.weight_decay
    hands, hand_labels = written(DIGITS, 6, np.random.default_rng([7, 0, 2]))
    data = load_mnist(digits)
    expected = np.concatenate([data.train_images[:30], hands])
    assert np.array_equal(trainer.train_images[:], expected)
    assert np.array_equal(trainer.train_labels, [*data.train_labels[:30], *hand_labels])
    out, err = capsys.readouterr()
    assert json.loads(out)["train_images"] == 30
    assert "30 images to train and 6 more, made or repeated, " in err
    assert read_facts("run/weights.safetensors")["written"] == 6


def test_the_reader_learns_from_composed_numbers_and_is_tested_on_digits(
    settings, trainers, capsys
):
    argv = [*settings, "--epochs", "1", "--limit", "30", "--preset", "reader"]
    assert exit_code([*argv, "--json", "--out", "run"]) == 0
    (trainer,) = trainers
    result = json.loads(capsys.readouterr().out)
    assert (result["preset"], result["train_images"]) == ("reader", 30)
    assert read_facts("run/weights.safetensors")["classes"] == 12
    assert result["written"] == len(trainer.train_images) - 30 > 200
    for labels in (trainer.train_labels, trainer.val_labels):
        assert 0.2 < (labels == 10).mean() < 0.9
    images, labels = trainer.val_images, trainer.val_labels
    assert trainer.evaluate(images, labels).confusion.shape == (12, 12)
    digits = labels < 10
    measured = trainer.evaluate(images[digits], labels[digits])
    assert measured.confusion.shape == (10, 10)


def test_other_settings_are_another_run(settings, whole):
    weights = {(whole / "weights.safetensors").read_bytes()}
    for changed in ("--seed=1", "--lr=0.01", "--limit=54"):
        assert exit_code([*settings, changed, "--out", f"run{changed}"]) == 0
        weights.add(Path(f"run{changed}", "weights.safetensors").read_bytes())
    assert len(weights) == 4


def test_snapshots_change_no_weights(settings, whole):
    assert exit_code([*settings, "--no-snapshots", "--out", "run"]) == 0
    assert not Path("run", "snapshots").exists()
    weights = (folder / "weights.safetensors" for folder in (Path("run"), whole))
    assert next(weights).read_bytes() == next(weights).read_bytes()


def test_validation_chooses_the_weights_and_the_test_set_is_read_once(
    settings, monkeypatch
):
    sizes, original = [], Trainer.evaluate

    def scripted(self, images, labels):
        sizes.append(len(images))
        metrics = original(self, images, labels)
        return (
            replace(metrics, accuracy=1 / len(sizes)) if len(images) == 5 else metrics
        )

    monkeypatch.setattr(Trainer, "evaluate", scripted)
    assert exit_code([*settings, "--out", "run"]) == 0
    assert sizes == [5, 5, TEST_IMAGES]
    weights, facts = read_arrays("run/weights.safetensors")
    assert (facts["best_epoch"], facts["val_accuracy"]) == (1, 1)
    arrays, _ = read_arrays("run/checkpoint.safetensors")
    for name, array in weights.items():
        assert np.array_equal(array, arrays[f"best.{name}"])
        assert not np.array_equal(array, arrays[f"average.{name}"])


# --- what is read is what runs ---------------------------------------------------


def test_plain_layers_run_as_they_are_written_once_a_batch(
    settings, monkeypatch, trainers
):
    calls = Counter()

    def count(owner, name):
        original = getattr(owner, name)

        def counting(*arguments):
            if name == "im2col":
                calls[name] += 1
            else:
                layer, training = arguments[0], len(arguments) == 3 and arguments[2]
                calls[owner, id(layer), training] += 1
            return original(*arguments)

        monkeypatch.setattr(owner, name, counting)

    kinds = (Conv2D, MaxPool2D, ReLU, BatchNorm2D, Dropout)
    for kind in kinds:
        count(kind, "forward")
    count(kernels, "im2col")
    assert exit_code([*settings, "--plain", "--out", "run"]) == 0
    (trainer,) = trainers
    assert type(trainer.optimizer) is nn.Adam
    batches = 2 * 3
    # Validation after each epoch, the temperature and the test: a batch in five views.
    predictions = (2 + 1 + 1) * 5
    expected = Counter()
    for model, training, runs in [
        (trainer.model, True, batches),
        (trainer.averaged, False, predictions),
    ]:
        for layer in model.layers:
            if isinstance(layer, kinds):
                expected[type(layer), id(layer), training] = runs
            if isinstance(layer, Conv2D):
                expected["im2col"] += runs
    assert calls == expected
    assert {kind for kind, *_ in calls if kind in kinds} == set(kinds)


@pytest.mark.parametrize("half", ["forward", "backward"])
def test_an_edited_layer_is_reported_once_and_trains_as_it_is_written(
    settings, monkeypatch, half
):
    original = getattr(ReLU, half)
    monkeypatch.setattr(ReLU, half, lambda *arguments: 1.5 * original(*arguments))
    argv = [*settings, "--epochs", "1"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # a line of a program is shown once
        assert exit_code([*argv, "--out", "edited"]) == 0
    (warning,) = caught
    assert "was a layer edited?" in str(warning.message)
    assert "\n" not in str(warning.message)
    assert exit_code([*argv, "--plain", "--out", "plain"]) == 0  # without a warning
    edited, plain = (
        read_arrays(f"{run}/weights.safetensors")[0] for run in ("edited", "plain")
    )
    for name, array in plain.items():
        np.testing.assert_allclose(edited[name], array, rtol=1e-3, atol=1e-4)


# --- resuming --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_saves_and_the_printed_command_continues(
    settings, whole, capsys, monkeypatch, signum, code
):
    handler = signal.getsignal(signum)
    for step in (1, 2, 3, 4, 6):
        argv = [*settings, "--json", "--out", f"run {step}"]
        assert stopped(monkeypatch, step, send(signum), argv) == code, step
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        command = printed_command(err)
        assert command == ["--resume", f"run {step}"]
        assert exit_code([*command, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["epochs"] == 2
        assert_same_run(f"run {step}", whole)
    assert signal.getsignal(signum) == handler


def test_a_run_stopped_at_every_batch_ends_in_the_same_bytes(
    settings, whole, monkeypatch
):
    argv, codes = [*settings, "--out", "run"], []
    for _ in range(9):
        codes.append(stopped(monkeypatch, 1, send(signal.SIGTERM), argv))
        argv = ["--resume", "run"]
    assert codes == [143] * 6 + [0] * 3
    assert_same_run("run", whole)


def test_a_power_cut_costs_no_more_than_an_epoch(settings, whole, monkeypatch):
    for step in (1, 3, 4, 6):
        run = Path(f"run{step}")
        with pytest.raises(PowerCut):
            stopped(monkeypatch, step, cut_power, [*settings, "--out", run])
        left = run / "checkpoint.safetensors.12-0a1b2c3d.tmp"
        left.write_bytes(b"half a checkpoint")
        with monkeypatch.context() as patch:
            steps = at_step(patch, None, cut_power)  # never: it only counts
            assert exit_code(["--resume", run]) == 0
        assert len(steps) == (6 if step <= 3 else 3)
        assert not left.exists()
        assert_same_run(run, whole)


def test_a_checkpoint_is_saved_within_the_epoch_when_it_is_due(
    settings, whole, monkeypatch
):
    monkeypatch.setattr(train, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    with pytest.raises(PowerCut):
        stopped(monkeypatch, 3, cut_power, [*settings, "--out", "run"])
    assert read_facts("run/checkpoint.safetensors")["progress"]["batch"] == 2
    assert exit_code(["--resume", "run"]) == 0
    assert_same_run("run", whole)


def test_a_power_cut_between_two_files_of_an_epoch_leaves_no_trace(
    settings, whole, monkeypatch
):
    """The three files are written one after the other; any may be the last."""
    for owner, moment, call in [
        *((RunFolder, "append", 1), (train.Run, "save_weights", 1)),
        *((RunFolder, "append", 2), (train.Run, "save_weights", 2)),
        *((RunFolder, "save", 2), (RunFolder, "save", 3)),  # 1 is before all batches
    ]:
        original, calls = getattr(owner, moment), []

        def cut(self, *arguments, original=original, calls=calls, call=call):
            original(self, *arguments)
            calls.append(1)
            if len(calls) == call:
                raise PowerCut

        run = f"{moment} {call}"
        with monkeypatch.context() as patch:
            patch.setattr(owner, moment, cut)
            with pytest.raises(PowerCut):
                exit_code([*settings, "--out", run])
        assert exit_code(["--resume", run]) == 0
        assert_same_run(run, whole)


def test_resuming_a_finished_run_gives_its_result_again(settings, whole, capsys):
    results = []
    again = [*settings, "--preset", "default", "--seed", "0", "--lr", "8e-3"]
    for argv in ([*settings, "--out", "run"], [*again, "--resume", "run"]):
        assert exit_code([*argv, "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    seconds = [result.pop("seconds") for result in results]
    assert seconds[1] > seconds[0]  # they add up over the sittings
    for result in results:
        del result["images_per_second"]
    assert results[0] == results[1]
    assert_same_run("run", whole)


def test_a_signal_before_training_has_begun_makes_no_folder(
    settings, whole, capsys, monkeypatch
):
    original = models.build

    def build(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(models, "build", build)
    for argv, remedy in {
        (*settings, "--out", "run"): "or name another folder with --out DIR",
        ("--resume", str(whole)): f"stopped; start it again with --resume {whole}\n",
    }.items():
        assert exit_code(argv) == 143
        out, err = capsys.readouterr()
        assert out == ""
        assert remedy in err
    assert not Path("run").exists()


def test_a_signal_after_the_last_epoch_loses_nothing(
    settings, whole, capsys, monkeypatch
):
    original = Trainer.evaluate

    def evaluate(self, images, labels):
        if len(images) == TEST_IMAGES:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, images, labels)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "evaluate", evaluate)
        assert exit_code([*settings, "--out", "run"]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert exit_code(printed_command(err)) == 0
    assert_same_run("run", whole)


CHILD = """
import os, sys
from tinycnn import _cli, train
from tinycnn.data import mnist
from tinycnn.training import fit
mnist.SOURCES[sys.argv.pop(1)] = "sample"
original, steps, signals = fit.train_step, [], sys.argv.pop(1).split(",")
def step(*arguments):
    steps.append(1)
    if len(steps) == 5:
        for number in signals:
            os.kill(os.getpid(), int(number))
        print("the batch was finished", flush=True)
    return original(*arguments)
fit.train_step = step
_cli.run_command(train.main)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("signals", "code", "printed"),
    [
        ([signal.SIGTERM], 143, "the batch was finished\n"),
        ([signal.SIGINT] * 2, -signal.SIGINT, ""),  # the second ends it on the spot
    ],
)
def test_a_process_ends_with_the_code_of_its_signal_and_damages_nothing(
    settings, digits, whole, signals, code, printed
):
    checksum = load_mnist(digits).checksum
    numbers = ",".join(str(int(number)) for number in signals)
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, checksum, numbers, *settings, "--out", "run"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (code, printed)
    assert exit_code(["--resume", "run"]) == 0
    assert_same_run("run", whole)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_that_comes_within_exec_ends_with_its_code():
    """Python ends by SIGINT if a KeyboardInterrupt ever left an exec of `python -m`."""
    Path("child.py").write_text(
        "import tinycnn.data\nfrom tinycnn import _cli, train\n"
        "killed = 'import os; os.kill(os.getpid(), 15); range(9)'\n"
        "tinycnn.data.load_mnist = lambda *_, **__: exec(killed)\n"
        "_cli.run_command(lambda: train.main([]))\n"
    )
    ended = subprocess.run([sys.executable, "-m", "child"], timeout=60, check=False)
    assert ended.returncode == 143


def test_the_number_of_threads_changes_no_byte(settings, whole, monkeypatch):
    for threads in range(1, min(numba.config.NUMBA_NUM_THREADS, 2) + 1):
        flags = ["--threads", str(threads)]
        argv = [*settings, *flags, "--out", f"run{threads}"]
        assert exit_code(argv) == 0
        assert numba.get_num_threads() == threads
        assert_same_run(f"run{threads}", whole)
    argv = [*settings, "--out", "resumed"]
    assert stopped(monkeypatch, 4, send(signal.SIGTERM), argv) == 143
    assert exit_code(["--resume", "resumed", "--threads", "1"]) == 0
    assert_same_run("resumed", whole)


def test_the_same_digits_may_have_moved(settings, whole, capsys, tmp_path, monkeypatch):
    first, stop = write_digits(tmp_path / "first"), send(signal.SIGTERM)
    argv = [*settings, "--data", first, "--out", "run"]
    assert stopped(monkeypatch, 2, stop, argv) == 143
    second = first.rename(tmp_path / "second")
    assert "--data DIR" in refusal(capsys, ["--resume", "run"])
    argv = ["--resume", "run", "--data", second]
    assert stopped(monkeypatch, 2, stop, argv) == 143
    command = printed_command(capsys.readouterr().err)
    assert exit_code(command) == 0
    assert_same_run("run", whole)


# --- what is refused -------------------------------------------------------------


def test_two_processes_do_not_train_in_one_folder(settings, whole, capsys, monkeypatch):
    said = []

    def resume():
        said.append(refusal(capsys, ["--resume", "run"]))

    assert stopped(monkeypatch, 2, resume, [*settings, "--out", "run"]) == 0
    assert "another process trains in run; wait for it, or stop it" in said[0]
    assert_same_run("run", whole)


def test_other_settings_and_images_are_refused_by_name(whole, capsys, tmp_path):
    before = contents(whole)
    different = ["--preset=classic", "--epochs=3", "--batch-size=11", "--lr=0.25"]
    different += ["--seed=7", "--limit=30", "--plain", "--shards=2", "--no-snapshots"]
    assert len(different) == len(train.SETTINGS)
    for flags in (*([flag] for flag in different), different):
        said = refusal(capsys, ["--resume", whole, *flags], code=2)
        assert f", not with {' '.join(flags)}; --resume DIR alone is enough" in said
    others = write_digits(tmp_path / "others", first=100)
    said = refusal(capsys, ["--resume", whole, "--data", others], code=2)
    assert ", not with other images; --resume DIR alone is enough" in said
    assert contents(whole) == before


def test_a_checkpoint_of_another_version_is_one_sentence(whole, tmp_path, capsys):
    arrays, facts = read_arrays(whole / "checkpoint.safetensors")
    settings, recipe, progress = facts["settings"], facts["recipe"], facts["progress"]
    others = {
        "settings": [settings | {"more": 1}, settings | {"preset": "six"}, {}],
        "recipe": [recipe | {"label_smoothing": 0.1}, {}],
        "progress": [progress | {"more": 1}],
    }
    changes = [{name: value} for name, values in others.items() for value in values]
    folder = shutil.copytree(whole, tmp_path / "run")
    for change in changes:
        save_arrays(folder / "checkpoint.safetensors", arrays, facts | change)
        before = contents(folder)
        assert "another version" in refusal(capsys, ["--resume", folder]), change
        assert contents(folder) == before, change
    for name in others:
        rest = {key: fact for key, fact in facts.items() if key != name}
        save_arrays(folder / "checkpoint.safetensors", arrays, rest)
        assert "another version" in refusal(capsys, ["--resume", folder]), name


def test_a_checkpoint_of_huge_weights_is_one_sentence(whole, tmp_path, capsys):
    folder = shutil.copytree(whole, tmp_path / "run")
    arrays, facts = read_arrays(folder / "checkpoint.safetensors")
    huge = {name: np.full_like(array, 1e38) for name, array in arrays.items()}
    save_arrays(folder / "checkpoint.safetensors", huge, facts)
    said = refusal(capsys, ["--resume", folder], code=3)
    assert "not finite" in said
    assert "start a new run" in said


# --- what goes wrong -------------------------------------------------------------


def test_divergence_is_one_sentence_and_leaves_the_last_good_checkpoint(
    settings, capsys, monkeypatch, trainers
):
    kept = []

    def ruin():
        kept.append(contents(Path("run")))
        trainers[-1].model.state()["0.weight"][...] = np.nan

    rate = refusal(capsys, [*settings, "--out", "high", "--lr", "1e30"], code=3)
    assert "diverged: the loss is nan in epoch 1, batch 2" in rate
    assert read_facts("high/checkpoint.safetensors")["progress"]["batch"] == 0
    at_step(monkeypatch, 5, ruin)
    message = refusal(capsys, [*settings, "--out", "run", "--json"], code=3)
    for said in ("diverged", "epoch 2, batch 2", "learning rate", "try --lr"):
        assert said in message
    assert contents(Path("run")) | {"run.lock": b""} == kept[0]


def test_a_full_disk_is_one_sentence_and_loses_nothing(
    settings, whole, capsys, monkeypatch
):
    """The disk fills after so many files: a config, a checkpoint, then two an epoch."""
    original = os.fsync
    for writes in range(6):
        files = []

        def fsync(descriptor, files=files, writes=writes):
            if not Path(f"/proc/self/fd/{descriptor}").is_dir():
                files.append(1)
                if len(files) > writes:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return original(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            said = refusal(capsys, [*settings, "--out", f"run{writes}", "--json"])
        assert "No space left" in said
        if writes >= 2:
            assert exit_code(printed_command(said)) == 0
            assert_same_run(f"run{writes}", whole)
        else:
            assert "name another folder with --out DIR" in said
