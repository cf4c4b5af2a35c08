"""The laws of `tinycnn.glyphs.writer`: variants, handwriting and images."""

import numpy as np
import pytest

from tinycnn.glyphs.writer import WAYS, write, written
from tinycnn.models import SHIPPED, load, predict


@pytest.fixture(scope="module")
def many():
    return written(0, 1, 1000)


def test_all_ten_digits_have_ways_and_each_way_is_there_once():
    assert list(WAYS) == list(range(10))
    assert all(len(ways) >= 5 for ways in WAYS.values())
    ways = [way for ways in WAYS.values() for way in ways]
    assert len(set(ways)) == len(ways)


def test_strokes_are_finite_and_short_and_follow_from_the_generator():
    rng, same = np.random.default_rng(7), np.random.default_rng(7)
    for digit in 50 * list(range(10)):
        strokes = write(digit, rng)
        for line, again in zip(strokes, write(digit, same), strict=True):
            assert np.array_equal(line, again)
            assert line.dtype == np.float64
            assert line.shape[1:] == (2,)
            assert 2 <= len(line) <= 40, digit
            assert abs(line).max() < 30, digit  # the grid is 9 high; also rejects NaN
    assert {len(write(4, rng)) for _ in range(50)} == {1, 2}  # strokes: lifted or not


class Calm:
    """A generator that leaves nothing to chance, and picks the way it is told."""

    def __init__(self, way):
        self.way = way

    def integers(self, _high):
        return self.way

    def normal(self, _mean, _deviation, size=None):
        return 0.0 if size is None else np.zeros(size)

    def uniform(self, low, _high):
        return low


def test_a_calm_hand_goes_through_every_point():
    for digit, ways in WAYS.items():
        for which, way in enumerate(ways):
            strokes = write(digit, Calm(which))
            for line, text in zip(strokes, way.split("|"), strict=True):
                points = np.array([[int(x), int(y)] for x, y in text.split()])
                away = abs(line[:, None] - points).sum(axis=2)  # (P, K)
                assert away.min(axis=0).max() < 1e-9, way
                assert (line[[0, -1]] == points[[0, -1]]).all(), way


def test_a_point_given_twice_is_a_corner_and_the_rest_is_round():
    def sharpest(line):
        steps = np.diff(line, axis=0)
        steps = steps[abs(steps).sum(axis=1) > 1e-9]
        angles = np.unwrap(np.arctan2(*steps.T))
        return np.rad2deg(abs(np.diff(angles)).max())

    (seven,) = write(7, Calm(WAYS[7].index("00 60 60 29")))
    (zero,) = write(0, Calm(WAYS[0].index("40 20 03 06 29 49 66 63 40")))
    assert sharpest(seven) > 90
    assert sharpest(zero) < 45


def test_images_follow_from_the_arguments_and_differ_between_streams(many):
    known = {image.tobytes() for image in many[0]}
    for other in (1, 1), (0, 2):
        images, labels = written(*other, 1000)
        assert not np.array_equal(labels, many[1])
        # A plain 1 may come out twice.
        assert sum(image.tobytes() in known for image in images) < 10, other
    for first, again in zip(many, written(0, 1, 1000), strict=True):
        assert np.array_equal(first, again)
    assert np.bincount(many[1]).tolist() == [100] * 10
    assert sorted(np.bincount(written(0, 1, 27)[1])) == [2] * 3 + [3] * 7
    assert [array.shape for array in written(0, 1, 0)] == [(0, 28, 28), (0,)]


def test_images_are_like_those_of_mnist(many):
    images, labels = many
    assert images.shape == (1000, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    assert (images.max(axis=(1, 2)) == 255).all()
    rows, columns = (images > 0).any(axis=2), (images > 0).any(axis=1)
    # The longer side of a digit fills the box, but for the softest edge.
    sides = np.maximum(rows.sum(axis=1), columns.sum(axis=1))
    assert set(sides) <= {18, 19, 20, 21}  # it lies between pixels
    middles = [image.sum(axis=a) @ np.arange(28) for image in images for a in (0, 1)]
    middles /= images.sum(axis=(1, 2)).repeat(2)
    assert np.abs(middles - 14).max() < 3  # whole pixels, and the box stays inside
    amounts = images.sum(axis=(1, 2)) / 255  # pixels of ink; MNIST's mean is 102
    assert 60 < np.median(amounts) < 140
    ones = amounts[labels == 1]
    assert ones.max() > 1.5 * ones.min()  # pens differ


def test_the_shipped_network_reads_most_of_it(many):
    model, _ = load(SHIPPED)
    images, labels = many
    right = predict(model, images).argmax(axis=1) == labels
    assert right.mean() > 0.8
