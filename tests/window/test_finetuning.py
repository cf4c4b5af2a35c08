"""Fine-tuning as the window sees it: a process that reports, fails or is stopped.

What it learns is tested in `tests/test_finetune.py`.
"""

import time

import pytest

from tinycnn.window.finetuning import FineTuning, Outcome
from tinycnn.window.messages import Failed


def test_an_outcome_says_before_and_after():
    figures = {"corrections": 3, "right_before": 0, "right_after": 2}
    figures |= {"test_errors_before": 49, "test_errors_after": 51}
    sentence = Outcome(figures | {"test_images": 10_000, "data": "mnist"}).sentence
    assert "2 of 3 corrections are right now, 0 before" in sentence
    assert "MNIST's 10,000 test images: 51, 49 before" in sentence


def test_without_corrections_it_fails_with_a_sentence(tmp_path):
    finetuning = FineTuning(tmp_path, None)
    end = time.monotonic() + 60
    replies = []
    while not replies and time.monotonic() < end:
        replies = finetuning.poll()
        time.sleep(0.01)
    finetuning.close()
    (failed,) = replies
    assert isinstance(failed, Failed)
    assert "no corrections" in failed.message


@pytest.mark.parametrize("wait", [0.0, 0.7])
def test_it_can_be_stopped_at_once(tmp_path, wait):
    finetuning = FineTuning(tmp_path, None)
    time.sleep(wait)
    begin = time.monotonic()
    finetuning.close()
    assert time.monotonic() - begin < 0.5
    assert not finetuning._process.is_alive()


def test_a_process_that_dies_is_reported(tmp_path):
    finetuning = FineTuning(tmp_path, None)
    finetuning._process.kill()
    finetuning._process.join()
    (failed,) = finetuning.poll()
    assert "nothing has changed" in failed.message
    finetuning.close()
