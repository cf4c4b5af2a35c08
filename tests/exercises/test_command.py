"""The laws of ``tinycnn exercises``: what it says, writes, keeps and returns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinycnn.exercises import main
from tinycnn.exercises.judge import judge
from tinycnn.exercises.path import BY_NAME, EXERCISES

RELU, DENSE = EXERCISES[:2]


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    """Work in a folder, with a space in its name, where the exercises are."""
    monkeypatch.chdir(tmp_path)
    assert main(["start", "my folder"]) == 0
    assert 'cd "my folder"' in capsys.readouterr().out
    monkeypatch.chdir("my folder")
    return Path.cwd()


@pytest.fixture
def said(capsys):
    """Run the command; return its exit code and what it prints."""

    def run(*argv):
        try:
            code = main(list(argv))
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        return code, out + err

    return run


def progress(folder):
    return json.loads((folder / "progress.json").read_text())


def test_the_whole_way_of_one_exercise(folder, said):
    assert {e.file for e in EXERCISES} == {path.name for path in folder.iterdir()}
    code, text = said()
    assert code == 1
    assert "1 ReLU: not yet\n  ex01_relu.py, line " in text
    assert "ReLU.forward is still to be written" in text
    for number in (1, 2, 3, 3):
        code, text = said("hint")
        assert code == 0
        assert text.count("\nHint ") == number
    code, text = said("solution", "1")
    assert (code, "not solved yet" in text) == (1, True)
    code, text = said("solution", "1", "--show")
    assert (code, text) == (0, RELU.solution())
    (folder / RELU.file).write_text(RELU.solution())
    code, text = said()
    assert (code, text) == (0, "1 ReLU: solved\nNext: 2 Dense, in ex02_dense.py\n")
    assert said("solution", "1") == (0, RELU.solution())
    code, text = said("list")
    assert code == 0
    first, second, *_ = text.splitlines()
    assert first.startswith("[x]  1 ReLU ")
    assert "3 of 3 hints" in first
    assert second.startswith("[ ]  2 Dense ")
    found = progress(folder)["relu"]
    assert (found["hints"], len(found["solved"])) == (3, 64)


def test_a_reset_or_skipped_file_is_kept(folder, said):
    mine = folder / RELU.file
    mine.write_text("mine = 1\n")
    code, text = said("reset", "1")
    kept = Path("kept", "ex01_relu-1.py")
    assert (code, str(kept) in text) == (0, True)
    assert (mine.read_text(), kept.read_text()) == (RELU.starter(), "mine = 1\n")
    said("reset", "1")
    mine.write_text("mine = 2\n")
    said("skip", "1")
    assert Path("kept", "ex01_relu-2.py").read_text() == "mine = 2\n"
    assert "from tinycnn.nn import ReLU" in mine.read_text()
    assert len(list(Path("kept").iterdir())) == 2
    assert said("check", "1")[0] == 0
    assert said("list")[1].splitlines()[0].endswith(", skipped")


def test_what_an_exercise_builds_on_is_solved_or_skipped_and_that_is_said(folder, said):
    code, text = said("check", "5")
    assert code == 1
    assert "builds on ex01_relu.py, which is open" in text
    assert "skip 1" in text
    (folder / RELU.file).write_text(RELU.solution())
    assert said("1")[0] == 0
    assert "builds on ex02_dense.py" in said("5")[1]
    (folder / RELU.file).write_text(RELU.solution() + "# changed since\n")
    assert "builds on ex01_relu.py" in said("5")[1]
    assert said()[1].startswith("1 ReLU: solved")
    for number in ("1", "2", "3", "4"):
        said("skip", number)
    (folder / BY_NAME["training"].file).write_text(BY_NAME["training"].solution())
    code, text = said()
    assert code == 0, text
    assert "not yours, because skipped: 1 ReLU, 2 Dense, 3 Softmax" in text


@pytest.mark.parametrize(
    "argv",
    [
        "reset", "solution", "reset 0", "hint 99", "skip", "hunt --level 9",
        "check one", "check ²", "list 1", "hunt 1", "start a b", "hint --watch",
        "check --show",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_wrong_usage_is_one_line(argv, said):
    code, text = said(*argv.split())
    assert code == 2
    assert text.count("\n") == 1
    assert text.startswith("tinycnn exercises: ")


def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    code, text = said()
    assert code == 1
    assert "tinycnn exercises start" in text
    Path("full").mkdir()
    Path("full", "mine.txt").write_text("mine")
    code, text = said("start", "full")
    assert (code, [p.name for p in Path("full").iterdir()]) == (1, ["mine.txt"])
    assert said("start", "full/mine.txt")[0] == 1
    assert said("start", "")[0] == 1
    assert said("start", "new")[0] == 0
    Path("new", RELU.file).write_text("mine")
    Path("new", DENSE.file).unlink()
    assert said("start", "new")[0] == 0  # lays out what is missing, and no more
    assert Path("new", RELU.file).read_text() == "mine"
    assert Path("new", DENSE.file).read_text() == DENSE.starter()


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '{"relu": 1}', '{"relu": {"hints": "two"}}', '"x"']
)
def test_a_damaged_state_is_one_sentence(content, folder, said):
    (folder / "progress.json").write_text(content)
    code, text = said()
    assert code == 1
    assert text.count("\n") == 1
    assert "is damaged" in text
    (folder / "progress.json").unlink()
    assert "not yet" in said()[1]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("while True:\n    pass\n", "is there a loop without an end"),
        ("import os\nos._exit(3)\n", "Python ended with code 3"),
        ("import os\nos.abort()\n", "Python ended with code -6"),
        ("class ReLU(:\n", "ex01_relu.py, line 1: invalid syntax"),
        ("x = 1\n  y = 2\n", "ex01_relu.py, line 2: unexpected indent"),
        ("a\0b", "source code"),
        ("def f():\n    return f()\nf()\n", "line 2: RecursionError"),
        ("import sys\nsys.exit(4)\n", "line 2: SystemExit: 4"),
        ("raise SystemExit\n", "line 1: SystemExit"),
        ("input()\n", "line 1: EOFError"),
        ("import tinyccn\n", "No module named 'tinyccn'"),
        ("", "the file does not define it"),
        ("ReLU = 1\n", "not callable"),
        ("class ReLU:\n    pass\n", "must be a subclass of Layer"),
    ],
)
def test_whatever_a_file_does_the_judge_says_it_in_a_sentence(code, message, folder):
    (folder / RELU.file).write_text(code)
    found = judge(RELU, folder, 2.0 if "while" in code else 20.0)
    assert not found.solved
    assert message in found.message
    assert found.message.startswith("ex01_relu.py, line ") or "while" not in code
    assert "\n" not in found.message
    assert (folder / RELU.file).read_text() == code


def test_a_flood_of_prints_is_cut_and_loses_nothing(folder, said):
    text = RELU.solution() + "\nfor i in range(200_000):\n    print('flood', i)\n"
    (folder / RELU.file).write_text(text)
    code, text = said()
    assert (code, len(text) < 5000, "... and more" in text) == (0, True, True)
    forever = "while True:\n    print('flood' * 1000)\n"
    (folder / RELU.file).write_text(forever)
    found = judge(RELU, folder, 2.0)
    assert "without an end" in found.message
    assert len(found.printed) < 2100


def test_watch_judges_at_every_save_and_ctrl_c_ends_it(folder):
    command = [sys.executable, "-u", "-m", "tinycnn.exercises", "--watch"]
    settings = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=settings, cwd=folder
    )
    try:
        for line in process.stdout:
            if line.startswith("Waiting"):
                break
        (folder / RELU.file).write_text(RELU.solution())
        lines = []
        for line in process.stdout:  # twice, if a half written file is judged
            lines.append(line)
            if line.startswith("2 Dense"):
                break
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert "1 ReLU: solved\n" in lines
    assert "2 Dense: not yet\n" in lines


def test_a_renamed_file_is_named_and_one_named_like_a_library_not_imported(
    folder, said
):
    (folder / "json.py").write_text("raise SystemExit('wrong json')\n")
    (folder / RELU.file).rename(folder / "relu.py")
    code, text = said()
    assert (code, "ex01_relu.py is not in this folder" in text) == (1, True)
    assert said("reset", "1")[0] == 0
    assert (folder / RELU.file).read_text() == RELU.starter()
    assert said("start")[1].count("\n") == 1  # and no folder in the folder
    (folder / RELU.file).write_text(RELU.solution())
    assert judge(RELU, folder).solved
