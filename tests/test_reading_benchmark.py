"""The laws of the reading benchmark: a figure is no better than what it counts with.

No data from outside is needed: the digits are the bundled sample's, the numbers and
cheques are made here. The reader is a fake.
"""

import gzip
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks import reading, reading_sets
from benchmarks.reading_sets import Item, MissingError
from tinycnn.data.mnist import SAMPLE_FOLDER, load_mnist
from tinycnn.ink import normalize
from tinycnn.reading import segment
from tinycnn.reading.result import Digit, Reading

NOWHERE = Path("nowhere")


class FakeReader:
    """Reads nothing in any picture; as a network, it is always for `favourite`."""

    def __init__(self, weights=None, favourite=0):  # noqa: ARG002
        self.favourite = favourite

    def read_picture(self, picture):  # noqa: ARG002
        return Reading(())

    def read_strokes(self, strokes):
        return self.read_picture(strokes)

    def probabilities(self, images):
        return np.eye(10, dtype=np.float32)[[self.favourite] * len(images)]


def a_reading(*digits):
    """Return a reading of one line, from labels (None is refused) and boxes."""
    return Reading((tuple(Digit(label, 0.9, box, ()) for label, box in digits),))


def an_item(text="12", boxes=((0, 0, 10, 20), (20, 0, 30, 20))):
    """Return an item of blank paper that is said to hold two digits."""
    images = np.zeros((len(text), 28, 28), np.float32)
    return Item("separate", np.full((20, 30), 255, np.uint8), text, boxes, images)


@pytest.fixture(scope="module")
def digits():
    """Return images and labels of ten digits."""
    sample = load_mnist(SAMPLE_FOLDER)
    return sample.test_images[::100], sample.test_labels[::100]


@pytest.fixture
def folder(tmp_path):
    """Return a folder with all parts: the sample, three numbers, one cheque."""
    (tmp_path / "mnist").symlink_to(SAMPLE_FOLDER)
    (tmp_path / "strokes").mkdir()
    one = {"label": "1", "strokes": [[[3.0, 0.0], [3.1, 5.0]]]}
    seven = {"label": "7", "strokes": [[[4.0, 0.0], [6.0, 0.0], [5.0, 5.0]]]}
    with gzip.open(tmp_path / "strokes/crohme-train-numbers.jsonl.gz", "wt") as file:
        for text, parts in [("17", [one, seven]), ("1", [one]), ("7", [seven])]:
            print(json.dumps({"text": text, "digits": parts}), file=file)
    (tmp_path / "cheques").mkdir()
    page = np.full((40, 80), 240, np.uint8)
    page[10:30, 20:24] = page[5:25, 50:54] = 20
    Image.fromarray(page).save(tmp_path / "cheques/a.png")
    label = {"file": "a.png", "text": "11", "boxes": [[18, 8, 8, 24], [48, 3, 8, 24]]}
    (tmp_path / "cheques/labels.jsonl").write_text(json.dumps(label))
    return tmp_path


# --- what is counted ---------------------------------------------------------------


def test_iou_is_the_intersection_by_the_union():
    box = (0, 0, 10, 20)
    assert reading.iou(box, box) == 1
    assert reading.iou(box, (5, 0, 15, 20)) == pytest.approx(1 / 3)
    assert reading.iou(box, (2, 5, 4, 10)) == pytest.approx(10 / 200)
    assert reading.iou(box, (10, 0, 20, 20)) == 0  # they share an edge, no pixel
    assert reading.iou(box, (12, 25, 20, 40)) == 0


def test_a_box_finds_one_digit_and_the_best_pair_goes_first():
    true = [(0, 0, 10, 20), (4, 0, 14, 20)]
    assert reading.match(true, [(3, 0, 13, 20)]) == [(1, 0)]
    assert sorted(reading.match(true, [true[1], true[0]])) == [(0, 1), (1, 0)]
    assert reading.match(true[:1], [true[0], true[0]]) == [(0, 0)]


def test_an_overlap_below_one_half_finds_nothing():
    true = [(0, 0, 10, 20)]
    assert reading.match(true, [(0, 0, 20, 20)]) == [(0, 0)]
    assert reading.match(true, [(0, 0, 20.1, 20)]) == []


def test_a_refused_digit_is_found_but_not_right():
    item = an_item()
    read = a_reading((1, item.boxes[0]), (None, item.boxes[1]))
    score = reading.score(item, read, ceiling="12")
    assert score.counts == Counter(
        digits=2, found=2, right=1, accepted=1, refused=1, extra=0
    )
    assert not score.exact
    assert score.ceiling
    assert not score.same


def test_a_right_label_in_a_wrong_place_is_extra():
    item = an_item()
    read = a_reading((1, (100, 0, 110, 20)), (2, item.boxes[1]))
    score = reading.score(item, read, ceiling="77")
    assert score.counts["found"] == score.counts["right"] == score.counts["extra"] == 1
    assert score.exact  # exact asks for the text alone
    assert not score.ceiling


def test_two_lines_are_not_one_number():
    item = an_item()
    lines = [a_reading((int(d), b)).lines[0] for d, b in zip("12", item.boxes)]  # noqa: B905
    assert not reading.score(item, Reading(tuple(lines)), "12").exact


def test_the_figures_of_a_set_worked_by_hand():
    item = an_item()
    right = a_reading((1, item.boxes[0]), (2, item.boxes[1]))
    scores = [
        reading.score(item, right, "12"),
        reading.score(item, right, "13"),
        reading.score(item, a_reading((1, item.boxes[0])), "12"),
        reading.score(item, Reading(()), "12"),
    ]
    figures = reading.shares(scores)
    assert figures["found"] == figures["right"] == 5 / 8
    assert figures["exact"] == 2 / 4
    assert figures["ceiling"] == 3 / 4
    assert figures["of_the_ceiling"] == pytest.approx(2 / 3)
    assert figures["same"] == 1 / 4


def test_no_ceiling_gives_no_ratio():
    scores = [reading.score(an_item(), Reading(()), "77")]
    assert reading.shares(scores)["of_the_ceiling"] is None


def test_digits_read_in_nothing_are_counted_apart_from_refusals():
    item = Item("blank", np.zeros((9, 9), np.uint8), "", (), np.zeros((0, 28, 28)))
    box = (0, 0, 9, 9)
    readings = [Reading(()), a_reading((1, box), (7, box)), a_reading((None, box))]
    figures, failures = reading.measure(FakeReader(), "nothing", [item])
    assert figures["all"]["with_a_digit"] == 0
    assert not failures
    figures = reading.false_digits([reading.score(item, r, "") for r in readings])
    assert figures == {
        "pictures": 3,
        "with_a_digit": 1,
        "false_digits": 2,
        "refused": 1,
    }


# --- the pictures and their truth --------------------------------------------------


@pytest.mark.parametrize("gaps", [(0.0, 0.3), (-0.15, 0.0)])
def test_the_gaps_of_a_number_are_as_asked(digits, gaps):
    item = reading_sets.number(*digits, 60.0, gaps, np.random.default_rng(0))
    for a, b in zip(item.boxes, item.boxes[1:], strict=False):
        mean = ((a[2] - a[0]) + (b[2] - b[0])) / 2
        # A pixel more or less: digits lie on whole ones.
        assert gaps[0] * mean - 1 <= b[0] - a[2] <= gaps[1] * mean + 1


def test_a_number_lies_within_its_picture_and_nothing_else_does(digits):
    rng = np.random.default_rng(1)
    item = reading_sets.number(*digits, 40.0, (0.1, 0.2), rng, size=(900, 300))
    assert item.given.shape == (300, 900)
    assert item.text == "".join(map(str, digits[1]))
    left = item.given.copy()
    for x0, y0, x1, y1 in item.boxes:
        assert 0 < x0 < x1 < 900
        assert 0 < y0 < y1 < 300
        left[int(y0) : int(y1), int(x0) : int(x1)] = 255
    assert left.min() > 255 / 2


def test_the_ceiling_never_sees_a_neighbour(digits):
    far, near = (
        reading_sets.number(*digits, 60.0, gaps, np.random.default_rng(2))
        for gaps in [(0.5, 0.5), (-0.15, -0.15)]
    )
    assert far.kind != "touching"
    assert near.kind == "touching"
    np.testing.assert_array_equal(far.images, near.images)


def test_the_ceiling_is_the_network_alone():
    assert reading.ceiling_text(FakeReader(favourite=7), an_item()) == "77"


def test_the_same_seed_gives_the_same_number(digits):
    one, two, other = (
        reading_sets.number(*digits, 50.0, (0.0, 0.1), np.random.default_rng(seed))
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one.given, two.given)
    assert one.boxes == two.boxes != other.boxes


def kind_of(*places):
    """Return the kind of a picture whose digits are bars at these (y, x)."""
    inks = [np.zeros((20, 40), np.float32) for _ in places]
    for ink, bars in zip(inks, places, strict=True):
        for y, x in bars:
            ink[y : y + 8, x : x + 4] = 1
    return reading_sets.kind_of(inks, [reading_sets.ink_box(ink) for ink in inks])


def test_the_kind_follows_from_the_ink():
    assert kind_of([(2, 2)], [(2, 20)]) == "separate"
    assert kind_of([(2, 2)], [(11, 4)]) == "overlapping"
    assert kind_of([(0, 2), (11, 2)], [(2, 20)]) == "broken"
    assert kind_of([(2, 2)], [(2, 6)]) == "touching"
    assert kind_of([(2, 2)], [(10, 6)]) == "touching"  # by a corner


def test_a_speck_does_not_break_a_digit():
    ink = np.zeros((20, 20), np.float32)
    ink[2:12, 2:12] = 1
    ink[15, 15] = 1
    assert reading_sets.kind_of([ink], [reading_sets.ink_box(ink)]) == "separate"


def test_a_pasted_digit_has_its_size_and_its_polarity(folder):
    items = list(reading_sets.mnist(folder, 0, 40))
    sides = [max(x1 - x0, y1 - y0) for ((x0, y0, x1, y1),) in (i.boxes for i in items)]
    assert 19 <= min(sides) < 40
    assert 200 < max(sides) <= 302
    paper = [int(np.median([i.given[0], i.given[-1]])) for i in items]
    assert set(paper) == {0, 255}
    for item in items:
        x0, y0, x1, y1 = item.boxes[0]
        assert 0 < x0 < x1 < item.given.shape[1]
        assert 0 < y0 < y1 < item.given.shape[0]


def test_a_written_number_is_scaled_as_a_whole(folder):
    pictures = list(reading_sets.crohme_pictures(folder, 0, None))
    strokes = list(reading_sets.crohme_strokes(folder, 0, None))
    assert [i.text for i in pictures] == [i.text for i in strokes] == ["17", "1", "7"]
    for picture, drawn in zip(pictures, strokes, strict=True):
        assert picture.boxes == drawn.boxes
        assert picture.given.shape == drawn.given.size[::-1]
        height = max(b[3] for b in picture.boxes) - min(b[1] for b in picture.boxes)
        assert 58 <= height <= 122
    (one, seven) = pictures[0].boxes
    assert one[2] < seven[0]
    assert one[3] - one[1] == pytest.approx(seven[3] - seven[1], abs=1)


def test_an_item_is_the_same_whatever_else_is_measured(folder):
    whole = [i.given for i in reading_sets.crohme_pictures(folder, 5, None)]
    (one,) = (i.given for i in reading_sets.crohme_pictures(folder, 5, 1))
    assert any(np.array_equal(one, other) for other in whole)


def test_a_cheque_digit_is_the_ink_in_its_box(folder):
    (item,) = reading_sets.cheques(folder, 0, None)
    assert item.boxes == ((18, 8, 26, 32), (48, 3, 56, 27))
    assert item.kind == "separate"
    # Both bars are the same digit, wherever they stand.
    assert np.abs(item.images[0] - item.images[1]).max() < 0.2
    assert item.images[0].max() == 1


def test_nothing_has_every_kind_of_paper_and_no_digit():
    items = list(reading_sets.nothing(NOWHERE, 0, 1))
    assert [item.kind for item in items] == list(reading_sets.PAPER)
    assert all(item.text == "" and item.given.dtype == np.uint8 for item in items)


@pytest.mark.parametrize("name", [n for n in reading.SETS if n != "nothing"])
def test_a_part_that_is_not_there_is_missing(name):
    with pytest.raises(MissingError, match="nowhere"):
        next(reading.SETS[name](NOWHERE, 0, None))


# --- a digit in many variants ------------------------------------------------------


@pytest.fixture(scope="module")
def picture(digits):
    """Return an array (48, 60) with the digit 7 in one corner, black on white."""
    page = np.full((48, 60), 255, np.uint8)
    page[2:30, 1:29] = 255 - digits[0][0]
    return page


def test_a_digit_comes_in_sixty_variants_and_each_has_a_name(folder):
    items = list(reading_sets.variants(folder, 0, 2))
    names = [item.variant for item in items]
    assert len(set(names)) >= 60
    assert Counter(names) == dict.fromkeys(names, 2)
    assert {item.kind for item in items} == {"lossless", "lossy"}
    assert len({item.plain for item in items}) == 2


def test_the_plain_picture_is_the_digit_enlarged_by_repeating_pixels(folder):
    item = next(reading_sets.variants(folder, 0, 1))
    ((x0, y0, x1, y1),) = item.plain.boxes
    ink = 255 - item.plain.given[int(y0) : int(y1), int(x0) : int(x1)]
    small = np.rint(255 * item.images[0]).astype(np.uint8)
    sx0, sy0, sx1, sy1 = map(int, reading_sets.ink_box(item.images[0]))
    np.testing.assert_array_equal(ink[::4, ::4], small[sy0:sy1, sx0:sx1])
    assert (255 - item.plain.given).sum() == 16 * small.sum(dtype=int)


def test_a_lossless_variant_shows_what_the_plain_picture_shows(picture):
    """Pillow alone decides here: what the reader makes of a file is not asked."""
    seen = 0
    for name, given in reading_sets.lossless(picture):
        if not isinstance(given, bytes) or "16 bits" in name:
            continue
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(given)))
        paper = "black" if "light" in name else "white"
        page = Image.new("RGBA", upright.size, paper)
        page.alpha_composite(upright.convert("RGBA"))
        grey = np.asarray(page.convert("L"))
        light = "light" in name or "swapped" in name
        np.testing.assert_array_equal(grey, 255 - picture if light else picture, name)
        seen += 1
    assert seen >= 35


@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_orientation_is_stored_turned_and_is_upright_after_exif(
    picture, orientation
):
    given = dict(reading_sets.lossless(picture))[f"PNG EXIF {orientation}"]
    stored = Image.open(io.BytesIO(given))
    assert not np.array_equal(np.asarray(stored), picture)
    assert stored.getexif()[reading_sets.EXIF_ORIENTATION] == orientation
    np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(stored)), picture)


def test_a_lossy_variant_is_another_picture_of_the_same_size(picture):
    for name, given in reading_sets.lossy(picture):
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(given)))
        assert image.size == (60, 48)
        grey = np.asarray(image.convert("L"))
        assert not np.array_equal(grey, picture), name
        assert not np.array_equal(grey, 255 - picture), name


def test_the_box_of_a_resized_variant_is_around_its_ink(folder):
    resized = [
        item
        for item in reading_sets.variants(folder, 0, 1)
        if item.variant.startswith("x")
    ]
    assert len(resized) == len(reading_sets.SIZES) * len(reading_sets.FILTERS)
    for item in resized:
        grey = np.asarray(Image.open(io.BytesIO(item.given)), np.float32)
        around = reading_sets.ink_box(1 - grey / 255)
        assert reading.iou(around, item.boxes[0]) > 0.85


class BySize(FakeReader):
    """Reads a 1 in an array and a 2 in a file of more than `most` bytes."""

    most = 10**9

    def read_picture(self, picture):
        of_a_file = isinstance(picture, Path)
        large = of_a_file and picture.stat().st_size > self.most
        return a_reading((2 if large else 1, (0, 0, 9, 9)))


def test_a_variant_is_held_against_the_reading_of_the_plain_array(folder):
    reader = BySize()
    items = list(reading_sets.variants(folder, 0, 1))
    figures, failures = reading.measure(reader, "variants", items)
    assert list(figures) == ["all", "lossless", "lossy"]
    assert figures["all"]["same"] == 1  # whatever the true digit is
    assert not failures


def test_a_variant_that_differs_has_a_row_of_its_own(folder):
    reader = BySize()
    reader.most = 20_000
    items = list(reading_sets.variants(folder, 0, 1))
    large = {
        item.variant: item.kind
        for item in items
        if isinstance(item.given, bytes) and len(item.given) > reader.most
    }
    assert large
    figures, failures = reading.measure(reader, "variants", items)
    assert list(figures) == ["all", "lossless", "lossy", *sorted(large)]
    for name in large:
        assert figures[name]["pictures"] == 1
        assert figures[name]["same"] == 0
    counts = Counter(item.kind for item in items)
    for kind, differ in Counter(large.values()).items():
        assert figures[kind]["same"] == pytest.approx(1 - differ / counts[kind])
    assert {f"variants, {name}" for name in large} >= {f.title for f in failures}
    assert reading.draw_sheet(failures).size[0] == 4 * reading.CELL[0]


# --- the ablation and the command --------------------------------------------------


def test_without_the_centre_of_mass_the_box_stays_in_the_middle():
    lopsided = np.zeros((20, 20), np.float32)
    lopsided[:, 0] = lopsided[0, :] = 1
    as_it_is = normalize.normalize(lopsided)
    with reading.ABLATIONS["no centre of mass"]():
        boxed = normalize.normalize(lopsided)
    np.testing.assert_array_equal(boxed[4:24, 4:24], lopsided)
    assert boxed.sum() == lopsided.sum()
    assert not np.array_equal(boxed, as_it_is)
    np.testing.assert_array_equal(normalize.normalize(lopsided), as_it_is)


def test_without_splitting_touching_ink_stays_in_one_piece(digits):
    item = reading_sets.number(*digits, 60.0, (-0.15, -0.15), np.random.default_rng(2))
    ink = 1 - item.given.astype(np.float32) / 255

    def pieces():
        page = segment.PicturePage(ink)
        page.cut(list(page.pieces))
        return len(page.pieces)

    cut = pieces()
    with reading.ABLATIONS["no splitting"]():
        assert pieces() < cut


def test_without_a_junk_score_everything_is_a_digit_and_names_stay():
    judged = np.array([[0.7] + [0.3 / 9] * 9, [0.1] * 10]), np.array([0.2, 0.9])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "OPINIONS", lambda *_: judged)
        with reading.ABLATIONS["no junk score"]():
            names, digitness = reading.Reader.opinions(None, np.zeros((2, 28, 28)))
    np.testing.assert_array_equal(names, judged[0])
    np.testing.assert_array_equal(digitness, [1, 1])


def test_without_grouping_no_candidate_has_two_components():
    ink = np.zeros((40, 40), np.float32)
    ink[5:35, 5:8] = ink[5:35, 10:13] = 1
    page = segment.PicturePage(ink)
    (line,) = segment.lines(page)
    assert {c.components for c in segment.candidates(page, line)} == {1, 2}
    with reading.ABLATIONS["no grouping"]():
        assert {c.components for c in segment.candidates(page, line)} == {1}


@pytest.mark.parametrize("name", reading.ABLATIONS)
def test_what_an_ablation_replaces_is_there(name):
    with reading.ABLATIONS[name]():
        pass


def test_the_command_names_what_it_skips(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reading, "Reader", FakeReader)
    out = tmp_path / "figures.json"
    only = ["--only", "numbers", "nothing", "--limit", "1", "--out", str(out), "--json"]
    assert reading.main([str(tmp_path), *only]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results == json.loads(out.read_text())
    assert list(results["sets"]) == ["nothing"]
    assert list(results["skipped"]) == ["numbers"]
    assert results["sets"]["nothing"]["all"]["pictures"] == len(reading_sets.PAPER)


def test_the_command_prints_tables_and_draws_failures(folder, monkeypatch, capsys):
    wrong = a_reading((1, (0, 0, 9, 9)), (None, (5, 5, 9, 9)))
    monkeypatch.setattr(FakeReader, "read_picture", lambda self, picture: wrong)  # noqa: ARG005
    monkeypatch.setattr(reading, "Reader", FakeReader)
    sheet = folder / "sheet.png"
    limits = ["--limit", "1", "--ablation", "--sheet", str(sheet)]
    assert reading.main([str(folder), *limits]) == 0
    printed = capsys.readouterr().out
    for name in reading.SETS:
        assert ("900×300" if name == "time" else name) in printed
    for name in reading.ABLATIONS:
        assert name in printed
    with Image.open(sheet) as page:
        red = np.all(np.asarray(page) == (255, 0, 0), axis=2)
        assert red.any()
