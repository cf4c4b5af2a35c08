"""The laws of `tinycnn.glyphs.writer`: ways, hands and images.

What a network learns from them is not measured here.
"""

import subprocess
import sys

import numpy as np
import pytest

from tinycnn.glyphs.writer import WAYS, Hands, WithHands, write, written
from tinycnn.models import SHIPPED, load
from tinycnn.training.fit import as_input

WAYS_OF_ALL = [(digit, way) for digit, ways in WAYS.items() for way in ways]


@pytest.fixture(scope="module")
def many():
    return written(0, 1, 1000)


def test_all_ten_digits_have_ways():
    assert list(WAYS) == list(range(10))
    assert all(len(ways) >= 5 for ways in WAYS.values())


def test_no_way_is_in_the_table_twice():
    ways = [way for _, way in WAYS_OF_ALL]
    assert len(set(ways)) == len(ways)


@pytest.mark.parametrize(("digit", "way"), WAYS_OF_ALL)
def test_a_way_is_places_of_the_grid(digit, way):
    for stroke in way.split("|"):
        places = stroke.split()
        assert len(places) >= 2, f"{digit}: a stroke needs two places"
        assert all(len(place) == 2 and place.isdigit() for place in places)


@pytest.mark.parametrize("digit", range(10))
def test_strokes_are_finite_and_short(digit):
    rng = np.random.default_rng(digit)
    for _ in range(50):
        strokes = write(digit, rng)
        assert strokes
        for line in strokes:
            assert line.dtype == np.float64
            assert line.ndim == 2
            assert line.shape[1] == 2
            assert 2 <= len(line) <= 40
            assert np.isfinite(line).all()
            assert abs(line).max() < 30  # units of a grid 9 high


def test_the_order_in_which_they_are_asked_for_changes_no_digit():
    images, labels = written(3, 0, 40)
    hands = Hands(3, 0, 40)
    order = np.random.default_rng(0).permutation(40)
    for chosen in np.split(order, 8):
        np.testing.assert_array_equal(hands[chosen], images[chosen])
    np.testing.assert_array_equal(hands[order], images[order])
    np.testing.assert_array_equal(hands.labels, labels)


def test_only_what_is_asked_for_is_drawn(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "tinycnn.glyphs.writer.normalize_strokes",
        lambda _, pen: drawn.append(pen) or np.zeros((28, 28), np.float32),
    )
    hands = Hands(0, 0, 100)
    assert not drawn
    for _ in range(2):
        hands[[3, 1, 4]]
        assert len(drawn) == 3


@pytest.mark.parametrize("chosen", [slice(8), slice(30), [4, 29, 0, 15, 16], [2], [20]])
def test_images_and_hands_are_asked_as_one_array_is(chosen):
    images = np.random.default_rng(0).integers(0, 255, (16, 28, 28), np.uint8)
    both = np.concatenate([images, written(1, 0, 14)[0]])
    joined = WithHands(images, Hands(1, 0, 14))
    assert len(joined) == len(both)
    np.testing.assert_array_equal(joined[chosen], both[chosen])


@pytest.mark.parametrize("digit", range(10))
def test_the_same_generator_writes_the_same_strokes(digit):
    first, second = (write(digit, np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_digit_is_written_in_several_ways():
    rng = np.random.default_rng(0)
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


@pytest.mark.parametrize(("digit", "way"), WAYS_OF_ALL)
def test_a_calm_hand_goes_through_every_place(digit, way):
    strokes = write(digit, Calm(WAYS[digit].index(way)))
    for line, text in zip(strokes, way.split("|"), strict=True):
        places = np.array([[int(x), int(y)] for x, y in text.split()])
        away = abs(line[:, None] - places).sum(axis=2)  # (P, K)
        visits = away.argmin(axis=0)
        assert away.min(axis=0).max() < 1e-9
        assert visits[0] == 0
        assert (line[-1] == places[-1]).all()


def test_a_place_given_twice_is_a_corner_and_the_rest_is_round():
    def sharpest(line):
        steps = np.diff(line, axis=0)
        steps = steps[abs(steps).sum(axis=1) > 1e-9]
        angles = np.unwrap(np.arctan2(*steps.T))
        return np.rad2deg(abs(np.diff(angles)).max())

    (seven,) = write(7, Calm(WAYS[7].index("00 60 60 29")))
    (zero,) = write(0, Calm(WAYS[0].index("40 20 03 06 29 49 66 63 40")))
    assert sharpest(seven) > 90
    assert sharpest(zero) < 45


def test_what_is_written_follows_from_the_arguments_alone(many):
    images, labels = many
    written(5, 5, 3)  # leaves nothing behind
    again = written(0, 1, 1000)
    assert np.array_equal(images, again[0])
    assert np.array_equal(labels, again[1])


@pytest.mark.parametrize(("seed", "stream"), [(1, 1), (0, 2)])
def test_another_seed_or_stream_writes_others(many, seed, stream):
    images, labels = written(seed, stream, 1000)
    assert not np.array_equal(labels, many[1])
    known = {image.tobytes() for image in many[0]}
    # A plain 1 may come out twice.
    assert sum(image.tobytes() in known for image in images) < 10


def test_every_digit_comes_equally_often(many):
    assert np.bincount(many[1]).tolist() == [100] * 10
    assert sorted(np.bincount(written(0, 1, 27)[1])) == [2] * 3 + [3] * 7


def test_nothing_is_asked_and_nothing_written():
    images, labels = written(0, 1, 0)
    assert images.shape == (0, 28, 28)
    assert labels.shape == (0,)


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


def test_pens_are_as_wide_as_people_use(many):
    amounts = many[0].sum(axis=(1, 2)) / 255
    ones = amounts[many[1] == 1]
    assert 60 < np.median(amounts) < 140  # pixels of ink; MNIST's mean is 102
    assert ones.max() > 1.5 * ones.min()


def test_the_shipped_network_reads_most_of_it(many):
    model, _ = load(SHIPPED)
    images, labels = many
    right = model.predict(as_input(images)).argmax(axis=1) == labels
    assert right.mean() > 0.8


def test_handwriting_loads_no_science():
    program = "import sys, tinycnn.glyphs.writer; print('scipy' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout == "False\n"
