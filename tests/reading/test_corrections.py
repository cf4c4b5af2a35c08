"""The laws of `tinycnn.reading.corrections`: nothing is lost, nothing is mixed up.

A power cut is made to happen at every write and every removal of a file.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinycnn.data import DataError, read_pair, write_idx
from tinycnn.ink.strokes import Strokes, load_strokes
from tinycnn.reading import corrections as module
from tinycnn.reading.corrections import Corrections

LABELS = [7, 0, 3, 9]


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


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "user" / "corrections"


@pytest.fixture
def kept(folder):
    """Return three corrections."""
    kept = Corrections(folder)
    for number in range(3):
        kept.add(image_of(number), LABELS[number], strokes_of(number))
    return kept


def numbers_in(kept):
    """Return which corrections there are, after checking that all files agree."""
    images, labels = kept.read()
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


# --- what is kept ------------------------------------------------------------------


def test_what_was_added_is_there_oldest_first(kept):
    assert numbers_in(kept) == [0, 1, 2]
    assert len(kept) == 3


def test_it_is_there_for_another_process(kept):
    assert numbers_in(Corrections(kept.folder)) == [0, 1, 2]


def test_the_folder_is_an_idx_pair_that_anybody_can_read(kept):
    files = (kept.folder / name for name in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    images, labels = read_pair(*files)
    for one, other in zip((images, labels), kept.read(), strict=True):
        np.testing.assert_array_equal(one, other)
    names = sorted(path.name for path in kept.folder.iterdir())
    assert names == ["images-idx3-ubyte", "labels-idx1-ubyte", "strokes.jsonl"]


def test_each_line_of_the_strokes_is_a_stroke_file(kept, tmp_path):
    line = (kept.folder / "strokes.jsonl").read_text().splitlines()[1]
    (tmp_path / "one.json").write_text(line)
    strokes = load_strokes(tmp_path / "one.json")
    assert (strokes.size, strokes.pen_widths) == ((100, 80), (5.0, 6.5))
    np.testing.assert_array_equal(strokes.points[0], strokes_of(1).points[0])


def test_a_digit_of_a_picture_has_no_strokes(kept):
    kept.add(image_of(3), LABELS[3], None)
    lines = (kept.folder / "strokes.jsonl").read_text().splitlines()
    assert lines[3] == "null"
    assert len(kept) == 4


def test_the_last_one_can_be_removed_until_none_is_left(kept):
    for left in ([0, 1], [0]):
        kept.remove_last()
        assert numbers_in(kept) == left
    kept.remove_last()
    kept.remove_last()
    assert len(kept) == 0
    assert list(kept.folder.iterdir()) == []
    kept.add(image_of(2), LABELS[2], strokes_of(2))
    assert numbers_in(kept) == [2]


def test_without_a_folder_there_are_none_and_looking_makes_none(folder):
    kept = Corrections(folder)
    assert len(kept) == 0
    kept.remove_last()
    with pytest.raises(DataError, match="holds no corrections"):
        kept.read()
    assert not folder.exists()


# --- crashes -----------------------------------------------------------------------


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
def test_a_crash_while_adding_loses_at_most_the_new_one(
    folder, monkeypatch, before, moment
):
    kept = Corrections(folder)
    for number in range(before):
        kept.add(image_of(number), LABELS[number], strokes_of(number))
    with monkeypatch.context() as patch:
        cut_power_at(patch, moment)
        with pytest.raises(PowerCut):
            kept.add(image_of(3), LABELS[3], strokes_of(3))
    assert len(kept) == before
    kept.add(image_of(2), LABELS[2], strokes_of(2))
    assert numbers_in(kept) == [*range(before), 2]


@pytest.mark.parametrize("moment", range(3))
@pytest.mark.parametrize("before", [1, 2, 3])
def test_a_crash_while_removing_removes_one_or_none(
    folder, monkeypatch, before, moment
):
    kept = Corrections(folder)
    for number in range(before):
        kept.add(image_of(number), LABELS[number], strokes_of(number))
    with monkeypatch.context() as patch:
        cut_power_at(patch, moment)
        with pytest.raises(PowerCut):
            kept.remove_last()
    left = before - (moment > 0)
    assert len(kept) == left
    kept.add(image_of(3), LABELS[3], strokes_of(3))
    assert numbers_in(kept) == [*range(left), 3]


def test_strokes_that_were_lost_move_no_others(kept):
    (kept.folder / "strokes.jsonl").unlink()
    kept.add(image_of(3), LABELS[3], strokes_of(3))
    lines = (kept.folder / "strokes.jsonl").read_text().splitlines()
    assert lines[:3] == ["null"] * 3
    assert json.loads(lines[3])["label"] == LABELS[3]


# --- damage ------------------------------------------------------------------------


def damaged_pair(folder, images, labels):
    folder.mkdir(parents=True)
    write_idx(folder / "images-idx3-ubyte", np.zeros((images, 28, 28), np.uint8))
    if labels:
        write_idx(folder / "labels-idx1-ubyte", np.zeros(labels, np.uint8))


@pytest.mark.parametrize(("images", "labels"), [(2, 3), (5, 3), (2, 0)])
def test_numbers_that_differ_are_refused_and_nothing_is_overwritten(
    folder, images, labels
):
    damaged_pair(folder, images, labels)
    before = (folder / "images-idx3-ubyte").read_bytes()
    kept = Corrections(folder)
    attempts = [kept.read, kept.remove_last, lambda: len(kept)]
    attempts.append(lambda: kept.add(image_of(0), 0, None))
    for attempt in attempts:
        with pytest.raises(DataError) as caught:
            attempt()
        message = str(caught.value)
        assert message.startswith(f"{folder}: has {labels} labels for {images} images")
        assert "\n" not in message
    assert (folder / "images-idx3-ubyte").read_bytes() == before


@pytest.mark.parametrize("name", ["images-idx3-ubyte", "labels-idx1-ubyte"])
@pytest.mark.parametrize("content", [b"", b"not IDX", b"\0\0\x08\x01\0\0\0\x09ab"])
def test_a_damaged_file_is_named_in_one_sentence(kept, name, content):
    (kept.folder / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        kept.read()
    assert str(kept.folder / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_without_images_are_named(kept):
    (kept.folder / "images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match="images-idx3-ubyte"):
        kept.read()


def test_images_of_another_size_are_refused(folder):
    folder.mkdir(parents=True)
    write_idx(folder / "images-idx3-ubyte", np.zeros((2, 20, 20), np.uint8))
    write_idx(folder / "labels-idx1-ubyte", np.zeros(2, np.uint8))
    with pytest.raises(DataError, match=r"\(2, 20, 20\)"):
        Corrections(folder).read()


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Corrections(tmp_path / "file" / "below").add(image_of(0), 0, None)


def test_keeping_corrections_loads_no_compiled_code_and_no_science():
    code = (
        "import sys, tinycnn.reading.corrections\n"
        "assert not {'numba', 'scipy', 'tkinter', 'tinycnn.nn'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stderr == ""
