"""The laws of `tinycnn.finetune`: corrections are learned, the rest is kept.

All is held on a small part of the bundled sample, which is enough for a few corrections
of code's own hand. How well other digits of a hand are read afterwards is for a
measurement with real writers.
"""

import hashlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tinycnn import finetune as module
from tinycnn import models
from tinycnn.data import DataError, load_mnist, mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.finetune import Learnt, learn, present_digits
from tinycnn.ink.normalize import normalize_strokes
from tinycnn.nn.weights import read_metadata
from tinycnn.reading.reader import Reader
from tinycnn.training.recipes import PRESETS

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


def hand(*strokes, count=4):
    """Return images of a digit that one hand writes again and again."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        points = [np.array(s) + rng.normal(0, 2, (len(s), 2)) for s in strokes]
        images.append(np.rint(255 * normalize_strokes(points)).astype(np.uint8))
    return np.stack(images)


# A one with an upstroke like that of a seven, and a zero of which half is missing.
FLAGGED = hand([(0, 24), (53, 0), (20, 100)])
OPEN = hand(
    [(72, 38), (60, 8), (40, 0), (10, 20), (0, 50), (10, 85), (45, 100), (70, 90)]
)


def finish(*arguments):
    """Learn to the end; return the shares of the work and what was learned."""
    *shares, learnt = learn(*arguments)
    assert isinstance(learnt, Learnt)
    return shares, learnt


def same(network, path):
    """Return whether a network has the weights of a file."""
    other, _ = models.load(path)
    pairs = zip(network.state().values(), other.state().values(), strict=True)
    return all(np.array_equal(one, another) for one, another in pairs)


def work(patch, sample, numbers):
    """Set how much there is to do."""
    patch.setattr(module, "load_mnist", lambda *_, **__: sample)
    patch.setattr(module, "NUMBERS", numbers)


@pytest.fixture(scope="module")
def of_ones():
    """Return what was learned of flagged ones."""
    with pytest.MonkeyPatch.context() as patch:
        work(patch, SOME, 10)
        return finish(FLAGGED, np.full(4, 1, np.uint8), SOME)


@pytest.fixture(scope="module")
def of_zeros():
    """Return what was learned of zeros that were refused."""
    with pytest.MonkeyPatch.context() as patch:
        work(patch, SOME, 10)
        return finish(OPEN, np.full(4, 0, np.uint8), SOME)


def reader_of(folder):
    """Return a reader of both files in a folder, and its threshold."""
    reader = Reader(folder / "weights.safetensors")
    reader.judge, metadata = models.load(folder / "judge.safetensors")
    reader.joint_temperature = float(metadata["temperature"])
    reader.threshold = float(metadata["threshold"])
    return reader


# --- what is learned ---------------------------------------------------------------


def test_corrections_that_were_misread_are_read(of_ones):
    figures = of_ones[1].figures
    assert figures["corrections"] == 4
    assert figures["right_before"] < 2
    assert figures["right_after"] == 4


def test_the_judge_is_left_alone_where_the_other_network_is_enough(of_ones):
    assert same(of_ones[1].judge, models.JUDGE)
    assert not same(of_ones[1].model, models.SHIPPED)


def test_corrections_that_were_refused_are_read_by_teaching_the_judge(of_zeros):
    figures = of_zeros[1].figures
    assert figures["right_before"] == 0
    assert figures["right_after"] == 4
    assert not same(of_zeros[1].judge, models.JUDGE)


@pytest.mark.parametrize("which", ["of_ones", "of_zeros"])
def test_other_hands_are_still_read(which, request):
    figures = request.getfixturevalue(which)[1].figures
    assert figures["test_images"] == len(SOME.test_labels)
    assert figures["data"] == "sample"
    assert figures["test_errors_after"] <= figures["test_errors_before"] + 2


@pytest.mark.parametrize("which", ["of_ones", "of_zeros"])
def test_the_shares_rise_to_the_end(which, request):
    shares, _ = request.getfixturevalue(which)
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 0.2
    assert 0.8 < shares[-1] <= 1
    assert len(shares) > 12


def test_the_figures_are_those_of_the_files(of_zeros, tmp_path):
    of_zeros[1].save(tmp_path)
    reader = reader_of(tmp_path)
    figures = of_zeros[1].figures
    names, is_digit = reader.opinions(OPEN / np.float32(255))
    confidence = names.max(axis=1) * is_digit
    right = (names.argmax(axis=1) == 0) & (confidence >= reader.threshold)
    assert right.sum() == figures["right_after"]
    named = reader.probabilities(SOME.test_images / np.float32(255)).argmax(axis=1)
    assert (named != SOME.test_labels).sum() == figures["test_errors_after"]


def test_before_is_what_ships(of_ones):
    reader = Reader(models.SHIPPED)
    named = reader.probabilities(SOME.test_images / np.float32(255)).argmax(axis=1)
    errors = (named != SOME.test_labels).sum()
    assert of_ones[1].figures["test_errors_before"] == errors


# --- the files ---------------------------------------------------------------------


def test_the_metadata_hold_what_a_reader_needs_and_no_place(of_zeros, tmp_path):
    of_zeros[1].save(tmp_path)
    facts = read_metadata(tmp_path / "weights.safetensors")
    assert facts["architecture"] == "best"
    assert facts["began_with"] == read_metadata(models.SHIPPED)["checksum"]
    assert 0.1 < float(facts["temperature"]) < 2
    facts = read_metadata(tmp_path / "judge.safetensors")
    assert facts["architecture"] == "judge"
    assert facts["began_with"] == read_metadata(models.JUDGE)["checksum"]
    assert facts["corrections"] == "4"
    assert 0.5 < float(facts["temperature"]) < 5
    assert 0 < float(facts["threshold"]) < 1
    assert "seconds" not in facts
    for file in tmp_path.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()


def test_the_same_corrections_are_the_same_bytes_and_what_ships_stays(
    tmp_path, monkeypatch
):
    work(monkeypatch, FEW, 3)

    def digests(paths):
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

    def saved(name, seed):
        (tmp_path / name).mkdir()
        finish(OPEN, np.full(4, 0, np.uint8), FEW, seed)[1].save(tmp_path / name)
        names = ("weights.safetensors", "judge.safetensors")
        return digests(tmp_path / name / file for file in names)

    before = digests([models.SHIPPED, models.JUDGE])
    first = saved("first", 5)
    assert saved("again", 5) == first
    assert all(a != b for a, b in zip(saved("other", 6), first, strict=True))
    assert digests([models.SHIPPED, models.JUDGE]) == before


# --- how much of the change, and what is fitted ------------------------------------


def network(value):
    """Return what has one array."""
    state = {"weight": np.full(3, value, np.float32)}
    return SimpleNamespace(state=lambda: state)


@pytest.mark.parametrize(
    ("right", "errors", "part"),
    [
        ([4, 4, 4, 4], [1, 1, 1, 1], 0.25),
        ([1, 3, 4, 4], [1, 1, 1, 1], 0.75),
        ([1, 2, 3, 4], [0, 1, 2, 9], 1.0),
        ([4, 4, 4, 4], [3, 2, 2, 5], 0.5),
        ([0, 0, 0, 0], [1, 1, 1, 1], 0.25),
    ],
)
def test_the_least_part_that_is_enough_is_gone(right, errors, part):
    pupil = module._Pupil.__new__(module._Pupil)
    pupil.images, pupil.labels = np.zeros((1, 28, 28)), np.zeros(1)
    pupil.right, pupil.errors = (
        lambda *_, left=list(figures): left.pop(0) for figures in (right, errors)
    )
    old, new = network(2.0), network(6.0)
    pupil.go_towards(new, old, None, None)
    np.testing.assert_array_equal(old.state()["weight"], 2 + 4 * part)
    np.testing.assert_array_equal(new.state()["weight"], 6)


@pytest.fixture(scope="module")
def pupil():
    return module._Pupil(FEW.test_images, FEW.test_labels)


def test_networks_that_have_not_moved_keep_temperatures_and_threshold(pupil):
    shipped = Reader(models.SHIPPED)
    pupil.refit()
    for name in ("temperature", "joint_temperature", "threshold"):
        assert getattr(pupil.reader, name) == pytest.approx(getattr(shipped, name))


def test_a_network_twice_as_sure_gets_twice_the_temperature(monkeypatch):
    pupil = module._Pupil(FEW.test_images, FEW.test_labels)
    shipped = Reader(models.SHIPPED)
    last = pupil.reader.model.layers[-1]
    for parameter in last.parameters():
        parameter.value *= 2
    monkeypatch.setattr(module, "fit_temperature", lambda logits, _: logits.std())
    pupil.refit()
    assert pupil.reader.temperature == pytest.approx(2 * shipped.temperature, rel=1e-3)
    # Divided by it the logits are as before, and so is all that follows.
    expected = pytest.approx(shipped.joint_temperature, rel=1e-3)
    assert pupil.reader.joint_temperature == expected
    assert pupil.reader.threshold == pytest.approx(shipped.threshold, rel=1e-2)


@pytest.mark.parametrize("count", [1, 4, 50, 200])
def test_an_eighth_of_what_is_seen_is_corrections_or_more_if_there_are_more(count):
    numbers = np.arange(count, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None], (count, 28, 28))
    replay = np.full((700, 28, 28), 255, np.uint8)
    trainer = module._trainer(
        models.SHIPPED,
        PRESETS["default"],
        0,
        images,
        numbers % 10,
        replay,
        np.full(700, 9, np.uint8),
    )
    assert same(trainer.model, models.SHIPPED)
    shown = trainer.train_images[700:, 0, 0]
    assert len(shown) == max(100, count)
    np.testing.assert_array_equal(trainer.train_labels[700:], shown % 10)
    often = np.bincount(shown)
    assert often.max() - often.min() <= 1
    np.testing.assert_array_equal(trainer.train_images[:700], replay)


# --- the test images ---------------------------------------------------------------


def test_where_there_is_no_mnist_the_sample_stands_in(monkeypatch, tmp_path):
    monkeypatch.delenv("TINYCNN_DATA", raising=False)
    monkeypatch.delenv("TINYCNN_OFFLINE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(mnist, "_download", lambda *_: pytest.fail("a download"))
    assert present_digits().source == "sample"
    assert present_digits(SAMPLE_FOLDER).checksum == SAMPLE.checksum


def test_a_folder_without_digits_is_refused(tmp_path):
    with pytest.raises(DataError):
        present_digits(tmp_path)


def test_nothing_cannot_be_learned():
    with pytest.raises(ValueError, match="no corrections"):
        next(learn(OPEN[:0], np.zeros(0, np.uint8), SAMPLE))
