"""The laws of ``python -m tinycnn.recognize``: what it prints, draws and refuses.

What is read is tested in ``tests/reading``: here the digits are easy, or a stub of the
reader gives the answers.
"""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from weights_file import read_arrays, save_arrays

from tinycnn import models, recognize
from tinycnn.data import load_mnist
from tinycnn.ink.strokes import load_strokes, strokes_ink
from tinycnn.nn.weights import WeightsError
from tinycnn.reading import reader
from tinycnn.reading.result import Digit, Reading

SAMPLE = models.SHIPPED.parent.parent / "data" / "sample"
SEVEN = {"strokes": [[[30, 70], [90, 70], [50, 190]]], "pen_width": 9}
BLUE, VERMILION = recognize.COLOURS


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def page():
    """Return a function that pastes typical digits of the sample on white."""
    digits = load_mnist(SAMPLE)
    typical = {}
    for label in range(10):
        images = digits.train_images[digits.train_labels == label].astype(float)
        far = np.square(images - images.mean(axis=0)).sum(axis=(1, 2))
        typical[str(label)] = np.pad(images[far.argmin()].astype(np.uint8), 9)

    def page(*lines, times=3):
        rows = [np.hstack([typical[label] for label in line]) for line in lines]
        ink = np.kron(np.vstack(rows), np.ones((times, times), np.uint8))
        return Image.fromarray(255 - ink)

    return page


def digit(value, x, confidence=0.9, y=10):
    """Return a digit of 20×30 pixels whose box begins at (x, y)."""
    others = [k for k in range(3) if k != value]
    first = 7 if value is None else value
    top = ((first, confidence), (others[0], 0.04), (others[1], 0.01))
    return Digit(value, confidence, (x, y, x + 20, y + 30), top)


@pytest.fixture
def said(monkeypatch):
    """Let a stub of the reader answer what a test puts in this list, file by file."""
    readings = []

    class Stub:
        finds = True

        def __init__(self, *_, **__):
            pass

        def probabilities(self, images):
            return np.full((len(images), 10), 0.1, np.float32)

        def read(self, ink):  # noqa: ARG002
            answer = readings.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return Reading(tuple(map(tuple, answer)))

    monkeypatch.setattr(reader, "Reader", Stub)
    return readings


def blank(*names, size=(200, 60)):
    """Write white pictures."""
    for name in names:
        Image.new("L", size, 255).save(name)


def exit_code(*argv):
    """Return how the command ends, whether it returns or exits."""
    try:
        return recognize.main([str(argument) for argument in argv])
    except SystemExit as error:
        return error.code


def names_in(folder):
    return {path.name for path in Path(folder).iterdir()}


def pixels(path, mode="RGB"):
    with Image.open(path) as picture:
        return np.asarray(picture.convert(mode))


# --- what is read -----------------------------------------------------------------


def test_easy_digits_are_read(page, capsys):
    page("1703", "4652").save("page.png")
    assert exit_code("page.png") == 0
    text, err = capsys.readouterr()
    assert err == ""
    assert exit_code("page.png", "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    (line,) = out.splitlines()
    result = json.loads(line)
    assert list(result) == ["file", "text", "turned", "digits"]
    assert result["file"] == "page.png"
    assert result["text"] == text.rstrip("\n")
    characters = result["text"].replace("\n", "")
    assert sum(map(str.__eq__, characters, "17034652")) >= 7
    assert [len(line) for line in text.splitlines()] == [4, 4]
    for i, (read, character) in enumerate(
        zip(result["digits"], characters, strict=True)
    ):
        assert list(read) == ["line", "digit", "confidence", "box", "top"]
        assert read["line"] == i // 4
        assert character == ("?" if read["digit"] is None else str(read["digit"]))
        assert 0 <= read["confidence"] <= 1
        assert len({k for k, p in read["top"] if 0 <= p <= 1}) == len(read["top"]) == 3
        x0, y0, x1, y1 = read["box"]
        column, row = i % 4 * 138, i // 4 * 138
        assert column <= x0 < x1 <= column + 138
        assert row <= y0 < y1 <= row + 138
        assert all(isinstance(side, int) for side in read["box"])


def test_a_file_is_told_by_its_content_and_strokes_also_by_their_name(page, capsys):
    for name in ("seven.json", "SEVEN.JSON", "seven", "seven.png"):
        Path(name).write_text(f"\n {json.dumps(SEVEN)}")
        assert exit_code(name, "--json") == 0
        (read,) = json.loads(capsys.readouterr().out)["digits"]
        assert read["box"] == pytest.approx([25, 65, 95, 195], abs=2)
    page("3").save("three", "PNG")
    assert exit_code("three") == 0
    assert len(capsys.readouterr().out) == 2
    page("3").save("picture.json", "PNG")  # said to be strokes
    assert exit_code("picture.json") == 1
    assert "is not JSON" in capsys.readouterr().err


def test_weights_may_be_named(page, capsys):
    page("1703").save("page.png")
    assert exit_code("page.png", "--json") == 0
    shipped = capsys.readouterr().out
    shutil.copy(models.SHIPPED, "weights.safetensors")
    for argv in (["--weights", "weights.safetensors"], ["--weights", models.SHIPPED]):
        assert exit_code("page.png", "--json", *argv) == 0
        assert capsys.readouterr().out == shipped


def test_weights_that_are_of_no_use_are_refused_in_one_sentence(page, capsys):
    page("3").save("page.png")
    arrays, facts = read_arrays(models.SHIPPED)
    huge = {name: np.full_like(array, 1e38) for name, array in arrays.items()}
    save_arrays("huge.safetensors", huge, facts)
    for weights in ("page.png", "huge.safetensors"):
        for flags in ([], ["--json"]):
            assert exit_code("page.png", "--weights", weights, *flags) == 1
            out, err = capsys.readouterr()
            assert out == ""
            (line,) = err.splitlines()
            assert line.startswith("error: ")
            assert weights in line


# --- what is printed --------------------------------------------------------------


def test_one_file_is_its_text_alone_and_several_are_named(said, capsys):
    blank("a.png", "b.png", "c.png")
    said += [[[digit(1, 10), digit(None, 60)], [digit(2, 10)]]]
    assert exit_code("a.png") == 0
    assert capsys.readouterr().out == "1?\n2\n"
    said += [[[digit(1, 10)]], [[digit(2, 10)], [digit(3, 10), digit(4, 60)]], []]
    assert exit_code("a.png", "b.png", "c.png") == 0
    out, err = capsys.readouterr()
    assert out == "a.png: 1\nb.png:\n  2\n  34\nc.png:\n"
    assert err == "c.png: no digits found\n"


def test_programs_get_a_line_a_file_with_null_for_a_refused_digit(said, capsys):
    blank("a.png")
    answer = [[digit(5, 10)], [digit(None, 60, 0.25)]]
    said += [answer, answer]
    assert exit_code("--json", "a.png") == 0
    out = capsys.readouterr().out
    (line,) = out.splitlines()
    five, refused = (
        {"digit": 5, "confidence": 0.9, "line": 0, "box": [10, 10, 30, 40]},
        {"digit": None, "confidence": 0.25, "line": 1, "box": [60, 10, 80, 40]},
    )
    five["top"] = [[5, 0.9], [0, 0.04], [1, 0.01]]
    refused["top"] = [[7, 0.25], [0, 0.04], [1, 0.01]]
    wanted = {"file": "a.png", "text": "5\n?", "turned": 0}
    assert json.loads(line) == wanted | {"digits": [five, refused]}
    assert exit_code("--json", "--annotate", "copies", "a.png") == 0
    assert capsys.readouterr().out == out


def test_no_digits_are_an_empty_text_and_a_word_on_stderr(capsys):
    blank("blank.png")
    assert exit_code("--json", "blank.png") == 0
    out, err = capsys.readouterr()
    wanted = {"file": "blank.png", "text": "", "turned": 0, "digits": []}
    assert json.loads(out) == wanted
    assert err == "blank.png: no digits found\n"
    assert exit_code("blank.png") == 0
    assert capsys.readouterr().out.strip() == ""


# --- what cannot be read ----------------------------------------------------------


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_file_that_cannot_be_read_stops_no_other(said, capsys, flags):
    blank("good.png", "large.png")
    Path("bad.png").write_text("no picture")
    Path("bad.json").write_text('{"strokes": 5}')
    Path("folder").mkdir()
    bad = ["missing.png", "bad.png", "bad.json", "folder", "missing.json", "x" * 300]
    files = [name for one in bad for name in (one, "good.png")]
    said += [[[digit(5, 10)]]] * len(bad) + [MemoryError(), [[digit(5, 10)]]]
    assert exit_code(*flags, *files, "large.png", "good.png") == 1
    out, err = capsys.readouterr()
    assert out.count("good.png") == len(bad) + 1
    for line, name in zip(err.splitlines(), [*bad, "large.png"], strict=True):
        assert line.startswith(f"error: {name}: ")
        assert (name in out) == ("--json" in flags)
    assert "large.png: not enough memory" in err
    if "--json" in flags:
        rows = [json.loads(line) for line in out.splitlines()]
        assert [row["file"] for row in rows] == [*files, "large.png", "good.png"]
        for row in rows:
            assert ("error" in row) == (row["file"] != "good.png")
            assert row.get("error", "good.png").startswith(row["file"])


def test_stdin_is_a_picture_or_strokes_and_a_name_is_made_for_its_copy(
    page, monkeypatch, capsys
):
    page("42").save("page.png")
    for content, text in [
        (Path("page.png").read_bytes(), "42"),
        (json.dumps(SEVEN).encode(), "7"),
        (b"", ""),
        (b"no picture", ""),
    ]:
        stdin = io.TextIOWrapper(io.BytesIO(content))
        monkeypatch.setattr(sys, "stdin", stdin)
        assert exit_code("--json", "--annotate", "copies", "-") == (not text)
        row = json.loads(capsys.readouterr().out)
        assert (row["file"], row.get("text", "")) == ("-", text)
        assert bool(text) != ("error" in row)
    assert names_in("copies") == {"stdin.png"}


def test_less_confident_digits_than_was_asked_for_are_refused(said, capsys):
    blank("a.png")
    said += [[[digit(5, 10, 0.9), digit(6, 60, 0.8), digit(None, 110, 0.1)]]] * 3
    for least, text in [("0.85", "5??"), ("0.8", "56?"), ("1", "???")]:
        assert exit_code("--min-confidence", least, "a.png") == 0
        assert capsys.readouterr().out == f"{text}\n"


def test_weights_that_overflow_later_end_it_in_one_sentence(said, capsys):
    blank("a.png", "b.png")
    said += [WeightsError("cannot use w: overflow"), [[digit(5, 10)]]]
    assert exit_code("a.png", "b.png") == 1
    assert capsys.readouterr() == ("", "error: cannot use w: overflow\n")


def test_a_name_that_stdout_cannot_encode_is_escaped(page):
    for name in ("fünf.png", "\u4e94.png"):
        page("5").save(name)
    ran = subprocess.run(
        [sys.executable, "-m", "tinycnn.recognize", "fünf.png", "\u4e94.png", "ä.png"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"},
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (1, "f\\xfcnf.png: 5\n\\u4e94.png: 5\n")
    assert ran.stderr.startswith("error: \\xe4.png: cannot be read")


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
def test_a_name_that_is_no_text_is_shown_escaped(said, capfd):
    names = [os.fsdecode(b"\xff.png"), "two\nlines\x1b[2J.png"]
    blank(*names)
    said += [[[digit(5, 10)]], []] * 2
    assert exit_code(*names) == 0
    assert exit_code("--json", *names) == 0
    out, err = capfd.readouterr()
    assert out.startswith("\\udcff.png: 5\ntwo\\nlines\\x1b[2J.png:\n{")
    assert err.splitlines() == ["two\\nlines\\x1b[2J.png: no digits found"] * 2
    assert [json.loads(line)["file"] for line in out.splitlines()[2:]] == names


# --- copies with boxes ------------------------------------------------------------


def test_a_copy_shows_boxes_and_labels_a_refused_one_in_grey(said):
    blank("a.png")
    said += [[[digit(5, 10, y=14), digit(6, 60, y=14), digit(None, 120, y=14)]]]
    assert exit_code("--annotate", "deep/copies", "a.png") == 0
    assert names_in("deep/copies") == {"a.png"}
    copy = pixels("deep/copies/a.png")
    times = len(copy) // 60
    assert copy.shape == (60 * times, 200 * times, 3)
    for x, colour in ((10, BLUE), (60, VERMILION), (120, recognize.REFUSED)):
        painted = (copy == colour).all(axis=2)
        assert painted[: 9 * times, (x + 5) * times : (x + 15) * times].any()
        inside = copy[18 * times : 40 * times, (x + 2) * times : (x + 18) * times]
        assert (inside == 255).all()
        left = painted[16 * times : 42 * times, (x - 8) * times : x * times]
        assert left.any(axis=1).all()


def test_the_copy_of_a_turned_page_is_the_copy_turned(page, capsys):
    page("407", "265", times=1).save("0.png")
    page("407", "265", times=1).rotate(90, expand=True).save("90.png")
    assert exit_code("--json", "--annotate", "copies", "0.png", "90.png") == 0
    upright, turned = map(json.loads, capsys.readouterr().out.splitlines())
    assert (upright["turned"], turned["turned"]) == (0, 270)
    assert turned["text"] == upright["text"]
    assert (pixels("copies/90.png") == np.rot90(pixels("copies/0.png"))).all()


def test_labels_can_be_read_in_small_and_large_pictures(said):
    for side in (5, 28, 300, 3000):
        blank("a.png", size=(side, side))
        third = max(1, side // 3)
        box = (third, third, 2 * third, 2 * third)
        said += [[[Digit(8, 0.97, box, ((8, 0.97), (3, 0.02), (1, 0.01)))]]]
        exit_code("--annotate", "copies", "a.png")
        copy = pixels("copies/a.png").astype(int)
        blue = copy[..., 2] > copy[..., 0] + 60
        top_of_label = np.flatnonzero(blue.any(axis=1))[0]
        top_of_box = np.flatnonzero(blue.sum(axis=1) > len(copy) / 5)[0]
        # Capitals of 8 pixels are the least that a screen shows well.
        height = max(8, 0.15 * third / side * len(copy))
        assert top_of_box - top_of_label >= height, side


def test_a_copy_is_upright_and_its_boxes_are_in_place_where_it_was_scaled(page, said):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    page("17").save("photo.jpg", exif=exif, quality=95)
    blank("large.png", size=(6000, 3000))
    top = ((8, 0.97), (3, 0.02), (1, 0.01))
    said += [[], [[Digit(8, 0.97, (1500, 600, 3000, 2400), top)]]]
    assert exit_code("--annotate", "copies", "photo.jpg", "large.png") == 0
    H, W, _ = pixels("copies/photo.png").shape
    assert H / W == 276 / 138
    with Image.open("copies/photo.png") as copy:
        assert copy.getexif().get(0x0112, 1) == 1
    blue = (pixels("copies/large.png") == BLUE).all(axis=2)
    columns = np.flatnonzero(blue.any(axis=0)) / blue.shape[1]
    assert (columns[0], columns[-1]) == pytest.approx((0.25, 0.5), abs=0.02)


def test_strokes_are_drawn_on_white_and_other_pictures_kept_as_they_are():
    Path("seven.json").write_text(json.dumps(SEVEN | {"size": [300, 250]}))
    Image.new("RGB", (40, 30), (200, 220, 240)).save("blank.png")
    assert exit_code("--annotate", "copies", "seven.json", "blank.png") == 0
    seven, empty = pixels("copies/seven.png"), pixels("copies/blank.png")
    assert seven.shape == (250, 300, 3)
    ink = strokes_ink(load_strokes("seven.json")).values
    assert (seven[ink == 1] == 0).all()
    assert (seven[:, 150:] == 255).all()
    assert empty.shape == (30, 40, 3)
    assert (empty == (200, 220, 240)).all()


def test_copies_of_the_same_name_do_not_overwrite_each_other(said):
    Path("one").mkdir()
    Path("two").mkdir()
    widths = [50, 60, 70, 80, 50]
    files = ["one/a.png", "two/a.png", "a.bmp", "A.gif", "one/a.png"]
    for file, width in zip(files, widths, strict=True):
        blank(file, size=(width, 40))
    for _ in range(2):  # the second time the same files are replaced
        said += [[]] * 5
        assert exit_code("--annotate", "copies", *files) == 0
        names = ["a.png", "a-2.png", "a-3.png", "A-4.png", "a-5.png"]
        assert names_in("copies") == set(names)
        for name, width in zip(names, widths, strict=True):
            assert pixels(f"copies/{name}").shape == (40, width, 3)


def test_no_input_is_overwritten(said):
    blank("a.png", "a.bmp", "b.jpg")
    Path("b.png").symlink_to("b.jpg")
    before = {name: Path(name).read_bytes() for name in names_in(".")}
    said += [[[digit(5, 10)]]] * 3
    assert exit_code("--annotate", ".", "a.bmp", "a.png", "b.jpg") == 0
    assert {name: Path(name).read_bytes() for name in before} == before
    assert names_in(".") - set(before) == {"a-2.png", "a-3.png", "b-2.png"}


def test_a_copy_that_cannot_be_written_costs_no_reading(said, capsys):
    blank("a.png", "b.png")
    Path("copies/a.png/in the way").mkdir(parents=True)
    said += [[[digit(5, 10)]], [[digit(6, 10)]]]
    assert exit_code("--annotate", "copies", "a.png", "b.png") == 1
    out, err = capsys.readouterr()
    assert out == "a.png: 5\nb.png: 6\n"
    (line,) = err.splitlines()
    assert line.startswith("error: a.png: cannot be annotated")
    assert names_in("copies") == {"a.png", "b.png"}
    Path("dangling").symlink_to("missing")  # a folder of that name cannot be made
    assert exit_code("--annotate", "dangling", "a.png") == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert "--annotate DIR" in line


# --- as a process -----------------------------------------------------------------


def test_the_process_prints_the_same_twice_and_exits_with_its_code(page):
    page("42").save("page.png")
    command = [sys.executable, "-m", "tinycnn.recognize", "--json", "page.png", "none"]
    runs = [
        subprocess.run(command, capture_output=True, text=True, check=False)
        for _ in range(2)
    ]
    assert [run.returncode for run in runs] == [1, 1]
    assert runs[0].stdout == runs[1].stdout
    page_line, none_line = map(json.loads, runs[0].stdout.splitlines())
    assert page_line["text"] == "42"
    assert list(none_line) == ["file", "error"]
    assert "compiling" not in runs[0].stderr  # which is no terminal
    assert "none" in runs[0].stderr
