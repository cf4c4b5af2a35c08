"""Corrections: nothing is lost and nothing is mixed up, also in a crash."""

import os
from unittest.mock import Mock

import numpy as np
import pytest

from tinycnn.data import DataError
from tinycnn.ink import strokes
from tinycnn.ink.strokes import Strokes, load_strokes
from tinycnn.reading.corrections import NO_DIGIT, Corrections

STROKES = Strokes((np.array([[1.0, 1.5], [10, 20]]),), (5.0,), (100, 80))

ODD = b'{"image": [[1]], "label": 3}'
DAMAGED = b"", b"{", b"[]", b"{}", ODD, b'{"label": 12}', None  # the last is a pipe


def image_of(label):
    """Return an image that no other label has."""
    image = np.zeros((28, 28), np.float32)
    image[label, label : label + 5] = 1
    image[20] = label / 255
    return image


@pytest.fixture
def kept(tmp_path):
    return Corrections(tmp_path / "user" / "corrections")


def labels_in(kept):
    """Return the labels, after checking that each has its own image."""
    images, labels = kept.read()
    assert len(kept) == len(labels)
    for image, label in zip(images, labels.tolist(), strict=True):
        np.testing.assert_array_equal(image, np.rint(255 * image_of(label)))
    return labels.tolist()


def test_corrections_are_stroke_files_oldest_first_each_removed_alone(kept):
    paths = [kept.add(image_of(n), n, STROKES if n else None) for n in (7, 0, 3)]
    assert labels_in(kept) == [7, 0, 3]
    strokes = load_strokes(paths[0])
    assert (strokes.size, strokes.pen_widths) == ((100, 80), (5.0,))
    np.testing.assert_array_equal(strokes.points[0], STROKES.points[0])
    assert load_strokes(paths[1]).points == ()
    paths[1].unlink()
    assert labels_in(kept) == [7, 3]


def test_without_a_folder_there_are_none_and_no_digit_counts(kept):
    assert len(kept) == 0
    with pytest.raises(DataError, match="holds no corrections"):
        kept.read()
    assert not kept.folder.exists()
    kept.add(image_of(NO_DIGIT), NO_DIGIT, None)
    kept.add(image_of(4), 4, None)
    assert labels_in(kept) == [NO_DIGIT, 4]


def test_a_crash_while_adding_changes_nothing(kept, monkeypatch):
    kept.add(image_of(1), 1, None)

    with monkeypatch.context() as patch:
        patch.setattr(strokes, "write_atomically", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            kept.add(image_of(2), 2, None)
    assert labels_in(kept) == [1]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", ODD, b'{"label": 12}', None]
)
def test_a_damaged_file_is_named_in_one_sentence_and_a_pipe_does_not_hang(
    kept, content
):
    path = kept.add(image_of(1), 1, None)
    path.unlink()
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        kept.read()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
