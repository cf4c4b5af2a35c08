"""Learning as the window sees it: a process that reports, fails with a sentence, ends.

What is learned is held by the tests of `tinycnn.teaching`.
"""

import time

import pytest

from tinycnn.window.finetuning import FineTuning, Outcome
from tinycnn.window.messages import Failed

FIGURES = {
    "corrections": 3,
    "right_before": 0,
    "right_after": 2,
    "test_images": 10_000,
    "test_errors_before": 49,
    "test_errors_after": 51,
    "data": "mnist",
}


def test_an_outcome_says_before_and_after():
    sentence = Outcome(FIGURES).sentence
    assert "2 of 3 corrections are right now, 0 before" in sentence
    assert "MNIST's 10,000 test images: 51, 49 before" in sentence


def test_a_lesson_without_corrections_says_so(tmp_path):
    lesson = FineTuning(tmp_path, None)
    end = time.monotonic() + 60
    said = []
    while not said and time.monotonic() < end:
        said = lesson.poll()
        time.sleep(0.01)
    lesson.close()
    (failed,) = said
    assert isinstance(failed, Failed)
    assert "no corrections" in failed.message


@pytest.mark.parametrize("wait", [0.0, 0.7])
def test_a_lesson_can_be_stopped_at_once(tmp_path, wait):
    lesson = FineTuning(tmp_path, None)
    time.sleep(wait)
    begin = time.monotonic()
    lesson.close()
    assert time.monotonic() - begin < 0.5
    assert not lesson._process.is_alive()


def test_a_lesson_that_dies_says_so(tmp_path):
    lesson = FineTuning(tmp_path, None)
    lesson._process.kill()
    lesson._process.join()
    (failed,) = lesson.poll()
    assert "nothing was changed" in failed.message
    lesson.close()
