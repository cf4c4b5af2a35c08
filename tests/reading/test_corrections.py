"""Corrections: nothing is lost and nothing is mixed up, also in a crash."""

import json
from pathlib import Path

import numpy as np
import pytest

from tinycnn.data import DataError, read_pair, write_idx
from tinycnn.ink.strokes import Strokes, load_strokes
from tinycnn.reading import corrections as module
from tinycnn.reading.corrections import Corrections

LABELS = [7, 0, 3, 9]
NAMES = ["images-idx3-ubyte", "labels-idx1-ubyte", "strokes.jsonl"]


class PowerCut(BaseException):
    """Ends a process at once."""


def image_of(number):
    """Return an image that no other number has."""
    image = np.zeros((28, 28), np.float32)
    image[number, number : number + 5] = 1
    image[20] = number / 255
    return image


def strokes_of(number):
    points = np.array([[number, 1.5], [10, 20 + number]])
    return Strokes((points, points + 3), (5.0, 6.5), (100, 80))


def add(kept, *numbers):
    for number in numbers:
        kept.add(image_of(number), LABELS[number], strokes_of(number))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "user" / "corrections"


@pytest.fixture
def kept(folder):
    """Return three corrections."""
    kept = Corrections(folder)
    add(kept, 0, 1, 2)
    return kept


def numbers_in(kept):
    """Return which corrections there are, after checking that all files agree."""
    images, labels = kept.read()
    assert len(kept) == len(labels)
    numbers = images[:, 20, 0].tolist()
    lines = (kept.folder / "strokes.jsonl").read_text().splitlines()[: len(labels)]
    for number, image, label, line in zip(numbers, images, labels, lines, strict=True):
        np.testing.assert_array_equal(image, np.rint(255 * image_of(number)))
        assert label == LABELS[number]
        strokes = strokes_of(number)
        assert json.loads(line) == {
            "label": label,
            "strokes": [points.tolist() for points in strokes.points],
            "pen_width": [5.0, 6.5],
            "size": [100, 80],
        }
    return numbers


def test_added_corrections_are_an_idx_pair_and_stroke_files_oldest_first(
    kept, tmp_path
):
    assert numbers_in(kept) == [0, 1, 2]
    assert sorted(path.name for path in kept.folder.iterdir()) == NAMES
    images, labels = read_pair(*(kept.folder / name for name in NAMES[:2]))
    assert (images.shape, labels.tolist()) == ((3, 28, 28), LABELS[:3])
    line = (kept.folder / "strokes.jsonl").read_text().splitlines()[1]
    (tmp_path / "one.json").write_text(line)
    strokes = load_strokes(tmp_path / "one.json")
    assert (strokes.size, strokes.pen_widths) == ((100, 80), (5.0, 6.5))
    np.testing.assert_array_equal(strokes.points[0], strokes_of(1).points[0])


def test_missing_strokes_are_null_and_move_no_others(kept):
    (kept.folder / "strokes.jsonl").unlink()
    add(kept, 3)
    kept.add(image_of(0), LABELS[0], None)
    lines = (kept.folder / "strokes.jsonl").read_text().splitlines()
    assert [*lines[:3], lines[4]] == ["null"] * 4
    assert json.loads(lines[3])["label"] == LABELS[3]
    assert len(kept) == 5


def test_the_last_one_can_be_removed_until_none_is_left(kept):
    for left in ([0, 1], [0]):
        kept.remove_last()
        assert numbers_in(kept) == left
    kept.remove_last()
    kept.remove_last()
    assert len(kept) == 0
    assert list(kept.folder.iterdir()) == []
    add(kept, 2)
    assert numbers_in(kept) == [2]


def test_without_a_folder_there_are_none_and_looking_makes_none(folder):
    kept = Corrections(folder)
    assert len(kept) == 0
    kept.remove_last()
    with pytest.raises(DataError, match="holds no corrections"):
        kept.read()
    assert not folder.exists()


def cut_power_at(monkeypatch, number):
    """Cut the power before a write or a removal, counted from 0."""
    done = []

    def cutting(original):
        def act(*arguments, **options):
            if len(done) == number:
                raise PowerCut
            done.append(1)
            return original(*arguments, **options)

        return act

    monkeypatch.setattr(module, "write_idx", cutting(module.write_idx))
    monkeypatch.setattr(module, "write_atomically", cutting(module.write_atomically))
    monkeypatch.setattr(Path, "unlink", cutting(Path.unlink))


@pytest.mark.parametrize("moment", range(3))
@pytest.mark.parametrize("before", range(4))
def test_a_crash_loses_at_most_the_correction_being_added_or_removed(
    tmp_path, monkeypatch, before, moment
):
    for change in ("add", "remove") if before else ("add",):
        kept = Corrections(tmp_path / change)
        add(kept, *range(before))
        with monkeypatch.context() as patch:
            cut_power_at(patch, moment)
            with pytest.raises(PowerCut):
                add(kept, 3) if change == "add" else kept.remove_last()
        left = before - (change == "remove" and moment > 0)
        assert len(kept) == left, change
        add(kept, 2)
        assert numbers_in(kept) == [*range(left), 2], change


def test_files_that_do_not_belong_together_are_refused_and_not_overwritten(folder):
    folder.mkdir(parents=True)
    images_file, labels_file = (folder / name for name in NAMES[:2])
    kept = Corrections(folder)
    for images, labels in ((2, 3), (5, 3), (2, 0)):
        write_idx(images_file, np.zeros((images, 28, 28), np.uint8))
        labels_file.unlink(missing_ok=True)
        if labels:
            write_idx(labels_file, np.zeros(labels, np.uint8))
        before = images_file.read_bytes()
        for attempt in (
            kept.read,
            kept.remove_last,
            kept.__len__,
            lambda: add(kept, 0),
        ):
            with pytest.raises(DataError) as caught:
                attempt()
            expected = f"{folder}: has {labels} labels for {images} images"
            assert str(caught.value).startswith(expected)
        assert images_file.read_bytes() == before


def test_a_damaged_file_is_named_in_one_sentence(kept):
    twenty = kept.folder / "20x20"
    write_idx(twenty, np.zeros((3, 20, 20), np.uint8))
    damages = [(0, twenty.read_bytes()), (0, None)]
    contents = (b"", b"not IDX", b"\0\0\x08\x01\0\0\0\x09ab")
    damages += [(file, content) for file in (0, 1) for content in contents]
    for file, content in damages:
        path = kept.folder / NAMES[file]
        before = path.read_bytes()
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            kept.read()
        assert str(kept.folder) in str(caught.value), (file, content)
        assert "\n" not in str(caught.value)
        path.write_bytes(before)
