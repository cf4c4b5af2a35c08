"""The laws of `finetuned`: a version is there whole or not at all, and can go."""

import subprocess
import sys

import pytest

from tinycnn.reading import finetuned as learnt


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Keep versions here; return their folder."""
    monkeypatch.setattr(learnt, "user_data_path", lambda name: tmp_path / name)
    return tmp_path / "tinycnn" / "learnt"


def writing(text):
    """Return a function that writes one file into a folder."""
    return lambda folder: (folder / "weights").write_text(text)


def in_use():
    """Return what the version in use says."""
    version = learnt.latest()
    return version and (version / "weights").read_text()


def test_where_nothing_was_learned_there_is_nothing_to_undo(place):
    assert learnt.latest() is None
    assert not learnt.undo()
    assert not place.exists()


def test_the_version_that_was_kept_last_is_in_use():
    for text in "abc":
        version = learnt.keep(writing(text))
        assert version == learnt.latest()
        assert in_use() == text


def test_learning_is_undone_step_by_step():
    for text in "abc":
        learnt.keep(writing(text))
    assert learnt.undo()
    assert in_use() == "b"
    learnt.keep(writing("d"))
    assert in_use() == "d"
    assert learnt.undo()
    assert in_use() == "b"
    assert learnt.undo()
    assert in_use() is None
    assert not learnt.undo()


def test_the_tenth_version_comes_after_the_ninth(place):
    for text in "abcdefghijk":
        learnt.keep(writing(text))
    assert in_use() == "k"
    assert len(list(place.iterdir())) == learnt.KEPT


def test_a_write_that_fails_changes_nothing(place):
    learnt.keep(writing("a"))

    def half(folder):
        writing("half")(folder)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        learnt.keep(half)
    assert in_use() == "a"
    assert len(list(place.iterdir())) == 1


@pytest.mark.parametrize("name", ["12ab.tmp", "notes", "-1", "٣"])
def test_what_is_no_version_is_left_alone(place, name):
    learnt.keep(writing("a"))
    (place / name).mkdir()
    assert in_use() == "a"
    assert learnt.undo()
    assert learnt.latest() is None
    assert (place / name).is_dir()


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(place):
    place.parent.mkdir()
    place.write_text("a file")
    with pytest.raises(OSError, match="learnt"):
        learnt.keep(writing("a"))


def test_looking_loads_nothing_heavy():
    code = (
        "import sys, tinycnn.reading.finetuned\n"
        "assert not {'numpy', 'numba', 'scipy', 'tkinter'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stderr == ""
