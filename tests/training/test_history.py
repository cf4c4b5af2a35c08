"""The laws of what a run keeps to be looked at: snapshots, sums, a curve."""

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
from safetensors.numpy import load_file
from small_run import COUNT, RECIPE, new_trainer

from tinycnn.training import checkpoint
from tinycnn.training.checkpoint import History, blocks, read_lines, write_curve

SVG = "{http://www.w3.org/2000/svg}"
AVERAGING = replace(RECIPE, epochs=2, average_decay=0.9)


def test_snapshots_are_the_averaged_weights_and_the_first_epoch_is_kept_as_sums(
    tmp_path,
):
    trainer = new_trainer(AVERAGING)
    notes = History(trainer, tmp_path, snapshots=True)
    notes.keep()
    for item in trainer.run():
        if isinstance(item, int):
            notes.keep()
            notes.keep()  # as a run that is resumed here
    files = sorted((tmp_path / "snapshots").iterdir())
    assert [int(file.stem) for file in files] == [0, 8, 16, 20, 28, 36, 40]
    last = load_file(files[-1])
    assert last.keys() == trainer.averaged.state().keys()
    for name, array in trainer.averaged.state().items():
        assert np.array_equal(last[name], array.astype(np.float16)), name
    lines = read_lines(tmp_path / "first_epoch.jsonl")
    assert [line["images"] for line in lines] == [8, 8, 16, 16, COUNT, COUNT]
    assert lines[::2] == lines[1::2]
    assert lines[0]["loss_sum"] < lines[2]["loss_sum"] < lines[4]["loss_sum"]
    assert lines[0]["norms"].keys() == {"0.weight", "6.weight"}


def test_snapshots_are_many_early_and_few_and_small_together(tmp_path, monkeypatch):
    trainer = new_trainer(replace(RECIPE, epochs=1000))
    steps = sorted(History(trainer, tmp_path, snapshots=True)._steps)
    assert (steps[0], steps[-1]) == (0, 3000)
    assert 16 < len(steps) <= checkpoint.SNAPSHOTS <= 40
    assert sum(step < 1500 for step in steps) > 2 * len(steps) / 3
    monkeypatch.setattr(checkpoint, "BYTES", 35_000)
    assert History(trainer, tmp_path, snapshots=True)._steps == {0, 375, 3000}


def test_the_curve_is_drawn_from_what_is_undamaged(tmp_path):
    text = "{\n[]\n" + '{"epoch": 9}\n'
    for accuracies in ([0.5], [0.5, 0.75], [0.5, 0.75, 0.9]):
        line = {"train_accuracy": 0.5, "val_accuracy": accuracies[-1]}
        text += json.dumps(line) + "\n"
        (tmp_path / "metrics.jsonl").write_text(text)
        assert write_curve(tmp_path) == accuracies
        _, *lines = ET.parse(tmp_path / "curve.svg").getroot().iter(f"{SVG}polyline")
        points = " ".join(f"{x},{-y}" for x, y in enumerate(accuracies))
        assert lines[0].get("points").startswith(points)
    assert blocks(accuracies, "utf-8") == "▁▅█"
    assert blocks([0, 1], "ascii") == blocks([0, 1], None) == "_^"
    assert blocks([0.5], "latin-1") == "_"
