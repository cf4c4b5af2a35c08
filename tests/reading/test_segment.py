"""The laws of `tinycnn.reading.segment`: no ink is lost, invented or torn out of order.

The ink is drawn here, or is a pair of the bundled sample's digits pushed together.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.ink.normalize import normalize, normalize_strokes
from tinycnn.ink.strokes import Strokes, draw
from tinycnn.reading import segment
from tinycnn.reading.segment import PicturePage, StrokePage

DIGITS = load_mnist(SAMPLE_FOLDER).test_images[:40].astype(np.float32) / 255


def paper(height=60, width=120):
    """Return paper without ink."""
    return np.zeros((height, width), np.float32)


def bars(*boxes, height=60, width=120):
    """Return full ink within boxes (x0, y0, x1, y1)."""
    ink = paper(height, width)
    for x0, y0, x1, y1 in boxes:
        ink[y0:y1, x0:x1] = 1
    return ink


def touching(first, second, overlap, times=2):
    """Return two of the sample's digits whose boxes overlap by some pixels."""
    glyphs = []
    for image in (DIGITS[first], DIGITS[second]):
        y, x = np.nonzero(image > 0.05)
        tight = image[y.min() : y.max() + 1, x.min() : x.max() + 1]
        glyphs.append(ndimage.zoom(tight, times, order=1))
    (a, b), margin = glyphs, 5
    H = max(len(a), len(b)) + 2 * margin
    left = max(margin + a.shape[1] - overlap, margin)
    ink = paper(H, max(left + b.shape[1], margin + a.shape[1]) + margin)
    ink[margin : margin + len(a), margin : margin + a.shape[1]] = a
    there = ink[margin : margin + len(b), left : left + b.shape[1]]
    np.maximum(there, b, out=there)
    return ink


pairs = st.builds(
    touching,
    st.integers(0, 39),
    st.integers(0, 39),
    st.integers(0, 12),
    st.sampled_from([1, 2, 3]),
)


def stroke_page(*strokes, pen=8.0, size=(400, 200)):
    points = tuple(np.array(stroke, float) for stroke in strokes)
    return StrokePage(Strokes(points, (pen,) * len(points), size))


def pieces_of(page):
    """Return the boxes of a page's pieces, left to right."""
    return sorted(piece.box for piece in page.pieces.values())


def runs(page, most=segment.MOST_PIECES):
    """Return the runs of pieces that are offered, of all lines."""
    return {
        frozenset(candidate.pieces)
        for line in segment.lines(page)
        for candidate in segment.candidates(page, line, most)
    }


# --- components --------------------------------------------------------------------


def test_ink_that_meets_at_a_corner_is_one_component_and_apart_it_is_two():
    meeting = PicturePage(bars((5, 5, 9, 9), (9, 9, 14, 20)))
    assert pieces_of(meeting) == [(5, 5, 14, 20)]
    boxes = [(5, 5, 9, 20), (10, 5, 14, 20)]
    page = PicturePage(bars(*boxes))
    assert pieces_of(page) == boxes
    assert sorted(piece.area for piece in page.pieces.values()) == [60, 60]
    assert {piece.component for piece in page.pieces.values()} == set(page.pieces)


def test_a_soft_edge_belongs_to_the_ink_beside_it():
    ink = bars((10, 10, 20, 40))
    ink[10:40, 8:10] = ink[10:40, 20:22] = 0.3
    ink[10:40, 24] = 0.3  # too far away to be an edge of anything
    page = PicturePage(ink)
    (number,) = page.pieces
    assert (page.owner[10:40, 8:22] == number).all()
    assert (page.owner[:, 24:] == 0).all()
    assert page.pieces[number].box == (10, 10, 20, 40)
    without = ink.copy()
    without[:, 24] = 0
    np.testing.assert_array_equal(page.image([number]), normalize(without))


def test_the_image_of_a_piece_has_no_ink_of_others():
    bracket = [(10, 10, 14, 50), (10, 46, 50, 50)]  # around the other, in its box
    page = PicturePage(bars(*bracket, (25, 10, 40, 40)))
    number = next(n for n, piece in page.pieces.items() if piece.box[0] == 10)
    np.testing.assert_array_equal(page.image([number]), normalize(bars(*bracket)))
    np.testing.assert_array_equal(page.image(list(page.pieces)), normalize(page.values))


@pytest.mark.parametrize("tilt", [-15.0, 10.0, 40.0])
def test_an_image_of_tilted_writing_is_that_of_level_writing(tilt):
    corner = np.array([(40.0, 20), (40, 100), (90, 100)])
    angle = np.radians(tilt)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    level, tilted = (
        draw([(corner - 75) @ by + 75], [8.0], (150, 150)) for by in (np.eye(2), turn)
    )
    page = PicturePage(tilted, tilt)
    image = page.image(list(page.pieces))
    assert abs(image - normalize(level)).mean() < 0.03
    assert abs(normalize(tilted) - normalize(level)).mean() > 0.03


# --- cuts --------------------------------------------------------------------------


@given(pairs)
@example(touching(32, 23, 12, 3.4))
@example(touching(32, 34, 9, 3.8))
@example(touching(34, 25, 7, 0.9))
@example(touching(11, 32, 9, 3.5))
@settings(max_examples=60, deadline=None)
def test_a_cut_neither_loses_nor_invents_ink(ink):
    given_ink = ink.copy()
    page = PicturePage(ink)
    owned, strong = page.owner > 0, ink >= segment.INK
    assert owned[strong].all()
    before = {n: (piece, page.image([n])) for n, piece in page.pieces.items()}
    assert sum(piece.area for piece, _ in before.values()) == strong.sum()
    page.cut(list(page.pieces))
    np.testing.assert_array_equal(page.owner > 0, owned)
    assert set(np.unique(page.owner)) - {0} == set(page.pieces)
    for number, piece in page.pieces.items():
        y, x = np.nonzero((page.owner == number) & strong)
        assert piece.area == len(x) > 0
        assert piece.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)
    for number, (component, image) in before.items():
        parts = [n for n, piece in page.pieces.items() if piece.component == number]
        assert sum(page.pieces[n].area for n in parts) == component.area
        np.testing.assert_array_equal(page.image(parts), image)
    np.testing.assert_array_equal(ink, given_ink)  # no argument is edited


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_cuts_run_from_left_to_right_and_never_cross(ink):
    paths, crossed = segment._cuts(ink, 0.8 * len(ink))
    assert paths.shape == (len(crossed), len(ink))
    assert min(crossed, default=0) >= 0
    for left, right in pairwise(paths):
        assert (left <= right).all()
        assert (left < right).any()


def test_a_thin_bridge_between_two_blobs_is_cut(monkeypatch):
    monkeypatch.setattr(segment, "FILL", 9)  # cut at nothing but minima
    page = PicturePage(bars((10, 10, 35, 50), (35, 29, 45, 31), (45, 10, 70, 50)))
    (number,) = page.pieces
    assert page.cut([number])
    edges = [box[2] for box in pieces_of(page)[:-1]]
    assert any(35 <= edge <= 45 for edge in edges)
    assert number not in page.pieces
    parts = [page.pieces[n] for n in sorted(page.pieces)]
    assert [part.box for part in parts] == pieces_of(page)
    assert {part.component for part in parts} == {number}


def test_a_cut_crosses_more_ink_where_it_is_broad():
    """Digits of thick pens overlap by most of their height; a narrow blot is no two."""
    assert segment._cuts(np.ones((40, 48), np.float32), 60.0)[1]
    assert not segment._cuts(np.ones((40, 44), np.float32), 60.0)[1]


def test_the_bond_across_a_bridge_is_that_of_the_ink_it_crosses():
    """Where more ink is crossed the parts are more likely of one digit."""

    def bond(thickness):
        top = 30 - thickness // 2
        bridge = (35, top, 45, top + thickness)
        page = PicturePage(bars((10, 10, 35, 50), bridge, (45, 10, 70, 50)))
        page.cut(list(page.pieces))
        parts = sorted(page.pieces)
        left = max(k for k, n in enumerate(parts) if page.pieces[n].box[2] <= 45)
        return page._bond(parts[left], parts[left + 1], 40)

    assert 0 < bond(2) < bond(6)


def test_parts_one_above_the_other_are_of_one_digit():
    """A slanted 1 is cut in two, neither of which is a digit."""

    def bond(top):
        page, parts = PicturePage(paper()), ((10, top, 30, top + 20), (30, 28, 50, 48))
        page.pieces = {n: segment.Piece(box, 400, 1) for n, box in enumerate(parts)}
        page._crossed = dict.fromkeys(page.pieces, 1.0)
        return page._bond(0, 1, 40)

    assert bond(9) == bond(47) == segment.SAME
    assert bond(20) == bond(36) == segment.CROSSED


def test_only_what_is_named_is_cut_and_no_stroke_and_nothing_as_narrow_as_a_1():
    blobs = [(10, 10, 35, 50), (35, 29, 45, 31), (45, 10, 70, 50)]
    moved = [(x0 + 75, y0, x1 + 75, y1) for x0, y0, x1, y1 in blobs]
    page = PicturePage(bars(*blobs, *moved, width=200))
    first = next(n for n, piece in page.pieces.items() if piece.box[0] == 10)
    assert page.cut([first])
    assert (85, 10, 145, 50) in pieces_of(page)
    assert not page.cut([])
    parts = [n for n, piece in page.pieces.items() if piece.component == first]
    assert page._bond(parts[0], parts[-1], 40) == segment.APART  # no neighbours

    one = PicturePage(bars((10, 10, 16, 50)))
    assert not one.cut(list(one.pieces))
    strokes = stroke_page([(10, 10), (100, 10)], [(50, 10), (50, 90)])
    assert not strokes.cut(list(strokes.pieces))
    assert len(strokes.pieces) == 2


# --- lines -------------------------------------------------------------------------


def line_boxes(page):
    """Return the boxes of every line, top to bottom, left to right."""
    return [[page.pieces[n].box for n in line.pieces] for line in segment.lines(page)]


def test_strokes_are_read_by_place_and_not_by_the_order_they_were_drawn():
    page = stroke_page(
        [(250, 20), (250, 80)], [(50, 120), (50, 180)], [(150, 20), (150, 80)]
    )
    assert [line.pieces for line in segment.lines(page)] == [(2, 0), (1,)]


def test_a_line_that_rises_stays_one():
    rising = [(10 + 25 * k, 150 - 15 * k, 22 + 25 * k, 180 - 15 * k) for k in range(8)]
    assert rising[-1][3] < rising[0][1]  # the last is above the first altogether
    page = PicturePage(bars(*rising, height=200, width=220))
    assert line_boxes(page) == [rising]


def test_what_is_low_goes_with_the_nearest_line():
    upper = [(10, 5, 22, 35), (60, 5, 72, 35)]
    lower = [(10, 60, 22, 90), (60, 60, 72, 90)]
    comma, bar = (30, 32, 34, 39), (40, 55, 55, 58)
    page = PicturePage(bars(*upper, *lower, comma, bar, height=100))
    first, second = line_boxes(page)
    assert set(first) == {*upper, comma}
    assert set(second) == {*lower, bar}


def test_the_height_of_a_line_is_that_of_its_digits_and_not_of_dots_or_dashes():
    digits = [(x, 10, x + 12, 50) for x in (10, 40, 70)]
    dots = [(x, 46, x + 4, 50) for x in (28, 32, 58, 88, 95)]
    (line,) = segment.lines(PicturePage(bars(*digits, *dots)))
    assert line.height == 40
    dash = (100, 28, 390, 33)  # more ink than both ones together
    ones = [(x, 10, x + 4, 50) for x in (10, 40)]
    (line,) = segment.lines(PicturePage(bars(*ones, dash, width=400)))
    assert line.height == 40


# --- bonds and candidates ----------------------------------------------------------


@given(pairs)
@settings(max_examples=20, deadline=None)
def test_candidates_are_runs_of_a_line_in_order_and_every_piece_is_one(ink):
    page = PicturePage(ink)
    page.cut(list(page.pieces))
    found = segment.lines(page)
    assert sorted(n for line in found for n in line.pieces) == sorted(page.pieces)
    assert {frozenset([n]) for n in page.pieces} <= runs(page)
    for line in found:
        assert len(line.bonds) == len(line.pieces) - 1
        offered = list(segment.candidates(page, line))
        assert [c.start for c in offered] == sorted(c.start for c in offered)
        assert len({(c.start, c.stop) for c in offered}) == len(offered)
        for c in offered:
            boxes = [page.pieces[n].box for n in c.pieces]
            assert c.pieces == line.pieces[c.start : c.stop]
            assert 0 < c.stop - c.start <= segment.MOST_PIECES
            assert c.box[:2] == tuple(np.min(boxes, axis=0)[:2])
            assert c.box[2:] == tuple(np.max(boxes, axis=0)[2:])


def test_no_candidate_is_wider_than_a_digit_or_has_more_pieces():
    blobs = [(10 + 22 * k, 10, 30 + 22 * k, 50) for k in range(4)]
    page = PicturePage(bars(*blobs))
    for line in segment.lines(page):
        for c in segment.candidates(page, line):
            assert c.box[2] - c.box[0] <= segment.WIDEST * 40
    assert max(map(len, runs(page))) == 2
    page = PicturePage(bars(*[(10 + 4 * k, 10, 12 + 4 * k, 50) for k in range(8)]))
    assert max(map(len, runs(page))) == 8
    assert max(map(len, runs(page, 5))) == 5


def test_what_is_far_apart_is_in_no_candidate_together():
    page = PicturePage(bars((10, 10, 16, 50), (45, 10, 51, 50)))
    assert max(map(len, runs(page))) == 1
    page = stroke_page([(20, 20), (20, 80)], [(70, 20), (70, 80)], pen=4)
    assert max(map(len, runs(page))) == 1


FIVE = [
    [(30, 12), (28, 45), (50, 42), (62, 58), (52, 82), (26, 84)],
    [(36, 10), (64, 8)],
]


def test_a_five_and_its_detached_bar_are_offered_together():
    page = stroke_page(*FIVE, pen=6)
    assert page._bond(0, 1, 80) == page._bond(1, 0, 80)
    assert frozenset([0, 1]) in runs(page)
    np.testing.assert_array_equal(
        page.image([0, 1]), normalize_strokes([np.array(s, float) for s in FIVE])
    )
    drawn = draw([np.array(s, float) for s in FIVE], [4, 4], (100, 100))
    page = PicturePage(drawn)
    assert len(page.pieces) == 2
    assert frozenset(page.pieces) in runs(page)


def test_a_bar_that_comes_between_keeps_nothing_apart():
    """By its middle the bar stands between two pieces that touch each other's row."""
    page = PicturePage(bars((10, 14, 14, 50), (16, 14, 20, 50), (10, 6, 20, 10)))
    assert frozenset(page.pieces) in runs(page)


def test_strokes_that_cross_are_likely_of_one_digit_and_apart_they_are_not():
    def bond(shift):
        upright = [(60 + shift, 20), (60 + shift, 90)]
        page = stroke_page([(30, 55), (80, 55)], upright, pen=6)
        return page._bond(0, 1, 76)

    assert bond(0) > 1
    assert bond(0) > bond(30) > bond(45) > bond(80)
    assert bond(30) < 0
    assert bond(80) == segment.APART


def test_the_gap_of_two_pieces_is_measured_along_a_row_from_ink_to_ink():
    page = PicturePage(bars((10, 10, 20, 30), (10, 30, 14, 50), (24, 10, 34, 50)))
    assert page._gap(1, 2, 40) == 4
    above = PicturePage(bars((10, 10, 20, 20), (10, 27, 20, 50)))
    assert above._gap(1, 2, 40) == 7


# --- strokes -----------------------------------------------------------------------


def test_strokes_meet_that_cross_or_touch_but_run_not_side_by_side():
    for stroke, meets in [
        ([(20, 50), (100, 50)], True),
        ([(0, 50), (80, 50)], True),
        ([(0, 0), (40, 100)], True),
        ([(0, 30), (60, 30), (60, 70), (0, 70)], True),
        ([(26, 50), (80, 50)], False),
        ([(22, 10), (22, 90)], False),  # side by side
        ([(20, 0), (20, 100)], False),  # the same again
    ]:
        page = stroke_page([(20, 0), (20, 100)], stroke)
        assert page.meet(0, 1, 100.0) == meets, stroke
        assert page.meet(1, 0, 100.0) == meets, stroke


def test_a_dot_is_a_piece_with_bonds():
    still, once = (stroke_page([(30, 40)] * n, pen=10) for n in (5, 1))
    assert still.pieces == once.pieces
    for page in (still, once):
        assert page.pieces[0].box == (25, 35, 35, 45)
        assert page.image([0]).max() == 1
        (line,) = segment.lines(page)
        assert [c.pieces for c in segment.candidates(page, line)] == [(0,)]
    page = stroke_page([(30, 40)], [(30, 40), (30, 100)], [(200, 40)])
    assert page._bond(0, 1, 60) > 1
    assert page._bond(0, 2, 60) == segment.APART
    assert frozenset([0, 1]) in runs(page)


def test_few_points_are_as_near_as_many():
    """A stroke is its line, however many of its points were noted."""
    few = [[(60, 20), (60, 90)], [(64, 55), (110, 55)]]
    many = [np.linspace(*stroke, 50) for stroke in few]
    pages = [stroke_page(*strokes, pen=6) for strokes in (few, many)]
    ours, theirs = (page._bond(0, 1, 76) for page in pages)
    assert ours == pytest.approx(theirs, abs=1)
    long = stroke_page([(0, 0), (8000, 0)], [(5, 2), (6, 2)])
    assert len(long._gaps(1, 0, 1.0)) == segment.MOST_SAMPLES


def test_of_too_many_components_the_longest_stay(monkeypatch):
    """A page of numbers loses its dirt first, and no 1 before a 0."""
    monkeypatch.setattr(segment, "MOST_COMPONENTS", 2)
    ink = bars((10, 10, 40, 30), (50, 5, 53, 55), (70, 5, 73, 55))
    assert pieces_of(PicturePage(ink)) == [(50, 5, 53, 55), (70, 5, 73, 55)]
    monkeypatch.setattr(segment, "MOST_MEASURED", 2)  # those of most ink
    assert pieces_of(PicturePage(ink)) == [(10, 10, 40, 30), (50, 5, 53, 55)]


def test_once_a_page_took_its_time_images_are_blank_and_nothing_is_cut(monkeypatch):
    dumbbell = bars((10, 10, 35, 50), (35, 29, 45, 31), (45, 10, 70, 50))
    for page in (PicturePage(dumbbell), stroke_page([(10, 10), (40, 90)])):
        assert page.image([*page.pieces]).any()
        page.left = 0
        assert not page.image([*page.pieces]).any()
        assert not page.cut([*page.pieces])
    monkeypatch.setattr(segment, "MOST_COMPONENTS", 1)  # nor cut into more parts
    assert not PicturePage(dumbbell).cut([1])


def test_a_frame_around_digits_is_left_out_and_a_0_around_a_speck_is_not():
    ring = paper()
    ring[5:57, 10:110] = 1
    ring[8:54, 13:107] = 0
    underline = bars((5, 52, 115, 55), (5, 5, 9, 55), (111, 5, 115, 55))
    for drawn, inside, left in [
        (ring, [(40, 20, 44, 45)], 1),
        (ring, [(40, 20, 44, 24)], 2),
        (underline, [(40, 15, 44, 48), (70, 15, 74, 48)], 3),
    ]:
        page = PicturePage(np.maximum(drawn, bars(*inside)))
        page.unframe()
        assert len(page.pieces) == left


def frames_in(ink):
    page = PicturePage(ink)
    before = len(page.pieces)
    page.unframe()
    return before - len(page.pieces)


def around_them(height: int, *inside: tuple[int, int, int, int]) -> np.ndarray:
    """Return the ink of a ring of a height, and of boxes in it."""
    ink = bars(*inside, height=height, width=100)
    ink[:3] = ink[-3:] = ink[:, :3] = ink[:, -3:] = 1
    return ink


def test_a_frame_is_around_something_large_enough():
    for inside, is_frame in [
        ([(20, 20, 24, 70)], True),
        ([(20, 20, 24, 55)], False),  # a speck in a 0
        ([(20, 20, 24, 55), (60, 20, 64, 55)], True),
        ([(20, 20, 24, 40), (60, 20, 64, 40)], False),
    ]:
        assert frames_in(around_them(100, *inside)) == is_frame, inside
    small = around_them(16, (20, 5, 22, 12), (60, 5, 62, 12))
    assert frames_in(small) == 0


def test_a_frame_may_have_a_gap_and_no_side_may_be_open():
    for gap, is_frame in [(0, True), (24, True), (70, False)]:
        ink = around_them(100, (20, 20, 24, 80), (70, 20, 74, 80))
        ink[15 : 15 + gap, -3:] = 0
        for turns in range(4):
            turned = np.rot90(ink, turns).copy()
            assert frames_in(turned) == is_frame, (gap, turns)


def ring(turns=1.0, width=160, height=80):
    """Return a stroke round the middle of the canvas."""
    angle = np.linspace(0, 2 * np.pi * turns, 60)
    return np.stack([200 + width * np.cos(angle), 100 + height * np.sin(angle)], 1)


ONES = [[(150, 70), (150, 130)], [(250, 70), (250, 130)]]
CORNERS = [(60, 30), (340, 30), (340, 170), (60, 170), (60, 30)]
SIDES = [[(x0 - 4, y0), (x1 + 4, y1)] for (x0, y0), (x1, y1) in pairwise(CORNERS)]


def test_a_frame_of_strokes_around_digits_is_left_out():
    for drawn in ([ring()], [ring(0.95)], [ring(1.1)], [CORNERS], SIDES):
        page = stroke_page(*ONES, *drawn)
        page.unframe()
        assert sorted(page.pieces) == [0, 1]


def test_strokes_that_frame_nothing_stay():
    small = ring(width=50)
    for drawn in [
        [],
        [ring()],  # a 0
        [small, [(155, 170), (245, 30)]],  # a slash in it from side to side
        [small, [(200, 10), (200, 190)]],  # a 1 over it
        [small, [(195, 90), (205, 110)]],  # a dot in it
        [ring(0.6), *ONES],  # the upper right is open
        [[(60, 160), (340, 160)], *ONES],  # a line under a number
    ]:
        page = stroke_page(*drawn)
        page.unframe()
        assert len(page.pieces) == len(drawn), drawn


def test_a_stroke_that_touches_a_frame_stays_beside_those_in_it():
    page = stroke_page(*ONES, ring(), [(200, 70), (200, 190)])
    page.unframe()
    assert sorted(page.pieces) == [0, 1, 3]
