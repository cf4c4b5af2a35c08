"""The laws of ``python -m tinycnn.train_judge``: what it writes, and what it refuses.

The runs are small, on some digits of the bundled sample: how well the judge judges is
not measured here.
"""

import json
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from tinycnn import train_judge
from tinycnn.data import load_mnist, write_idx
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.glyphs.signs import signs
from tinycnn.nn.weights import read_facts
from tinycnn.reading import practice
from tinycnn.reading.practice import NONE
from tinycnn.reading.reader import Reader, fit_threshold
from tinycnn.train_judge import main
from tinycnn.training import fit


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


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
def small(digits):
    """Return a function that runs the command on few digits, for one epoch."""

    def small(*more):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train_judge, "WRITTEN", 200)
            patch.setattr(train_judge, "SIGNS", 200)
            patch.setattr(practice, "JUDGE", replace(practice.JUDGE, epochs=1))
            return main(["--data", str(digits), "--numbers", "100", *more])

    return small


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """Return the results that a run prints for a program."""
    out = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    with redirect_stdout(StringIO()) as printed:
        assert small("--seed", "7", "--out", str(out), "--json") == 0
    return json.loads(printed.getvalue()) | {"judge": out}


def test_a_reader_uses_what_was_written_and_its_facts_name_no_place(trained, digits):
    reader = Reader(judge=trained["judge"])
    assert reader.joint_temperature == trained["temperature"]
    assert reader.threshold == trained["threshold"]
    assert reader.probabilities(np.zeros((2, 28, 28), np.float32)).shape == (2, 10)
    facts = read_facts(trained["judge"])
    assert (facts["network"], facts["data"]) == ("judge", "a folder")
    assert (facts["seed"], facts["numbers"]) == (7, 100)
    assert facts["data_checksum"] == load_mnist(digits).checksum
    assert "seconds" not in facts
    content = trained["judge"].read_bytes()
    for place in (digits, trained["judge"].parent):
        assert str(place).encode() not in content


def test_the_seed_decides_the_bytes_of_the_file(small, trained, capsys):
    path = Path("judge.safetensors")
    path.write_text("an older one")
    for seed, same in (("8", False), ("7", True)):
        assert small("--seed", seed) == 0
        assert (path.read_bytes() == trained["judge"].read_bytes()) == same
    assert list(Path().iterdir()) == [path]
    out = capsys.readouterr().out
    assert f"{trained['digits_kept']:.2%} of digits kept" in out
    assert out.endswith("judge: judge.safetensors\n")


@pytest.mark.parametrize(
    ("error", "ended"),
    [(KeyboardInterrupt(), KeyboardInterrupt()), (fit.DivergedError(), SystemExit(3))],
)
def test_a_run_that_fails_leaves_what_was_there(small, monkeypatch, error, ended):
    monkeypatch.setattr(fit.Trainer, "run", Mock(side_effect=error))
    monkeypatch.setattr(train_judge, "_examples", lambda x, y, *_: (x[:9], y[:9]))
    path = Path("judge.safetensors")
    path.write_text("an older one")
    with pytest.raises(type(ended)) as found:
        small()
    assert found.value.args == ended.args
    assert path.read_text() == "an older one"
    assert list(Path().iterdir()) == [path]


def test_letters_and_signs_are_no_digits_and_others_validate(small, monkeypatch):
    trainer = Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr(fit, "Trainer", trainer)
    with pytest.raises(KeyboardInterrupt):
        small("--seed", "7")
    arrays = trainer.call_args.args[-4:]
    written = {"trained": signs(7, 0, 200), "validated": signs(7, 1, 10)}
    for name, images, labels in zip(written, arrays[::2], arrays[1::2], strict=True):
        assert images.shape == (len(labels), 28, 28)
        assert set(labels.tolist()) == set(range(11))
        label_of = dict(zip([i.tobytes() for i in images], labels, strict=True))
        for other in written:
            of_signs = {label_of.get(image.tobytes()) for image in written[other]}
            assert of_signs == ({NONE} if other == name else {None})


def test_a_place_that_cannot_be_used_is_refused_before_the_work(capsys, monkeypatch):
    monkeypatch.setattr(train_judge, "_examples", lambda *_: pytest.fail("it began"))
    Path("link").symlink_to("missing/judge.safetensors")
    Path("empty").mkdir()
    for flag, place, code in (
        ("--out", "empty", 2),  # a folder
        ("--out", "link", 1),
        ("--out", "x" * 250, 1),  # no room for the name of a temporary file
        ("--data", "empty", 1),
        ("--data", "missing", 2),
    ):
        with pytest.raises(SystemExit) as ended:
            main([flag, place])
        out, err = capsys.readouterr()
        assert (ended.value.code, out, err.count("\n")) == (code, "", 1)
        assert place[:200] in err
    assert sorted(path.name for path in Path().iterdir()) == ["empty", "link"]


def test_a_threshold_refuses_one_digit_of_two_hundred():
    assert fit_threshold(np.linspace(0, 1, 1001)) == 0.005
    assert fit_threshold(np.zeros(9)) == 1e-5
    assert fit_threshold(np.ones(9)) < 1
