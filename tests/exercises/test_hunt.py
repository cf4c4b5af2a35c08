"""The laws of the bug hunt: a layer with a fault is refused, a mended one is not."""

import pytest

from tinycnn.exercises import hunt, main
from tinycnn.exercises.judge import learners_modules

LEVELS = hunt.levels()


@pytest.mark.parametrize("level", [1, 8])
def test_every_level_has_one_fault_and_is_found_when_it_is_mended(
    level, tmp_path, monkeypatch
):
    monkeypatch.setattr(hunt, "STEPS", 10)
    fault, text = LEVELS[level - 1], hunt.planted(level)
    path = tmp_path / f"hunt{level}.py"
    path.write_text(text)
    with learners_modules(tmp_path):
        assert hunt.judge_hunt(level, path)
        assert text.count(fault.new) == 1
        path.write_text(text.replace(fault.new, fault.old))
        assert hunt.judge_hunt(level, path) == ""


def test_every_level_is_python_with_its_fault():
    for level, fault in enumerate(LEVELS, 1):
        text = hunt.planted(level)
        assert text.count(fault.new) == 1
        compile(text, "hunt", "exec")


def test_tries_are_counted_and_a_crash_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hunt, "STEPS", 10)
    monkeypatch.chdir(tmp_path)
    main(["start", "."])
    assert main(["hunt"]) == 1
    assert "(tries: 0)" in capsys.readouterr().out
    assert main(["hunt"]) == 1
    (tmp_path / "hunt1.py").write_text("raise ValueError('mine')")
    assert main(["hunt"]) == 1
    out = capsys.readouterr().out
    assert "(tries: 2)" in out
    assert "ValueError: mine" in out
    (tmp_path / "hunt1.py").write_text("from tinycnn.nn import ReLU")
    assert main(["hunt"]) == 0
    assert "Found at try 3: ReLU: the gradient passes" in capsys.readouterr().out
