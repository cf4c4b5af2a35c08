"""The laws of `tinycnn.glyphs.signs`: ways, words and images.

What a network learns from them is not measured here.
"""

import re

import numpy as np
import pytest
from scipy import ndimage

from tinycnn.glyphs import signs as module
from tinycnn.glyphs import writer as handwriting
from tinycnn.glyphs.signs import LETTERS, SIGNS, WAYS, WORDS, signs, write
from tinycnn.glyphs.writer import follow
from tinycnn.ink.normalize import normalize_strokes

WAYS_OF_ALL = [(sign, way) for sign, ways in LETTERS.items() for way in ways]


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


# --- the table ---------------------------------------------------------------------


@pytest.mark.parametrize(("sign", "way"), WAYS_OF_ALL)
def test_a_way_is_strokes_through_places_of_the_grid(sign, way):
    assert re.fullmatch(r"\d\d( \d\d)+( \| \d\d( \d\d)+)*", way), sign
    strokes = follow(way, Calm())
    for line, text in zip(strokes, way.split(" | "), strict=True):
        places = np.array([[int(x), int(y)] for x, y in text.split()])
        assert (line[0] == places[0]).all()
        assert (line[-1] == places[-1]).all()


def test_no_way_is_in_the_table_twice_or_among_those_of_digits():
    ways = [way for _, way in WAYS_OF_ALL]
    ways += [way for digit in range(10) for way in handwriting.WAYS[digit]]
    assert len(set(ways)) == len(ways)


def test_what_could_be_a_digit_is_no_sign():
    assert not set("0123456789lIiOoQDSsZzbqg|()/-") & (set(SIGNS) - {"i"})
    assert set(WAYS).isdisjoint(WORDS)
    assert all(set(word) <= set(LETTERS) for word in WORDS)


def test_no_sign_of_a_calm_hand_is_drawn_as_a_digit():
    digits = [w for ways in handwriting.WAYS.values() for w in ways]
    images = np.stack([drawn_calmly(way) for way in digits])
    for sign, ways in WAYS.items():
        for way in ways:
            assert (images @ drawn_calmly(way)).max() < 0.96, (sign, way)


@pytest.mark.parametrize(
    ("sign", "parts"),
    [("=", 2), ("dots", 3), ("divide", 3), ("i", 2), ("j", 2), ("!", 2), ("?", 2)],
)
def test_parts_that_make_the_sign_stay_apart(sign, parts):
    for way in WAYS[sign]:
        image = drawn_calmly(way).reshape(28, 28)
        # Softer ink is the edge of a stroke.
        assert ndimage.label(image > 0.4 * image.max())[1] == parts, way
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert len(write(sign, rng)) == parts


# --- hands -------------------------------------------------------------------------


@pytest.mark.parametrize("sign", SIGNS)
def test_strokes_are_finite_and_short_and_follow_from_the_generator(sign):
    rng, same = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(10):
        strokes = write(sign, rng)
        for line, again in zip(strokes, write(sign, same), strict=True):
            assert np.array_equal(line, again)
            assert line.dtype == np.float64
            assert line.shape[1] == 2
            assert 2 <= len(line) <= 60
            assert np.isfinite(line).all()
            assert abs(line).max() < 30


def test_a_sign_is_written_in_several_ways():
    rng = np.random.default_rng(0)
    assert {len(write("A", rng)) for _ in range(50)} == {1, 2}
    assert {len(write("ln", rng)[0]) for _ in range(50)} == {7, 22}  # two ways of l


def test_letters_of_a_word_go_from_left_to_right():
    rng = np.random.default_rng(0)
    for _ in range(20):
        c, o, s = write("cos", rng)
        middles = [(line.min(axis=0) + line.max(axis=0))[0] / 2 for line in (c, o, s)]
        assert np.diff(middles).min() > 0.2
        assert o[:, 0].min() - c[:, 0].max() < 0.5  # a word, not letters
        assert s[:, 0].min() - o[:, 0].max() < 0.5


def test_letters_of_a_word_stand_on_a_line_and_some_reach_beyond_others():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, o, g = write("log", rng)
        tops = [line[:, 1].min() for line in (a, o, g)]
        feet = [line[:, 1].max() for line in (a, o, g)]
        assert tops[0] < tops[1]
        assert feet == pytest.approx([0, 0, 0.7])


# --- images ------------------------------------------------------------------------


def test_what_is_drawn_follows_from_the_arguments_alone(many):
    signs(5, 5, 3)  # leaves nothing behind
    assert np.array_equal(many, signs(0, 1, 300))


@pytest.mark.parametrize(("seed", "stream"), [(1, 1), (0, 2)])
def test_pictures_differ_within_a_stream_and_between_streams(many, seed, stream):
    known = {image.tobytes() for image in many}
    assert len(known) == len(many)
    assert known.isdisjoint(image.tobytes() for image in signs(seed, stream, 100))


def test_chance_is_not_that_of_digits(monkeypatch):
    seeds = []
    default_rng = np.random.default_rng

    def spy(seed):
        seeds.append(tuple(np.random.SeedSequence(seed).generate_state(4)))
        return default_rng(seed)

    monkeypatch.setattr(np.random, "default_rng", spy)
    signs(0, 0, 1)
    handwriting.written(0, 0, 1)
    assert len(set(seeds)) == 2


def test_every_sign_comes_equally_often(monkeypatch):
    asked = []

    def write(sign, _rng):
        asked.append(sign)
        return [np.array([[0.0, 0.0], [1.0, 1.0]])]

    monkeypatch.setattr(module, "write", write)
    signs(0, 0, 2 * len(SIGNS))
    assert sorted(asked) == sorted(2 * SIGNS)
    assert asked != 2 * SIGNS  # in random order


def test_images_are_like_those_of_mnist(many):
    assert many.shape == (300, 28, 28)
    assert many.dtype == np.uint8
    assert (many.max(axis=(1, 2)) == 255).all()
    # The longer side fills the box, but for the softest edge, and stays inside.
    sides = [max(np.ptp(np.nonzero(image), axis=1)) + 1 for image in many]
    assert set(sides) <= {18, 19, 20, 21}
    assert signs(0, 1, 0).shape == (0, 28, 28)
