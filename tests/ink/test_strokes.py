"""The laws of strokes: how they are drawn, their files, and what is refused."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycnn.ink import strokes as module
from tinycnn.ink.strokes import (
    Strokes,
    StrokesError,
    draw,
    load_strokes,
    save_strokes,
    strokes_ink,
)

SEVEN = {"strokes": [[[10, 10], [40, 10], [20, 60]]], "pen_width": 6, "size": [50, 70]}


def line(*points):
    """Return a stroke through points."""
    return np.array(points, float)


# --- drawing ----------------------------------------------------------------------


@pytest.mark.parametrize("at", [(50, 50), (50.3, 49.7), (50.5, 50.5)])
def test_a_dot_is_a_disc_of_the_pens_width(at):
    centres = np.arange(100) + 0.5
    far = np.hypot(centres - at[0], (centres - at[1])[:, None])
    for width in (3, 5, 8, 14, 30):
        ink = draw([line(at)], [width], (100, 100))
        assert ink.sum() == pytest.approx(np.pi * width**2 / 4, rel=0.05)
        middle = [centres @ ink.sum(axis=axis) / ink.sum() for axis in (0, 1)]
        assert middle == pytest.approx(at, abs=0.15)
        assert (ink[far < width / 2 - 1] == 1).all()
        assert (ink[far > width / 2 + 1] == 0).all()


def test_a_line_covers_its_width_times_its_length():
    for width in (1, 2, 2.4, 3, 8, 14, 30):
        for y in (50, 50.3, 50.5):
            ink = draw([line((20, y), (80, y))], [width], (100, 100))
            assert ink[:, 35:65].sum() == pytest.approx(30 * width, rel=0.05)
            rows = ink.sum(axis=1)
            middle = rows @ (np.arange(100) + 0.5) / rows.sum()
            assert middle == pytest.approx(y, abs=0.15), width
    for width in (2.4, 6, 14):
        ink = draw([line((30, 30), (70, 60))], [width], (100, 100))
        assert ink.sum() == pytest.approx(50 * width + np.pi * width**2 / 4, rel=0.05)


def test_a_stroke_has_round_ends_and_round_corners():
    ink = draw([line((20, 20), (80, 20), (80, 80))], [20], (100, 100))
    assert ink[20, 12] == 1  # behind the first point
    assert ink[10, 10] == 0  # no square end
    assert ink[14, 86] == 1  # the outside of the corner is filled
    assert ink[10, 89] == 0  # and not pointed


def test_edges_are_soft_and_strokes_that_overlap_do_not_add_up():
    stroke = line((20, 20), (80, 63))
    once = draw([stroke], [7], (100, 100))
    assert np.array_equal(stroke, line((20, 20), (80, 63)))  # no argument is edited
    assert once.dtype == np.float32
    assert (once.min(), once.max()) == (0, 1)
    assert ((once > 0) & (once < 1)).sum() > 50
    assert np.array_equal(draw([stroke, stroke], [7, 7], (100, 100)), once)
    crossed = draw([stroke, stroke[:, ::-1]], [7, 7], (100, 100))
    assert crossed.max() == 1
    assert (crossed >= once).all()


def test_what_lies_outside_the_canvas_is_cut_and_does_no_harm():
    inside = draw([line((50, 50), (250, 90))], [9], (300, 120))
    part = draw([line((-50, -10), (150, 30))], [9], (100, 60))
    assert np.array_equal(part, inside[60:, 100:200])
    for strokes in ([line((-500, -500), (-400, -8000))], []):
        ink = draw(strokes, [9] * len(strokes), (30, 20))
        assert ink.shape == (20, 30)
        assert not ink.any()


def test_a_hairline_and_its_dot_leave_ink():
    for stroke in (line((5, 5)), line((5, 5), (5, 5)), line((5, 5), (9, 8))):
        assert draw([stroke], [0.01], (12, 12)).any()


def test_ink_of_strokes_is_what_they_draw_and_of_a_huge_canvas_smaller():
    strokes = Strokes((line((10, 10), (40, 30)),), (5.0,), (60, 40))
    ink = strokes_ink(strokes)
    assert np.array_equal(ink.values, draw(strokes.points, [5], (60, 40)))
    assert (ink.size, ink.scale, ink.strokes) == ((60, 40), 1, strokes)
    huge = Strokes((line((4000, 4000), (4000, 4100)),), (30.0,), (8191, 8192))
    ink = strokes_ink(huge)
    assert ink.size == huge.size
    assert ink.values.shape == ink.strokes.size[::-1]
    assert ink.values.size <= module.WORKING_PIXELS * 1.01
    assert ink.scale > 1
    height, width = ink.values.shape
    assert width * ink.scale >= 8191  # the last block may be narrower
    assert height * ink.scale >= 8192
    assert np.array_equal(ink.strokes.points[0] * ink.scale, huge.points[0])
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
    assert (loaded.size, loaded.pen_widths) == (saved.size, saved.pen_widths)
    for one, other in zip(loaded.points, saved.points, strict=True):
        assert one.dtype == np.float64
        assert np.array_equal(one, other)


def test_missing_pen_widths_and_sizes_are_filled_in_and_other_keys_ignored(load):
    document = {"strokes": [[[10, 10], [40, 20.5]], [[7, 30]]]}
    assert load(document).pen_widths == (14, 14)
    for given_width, widths in [(3, (3, 3)), ([4, 8], (4, 8)), (None, (14, 14))]:
        strokes = load(
            document | {"pen_width": given_width, "label": "7", "size": None}
        )
        assert strokes.pen_widths == widths
    strokes = load(document | {"pen_width": [4, 8]})
    assert strokes.size == (42, 34)  # the extent of the ink
    larger = draw(strokes.points, strokes.pen_widths, (60, 60))
    assert np.array_equal(larger[:34, :42], strokes.draw())
    assert not larger[34:].any()
    assert not larger[:, 42:].any()
    assert load({"strokes": []}).size == (1, 1)
    assert load({"strokes": [[[-50, -50]]]}).size == (1, 1)
    assert load({"strokes": [], "size": [30.0, 20.0]}).size == (30, 20)
    byte_order_mark = b"\xef\xbb\xbf"
    assert load(byte_order_mark + json.dumps(SEVEN).encode()).size == (50, 70)


def refusal(path):
    """Return the one sentence with which a file is refused."""
    with pytest.raises(StrokesError) as caught:
        load_strokes(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) - len(str(path)) < 200
    assert not message.endswith(".")
    return message


HUGE = 10**400
NO_POINTS = [
    *[None, True, 5, "12", {}, [], [[]], [5], [[1]], [[1, 2, 3]], [[1, 2], [3]]],
    *[[["1", "2"]], [[None, 1]], [[[1, 2]]], [[1, {}]], [1, 2], {"x": 1}],
    *[[[True, False]], [[1, 2], None]],
    *[[[8193, 0]], [[0, -8193]], [[1e300, 1]], [[HUGE, 1]], [[2**64, 1]]],
]
NO_STROKES = [None, 5, {}, "abc"]
NO_WIDTH = [0, -1, 8193, HUGE, True, "6", {}, [0], ["6"], [None], [[6]]]
NO_SIZE = [
    *[0, [], {}, "", False, True, 50, "50x70", [50], [0, 70], [50, 70, 3], [50, -1]],
    *[[50.5, 70], [50, 8193], [50, HUGE], [True, 70], [None, None], ["50", "70"]],
    [[50], [70]],
]
WRONG = {
    "strokes": [
        *[[], None, 5, "{}", {}],
        *[{"strokes": strokes} for strokes in NO_STROKES],
    ],
    "stroke 1": [{"strokes": [[[1, 2]], stroke]} for stroke in NO_POINTS],
    "pen_width": [SEVEN | {"pen_width": width} for width in NO_WIDTH],
    "pen widths": [SEVEN | {"pen_width": widths} for widths in ([], [6, 6])],
    "size": [
        *[SEVEN | {"size": size} for size in NO_SIZE],
        {"strokes": [[[8192, 8192]]]},  # ink beyond any canvas
    ],
    "split the drawing": [
        {"strokes": [[[1, 1]]] * (module.MOST_STROKES + 1)},
        {"strokes": [[[1, 1]] * (module.MOST_POINTS // 3 + 1)] * 3},
        {"strokes": [[[1, 1], [8001, 1]] * 600] * 2, "size": [8002, 2]},
    ],
}


def test_a_wrong_document_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "wrong.json"
    for named, documents in WRONG.items():
        for document in documents:
            path.write_text(json.dumps(document))
            message = refusal(path)
            assert message.startswith(f"{path}: "), document
            assert named in message.removeprefix(str(path)), document


def test_no_number_no_end_and_deep_lists_are_refused(tmp_path):
    path = tmp_path / "wrong.json"
    document = json.dumps(SEVEN)
    texts = ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000]
    texts += ["[" * depth + "1" + "]" * depth for depth in (3, 60, 70, 500, 900)]
    for text in texts:
        for key in ("[[[10, 10], [40, 10], [20, 60]]]", "60", "6,", "70", "[50, 70]"):
            content = document.replace(key, text + key[1:] * (key == "6,"))
            assert text in content
            path.write_text(content)
            assert refusal(path).startswith(f"{path}: "), (text, key)


def test_what_is_not_json_is_said_to_be_none(tmp_path):
    path = tmp_path / "wrong.json"
    document = json.dumps(SEVEN).encode()
    for content in (
        *[b" \n", b"seven", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\0" * 1000],
        *[document[:-5], document * 2, b'{"strokes": "\xff"}'],
        *[b"[" * 100_000, b'{"strokes":' * 100_000],
        b'{"strokes": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ):
        path.write_bytes(content)
        assert refusal(path).startswith(f"{path}: is not JSON"), content[:40]


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "missing.json")
    assert "not a regular file" in refusal(tmp_path)
    assert "cannot be read" in refusal("zero\0byte")
    assert r"two\nlines" in refusal(tmp_path / "two\nlines")


def test_a_large_file_is_refused_and_long_strings_are_not_unpacked(tmp_path):
    path = tmp_path / "large.json"
    path.write_bytes(json.dumps(SEVEN).encode().ljust(module.LARGEST_FILE))
    assert load_strokes(path).size == (50, 70)
    path.write_bytes(path.read_bytes() + b" ")
    assert "save it smaller" in refusal(path)
    stroke = ["a" * 1_000_000, *["b"] * 200_000]  # as an array, 800 GB
    path.write_text(json.dumps({"strokes": [stroke]}))
    assert path.stat().st_size < module.LARGEST_FILE
    assert "stroke 0 needs" in refusal(path)


GOOD = [np.array([[1.0, 2], [3, 4]])]


UNFIT = {
    "pen_width": [
        (GOOD, (width,), (9, 9)) for width in (-1.0, math.nan, math.inf, "3")
    ],
    "0 pen widths": [(GOOD, (), (9, 9))],
    "size": [(GOOD, (3.0,), size) for size in [(0, 0), (9, 9000), (9, 9.5), (9,)]],
    "shape": [([np.zeros(shape)], (3.0,), (9, 9)) for shape in [(0, 2), (2, 3), 2]],
    "scale the drawing": [([GOOD[0] + 9000], (3.0,), (9, 9))],
    "stroke 0": [([GOOD[0] * math.nan], (3.0,), (9, 9))],
    "split": [(GOOD * 1001, (3.0,) * 1001, (9, 9))],
}


def test_strokes_that_could_not_be_drawn_or_saved_cannot_be_made():
    for named, cases in UNFIT.items():
        for points, widths, size in cases:
            with pytest.raises(StrokesError, match=named):
                Strokes(tuple(points), widths, size)


def test_numbers_of_numpy_are_saved_and_a_missing_folder_is_an_error(tmp_path):
    strokes = Strokes(tuple(GOOD), (np.float32(3),), (np.int64(9), np.int32(7)))
    save_strokes(tmp_path / "a.json", strokes)
    assert load_strokes(tmp_path / "a.json").size == (9, 7)
    with pytest.raises(OSError, match=r"missing"):
        save_strokes(tmp_path / "missing" / "a.json", strokes)
