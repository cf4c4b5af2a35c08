"""The ink that is shown: always as if all strokes had just been drawn."""

import numpy as np
import pytest

from tinycnn.ink.strokes import draw
from tinycnn.window.ink_image import InkImage
from tinycnn.window.session import Stroke


def stroke(*points, width=6.0):
    return Stroke(np.array(points, float), width)


ONE = stroke((10, 10), (60, 50))
TWO = stroke((60, 10), (10, 50), width=9)


def shown(paper):
    return np.asarray(paper.part((0, 0, *paper.size)), int)


def drawn(size, zoom, *strokes):
    """Return the strokes drawn one by one on a whole page, the strongest counting."""
    pages = [
        np.rint(255 * draw([s.points * zoom], [s.pen_width * zoom], size))
        for s in strokes
    ]
    return np.max([np.zeros(size[::-1]), *pages], axis=0)


@pytest.mark.parametrize("zoom", [0.75, 1.0, 1.5])
def test_it_shows_what_strokes_are(zoom):
    paper = InkImage()
    paper.resize((120, 90), zoom)
    paper.show([ONE, TWO])
    assert np.array_equal(shown(paper), drawn((120, 90), zoom, ONE, TWO))


def test_a_stroke_that_goes_leaves_the_others_whole():
    paper = InkImage()
    paper.resize((80, 60), 1.0)
    paper.show([ONE, TWO])
    areas = paper.show([TWO])
    assert np.array_equal(shown(paper), drawn((80, 60), 1.0, TWO))
    x0, y0, x1, y1 = areas[0]
    assert (x0, y0) <= (7, 7)
    assert (x1, y1) >= (63, 53)


def test_pieces_shown_while_drawing_are_replaced_by_the_stroke():
    paper = InkImage()
    paper.resize((80, 60), 1.0)
    paper.add_piece(ONE.points, ONE.pen_width)
    assert paper.inked() is not None
    paper.show([ONE])
    assert np.array_equal(shown(paper), drawn((80, 60), 1.0, ONE))


def test_pieces_of_nothing_can_be_removed():
    paper = InkImage()
    paper.resize((80, 60), 1.0)
    paper.show([TWO])
    paper.add_piece(ONE.points, ONE.pen_width)
    paper.remove_pieces(ONE.points, ONE.pen_width)
    assert np.array_equal(shown(paper), drawn((80, 60), 1.0, TWO))


def test_ink_beyond_the_edge_appears_when_the_paper_grows():
    paper = InkImage()
    paper.resize((40, 30), 1.0)
    paper.show([ONE, TWO])
    paper.resize((80, 60), 1.0)
    assert shown(paper)[45:52, 50:60].max() > 0


def test_another_zoom_draws_everything_again():
    paper = InkImage()
    paper.resize((80, 60), 1.0)
    paper.show([ONE])
    assert paper.resize((80, 60), 0.5)
    paper.show([ONE])
    assert np.array_equal(shown(paper), drawn((80, 60), 0.5, ONE))


@pytest.mark.parametrize("where", [(-500, -500), (5000, 20), (20, -3000)])
def test_ink_far_off_the_paper_costs_nothing(where):
    paper = InkImage()
    paper.resize((80, 60), 1.0)
    far = stroke(where, (where[0] + 10, where[1] + 10))
    for area in paper.show([far]):
        assert paper.part(area).getbbox() is None
    assert paper.inked() is None
