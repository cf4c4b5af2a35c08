"""The ink on the screen: always as if all strokes had just been drawn."""

import numpy as np
import pytest

from tinycnn.ink.strokes import draw
from tinycnn.window.ink_image import InkImage
from tinycnn.window.session import Stroke


def stroke(*points, width=6.0):
    return Stroke(np.array(points, float), width)


ONE = stroke((10, 10), (60, 50))
TWO = stroke((60, 10), (10, 50), width=9)


def ink_image(*strokes, size=(80, 60), zoom=1.0):
    image = InkImage()
    image.resize(size, zoom, (0.0, 0.0))
    image.show(strokes)
    return image


def shown(image):
    return np.asarray(image.image, int)


def drawn(size, zoom, *strokes):
    """Return the maximum of the strokes, each drawn on a page of its own."""
    pages = [
        np.rint(255 * draw([s.points * zoom], [s.pen_width * zoom], size))
        for s in strokes
    ]
    return np.max([np.zeros(size[::-1]), *pages], axis=0)


@pytest.mark.parametrize("zoom", [0.75, 1.0, 1.5])
def test_it_shows_the_strokes_at_every_zoom(zoom):
    image = ink_image(ONE, TWO, size=(120, 90), zoom=zoom)
    assert np.array_equal(shown(image), drawn((120, 90), zoom, ONE, TWO))
    assert image.resize((120, 90), zoom / 2, (0.0, 0.0))
    image.show([ONE])
    assert np.array_equal(shown(image), drawn((120, 90), zoom / 2, ONE))


def test_strokes_come_and_go_whole_and_pieces_are_replaced_by_the_stroke():
    both = drawn((80, 60), 1.0, ONE, TWO)
    image = ink_image(ONE, TWO, size=(40, 30))
    image.resize((80, 60), 1.0, (0.0, 0.0))  # ink beyond the edge appears
    image.show([ONE, TWO])
    assert np.array_equal(shown(image), both)
    assert image.show([TWO])
    assert not image.show([TWO])
    assert np.array_equal(shown(image), drawn((80, 60), 1.0, TWO))
    image.add_piece(np.array([[40.0, 30], [75, 55]]), ONE.pen_width)
    assert not image.show([TWO], growing=True)
    assert not np.array_equal(shown(image), drawn((80, 60), 1.0, TWO))
    assert image.show([TWO])
    assert np.array_equal(shown(image), drawn((80, 60), 1.0, TWO))
    image.show([ONE, TWO])
    assert np.array_equal(shown(image), both)


@pytest.mark.parametrize("where", [(-500, -500), (5000, 20), (20, -3000)])
def test_ink_far_off_the_image_is_not_drawn(where):
    image = ink_image()
    far = stroke(where, (where[0] + 10, where[1] + 10))
    image.show([far])
    assert image.image.getbbox() is None


def test_the_eraser_finds_strokes_near_its_way_also_between_points():
    image = ink_image(ONE, TWO)
    for way, found in (
        ([(35, 0), (35, 9)], []),
        ([(20, 0), (20, 18)], [ONE]),
        ([(0, 42), (5, 42)], [TWO]),
        ([(0, 30), (79, 30)], [ONE, TWO]),  # fast
        ([(35, 30), (35, 30)], [ONE, TWO]),
    ):
        assert image.strokes_at(np.array(way, float), 4) == found, way
