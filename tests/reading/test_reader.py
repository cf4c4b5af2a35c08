"""The laws of `tinycnn.reading.reader`: what a reading is, and that it is the best.

Digits are typical ones of the bundled sample, enlarged, so that no law rests on a digit
that is hard to read. How often hard ones are read right is for benchmarks/reading.py.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from tinycnn import models
from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.ink.strokes import Ink, Strokes, strokes_ink
from tinycnn.nn import softmax
from tinycnn.nn.weights import WeightsError, save_weights
from tinycnn.pretrained import NONE, SEVERAL
from tinycnn.reading import reader as module
from tinycnn.reading import segment
from tinycnn.reading.reader import Reader
from tinycnn.reading.result import Digit, Reading
from tinycnn.reading.segment import Candidate, Line

NOTHING = Reading(())


@pytest.fixture(scope="module")
def page(glyphs):
    """Return a function that sets lines of digits; 1 = ink, enlarged three times."""

    def page(*lines):
        rows = [np.hstack([glyphs[int(label)] for label in line]) for line in lines]
        return np.kron(np.pad(np.vstack(rows), 8), np.ones((3, 3), np.float32))

    return page


def as_ink(values, scale=1.0):
    size = round(values.shape[1] * scale), round(values.shape[0] * scale)
    return Ink(values, size, scale)


def as_picture(ink):
    """Return dark ink on light paper, as bytes."""
    return np.rint(255 - 255 * ink).astype(np.uint8)


def drawn(*strokes, pen=8.0, size=(300, 200)):
    points = tuple(np.array(stroke, float) for stroke in strokes)
    return Strokes(points, (float(pen),) * len(points), size)


def moved(stroke, dx):
    return [(x + dx, y) for x, y in stroke]


SEVEN = [(30, 40), (90, 40), (50, 160)]
FOUR = [[(70, 30), (30, 110), (110, 110)], [(85, 70), (80, 170)]]
FIVE = [
    [(40, 40), (36, 90), (66, 80), (90, 105), (80, 145), (50, 158), (30, 148)],
    [(46, 36), (92, 34)],
]


# --- what a reading is -------------------------------------------------------------


def test_a_reading_is_lines_of_digits_each_the_best_of_three_opinions(reader, page):
    reading = reader.read(as_ink(page("01234", "56789")))
    assert reading.text == "01234\n56789"
    assert [len(line) for line in reading.lines] == [5, 5]
    for number, digit in enumerate(reading.digits):
        labels, shares = zip(*digit.top, strict=True)
        assert len(set(labels)) == 3
        assert list(shares) == sorted(shares, reverse=True)
        assert shares[2] >= 0
        assert sum(shares) <= 1 + 1e-6
        assert (number, digit.confidence) == digit.top[0]


def test_a_box_is_around_the_ink_of_its_digit_in_pixels_of_the_picture(reader, page):
    values = page("4096")
    boxes = [digit.box for digit in reader.read(as_ink(values)).digits]
    for k, box in enumerate(boxes):
        left = (8 + 28 * k) * 3
        x = np.flatnonzero((values[:, left : left + 84] >= 0.4).any(axis=0)) + left
        y = np.flatnonzero((values[:, left : left + 84] >= 0.4).any(axis=1))
        assert box == (x[0], y[0], x[-1] + 1, y[-1] + 1)
        assert all(isinstance(edge, int) for edge in box)
    for scale in (2.0, 3.0):
        scaled = reader.read(as_ink(values, scale))
        assert scaled.text == "4096"
        expected = [tuple(scale * edge for edge in box) for box in boxes]
        assert [digit.box for digit in scaled.digits] == expected


def test_no_box_reaches_beyond_the_picture(reader, page):
    """Ink of a pen that left the canvas; a picture whose last column is half one."""
    (digit,) = reader.read(drawn(moved(SEVEN, -40))).digits
    assert digit.box == (0, 36, 54, 164)
    (digit,) = reader.read(drawn(SEVEN, size=(90, 162))).digits
    assert digit.box == (26, 36, 90, 162)
    values = page("7")
    values = values[:, : np.flatnonzero((values >= 0.4).any(axis=0))[-1] + 1]
    height, width = values.shape
    ink = Ink(values, (2 * width - 1, 2 * height), 2.0)
    assert reader.read(ink).digits[0].box[2] == 2 * width - 1


def test_a_turned_page_reads_as_upright_a_digit_as_it_is(reader, page, monkeypatch):
    values = page("407325", "986521")[:-1]  # an odd height
    values[-14:-4, 200:216] = 1
    upright = reader.read(as_ink(values, 2.0))
    assert (upright.turns, len(upright.ignored)) == (0, 1)
    for turns in (1, 2, 3):
        ink = as_ink(np.rot90(values, turns), 2.0)
        assert (reading := reader.read(ink)).text == upright.text
        assert reading.upright(ink.size) == upright
    two = load_mnist(SAMPLE_FOLDER).test_images[[650, 0]].repeat(2, 1).repeat(2, 2)
    ones = [np.rot90(page(str(label)), label % 3 + 1) for label in range(10)]
    ones.append(np.pad(np.hstack(two), 20) / np.float32(255))  # 96, upside down as well
    assert not any(reader.read(as_ink(one)).turns for one in ones)
    monkeypatch.setattr(segment, "MOST_PIXELS", 10**9)  # most of them are spent
    assert reader.read(ink).turns == 0
    assert Reader.read_picture is Reader.read_strokes is Reader.read


def test_dashes_are_not_read_as_ones_of_a_turned_page(reader):
    rng = np.random.default_rng(0)
    lines = [rng.uniform(0, 1, (12, 2)) * (180, 70) + (x, 10) for x in (20, 260)]
    ink = Strokes(tuple(lines), (5.0, 5.0), (500, 400)).draw()
    for x in range(20, 480, 90):
        for y in range(100, 390, 36):
            ink[y : y + 6, x : x + 60] = 1
    assert reader.read(as_ink(ink)).turns == 0


def test_no_ink_is_of_two_digits(reader):
    """Of three that touch, a piece of the first was also read with the second."""
    ink = np.zeros((40, 80), np.float32)
    for k, image in enumerate(load_mnist(SAMPLE_FOLDER).test_images[:3]):
        place = ink[6:34, 17 * k + 4 : 17 * k + 32]
        np.maximum(place, image / np.float32(255), out=place)
    _, lines = reader.find(as_ink(np.kron(ink, np.ones((3, 3), np.float32))))
    pieces = [n for line in lines for found in line for n in found.candidate.pieces]
    assert len(pieces) == len({*pieces})


def test_four_threads_read_what_one_reads(reader, page):
    pictures = [as_picture(page(text)) for text in ("815", "260", "4", "7397")]
    drawings = [drawn(SEVEN), drawn(*FOUR), drawn(*FIVE), drawn(*FOUR, pen=5)]
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(reader.read, pictures * 3)]
        assert found == [reader.read(picture) for picture in pictures] * 3
        found = [*pool.map(reader.read, drawings * 10)]
        assert [reading.text for reading in found] == ["7", "4", "5", "4"] * 10


def test_blas_has_one_thread_while_a_page_is_read(page, monkeypatch):
    """Its threads waited for each other: 12 s instead of 1, on a busy machine."""

    def noting(function, *given):
        found = threadpoolctl.threadpool_info()
        counts.update(p["num_threads"] for p in found if p["user_api"] == "blas")
        return function(*given)

    reader, counts = Reader(), set()
    with monkeypatch.context() as patched, threadpoolctl.threadpool_limits(2, "blas"):
        for part, name in ((reader, "_shares"), (segment, "normalize")):
            patched.setattr(part, name, partial(noting, getattr(part, name)))
        reader.read(as_picture(page("815")))
        assert counts == {1}
        noting(len, ())
    assert counts == {1, 2}


def test_what_was_found_is_seen_leaning_broader_and_narrower(reader, glyphs):
    """A digit's probabilities are the mean over it as it is and its views."""
    images = np.stack(glyphs).astype(np.float32)
    assert np.ptp(np.sign(np.subtract(module.VIEWS, (0, 1))), axis=0).tolist() == [2, 2]
    views = [images, *(module._view(images, *view) for view in module.VIEWS)]
    shares = np.mean([reader.probabilities(view) for view in views], axis=0)
    found = reader.probabilities(images, views=True)
    np.testing.assert_allclose(found, shares, atol=1e-5)
    bar = np.pad(np.ones((2, 20, 2), np.float32), ((0, 0), (4, 4), (13, 13)))
    slanted = module._view(bar, 0.5, 1)[0]  # row y moves by -y / 2
    columns = slanted @ np.arange(28) / np.maximum(slanted.sum(axis=1), 1)
    np.testing.assert_allclose(columns[4:24], 13.5 - (np.arange(4, 24) - 13.5) / 2)
    assert module._view(bar, 0, 1.5).sum() == pytest.approx(1.5 * bar.sum())


@pytest.mark.parametrize("most", [1, 2, 3])
def test_what_is_chosen_was_seen_in_all_views(reader, monkeypatch, most):
    """Two strokes look like one digit, but not when they lean."""

    def sevens(images, views):
        assert views == (len(images) < 3)
        return np.eye(12)[[7]] * np.transpose([next(shares)])

    shares = iter([(0.95, 0.97, 0.95), (0.1,), (0.95, 0.95)[: most - 1]][: most + 1])
    monkeypatch.setattr(reader, "_shares", sevens)
    monkeypatch.setattr(module, "MOST_VIEWED", most)
    assert reader.read(drawn([(30, 40), (50, 160)], [(80, 40), (60, 160)])).text == "77"
    assert not [*shares]


def test_what_is_too_much_to_look_at_keeps_its_shares_or_is_no_digit(reader):
    page, scores = segment.PicturePage(np.ones((40, 10), np.float32)), {}
    reader._score(page, [(1,)], scores, views=False)
    seen, page.left = scores[1,], 0
    reader._score(page, [(1,)], scores, views=True)
    assert scores[1,] is seen
    reader._score(page, [(1,)], scores := {}, views=False)
    assert not scores[1,][:NONE].any()


def test_reading_changes_neither_what_is_given_nor_what_is_read_next(reader, page):
    values, strokes = page("815", "260"), drawn(*FOUR)
    picture, images = as_picture(values), np.random.default_rng(0).random((3, 28, 28))
    arrays = [values, picture, images, *strokes.points]
    copies = [array.copy() for array in arrays]
    before = reader.read(as_ink(values))
    reader.read(picture)
    reader.read(strokes)
    reader.probabilities(images)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert reader.read(as_ink(values)) == before
    assert Reader().read(as_ink(values)) == before


def test_files_images_and_arrays_are_read_alike_and_light_on_dark(
    reader, page, tmp_path
):
    picture = as_picture(page("6307"))
    path = tmp_path / "number.png"
    Image.fromarray(picture).save(path)
    for same in (path, str(path), Image.fromarray(picture)):
        assert reader.read(same) == reader.read(picture)
    assert reader.read(picture).text == "6307"
    assert reader.read(255 - picture).text == "6307"
    large = reader.read(Image.fromarray(picture).resize((3001, 1143)))
    assert large.text == "6307"
    edges = [edge for digit in large.digits for edge in digit.box[::2]]
    assert 0 < edges[0] < edges[-1] < 3001
    assert edges == sorted(edges)
    assert edges[-1] > 2500


def test_blank_paper_no_ink_and_no_strokes_have_no_lines(reader):
    white, half = np.full((80, 120), 255, np.uint8), np.full((80, 120), 0.5)
    black = np.zeros((80, 120, 3), np.uint8)
    for picture in (white, black, half, np.ones((1, 1), bool)):
        assert reader.read(picture) == NOTHING, picture.shape
    for values in (np.zeros((60, 90)), np.zeros((1, 1)), np.full((20, 20), 0.39)):
        assert reader.read(as_ink(values.astype(np.float32))) == NOTHING
    assert reader.read(drawn()) == reader.read(strokes_ink(drawn())) == NOTHING


# --- what is dropped, what is refused ----------------------------------------------


def test_specks_and_rules_are_dropped_and_a_blot_is_no_digit(reader, page):
    blank, size = np.zeros((200, 300), np.float32), segment.SMALLEST - 1
    specks = [(3, 3), (150, 3), (20, 160), (190, 60)]
    for values, marks, texts in [
        (page("25"), [(x, y, size, size - 3) for x, y in specks], {"25"}),
        (blank, [(x, y, size, size - 3) for x, y in specks], {""}),
        (page("38"), [(5, 110, 206, 3)], {"38"}),
        (blank, [(10, 30, 280, 3)], {""}),
        (blank, [(30, 40, 20, 20)], {"", "?"}),
        (blank, [(30, 40, 26, 40)], {"", "?"}),
        (blank, [(30, 40, 60, 60)], {"", "?"}),
        (blank, [(30, 40, 200, 100)], {"", "?"}),
    ]:
        ink = values.copy()
        for x, y, width, height in marks:
            ink[y : y + height, x : x + width] = 1
        assert reader.read(as_ink(ink)).text in texts, marks


def test_a_lone_small_digit_is_read(reader, glyphs):
    """MNIST's digits are 20 pixels high."""
    for label, glyph in enumerate(glyphs):
        values = np.zeros((200, 300), np.float32)
        values[100:128, 200:228] = glyph
        assert reader.read(as_ink(values)).text == str(label)


def comma_of(height, shape):
    """Return a comma's ink: a slanted stroke, or a dot with a tail."""
    y, x = np.mgrid[:height, :height].astype(np.float32)
    ink = abs(x + y / 3 - height / 2) < 2.5
    if shape == "dot":
        radius = height / 3.5
        ink = (abs(x + y / 2 - 0.7 * height) < 2) & (y > radius)
        ink |= np.hypot(x - height / 2, y - radius) < radius
    return ink[:, ink.any(axis=0)].astype(np.float32)


def test_a_comma_between_digits_is_none_and_a_small_zero_on_the_line_is_one(
    reader, page, glyphs
):
    two = np.pad(np.hstack([page("4"), page("5")]), ((0, 40), (0, 0)))
    rows = np.flatnonzero((two >= 0.4).any(axis=1))
    height, bottom = len(rows), rows[-1]
    zero = ndimage.zoom(glyphs[0], 0.45 * height / 20, order=1)
    zero = zero[(zero > 0.4).any(axis=1)][:, (zero > 0.4).any(axis=0)]
    marks = [("405", zero, bottom - len(zero))]
    for share in (0.15, 0.25, 0.33, 0.42):
        for shape in ("stroke", "dot"):
            comma = comma_of(round(share * height), shape)
            marks.append(("45", comma, bottom - round(0.15 * height)))
    for text, mark, top in marks:
        ink, left = two.copy(), (two.shape[1] - mark.shape[1]) // 2
        ink[top : top + len(mark), left : left + mark.shape[1]] = mark
        assert reader.read(as_ink(ink)).text == text, mark.shape


def scribble(seed):
    """Return one long stroke that goes everywhere, as high as a digit."""
    return np.random.default_rng(seed).uniform((40, 40), (140, 140), (30, 2))


def test_a_scribble_is_no_digit_and_dropped_where_the_border_cuts_it(reader):
    for seed in range(5):
        strokes = drawn(scribble(seed), pen=5)
        by_ink = reader.read(replace(strokes_ink(strokes), strokes=None))
        for digit in (*reader.read(strokes).digits, *by_ink.digits):
            assert digit.digit is None or digit.confidence < 0.9, seed
    for seed in range(3):
        for shift, text in [(0, "?"), (-90, "")]:
            ink = strokes_ink(drawn(scribble(seed) + np.array([shift, 0]), pen=5))
            assert reader.read(replace(ink, strokes=None)).text == text, seed


def test_a_digit_below_the_threshold_is_refused_with_its_opinion(page, monkeypatch):
    strict = Reader()
    monkeypatch.setattr(strict, "threshold", 1.1)
    reading = strict.read(as_ink(page("3")))
    (digit,) = reading.digits
    assert (digit.digit, reading.text) == (None, "?")
    assert digit.top[0] == (3, digit.confidence)


# --- strokes -----------------------------------------------------------------------


def test_taps_and_what_is_drawn_off_the_canvas_are_not_read(reader):
    assert reader.read(drawn(SEVEN, [(200, 160)], pen=6)).text == "7"
    assert reader.read(drawn([(100, 100)], pen=6)) == NOTHING
    assert reader.read(drawn([(40, 40)], pen=14, size=(80, 80))) == NOTHING
    off = [(-500, -500), (-400, -300)]
    assert reader.read(drawn(off, pen=14, size=(80, 80))) == NOTHING


def ring(x, y, rx, ry):
    turn = np.linspace(-np.pi / 2, 1.5 * np.pi, 40)
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)


LEFT, RIGHT = [(40, 30), (40, 150)], [(110, 30), (110, 150)]
THREE = [(75, 40), (120, 50), (95, 82), (125, 105), (60, 146)]
H = [LEFT, RIGHT, [(40, 90), (110, 90)]]
LETTERS = {
    "+": [[(75, 40), (75, 140)], [(25, 90), (125, 90)]],
    "A": [[(75, 30), (30, 150)], [(75, 30), (120, 150)], [(48, 105), (102, 105)]],
    "E": [LEFT, [(40, 30), (100, 30)], [(40, 90), (90, 90)], [(40, 150), (100, 150)]],
    "F": [LEFT, [(40, 30), (100, 30)], [(40, 85), (90, 85)]],
    "H": H,
    "H, wider than a digit": [LEFT, [(270, 30), (270, 150)], [(40, 90), (270, 90)]],
    "N": [LEFT, [(40, 30), (110, 150)], RIGHT],
    "T": [[(30, 30), (120, 30)], [(75, 30), (75, 150)]],
    "X": [[(35, 30), (115, 150)], [(115, 30), (35, 150)]],
    "pi": [[(30, 50), (130, 45)], [(55, 50), (45, 140)], [(100, 50), (108, 140)]],
}
NUMBERS = [
    # Strokes that meet are one digit: a 4 in two and in three, a 5 with a flag, a 7
    # with a bar, a 0 with a slash, an 8 of two rings, even apart, a 1 on a foot.
    ("4", FOUR),
    ("4", [[(45, 30), (35, 100)], [(35, 100), (110, 100)], RIGHT]),
    ("5", FIVE),
    ("7", [[(30, 40), (95, 40), (55, 160)], [(45, 100), (100, 96)]]),
    ("0", [ring(80, 90, 36, 58), [(115, 40), (45, 145)]]),
    ("8", [ring(70, 60, 26, 28), ring(70, 122, 32, 34)]),
    ("8", [ring(70, 57, 26, 28), ring(70, 130, 32, 34)]),
    ("1", [[(45, 60), (75, 30), (75, 150)], [(45, 150), (105, 150)]]),
    # Neighbours are not: two digits that touch, ...
    ("47", [*FOUR, [(108, 40), (170, 40), (130, 165)]]),
    ("21", [[(30, 60), (60, 32), (90, 60), (35, 148), (112, 148)], moved(RIGHT, 3)]),
    ("13", [moved(LEFT, 20), THREE]),
    ("13", [moved(LEFT, 20), [(50, 40), *THREE[1:-1], (48, 146)]]),
    ("11", [LEFT, moved(LEFT, 16)]),
    # ... a dash between two, one that nearly touches, two commas, a letter, ...
    ("11", [LEFT, [(70, 90), (95, 90)], moved(LEFT, 90)]),
    ("11", [LEFT, [(48, 90), (122, 90)], moved(LEFT, 90)]),
    ("11", [LEFT, [(70, 145), (66, 158)], RIGHT]),
    ("71", [SEVEN, [(95, 145), (88, 172)], moved(LEFT, 85)]),
    ("7?", [SEVEN, *(moved(stroke, 130) for stroke in H)]),
    # ... and lines of writing that touch. The order of the strokes does not count.
    ("7\n1", [[(105, 35), (143, 35), (122, 100)], [(138, 94), (138, 160)]]),
    ("74", [moved(FOUR[0], 130), SEVEN, moved(FOUR[1], 130)]),
    (
        "777\n777",
        [
            [(x, y), (x + 60, y), (x + 20, y + 118)]
            for y in (20, 128)
            for x in (40, 150, 260)
        ],
    ),
]


@pytest.mark.parametrize("letter", LETTERS)
def test_no_part_of_a_crossed_letter_is_a_digit(reader, letter):
    reading = reader.read(drawn(*LETTERS[letter]))
    assert reading.text == "?"
    points = np.concatenate([np.array(stroke) for stroke in LETTERS[letter]])
    around = *(points.min(axis=0) - 4), *(points.max(axis=0) + 4)
    assert np.allclose(reading.digits[0].box, around, atol=1)


def test_crossed_sevens_are_two_if_both_look_like_several(reader, monkeypatch):
    def score(page, new, scores, views):  # noqa: ARG001
        scores.update({n: seven if len(n) == 1 else whole for n in new})

    monkeypatch.setattr(reader, "_score", score)
    seven, whole = np.eye(12)[7] * 0.95, np.zeros(12)
    for several, text in ((0.3, "77"), (1e-6, "?")):
        whole[[NONE, SEVERAL]] = 1 - several, several
        assert reader.read(drawn(*LETTERS["X"])).text == text


@pytest.mark.parametrize(("text", "strokes"), NUMBERS)
def test_strokes_that_meet_are_one_digit_and_neighbours_are_not(reader, text, strokes):
    strokes = drawn(*strokes)
    assert reader.read(strokes).text == text
    ink = strokes_ink(strokes)
    assert reader.read(ink).text == text
    if len(text) == 1:  # then the ink they leave says as much
        assert reader.read(replace(ink, strokes=None)).text == text


def test_a_digit_whose_stroke_is_broken_is_one_digit(reader):
    """The stem of a 7 of 120 pixels has a gap of 4."""
    start, corner, end = map(np.array, SEVEN)
    half = (end - corner) / np.hypot(*(end - corner)) * 5.5
    for where in (0.3, 0.5, 0.7):
        middle = corner + (end - corner) * where
        broken = drawn([start, corner, middle - half], [middle + half, end], pen=7)
        assert reader.read(broken).text == "7", where
        ink = replace(strokes_ink(broken), strokes=None)
        assert reader.read(ink).text == "7", where


def test_small_writing_beside_a_large_digit_is_a_line_of_its_own(reader, glyphs):
    values = np.zeros((260, 460), np.float32)
    values[8:248, 10:250] = np.kron(glyphs[5][4:24, 4:24], np.ones((12, 12)))
    for k in range(8):
        values[120:148, 260 + 24 * k : 288 + 24 * k] += glyphs[k]
    assert reader.read(as_ink(np.clip(values, 0, 1))).text == "5\n01234567"


def test_a_gap_wider_than_a_digit_is_a_space():
    def text(*lefts, width=14):
        boxes = [(x, 0, x + width, 20) for x in lefts]
        return Reading((tuple(Digit(1, 1.0, box, ()) for box in boxes),)).text

    assert text(0, 18, 36, 90, 108) == "111 11"
    assert text(0, 50, 100) == "111"
    assert (text(0, 40), text(0, 80), text(5)) == ("11", "1 1", "1")
    assert text(0, 18, 36, 60, width=3) == "1111"


def test_ink_that_is_left_out_has_a_box(reader, page):
    values = page("4096")
    values[-14:-4, 200:216] = 1
    reading = reader.read(as_ink(values))
    assert reading.text.replace(" ", "") == "4096"
    assert reading.ignored == ((200, len(values) - 14, 216, len(values) - 4),)


@pytest.mark.parametrize("kind", ["heap", "row"])
def test_any_drawing_has_few_candidates(reader, monkeypatch, kind):
    """Their number bounds the time; the longest drawings take less than two seconds."""
    rng = np.random.default_rng(0)
    strokes = [np.cumsum(rng.normal(0, 6, (20, 2)), axis=0) + 150 for _ in range(500)]
    if kind == "row":
        strokes = [s + np.array((3 * k, 0)) for k, s in enumerate(strokes)]
    scored = []

    def scores(images, views):
        scored.append(len(images) * (5 * views or 1))
        return np.full((len(images), 12), 0.05)

    monkeypatch.setattr(reader, "_shares", scores)
    reader.read(drawn(*strokes, size=(1800, 300)))
    assert sum(scored) <= module.MOST_CANDIDATES + 5 * module.MOST_VIEWED


# --- weights -----------------------------------------------------------------------


def saved(path, **facts):
    """Save the shipped weights again, with these facts only."""
    model, _ = models.load(models.SHIPPED)
    save_weights(path, model, {"network": "reader", **facts})
    return path


def test_another_temperature_changes_no_favourite(tmp_path, reader, glyphs):
    warm = Reader(saved(tmp_path / "warm.safetensors", temperature=2.0))
    assert warm.probabilities(glyphs).argmax(axis=1).tolist() == [*range(10)]
    sure = [r.probabilities(glyphs).max(axis=1).sum() for r in (reader, warm)]
    assert sure[1] < sure[0]


def test_a_network_of_ten_digits_names_and_the_shipped_one_refuses(tmp_path, reader):
    """Whatever the network, the probability of a digit at all stays."""
    path = tmp_path / "named.safetensors"
    save_weights(path, models.build("quick"), {"network": "quick"})
    images = np.random.default_rng(0).random((7, 28, 28), np.float32)
    mine, theirs = Reader(path), reader.probabilities(images)
    assert (mine.finds, reader.finds) == (False, True)
    shares = mine.probabilities(images)
    np.testing.assert_allclose(shares.sum(axis=1), theirs.sum(axis=1), rtol=1e-5)
    names = softmax(mine.model.forward(images[..., np.newaxis]))
    expected = names * theirs.sum(axis=1)[:, np.newaxis]
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    assert theirs.min() >= 0
    assert theirs.sum(axis=1).max() <= 1 + 1e-6
    letters = tmp_path / "letters.safetensors"
    save_weights(letters, models.build("quick"), {"network": "quick", "first_label": 1})
    with pytest.raises(WeightsError, match=r"letters\.safetensors.*ten digits from 0"):
        Reader(letters)


def test_weights_that_overflow_are_named(tmp_path, page):
    """To a number that a temperature would make infinite, and to infinity."""
    path = saved(tmp_path / "huge.safetensors", temperature=0.5)
    model, facts = models.load(path)
    for factor in (1e36, 100):
        model.layers[-1].weight.value *= factor
        save_weights(path, model, facts)
        with pytest.raises(WeightsError, match=r"huge\.safetensors.*train again"):
            Reader(path).read(as_ink(page("7")))


# --- the search --------------------------------------------------------------------


def test_before_one_is_chosen_no_digit_is_likelier_by_its_odds():
    shares = np.array([0.5, 0.3] + 8 * [0.0], np.float32)
    offered = module._as_offered(shares)
    none, before = 1 - offered.sum(), 1 - shares.sum()
    odds = none / offered.sum() / (before / shares.sum())
    assert odds == pytest.approx(module.OFFERED, rel=1e-5)
    assert offered[0] / offered[1] == pytest.approx(0.5 / 0.3)
    assert module._as_offered(np.eye(10)[3]).tolist() == np.eye(10)[3].tolist()


def problem(seed, count, most):
    """Return a line, its candidates of at most some pieces, and random scores."""
    rng = np.random.default_rng(seed)
    bonds = tuple(rng.normal(0, 6, count - 1).tolist())
    line = Line(tuple(range(count)), float(rng.uniform(10, 60)), bonds)
    offered, scores = [], {}
    for start in range(count):
        for stop in range(start + 1, min(start + most, count) + 1):
            w, h = rng.uniform(1, 60, 2)
            box = (20.0 * start, 0.0, 20.0 * start + w, h)
            pieces = line.pieces[start:stop]
            dropped = rng.choice([-math.inf, -1.0, 0.0])
            offered.append(Candidate(start, stop, pieces, box, dropped))
            digit = float(rng.beta(0.5, 0.5))
            names = rng.dirichlet(np.full(10, 0.2)) * digit
            scores[pieces] = names
    return line, offered, scores


def partitions(offered, start, count):
    """Yield every way to divide the pieces from `start` on into candidates."""
    if start == count:
        yield ()
    for candidate in offered:
        if candidate.start == start:
            for rest in partitions(offered, candidate.stop, count):
                yield (candidate, *rest)


def log_sigmoid(x):
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def of_candidate(candidate, line, scores):
    """Return the log probability of a candidate, and whether it is kept as a digit."""
    x0, y0, x1, y1 = candidate.box
    low = min(max(y1 - y0, (x1 - x0) / 2) / line.height / module.LOW, 1)
    as_digit = max(scores[candidate.pieces].max(), module.LEAST)
    as_junk = max(1 - scores[candidate.pieces].sum(), module.LEAST)
    kept = max(math.log(as_digit) + math.log(low), math.log(as_junk) + module.JUNK)
    return max((kept, True), (candidate.dropped, False))


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_the_search_finds_the_best_of_all_partitions(seed, count, most):
    line, offered, scores = problem(seed, count, most)
    scored = {c.pieces: of_candidate(c, line, scores) for c in offered}
    best, expected = -math.inf, None
    for partition in partitions(offered, 0, len(line.pieces)):
        ends = {candidate.stop for candidate in partition}
        bonds = [-b if k in ends else b for k, b in enumerate(line.bonds, 1)]
        options = [scored[candidate.pieces] for candidate in partition]
        total = module.BONDS * sum(map(log_sigmoid, bonds))
        total += sum(score for score, _ in options)
        if total > best:
            best = total
            pairs = zip(partition, options, strict=True)
            expected = [candidate for candidate, (_, kept) in pairs if kept]
    assert module._search(line, offered, scores) == expected


def of_a_component(*digits):
    """Return a page of one component, cut into digits, and what each was read as.

    A digit is its label, or None, and its confidence.
    """
    page = segment.PicturePage(np.ones((20, 10), np.float32))
    page.pieces, line = {}, []
    for k, (label, confidence) in enumerate(digits):
        box = (10 * k, 0, 10 * k + 10, 20)
        page.pieces[k] = segment.Piece(box, 100.0, 1)
        candidate = Candidate(k, k + 1, (k,), box)
        likeliest = 8 if label is None else label
        digit = Digit(label, confidence, box, ((likeliest, confidence),))
        line.append(module.Found(digit, candidate, np.zeros(10)))
    return page, line


def tidied(page, line):
    ink = Ink(np.zeros((40, 100), np.float32), (100, 40), strokes=drawn())
    lines = module._tidied(page, [line], ink, threshold=0.5)
    return [found.digit.digit for line in lines for found in line]


NO, LIKELY = (None, 0.01), (None, 0.4)


@pytest.mark.parametrize(
    ("digits", "settled"),
    [
        ([NO, (1, 0.9), NO], [None, None, None]),
        ([LIKELY, (1, 0.9), LIKELY], [None, None, None]),
        ([(3, 0.9), NO, (7, 0.9)], [3, None, 7]),
        ([(3, 0.9), LIKELY, (7, 0.9)], [3, 8, 7]),
        ([(1, 0.9), NO], [1, None]),
        ([(4, 0.9), (5, 0.9)], [4, 5]),
        ([LIKELY], [None]),
    ],
)
def test_what_was_cut_is_settled_by_what_it_was_cut_from(digits, settled):
    assert tidied(*of_a_component(*digits)) == settled


@pytest.mark.parametrize(("area", "digit"), [(20.0, 7), (30.0, None)])
def test_a_digit_is_none_where_a_tenth_of_its_component_was_left_out(area, digit):
    page, line = of_a_component((7, 0.9), (7, 0.9))
    page.pieces[2] = segment.Piece((20, 15, 30, 20), area, 1)
    assert tidied(page, line) == [digit, digit]


@pytest.mark.parametrize(
    ("digits", "settled"),
    [
        ([(3, 0.9), LIKELY, (7, 0.9)], [3, 8, 7]),
        ([(3, 0.9), NO, (7, 0.9)], [3, None, 7]),
        ([(3, 0.9), LIKELY], [3, 8]),
        ([(3, 0.9), (None, 0.2)], [3, 8]),
        ([(3, 0.9), NO], [3, None]),
        ([(3, 0.9), LIKELY, NO], [3, None, None]),
        ([LIKELY], [None]),
    ],
)
def test_an_unlikely_digit_is_one_where_half_of_a_line_is_digits(digits, settled):
    page, line = of_a_component(*digits)
    page.pieces = {k: replace(page.pieces[k], component=k) for k in page.pieces}
    assert tidied(page, line) == settled


def test_the_end_of_a_tangle_is_no_digit_among_digits_either():
    page, line = of_a_component(*[(3, 0.9)] * 4, NO, (1, 0.9), NO)
    digits = [*page.pieces.items()][:4]
    page.pieces |= {k: replace(piece, component=10 + k) for k, piece in digits}
    assert tidied(page, line) == [3, 3, 3, 3, None, None, None]


def test_what_is_too_low_for_a_digit_is_not_cut(reader, page):
    """The bar of a 5, drawn apart from it, fell into two dozen parts."""
    bar = strokes_ink(drawn([(141, 31), (155, 23), (201, 20)], pen=9)).values
    ink = np.pad(page("3"), ((0, 0), (0, 300)))
    ink[:60, 60:360] = np.maximum(ink[:60, 60:360], bar[:60])
    found, _ = reader.find(as_ink(ink))
    assert len(found.pieces) == 2


def test_neither_a_group_of_components_nor_a_rule_settles_a_digit():
    page, line = of_a_component(NO, NO, NO, (7, 0.9))
    page.pieces[2] = replace(page.pieces[2], component=2)
    several = line[3]._replace(candidate=replace(line[3].candidate, pieces=(2, 3)))
    assert tidied(page, [*line[:2], several])[-1] == 7
    page, (rule, digit) = of_a_component(NO, (5, 0.9))
    long = replace(rule.candidate, box=(0, 0, 90, 5))
    page.pieces[0] = replace(page.pieces[0], area=900.0)
    assert tidied(page, [rule._replace(candidate=long), digit]) == [5]
