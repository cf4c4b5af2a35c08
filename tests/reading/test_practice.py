"""The laws of `tinycnn.reading.practice`: what the reader learns from, and its labels.

The digits are the bundled sample's or written by code. What is learned from them is not
measured here.
"""

import numpy as np
import pytest

from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.glyphs.writer import write
from tinycnn.ink.normalize import normalize, normalize_strokes, with_pen
from tinycnn.reading import practice, segment
from tinycnn.reading.practice import (
    NONE,
    _from_images,
    _from_print,
    _from_scribble,
    _from_strokes,
    with_composed,
)

SAMPLE = load_mnist(SAMPLE_FOLDER)
IMAGES = SAMPLE.test_images[:100].astype(np.float32) / 255
LABELS = SAMPLE.test_labels[:100]


def of_images(seed, count=4):
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(IMAGES), count)
    return list(_from_images(IMAGES[chosen], LABELS[chosen], rng))


def of_strokes(seed, count=4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    strokes = [write(str(digit), rng) for digit in labels]
    return list(_from_strokes(strokes, labels, rng))


def of_scribbles(seed):
    rng = np.random.default_rng(seed)
    return [example for _ in range(10) for example in _from_scribble(rng)]


def alike(a, b):
    """Return the correlation of two images."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("source", [of_images, of_strokes, of_scribbles])
def test_examples_are_normalised_labelled_and_a_function_of_the_generator(source):
    first, again, other = (source(seed) for seed in (1, 1, 2))
    assert [(i.tobytes(), y) for i, y in first] == [(i.tobytes(), y) for i, y in again]
    assert [i.tobytes() for i, _ in first] != [i.tobytes() for i, _ in other]
    for image, label in (example for seed in range(10) for example in source(seed)):
        assert (image.shape, image.dtype) == ((28, 28), np.float32)
        assert image.min() >= 0
        assert image.max() == 1
        assert label in range(12)
        assert isinstance(label, int)


def test_every_digit_and_what_is_none_occur_and_scribbles_are_none():
    for source in (of_images, of_strokes):
        labels = [label for seed in range(60) for _, label in source(seed)]
        assert set(labels) == set(range(12))
        assert 0.1 < labels.count(NONE) / len(labels) < 0.9
    assert {label for seed in range(20) for _, label in of_scribbles(seed)} == {NONE}


def test_what_is_called_a_digit_looks_like_it():
    """Of three different digits side by side, the image is most like the one named."""
    right = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        three = rng.permutation(10)[:3]
        chosen = [rng.choice(np.flatnonzero(name == LABELS)) for name in three]
        originals = {int(LABELS[k]): normalize(IMAGES[k]) for k in chosen}
        for image, label in _from_images(IMAGES[chosen], LABELS[chosen], rng):
            if label < NONE:
                likeness = {y: alike(image, other) for y, other in originals.items()}
                right.append(max(likeness, key=likeness.get) == label)
    assert len(right) > 60
    assert np.mean(right) > 0.97


def layers(*boxes, size=(60, 100)):
    """Return layers of full ink, one a digit."""
    there = np.zeros((len(boxes), *size), np.float32)
    for layer, (x0, y0, x1, y1) in zip(there, boxes, strict=True):
        layer[y0:y1, x0:x1] = 1
    return there


@pytest.fixture
def keep_all(monkeypatch):
    """Keep all candidates that are none."""
    monkeypatch.setattr(practice, "MOST_OTHERS", 1000)


def labelled(ink, labels):
    return list(practice._of_picture(ink, np.array(labels), np.random.default_rng(0)))


def labels_of(wanted, found):
    """Return the labels of an image among examples."""
    return [label for image, label in found if np.array_equal(image, wanted)]


@pytest.mark.usefixtures("keep_all")
def test_two_digits_are_two_examples_and_both_together_several():
    """However small the second is, and though some of the first lies under it."""
    apart = layers((10, 10, 16, 50), (20, 10, 26, 50))
    narrow = layers((10, 10, 46, 50), (48, 10, 52, 50))
    assert narrow[1].sum() < 0.12 * narrow.sum()
    under = layers((10, 10, 16, 50), (30, 10, 36, 50))
    under[0, 10:24, 30:36] = 1
    for ink in (apart, under):
        digits = [label for _, label in labelled(ink, [3, 5]) if label < NONE]
        assert sorted(digits) == [3, 5]
    for ink in (apart, narrow):
        both = normalize(ink.max(axis=0))
        assert labels_of(both, labelled(ink, [3, 5])) == [practice.SEVERAL]
        assert labels_of(both, labelled(ink, [3, NONE])) == [NONE]


@pytest.mark.usefixtures("keep_all")
def test_half_a_digit_is_none_and_nearly_all_of_it_is_the_digit():
    def labels(height):
        ink = layers((10, 10, 16, 50), (40, 10, 46, 50))
        ink[0, 10 + height : 13 + height] = 0  # what is below the gap is another piece
        return labels_of(normalize(ink[0, : 10 + height]), labelled(ink, [3, 5]))

    # Pieces of equal bars look alike: of the second digit there is one example, too.
    assert set(labels(19)) == {NONE}
    assert 3 in labels(36)


@pytest.mark.usefixtures("keep_all")
def test_a_candidate_between_digit_and_none_is_left_out(monkeypatch):
    """Four fifths of a digit are neither one nor none."""
    monkeypatch.setattr(segment, "FILL", 9)  # cut at nothing but minima
    ink = layers((10, 10, 16, 50))
    ink[0, 42:44] = 0
    assert len(segment.PicturePage(ink[0]).pieces) == 2
    assert len(labelled(ink, [3])) == 2  # all of it, and the lower end


@pytest.mark.usefixtures("keep_all")
def test_strokes_are_labelled_by_the_digit_they_belong_to():
    bar = [np.array([[0.0, 0.0], [0.0, 1.0]])]
    cross = [*bar, np.array([[-0.3, 0.5], [0.3, 0.5]])]
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found += _from_strokes([cross, bar], np.array([4, 1]), rng)
    assert {label for _, label in found} == {1, 4, NONE, practice.SEVERAL}
    assert 4 in labels_of(normalize_strokes(cross), found)


@pytest.mark.usefixtures("keep_all")
def test_digits_that_hide_each_other_divide_nothing_by_nothing():
    hidden = layers((10, 10, 30, 50), (12, 20, 18, 40), (50, 10, 60, 50))
    hidden[1] = 0
    labels = {label for _, label in labelled(hidden, [3, 5, 7])}
    assert {3, 7} <= labels <= {3, 7, NONE, practice.SEVERAL}
    for digit in range(10):
        glyph = IMAGES[np.argmax(digit == LABELS)]
        found = labelled(np.stack([glyph] * 3), [digit] * 3)
        assert {label for _, label in found} <= {digit, NONE, practice.SEVERAL}


@pytest.mark.usefixtures("keep_all")
def test_letters_are_none_but_their_uprights_are_left_out():
    """By itself, the upright of an H is a 1."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        letters = [write(letter, rng) for letter in "HkT"]
        found = list(_from_strokes(letters, np.full(3, NONE), rng))
        assert {label for _, label in found} == {NONE}
        for upright in ([[0, 0], [0, 9]], [[0, 9], [1, 0]]):
            bar = normalize_strokes([np.array(upright, float)])
            assert max(alike(bar, image) for image, _ in found) < 0.95


def test_print_gives_digits_and_letters():
    examples = [e for n in range(40) for e in _from_print(np.random.default_rng(n))]
    assert {label for _, label in examples} == set(range(12))


def test_another_pen_changes_no_digit(monkeypatch):
    likeness = []

    def noted(image, width):
        other = with_pen(image, width)
        likeness.append(alike(normalize(image), normalize(other)))
        return other

    monkeypatch.setattr(practice, "with_pen", noted)
    for seed in range(30):
        of_images(seed)
    assert len(likeness) > 40
    assert min(likeness) > 0.6


def test_what_is_composed_comes_after_the_digits_and_follows_from_the_seed():
    digits = SAMPLE.test_images[:20], LABELS[:20]
    images, labels = with_composed(0.1, 3, 0, *digits, times=2)
    again, other = (with_composed(0.1, seed, 0, *digits, times=2)[0] for seed in (3, 4))
    assert images.tobytes() == again.tobytes() != other.tobytes()
    assert images.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(images[:40], np.concatenate([digits[0]] * 2))
    np.testing.assert_array_equal(labels[:40], np.concatenate([digits[1]] * 2))
    assert (labels[-2 * practice.SIGNS_EACH :] == NONE).all()
    assert 0.2 < (labels[40:] == NONE).mean() < 0.9
