"""The laws of `tinycnn.training.checkpoint`: a run goes on as if it had never stopped.

Runs are left, taken up from their folder by a new `Trainer`, and compared with one that
was never left.
"""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from small_run import RECIPE, new_trainer, random_digits, same
from weights_file import read_arrays, save_arrays

from tinycnn import models
from tinycnn.fast import fuse
from tinycnn.nn.weights import WeightsError
from tinycnn.training.checkpoint import RunError, RunFolder
from tinycnn.training.fit import DivergedError
from tinycnn.training.recipes import PRESETS

CONFIG = {"recipe": {"epochs": 3}, "threads": 2, "data": "sample"}
FACTS = {"seconds": 1.5}
AVERAGING = replace(RECIPE, average_decay=0.9)


def averaging_trainer():
    return new_trainer(AVERAGING)


def preset_trainer(preset):
    """Return a trainer of a preset with 3 batches an epoch."""
    recipe = replace(PRESETS[preset], epochs=2, batch_size=4)
    model = models.build(recipe.network)
    return new_trainer(recipe, model=model, train=random_digits(10), prepare=fuse)


def sitting(folder, trainer, items=None):
    """Train for so many items, or to the end, as the command does; then save."""
    for number, item in enumerate(trainer.run(), 1):
        if not isinstance(item, int):
            folder.append(item, seconds=0)
        if number == items:
            break
    folder.save(trainer, FACTS)


def run_of(path, make=averaging_trainer, items=None):
    """Make a folder and train for so many items, or to the end."""
    folder = RunFolder(path, CONFIG)
    sitting(folder, make(), items)
    return folder


def taken_up(folder, make=averaging_trainer):
    """Return a new trainer that a folder has brought to its state."""
    trainer = make()
    folder.restore(trainer)
    return trainer


def assert_same_files(folder, other):
    for name in ("checkpoint.safetensors", "metrics.jsonl"):
        assert (folder.path / name).read_bytes() == (other.path / name).read_bytes()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Do not wait for the disk."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # noqa: ARG005


@pytest.fixture
def saved(tmp_path):
    """Return a folder whose run was left in the middle of its second epoch."""
    return run_of(tmp_path / "saved", items=6)


# --- going on --------------------------------------------------------------------


def test_a_run_left_anywhere_ends_in_the_same_bytes(tmp_path):
    whole = run_of(tmp_path / "whole")
    for items in range(1, 13):
        left = run_of(tmp_path / str(items), items=items)
        left.close()
        again = RunFolder(left.path)
        assert again.facts() | FACTS == again.facts()
        sitting(again, taken_up(again))
        assert_same_files(again, whole)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_goes_on_in_the_middle_of_an_epoch(tmp_path, preset):
    def make():
        return preset_trainer(preset)

    left = run_of(tmp_path / "left", make, items=5)
    sitting(left, taken_up(left, make))
    assert_same_files(left, run_of(tmp_path / "whole", make))


# --- metrics.jsonl ---------------------------------------------------------------


def test_lines_past_the_checkpoint_are_replaced(saved):
    metrics = saved.path / "metrics.jsonl"
    before = metrics.read_bytes()
    for tail in (
        b'{"epoch": 2}\n{"epoch": 3}\n',
        b'{"epoch": 2, "learn',  # the process was killed within the line
        b"\0\0\0\0",  # the power went before the bytes were on the disk
        b"\xff\xfe",
    ):
        metrics.write_bytes(before + tail)
        taken_up(saved)
        saved.append({"epoch": 2}, 0.5)
        assert metrics.read_bytes() == before + b'{"epoch": 2, "seconds": 0.5}\n', tail


def test_each_epoch_is_a_line_of_its_figures(tmp_path):
    folder = RunFolder(tmp_path / "run", CONFIG)
    epochs = [item for item in new_trainer().run() if not isinstance(item, int)]
    for epoch in epochs:
        folder.append(epoch, seconds=1.23456)
    lines = (folder.path / "metrics.jsonl").read_text("utf-8").splitlines()
    expected = [epoch | {"seconds": 1.235} for epoch in epochs]
    assert [json.loads(line) for line in lines] == expected


# --- damage ----------------------------------------------------------------------


def test_a_folder_without_a_checkpoint_is_named_and_left_alone(saved):
    saved.close()
    (saved.path / "checkpoint.safetensors").unlink()
    (saved.path / "mine.1-2.tmp").write_text("mine")
    before = {path.name: path.read_bytes() for path in saved.path.iterdir()}
    folder = RunFolder(saved.path)
    with pytest.raises(RunError, match=r"no checkpoint.*start a new run") as error:
        folder.facts()
    assert str(saved.path) in str(error.value)
    folder.close()
    assert {path.name: path.read_bytes() for path in saved.path.iterdir()} == before


def test_a_damaged_checkpoint_is_seen_and_changes_nothing(saved):
    path, metrics = saved.path / "checkpoint.safetensors", saved.path / "metrics.jsonl"
    content, middle = path.read_bytes(), path.stat().st_size // 2
    lines = metrics.read_bytes() + b"{torn"
    metrics.write_bytes(lines)
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for damaged in (b"", content[:middle], flipped):
        path.write_bytes(damaged)
        trainer, fresh = averaging_trainer(), averaging_trainer()
        with pytest.raises(WeightsError, match=re.escape(str(path))):
            saved.restore(trainer)
        assert trainer.progress == fresh.progress
        assert same(trainer.model.state(), fresh.model.state())
        assert metrics.read_bytes() == lines


def test_the_checkpoint_of_another_network_is_refused(saved):
    for other in (new_trainer(), preset_trainer("default")):  # without an average
        with pytest.raises(WeightsError, match="of the same network, or train again"):
            saved.restore(other)


def test_the_progress_of_another_version_is_refused(saved):
    arrays, facts = read_arrays(saved.path / "checkpoint.safetensors")
    for other in ({}, [], facts["progress"] | {"more": 1}):
        changed = facts | {"progress": other}
        save_arrays(saved.path / "checkpoint.safetensors", arrays, changed)
        with pytest.raises(RunError, match=r"saved was begun by another version"):
            taken_up(saved)


def test_weights_that_are_not_finite_are_not_saved(saved):
    before = (saved.path / "checkpoint.safetensors").read_bytes()
    for value in (np.nan, np.inf):
        trainer = taken_up(saved)
        trainer.model.state()["0.weight"][0, 0] = value
        with pytest.raises(DivergedError, match=r"0\.weight is not finite"):
            saved.save(trainer, FACTS)
    assert (saved.path / "checkpoint.safetensors").read_bytes() == before


# --- folders ---------------------------------------------------------------------


def test_one_process_trains_in_a_folder(saved):
    with pytest.raises(RunError, match=r"another process trains in .*saved; wait"):
        RunFolder(saved.path)
    saved.close()
    RunFolder(saved.path).close()
    assert not (saved.path / "run.lock").exists()


def test_an_empty_folder_is_used_and_a_missing_one_made(tmp_path):
    for path in (tmp_path, tmp_path / "a" / "b"):
        RunFolder(path, CONFIG)
        assert (path / "config.json").is_file()


def test_a_folder_that_is_not_empty_is_never_written_to(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        RunFolder(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
