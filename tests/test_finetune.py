"""Fine-tuning learns corrections, keeps the rest, and changes nothing if it fails.

A small part of the bundled sample is enough for a few corrections drawn by code. How
well other digits of a writer are read afterwards is measured with real writers.
"""

import errno
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import platformdirs
import pytest

from tinycnn import finetune as module
from tinycnn import models
from tinycnn.data import load_mnist, mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.finetune import finetune, learned, main, undo
from tinycnn.ink.normalize import normalize_strokes
from tinycnn.nn.weights import read_facts
from tinycnn.reading.corrections import Corrections
from tinycnn.reading.reader import Reader
from tinycnn.training.fit import DivergedError

SAMPLE = load_mnist(SAMPLE_FOLDER)


def part(step):
    """Return a part of the sample."""
    chosen = slice(None, None, step)
    return replace(
        SAMPLE,
        train_images=SAMPLE.train_images[chosen],
        train_labels=SAMPLE.train_labels[chosen],
        test_images=SAMPLE.test_images[chosen],
        test_labels=SAMPLE.test_labels[chosen],
    )


SOME, FEW = part(4), part(50)


def drawn(*strokes, count=4):
    """Return images of one digit, drawn again and again by the same writer."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        points = [np.array(s) + rng.normal(0, 2, (len(s), 2)) for s in strokes]
        images.append(np.rint(255 * normalize_strokes(points)).astype(np.uint8))
    return np.stack(images)


# A one with an upstroke like that of a seven, and a zero of which half is missing.
FLAGGED = drawn([(0, 12), (62, 0), (20, 100)])
OPEN = drawn(
    [(72, 38), (60, 8), (40, 0), (10, 20), (0, 50), (10, 85), (45, 100), (70, 90)]
)
LETTER = drawn([(0, 100), (40, 0), (80, 100)])  # a lambda


def run(path, sample, composed, images, label, seed=0):
    """Fine-tune with a given amount of work; return the shares and the figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinycnn.data.load_mnist", lambda *_, **__: sample)
        patch.setattr(module, "COMPOSED", composed)
        labels = np.full(len(images), label, np.uint8)
        *shares, figures = finetune(images, labels, path, seed)
    return shares, figures


@pytest.mark.parametrize(
    ("images", "label", "most_before"),
    [(FLAGGED, 1, 1), (OPEN, 0, 0), (OPEN, 10, 4), (LETTER, 10, 0)],
    ids=["misread", "refused", "rejected", "accepted"],
)
def test_corrections_are_learned_and_other_handwriting_is_still_read(
    tmp_path, images, label, most_before
):
    path = tmp_path / "weights.safetensors"
    shares, figures = run(path, SOME, 10, images, label)
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 0.2
    assert 0.8 < shares[-1] <= 1
    assert len(shares) > 12

    assert figures["right_before"] <= most_before
    assert figures["corrections"] == figures["right_after"] == 4
    assert figures["test_errors_after"] <= figures["test_errors_before"] + 2
    for when, reader in (("before", Reader()), ("after", Reader(path))):
        shares = reader.probabilities(images / np.float32(255))
        refused = shares.max(axis=1) < reader.threshold
        right = refused if label == 10 else ~refused & (shares.argmax(axis=1) == label)
        assert right.sum() == figures[f"right_{when}"], when
        named = reader.probabilities(SOME.test_images / np.float32(255)).argmax(axis=1)
        errors = (named != SOME.test_labels).sum()
        assert errors == figures[f"test_errors_{when}"], when

    facts, before = read_facts(path), read_facts(models.SHIPPED)
    assert facts["network"] == before["network"]
    assert facts["began_with"] == before["checksum"]
    assert facts["corrections"] == 4
    assert 0.1 < facts["temperature"] < 5
    assert "seconds" not in facts
    assert str(tmp_path).encode() not in path.read_bytes()


def test_the_same_corrections_give_the_same_bytes_and_the_shipped_file_stays(tmp_path):
    def saved(name, seed):
        run(tmp_path / name, FEW, 3, OPEN, 0, seed)
        return (tmp_path / name).read_bytes()

    before, first = models.SHIPPED.read_bytes(), saved("first", 5)
    assert saved("again", 5) == first != saved("other", 6)
    assert models.SHIPPED.read_bytes() == before


def network(value):
    """Return what has one array."""
    state = {"weight": np.full(3, value, np.float32)}
    return SimpleNamespace(state=lambda: state)


@pytest.mark.parametrize(
    ("right", "errors", "step"),
    [
        ([4, 4, 4, 4], [1, 1, 1, 1], 0.25),
        ([1, 3, 4, 4], [1, 1, 1, 1], 0.75),
        ([1, 2, 3, 4], [0, 1, 2, 9], 1.0),
        ([4, 4, 4, 4], [3, 2, 2, 5], 0.5),
        ([0, 0, 0, 0], [1, 1, 1, 1], 0.25),
    ],
)
def test_the_smallest_sufficient_step_is_taken(monkeypatch, right, errors, step):
    right, errors = iter(right), iter(errors)
    monkeypatch.setattr(module, "_right", lambda *_: next(right))
    trainer = SimpleNamespace(model=network(6.0), val_images=None, val_labels=None)
    trainer.evaluate = lambda *_: SimpleNamespace(errors=next(errors))
    trainer.temperature = iter([2.0, 3.0]).__next__
    old = network(2.0).state()
    assert module._interpolate(trainer, old, None, None, 1.0) == 1.5
    np.testing.assert_array_equal(trainer.model.state()["weight"], 2 + 4 * step)


def test_nothing_is_downloaded_and_nothing_cannot_be_learned(monkeypatch, tmp_path):
    for name in ("TINYCNN_DATA", "TINYCNN_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(mnist, "_download", lambda *_: pytest.fail("a download"))
    assert next(finetune(OPEN, np.zeros(4, np.uint8), tmp_path / "never")) == 0
    with pytest.raises(ValueError, match="no corrections"):
        next(finetune(OPEN[:0], np.zeros(0, np.uint8), tmp_path / "never"))


# --- the weights in use ------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Keep what is learned here; return its folder."""
    monkeypatch.setattr(platformdirs, "user_data_path", lambda name: tmp_path / name)
    return tmp_path / "tinycnn" / "learnt"


def test_fine_tuning_is_undone_to_the_weights_before_then_to_those_that_ship(home):
    assert not undo()
    assert not home.exists()
    contents = []
    for label in (0, 10):
        run(learned(), FEW, 0, OPEN, label)
        contents.append(learned().read_bytes())
    assert contents[0] != contents[1]
    assert undo()
    assert learned().read_bytes() == contents[0]
    assert undo()
    assert not learned().exists()
    assert not undo()
    for label in (0, 10):
        run(learned(), FEW, 0, OPEN, label)
    learned().unlink()  # by hand; what was before it is forgotten
    run(learned(), FEW, 0, OPEN, 0)
    assert undo()
    assert not learned().exists()


# --- the command -------------------------------------------------------------------


@pytest.fixture
def folder(home):
    """Return a folder of three corrections; keep what is learned beside it."""
    folder = home.parents[1] / "corrections"
    folder.mkdir()
    for image, label in zip(SAMPLE.train_images[:3], SAMPLE.train_labels, strict=False):
        Corrections(folder).add(image / np.float32(255), label, None)
    return folder


def exit_code(*argv):
    try:
        return main([str(argument) for argument in argv])
    except SystemExit as error:
        return error.code


def test_the_command_prints_one_line_of_json(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tinycnn.data.load_mnist", lambda *_, **__: FEW)
    out = tmp_path / "out"
    assert exit_code(folder, "--out", out, "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    figures = json.loads(line)
    assert figures.pop("seconds") > 0
    assert figures == {
        "seed": 0,
        "corrections": 3,
        "right_before": 3,
        "right_after": 3,
        "test_images": 20,
        "test_errors_before": 0,
        "test_errors_after": 0,
        "data": "sample",
        "weights": str(out / "weights.safetensors"),
    }
    assert models.load(figures["weights"])[1]["corrections"] == 3
    assert not learned().exists()


FIGURES = {"corrections": 3, "right_before": 1, "right_after": 2}
FIGURES |= {"test_images": 10_000, "data": "mnist"}
FIGURES |= {"test_errors_before": 44, "test_errors_after": 45}


def instead(monkeypatch, *events):
    """Let `finetune` yield these or, of exceptions, raise them."""

    def replacement(*arguments):
        for event in events:
            if isinstance(event, BaseException):
                raise event
            yield event
        arguments[2].parent.mkdir(parents=True)
        arguments[2].write_text("new")
        yield FIGURES

    monkeypatch.setattr(module, "finetune", replacement)


def test_without_a_folder_for_the_result_the_window_reads_with_it(
    folder, monkeypatch, capsys
):
    instead(monkeypatch, 0.5)
    assert exit_code(folder) == 0
    out, _ = capsys.readouterr()
    assert learned().read_text() == "new"
    assert str(learned()) in out
    assert "of 3 corrections, 2 are right now (1 before)" in out
    assert "errors in the 10,000 test images of MNIST: 45 (44 before)" in out


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (DivergedError("the loss is nan"), 3),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
    ],
)
def test_what_fails_leaves_the_weights_of_before(
    folder, home, monkeypatch, capsys, event, code
):
    home.mkdir(parents=True)
    learned().write_text("old")
    instead(monkeypatch, 0.5, event)
    assert exit_code(folder) == code
    assert str(event) in sentence(capsys)
    assert learned().read_text() == "old"


def sentence(capsys):
    """Return the only line of stderr; nothing is on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


def test_a_folder_without_corrections_is_refused_in_one_sentence(
    folder, home, monkeypatch, capsys
):
    instead(monkeypatch, AssertionError("it began"))
    first, *others = sorted(folder.iterdir())
    for trouble in (b"no digits", None):
        if trouble is None:
            for path in (first, *others):
                path.unlink()
        else:
            first.write_bytes(trouble)
        assert exit_code(folder) == 1
        assert sentence(capsys).startswith(f"error: {folder}")
    assert not home.exists()
    assert exit_code(folder / "missing") == 2
