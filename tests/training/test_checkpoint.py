"""The laws of `tinycnn.training.checkpoint`: a run goes on as if it had never stopped.

Images are made up here; runs are left, taken up from their folder by a new `Trainer`,
and held against one that was never left. Nothing here knows arguments or signals.
"""

import errno
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tinycnn import models
from tinycnn.nn import (
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    ReLU,
)
from tinycnn.nn.weights import (
    TensorFileError,
    read_metadata,
    read_tensors,
    save_tensors,
    save_weights,
)
from tinycnn.threads import use_threads
from tinycnn.training.augment import Deformation
from tinycnn.training.checkpoint import RunError, RunFolder
from tinycnn.training.fit import DivergedError, EpochResult, Trainer
from tinycnn.training.recipes import PRESETS, Recipe

CONFIG = {"settings": {"seed": 0}, "threads": 2, "data": "sample"}
RECIPE = Recipe(
    architecture="small",
    epochs=3,
    epochs_of_few=3,
    batch_size=8,
    learning_rate=2e-3,
    schedule="one_cycle",
    weight_decay=0.01,
    label_smoothing=0.1,
    deformation=Deformation(rotation=10, scale=0.1, shear=0.1, shift=1),
    average_decay=0.9,
)
REMEDY = re.compile(r"start|name the folder|continue|copy|train again|build the model")


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    """Add a network with batch norm and dropout that learns in milliseconds."""
    use_threads()

    def small(rng):
        return [
            Conv2D(1, 3, 5, stride=3, rng=rng),
            BatchNorm2D(3),
            ReLU(),
            Flatten(),
            Dropout(0.3),
            Dense(8 * 8 * 3, 10, rng=rng),
        ]

    monkeypatch.setitem(models.NETWORKS, "small", small)


def new_trainer(recipe=RECIPE, count=20):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count + 6, 28, 28)).astype(np.uint8)
    labels = rng.integers(0, 10, count + 6).astype(np.uint8)
    cut = slice(count), slice(count, None)
    train, val = ((images[part], labels[part]) for part in cut)
    return Trainer(recipe, 0, *train, *val)


def sitting(folder, trainer, items=None):
    """Train for so many items, or to the end, as the command does; then save."""
    run = trainer.run()
    for number, item in enumerate(run, 1):
        if isinstance(item, EpochResult):
            folder.append(item, seconds=0)
        if number == items:
            folder.save(trainer, seconds=1.5)
            return
    folder.save(trainer, seconds=1.5)
    folder.save_best(trainer, {"preset": "small"})


def whole_run(path, recipe=RECIPE, count=20):
    folder = RunFolder.create(path, "small", CONFIG)
    sitting(folder, new_trainer(recipe, count))
    return folder


@pytest.fixture
def saved(tmp_path):
    """Return a folder whose run was left in the middle of its second epoch."""
    folder = RunFolder.create(tmp_path / "saved", "small", CONFIG)
    sitting(folder, new_trainer(), items=6)
    return folder


# --- going on --------------------------------------------------------------------


@pytest.mark.parametrize("items", range(1, 13))
def test_a_run_left_anywhere_ends_in_the_same_bytes(tmp_path, items):
    whole = whole_run(tmp_path / "whole")
    left = RunFolder.create(tmp_path / "left", "small", CONFIG)
    sitting(left, new_trainer(), items)
    trainer = new_trainer()
    assert RunFolder(left.path).restore(trainer) == 1.5
    sitting(left, trainer)
    for name in ("weights.safetensors", "checkpoint.safetensors", "metrics.jsonl"):
        assert (left.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_a_run_left_after_every_item_ends_in_the_same_bytes(tmp_path):
    whole = whole_run(tmp_path / "whole")
    left = RunFolder.create(tmp_path / "left", "small", CONFIG)
    left.save(new_trainer(), seconds=1.5)
    for _ in range(13):
        trainer = new_trainer()
        left.restore(trainer)
        sitting(left, trainer, items=1)
    for name in ("weights.safetensors", "checkpoint.safetensors", "metrics.jsonl"):
        assert (left.path / name).read_bytes() == (whole.path / name).read_bytes(), name


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_goes_on_in_the_middle_of_an_epoch(tmp_path, preset):
    recipe = replace(PRESETS[preset], epochs=2, batch_size=4)
    whole = whole_run(tmp_path / "whole", recipe, count=10)
    left = RunFolder.create(tmp_path / "left", preset, CONFIG)
    sitting(left, new_trainer(recipe, 10), items=5)
    trainer = new_trainer(recipe, 10)
    left.restore(trainer)
    sitting(left, trainer)
    assert left.weights.read_bytes() == whole.weights.read_bytes()


def test_everything_of_a_trainer_comes_back(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "small", CONFIG)
    trainer, restored = new_trainer(), new_trainer()
    sitting(folder, trainer, items=6)
    folder.restore(restored)
    assert restored.progress == trainer.progress
    assert restored.optimizer.steps == trainer.optimizer.steps == 5
    for ours, theirs in [
        (restored.model.state(), trainer.model.state()),
        (restored.optimizer.state(), trainer.optimizer.state()),
        (restored.best, trainer.best),
        (restored.averaged.state(), trainer.averaged.state()),
    ]:
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert any(
        not np.array_equal(trainer.best[name], array)
        for name, array in trainer.model.state().items()
    ), "the best weights must differ from the last, or this shows nothing"


def test_a_restored_trainer_is_not_tied_to_its_best_weights(saved):
    trainer = new_trainer()
    saved.restore(trainer)
    before = {name: array.copy() for name, array in trainer.best.items()}
    for array in trainer.model.state().values():
        array += 1
    assert all(np.array_equal(trainer.best[name], before[name]) for name in before)


def test_the_next_save_takes_the_place_of_the_last(saved):
    trainer = new_trainer()
    saved.restore(trainer)
    next(iter(trainer.run()))
    saved.save(trainer, seconds=2.5)
    again = new_trainer()
    assert saved.restore(again) == 2.5
    assert again.progress == trainer.progress
    assert {path.name for path in saved.path.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "checkpoint.safetensors",
    }


# --- metrics.jsonl ---------------------------------------------------------------


@pytest.mark.parametrize(
    "tail",
    [
        b'{"epoch": 2}\n',
        b'{"epoch": 2}\n{"epoch": 3}\n',
        b'{"epoch": 2, "learn',  # the process was killed within the line
        b'{"epoch": 2}\n{"ep',
        b"\0\0\0\0",  # the power went before the bytes were on the disk
        b"\xff\xfe",
    ],
)
def test_lines_past_the_checkpoint_are_cut(saved, tail):
    metrics = saved.path / "metrics.jsonl"
    before = metrics.read_bytes()
    metrics.write_bytes(before + tail)
    saved.restore(new_trainer())
    assert metrics.read_bytes() == before


def test_each_epoch_is_a_line_of_its_figures(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "small", CONFIG)
    trainer = new_trainer()
    results = [item for item in trainer.run() if isinstance(item, EpochResult)]
    for result in results:
        folder.append(result, seconds=1.23456)
    lines = (folder.path / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "epoch": result.epoch,
            "learning_rate": result.learning_rate,
            "train_loss": result.train_loss,
            "train_accuracy": result.train_accuracy,
            "val_nll": result.val_nll,
            "val_accuracy": result.val_accuracy,
            "seconds": 1.235,
        }
        for result in results
    ]


# --- damage ----------------------------------------------------------------------


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(RunError, match=r"no config\.json") as error:
        RunFolder(tmp_path).config()
    assert str(tmp_path) in str(error.value)
    assert REMEDY.search(str(error.value))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"settings": {"seed": 0}',
        b"[]",
        b"null",
        b"{}",
        b'{"settings": 3}',
        b'{"settings": ["seed"]}',
        b"\xff\xfe\x00",
        b"\0" * 100,
        b"[" * 100_000,
        b"9" * 5000,
    ],
)
def test_a_damaged_config_is_one_documented_error(saved, content):
    (saved.path / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=r"config\.json") as error:
        saved.config()
    assert REMEDY.search(str(error.value))


def test_a_folder_in_the_place_of_the_config_is_damage(saved):
    (saved.path / "config.json").unlink()
    (saved.path / "config.json").mkdir()
    with pytest.raises(RunError, match="damaged"):
        saved.config()


def test_a_run_without_a_checkpoint_says_so(saved):
    (saved.path / "checkpoint.safetensors").unlink()
    with pytest.raises(RunError, match="has no checkpoint") as error:
        saved.config()
    assert REMEDY.search(str(error.value))


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def emptied(content):  # noqa: ARG001
    return b""


@pytest.mark.parametrize("damage", [truncated, flipped, emptied])
def test_a_damaged_checkpoint_is_seen_and_changes_nothing(saved, damage):
    path = saved.path / "checkpoint.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    metrics = (saved.path / "metrics.jsonl").read_bytes() + b"{torn"
    (saved.path / "metrics.jsonl").write_bytes(metrics)
    trainer, fresh = new_trainer(), new_trainer()
    with pytest.raises(TensorFileError) as error:
        saved.restore(trainer)
    assert str(path) in str(error.value)
    assert trainer.progress == fresh.progress
    for name, array in trainer.model.state().items():
        assert np.array_equal(array, fresh.model.state()[name])
    assert (saved.path / "metrics.jsonl").read_bytes() == metrics


def test_the_checkpoint_of_another_network_is_refused(saved):
    other = new_trainer(replace(RECIPE, architecture="default"))
    with pytest.raises((RunError, TensorFileError)) as error:
        saved.restore(other)
    assert REMEDY.search(str(error.value))


@pytest.mark.parametrize(
    "change",
    [
        {"progress": None},
        {"progress": "[]"},
        {"progress": "{"},
        {"progress": '{"epochs": 3}'},
        {"optimizer_steps": None},
        {"optimizer_steps": "many"},
        {"seconds": None},
        {"seconds": "long"},
    ],
)
def test_a_checkpoint_of_another_version_is_refused(saved, change):
    path = saved.path / "checkpoint.safetensors"
    tensors, metadata = read_tensors(path)
    metadata = {k: v for k, v in (metadata | change).items() if v is not None}
    save_tensors(path, tensors, metadata)
    with pytest.raises(RunError, match="another version") as error:
        saved.restore(new_trainer())
    assert REMEDY.search(str(error.value))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_saved(saved, value):
    path = saved.path / "checkpoint.safetensors"
    before = path.read_bytes()
    trainer = new_trainer()
    saved.restore(trainer)
    trainer.model.state()["0.weight"][0, 0] = value
    with pytest.raises(DivergedError, match=r"0\.weight is not finite"):
        saved.save(trainer, seconds=2)
    assert path.read_bytes() == before


def test_a_full_disk_leaves_the_old_checkpoint(saved, monkeypatch):
    path = saved.path / "checkpoint.safetensors"
    before = path.read_bytes()
    trainer = new_trainer()
    saved.restore(trainer)
    next(iter(trainer.run()))

    def full(descriptor):  # noqa: ARG001
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            saved.save(trainer, seconds=2)
    assert path.read_bytes() == before
    assert sorted(p.name for p in saved.path.iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
        "metrics.jsonl",
    ]


# --- folders ---------------------------------------------------------------------


def test_a_folder_that_is_not_empty_is_never_written_to(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        RunFolder.create(tmp_path, "small", CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_used_and_a_missing_one_made(tmp_path):
    RunFolder.create(tmp_path, "small", CONFIG)
    RunFolder.create(tmp_path / "a" / "b", "small", CONFIG)
    assert (tmp_path / "config.json").is_file()
    assert (tmp_path / "a" / "b" / "config.json").is_file()


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda form: "2025-01-31_120000")  # noqa: ARG005
    made = [str(RunFolder.create(None, "quick", CONFIG).path) for _ in range(3)]
    name = "runs/2025-01-31_120000_quick"
    assert [path.replace("\\", "/") for path in made] == [
        name,
        f"{name}_2",
        f"{name}_3",
    ]


def test_the_name_of_a_run_is_its_time_and_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = RunFolder.create(None, "quick", CONFIG).path
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d{6}_quick", path.name)
    assert path.parent.name == "runs"


def test_the_config_keeps_what_it_is_given_and_the_surroundings(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "small", CONFIG)
    folder.save(new_trainer(), 0.0)
    config = folder.config()
    assert config | CONFIG == config
    assert {"python", "tinycnn", "numpy", "numba"} <= set(config["versions"])
    assert all(re.match(r"\d+\.\d+", text) for text in config["versions"].values())
    assert config["cpu"]
    assert config["system"]


def test_the_weights_file_holds_the_best_weights_and_what_it_is_told(saved):
    trainer = new_trainer()
    saved.restore(trainer)
    saved.save_best(trainer, {"preset": "small", "seed": "0"})
    tensors, metadata = read_tensors(saved.weights, require_checksum=True)
    assert tensors.keys() == trainer.best.keys()
    assert all(np.array_equal(tensors[name], trainer.best[name]) for name in tensors)
    assert metadata.keys() == {"preset", "seed", "checksum"}
    save_weights(saved.path / "twin", trainer.model, {})
    assert read_metadata(saved.path / "twin").keys() == {"checksum"}
