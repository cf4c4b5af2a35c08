"""The laws of the bug hunt: a layer with a fault is refused, a mended one is not."""

import importlib
import sys

import pytest

from tinycnn.exercises import hunt, main
from tinycnn.exercises.faults import FAULTS, parse
from tinycnn.exercises.judge import verdict

FAULT = {fault.says: fault for fault in parse(FAULTS.read_text("utf-8"))}


@pytest.mark.parametrize("level", hunt.HUNTS, ids=str)
def test_every_level_has_one_fault_and_is_found_when_it_is_mended(
    level, tmp_path, monkeypatch
):
    monkeypatch.setattr(hunt, "IMAGES", 64)
    fault, text = FAULT[level.title], level.starter()
    assert text.count(fault.new) == 1
    texts = [text, text.replace(fault.new, fault.old)]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for solved, content in enumerate(texts if level.number in (1, 8) else []):
        (tmp_path / level.file).write_text(content)
        importlib.invalidate_caches()
        assert verdict(level, tmp_path).solved == bool(solved)
        del sys.modules[level.name]


@pytest.mark.long
def test_tries_are_counted_and_a_crash_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["start", "."])
    assert main(["hunt"]) == 1
    out = capsys.readouterr().out
    assert "the mask is inverted" in out
    assert "tries: 0;" in out
    (tmp_path / "hunt1.py").write_text("raise ValueError('mine')")
    assert main(["hunt"]) == 1
    assert "hunt1.py, line 1: ValueError: mine\n  tries: 1" in capsys.readouterr().out
    (tmp_path / "hunt1.py").write_text("from tinycnn.nn import ReLU")
    assert main(["hunt"]) == 0
    out = capsys.readouterr().out
    assert "the fault was: ReLU: the gradient passes" in out
    assert "tries: 2\n" in out
