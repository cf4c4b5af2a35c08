"""The corrections of a session and their folder stay in step."""

import numpy as np
import pytest

from tinycnn.reading.corrections import Corrections
from tinycnn.window.correction_sync import CorrectionSync
from tinycnn.window.messages import Singled
from tinycnn.window.session import Correction

A, B, C = (Correction((k, 0, k + 9, 9), k) for k in (1, 2, 3))
A4 = Correction(A.box, 4)


@pytest.fixture
def sync(tmp_path):
    return CorrectionSync(Corrections(tmp_path))


def keep(sync, correction):
    image = np.full((28, 28), correction.label / 10, np.float32)
    return sync.keep(Singled(correction, image, None))


def labels(sync):
    if len(sync.corrections) == 0:
        return []
    images, found = sync.corrections.read()
    assert [round(float(i.max()) / 25.5) for i in images] == found.tolist()
    return found.tolist()


def test_a_correction_is_saved_with_its_ink_and_removed_if_undone(sync):
    assert sync.follow((), (A,)) == [A]
    assert keep(sync, A)
    assert labels(sync) == [1]
    assert sync.follow((A,), ()) == []
    assert labels(sync) == []
    sync.follow((), (B,))
    sync.follow((B,), ())  # before its ink arrives
    assert not keep(sync, B)
    assert labels(sync) == []


def test_a_second_correction_replaces_the_first_and_leaves_those_between(sync):
    sync.follow((), (A,))
    keep(sync, A)
    sync.follow((A,), (A, B))
    keep(sync, B)
    assert sync.follow((A, B), (B, A4)) == [A4]
    assert labels(sync) == [2]
    keep(sync, A4)
    assert labels(sync) == [2, 4]
    assert sync.follow((B, A4), (A, B)) == [A]
    keep(sync, A)
    assert labels(sync) == [2, 1]


def test_corrections_of_earlier_sessions_are_left_alone(sync, tmp_path):
    sync.follow((), (C,))
    keep(sync, C)
    later = CorrectionSync(Corrections(tmp_path))
    later.follow((), (A,))
    keep(later, A)
    later.follow((A,), ())
    later.follow((C,), ())
    assert labels(later) == [3]
