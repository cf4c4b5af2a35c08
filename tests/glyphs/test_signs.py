"""The laws of `tinycnn.glyphs.signs`: variants, words and images."""

import re

import numpy as np
import pytest
from scipy import ndimage

from tinycnn.glyphs import signs as module
from tinycnn.glyphs import writer
from tinycnn.glyphs.signs import LETTERS, SIGNS, WAYS, WORDS, signs, write
from tinycnn.glyphs.writer import follow
from tinycnn.ink.normalize import normalize_strokes


@pytest.fixture(scope="module")
def many():
    return signs(0, 1, 300)


class Calm:
    """A generator that leaves nothing to chance."""

    def normal(self, _mean, _deviation, size=None):
        return 0.0 if size is None else np.zeros(size)

    def uniform(self, low, _high):
        return low


def drawn_calmly(way):
    """Return the image of a way, as a vector of length 1."""
    ink = normalize_strokes(follow(way, Calm())).ravel()
    return ink / np.linalg.norm(ink)


def test_every_way_is_strokes_through_points_of_the_grid_and_there_once():
    ways = [way for ways in LETTERS.values() for way in ways]
    for way in ways:
        assert re.fullmatch(r"\d\d( \d\d)+( \| \d\d( \d\d)+)*", way), way
        for line, text in zip(follow(way, Calm()), way.split(" | "), strict=True):
            points = np.array([[int(x), int(y)] for x, y in text.split()])
            assert (line[[0, -1]] == points[[0, -1]]).all(), way
    ways += [way for digit in range(10) for way in writer.WAYS[digit]]
    assert len(set(ways)) == len(ways)


def test_what_could_be_a_digit_is_no_sign():
    assert not set("0123456789lIiOoQDSsZzbqg|()/-") & (set(SIGNS) - {"i"})
    assert set(WAYS).isdisjoint(WORDS)
    assert all(set(word) <= set(LETTERS) for word in WORDS)


def test_no_sign_of_a_calm_hand_is_drawn_as_a_digit():
    digits = [w for ways in writer.WAYS.values() for w in ways]
    images = np.stack([drawn_calmly(way) for way in digits])
    for sign, ways in WAYS.items():
        for way in ways:
            assert (images @ drawn_calmly(way)).max() < 0.96, (sign, way)


def test_parts_that_make_the_sign_stay_apart():
    rng = np.random.default_rng(0)
    parts = {"=": 2, "dots": 3, "divide": 3, "i": 2, "j": 2, "!": 2, "?": 2}
    for sign, count in parts.items():
        for way in WAYS[sign]:
            image = drawn_calmly(way).reshape(28, 28)
            # Softer ink is the edge of a stroke.
            assert ndimage.label(image > 0.4 * image.max())[1] == count, way
        assert all(len(write(sign, rng)) == count for _ in range(20)), sign


def test_strokes_are_finite_and_short_and_follow_from_the_generator():
    rng, same = np.random.default_rng(3), np.random.default_rng(3)
    for sign in 10 * SIGNS:
        for line, again in zip(write(sign, rng), write(sign, same), strict=True):
            assert np.array_equal(line, again), sign
            assert line.dtype == np.float64
            assert line.shape[1:] == (2,)
            assert 2 <= len(line) <= 60, sign
            assert abs(line).max() < 30, sign  # also rejects NaN
    assert {len(write("A", rng)) for _ in range(50)} == {1, 2}  # ways to write it
    assert {len(write("ln", rng)[0]) for _ in range(50)} == {7, 22}


def test_letters_of_a_word_go_from_left_to_right_on_a_line():
    rng = np.random.default_rng(0)
    for _ in range(20):
        c, o, s = write("cos", rng)
        middles = [(line.min(axis=0) + line.max(axis=0))[0] / 2 for line in (c, o, s)]
        assert np.diff(middles).min() > 0.2
        assert o[:, 0].min() - c[:, 0].max() < 0.5  # a word, not letters
        assert s[:, 0].min() - o[:, 0].max() < 0.5
        letters = write("log", rng)
        tops = [line[:, 1].min() for line in letters]
        feet = [line[:, 1].max() for line in letters]
        assert tops[0] < tops[1]
        assert feet == pytest.approx([0, 0, 0.7])


def test_images_follow_from_the_arguments_and_differ_between_streams(many):
    known = {image.tobytes() for image in many}
    assert len(known) == len(many)
    for other in (1, 1), (0, 2):
        assert known.isdisjoint(image.tobytes() for image in signs(*other, 100)), other
    assert np.array_equal(many, signs(0, 1, 300))


def test_every_sign_comes_equally_often_and_not_from_the_stream_of_digits(monkeypatch):
    asked, states = [], []

    def write(name, rng):
        asked.append(name)
        states.append(rng.bit_generator.state["state"]["state"])
        return [np.array([[0.0, 0.0], [1.0, 1.0]])]

    monkeypatch.setattr(module, "write", write)
    monkeypatch.setattr(writer, "write", write)
    signs(0, 0, 2 * len(SIGNS))
    assert sorted(asked) == sorted(2 * SIGNS)
    assert asked != 2 * SIGNS  # in random order
    writer.written(0, 0, 2 * len(SIGNS))
    assert len(set(states)) == len(states)


def test_images_are_like_those_of_mnist(many):
    assert many.shape == (300, 28, 28)
    assert many.dtype == np.uint8
    assert (many.max(axis=(1, 2)) == 255).all()
    # The longer side fills the box, but for the softest edge, and stays inside.
    sides = [max(np.ptp(np.nonzero(image), axis=1)) + 1 for image in many]
    assert set(sides) <= {18, 19, 20, 21}
    assert signs(0, 1, 0).shape == (0, 28, 28)
