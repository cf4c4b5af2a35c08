"""The laws of strokes: how they are drawn, their files, and what is refused."""

import json
import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycnn.ink import strokes as module
from tinycnn.ink.ink import WORKING_PIXELS, strokes_ink
from tinycnn.ink.strokes import Strokes, StrokesError, draw, load_strokes, save_strokes

SEVEN = {"strokes": [[[10, 10], [40, 10], [20, 60]]], "pen_width": 6, "size": [50, 70]}


def line(*points):
    """Return a stroke through points."""
    return np.array(points, float)


# --- drawing ----------------------------------------------------------------------


@pytest.mark.parametrize("at", [(50, 50), (50.3, 49.7), (50.5, 50.5)])
@pytest.mark.parametrize("width", [3, 5, 8, 14, 30])
def test_a_dot_is_a_disc_of_the_pens_width(width, at):
    ink = draw([line(at)], [width], (100, 100))
    assert ink.sum() == pytest.approx(np.pi * width**2 / 4, rel=0.05)
    centres = np.arange(100) + 0.5
    middle = (
        centres @ ink.sum(axis=0) / ink.sum(),
        centres @ ink.sum(axis=1) / ink.sum(),
    )
    assert middle == pytest.approx(at, abs=0.15)
    far = np.hypot(centres - at[0], (centres - at[1])[:, None])
    assert (ink[far < width / 2 - 1] == 1).all()
    assert (ink[far > width / 2 + 1] == 0).all()


@pytest.mark.parametrize("y", [50, 50.3, 50.5])
@pytest.mark.parametrize("width", [1, 2, 2.4, 3, 8, 14, 30])
def test_a_level_line_covers_its_width_times_its_length(width, y):
    ink = draw([line((20, y), (80, y))], [width], (100, 100))
    assert ink[:, 35:65].sum() == pytest.approx(30 * width, rel=0.05)
    rows = ink.sum(axis=1)
    assert rows @ (np.arange(100) + 0.5) / rows.sum() == pytest.approx(y, abs=0.15)


@pytest.mark.parametrize("width", [2.4, 6, 14])
def test_a_slanted_line_is_as_broad_as_a_level_one(width):
    ink = draw([line((30, 30), (70, 60))], [width], (100, 100))
    assert ink.sum() == pytest.approx(50 * width + np.pi * width**2 / 4, rel=0.05)


def test_a_stroke_has_round_ends_and_round_corners():
    ink = draw([line((20, 20), (80, 20), (80, 80))], [20], (100, 100))
    assert ink[20, 12] == 1  # behind the first point
    assert ink[10, 10] == 0  # no square end
    assert ink[14, 86] == 1  # the outside of the corner is filled
    assert ink[10, 89] == 0  # and not pointed


def test_edges_are_soft_and_lie_in_0_to_1():
    ink = draw([line((20, 20), (80, 63))], [7], (100, 100))
    assert ink.dtype == np.float32
    assert ink.min() == 0
    assert ink.max() == 1
    assert ((ink > 0) & (ink < 1)).sum() > 50


def test_strokes_that_overlap_do_not_add_up():
    stroke = line((20, 20), (80, 63))
    once = draw([stroke], [7], (100, 100))
    assert np.array_equal(draw([stroke, stroke], [7, 7], (100, 100)), once)
    crossed = draw([stroke, stroke[:, ::-1]], [7, 7], (100, 100))
    assert crossed.max() == 1
    assert (crossed >= once).all()


def test_what_lies_outside_the_canvas_is_cut_and_does_no_harm():
    whole = draw([line((50, 50), (250, 90))], [9], (300, 120))
    part = draw([line((-50, -10), (150, 30))], [9], (100, 60))
    assert np.array_equal(part, whole[60:, 100:200])
    assert not draw([line((-500, -500), (-400, -8000))], [9], (30, 20)).any()


def test_a_hairline_and_its_dot_leave_ink():
    for stroke in (line((5, 5)), line((5, 5), (5, 5)), line((5, 5), (9, 8))):
        assert draw([stroke], [0.01], (12, 12)).any()


def test_no_strokes_are_no_ink():
    ink = draw([], [], (7, 5))
    assert ink.shape == (5, 7)
    assert not ink.any()


def test_drawing_edits_no_argument():
    stroke = line((2, 3), (8, 9))
    draw([stroke], [3], (12, 12))
    assert np.array_equal(stroke, line((2, 3), (8, 9)))


def test_ink_of_strokes_is_what_they_draw():
    strokes = Strokes((line((10, 10), (40, 30)),), (5.0,), (60, 40))
    ink = strokes_ink(strokes)
    assert np.array_equal(ink.values, draw(strokes.points, [5], (60, 40)))
    assert (ink.size, ink.scale, ink.strokes) == ((60, 40), 1, strokes)


def test_a_huge_canvas_is_drawn_smaller():
    strokes = Strokes((line((4000, 4000), (4000, 4100)),), (30.0,), (8191, 8192))
    ink = strokes_ink(strokes)
    assert ink.size == strokes.size
    assert ink.values.shape == ink.strokes.size[::-1]
    assert ink.values.size <= WORKING_PIXELS * 1.01
    assert ink.scale > 1
    height, width = ink.values.shape
    assert width * ink.scale >= 8191  # the last block may be narrower
    assert height * ink.scale >= 8192
    assert np.array_equal(ink.strokes.points[0] * ink.scale, strokes.points[0])
    assert ink.values.sum() * ink.scale**2 == pytest.approx(30 * 100 + 707, rel=0.05)


# --- files ------------------------------------------------------------------------


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a document or bytes from a file."""

    def load(content):
        path = tmp_path / "drawing.json"
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        path.write_bytes(content)
        return load_strokes(path)

    return load


coordinates = st.integers(-8_192_000, 8_192_000).map(lambda n: n / 1000)
drawings = st.lists(
    st.tuples(
        st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=5),
        st.floats(0.01, 256),
    ),
    max_size=4,
)


@given(drawings, st.integers(1, 8192), st.integers(1, 8192))
def test_a_file_gives_back_what_was_saved(tmp_path_factory, drawing, width, height):
    path = tmp_path_factory.getbasetemp() / "drawing.json"
    points = tuple(np.array(stroke, float) for stroke, _ in drawing)
    saved = Strokes(points, tuple(pen for _, pen in drawing), (width, height))
    save_strokes(path, saved)
    loaded = load_strokes(path)
    assert loaded.size == saved.size
    assert loaded.pen_widths == saved.pen_widths
    assert len(loaded.points) == len(saved.points)
    for one, other in zip(loaded.points, saved.points, strict=True):
        assert one.dtype == np.float64
        assert np.array_equal(one, other)


def test_one_pen_width_is_every_strokes(load):
    document = {"strokes": [[[1, 2]], [[3, 4]]], "size": [9, 9]}
    assert load(document | {"pen_width": 3}).pen_widths == (3, 3)
    assert load(document | {"pen_width": [3, 5.5]}).pen_widths == (3, 5.5)
    assert load(document).pen_widths == (14, 14)
    assert load(document | {"pen_width": None}).pen_widths == (14, 14)


@pytest.mark.parametrize("size", [{}, {"size": None}])
def test_a_missing_size_is_the_extent_of_the_ink(load, size):
    document = {"strokes": [[[10, 10], [40, 20.5]], [[7, 30]]], "pen_width": [4, 8]}
    strokes = load(document | size)
    assert strokes.size == (42, 34)
    larger = draw(strokes.points, strokes.pen_widths, (60, 60))
    assert np.array_equal(larger[:34, :42], strokes.draw())
    assert not larger[34:].any()
    assert not larger[:, 42:].any()
    assert load({"strokes": []} | size).size == (1, 1)
    assert load({"strokes": [[[-50, -50]]]} | size).size == (1, 1)


def test_whole_numbers_may_be_written_as_decimals(load):
    assert load({"strokes": [], "size": [30.0, 20.0]}).size == (30, 20)


def test_other_keys_are_left_alone(load):
    strokes = load(SEVEN | {"label": "7", "writer": None, "digits": [[]]})
    assert np.array_equal(strokes.points[0], SEVEN["strokes"][0])


def test_a_byte_order_mark_does_no_harm(load):
    assert load(b"\xef\xbb\xbf" + json.dumps(SEVEN).encode()).size == (50, 70)


def refusal(path):
    """Return the one sentence with which a file is refused."""
    with pytest.raises(StrokesError) as caught:
        load_strokes(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) - len(str(path)) < 200
    assert not message.endswith(".")
    return message


HUGE = 10**400
NO_POINTS = [
    *[None, True, 5, "12", {}, [], [[]], [5], [[1]], [[1, 2, 3]], [[1, 2], [3]]],
    *[[["1", "2"]], [[None, 1]], [[[1, 2]]], [[1, {}]], [1, 2], {"x": 1}],
    *[[[True, False]], [[1, 2], None]],
]
FAR = [[[8193, 0]], [[0, -8193]], [[1e300, 1]], [[HUGE, 1]], [[2**64, 1]]]
BAD = [
    *[pytest.param(document, "strokes", id=f"no strokes {i}") for i, document in
      enumerate([[], None, 5, "{}", {}, {"strokes": None}, {"strokes": 5},
                 {"strokes": {}}, {"strokes": "abc"}])],
    *[pytest.param({"strokes": [[[1, 2]], stroke]}, "stroke 1", id=f"no points {i}")
      for i, stroke in enumerate([*NO_POINTS, *FAR])],
    *[pytest.param(SEVEN | {"pen_width": width}, "pen_width", id=f"no width {i}")
      for i, width in enumerate([0, -1, 8193, HUGE, True, "6", {}, [0], ["6"], [None],
                                 [[6]]])],
    *[pytest.param(SEVEN | {"pen_width": widths}, "pen widths", id=f"widths {i}")
      for i, widths in enumerate([[], [6, 6]])],
    *[pytest.param(SEVEN | {"size": size}, "size", id=f"no size {i}")
      for i, size in enumerate([0, [], {}, "", False, True, 50, "50x70", [50], [0, 70],
                                [50, 70, 3], [50, -1], [50.5, 70], [50, 8193],
                                [50, HUGE], [True, 70], [None, None], ["50", "70"],
                                [[50], [70]]])],
    pytest.param({"strokes": [[[8192, 8192]]]}, "size", id="ink beyond any canvas"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "named"), BAD)
def test_a_wrong_document_is_refused_in_one_sentence(tmp_path, document, named):
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(document))
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert named in message.removeprefix(str(path))


def with_number(text):
    """Return three documents with a number that JSON writes as this text."""
    document = json.dumps(SEVEN)
    return [
        document.replace("60", text),
        document.replace("6,", f"{text},"),
        document.replace("70", text),
    ]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_no_number_and_no_end_are_refused(tmp_path, text):
    path = tmp_path / "wrong.json"
    for content in with_number(text):
        assert text in content
        path.write_text(content)
        assert refusal(path).startswith(f"{path}: ")


NO_JSON = {
    "blanks": b" \n",
    "text": b"seven",
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "half of it": json.dumps(SEVEN).encode()[:-5],
    "two of them": json.dumps(SEVEN).encode() * 2,
    "no UTF": b'{"strokes": "\xff"}',
    "zeros": b"\0" * 1000,
    "deep lists": b"[" * 100_000,
    "deep lists that end": b'{"strokes": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "deep objects": b'{"strokes":' * 100_000,
}


@pytest.mark.parametrize("content", NO_JSON.values(), ids=NO_JSON)
def test_what_is_not_json_is_said_to_be_none(tmp_path, content):
    path = tmp_path / "wrong.json"
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert "is not JSON" in message


@pytest.mark.parametrize("depth", [3, 60, 70, 500, 900])
def test_lists_that_nest_less_deep_are_refused_as_well(tmp_path, depth):
    path = tmp_path / "wrong.json"
    nest = "[" * depth + "1" + "]" * depth
    for key in ("strokes", "pen_width", "size"):
        path.write_text(json.dumps(SEVEN | {key: 0}).replace(": 0", f": {nest}"))
        assert refusal(path).startswith(f"{path}: ")


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "missing.json")
    assert "not a regular file" in refusal(tmp_path)
    below = tmp_path / "file"
    below.write_text("")
    assert "is empty" in refusal(below)
    assert "cannot be read" in refusal(below / "drawing.json")
    assert "cannot be read" in refusal(tmp_path / ("x" * 300))
    assert "cannot be read" in refusal("zero\0byte")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    assert "not a regular file" in refusal(tmp_path / "pipe.json")


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "large.json"
    content = json.dumps(SEVEN)
    monkeypatch.setattr(module, "LARGEST_FILE", len(content))
    path.write_text(content)
    assert load_strokes(path).size == (50, 70)
    path.write_text(content + " ")
    assert "save it smaller" in refusal(path)


def test_long_strings_cost_no_more_than_themselves(tmp_path):
    path = tmp_path / "strings.json"
    stroke = ["a" * 1_000_000, *["b"] * 200_000]  # as an array, 800 GB
    path.write_text(json.dumps({"strokes": [stroke]}))
    assert path.stat().st_size < module.LARGEST_FILE
    assert "stroke 0 needs" in refusal(path)


def test_a_name_that_cannot_be_printed_is_shown_escaped(tmp_path):
    with pytest.raises(StrokesError, match=r"two\\nlines"):
        load_strokes(tmp_path / "two\nlines")


def test_saving_replaces_the_file_whole_or_leaves_it(tmp_path):
    path = tmp_path / "drawing.json"
    strokes = Strokes((line((1, 2)),), (3.0,), (9, 9))
    save_strokes(path, strokes)
    save_strokes(path, strokes)
    assert [file.name for file in tmp_path.iterdir()] == ["drawing.json"]
    with pytest.raises(OSError, match=r"missing"):
        save_strokes(tmp_path / "missing" / "drawing.json", strokes)


@pytest.mark.parametrize(
    ("strokes", "points"),
    [(module.MOST_STROKES + 1, 1), (3, module.MOST_POINTS // 3 + 1)],
    ids=["strokes", "points"],
)
def test_more_than_can_be_read_in_time_is_refused(strokes, points, load):
    document = {"strokes": [[[1, 1]] * points] * strokes}
    with pytest.raises(StrokesError, match="split the drawing"):
        load(document)


@pytest.mark.parametrize(
    ("points", "pens"),
    [
        ([np.zeros((2, 2))], []),
        ([np.zeros((0, 2))], [3.0]),
        ([np.zeros((2, 3))], [3.0]),
        ([np.zeros(2)], [3.0]),
        ([np.array([[np.nan, 1.0]])], [3.0]),
    ],
    ids=["pens", "no point", "three numbers", "one dimension", "nan"],
)
def test_strokes_that_cannot_be_drawn_are_refused(points, pens):
    with pytest.raises(StrokesError):
        Strokes(tuple(points), tuple(pens), (10, 10))


GOOD = [np.array([[1.0, 2], [3, 4]])]


@pytest.mark.parametrize(
    ("points", "widths", "size", "named"),
    [
        (GOOD, (-1.0,), (9, 9), "pen_width"),
        (GOOD, (math.nan,), (9, 9), "pen_width"),
        (GOOD, (math.inf,), (9, 9), "pen_width"),
        (GOOD, ("3",), (9, 9), "pen_width"),
        (GOOD, (3.0,), (0, 0), "size"),
        (GOOD, (3.0,), (9, 9000), "size"),
        (GOOD, (3.0,), (9, 9.5), "size"),
        (GOOD, (3.0,), (9,), "size"),
        ([[[1, 2], [3, 4]]], (3.0,), (9, 9), "float64"),
        ([GOOD[0].astype(int)], (3.0,), (9, 9), "float64"),
        ([GOOD[0] + 9000], (3.0,), (9, 9), "scale the drawing"),
        ([GOOD[0] * math.nan], (3.0,), (9, 9), "stroke 0"),
        (GOOD * (module.MOST_STROKES + 1), (3.0,), (9, 9), "split"),
    ],
)
def test_what_could_not_be_kept_cannot_be_made(points, widths, size, named):
    if len(points) > 1:
        widths *= len(points)
    with pytest.raises(StrokesError, match=named):
        Strokes(tuple(points), widths, size)


def test_numbers_of_numpy_are_numbers(tmp_path):
    strokes = Strokes(tuple(GOOD), (np.float32(3),), (np.int64(9), np.int32(7)))
    save_strokes(tmp_path / "a.json", strokes)
    assert load_strokes(tmp_path / "a.json").size == (9, 7)
