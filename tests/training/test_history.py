"""The laws of what a run keeps to be looked at: snapshots, sums, a curve."""

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from safetensors.numpy import load_file
from small_run import COUNT, RECIPE, new_trainer

from tinycnn.training import history
from tinycnn.training.curve import blocks, read_lines, write_curve
from tinycnn.training.history import History

AVERAGING = replace(RECIPE, epochs=2, average_decay=0.9)


def kept(folder, snapshots=True):
    """Train with a history in a folder; return the trainer."""
    trainer = new_trainer(AVERAGING)
    notes = History(trainer, folder, snapshots)
    notes.keep()
    for item in trainer.run():
        if isinstance(item, int):
            notes.keep()
            notes.keep()  # as a run that is resumed here
    return trainer


def test_snapshots_are_the_averaged_weights(tmp_path):
    trainer = kept(tmp_path)
    files = sorted((tmp_path / "snapshots").iterdir())
    assert [int(file.stem) for file in files] == [0, 8, 16, 20, 28, 36, 40]
    last = load_file(files[-1])
    assert last.keys() == trainer.averaged.state().keys()
    for name, array in trainer.averaged.state().items():
        assert np.array_equal(last[name], array.astype(np.float16)), name


def test_snapshots_are_many_early_and_few_and_small_together(tmp_path, monkeypatch):
    trainer = new_trainer(replace(RECIPE, epochs=1000))
    steps = sorted(History(trainer, tmp_path, snapshots=True)._steps)
    assert (steps[0], steps[-1]) == (0, 3000)
    assert 16 < len(steps) <= history.SNAPSHOTS <= 40
    assert sum(step < 1500 for step in steps) > 2 * len(steps) / 3
    monkeypatch.setattr(history, "BYTES", 35_000)
    assert History(trainer, tmp_path, snapshots=True)._steps == {0, 375, 3000}


def test_the_first_epoch_is_kept_as_sums(tmp_path):
    kept(tmp_path, snapshots=False)
    lines = read_lines(tmp_path / "first_epoch.jsonl")
    assert [line["images"] for line in lines] == [8, 8, 16, 16, COUNT, COUNT]
    assert lines[::2] == lines[1::2]
    assert lines[0]["loss_sum"] < lines[2]["loss_sum"] < lines[4]["loss_sum"]
    assert lines[0]["norms"].keys() == {"0.weight", "6.weight"}
    assert not (tmp_path / "snapshots").exists()


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_curve_is_drawn_from_what_is_undamaged(epochs, tmp_path):
    accuracies = [0.5, 0.75, 0.9][:epochs]
    lines = [json.dumps({"train_accuracy": a, "val_accuracy": a}) for a in accuracies]
    text = "\n".join(["{", *lines, "[]", '{"epoch": 9}'])
    (tmp_path / "metrics.jsonl").write_text(text)
    assert write_curve(tmp_path) == accuracies
    svg = ET.parse(tmp_path / "curve.svg").getroot()
    *_, line = svg.iter("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
    assert len(points) == epochs + 1
    heights = [y for _, y in points]
    assert heights == sorted(heights, reverse=True)


def test_blocks_rise_with_the_values_in_what_the_terminal_can_show():
    assert blocks([0, 0.5, 1], "utf-8") == "▁▅█"
    assert blocks([0, 1], "ascii") == blocks([0, 1], None) == "_^"
    assert blocks([0.5], "latin-1") == "_"
