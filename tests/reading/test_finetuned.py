"""Kept versions: created completely or not at all, and undone one by one."""

import pytest

from tinycnn.reading import finetuned


@pytest.fixture(autouse=True)
def versions(tmp_path, monkeypatch):
    """Keep versions here; return their folder."""
    monkeypatch.setattr(finetuned, "user_data_path", lambda name: tmp_path / name)
    return tmp_path / "tinycnn" / "learnt"


def writing(text):
    """Return a function that writes one file into a folder."""
    return lambda folder: (folder / "weights").write_text(text)


def in_use():
    """Return the content of the version in use."""
    version = finetuned.latest()
    return version and (version / "weights").read_text()


def test_the_last_version_is_in_use_and_is_undone_step_by_step(versions):
    assert in_use() is None
    assert not finetuned.undo()
    assert not versions.exists()
    for text in "abc":
        assert finetuned.keep(writing(text)) == finetuned.latest()
        assert in_use() == text
    assert finetuned.undo()
    assert in_use() == "b"
    finetuned.keep(writing("d"))
    assert in_use() == "d"
    for before in ("b", None):
        assert finetuned.undo()
        assert in_use() == before
    assert not finetuned.undo()


def test_the_tenth_version_comes_after_the_ninth(versions):
    for text in "abcdefghijk":
        finetuned.keep(writing(text))
    assert in_use() == "k"
    assert len(list(versions.iterdir())) == finetuned.KEPT


def test_a_write_that_fails_changes_nothing(versions):
    finetuned.keep(writing("a"))

    def half(folder):
        writing("half")(folder)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        finetuned.keep(half)
    assert in_use() == "a"
    assert len(list(versions.iterdir())) == 1


def test_other_files_in_the_folder_are_left_alone(versions):
    others = ("12ab.tmp", "notes", "-1", "٣")
    finetuned.keep(writing("a"))
    for name in others:
        (versions / name).mkdir()
    assert in_use() == "a"
    assert finetuned.undo()
    assert finetuned.latest() is None
    assert {path.name for path in versions.iterdir()} == set(others)
