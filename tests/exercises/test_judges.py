"""The laws of the judges: wrong answers are told apart, right ones pass.

All in one process; ``answers.txt`` has the answers.
"""

import contextlib
import dataclasses
import importlib
import re
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from tinycnn import nn
from tinycnn.exercises.judge import verdict
from tinycnn.exercises.judges import learning
from tinycnn.exercises.path import BY_NAME, EXERCISES

NAMES = list(BY_NAME)
# Their judges train networks, or time kernels.
LONG = {"training", "cnn", "numba", "views", "window"}
SOLUTIONS = {exercise.name: exercise.solution() for exercise in EXERCISES}


def answers():
    """Yield exercise, part of the message, old and new text of each answer."""
    text = Path(__file__).with_name("answers.txt").read_text("utf-8")
    for block in re.findall(r"^\w+:.*\n(?:[-+].*\n)+", text, re.M):
        head, *lines = block.splitlines()
        name, _, message = head.partition(":")
        old, new = ("\n".join(n[2:] for n in lines if n[0] == sign) for sign in "-+")
        values = BY_NAME[name], message.strip(), old, new
        marks = pytest.mark.long if name in LONG else ()
        yield pytest.param(*values, id=f"{name}: {new}", marks=marks)


ANSWERS = list(answers())
WRONG = [answer for answer in ANSWERS if answer.values[1]]
RIGHT = [answer for answer in ANSWERS if not answer.values[1]]


@pytest.fixture(autouse=True)
def short_training(monkeypatch):
    """Let networks learn from fewer images; see ``whole_run.py``."""
    check, load = learning.check_training, learning.load_mnist

    def fewer(*arguments):
        digits = load(*arguments)
        fields = ("train_images", "train_labels", "test_images", "test_labels")
        first = {name: getattr(digits, name)[:320] for name in fields}
        return dataclasses.replace(digits, **first)

    def short(mine, least):
        assert least >= 0.92
        return check(mine, 0.5)

    monkeypatch.setattr(learning, "load_mnist", fewer)
    monkeypatch.setattr(learning, "check_training", short)


def verdict_of(exercise, text, folder):
    """Judge a text beside the solutions that it needs."""
    for name in exercise.needs:
        (folder / BY_NAME[name].file).write_text(SOLUTIONS[name])
    (folder / exercise.file).write_text(text)
    return verdict_in(folder, exercise)


def verdict_in(folder, exercise):
    """Judge a file in this process, which forgets those judged before."""
    for name in [n for n in sys.modules if n.startswith(("ex0", "ex1", "hunt"))]:
        del sys.modules[name]
    importlib.invalidate_caches()
    with (
        contextlib.redirect_stdout(None),
        patch.object(sys, "path", [str(folder), *sys.path]),
        patch.object(sys, "dont_write_bytecode", True),
    ):
        return verdict(exercise, folder)


def changed(exercise, old, new):
    task, end, code = SOLUTIONS[exercise.name].partition('"""\n\n')
    assert old in code, (exercise.name, old)
    return task + end + code.replace(old, new, 1)


@pytest.mark.parametrize("exercise", EXERCISES, ids=NAMES)
def test_a_starter_fails_and_names_its_first_gap(exercise, tmp_path):
    text = exercise.starter()
    said = verdict_of(exercise, text, tmp_path)
    (gap, *_) = re.findall(r'raise NotImplementedError\("(.+)"\)', text)
    line = text[: text.index("raise NotImplementedError")].count("\n") + 1
    wanted = f"{exercise.file}, line {line}: {gap} is still to be written"
    assert (said.solved, said.message) == (False, wanted)


@pytest.mark.parametrize("exercise", EXERCISES, ids=NAMES)
@pytest.mark.long
def test_the_solution_passes(exercise, tmp_path):
    said = verdict_of(exercise, exercise.solution(), tmp_path)
    assert said.solved, said.message


@pytest.mark.parametrize(("exercise", "message", "old", "new"), WRONG)
def test_a_wrong_answer_is_told_apart(exercise, message, old, new, tmp_path):
    said = verdict_of(exercise, changed(exercise, old, new), tmp_path)
    assert not said.solved
    assert message in said.message
    assert said.message.startswith(exercise.file)


@pytest.mark.parametrize(("exercise", "message", "old", "new"), RIGHT)
def test_a_right_answer_written_another_way_passes(
    exercise, message, old, new, tmp_path
):
    said = verdict_of(exercise, changed(exercise, old, new), tmp_path)
    assert said.solved, said.message + message


def test_every_exercise_has_its_answers_and_three_hints():
    for name, exercise in BY_NAME.items():
        wrong, right = (
            {(old, new) for e, _, old, new in (a.values for a in some) if e is exercise}
            for some in (WRONG, RIGHT)
        )
        assert len(wrong) >= 8, name
        assert len(right) >= 3, name
        hints = exercise.hints()
        assert len(hints) == 3, name
        assert all(len(hint) > 60 for hint in hints), name
    assert len(WRONG) >= 120


def broken(*_, **__):
    raise AssertionError("the library's was called")


@pytest.mark.long
def test_only_the_learners_layers_are_judged(tmp_path, monkeypatch):
    """The library's, replaced by broken ones, change nothing; nor are they learned."""
    for layer in (nn.ReLU, nn.Dense, nn.Conv2D, nn.MaxPool2D, nn.BatchNorm2D):
        monkeypatch.setattr(layer, "forward", broken)
        monkeypatch.setattr(layer, "backward", broken)
    monkeypatch.setattr(nn.SGD, "step", broken)
    monkeypatch.setattr(nn.Adam, "step", broken)
    monkeypatch.setattr(nn.losses, "softmax_cross_entropy", broken)
    monkeypatch.setattr(nn, "softmax_cross_entropy", broken)
    for exercise in EXERCISES[:-1]:  # the last has the shipped reader, too
        said = verdict_of(exercise, exercise.solution(), tmp_path)
        assert said.solved, said.message


def test_a_broken_earlier_file_is_what_a_later_one_uses(tmp_path):
    exercise = BY_NAME["training"]
    verdict_of(exercise, exercise.solution(), tmp_path)
    dense = tmp_path / BY_NAME["dense"].file
    dense.write_text(dense.read_text().replace("self._x.T @", "self._x @"))
    said = verdict_in(tmp_path, exercise)
    assert not said.solved
    assert said.message.endswith(" (raised in ex02_dense.py, line 57)")
    assert "is a transpose missing" in said.message
