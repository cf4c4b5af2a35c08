"""Ink is found on paper of any kind, and paper, patterns, rules and frames are not."""

import itertools

import numpy as np
from scipy import ndimage

from tinycnn.ink import binarize
from tinycnn.ink.binarize import find_ink
from tinycnn.ink.strokes import draw

H, W = 90, 130


def draw_seven(height: int = H, width: int = W, pen: float = 5.0) -> np.ndarray:
    """Return the ink of a 7 with soft edges, (height, width) in [0, 1]."""
    y, x = np.mgrid[0:height, 0:width] / height
    bar = np.maximum(np.abs(y - 0.25), np.abs(x - 0.7) - 0.2)
    along = np.clip((y - 0.25) / 0.5, 0, 1)
    stem = np.hypot(x - (0.9 - 0.3 * along), y - (0.25 + 0.5 * along))
    distance = np.minimum(bar, stem) * height
    return np.clip(pen / 2 + 0.5 - distance, 0, 1).astype(np.float32)


def rounded(grey: np.ndarray) -> np.ndarray:
    """Return grey levels as a file of 8 bits would hold them."""
    return (np.round(np.clip(grey, 0, 1) * 255) / 255).astype(np.float32)


def agreement(ink: np.ndarray, true: np.ndarray) -> float:
    """Return intersection over union of what is more than half ink."""
    found, drawn = ink > 0.4, true > 0.4
    return float((found & drawn).sum() / (found | drawn).sum())


def biggest_piece(ink: np.ndarray) -> int:
    """Return the pixels of the largest connected piece of ink."""
    labels, _ = ndimage.label(ink > 0.2, np.ones((3, 3)))
    return int(np.bincount(labels.ravel())[1:].max(initial=0))


def shade() -> np.ndarray:
    """Return light that falls off to a corner by half."""
    y, x = np.mgrid[0:H, 0:W]
    return 1 - 0.5 * (x / W + y / H) / 2


def test_grey_levels_survive_on_clean_paper():
    true = draw_seven()
    for paper, contrast in itertools.product((0, 0.2, 0.7, 1), (-1, -0.4, 0.4, 1)):
        pen = paper + contrast
        if not 0 <= pen <= 1:
            pen = 1 - paper if abs(1 - 2 * paper) >= 0.4 else paper - 0.4
        ink = find_ink(rounded(paper + (pen - paper) * true))
        np.testing.assert_allclose(ink, true, atol=1.1 / 255 / abs(pen - paper))


def test_the_ink_is_float32_in_the_unit_range_and_the_picture_not_edited():
    for paper in (np.ones((H, W)), shade()):
        grey = rounded(paper * (1 - draw_seven()))
        before = grey.copy()
        ink = find_ink(grey)
        np.testing.assert_array_equal(grey, before)
        assert ink.dtype == np.float32
        assert ink.shape == grey.shape
        assert 0 <= ink.min() <= ink.max() <= 1


def test_a_thick_digit_in_a_tight_crop_is_still_the_ink():
    true = draw_seven(pen=18)[12:78, 38:126]
    assert (true > 0.5).mean() > 0.28
    for grey in (true, 1 - true):
        np.testing.assert_allclose(find_ink(rounded(grey)), true, atol=0.01)


def test_shade_shadows_and_patterns_vanish_under_the_strokes():
    true = draw_seven()
    y, x = np.mgrid[0:H, 0:W]
    shadow = 0.9 - 0.315 / (1 + np.exp(-(x - 75) / 3))
    pattern = 0.8 - 0.096 * (np.sin(0.9 * y + 2 * np.sin(x / 9)) > 0.4)
    noise = 0.008 * np.random.default_rng(1).normal(size=(H, W))
    for grey in (
        shade() * (1 - 0.4 * true),
        1 - shade() * (1 - 0.4 * true),
        shadow * (1 - 0.6 * true),
        pattern * (1 - 0.7 * true),
    ):
        ink = find_ink(rounded(grey))
        assert agreement(ink, true) > 0.7
        assert ink[:, :30].max() == 0
    faint = find_ink(rounded(shade() * (1 - 0.18 * true) + noise))
    assert agreement(faint, true) > 0.6


def test_noise_is_specks_at_most():
    for sigma, blur, seed in itertools.product((0.01, 0.05, 0.2), range(3), range(5)):
        noise = np.random.default_rng(seed).normal(size=(H, W))
        noise = ndimage.gaussian_filter(noise, blur) if blur else noise
        grey = rounded(0.6 + sigma * noise / noise.std())
        assert biggest_piece(find_ink(grey)) < 20, (sigma, blur, seed)
    rng = np.random.default_rng(2)
    for density in (0.01, 0.1, 0.3):  # salt and pepper
        grey = np.where(rng.random((H, W)) < density, rng.integers(0, 2, (H, W)), 0.7)
        assert biggest_piece(find_ink(rounded(grey))) < 20, density


def test_blank_is_nothing():
    noise = np.random.default_rng(3).normal(0, 0.004, (H, W))
    for level in (0.0, 0.3, 1.0):
        for grey in (np.full((H, W), level), level + noise, level * shade()):
            assert not find_ink(rounded(grey)).any(), level


def test_ruled_lines_vanish_and_strokes_stay_in_one_piece():
    true = draw_seven()
    y, x = np.mgrid[0:H, 0:W]
    for tilt, level in itertools.product((0, 0.03), (0.3, 0.75)):
        lines = np.where((y + tilt * x + 28 / 3) % 28 < 2, level, 1.0)
        ink = find_ink(rounded(np.minimum(0.95 * lines, 0.95 - 0.85 * true)))
        assert biggest_piece(ink[:, :30]) < 8, (tilt, level)
        assert agreement(ink, true) > 0.75, (tilt, level)
        assert biggest_piece(ink) > 0.85 * (true > 0.5).sum(), (tilt, level)


def test_tilted_rules_from_side_to_side_and_squares_are_nothing():
    y, x = np.mgrid[0:150, 0:400]
    for slope in (-0.04, 0.04):
        grey = np.where((y + slope * x) % 37 < 2, 0.4, 0.95)
        ink = find_ink(rounded(grey))
        assert biggest_piece(ink[18:-18]) < 30  # the others end above or below
    grey = np.where((y % 22 < 2) | (x % 22 < 2), 0.5, 0.95)
    assert biggest_piece(find_ink(rounded(grey[:H, :W]))) < 8


def test_a_lone_straight_stroke_is_no_ruled_line():
    for margin, turned in [(0, False), (1, False), (12, False), (12, True)]:
        true = np.zeros((100, 70), np.float32)
        true[margin : 100 - margin, 33:37] = 1
        true = true.T if turned else true
        np.testing.assert_allclose(find_ink(rounded(1 - 0.9 * true)), true, atol=0.01)


def test_pictures_of_any_shape_are_taken():
    rng = np.random.default_rng(4)
    for shape in [(0, 0), (1, 1), (1, 40), (40, 1), (2, 3), (5, 200)]:
        for grey in (np.ones(shape), rng.random(shape), np.indices(shape).sum(0) / 240):
            assert find_ink(grey.astype(np.float32)).shape == shape


# --- frames ------------------------------------------------------------------------


def sevens(margin: int) -> np.ndarray:
    """Return the ink of three 7s, 45 pixels high, with paper around them."""
    seven = draw_seven()[20:70, 40:125]
    return np.pad(np.hstack([seven] * 3), margin)


def framed(ink: np.ndarray, thickness: int, beyond: int = 10) -> np.ndarray:
    """Return ink with a frame along its border, and paper beyond."""
    drawn = np.ones(ink.shape, np.float32)
    inner = slice(thickness, -thickness)
    drawn[inner, inner] = ink[inner, inner]
    return np.pad(drawn, beyond)


def test_the_long_sides_of_a_close_frame_vanish():
    y, x = np.mgrid[-5:6, -5:6]
    for thickness, margin in itertools.product((1, 3, 6), (8, 20)):
        true = sevens(margin + thickness)
        solid = np.pad(np.ones(true.shape, bool), 10)
        solid = ndimage.binary_opening(solid, np.hypot(y, x) < 5.5)
        ring = solid & ~ndimage.binary_erosion(solid, iterations=thickness)
        true = np.pad(true, 10)
        ink = find_ink(rounded(1 - np.maximum(true, ring)))
        np.testing.assert_allclose(ink[~ring], true[~ring], atol=0.01)
        assert (ink[ring] > 0).mean() < 0.3


def test_ones_between_ruled_lines_are_no_walls():
    """Nor are they where they reach from line to line, first and last."""
    true = np.zeros((90, 300), np.float32)
    for x in (30, 150, 266):
        true[20:70, x : x + 4] = 1
    lines = np.zeros(true.shape, np.float32)
    lines[20:22] = lines[68:70] = 1
    ink = find_ink(rounded(1 - np.maximum(true, lines)))
    assert agreement(ink[24:66], true[24:66]) > 0.95


def test_a_1_that_fills_a_frame_is_no_wall():
    """A wall has straight edges, and is as thick as the outer ones."""
    y, x = np.mgrid[0:70, 0:300]
    slanted = np.abs(x - 150 - 0.06 * y) < 4
    broad = np.abs(x - 220) < 5
    true = (slanted | broad).astype(np.float32)
    true[20:50, 60:64] = 1  # in the frame, so that there are other digits
    ink = find_ink(rounded(1 - framed(true, 2)))[10:-10, 10:-10]
    assert agreement(ink[4:-4, 4:-4], true[4:-4, 4:-4]) > 0.9


def test_more_rules_than_a_page_has_are_left(monkeypatch):
    ink = np.zeros((100, 300), np.float32)
    ink[20:22] = ink[50:52] = ink[80:82] = 1
    assert not binarize._without_rules(ink).any()
    monkeypatch.setattr(binarize, "MAX_RULES", 2)
    np.testing.assert_array_equal(binarize._without_rules(ink), ink)


def test_a_thick_pen_in_a_tight_crop_is_ink():
    ring = np.array([(60, 20.0), (95, 70), (60, 120), (25, 70), (60, 20)])
    for pen in (14.0, 24.0, 30.0):
        half = int(pen / 2) + 3
        crop = draw([ring], [pen], (120, 140))[20 - half :, 25 - half :]
        crop = crop[: 100 + 2 * half, : 70 + 2 * half]
        assert abs(find_ink(1 - crop) - crop).mean() < 0.01, pen
