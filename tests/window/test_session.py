"""Drawing, history, readings and corrections, without a window."""

from itertools import pairwise
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinycnn.ink.strokes import LARGEST_SIDE, MOST_STROKES, load_strokes, save_strokes
from tinycnn.reading.result import Digit, Reading, turned_box
from tinycnn.window.correcting import Correcting
from tinycnn.window.session import MARGIN, MOST_STEPS, SPACING, Session, digit_at


def draw(session, *positions):
    """Draw one stroke through positions."""
    assert session.pen_down(*positions[0])
    for position in positions[1:]:
        session.pen_move(*position)
    return session.pen_up()


def line(x0=10, y0=10, x1=60, y1=60, steps=10):
    return [
        (x0 + (x1 - x0) * k / steps, y0 + (y1 - y0) * k / steps)
        for k in range(steps + 1)
    ]


def digit(label, box, confidence=0.99):
    return Digit(label, confidence, box, ((label or 0, confidence),))


def reading(*digits):
    return Reading((digits,))


def read(session, *digits):
    """Let the session accept a reading of its current ink."""
    return session.answer(session.revision, reading(*digits))


def relabel(session, label, index=0):
    session.correct([index], [(session.reading.digits[index].box, label)])


@pytest.mark.parametrize("turns", range(4))
def test_two_digits_of_a_turned_picture_lie_along_its_line(turns):
    session, one = Session(), digit(7, turned_box((10, 20, 70, 60), -turns))
    draw(session, *line())
    session.answer(session.revision, Reading(((one,),), turns=turns))
    correcting = Correcting(Mock(session=session), Mock())
    correcting.chosen = [0]
    correcting.two_digits()
    for key in "31":
        correcting.press(key)
    found = [(d.digit, d.box) for d in session.reading.upright().digits]
    assert found == [(3, (10, 20, 40, 60)), (1, (40, 20, 70, 60))]


def test_a_new_canvas_is_empty_has_nothing_to_undo_and_grows_with_its_ink():
    session = Session()
    assert session.is_empty
    assert session.is_settled
    assert not session.can_step(-1)
    assert not session.can_step(1)
    assert session.drawing.strokes.points == ()
    draw(session, *line(0, 0, 900.2, 500))
    assert session.drawing.strokes.size == (901 + MARGIN, 500 + MARGIN)


def test_a_stroke_is_fine_and_smooth_and_near_every_position():
    positions = [(10, 10), (40, 20), (70, 90), (20, 120), (25, 60)]
    points = draw(Session(), *positions).points
    assert points[[0, -1]].tolist() == [[10, 10], [25, 60]]
    assert np.hypot(*np.diff(points, axis=0).T)[:-1].max() < 1.5 * SPACING
    for middle in np.add(positions[1:-2], positions[2:-1]) / 2:
        assert np.hypot(*(points - middle).T).min() < SPACING / 2
    stairs = np.array([(x, round(x / 3)) for x in range(0, 120, 2)])  # a slow line
    x, y = draw(Session(), *stairs).points[3:-3].T
    raw = stairs[3:-3]
    assert abs(y - x / 3).mean() < 0.7 * abs(raw[:, 1] - raw[:, 0] / 3).mean()
    x, y = draw(Session(), *line(0, 0, 300, 150, steps=5)).points.T
    assert abs(y - x / 2).max() < 0.01
    assert (np.diff(x) > 0).all()
    angles = np.arange(0, 6, 0.5)
    circle = 100 + 50 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = draw(Session(), *circle).points[30:-30]
    assert np.ptp(np.hypot(*(points - 100).T)) < 0.5  # that of the polygon is 1.6
    assert draw(Session(), (5, 6)).points.tolist() == [[5, 6]]
    jitter = [(51, 50), (50, 51)] * 1000
    assert len(draw(Session(), (50, 50), *jitter).points) <= 2


def test_segments_shown_while_drawing_lead_to_the_pointer():
    session = Session()
    assert session.pen_move(9, 9) is None
    positions = [(0, 0), (20, 5), (40, 20), (45, 50), (20, 70), (0, 60)]
    session.pen_down(*positions[0])
    for before, position in pairwise(positions):
        assert session.pen_move(*position).tolist() == [[*before], [*position]]
    assert session.pen_move(1, 60) is None  # too short a way


def test_strokes_and_clearing_are_steps_and_undo_takes_an_unfinished_stroke():
    session = Session()
    strokes = tuple(draw(session, *line(x0=20 * k)) for k in range(3))
    for by, count in ((-1, 2), (-1, 1), (1, 2)):
        assert session.step(by)
        assert session.drawn.strokes == strokes[:count]
    fresh = draw(session, *line(x0=300))
    assert not session.can_step(1)
    session.put()
    assert session.is_empty
    session.pen_down(0, 0)
    session.pen_move(50, 50)
    assert session.step(-1)
    assert session.is_empty
    session.step(-1)
    assert session.drawn.strokes == (*strokes[:2], fresh)


def test_one_sweep_of_the_eraser_is_one_step_or_none_if_it_hit_nothing():
    session = Session()
    strokes = tuple(draw(session, *line(0, y, 100, y)) for y in (0, 50, 100))
    for stroke in strokes:
        assert session.erase([stroke])
    assert session.is_empty
    session.settle()
    session.step(-1)
    assert session.drawn.strokes == strokes
    assert not session.erase([])
    session.settle()
    session.step(-1)
    assert session.drawn.strokes == strokes[:2]


def test_history_and_strokes_are_limited():
    session = Session()
    for k in range(MOST_STROKES):
        assert session.pen_down(k, 5), k
        session.pen_up()
    assert not session.pen_down(1, 1)
    undone = 0
    while session.step(-1):
        undone += 1
    assert undone == MOST_STEPS - 1
    assert session.pen_down(1, 1)


def test_an_endless_stroke_and_one_along_the_edge_can_be_saved(tmp_path):
    """A smooth line overshoots the positions a little."""
    endless = [(k * 7 % 900, k * 13 % 500) for k in range(20_000)]
    edge = [(8000, 0), (8192, 100), (8192, 200), (9000, 300), (8192, 400), (8000, 500)]
    for positions in (endless, edge):
        session = Session()
        draw(session, *positions)
        save_strokes(tmp_path / "long.json", session.drawing.strokes)
        assert len(load_strokes(tmp_path / "long.json").points) == 1
    assert session.drawing.strokes.points[0].max() == LARGEST_SIDE


def test_a_newer_reading_is_never_replaced_but_an_older_one_may_be_shown_first():
    session = Session()
    draw(session, *line())
    old = session.revision
    draw(session, *line(x0=100))
    assert not session.is_settled
    new = digit(1, (0, 0, 9, 9)), digit(2, (9, 9, 20, 20))
    assert read(session, *new)
    assert session.is_settled
    assert not session.answer(old, reading(*new[:1]))
    assert session.reading.digits == new
    old = session.revision
    draw(session, *line(0, 0, 50, 50))
    assert session.answer(old, reading(*new[:1]))  # better than none meanwhile
    assert not session.is_settled


@pytest.mark.parametrize("how", ["undo", "clear", "erase"])
def test_an_empty_canvas_has_no_reading_and_accepts_none_of_removed_ink(how):
    session, found = Session(), digit(1, (0, 0, 100, 5))
    stroke = draw(session, *line(0, 0, 100, 0))
    old = session.revision
    assert read(session, found)
    assert {
        "undo": lambda: session.step(-1),
        "clear": lambda: session.put() is None,
        "erase": lambda: session.erase([stroke]),
    }[how]()
    assert session.reading.text == ""
    assert session.is_settled
    assert not read(session, found)
    draw(session, *line())
    assert not session.answer(old, reading(found))


def test_the_digit_under_a_point_is_the_smallest_one_there():
    found = reading(digit(2, (0, 0, 100, 100)), digit(1, (20, 20, 40, 40)))
    points = ((30, 30), (80, 80), (150, 30))
    assert [digit_at(found, *point) for point in points] == [1, 0, None]


def corrected():
    """Return a session with one digit, corrected from 1 to 7."""
    session = Session()
    draw(session, *line())
    read(session, digit(1, (3, 3, 67, 67)))
    relabel(session, 7)
    return session


def test_a_correction_is_a_step_and_stays_until_the_next_or_until_its_ink_changes():
    session = corrected()
    assert session.corrected_boxes() == {(3, 3, 67, 67)}
    assert session.is_settled
    for by, text in ((-1, "1"), (1, "7")):
        assert session.step(by)
        assert session.reading.text == text
        assert bool(session.corrected_boxes()) == (text == "7")
    box, far = (3, 3, 67, 67), digit(2, (193, 0, 257, 57))
    draw(session, *line(200, 0, 250, 50))
    read(session, digit(1, box), far)
    assert session.reading.text == "72"
    relabel(session, 4)
    assert session.reading.text == "42"
    assert len(session.drawn.corrections) == 1
    draw(session, *line(60, 10, 10, 60))
    read(session, digit(8, box), far)
    assert session.reading.text == "82"


def test_an_erased_digit_takes_its_correction_along_and_leaves_the_others():
    session = corrected()
    strokes = *session.drawn.strokes, draw(session, *line(200, 0, 250, 50))
    near, far = digit(1, (3, 3, 67, 67)), digit(2, (193, 0, 257, 57))
    read(session, near, far)
    assert session.reading.text == "72"
    for way in ("digit", "eraser"):
        if way == "digit":
            assert session.erase_digits([0])
        else:
            session.erase(strokes[:1])
            session.settle()
        assert read(session, far)
        assert session.reading.digits == (far,)
        assert session.drawn.strokes == strokes[1:]
        assert session.step(-1)
        assert session.drawn.strokes == strokes
        read(session, near, far)
        assert session.reading.text == "72"
    session.erase_digits([0])
    draw(session, *line())
    read(session, near, far)
    assert session.reading.text == "12"
    read(session, digit(1, (400, 3, 467, 67)))  # of a picture
    assert not session.erase_digits([0])


def test_of_a_stroke_that_is_of_two_digits_only_the_erased_ones_ink_goes():
    session = Session()
    both, pokes = draw(session, *line(0, 50, 300, 50)), draw(session, *line(80, 10))
    near, far = digit(1, (0, 40, 100, 60)), digit(4, (150, 40, 300, 60))
    read(session, near, digit(7, (55, 5, 85, 65)), far)
    assert session.erase_digits([0])
    left, other = session.drawn.strokes
    assert other is pokes
    assert 100 < left.points[:, 0].min() < 105
    assert left.points[-1].tolist() == [300, 50]
    read(session, far)
    assert session.erase_digits([0])
    session.step(-1)
    session.step(-1)
    assert session.drawn.strokes == (both, pokes)
    read(session, near, digit(7, (55, 5, 85, 65)), far)
    assert session.erase_digits([0, 1])
    (left,) = session.drawn.strokes
    assert 100 < left.points[:, 0].min() < 105


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("draw"), st.integers(0, 300), st.integers(0, 300), st.booleans()
        ),
        st.tuples(st.just("erase"), st.integers(0, 2)),
        st.sampled_from([("undo",), ("redo",), ("clear",), ("answer",), ("correct",)]),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_undoing_everything_empties_the_canvas(actions):
    session = Session()
    for action, *where in actions:
        if action == "draw":
            x, y, up = where
            session.pen_down(x, y)
            session.pen_move(x + 30, y + 40)
            if up:
                session.pen_up()
        elif action == "erase":
            strokes = session.drawn.strokes
            session.erase(strokes[where[0] :: 3])
        elif action == "answer":
            ends = [stroke.points[-1].tolist() for stroke in session.drawn.strokes]
            boxes = [
                (int(x) - 35, int(y) - 45, int(x) + 5, int(y) + 5) for x, y in ends
            ]
            found = [digit(n % 10, box) for n, box in enumerate(boxes)]
            read(session, *found)
        elif action == "correct" and session.reading.digits:
            relabel(session, 9)
        elif action == "clear":
            session.put()
        elif action in ("undo", "redo"):
            session.step(-1 if action == "undo" else 1)
    while session.step(-1):
        pass
    assert session.is_empty
    assert session.reading.text == ""
    while session.step(1):
        pass
    assert not session.can_step(1)
