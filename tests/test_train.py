"""The laws of ``python -m tinycnn.train``: messages, files, exit codes, going on.

Nearly all runs are made in this process, on a few images of the bundled sample, and
what stops them (a signal, a power cut, a full disk) is made to happen at a chosen
batch. That learning itself is right is the business of ``tests/training``.
"""

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinycnn import finetune as learn
from tinycnn import models, threads, train
from tinycnn.data import load_mnist, split_validation, write_idx
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.glyphs.writer import written
from tinycnn.nn import ReLU
from tinycnn.nn.weights import read_metadata, read_tensors
from tinycnn.reading import finetuned as learnt
from tinycnn.training import checkpoint, fit, recipes, warmup
from tinycnn.training.checkpoint import RunFolder
from tinycnn.training.fit import Trainer

TRAIN_IMAGES, TEST_IMAGES = 60, 20  # 5 of the 60 validate, 55 are learned from
FIELDS = [
    "preset",
    "seed",
    "epochs",
    "train_images",
    "val_accuracy",
    "test_accuracy",
    "test_errors",
    "test_images",
    "seconds",
    "images_per_second",
    "weights",
    "data",
]


class PowerCut(BaseException):
    """Ends a run at once, as a killed process does: nothing is saved on the way."""


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Work in an empty folder, without network, and undo what a command sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYCNN_OFFLINE", "1")
    monkeypatch.delenv("TINYCNN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # --threads sets this for the process; here it must not outlive a test.
    monkeypatch.setenv("NUMBA_NUM_THREADS", os.environ.get("NUMBA_NUM_THREADS", "0"))
    if os.environ["NUMBA_NUM_THREADS"] == "0":
        monkeypatch.delenv("NUMBA_NUM_THREADS")


def write_digits(folder, first=0):
    """Write a folder of few digits, from the sample's ``first`` on."""
    sample = load_mnist(Path(train.__file__).parent / "data" / "sample")
    chosen, tested = slice(first, first + TRAIN_IMAGES), slice(TEST_IMAGES)
    folder.mkdir()
    write_idx(folder / "train-images-idx3-ubyte", sample.train_images[chosen])
    write_idx(folder / "train-labels-idx1-ubyte", sample.train_labels[chosen])
    write_idx(folder / "t10k-images-idx3-ubyte", sample.test_images[tested])
    write_idx(folder / "t10k-labels-idx1-ubyte", sample.test_labels[tested])
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Return a folder of few digits."""
    return write_digits(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture
def settings(digits):
    """Return the arguments of a run of 2 epochs of 3 batches: 22, 22 and 11 images."""
    return ["--data", str(digits), "--epochs", "2", "--batch-size", "22"]


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """Return the folder of such a run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    arguments = ["--data", str(digits), "--epochs", "2", "--batch-size", "22"]
    assert train.main([*arguments, "--out", str(out)]) == 0
    return out


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
        steps.append(1)
        if len(steps) == number:
            happens()
        return original(*arguments)

    monkeypatch.setattr(fit, "train_step", step)
    return steps


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


def one_sentence(stderr):
    """Return the last line of stderr, in which the command says why it ended."""
    *_, last = stderr.splitlines()
    assert "Traceback" not in stderr
    assert last.startswith("error: ")
    return last


def figures_of(folder):
    """Return the lines of metrics.jsonl without their times."""
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return [{k: v for k, v in json.loads(x).items() if k != "seconds"} for x in lines]


def assert_same_run(folder, other):
    assert (folder / "weights.safetensors").read_bytes() == (
        other / "weights.safetensors"
    ).read_bytes()
    assert figures_of(folder) == figures_of(other)


# --- what comes out --------------------------------------------------------------


def test_json_is_the_last_and_only_line_of_stdout(settings, capsys, digits):
    assert exit_code([*settings, "--seed", "3", "--json", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    result = json.loads(line)
    assert list(result) == FIELDS or sorted(result) == sorted(FIELDS)
    expected = {
        "preset": "default",
        "seed": 3,
        "epochs": 2,
        "train_images": 55,
        "test_images": TEST_IMAGES,
        "weights": str(Path("run", "weights.safetensors")),
        "data": str(digits),
    }
    assert result | expected == result
    assert (
        result["test_accuracy"] == (TEST_IMAGES - result["test_errors"]) / TEST_IMAGES
    )
    assert 0 <= result["val_accuracy"] <= 1
    assert result["seconds"] > 0
    assert result["images_per_second"] > 0
    assert "epoch 2/2" in err


def test_the_sample_stands_in_and_is_named(capsys):
    argv = ["--limit", "40", "--epochs", "1", "--json", "--out", "run"]
    assert exit_code(argv) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert (result["data"], result["train_images"]) == ("sample", 40)
    assert result["test_images"] == 1000
    assert "bundled sample" in err


def test_people_read_accuracy_errors_and_where_the_weights_are(settings, capsys):
    assert exit_code([*settings, "--out", "run"]) == 0
    out, err = capsys.readouterr()
    assert "test accuracy" in out
    assert f"errors in {TEST_IMAGES} images" in out
    assert str(Path("run", "weights.safetensors")) in out
    assert [line.split(":")[0] for line in err.splitlines()[-2:]] == [
        "epoch 1/2",
        "epoch 2/2",
    ]


def test_the_figures_are_those_of_the_weights(settings, capsys):
    from tinycnn import evaluate, models
    from tinycnn.nn.weights import load_weights

    exit_code([*settings, "--json", "--out", "run"])
    result = json.loads(capsys.readouterr().out)
    model = models.build(read_metadata(result["weights"])["architecture"])
    load_weights(result["weights"], model)
    test = load_mnist(settings[1])
    metrics = fit.evaluate(model, test.test_images, test.test_labels)
    assert metrics.errors == result["test_errors"]
    evaluate.main([result["weights"], "--data", settings[1], "--json"])
    assert json.loads(capsys.readouterr().out)["errors"] == result["test_errors"]


def test_a_run_has_a_folder_named_by_its_time(settings, capsys):
    assert exit_code([*settings, "--epochs", "1", "--json"]) == 0
    weights = Path(json.loads(capsys.readouterr().out)["weights"])
    assert weights.is_file()
    assert weights.parent.parent == Path("runs")
    assert sorted(path.name for path in weights.parent.iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
        "metrics.jsonl",
        "weights.safetensors",
    ]


def test_the_config_says_what_was_run_and_on_what(whole, digits):
    config = json.loads((whole / "config.json").read_text("utf-8"))
    expected = {
        "preset": "default",
        "epochs": 2,
        "batch_size": 22,
        "seed": 0,
        "limit": None,
        "data_checksum": load_mnist(digits).checksum,
    }
    assert config["settings"] | expected == config["settings"]
    assert config["threads"] >= 1
    assert config["data_folder"] == str(digits)
    assert {"python", "numpy", "numba", "tinycnn"} <= set(config["versions"])
    assert config["cpu"]


def test_the_weights_file_holds_no_time_and_no_path(whole, digits):
    metadata = read_metadata(whole / "weights.safetensors")
    assert {"preset", "seed", "architecture", "data_checksum", "test_accuracy"} <= set(
        metadata
    )
    assert not {"seconds", "images_per_second", "weights", "threads"} & set(metadata)
    content = (whole / "weights.safetensors").read_bytes()
    for place in (whole, digits, Path.cwd()):
        assert str(place).encode() not in content


def test_a_finished_run_has_the_temperature_of_its_weights(
    settings, digits, monkeypatch
):
    given = []

    def noted(logits, labels):
        given.append((logits, labels))
        return 0.75

    monkeypatch.setattr(fit, "fit_temperature", noted)
    assert exit_code([*settings, "--out", "run"]) == 0
    model, metadata = models.load("run/weights.safetensors")
    assert metadata["temperature"] == "0.75"
    ((logits, labels),) = given  # once, when all is done
    data = load_mnist(digits)
    _, _, images, its_labels = split_validation(data.train_images, data.train_labels)
    np.testing.assert_array_equal(labels, its_labels)
    np.testing.assert_array_equal(logits, fit.logits_of(model, images))


def test_weights_of_a_run_under_way_have_no_temperature_yet(settings, monkeypatch):
    at_step(monkeypatch, 5, send(signal.SIGINT))
    assert exit_code([*settings, "--out", "run"]) == 130
    assert "temperature" not in read_metadata("run/weights.safetensors")


def test_a_limit_takes_the_first_images(settings, capsys, monkeypatch):
    seen = []
    original = fit.train_step

    def step(model, optimizer, images, labels, smoothing):
        seen.append(len(images))
        return original(model, optimizer, images, labels, smoothing)

    monkeypatch.setattr(fit, "train_step", step)
    argv = [*settings, "--limit", "30", "--epochs", "1", "--json", "--out", "run"]
    assert exit_code(argv) == 0
    assert json.loads(capsys.readouterr().out)["train_images"] == 30
    share = recipes.PRESETS["default"].written
    assert sum(seen) == 30 + round(30 * share)


@pytest.mark.parametrize(("share", "count"), [(0.2, 11), (0.0, 0)])
def test_a_preset_has_its_share_of_written_digits(settings, monkeypatch, share, count):
    recipe = replace(recipes.PRESETS["default"], written=share)
    monkeypatch.setitem(recipes.PRESETS, "default", recipe)
    assert exit_code([*settings, "--epochs", "1", "--out", "run"]) == 0
    assert read_metadata("run/weights.safetensors")["written"] == str(count)


def test_written_digits_join_those_of_the_data_and_are_counted_apart(
    settings, monkeypatch, capsys
):
    made = []
    original = Trainer.__init__

    def noted(self, recipe, seed, images, labels, *rest, **options):
        made.append((images, labels))
        original(self, recipe, seed, images, labels, *rest, **options)

    monkeypatch.setattr(Trainer, "__init__", noted)
    argv = [*settings, "--epochs", "1", "--seed", "7", "--written", "11"]
    assert exit_code([*argv, "--json", "--out", "run"]) == 0
    ((images, labels),) = made
    hands, hand_labels = written(7, 0, 11)
    data = load_mnist(settings[1])
    expected = np.concatenate([data.train_images[:55], hands])
    assert np.array_equal(images[:], expected)
    assert np.array_equal(labels, [*data.train_labels[:55], *hand_labels])
    out, err = capsys.readouterr()
    assert json.loads(out)["train_images"] == 55
    assert "55 images to train and 11 written by code" in err
    assert read_metadata("run/weights.safetensors")["written"] == "11"


@pytest.mark.parametrize(
    "changed", [["--seed", "1"], ["--lr", "0.01"], ["--limit", "54"]]
)
def test_other_settings_are_another_run(settings, whole, changed):
    assert exit_code([*settings, *changed, "--out", "run"]) == 0
    weights = Path("run", "weights.safetensors").read_bytes()
    assert weights != (whole / "weights.safetensors").read_bytes()


def test_the_same_settings_are_the_same_bytes(settings, whole):
    assert exit_code([*settings, "--out", "run"]) == 0
    assert_same_run(Path("run"), whole)


def test_validation_chooses_the_weights_and_the_test_set_is_read_once(
    settings, monkeypatch
):
    sizes = []
    original = fit.evaluate

    def noted(model, images, labels):
        sizes.append(len(images))
        return original(model, images, labels)

    monkeypatch.setattr(fit, "evaluate", noted)
    assert exit_code([*settings, "--out", "run"]) == 0
    assert sizes == [5, 5, TEST_IMAGES]


def test_a_learner_who_edits_a_layer_is_told_that_it_runs(
    settings, capsys, monkeypatch
):
    original = ReLU.backward
    monkeypatch.setattr(ReLU, "backward", lambda self, dy: 2 * original(self, dy))
    assert exit_code([*settings, "--epochs", "1", "--out", "edited"]) == 0
    assert "was a layer edited?" in capsys.readouterr().err
    plain = [*settings, "--epochs", "1", "--no-fuse", "--out", "plain"]
    assert exit_code(plain) == 0
    assert "edited" not in capsys.readouterr().err
    first, second = (
        read_tensors(f"{run}/weights.safetensors")[0] for run in ("edited", "plain")
    )
    assert all(np.array_equal(first[name], second[name]) for name in first)


# --- going on --------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2, 3, 4, 6])
@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_saves_and_the_printed_command_continues(
    settings, whole, capsys, monkeypatch, signum, code, step
):
    with monkeypatch.context() as patch:
        at_step(patch, step, send(signum))
        assert exit_code([*settings, "--json", "--out", "a run"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    command = printed_command(err)
    assert command == ["--resume", "a run"]
    assert exit_code([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 2
    assert_same_run(Path("a run"), whole)


def test_a_run_stopped_at_every_batch_ends_in_the_same_bytes(
    settings, whole, monkeypatch
):
    argv, codes = [*settings, "--out", "run"], []
    for _ in range(9):
        with monkeypatch.context() as patch:
            at_step(patch, 1, send(signal.SIGTERM))
            codes.append(exit_code(argv))
        argv = ["--resume", "run"]
    assert codes == [143] * 6 + [0] * 3
    assert_same_run(Path("run"), whole)


@pytest.mark.parametrize("step", [1, 3, 4, 6])
def test_a_power_cut_costs_no_more_than_an_epoch(settings, whole, monkeypatch, step):
    with monkeypatch.context() as patch:
        at_step(patch, step, cut_power)
        with pytest.raises(PowerCut):
            exit_code([*settings, "--out", "run"])
    steps = at_step(monkeypatch, None, cut_power)  # never: it only counts
    assert exit_code(["--resume", "run"]) == 0
    assert len(steps) == (6 if step <= 3 else 3)
    assert_same_run(Path("run"), whole)


def test_a_checkpoint_is_saved_within_the_epoch_when_it_is_due(
    settings, whole, monkeypatch
):
    monkeypatch.setattr(train, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    with monkeypatch.context() as patch:
        at_step(patch, 3, cut_power)
        with pytest.raises(PowerCut):
            exit_code([*settings, "--out", "run"])
    metadata = read_metadata(Path("run", "checkpoint.safetensors"))
    assert json.loads(metadata["progress"])["batch"] == 2
    assert exit_code(["--resume", "run"]) == 0
    assert_same_run(Path("run"), whole)


@pytest.mark.parametrize("moment", ["append", "save_best", "save"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_power_cut_between_two_files_of_an_epoch_leaves_no_trace(
    settings, whole, monkeypatch, moment, call
):
    """The three files are written one after the other; any may be the last."""
    original, calls = getattr(checkpoint.RunFolder, moment), []

    def cut(self, *arguments):
        original(self, *arguments)
        calls.append(1)
        # The first `save` comes before the first batch.
        if len(calls) == call + (moment == "save"):
            raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.RunFolder, moment, cut)
        with pytest.raises(PowerCut):
            exit_code([*settings, "--out", "run"])
    assert exit_code(["--resume", "run"]) == 0
    assert_same_run(Path("run"), whole)


def test_resuming_a_finished_run_gives_its_result_again(settings, whole, capsys):
    assert exit_code([*settings, "--json", "--out", "run"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert exit_code(["--resume", "run", "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    for result in (first, second):
        del result["seconds"], result["images_per_second"]
    assert first == second
    assert_same_run(Path("run"), whole)


def test_the_seconds_of_a_run_add_up_over_its_sittings(settings, capsys):
    exit_code([*settings, "--json", "--out", "run"])
    first = json.loads(capsys.readouterr().out)["seconds"]
    exit_code(["--resume", "run", "--json"])
    assert json.loads(capsys.readouterr().out)["seconds"] > first


def test_a_signal_before_training_has_begun_makes_no_folder(
    settings, capsys, monkeypatch
):
    original = fit.models.build

    def build(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(fit.models, "build", build)
    assert exit_code([*settings, "--out", "run"]) == 143
    out, err = capsys.readouterr()
    assert out == ""
    assert "start it again" in err
    assert not Path("run").exists()


def test_a_signal_after_the_last_epoch_loses_nothing(
    settings, whole, capsys, monkeypatch
):
    original = fit.evaluate

    def evaluate(model, images, labels):
        if len(images) == TEST_IMAGES:
            os.kill(os.getpid(), signal.SIGINT)
        return original(model, images, labels)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "evaluate", evaluate)
        assert exit_code([*settings, "--out", "run"]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert exit_code(printed_command(err)) == 0
    assert_same_run(Path("run"), whole)


def test_signals_are_handled_as_before_when_the_command_is_over(settings):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    exit_code([*settings, "--epochs", "1", "--out", "run"])
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before


CHILD = """
import os, signal, sys
from tinycnn import models, train
from tinycnn.reading import finetuned as learnt
from tinycnn.training import fit
original, steps, signals = fit.train_step, [], sys.argv.pop(1).split(",")
def step(*arguments):
    steps.append(1)
    if len(steps) == 5:
        for number in signals:
            os.kill(os.getpid(), int(number))
        print("the batch was finished", flush=True)
    return original(*arguments)
fit.train_step = step
train.run_command(train.main)
"""


def child(signals, *argv):
    """Run the command in a process that gets these signals in its fifth batch."""
    numbers = ",".join(str(int(number)) for number in signals)
    return subprocess.run(
        [sys.executable, "-c", CHILD, numbers, *argv],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_process_ends_with_the_code_of_its_signal(settings, whole):
    ended = child([signal.SIGTERM], *settings, "--out", "run")
    assert ended.returncode == 143
    assert ended.stdout == "the batch was finished\n"
    assert exit_code(printed_command(ended.stderr)) == 0
    assert_same_run(Path("run"), whole)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_second_ctrl_c_leaves_at_once_and_damages_nothing(settings, whole):
    ended = child([signal.SIGINT] * 2, *settings, "--out", "run")
    assert ended.returncode == -signal.SIGINT
    assert ended.stdout == ""
    assert exit_code(["--resume", "run"]) == 0
    assert_same_run(Path("run"), whole)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_number_of_threads_may_change(settings, whole, monkeypatch, threads):
    import numba

    if int(threads) > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("Numba has one thread on this machine")
    before = numba.get_num_threads()
    with monkeypatch.context() as patch:
        at_step(patch, 4, send(signal.SIGTERM))
        assert exit_code([*settings, "--out", "run"]) == 143
    try:
        assert exit_code(["--resume", "run", "--threads", threads]) == 0
        assert numba.get_num_threads() == int(threads)
    finally:
        numba.set_num_threads(before)
    assert_same_run(Path("run"), whole)


def test_the_same_digits_may_have_moved(settings, whole, capsys, tmp_path, monkeypatch):
    first = write_digits(tmp_path / "first")
    with monkeypatch.context() as patch:
        at_step(patch, 2, send(signal.SIGTERM))
        assert exit_code([*settings, "--data", first, "--out", "run"]) == 143
    second = first.rename(tmp_path / "second")
    capsys.readouterr()
    assert exit_code(["--resume", "run"]) == 1  # they are not where they were
    assert "--data DIR" in one_sentence(capsys.readouterr().err)
    with monkeypatch.context() as patch:
        at_step(patch, 2, send(signal.SIGTERM))
        assert exit_code(["--resume", "run", "--data", second]) == 143
    command = printed_command(capsys.readouterr().err)
    assert exit_code(command) == 0
    assert_same_run(Path("run"), whole)


def test_a_run_of_a_version_with_fewer_settings_is_refused(
    settings, monkeypatch, capsys
):
    at_step(monkeypatch, 2, send(signal.SIGTERM))
    original = RunFolder.create.__func__

    def older(cls, path, preset, config):
        fewer = {k: v for k, v in config["settings"].items() if k != "written"}
        return original(cls, path, preset, config | {"settings": fewer})

    monkeypatch.setattr(RunFolder, "create", classmethod(older))
    assert exit_code([*settings, "--out", "run"]) == 143
    capsys.readouterr()
    assert exit_code(["--resume", "run"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "begun by another version" in one_sentence(err)


def test_a_run_of_another_recipe_is_refused(settings, monkeypatch, capsys):
    """Whoever edits recipes.py would end with half a run of each."""
    with monkeypatch.context() as patch:
        at_step(patch, 2, send(signal.SIGTERM))
        assert exit_code([*settings, "--out", "run"]) == 143
    before = Path("run/checkpoint.safetensors").read_bytes()
    recipe = recipes.PRESETS["default"]
    edited = replace(recipe, deformation=replace(recipe.deformation, rotation=11))
    monkeypatch.setitem(recipes.PRESETS, "default", edited)
    capsys.readouterr()
    assert exit_code(["--resume", "run"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "another recipe" in one_sentence(err)
    assert Path("run/checkpoint.safetensors").read_bytes() == before


def test_other_digits_are_refused(whole, capsys, tmp_path):
    others = write_digits(tmp_path / "others", first=100)
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    capsys.readouterr()
    assert exit_code(["--resume", whole, "--data", others]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "data" in one_sentence(err)
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == before


# Each setting's flag with another value, and how the difference is told.
DIFFERENT = {
    "preset": (["--preset", "classic"], "preset was default and is now classic"),
    "epochs": (["--epochs", "3"], "epochs was 2 and is now 3"),
    "batch_size": (["--batch-size", "11"], "batch_size was 22 and is now 11"),
    "lr": (["--lr", "0.25"], "and is now 0.25"),
    "seed": (["--seed", "7"], "seed was 0 and is now 7"),
    "limit": (["--limit", "30"], "limit was None and is now 30"),
    "written": (["--written", "9"], "and is now 9"),
    "fuse": (["--no-fuse"], "fuse was True and is now False"),
}


def test_every_setting_has_a_different_value_here():
    assert set(DIFFERENT) == set(train.SETTINGS)


@pytest.mark.parametrize("names", [[name] for name in DIFFERENT] + [list(DIFFERENT)])
def test_other_settings_are_refused_and_each_is_named(whole, capsys, names):
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    capsys.readouterr()
    flags = [word for name in names for word in DIFFERENT[name][0]]
    assert exit_code(["--resume", whole, *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    message = one_sentence(err)
    for name, (_, difference) in DIFFERENT.items():
        assert (difference in message) == (name in names), name
    assert "--resume DIR alone is enough" in message
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == before


def test_the_same_settings_may_be_given_again(settings, whole, monkeypatch):
    with monkeypatch.context() as patch:
        at_step(patch, 2, send(signal.SIGTERM))
        assert exit_code([*settings, "--out", "run"]) == 143
    again = [*settings, "--preset", "default", "--seed", "0"]
    assert exit_code([*again, "--resume", "run"]) == 0
    assert_same_run(Path("run"), whole)


# --- what cannot be done ---------------------------------------------------------


def test_a_folder_with_something_in_it_is_refused(settings, capsys):
    Path("full").mkdir()
    Path("full", "mine.txt").write_text("mine")
    assert exit_code([*settings, "--out", "full"]) == 2
    assert "new or empty" in capsys.readouterr().err
    assert [path.name for path in Path("full").iterdir()] == ["mine.txt"]


def test_an_empty_folder_may_be_named(settings):
    Path("empty").mkdir()
    assert exit_code([*settings, "--epochs", "1", "--out", "empty"]) == 0
    assert Path("empty", "weights.safetensors").is_file()


def test_out_and_resume_exclude_each_other(settings, whole, capsys):
    assert exit_code([*settings, "--out", "run", "--resume", whole]) == 2
    assert "not allowed with" in capsys.readouterr().err


def test_a_folder_without_digits_is_named(tmp_path, capsys):
    (tmp_path / "nothing").mkdir()
    assert exit_code(["--data", tmp_path / "nothing", "--out", "run"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert str(tmp_path / "nothing") in one_sentence(err)
    assert len(err.splitlines()) == 1
    assert not Path("run").exists()


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path, capsys):
    (tmp_path / "nothing").mkdir()
    assert exit_code(["--resume", tmp_path / "nothing"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "holds no run" in one_sentence(err)


@pytest.mark.parametrize("name", ["config.json", "checkpoint.safetensors"])
def test_a_damaged_run_is_one_sentence(settings, capsys, name):
    exit_code([*settings, "--epochs", "1", "--out", "run"])
    capsys.readouterr()
    path = Path("run", name)
    path.write_bytes(path.read_bytes()[:-20])
    assert exit_code(["--resume", "run"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert name in one_sentence(err)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("preset", value) for value in (None, "six", 1, ["default"])],
        *[("epochs", value) for value in (None, "six", -1, 1.5, 1, 3)],
        *[("batch_size", value) for value in (None, "six", 0, 1.5, 11)],
        *[("lr", value) for value in (None, "six", -1, [0.1], 0.25)],
        *[("seed", value) for value in (None, "six", -1, 1.5, 1)],
        *[("limit", value) for value in ("six", -1, 1.5, 30)],
        *[("fuse", value) for value in (None, "yes", False)],
    ],
)
def test_a_setting_changed_in_the_config_is_damage(
    whole, tmp_path, capsys, name, value
):
    """Some would run, but to weights that no settings lead to."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in whole.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["settings"][name] = value
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    capsys.readouterr()
    assert exit_code(["--resume", folder]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "config.json" in one_sentence(err)


def test_a_diverging_run_is_told_with_its_learning_rate(settings, capsys):
    argv = [*settings, "--epochs", "20", "--lr", "1e9", "--out", "run", "--json"]
    assert exit_code(argv) == 3
    out, err = capsys.readouterr()
    assert out == ""
    message = one_sentence(err)
    for said in ("diverged", "epoch", "batch", "learning rate", "try --lr"):
        assert said in message


def test_divergence_leaves_the_last_good_checkpoint(settings, capsys, monkeypatch):
    kept = []

    def ruin():
        kept.append(Path("run", "checkpoint.safetensors").read_bytes())
        trainers[-1].model.state()["0.weight"][...] = np.nan

    trainers = []
    original = Trainer.__init__

    def init(self, *arguments, **options):
        original(self, *arguments, **options)
        trainers.append(self)

    monkeypatch.setattr(Trainer, "__init__", init)
    at_step(monkeypatch, 5, ruin)
    assert exit_code([*settings, "--out", "run"]) == 3
    assert "epoch 2, batch 2" in one_sentence(capsys.readouterr().err)
    assert Path("run", "checkpoint.safetensors").read_bytes() == kept[0]


def test_weights_ruined_by_the_last_step_of_an_epoch_are_divergence(
    settings, capsys, monkeypatch
):
    original, steps = fit.train_step, []

    def step(model, *arguments):
        result = original(model, *arguments)
        steps.append(1)
        if len(steps) == 6:
            model.state()["0.weight"][...] = np.nan
        return result

    monkeypatch.setattr(fit, "train_step", step)
    assert exit_code([*settings, "--out", "run"]) == 3
    assert "epoch 2" in one_sentence(capsys.readouterr().err)
    assert len(figures_of(Path("run"))) == 1
    for name in ("weights.safetensors", "checkpoint.safetensors"):
        tensors, _ = read_tensors(Path("run", name), require_checksum=True)
        assert all(np.isfinite(array).all() for array in tensors.values())


@pytest.mark.parametrize("writes", range(8))
def test_a_full_disk_is_one_sentence_and_loses_nothing(
    settings, whole, capsys, monkeypatch, writes
):
    """The disk fills after so many files: a config, a checkpoint, then two an epoch."""
    original, files = os.fsync, []

    def fsync(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            return original(descriptor)
        files.append(1)
        if len(files) > writes:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        code = exit_code([*settings, "--out", "run", "--json"])
    out, err = capsys.readouterr()
    if code == 0:  # if the second epoch was not the best, one file less is written
        assert writes >= 6
        return
    assert code == 1
    assert out == ""
    assert "No space left" in one_sentence(err)
    if writes >= 2:
        assert exit_code(printed_command(err)) == 0
        assert_same_run(Path("run"), whole)


def test_a_folder_that_may_not_be_made_is_one_sentence(settings, capsys, monkeypatch):
    original = Path.mkdir

    def mkdir(self, *arguments, **options):
        if self.name == "run":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return original(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert exit_code([*settings, "--out", "run"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    message = one_sentence(err)
    assert "Permission denied" in message
    assert "run" in message


def test_metrics_that_cannot_be_written_are_one_sentence(
    settings, whole, capsys, monkeypatch
):
    def append(self, *arguments):  # noqa: ARG001
        raise OSError(errno.EIO, "Input/output error", "metrics.jsonl")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.RunFolder, "append", append)
        assert exit_code([*settings, "--out", "run"]) == 1
    err = capsys.readouterr().err
    assert "Input/output error" in one_sentence(err)
    assert exit_code(printed_command(err)) == 0
    assert_same_run(Path("run"), whole)


# --- corrections -----------------------------------------------------------------


@pytest.fixture
def corrections(tmp_path):
    """Return a folder of three corrections; let what is learned be kept here."""
    sample = load_mnist(SAMPLE_FOLDER)
    folder = tmp_path / "corrections"
    folder.mkdir()
    write_idx(folder / "images-idx3-ubyte", sample.train_images[:3])
    write_idx(folder / "labels-idx1-ubyte", sample.train_labels[:3])
    return folder


@pytest.fixture
def user_data(tmp_path, monkeypatch):
    """Return the folder in which what was learned is kept."""
    monkeypatch.setattr(learnt, "user_data_path", lambda name: tmp_path / name)
    return tmp_path / "tinycnn" / "learnt"


@pytest.fixture
def few(monkeypatch):
    """Let little be replayed."""
    sample = load_mnist(SAMPLE_FOLDER)
    little = replace(
        sample,
        train_images=sample.train_images[::50],
        train_labels=sample.train_labels[::50],
        test_images=sample.test_images[::50],
        test_labels=sample.test_labels[::50],
    )
    monkeypatch.setattr(learn, "load_mnist", lambda *_, **__: little)


@pytest.mark.usefixtures("user_data", "few")
def test_corrections_are_learned_and_told_in_one_line_of_json(corrections, capsys):
    argv = ["--extra", corrections, "--out", "run", "--seed", "2", "--json"]
    assert exit_code(argv) == 0
    out, err = capsys.readouterr()
    assert "error" not in err
    (line,) = out.splitlines()
    result = json.loads(line)
    expected = {
        "corrections": 3,
        "right_before": 3,
        "right_after": 3,
        "test_images": 20,
        "test_errors_before": 0,
        "test_errors_after": 0,
        "data": "sample",
        "seed": 2,
        "weights": str(Path("run", "weights.safetensors")),
        "judge": str(Path("run", "judge.safetensors")),
    }
    assert result == expected | {"seconds": result["seconds"]}
    for name in ("weights", "judge"):
        assert models.load(result[name])[1]["corrections"] == "3"
    assert learnt.latest() is None


class Nothing:
    """What was learned in no time."""

    def __init__(self, corrections=3):
        self.figures = {
            "corrections": corrections,
            "right_before": 1,
            "right_after": 2,
            "test_images": 10_000,
            "test_errors_before": 44,
            "test_errors_after": 45,
        }

    def save(self, folder):
        for name in ("weights", "judge"):
            (folder / f"{name}.safetensors").write_text("new")


@pytest.fixture
def at_once(monkeypatch, user_data):  # noqa: ARG001
    """Let learning take no time; return what it was asked for."""
    asked = []

    def at_once(*arguments):
        asked.append(arguments)
        yield 0.5
        yield Nothing(len(arguments[1]))

    monkeypatch.setattr(learn, "learn", at_once)
    monkeypatch.setattr(learn, "Learnt", Nothing)
    return asked


def test_without_a_place_the_window_reads_with_what_was_learned(
    corrections, at_once, user_data, capsys
):
    assert exit_code(["--extra", corrections]) == 0
    out, _ = capsys.readouterr()
    assert learnt.latest() == user_data / "1"
    assert str(user_data / "1" / "weights.safetensors") in out
    assert "of 3 corrections, 2 are right now (1 before)" in out
    assert "errors in the 10,000 test images of the bundled sample: 45 (44" in out
    ((images, labels, digits, seed),) = at_once
    assert (len(images), len(labels), digits.source, seed) == (3, 3, "sample", 0)


def test_test_images_are_those_of_the_folder_that_is_named(
    corrections, at_once, digits, capsys
):
    assert exit_code(["--extra", corrections, "--data", digits]) == 0
    assert f"test images of {digits}" in capsys.readouterr().out
    assert len(at_once[0][2].test_labels) == TEST_IMAGES


@pytest.mark.parametrize("happens", [signal.SIGINT, signal.SIGTERM, "power cut"])
def test_learning_that_is_stopped_leaves_the_weights_of_before(
    corrections, at_once, user_data, monkeypatch, capsys, happens
):
    assert exit_code(["--extra", corrections]) == 0
    assert len(at_once) == 1

    def stopped(*_):
        yield 0.5
        if happens == "power cut":
            raise PowerCut
        send(happens)()
        yield 0.6

    monkeypatch.setattr(learn, "learn", stopped)
    if happens == "power cut":
        with pytest.raises(PowerCut):
            exit_code(["--extra", corrections])
    else:
        assert exit_code(["--extra", corrections]) == 128 + happens
        assert "nothing was changed" in capsys.readouterr().err
    assert learnt.latest() == user_data / "1"
    assert [path.name for path in user_data.iterdir()] == ["1"]


def test_a_disk_that_is_full_leaves_the_weights_of_before(
    corrections, at_once, user_data, monkeypatch, capsys
):
    assert exit_code(["--extra", corrections]) == 0
    assert len(at_once) == 1

    def save(self, folder):  # noqa: ARG001
        (folder / "weights.safetensors").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(Nothing, "save", save)
    assert exit_code(["--extra", corrections]) == 1
    assert "No space left" in one_sentence(capsys.readouterr().err)
    assert [path.name for path in user_data.iterdir()] == ["1"]
    assert (user_data / "1" / "weights.safetensors").read_text() == "new"


@pytest.mark.parametrize(
    "more",
    [
        ["--preset", "default"],
        ["--epochs", "2"],
        ["--batch-size", "3"],
        ["--lr", "0.1"],
        ["--limit", "5"],
        ["--no-fuse"],
        ["--resume", "."],
    ],
    ids=lambda more: more[0],
)
def test_what_belongs_to_a_run_goes_not_with_corrections(
    corrections, at_once, capsys, more
):
    assert exit_code(["--extra", corrections, *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert f"argument {more[0]}: not allowed with --extra" in line
    assert at_once == []


@pytest.mark.parametrize("trouble", ["empty", "unequal", "size", "damaged"])
def test_a_folder_that_holds_no_corrections_is_refused_in_one_sentence(
    corrections, at_once, user_data, capsys, trouble
):
    images, labels = (
        corrections / name for name in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    if trouble == "empty":
        images.unlink()
        labels.unlink()
    elif trouble == "unequal":
        write_idx(labels, np.zeros(7, np.uint8))
    elif trouble == "size":
        write_idx(images, np.zeros((3, 20, 20), np.uint8))
    else:
        images.write_bytes(b"no digits")
    assert exit_code(["--extra", corrections]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"error: {corrections}")
    assert at_once == []
    assert not user_data.exists()


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [([], ["default"]), (["--threads", "1"], []), (["--no-fuse"], [])],
)
def test_help_is_called_where_it_may_use_a_core_and_is_wanted(
    settings, monkeypatch, flags, wanted
):
    """With ``--no-fuse`` the run itself compiles what the help would compile."""
    called = []
    monkeypatch.setattr(warmup, "help_compiling", called.append)
    monkeypatch.setattr(threads, "use_threads", lambda count: count or 2)
    assert exit_code([*settings, *flags, "--epochs", "1", "--out", "run"]) == 0
    assert called == wanted
