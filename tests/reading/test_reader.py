"""The laws of `tinycnn.reading.reader`: what a reading is, and that it is the best.

Digits are typical ones of the bundled sample, enlarged, so that no law rests on a digit
that is hard to read. How often hard ones are read right is for benchmarks/reading.py.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from tinycnn import models
from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.glyphs.writer import write
from tinycnn.ink.ink import Ink, strokes_ink
from tinycnn.ink.strokes import Strokes
from tinycnn.nn.weights import TensorFileError, load_weights, save_weights
from tinycnn.reading import reader as module
from tinycnn.reading import segment
from tinycnn.reading.reader import Reader, joint_logits
from tinycnn.reading.result import Digit, Reading
from tinycnn.reading.segment import Candidate, Line


@pytest.fixture(scope="module")
def reader():
    return Reader()


@pytest.fixture(scope="module")
def glyphs():
    """Return a typical digit in one piece of each label, (10, 28, 28) in [0, 1]."""
    sample = load_mnist(SAMPLE_FOLDER)
    typical = []
    for label in range(10):
        images = sample.train_images[sample.train_labels == label] / np.float32(255)
        far = np.square(images - images.mean(axis=0)).sum(axis=(1, 2))
        nearest = images[far.argsort(kind="stable")]
        typical.append(next(i for i in nearest if ndimage.label(i >= 0.4)[1] == 1))
    return np.stack(typical)


@pytest.fixture(scope="module")
def page(glyphs):
    """Return a function that sets lines of digits; 1 = ink, each times as large."""

    def page(*lines, times=3):
        rows = [np.hstack([glyphs[int(label)] for label in line]) for line in lines]
        ink = np.pad(np.vstack(rows), 8)
        return np.kron(ink, np.ones((times, times), np.float32))

    return page


def as_ink(values, scale=1.0):
    size = round(values.shape[1] * scale), round(values.shape[0] * scale)
    return Ink(values, size, scale)


def as_picture(ink):
    """Return dark ink on light paper, as bytes."""
    return np.rint(255 - 255 * ink).astype(np.uint8)


def drawn(*strokes, pen=8.0, size=(300, 200)):
    points = tuple(np.array(stroke, float) for stroke in strokes)
    return Strokes(points, (pen,) * len(points), size)


SEVEN = [(30, 40), (90, 40), (50, 160)]
FOUR = [[(70, 30), (30, 110), (110, 110)], [(85, 70), (80, 170)]]
FIVE = [
    [(40, 40), (36, 90), (66, 80), (90, 105), (80, 145), (50, 158), (30, 148)],
    [(46, 36), (92, 34)],
]


# --- what a reading is -------------------------------------------------------------


def test_a_reading_is_lines_of_digits_and_refusals():
    def digit(value):
        return Digit(value, 0.5, (0, 0, 1, 1), ())

    reading = Reading(((digit(1), digit(None)), (digit(0),)))
    assert reading.text == "1?\n0"
    assert [d.digit for d in reading.digits] == [1, None, 0]
    assert Reading(()).text == ""
    assert Reading(()).digits == ()


def test_all_ten_digits_are_read(reader, page):
    assert reader.read_ink(as_ink(page("0123456789"))).text == "0123456789"


def test_two_rows_are_two_lines_of_text(reader, page):
    reading = reader.read_ink(as_ink(page("314", "271")))
    assert reading.text == "314\n271"
    assert [len(line) for line in reading.lines] == [3, 3]
    assert "".join(str(d.digit) for d in reading.digits) == "314271"


def test_tops_are_sorted_and_the_first_is_the_confidence(reader, page):
    for digit in reader.read_ink(as_ink(page("0123456789"))).digits:
        labels, shares = zip(*digit.top, strict=True)
        assert len(set(labels)) == 3
        assert list(shares) == sorted(shares, reverse=True)
        assert shares[2] >= 0
        assert sum(shares) <= 1 + 1e-6
        assert (digit.digit, digit.confidence) == digit.top[0]


def test_a_box_is_around_the_ink_of_its_digit(reader, page):
    values = page("4096")
    for k, digit in enumerate(reader.read_ink(as_ink(values)).digits):
        left = (8 + 28 * k) * 3
        x = np.flatnonzero((values[:, left : left + 84] >= 0.4).any(axis=0)) + left
        y = np.flatnonzero((values[:, left : left + 84] >= 0.4).any(axis=1))
        assert digit.box == (x[0], y[0], x[-1] + 1, y[-1] + 1)
        assert all(isinstance(edge, int) for edge in digit.box)


@pytest.mark.parametrize("scale", [2.0, 3.0])
def test_a_box_is_in_pixels_of_the_picture_and_not_of_its_ink(reader, page, scale):
    values = page("52")
    as_it_is = reader.read_ink(as_ink(values))
    scaled = reader.read_ink(as_ink(values, scale))
    assert scaled.text == as_it_is.text
    for one, other in zip(as_it_is.digits, scaled.digits, strict=True):
        assert other.box == tuple(scale * edge for edge in one.box)


def test_no_box_reaches_beyond_the_picture(reader, page):
    """Ink of a pen that left the canvas; a picture whose last column is half one."""
    (digit,) = reader.read_strokes(drawn([(x - 40, y) for x, y in SEVEN])).digits
    assert digit.box == (0, 36, 54, 164)
    (digit,) = reader.read_strokes(drawn(SEVEN, size=(90, 162))).digits
    assert digit.box == (26, 36, 90, 162)
    values = page("7")
    values = values[:, : np.flatnonzero((values >= 0.4).any(axis=0))[-1] + 1]
    height, width = values.shape
    ink = Ink(values, (2 * width - 1, 2 * height), 2.0)
    assert reader.read_ink(ink).digits[0].box[2] == 2 * width - 1


def test_a_large_picture_is_read_and_its_boxes_are_its_own(reader, page):
    large = Image.fromarray(as_picture(page("52"))).resize((3001, 1637))
    reading = reader.read_picture(large)
    assert reading.text == "52"
    first, second = (digit.box for digit in reading.digits)
    assert 0 < first[0] < first[2] < second[0] < second[2] < 3001
    assert second[2] > 1500


def test_the_same_picture_is_read_the_same_whatever_was_read_between(reader, page):
    first = as_ink(page("815", "260"))
    before = reader.read_ink(first)
    reader.read_ink(as_ink(page("77")))
    reader.read_strokes(drawn(SEVEN))
    reader.read_picture(np.zeros((9, 9), np.uint8))
    assert reader.read_ink(first) == before
    assert Reader().read_ink(first) == before


def test_what_is_given_stays_as_it_is(reader, page):
    values, strokes = page("905"), drawn(*FOUR)
    picture = as_picture(values)
    copies = values.copy(), picture.copy(), [p.copy() for p in strokes.points]
    reader.read_ink(as_ink(values))
    reader.read_picture(picture)
    reader.read_strokes(strokes)
    np.testing.assert_array_equal(values, copies[0])
    np.testing.assert_array_equal(picture, copies[1])
    for points, copy in zip(strokes.points, copies[2], strict=True):
        np.testing.assert_array_equal(points, copy)
    images = np.random.default_rng(0).random((3, 28, 28), np.float32)
    copy = images.copy()
    reader.probabilities(images)
    np.testing.assert_array_equal(images, copy)


# --- pictures ----------------------------------------------------------------------


def test_files_images_and_arrays_are_read_alike(reader, page, tmp_path):
    picture = as_picture(page("307"))
    path = tmp_path / "number.png"
    Image.fromarray(picture).save(path)
    readings = [
        reader.read_picture(given)
        for given in (path, str(path), Image.fromarray(picture), picture)
    ]
    assert readings[0].text == "307"
    assert all(reading == readings[0] for reading in readings)


def test_light_on_dark_is_read_as_dark_on_light(reader, page):
    dark = as_picture(page("6184"))
    assert reader.read_picture(dark).text == "6184"
    assert reader.read_picture(255 - dark).text == "6184"


@pytest.mark.parametrize(
    "picture",
    [
        np.full((80, 120), 255, np.uint8),
        np.zeros((80, 120, 3), np.uint8),
        np.full((80, 120), 0.5),
        np.ones((1, 1), bool),
    ],
)
def test_blank_paper_has_no_lines(reader, picture):
    assert reader.read_picture(picture) == Reading(())


@pytest.mark.parametrize("shape", [(60, 90), (1, 1)])
def test_no_ink_has_no_lines(reader, shape):
    assert reader.read_ink(as_ink(np.zeros(shape, np.float32))) == Reading(())


def test_no_strokes_have_no_lines(reader):
    empty = Strokes((), (), (300, 200))
    assert reader.read_strokes(empty) == Reading(())
    assert reader.read_ink(strokes_ink(empty)) == Reading(())


# --- what is dropped, what is refused ----------------------------------------------


def test_specks_are_dropped(reader, page):
    values = page("25")
    size = segment.SMALLEST - 1
    for y, x in [(3, 3), (3, 150), (160, 20), (60, 190)]:
        values[y : y + size - 3, x : x + size] = 1
    reading = reader.read_ink(as_ink(values))
    assert reading.text == "25"


def test_specks_alone_are_nothing(reader):
    values = np.zeros((80, 120), np.float32)
    for y, x in [(10, 10), (30, 60), (64, 100)]:
        values[y : y + 4, x : x + 5] = 1
    assert reader.read_ink(as_ink(values)) == Reading(())


@pytest.mark.parametrize("label", range(10))
def test_a_lone_small_digit_is_read(reader, glyphs, label):
    """MNIST's digits are 20 pixels high."""
    values = np.zeros((200, 300), np.float32)
    values[100:128, 200:228] = glyphs[label]
    assert reader.read_ink(as_ink(values)).text == str(label)


def test_a_rule_or_a_dash_is_no_digit(reader, page):
    values = page("38")
    values[110:113, 5:-5] = 1
    assert reader.read_ink(as_ink(values)).text == "38"
    rule = np.zeros((60, 300), np.float32)
    rule[30:33, 10:290] = 1
    assert reader.read_ink(as_ink(rule)) == Reading(())


def comma_of(height, shape):
    """Return a comma's ink: a slanted stroke, or a dot with a tail."""
    y, x = np.mgrid[:height, :height].astype(np.float32)
    ink = abs(x + y / 3 - height / 2) < 2.5
    if shape == "dot":
        radius = height / 3.5
        ink = (abs(x + y / 2 - 0.7 * height) < 2) & (y > radius)
        ink |= np.hypot(x - height / 2, y - radius) < radius
    return ink[:, ink.any(axis=0)].astype(np.float32)


@pytest.mark.parametrize("shape", ["stroke", "dot"])
@pytest.mark.parametrize("share", [0.15, 0.25, 0.33, 0.42])
def test_a_comma_is_no_digit(reader, page, share, shape):
    values = np.hstack([page("4"), page("5")])
    rows = np.flatnonzero((values >= 0.4).any(axis=1))
    comma = comma_of(round(share * len(rows)), shape)
    top = rows[-1] - round(0.15 * len(rows))
    values = np.pad(values, ((0, 40), (0, 0)))
    left = values.shape[1] // 2 - comma.shape[1] // 2
    values[top : top + len(comma), left : left + comma.shape[1]] = comma
    assert reader.read_ink(as_ink(values)).text == "45"


def test_a_comma_by_pen_is_no_digit(reader):
    seven = np.array([[20.0, 20], [60, 20], [35, 90]])
    comma = np.array([[82.0, 80], [76, 106]])
    one = np.array([[110.0, 20], [110, 90]])
    assert reader.read_strokes(drawn(seven, comma, one)).text == "71"


def test_a_small_zero_on_the_line_is_read(reader, page, glyphs):
    values = np.hstack([page("4"), page("5")])
    rows = np.flatnonzero((values >= 0.4).any(axis=1))
    zero = ndimage.zoom(glyphs[0], 0.45 * len(rows) / 20, order=1)
    zero = zero[(zero > 0.4).any(axis=1)][:, (zero > 0.4).any(axis=0)]
    middle = values.shape[1] // 2 - zero.shape[1] // 2
    values[rows[-1] - len(zero) : rows[-1], middle : middle + zero.shape[1]] = zero
    assert reader.read_ink(as_ink(values)).text == "405"


def scribble(rng):
    """Return one long stroke that goes everywhere, as high as a digit."""
    return rng.uniform((40, 40), (140, 140), (30, 2))


@pytest.mark.parametrize("seed", range(3))
def test_what_the_border_cuts_and_is_no_digit_is_dropped(reader, seed):
    points = scribble(np.random.default_rng(seed))
    for shift, text in [(0, "?"), (-90, "")]:
        ink = strokes_ink(drawn(points + np.array([shift, 0]), pen=5))
        assert reader.read_ink(replace(ink, strokes=None)).text == text


@pytest.mark.parametrize(
    ("width", "height"), [(20, 20), (26, 40), (40, 40), (60, 60), (200, 100)]
)
def test_a_blot_is_no_number(reader, width, height):
    values = np.zeros((200, 300), np.float32)
    values[40 : 40 + height, 30 : 30 + width] = 1
    read = reader.read_ink(as_ink(values)).digits
    assert [digit for digit in read if digit.digit is not None] == []


@pytest.mark.parametrize("seed", range(5))
def test_a_scribble_is_no_digit_that_the_reader_is_sure_of(reader, seed):
    strokes = drawn(scribble(np.random.default_rng(seed)), pen=5)
    for reading in (
        reader.read_strokes(strokes),
        reader.read_ink(replace(strokes_ink(strokes), strokes=None)),
    ):
        for digit in reading.digits:
            assert digit.digit is None or digit.confidence < 0.9


def test_a_digit_below_the_threshold_is_refused_with_its_opinion(page, monkeypatch):
    strict = Reader()
    monkeypatch.setattr(strict, "threshold", 1.1)
    (digit,) = strict.read_ink(as_ink(page("3"))).digits
    assert digit.digit is None
    assert digit.top[0] == (3, digit.confidence)
    assert strict.read_ink(as_ink(page("3"))).text == "?"


# --- strokes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strokes", "text"), [([SEVEN], "7"), (FOUR, "4"), (FIVE, "5")]
)
def test_strokes_and_the_ink_they_leave_are_read_alike(reader, strokes, text):
    strokes = drawn(*strokes)
    assert reader.read_strokes(strokes).text == text
    ink = strokes_ink(strokes)
    assert reader.read_ink(ink).text == text
    assert reader.read_ink(replace(ink, strokes=None)).text == text


def ring(x, y, rx, ry):
    turn = np.linspace(-np.pi / 2, 1.5 * np.pi, 40)
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)


LEFT, RIGHT = [(40, 30), (40, 150)], [(110, 30), (110, 150)]
LETTERS = {
    "+": [[(75, 40), (75, 140)], [(25, 90), (125, 90)]],
    "A": [[(75, 30), (30, 150)], [(75, 30), (120, 150)], [(48, 105), (102, 105)]],
    "E": [LEFT, [(40, 30), (100, 30)], [(40, 90), (90, 90)], [(40, 150), (100, 150)]],
    "F": [LEFT, [(40, 30), (100, 30)], [(40, 85), (90, 85)]],
    "H": [LEFT, RIGHT, [(40, 90), (110, 90)]],
    "H, wider than a digit": [LEFT, [(270, 30), (270, 150)], [(40, 90), (270, 90)]],
    "N": [LEFT, [(40, 30), (110, 150)], RIGHT],
    "T": [[(30, 30), (120, 30)], [(75, 30), (75, 150)]],
    "careless T": [[(30, 30), (120, 30)], [(75, 42), (75, 150)]],
    "X": [[(35, 30), (115, 150)], [(115, 30), (35, 150)]],
    "pi": [[(30, 50), (130, 45)], [(55, 50), (45, 140)], [(100, 50), (108, 140)]],
}


@pytest.mark.parametrize("letter", LETTERS)
def test_no_part_of_a_crossed_letter_is_a_digit(reader, letter):
    reading = reader.read_strokes(drawn(*LETTERS[letter]))
    assert reading.text == "?"
    points = np.concatenate([np.array(stroke) for stroke in LETTERS[letter]])
    (digit,) = reading.digits
    around = *(points.min(axis=0) - 4), *(points.max(axis=0) + 4)
    assert np.allclose(digit.box, around, atol=1)


CROSSED = {
    "4 in two strokes": ("4", FOUR),
    "4 in three": ("4", [[(45, 30), (35, 100)], [(35, 100), (110, 100)], RIGHT]),
    "5 with a flag": ("5", FIVE),
    "7 with a bar": ("7", [[(30, 40), (95, 40), (55, 160)], [(45, 100), (100, 96)]]),
    "0 with a slash": ("0", [ring(80, 90, 36, 58), [(115, 40), (45, 145)]]),
    "8 of two rings": ("8", [ring(70, 60, 26, 28), ring(70, 122, 32, 34)]),
    "1 on a foot": ("1", [[(45, 60), (75, 30), (75, 150)], [(45, 150), (105, 150)]]),
}


@pytest.mark.parametrize("name", CROSSED)
def test_a_digit_whose_strokes_meet_is_one_digit(reader, name):
    text, strokes = CROSSED[name]
    assert reader.read_strokes(drawn(*strokes)).text == text


NEIGHBOURS = {
    "4 and 7 touch": ("47", [*FOUR, [(108, 40), (170, 40), (130, 165)]]),
    "2 and 1 touch": (
        "21",
        [
            [(30, 60), (60, 32), (90, 60), (35, 148), (112, 148)],
            [(115, 30), (112, 150)],
        ],
    ),
    "1 and 3 touch": (
        "13",
        [[(60, 30), (60, 150)], [(75, 40), (120, 50), (95, 82), (125, 105), (60, 146)]],
    ),
    "3 reaches over a 1": (
        "13",
        [[(60, 30), (60, 150)], [(50, 40), (120, 50), (95, 82), (125, 105), (48, 146)]],
    ),
    "two ones": ("11", [LEFT, [(70, 30), (70, 150)]]),
    "two ones that touch": ("11", [LEFT, [(46, 30), (46, 150)]]),
    "a dash that nearly touches": (
        "11",
        [LEFT, [(48, 90), (122, 90)], [(130, 30), (130, 150)]],
    ),
    "a dash between": ("11", [LEFT, [(70, 90), (95, 90)], [(130, 30), (130, 150)]]),
    "a comma between": ("11", [LEFT, [(70, 145), (66, 158)], RIGHT]),
}


def test_lines_of_writing_that_touch_stay_lines(reader):
    rows = [
        [(x + dx, y + dy) for dx, dy in ((0, 0), (60, 0), (20, 118))]
        for y in (20, 128)
        for x in (40, 150, 260)
    ]
    assert reader.read_strokes(drawn(*rows)).text == "777\n777"


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_digits_beside_each_other_are_not_judged_together(reader, name):
    text, strokes = NEIGHBOURS[name]
    assert reader.read_strokes(drawn(*strokes)).text == text


def test_a_letter_beside_a_number_takes_no_digit_with_it(reader):
    letter = [[(x + 130, y) for x, y in stroke] for stroke in LETTERS["H"]]
    assert reader.read_strokes(drawn(SEVEN, *letter)).text == "7?"


def test_the_strokes_of_two_digits_are_two_digits_in_any_order(reader):
    four = [[(x + 130, y) for x, y in stroke] for stroke in FOUR]
    for strokes in ([SEVEN, *four], [four[0], SEVEN, four[1]]):
        reading = reader.read_strokes(drawn(*strokes))
        assert reading.text == "74"
        (first, second) = reading.digits
        assert first.box == (26, 36, 94, 164)
        assert second.box == (156, 26, 244, 174)


def test_a_lone_point_does_not_disturb(reader):
    assert reader.read_strokes(drawn(SEVEN, [(200, 160)], pen=6)).text == "7"
    assert reader.read_strokes(drawn([(100, 100)], pen=6)) == Reading(())


@pytest.mark.parametrize("where", [0.3, 0.5, 0.7])
def test_a_digit_whose_stroke_is_broken_is_one_digit(reader, where):
    """The stem of a 7 of 120 pixels has a gap of 4."""
    start, corner, end = map(np.array, SEVEN)
    middle = corner + (end - corner) * where
    half = (end - corner) / np.hypot(*(end - corner)) * 5.5
    broken = drawn([start, corner, middle - half], [middle + half, end], pen=7)
    assert reader.read_strokes(broken).text == "7"
    ink = replace(strokes_ink(broken), strokes=None)
    assert reader.read_ink(ink).text == "7"


# --- weights -----------------------------------------------------------------------


def with_metadata(path, **metadata):
    model = models.build("best")
    load_weights(models.SHIPPED, model)
    save_weights(path, model, {"architecture": "best", **metadata})
    return path


def test_the_judge_is_no_network_that_names_digits():
    with pytest.raises(TensorFileError, match=r"judge\.safetensors.*names digits"):
        Reader(models.JUDGE)


@pytest.mark.parametrize("value", ["nan", "0", "-1", "inf", "abc", "", "9" * 5000])
def test_a_temperature_that_is_none_is_refused(tmp_path, value):
    path = with_metadata(tmp_path / "odd.safetensors", temperature=value)
    with pytest.raises(TensorFileError, match=r"odd\.safetensors.*temperature") as e:
        Reader(path)
    assert len(str(e.value)) < 300 + len(str(path))


def test_weights_without_a_temperature_are_taken_as_they_are(tmp_path, page):
    plain = Reader(str(with_metadata(tmp_path / "plain.safetensors")))
    assert plain.temperature == 1
    assert plain.read_ink(as_ink(page("60"))).text == "60"


def test_another_temperature_changes_no_favourite(tmp_path, reader, glyphs):
    warm = Reader(with_metadata(tmp_path / "warm.safetensors", temperature="2.0"))
    assert warm.temperature == 2
    named = [
        r.model.predict(glyphs[..., np.newaxis]) / r.temperature for r in (reader, warm)
    ]
    np.testing.assert_array_equal(named[0].argmax(axis=1), named[1].argmax(axis=1))
    sure = [r.probabilities(glyphs).max(axis=1) for r in (reader, warm)]
    assert sure[1].sum() < sure[0].sum()


@pytest.mark.parametrize("name", ["temperature", "threshold"])
def test_a_damaged_judge_is_named(tmp_path, monkeypatch, name):
    path = tmp_path / "judge.safetensors"
    save_weights(path, models.build("judge"), {"architecture": "judge", name: "abc"})
    monkeypatch.setattr(models, "JUDGE", path)
    with pytest.raises(TensorFileError, match=rf"judge\.safetensors.*{name}.*'abc'"):
        Reader()


def test_a_judge_without_a_threshold_is_no_judge(tmp_path, monkeypatch):
    path = tmp_path / "judge.safetensors"
    save_weights(path, models.build("judge"), {"architecture": "judge"})
    monkeypatch.setattr(models, "JUDGE", path)
    with pytest.raises(TensorFileError, match=r"judge\.safetensors.*threshold"):
        Reader()


# --- opinions ----------------------------------------------------------------------


def test_opinions_are_probabilities(reader):
    images = np.random.default_rng(0).random((7, 28, 28), np.float32)
    names, digitness = reader.opinions(images)
    np.testing.assert_array_equal(names, reader.probabilities(images))
    assert names.shape == (7, 10)
    assert digitness.shape == (7,)
    np.testing.assert_allclose(names.sum(axis=1), 1, rtol=1e-5)
    assert (names >= 0).all()
    assert (digitness >= 0).all()
    assert (digitness <= 1 + 1e-6).all()


def test_the_joint_opinion_is_a_product_of_both():
    rng = np.random.default_rng(0)
    named, judged = rng.normal(size=(5, 10)), rng.normal(size=(5, 11))
    joint = np.exp(joint_logits(named, judged))
    product = np.exp(named) * np.exp(judged)[:, :10]
    np.testing.assert_allclose(joint, product)


# --- the search --------------------------------------------------------------------


@st.composite
def problems(draw):
    """Draw a line, all its candidates, and what the networks would say of them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 6))
    most = draw(st.integers(1, 4))
    line = Line(
        tuple(range(count)),
        float(rng.uniform(10, 60)),
        tuple(rng.normal(0, 6, count - 1).tolist()),
    )
    offered, scores = [], {}
    for start in range(count):
        for stop in range(start + 1, min(start + most, count) + 1):
            w, h = rng.uniform(1, 60, 2)
            x = 20.0 * start
            candidate = Candidate(
                start,
                stop,
                line.pieces[start:stop],
                1,
                20.0,
                rng.uniform(1, h),
                (x, 0.0, x + w, h),
            )
            offered.append(candidate)
            names = rng.dirichlet(np.full(10, 0.2)).astype(np.float32)
            scores[candidate.pieces] = names, float(rng.beta(0.5, 0.5))
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


def of_bonds(line, partition):
    """Return what the bonds say of a partition."""
    ends = {candidate.stop for candidate in partition}
    return module.BONDS * sum(
        log_sigmoid(-bond if k in ends else bond)
        for k, bond in enumerate(line.bonds, 1)
    )


def of_candidate(candidate, line, scores):
    """Return the log probability of a candidate, and whether it is kept as a digit."""
    confidence = {
        pieces: q * float(names.max()) for pieces, (names, q) in scores.items()
    }
    x0, y0, x1, y1 = candidate.box
    low = min(max(y1 - y0, (x1 - x0) / 2) / line.height / module.LOW, 1)
    apart = 0.0  # the probability that it is several digits, each a piece of its own
    if len(candidate.pieces) > 1:
        weakest = min(line.bonds[candidate.start : candidate.stop - 1])
        apart = min(confidence[n,] for n in candidate.pieces)
        apart *= math.exp(log_sigmoid(2 * (module.TOUCHING - weakest)))
        apart *= candidate.lowest >= module.TALL_PART * (y1 - y0)
    sure = confidence[candidate.pieces] * (1 - apart)
    kept = max(
        math.log(max(sure, module.LEAST)) + math.log(low),
        math.log(max(1 - scores[candidate.pieces][1], module.LEAST)) + module.JUNK,
    )
    dropped = module._dropped(candidate, line)
    return max((kept, True), (dropped, False))


@given(problems())
@settings(max_examples=300, deadline=None)
def test_the_search_finds_the_best_of_all_partitions(problem):
    line, offered, scores = problem
    best, expected = -math.inf, None
    for partition in partitions(offered, 0, len(line.pieces)):
        options = [of_candidate(candidate, line, scores) for candidate in partition]
        total = of_bonds(line, partition) + sum(score for score, _ in options)
        if total > best:
            best = total
            pairs = zip(partition, options, strict=True)
            expected = [candidate for candidate, (_, kept) in pairs if kept]
    assert Reader._search(None, line, offered, scores) == expected


def test_a_sure_digit_of_two_pieces_beats_two_doubtful_ones():
    line = Line((3, 5), 20.0, (0.0,))
    halves = [
        Candidate(k, k + 1, (n,), 1, 20, 20, (8 * k, 0, 8 * k + 8, 20))
        for k, n in [(0, 3), (1, 5)]
    ]
    whole = Candidate(0, 2, (3, 5), 2, 20, 20, (0, 0, 16, 20))
    sure, doubtful = np.eye(10)[4], np.full(10, 0.1)
    scores = {(3,): (doubtful, 0.5), (5,): (doubtful, 0.5), (3, 5): (sure, 0.99)}
    offered = [halves[0], whole, halves[1]]
    assert Reader._search(None, line, offered, scores) == [whole]
    scores = {(3,): (sure, 0.99), (5,): (sure, 0.99), (3, 5): (doubtful, 0.5)}
    assert Reader._search(None, line, offered, scores) == halves


def test_parts_that_are_digits_themselves_are_not_one_unless_they_touch():
    halves = [
        Candidate(k, k + 1, (k,), 1, 20, 20, (8 * k, 0, 8 * k + 8, 20))
        for k in range(2)
    ]
    whole = Candidate(0, 2, (0, 1), 2, 20, 20, (0, 0, 16, 20))
    sure = np.eye(10)[4]
    scores = {(0,): (sure, 0.97), (1,): (sure, 0.97), (0, 1): (sure, 0.999)}
    offered = [halves[0], whole, halves[1]]
    for bond, expected in [(4.0, [whole]), (0.2, halves)]:
        line = Line((0, 1), 20.0, (bond,))
        assert Reader._search(None, line, offered, scores) == expected


def test_specks_are_dropped_alone_and_together():
    specks = [
        Candidate(k, k + 1, (k,), 1, 5, 5, (6 * k, 0, 6 * k + 5, 5)) for k in range(2)
    ]
    both = Candidate(0, 2, (0, 1), 2, 5, 5, (0, 0, 11, 5))
    sure = np.eye(10)[1]
    scores = dict.fromkeys([(0,), (1,), (0, 1)], (sure, 0.99))
    line = Line((0, 1), 5.0, (2.0,))
    offered = [specks[0], both, specks[1]]
    assert Reader._search(None, line, offered, scores) == []


def test_a_bond_decides_where_the_networks_do_not():
    halves = [
        Candidate(k, k + 1, (k,), 1, 20, 20, (8 * k, 0, 8 * k + 8, 20))
        for k in range(2)
    ]
    whole = Candidate(0, 2, (0, 1), 2, 20, 20, (0, 0, 16, 20))
    sure = np.eye(10)[4]
    # The networks are as sure of both halves together as of the whole.
    scores = {(0,): (sure, 0.9), (1,): (sure, 0.9), (0, 1): (sure, 0.81)}
    offered = [halves[0], whole, halves[1]]
    for bond, expected in [(3.0, [whole]), (-3.0, halves)]:
        line = Line((0, 1), 20.0, (bond,))
        assert Reader._search(None, line, offered, scores) == expected


def test_the_judge_outweighs_the_name():
    """What is surely no digit is junk, however sure its name would be."""
    line, only = Line((0,), 20.0, ()), Candidate(0, 1, (0,), 1, 20, 20, (0, 0, 10, 20))
    names = np.eye(10)[1]
    for digit in (0.0, 1.0):
        assert Reader._search(None, line, [only], {(0,): (names, digit)}) == [only]
    low = replace(only, box=(0, 0, 5, 6))
    assert Reader._search(None, line, [low], {(0,): (names, 0.0)}) == []


def of_a_component(*digits):
    """Return a page of one component, cut into digits, and what each was read as.

    A digit is its label, or None, and its confidence.
    """
    page = segment.PicturePage(np.ones((20, 10), np.float32))
    page.pieces, line = {}, []
    for k, (label, confidence) in enumerate(digits):
        box = (10 * k, 0, 10 * k + 10, 20)
        page.pieces[k] = segment.Piece(box, 100.0, 1, k)
        candidate = Candidate(k, k + 1, (k,), 1, 20, 20, box)
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


def test_what_was_grouped_of_several_components_is_not_settled_by_one():
    page, line = of_a_component(NO, NO, (7, 0.9))
    several = replace(line[2].candidate, wholes=2)
    assert tidied(page, [*line[:2], line[2]._replace(candidate=several)])[-1] == 7


def test_a_network_of_digits_is_no_judge():
    with pytest.raises(TensorFileError, match=r"digits\.safetensors.*no judge"):
        Reader(judge=models.SHIPPED)


def test_a_rule_that_is_cut_off_takes_no_digit_with_it():
    page, (rule, digit) = of_a_component(NO, (5, 0.9))
    long = replace(rule.candidate, box=(0, 0, 90, 5))
    page.pieces[0] = replace(page.pieces[0], area=900.0)
    assert tidied(page, [rule._replace(candidate=long), digit]) == [5]


def test_a_tap_is_a_point_and_points_are_dropped(reader):
    tap = np.array([[40.0, 40.0]])
    assert reader.read_strokes(Strokes((tap,), (14.0,), (80, 80))) == Reading(())


def test_what_is_drawn_off_the_canvas_is_not_read(reader):
    line = np.array([[-500.0, -500.0], [-400.0, -300.0]])
    assert reader.read_strokes(Strokes((line,), (14.0,), (80, 80))) == Reading(())


@pytest.mark.parametrize("thickness", [2, 6])
def test_a_frame_around_a_number_is_not_read(reader, page, thickness):
    """As a picture too, where its level sides look like ruled lines."""
    ink = np.pad(page("2468"), 40)
    ink[:thickness] = ink[-thickness:] = 1
    ink[:, :thickness] = ink[:, -thickness:] = 1
    ink = np.pad(ink, 20)
    assert reader.read_ink(as_ink(ink)).text == "2468"
    assert reader.read_picture(as_picture(ink)).text == "2468"


# --- a drawing that grows -----------------------------------------------------------


@pytest.fixture
def strokes():
    """Return the strokes of a few digits, side by side."""
    rng = np.random.default_rng(4)
    digits = [write(digit, rng) for digit in (3, 1, 4, 1, 5)]
    points = [s * 8 + (40 + 110 * n, 40) for n, d in enumerate(digits) for s in d]
    return Strokes(tuple(points), (10.0,) * len(points), (640, 160))


def grown(strokes, count):
    """Return the drawing as it was after so many strokes."""
    return Strokes(strokes.points[:count], strokes.pen_widths[:count], strokes.size)


def test_a_reader_that_remembers_reads_what_others_read(reader, strokes):
    remembering = Reader(remembers=True)
    for count in range(1, len(strokes.points) + 1):
        ours = remembering.read_strokes(grown(strokes, count))
        theirs = reader.read_strokes(grown(strokes, count))
        assert ours.text == theirs.text
        for our, their in zip(ours.digits, theirs.digits, strict=True):
            assert our.box == their.box
            assert our.confidence == pytest.approx(their.confidence, abs=1e-5)


def test_a_reader_that_remembers_looks_at_new_strokes_only(strokes, monkeypatch):
    remembering = Reader(remembers=True)
    counts = []
    opinions = remembering.opinions

    def counted(images):
        counts.append(len(images))
        return opinions(images)

    monkeypatch.setattr(remembering, "opinions", counted)
    last = len(strokes.points)
    remembering.read_strokes(grown(strokes, last - 1))
    remembering.read_strokes(strokes)
    assert 1 <= counts[-1] < counts[0]
    remembering.read_strokes(strokes)
    assert len(counts) == 2
    # The same shape elsewhere, or another shape at the same place, is something new.
    moved = Strokes(
        tuple(p + 3 for p in strokes.points), strokes.pen_widths, strokes.size
    )
    remembering.read_strokes(moved)
    assert counts[-1] >= last


def test_what_is_remembered_is_bounded(strokes, monkeypatch):
    monkeypatch.setattr(module, "MOST_REMEMBERED", 10)
    remembering = Reader(remembers=True)
    for shift in range(5):
        points = tuple(p + shift for p in strokes.points)
        remembering.read_strokes(Strokes(points, strokes.pen_widths, strokes.size))
    assert len(remembering._memory) < 60
