"""The laws of the normaliser: ink or strokes become an image like MNIST's."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import tinycnn.data
from tinycnn.data import load_mnist
from tinycnn.ink.normalize import (
    BOX,
    CENTRE,
    PEN,
    SIDE,
    THICKEST,
    THINNEST,
    grown,
    normalize,
    normalize_strokes,
    stroke_width,
)
from tinycnn.ink.strokes import draw

SAMPLE = Path(tinycnn.data.__file__).parent / "sample"
INDICES = np.arange(SIDE)
STROKES = {
    "2": [[(10, 30), (30, 10), (55, 25), (40, 60), (10, 95), (60, 95)]],
    "4": [[(40, 0), (0, 60), (70, 60)], [(50, 20), (50, 100)]],
    "5": [[(60, 5), (15, 5), (10, 45), (50, 45), (60, 75), (35, 98), (5, 90)]],
    "7": [[(5, 5), (60, 5), (25, 100)]],
    "1": [[(30, 0), (25, 100)]],
}


@pytest.fixture(scope="module")
def digits():
    """Return 500 MNIST images, float32 in [0, 1]."""
    images = load_mnist(SAMPLE).train_images[::8][:500]
    return images / np.float32(255)


def strokes(name):
    """Return the strokes of a digit as arrays."""
    return [np.array(stroke, float) for stroke in STROKES[name]]


def centre_of_mass(image):
    """Return row and column of the centre of mass, in pixel indices."""
    total = image.sum()
    return image.sum(axis=1) @ INDICES / total, image.sum(axis=0) @ INDICES / total


def tight_box(image):
    """Return height and width of the ink."""
    return [np.ptp(np.flatnonzero(image.any(axis=axis))) + 1 for axis in (1, 0)]


def usual(ink):
    """Return whether the width of the strokes is within bounds, surely."""
    return THINNEST + 0.1 < stroke_width(ink) < THICKEST - 0.1


def test_an_mnist_image_comes_out_as_it_went_in_unless_its_pen_changes(digits):
    before = digits.copy()
    digits = digits[kept := [usual(digit) for digit in digits]]
    before = before[kept]
    assert len(digits) > 400
    levels = 255 * np.abs(np.stack([normalize(d) for d in digits]) - digits)
    assert (levels <= 1).mean() >= 0.9995  # of the pixels
    most = levels.max(axis=(1, 2))
    assert (most <= 1).mean() >= 0.93  # of the images; others lose the faintest edge:
    assert (most <= 13).mean() >= 0.99
    assert np.array_equal(digits, before)  # no argument is edited


def test_an_enlarged_digit_gives_the_same_image(digits):
    for times in (2, 3, 4, 7, 10, 30):
        for digit in filter(usual, digits[::5]):
            enlarged = np.kron(digit, np.ones((times, times), np.float32))
            assert normalize(enlarged) == pytest.approx(normalize(digit), abs=2e-6)


@given(*[st.integers(0, 40)] * 4, st.integers(0, 499))
def test_place_and_margin_change_nothing(digits, top, bottom, left, right, index):
    ink = digits[index] > 0
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    tight = digits[index][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    padded = np.pad(tight, ((top, bottom), (left, right)))
    assert np.array_equal(normalize(padded), normalize(digits[index]))
    dirty = np.pad(padded, 1)
    dirty[0, 0] = dirty[-1, -1] = 0.04
    assert np.array_equal(normalize(dirty), normalize(digits[index]))


inks = st.tuples(
    st.integers(1, 50), st.integers(1, 50), st.integers(0, 2**32 - 1), st.floats(0, 1)
)


@given(inks)
def test_the_centre_of_mass_is_in_the_middle_or_the_box_at_the_edge(ink):
    height, width, seed, threshold = ink
    values = np.random.default_rng(seed).random((height, width), np.float32)
    values[values < threshold] = 0
    image = normalize(values)
    assert image.shape == (SIDE, SIDE)
    if not (values > 0.05).any():
        assert not image.any()
        return
    assert max(tight_box(image)) == BOX
    assert image.max() == 1
    faint = np.float32(1 - threshold / 2)
    assert normalize(values * faint).max() == 1 or not (values * faint > 0.05).any()
    for axis, centre in enumerate(centre_of_mass(image)):
        filled = np.flatnonzero(image.any(axis=1 - axis))
        at_an_edge = filled[0] == 0 or filled[-1] == SIDE - 1
        assert at_an_edge or abs(centre - CENTRE) <= 0.5 + 1e-4


def test_the_box_is_moved_as_far_as_it_goes_and_never_cut():
    lopsided = np.zeros((20, 20), np.float32)
    lopsided[:, :3] = 1
    lopsided[0] = 0.06
    lopsided[0, :3] = 1
    image = normalize(lopsided)
    assert np.flatnonzero(image.any(axis=0)).tolist() == list(range(8, 28))
    assert image.sum() == pytest.approx(lopsided.sum())


@given(st.floats(0.02, 0.25), st.sampled_from(sorted(STROKES)), st.integers(30, 120))
def test_whatever_the_pen_the_width_comes_within_bounds(pen, name, height):
    """Of a thick one only nearly: where strokes meet, ink has no width.

    The centre of mass may round to the next pixel.
    """
    points = [stroke * height / 100 + 20 for stroke in strokes(name)]
    ink = draw(points, [pen * height] * len(points), (height + 40, height + 40))
    image = normalize(ink)
    assert THINNEST - 0.1 < stroke_width(image) < THICKEST + 0.1
    assert max(tight_box(image)) in (BOX, BOX + 1)
    other = normalize(draw(points, [0.1 * height] * len(points), ink.shape[::-1]))
    near = [np.roll(image, (h, w), (0, 1)) for h in (-1, 0, 1) for w in (-1, 0, 1)]
    assert max(np.corrcoef(one.ravel(), other.ravel())[0, 1] for one in near) > 0.65


@given(inks, st.booleans())
def test_ink_grows_as_in_scipy(ink, corners):
    values = np.random.default_rng(ink[2]).random(ink[:2], np.float32)
    near = ndimage.generate_binary_structure(2, 1 + corners)
    expected = ndimage.grey_dilation(values, footprint=near)
    assert np.array_equal(grown(values, corners=corners), expected)


def test_nothing_is_stretched():
    for height, width in [(60, 30), (30, 60), (100, 14), (40, 40)]:
        ink = np.zeros((height, width), np.float32)
        pen = max(height, width) // 8  # MNIST's
        ink[:pen] = ink[-pen:] = ink[:, :pen] = ink[:, -pen:] = 1
        image = normalize(ink)
        longest = max(height, width)
        scaled = [BOX * height / longest, BOX * width / longest]
        assert tight_box(image) == pytest.approx(scaled, abs=1)
        assert image.sum() == pytest.approx(ink.sum() * (BOX / longest) ** 2, rel=0.05)
    for shape in [(1, 5000), (5000, 1), (3, 700), (1, 2), (1, 1)]:
        image = normalize(np.ones(shape, np.float32))
        short, long = sorted(tight_box(image))
        assert long == BOX, shape
        assert short <= max(1, BOX / 2) or shape == (1, 1), shape
        assert image.max() == 1, shape


def test_no_ink_stays_none():
    for shape in [(28, 28), (1, 1), (0, 0), (0, 7), (300, 2)]:
        for level in (0, 0.04):
            image = normalize(np.full(shape, level, np.float32))
            assert (image.shape, image.dtype) == ((SIDE, SIDE), np.float32)
            assert not image.any(), (shape, level)
    assert np.array_equal(normalize_strokes([]), np.zeros((SIDE, SIDE)))


def test_specks_far_apart_are_ink():
    """Another pen would leave nothing of them."""
    for height in (100, 200, 437, 900, 3000):
        specks = np.zeros((height, height // 4), np.float32)
        specks[0, 0] = specks[-1, -1] = 0.6
        assert normalize(specks).max() == 1, height


@pytest.mark.parametrize("name", STROKES)
def test_unit_and_place_of_strokes_change_nothing(name):
    image = normalize_strokes(strokes(name))
    moves = [(scale, (0, 0)) for scale in (0.001, 0.25, 2, 1024)]
    moves += [(1, shift) for shift in [(-500, 3), (1e4, 1e4), (0.3, -0.7)]]
    for scale, shift in moves:
        moved = [stroke * scale + shift for stroke in strokes(name)]
        difference = np.abs(normalize_strokes(moved) - image)
        # Rounding may move the edge of a pixel or two.
        assert difference.mean() < 0.002, (scale, shift)


def test_the_order_of_strokes_does_not_matter_and_no_stroke_is_edited():
    four = strokes("4")
    assert np.array_equal(normalize_strokes(four), normalize_strokes(four[::-1]))
    assert all(map(np.array_equal, four, strokes("4")))


def test_the_pen_is_the_same_whatever_the_unit():
    for scale in (0.01, 1, 100):
        image = normalize_strokes([np.array([(0, 0), (0, 100)], float) * scale])
        widths = image.sum(axis=1)[image.any(axis=1)][3:-3]
        assert widths == pytest.approx(np.full(len(widths), PEN), rel=0.05)
        assert max(tight_box(image)) in (BOX, BOX + 1)
    for dot in ([(3.0, 9.0)], [(3.0, 9.0), (3.0, 9.0)]):
        image = normalize_strokes([np.array(dot)])
        assert image.sum() == pytest.approx(np.pi * PEN**2 / 4, rel=0.15)
        assert max(tight_box(image)) <= 4
        assert centre_of_mass(image) == pytest.approx((CENTRE, CENTRE), abs=0.5 + 1e-4)


@pytest.mark.parametrize("name", STROKES)
def test_strokes_fill_the_box_and_lie_in_its_middle(name):
    image = normalize_strokes(strokes(name))
    assert image.dtype == np.float32
    assert image.shape == (SIDE, SIDE)
    assert image.max() == 1
    assert max(tight_box(image)) in (BOX, BOX + 1)  # it lies between pixels
    assert centre_of_mass(image) == pytest.approx((CENTRE, CENTRE), abs=0.05)


@pytest.mark.parametrize("name", STROKES)
def test_ink_that_moves_a_little_changes_the_image_a_little(name):
    """On the way to its mirror image, a digit's weight moves over several pixels."""
    before = normalize_strokes(strokes(name))
    for step in np.linspace(1, -1, 400)[1:]:
        image = normalize_strokes([stroke * (step, 1) for stroke in strokes(name)])
        assert np.abs(image - before).max() < 0.35
        before = image


@pytest.mark.parametrize("name", STROKES)
def test_strokes_and_a_picture_of_them_agree(name):
    scaled = [stroke * 2.5 + 20 for stroke in strokes(name)]
    side = np.ptp(np.concatenate(scaled), axis=0).max()
    pen = PEN * side / (BOX - PEN)  # so broad that it comes out as PEN
    picture = normalize(draw(scaled, [pen] * len(scaled), (220, 300)))
    image = normalize_strokes(strokes(name))
    # Ends of the pen are in the one's box and not in the other's: a pixel's shift.
    likeness = max(
        np.corrcoef(np.roll(picture, shift, (0, 1)).ravel(), image.ravel())[0, 1]
        for shift in itertools.product((-1, 0, 1), repeat=2)
    )
    assert likeness > 0.9
    assert picture.sum() == pytest.approx(image.sum(), rel=0.1)
