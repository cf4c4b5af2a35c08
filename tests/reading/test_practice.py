"""The laws of `tinycnn.reading.practice`: what a judge is shown, and what it is told.

The digits are the bundled sample's or written by code. What a judge learns from it is
not measured here.
"""

import numpy as np
import pytest
from scipy import ndimage

from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.glyphs.writer import write
from tinycnn.ink.normalize import normalize, normalize_strokes
from tinycnn.reading import practice, segment
from tinycnn.reading.practice import NONE, from_images, from_scribble, from_strokes

SAMPLE = load_mnist(SAMPLE_FOLDER)
IMAGES = SAMPLE.test_images[:100].astype(np.float32) / 255
LABELS = SAMPLE.test_labels[:100]


def of_images(seed, count=4):
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(IMAGES), count)
    return list(from_images(IMAGES[chosen], LABELS[chosen], rng))


def of_strokes(seed, count=4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    strokes = [write(digit, rng) for digit in labels.tolist()]
    return list(from_strokes(strokes, labels, rng))


def of_scribbles(seed):
    rng = np.random.default_rng(seed)
    return [example for _ in range(10) for example in from_scribble(rng)]


every_source = pytest.mark.parametrize("source", [of_images, of_strokes, of_scribbles])
numbers = pytest.mark.parametrize("source", [of_images, of_strokes])


def alike(a, b):
    """Return the correlation of two images."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@every_source
def test_examples_are_a_function_of_the_generator_alone(source):
    first, again, other = (source(seed) for seed in (1, 1, 2))
    assert [label for _, label in first] == [label for _, label in again]
    for (image, _), (same, _) in zip(first, again, strict=True):
        np.testing.assert_array_equal(image, same)
    assert len(first) != len(other) or any(
        not np.array_equal(image, another)
        for (image, _), (another, _) in zip(first, other, strict=True)
    )


@every_source
def test_an_example_is_normalised_ink_and_a_label(source):
    for image, label in (example for seed in range(10) for example in source(seed)):
        assert image.shape == (28, 28)
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() == 1
        assert label in range(11)
        assert isinstance(label, int)


def test_a_scribble_is_none():
    assert {label for seed in range(20) for _, label in of_scribbles(seed)} == {NONE}


@numbers
def test_digits_and_what_is_none_occur_and_every_digit_does(source):
    labels = [label for seed in range(60) for _, label in source(seed)]
    assert set(labels) == set(range(11))
    assert 0.1 < np.mean(np.array(labels) == NONE) < 0.9


def test_no_label_is_of_a_digit_that_was_not_shown():
    rng = np.random.default_rng(0)
    sevens = IMAGES[LABELS == 7][:4]
    for _ in range(30):
        labels = {y for _, y in from_images(sevens, np.full(len(sevens), 7), rng)}
        assert labels <= {7, NONE}


def test_what_is_called_a_digit_looks_like_it():
    """Of three different digits side by side, the image is most like the one named."""
    right = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(IMAGES), 3, replace=False)
        if len(set(LABELS[chosen].tolist())) < 3:
            continue
        originals = {int(LABELS[k]): normalize(IMAGES[k]) for k in chosen}
        for image, label in from_images(IMAGES[chosen], LABELS[chosen], rng):
            if label != NONE:
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


def shares_and_labels(ink, labels, monkeypatch):
    """Return what is made of layers, when all that is none is kept."""
    monkeypatch.setattr(practice, "KEPT", 1.1)
    rng = np.random.default_rng(0)
    return list(practice._of_picture(ink, np.array(labels), rng))


def test_two_digits_apart_are_two_examples_and_both_together_none(monkeypatch):
    ink = layers((10, 10, 16, 50), (20, 10, 26, 50))
    found = shares_and_labels(ink, [3, 5], monkeypatch)
    assert sorted(label for _, label in found) == [3, 5, NONE]
    (both,) = (image for image, label in found if label == NONE)
    np.testing.assert_array_equal(both, normalize(ink.max(axis=0)))


def test_half_a_digit_is_none_and_nearly_all_of_it_is_the_digit(monkeypatch):
    def labels_of(height):
        ink = layers((10, 10, 16, 50), (40, 10, 46, 50))
        ink[0, 10 + height : 13 + height] = 0  # what is below the gap is another piece
        found = shares_and_labels(ink, [3, 5], monkeypatch)
        alone = normalize(ink[0, : 10 + height])
        return [y for image, y in found if np.array_equal(image, alone)]

    # Pieces of equal bars look alike: of the second digit there is one example, too.
    assert set(labels_of(19)) == {NONE}
    assert 3 in labels_of(36)


def test_a_digit_that_others_hide_altogether_is_no_trouble(monkeypatch):
    ink = layers((10, 10, 30, 50), (12, 20, 18, 40), (50, 10, 60, 50))
    ink[1] = 0
    found = shares_and_labels(ink, [3, 5, 7], monkeypatch)
    assert {label for _, label in found} >= {3, 7}
    assert 5 not in {label for _, label in found}


def test_digits_that_lie_on_each_other_are_no_trouble():
    """Nothing is divided by nothing, and no warning is given."""
    rng = np.random.default_rng(0)
    for digit in range(10):
        k = int(np.argmax(digit == LABELS))
        glyph = IMAGES[k][np.newaxis]
        found = list(
            practice._of_picture(np.repeat(glyph, 3, 0), np.full(3, digit), rng)
        )
        assert {label for _, label in found} <= {digit, NONE}


def test_strokes_of_digits_are_labelled_by_whose_they_are(monkeypatch):
    monkeypatch.setattr(practice, "KEPT", 1.1)
    bar = [np.array([[0.0, 0.0], [0.0, 1.0]])]
    cross = [*bar, np.array([[-0.3, 0.5], [0.3, 0.5]])]
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        for image, label in from_strokes([cross, bar], np.array([4, 1]), rng):
            seen.add(label)
            if label == 4 and np.array_equal(image, normalize_strokes(cross)):
                seen.add("cross")
    assert seen == {1, 4, NONE, "cross"}


def test_the_closest_candidate_is_the_digit_though_some_of_it_is_cut_off(monkeypatch):
    """A quarter of the first digit lies under the second."""
    ink = layers((10, 10, 16, 50), (30, 10, 36, 50))
    ink[0, 10:24, 30:36] = 1
    found = shares_and_labels(ink, [3, 5], monkeypatch)
    assert sorted(label for _, label in found if label != NONE) == [3, 5]


def test_a_candidate_that_holds_most_of_two_digits_is_none(monkeypatch):
    """However small the second is: nine tenths of the ink are the first one's."""
    ink = layers((10, 10, 46, 50), (48, 10, 52, 50))
    assert ink[1].sum() < 0.12 * ink.sum()
    found = shares_and_labels(ink, [3, 5], monkeypatch)
    both = normalize(ink.max(axis=0))
    assert [y for image, y in found if np.array_equal(image, both)] == [NONE]


def test_a_candidate_between_digit_and_none_is_left_out(monkeypatch):
    """Four fifths of a digit are neither one nor none."""
    monkeypatch.setattr(segment, "FILL", 9)  # cut at nothing but minima
    ink = layers((10, 10, 16, 50))
    ink[0, 42:44] = 0
    found = shares_and_labels(ink, [3], monkeypatch)
    assert len(found) == 2  # the whole, and the lower end
    (page,) = [segment.PicturePage(ink[0])]
    assert len(page.pieces) == 2


@pytest.mark.parametrize("seed", range(5))
def test_thickness_changes_but_a_digit_stays(seed):
    rng = np.random.default_rng(seed)
    for image in IMAGES[:20]:
        other = practice._thicker(image, rng)
        assert other.max() >= 0.6
        assert ndimage.label(other >= 0.2)[1] >= 1
        assert alike(normalize(image), normalize(other.astype(np.float32))) > 0.6
