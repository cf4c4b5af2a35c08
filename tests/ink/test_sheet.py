"""The laws of `tinycnn.ink.sheet`: a desk becomes paper, and nothing else changes."""

import numpy as np
import pytest

from tinycnn.ink.picture import picture_ink
from tinycnn.ink.sheet import only_sheet
from tinycnn.ink.strokes import draw

SEVEN = [np.array([(180.0, 150), (240, 150), (200, 270)])]


def photograph(desk, paper=0.95, turned=0.1):
    """Return a page with a 7 in a picture (400, 600), turned a little, and its mask."""
    y, x = np.mgrid[:400, :600]
    across = (x - 300) * np.cos(turned) + (y - 200) * np.sin(turned)
    down = (y - 200) * np.cos(turned) - (x - 300) * np.sin(turned)
    page = (abs(across) < 200) & (abs(down) < 140)
    grey = np.where(page, paper, desk) * (1 - 0.8 * draw(SEVEN, [8.0], (600, 400)))
    return grey.astype(np.float32), page


@pytest.mark.parametrize("desk", [0.02, 0.3, 0.6, 0.75])
@pytest.mark.parametrize("turned", [0.0, 0.2])
def test_around_a_sheet_there_is_only_paper_and_on_it_nothing_changes(desk, turned):
    grey, page = photograph(desk, turned=turned)
    light, tilt = only_sheet(grey)
    assert light[~page].min() > 0.9
    assert tilt == pytest.approx(np.degrees(turned), abs=1)
    ink = draw(SEVEN, [8.0], (600, 400)) > 0
    np.testing.assert_array_equal(light[ink], grey[ink])
    values = picture_ink(light).values
    assert (values[~ink] < 0.1).all()
    assert (values[draw(SEVEN, [4.0], (600, 400)) == 1] > 0.9).all()


def test_what_is_no_sheet_on_a_desk_stays_as_it_is():
    white_on_black, _ = photograph(0.0, 0.0)
    blank = np.full((300, 500), 0.8, np.float32)
    bar = np.zeros((400, 300), np.float32)
    bar[50:350, 110:190] = 1  # a thick 1, light on dark
    y, x = np.mgrid[-1:1:400j, -1:1:300j]
    ring = (abs(np.hypot(x, y) - 0.6) < 0.25).astype(np.float32)  # a thick 0
    ink = 1 - draw(SEVEN, [8.0], (600, 400))
    small, _ = photograph(0.2)
    for grey in (
        white_on_black,
        blank,
        bar,
        ring,
        1 - ring,
        ink,
        1 - ink,
        small[::4, ::4],
    ):
        light, tilt = only_sheet(grey)
        assert light is grey
        assert tilt == 0


def test_a_round_sheet_has_no_tilt():
    y, x = np.mgrid[:400, :600]
    for radius in (150, 170, 190):
        disc = np.where(np.hypot(x - 300, y - 200) < radius, 0.95, 0.2)
        grey = disc * (1 - 0.8 * draw(SEVEN, [8.0], (600, 400)))
        light, tilt = only_sheet(grey.astype(np.float32))
        assert light[0, 0] > 0.9
        assert tilt == 0
