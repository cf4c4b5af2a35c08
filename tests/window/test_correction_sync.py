"""Corrections of this sitting and their folder stay in step."""

import numpy as np
import pytest

from tinycnn.reading.corrections import Corrections
from tinycnn.window.messages import Singled
from tinycnn.window.correction_sync import CorrectionSync
from tinycnn.window.session import Correction

A, B, C = (Correction((k, 0, k + 9, 9), k) for k in (1, 2, 3))
A4 = Correction(A.box, 4)


@pytest.fixture
def notebook(tmp_path):
    return CorrectionSync(Corrections(tmp_path))


def keep(notebook, correction):
    image = np.full((28, 28), correction.label / 10, np.float32)
    return notebook.keep(Singled(correction, image, None))


def labels(notebook):
    if len(notebook.corrections) == 0:
        return []
    images, found = notebook.corrections.read()
    assert [round(float(i.max()) / 25.5) for i in images] == found.tolist()
    return found.tolist()


def test_what_is_corrected_is_kept_with_its_ink(notebook):
    assert notebook.follow((), (A,)) == [A]
    assert keep(notebook, A)
    assert labels(notebook) == [1]


def test_what_is_taken_back_is_forgotten(notebook):
    notebook.follow((), (A,))
    keep(notebook, A)
    assert notebook.follow((A,), ()) == []
    assert labels(notebook) == []


def test_what_is_taken_back_before_its_ink_comes_is_never_kept(notebook):
    notebook.follow((), (A,))
    notebook.follow((A,), ())
    assert not keep(notebook, A)
    assert labels(notebook) == []


def test_a_second_thought_replaces_the_first_and_leaves_those_between(notebook):
    notebook.follow((), (A,))
    keep(notebook, A)
    notebook.follow((A,), (A, B))
    keep(notebook, B)
    assert notebook.follow((A, B), (B, A4)) == [A4]
    assert labels(notebook) == [2]
    keep(notebook, A4)
    assert labels(notebook) == [2, 4]
    assert notebook.follow((B, A4), (A, B)) == [A]
    keep(notebook, A)
    assert labels(notebook) == [2, 1]


def test_what_an_earlier_sitting_kept_is_left_alone(notebook, tmp_path):
    notebook.follow((), (C,))
    keep(notebook, C)
    later = CorrectionSync(Corrections(tmp_path))
    later.follow((), (A,))
    keep(later, A)
    later.follow((A,), ())
    later.follow((C,), ())
    assert labels(later) == [3]
