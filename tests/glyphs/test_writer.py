"""The laws of `tinycnn.glyphs.writer`: variants, handwriting, words and images."""

import re

import numpy as np
import pytest
from scipy import ndimage

from tinycnn.glyphs.writer import DIGITS, SIGNS, WAYS, WORDS, _follow, write, written
from tinycnn.ink.normalize import normalize_strokes
from tinycnn.models import SHIPPED, load, predict


def made(names, count, *seed):
    return written(names, count, np.random.default_rng(seed))


@pytest.fixture(scope="module", params=[DIGITS, SIGNS], ids=["digits", "signs"])
def many(request):
    return request.param, *made(request.param, 1000, 0, 1)


class Calm:
    """A generator that leaves nothing to chance."""

    def normal(self, _mean, _deviation, size=None):
        return 0.0 if size is None else np.zeros(size)

    def uniform(self, low, _high):
        return low


def drawn_calmly(way):
    """Return the image of a way, as a vector of length 1."""
    ink = normalize_strokes(_follow(way, Calm())).ravel()
    return ink / np.linalg.norm(ink)


def test_every_way_is_there_once_and_a_calm_hand_goes_through_its_points():
    assert all(len(WAYS[digit]) >= 5 for digit in DIGITS)
    ways = [way for ways in WAYS.values() for way in ways]
    assert len(set(ways)) == len(ways)
    for way in ways:
        assert re.fullmatch(r"\d\d( \d\d)+( \| \d\d( \d\d)+)*", way), way
        for line, text in zip(_follow(way, Calm()), way.split(" | "), strict=True):
            points = np.array([[int(x), int(y)] for x, y in text.split()])
            away = abs(line[:, None] - points).sum(axis=2)  # (P, K)
            assert away.min(axis=0).max() < 1e-9, way
            assert (line[[0, -1]] == points[[0, -1]]).all(), way


def test_strokes_are_finite_and_short_and_follow_from_the_generator():
    rng, same = np.random.default_rng(7), np.random.default_rng(7)
    for name in 50 * DIGITS + 10 * SIGNS:
        for line, again in zip(write(name, rng), write(name, same), strict=True):
            assert np.array_equal(line, again), name
            assert line.dtype == np.float64
            assert line.shape[1:] == (2,)
            assert 2 <= len(line) <= 60, name
            assert abs(line).max() < 30, name  # the grid is 9 high; also rejects NaN
    assert {len(write("4", rng)) for _ in range(50)} == {1, 2}  # strokes: lifted or not
    assert {len(write("A", rng)) for _ in range(50)} == {1, 2}
    assert {len(write("ln", rng)[0]) for _ in range(50)} == {7, 22}


def test_a_point_given_twice_is_a_corner_and_the_rest_is_round():
    def sharpest(line):
        steps = np.diff(line, axis=0)
        steps = steps[abs(steps).sum(axis=1) > 1e-9]
        angles = np.unwrap(np.arctan2(*steps.T))
        return np.rad2deg(abs(np.diff(angles)).max())

    (seven,) = _follow("00 60 60 29", Calm())
    (zero,) = _follow("40 20 03 06 29 49 66 63 40", Calm())
    assert sharpest(seven) > 90
    assert sharpest(zero) < 45


def test_what_could_be_a_digit_is_no_sign():
    assert not set("0123456789lIiOoQDSsZzbqg|()/-") & (set(SIGNS) - {"i"})
    assert set(WAYS).isdisjoint(WORDS)
    assert all(set(word) <= set(WAYS) for word in WORDS)


def test_no_sign_of_a_calm_hand_is_drawn_as_a_digit():
    images = np.stack([drawn_calmly(way) for digit in DIGITS for way in WAYS[digit]])
    for sign in set(SIGNS) - set(WORDS):
        for way in WAYS[sign]:
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


def test_images_follow_from_the_generator_and_every_name_comes_equally_often(many):
    names, images, labels = many
    for first, again in zip((images, labels), made(names, 1000, 0, 1), strict=True):
        assert np.array_equal(first, again)
    known = {image.tobytes() for image in images}
    for other in (1, 1), (0, 2):
        others, other_labels = made(names, 1000, *other)
        assert not np.array_equal(other_labels, labels)
        # A plain 1 may come out twice.
        assert sum(image.tobytes() in known for image in others) < 10, other
    assert np.ptp(np.bincount(labels)) <= 1
    assert len(np.bincount(labels)) == len(names)
    assert [array.shape for array in made(names, 0, 0)] == [(0, 28, 28), (0,)]


def test_images_are_like_those_of_mnist(many):
    names, images, labels = many
    assert images.shape == (1000, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    assert (images.max(axis=(1, 2)) == 255).all()
    # The longer side fills the box, but for the softest edge, and lies between pixels.
    sides = [max(np.ptp(np.nonzero(image), axis=1)) + 1 for image in images]
    assert set(sides) <= {18, 19, 20, 21}
    middles = [image.sum(axis=a) @ np.arange(28) for image in images for a in (0, 1)]
    middles /= images.sum(axis=(1, 2)).repeat(2)
    amounts = images.sum(axis=(1, 2)) / 255  # pixels of ink; MNIST's mean is 102
    if names is DIGITS:
        assert np.abs(middles - 14).max() < 3  # whole pixels, and the box stays inside
        assert 60 < np.median(amounts) < 140
    spread = [np.ptp(np.log(amounts[labels == n])) for n in range(len(names))]
    assert np.median(spread) > np.log(2.5 if names is DIGITS else 1.6)  # pens differ


def test_the_shipped_network_reads_most_of_the_digits_and_few_signs(many):
    model, _ = load(SHIPPED)
    names, images, labels = many
    right = labels if names is DIGITS else 10
    assert (predict(model, images).argmax(axis=1) == right).mean() > 0.8
