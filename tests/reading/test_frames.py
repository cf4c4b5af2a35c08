"""What is drawn around a number is not read, and no digit is lost with it."""

import numpy as np
import pytest

from tinycnn.ink.strokes import Strokes


@pytest.fixture(scope="module")
def digits(glyphs):
    """Return the typical digit of each label, cut to its ink, 60 pixels high."""
    typical = []
    for image in glyphs:
        y, x = np.nonzero(image > 0.3)
        tight = image[y.min() : y.max() + 1, x.min() : x.max() + 1]
        typical.append(np.pad(np.kron(tight, np.ones((3, 3))), ((0, 0), (6, 6))))
    return typical


def written(digits, text):
    """Return a number, its digits on one line."""
    chosen = [digits[int(label)] for label in text]
    height = max(map(len, chosen))
    return np.hstack([np.pad(d, ((height - len(d), 0), (0, 0))) for d in chosen])


def framed(ink, thickness):
    """Return ink with a frame along its border."""
    drawn = np.ones(ink.shape)
    inner = slice(thickness, -thickness)
    drawn[inner, inner] = ink[inner, inner]
    return drawn


def read(reader, ink, beyond):
    """Return what is read in dark ink on light paper."""
    picture = np.rint(255 - 255 * np.pad(ink, beyond)).astype(np.uint8)
    return reader.read(picture).text


@pytest.mark.parametrize("text", ["71", "7295", "20418306"])
def test_a_close_frame_is_not_read(reader, digits, text):
    for margin, thickness in [(6, 1), (6, 4), (15, 2), (30, 6)]:
        ink = framed(np.pad(written(digits, text), margin + thickness), thickness)
        for beyond in (3, 20, 100):
            case = margin, thickness, beyond
            assert read(reader, ink, beyond) == text, case


def test_the_cells_of_a_form_are_not_read(reader, digits):
    number = np.pad(written(digits, "7295"), ((12, 12), (0, 0)))
    ends = np.cumsum([digits[int(label)].shape[1] for label in "7295"])
    parts = np.split(number, ends[:-1], axis=1)
    for thickness in (1, 3):
        padded = [np.pad(part, ((0, 0), (12, 12))) for part in parts]
        cells = np.hstack([framed(cell, thickness) for cell in padded])
        for beyond in (3, 20, 100):
            assert read(reader, cells, beyond) == "7295", (thickness, beyond)


def test_digits_that_touch_their_frame_are_read(reader, digits):
    ink = np.pad(written(digits, "24683"), ((16, 2), (12, 12)))
    for thickness in (1, 3):
        assert read(reader, framed(ink, thickness), 10) == "24683"


def test_digits_that_a_bent_underline_joins_are_not_lost(reader, digits):
    ink = np.pad(written(digits, "1805"), ((6, 20), (6, 6)))
    x = np.arange(ink.shape[1])
    middle = len(ink) - 12 - 56 * np.square(x / len(x) - 0.5)
    ink[np.abs(np.arange(len(ink))[:, np.newaxis] - middle) < 1.5] = 1
    assert len(read(reader, ink, 10)) == 4


def test_a_ring_drawn_around_a_number_by_pen_is_not_read(reader):
    seven = np.array([[100.0, 60], [140, 60], [115, 130]])
    one = np.array([[170.0, 60], [170, 130]])
    turn = np.linspace(0, 2 * np.pi, 60)
    circle = np.stack([135 + 90 * np.cos(turn), 95 + 80 * np.sin(turn)], axis=1)
    corners = [(60, 20), (215, 20), (215, 170), (60, 170), (60, 20)]
    for ring in (circle, np.array(corners, np.float64)):
        for strokes in ((ring, seven, one), (seven, one, ring)):
            drawing = Strokes(strokes, (8.0,) * 3, (300, 200))
            assert reader.read(drawing).text == "71"
