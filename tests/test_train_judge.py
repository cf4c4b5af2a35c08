"""The laws of ``python -m tinycnn.train_judge``: what it writes, and what it refuses.

The runs are as small as they can be, on some digits of the bundled sample: whether the
judge learns to judge is not measured here.
"""

import json
import os
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from tinycnn import models, train_judge
from tinycnn.data import load_mnist, write_idx
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.glyphs.signs import signs
from tinycnn.nn.weights import read_metadata
from tinycnn.reading.practice import NONE
from tinycnn.reading.reader import Reader
from tinycnn.reading.result import Reading
from tinycnn.training import fit, recipes
from tinycnn.training.fit import Trainer


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Work in an empty folder and without network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYCNN_OFFLINE", "1")
    monkeypatch.delenv("TINYCNN_DATA", raising=False)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Return a folder of 600 digits."""
    folder = tmp_path_factory.mktemp("digits")
    sample = load_mnist(SAMPLE_FOLDER)
    for part in ("train", "t10k"):
        write_idx(folder / f"{part}-images-idx3-ubyte", sample.train_images[:600])
        write_idx(folder / f"{part}-labels-idx1-ubyte", sample.train_labels[:600])
    return folder


@pytest.fixture(scope="module")
def teach(digits):
    """Return a function that runs the command on few digits, for one epoch."""

    def teach(*more):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train_judge, "WRITTEN", 200)
            patch.setattr(train_judge, "SIGNS", 200)
            patch.setattr(recipes, "JUDGE", replace(recipes.JUDGE, epochs=1))
            return exit_code(["--data", str(digits), "--numbers", "100", *more])

    return teach


@pytest.fixture(scope="module")
def taught(teach, tmp_path_factory):
    """Return what such a run says to a program: the judge it wrote and its figures."""
    out = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    with redirect_stdout(StringIO()) as said:
        assert teach("--seed", "7", "--out", str(out), "--json") == 0
    result = json.loads(said.getvalue())
    assert Path(result["judge"]) == out
    return result


@pytest.fixture
def nothing_is_learned(monkeypatch):
    """Fail when examples are made or training begins."""

    def begin(*_):
        pytest.fail("the work has begun")

    monkeypatch.setattr(train_judge, "_teach", begin)


def exit_code(argv):
    """Return how the command ends, whether it returns or exits."""
    try:
        return train_judge.main(argv)
    except SystemExit as error:
        return error.code


def one_sentence(capsys):
    """Return the only line of stderr, where stdout has nothing."""
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


# --- what it writes ----------------------------------------------------------------


def test_a_reader_can_use_what_was_written(taught, monkeypatch):
    monkeypatch.setattr(models, "JUDGE", Path(taught["judge"]))
    reader = Reader()
    assert reader.joint_temperature == taught["temperature"]
    assert reader.threshold == taught["threshold"]
    assert 0 < reader.threshold < 1
    assert reader.probabilities(np.zeros((2, 28, 28), np.float32)).shape == (2, 10)
    assert isinstance(reader.read_picture(np.eye(40)), Reading)


def test_the_metadata_say_what_it_learned_from_and_nothing_of_this_machine(
    taught, digits
):
    metadata = read_metadata(taught["judge"])
    assert metadata["architecture"] == "judge"
    assert (metadata["seed"], metadata["numbers"]) == ("7", "100")
    assert metadata["data"] == "a folder"
    assert metadata["data_checksum"] == load_mnist(digits).checksum
    assert "seconds" not in metadata
    content = Path(taught["judge"]).read_bytes()
    for place in (digits, Path(taught["judge"]).parent):
        assert str(place).encode() not in content


def test_the_same_seed_writes_the_same_bytes_over_what_was_there(teach, taught, capsys):
    Path("judge.safetensors").write_text("an older one")
    assert teach("--seed", "7") == 0
    assert Path("judge.safetensors").read_bytes() == Path(taught["judge"]).read_bytes()
    assert os.listdir() == ["judge.safetensors"]  # noqa: PTH208
    out, err = capsys.readouterr()
    assert f"{taught['digits_kept']:.2%} of digits kept" in out
    assert "judge: judge.safetensors" in out
    assert "error" not in err


def test_another_seed_is_another_judge(teach, taught):
    assert teach("--seed", "8") == 0
    assert Path("judge.safetensors").read_bytes() != Path(taught["judge"]).read_bytes()


def test_what_was_there_survives_a_run_that_is_stopped(teach, monkeypatch):
    Path("judge.safetensors").write_text("an older one")

    def run(self):  # noqa: ARG001
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "run", run)
    with pytest.raises(KeyboardInterrupt):
        teach()
    assert Path("judge.safetensors").read_text() == "an older one"
    assert os.listdir() == ["judge.safetensors"]  # noqa: PTH208


# --- the examples ------------------------------------------------------------------


def test_examples_have_all_eleven_labels_and_are_a_function_of_the_seed(digits):
    data = load_mnist(digits)

    def examples(seed):
        return train_judge._examples(data.train_images, data.train_labels, 100, seed)

    images, labels = examples([0, 0])
    assert images.dtype == np.uint8
    assert images.shape == (len(labels), 28, 28)
    assert set(labels.tolist()) == set(range(11))
    for one, other in zip((images, labels), examples([0, 0]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(images[:50], examples([0, 1])[0][:50])


def test_letters_and_signs_are_no_digits_and_others_validate(teach, monkeypatch):
    shown = {}

    def trainer(_recipe, _seed, *arrays):
        shown["learnt"], shown["validated"] = arrays[:2], arrays[2:]
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "Trainer", trainer)
    with pytest.raises(KeyboardInterrupt):
        teach("--seed", "7")
    written = {"learnt": signs(7, 0, 200), "validated": signs(7, 1, 10)}
    for name, (images, labels) in shown.items():
        assert len(images) == len(labels)
        label_of = dict(zip([i.tobytes() for i in images], labels, strict=True))
        for other in written:
            of_signs = {label_of.get(image.tobytes()) for image in written[other]}
            assert of_signs == ({NONE} if other == name else {None})


# --- what it refuses ---------------------------------------------------------------


@pytest.mark.usefixtures("nothing_is_learned")
def test_a_folder_is_no_place_for_a_file(tmp_path, capsys):
    assert exit_code(["--out", str(tmp_path)]) == 2
    line = one_sentence(capsys)
    assert "--out" in line
    assert str(tmp_path) in line


@pytest.mark.usefixtures("nothing_is_learned")
def test_a_link_that_leads_nowhere_is_no_place_either(capsys):
    Path("link").symlink_to("missing/judge.safetensors")
    assert exit_code(["--out", "link"]) == 2
    assert "'link'" in one_sentence(capsys)


@pytest.mark.usefixtures("nothing_is_learned")
def test_a_file_that_cannot_be_written_is_refused_before_the_work(capsys, monkeypatch):
    """A folder that is closed to writing would stop every user but root."""
    original = Path.open

    def refuse(self, mode="r", *rest):
        if mode != "r":
            raise PermissionError(13, "Permission denied", str(self))
        return original(self, mode, *rest)

    monkeypatch.setattr(Path, "open", refuse)
    assert exit_code(["--out", "mine.safetensors"]) == 1
    line = one_sentence(capsys)
    assert line.startswith("error: ")
    assert "Permission denied" in line
    assert "'mine.safetensors'" in line


@pytest.mark.usefixtures("nothing_is_learned")
def test_a_name_that_leaves_no_room_for_a_temporary_is_refused_before_the_work(capsys):
    assert exit_code(["--out", "x" * 250]) == 1
    assert "xxx" in one_sentence(capsys)


def test_looking_whether_a_file_can_be_written_changes_nothing():
    path = Path("judge.safetensors")
    train_judge._check_writable(path)
    assert os.listdir() == []  # noqa: PTH208
    path.write_text("an older one")
    train_judge._check_writable(path)
    assert path.read_text() == "an older one"
    assert os.listdir() == ["judge.safetensors"]  # noqa: PTH208


def test_a_folder_without_digits_is_named(tmp_path, capsys):
    (tmp_path / "nothing").mkdir()
    assert exit_code(["--data", str(tmp_path / "nothing")]) == 1
    assert "nothing" in one_sentence(capsys)
    assert not Path("judge.safetensors").exists()


def test_divergence_exits_with_three_and_writes_nothing(teach, capsys, monkeypatch):
    monkeypatch.setattr(fit, "train_step", lambda *_: (np.nan, np.zeros((1, 11))))
    assert teach() == 3
    assert "diverged" in one_sentence(capsys)
    assert not Path("judge.safetensors").exists()
