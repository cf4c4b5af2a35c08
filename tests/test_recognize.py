"""The laws of ``python -m tinycnn.recognize``: what it prints, draws and refuses.

What is read is the business of ``tests/reading``: here the digits are easy, or a reader
that knows its lines stands in.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinycnn import _cli as arguments
from tinycnn import models, recognize
from tinycnn.data import load_mnist
from tinycnn.ink.ink import strokes_ink
from tinycnn.ink.strokes import load_strokes
from tinycnn.reading import annotate, reader
from tinycnn.reading.result import Digit, Reading

SAMPLE = models.SHIPPED.parent.parent / "data" / "sample"
SEVEN = {"strokes": [[[30, 70], [90, 70], [50, 190]]], "pen_width": 9}
BLUE, VERMILION = annotate.COLOURS


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
        typical[str(label)] = images[far.argmin()].astype(np.uint8)

    def page(*lines, times=3):
        padded = {label: np.pad(image, 9) for label, image in typical.items()}
        rows = [np.hstack([padded[label] for label in line]) for line in lines]
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
    """Let a reader stand in that says what a test puts in this list, file by file."""
    readings = []

    class Stand:
        def __init__(self, weights, judge):
            pass

        def probabilities(self, images):
            return np.full((len(images), 10), 0.1, np.float32)

        def read_ink(self, ink):  # noqa: ARG002
            answer = readings.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return Reading(tuple(map(tuple, answer)))

    monkeypatch.setattr(reader, "Reader", Stand)
    return readings


def blank(name, size=(200, 60)):
    """Write a white picture."""
    Image.new("L", size, 255).save(name)


def exit_code(*argv):
    """Return how the command ends, whether it returns or exits."""
    try:
        return recognize.main([str(argument) for argument in argv])
    except SystemExit as error:
        return error.code


def names_in(folder):
    """Return the names of the files in a folder."""
    return {path.name for path in Path(folder).iterdir()}


def opened(path):
    """Return a picture, its file closed."""
    with Image.open(path) as picture:
        picture.load()
    return picture


def colours(path, box=None):
    """Return the colours in a picture or in a box of it."""
    return {colour for _, colour in opened(path).crop(box).getcolors(1 << 20)}


# --- what is read -----------------------------------------------------------------


def test_easy_digits_are_read_for_programs(page, capsys):
    page("1703", "4652").save("page.png")
    assert exit_code("page.png", "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    (line,) = out.splitlines()
    result = json.loads(line)
    assert list(result) == ["file", "text", "digits"]
    assert result["file"] == "page.png"
    first, second = result["text"].split("\n")
    assert len(first) == len(second) == 4
    right = sum(map(str.__eq__, first + second, "17034652"))
    assert right >= 7
    assert len(result["digits"]) == 8
    for read, character in zip(result["digits"], first + second, strict=True):
        assert list(read) == ["digit", "confidence", "box", "top"]
        assert character == ("?" if read["digit"] is None else str(read["digit"]))
        assert 0 <= read["confidence"] <= 1
        assert all(isinstance(side, int) for side in read["box"])
        assert len(read["top"]) == 3
        assert len({k for k, p in read["top"] if 0 <= p <= 1}) == 3
    for i, read in enumerate(result["digits"]):
        x0, y0, x1, y1 = read["box"]
        column, row = i % 4 * 138, i // 4 * 138
        assert column <= x0 < x1 <= column + 138
        assert row <= y0 < y1 <= row + 138


def test_easy_digits_are_read_for_people(page, capsys):
    page("1703").save("page.png")
    assert exit_code("page.png") == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("1703\n", "")


def test_strokes_are_told_by_their_name_or_by_their_content(capsys):
    for name in ("seven.json", "SEVEN.JSON", "seven", "seven.png"):
        Path(name).write_text(f"\n {json.dumps(SEVEN)}")
        assert exit_code(name, "--json") == 0
        (read,) = json.loads(capsys.readouterr().out)["digits"]
        assert read["box"] == pytest.approx([25, 65, 95, 195], abs=2)
    page = Image.new("L", (50, 50), 255)
    page.save("picture.json", "PNG")  # said to be strokes
    assert exit_code("picture.json") == 1
    assert "is not JSON" in capsys.readouterr().err


def test_a_picture_needs_no_right_name(page, capsys):
    page("3").save("three", "PNG")
    assert exit_code("three") == 0
    assert len(capsys.readouterr().out) == 2


def test_weights_may_be_named(page, capsys):
    page("1703").save("page.png")
    exit_code("page.png", "--json")
    shipped = capsys.readouterr().out
    assert exit_code("page.png", "--json", "--weights", models.SHIPPED) == 0
    assert capsys.readouterr().out == shipped


def test_a_judge_in_the_folder_of_the_weights_is_used_as_well(page, capsys):
    """What was learned from corrections is two files."""
    page("1703").save("page.png")
    shutil.copy(models.SHIPPED, "weights.safetensors")
    Path("judge.safetensors").write_bytes(b"no judge")
    assert exit_code("page.png", "--weights", "weights.safetensors") == 1
    assert "judge.safetensors" in capsys.readouterr().err
    shutil.copy(models.JUDGE, "judge.safetensors")
    assert exit_code("page.png", "--weights", "weights.safetensors") == 0
    assert "1703" in capsys.readouterr().out


def test_weights_that_are_none_are_refused_in_one_sentence(page, capsys):
    page("3").save("page.png")
    assert exit_code("page.png", "--weights", "page.png") == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert "page.png" in line


# --- what is printed --------------------------------------------------------------


def test_one_file_is_its_text_alone(said, capsys):
    blank("a.png")
    said += [[[digit(1, 10), digit(None, 60)], [digit(2, 10)]]]
    assert exit_code("a.png") == 0
    assert capsys.readouterr().out == "1?\n2\n"


def test_several_files_are_named_and_long_ones_set_apart(said, capsys):
    for name in ("a.png", "b.png", "c.png"):
        blank(name)
    said += [[[digit(1, 10)]], [[digit(2, 10)], [digit(3, 10), digit(4, 60)]], []]
    assert exit_code("a.png", "b.png", "c.png") == 0
    out, err = capsys.readouterr()
    assert out == "a.png: 1\nb.png:\n  2\n  34\nc.png:\n"
    assert err == "c.png: no digits found\n"


def test_a_refused_digit_is_null_for_programs(said, capsys):
    blank("a.png")
    said += [[[digit(5, 10), digit(None, 60, 0.25)]]]
    assert exit_code("--json", "a.png") == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": "a.png",
        "text": "5?",
        "digits": [
            {
                "digit": 5,
                "confidence": 0.9,
                "box": [10, 10, 30, 40],
                "top": [[5, 0.9], [0, 0.04], [1, 0.01]],
            },
            {
                "digit": None,
                "confidence": 0.25,
                "box": [60, 10, 80, 40],
                "top": [[7, 0.25], [0, 0.04], [1, 0.01]],
            },
        ],
    }


def test_lines_of_the_text_are_joined_by_a_newline_for_programs(said, capsys):
    blank("a.png")
    said += [[[digit(1, 10)], [digit(2, 10)]]]
    exit_code("--json", "a.png")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["text"] == "1\n2"


def test_no_digits_are_an_empty_text_and_a_word_on_stderr(capsys):
    blank("blank.png")
    assert exit_code("--json", "blank.png") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"file": "blank.png", "text": "", "digits": []}
    assert err == "blank.png: no digits found\n"
    assert exit_code("-v", "blank.png") == 0
    out, err = capsys.readouterr()
    assert out.strip() == ""
    assert "no digits found" in err


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_the_table_tells_box_confidence_and_other_choices(said, capsys, flag):
    blank("a.png")
    said += [[[digit(5, 10), digit(None, 60, 0.255)]]]
    assert exit_code(flag, "a.png") == 0
    text, empty, head, *rows = capsys.readouterr().out.splitlines()
    assert (text, empty) == ("5?", "")
    assert head.split() == ["digit", "confidence", "box", "second", "third"]
    assert [row.split() for row in rows] == [
        ["5", "90.0%", "10,10", "to", "30,40", "0", "4.0%", "1", "1.0%"],
        ["?", "25.5%", "60,10", "to", "80,40", "0", "4.0%", "1", "1.0%"],
    ]
    assert len({len(line) for line in (head, *rows)}) == 1


def test_programs_get_no_table(said, capsys):
    blank("a.png")
    said += [[[digit(5, 10)]]]
    exit_code("--json", "-v", "a.png")
    assert len(capsys.readouterr().out.splitlines()) == 1


# --- what cannot be read ----------------------------------------------------------


@pytest.mark.parametrize("flags", [[], ["--json"], ["-v"]])
def test_a_file_that_cannot_be_read_stops_no_other(said, capsys, flags):
    blank("good.png")
    Path("bad.png").write_text("no picture")
    Path("bad.json").write_text('{"strokes": 5}')
    Path("folder").mkdir()
    bad = ["missing.png", "bad.png", "bad.json", "folder", "missing.json", "x" * 300]
    files = [name for one in bad for name in (one, "good.png")]
    said += [[[digit(5, 10)]]] * len(bad)
    assert exit_code(*flags, *files) == 1
    out, err = capsys.readouterr()
    assert out.count("good.png") == len(bad)
    lines = err.splitlines()
    assert len(lines) == len(bad)
    for line, name in zip(lines, bad, strict=True):
        assert line.startswith(f"error: {name}: ")
        assert name not in out


def test_a_picture_that_needs_too_much_memory_stops_no_other(said, capsys):
    blank("a.png")
    blank("b.png")
    said += [MemoryError(), [[digit(5, 10)]]]
    assert exit_code("a.png", "b.png") == 1
    out, err = capsys.readouterr()
    assert out == "b.png: 5\n"
    assert err.startswith("error: a.png: not enough memory")
    assert len(err.splitlines()) == 1


def test_weights_that_do_not_compute_end_it_in_one_sentence(said, capsys):
    blank("a.png")
    said += [FloatingPointError("NaN in the output")]
    assert exit_code("a.png") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "train again" in err
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
def test_a_name_that_is_no_text_is_shown_escaped(said, capfd):
    names = [os.fsdecode(b"\xff.png"), "two\nlines.png"]
    for name in names:
        blank(name)
    said += [[[digit(5, 10)]], []] * 2
    assert exit_code(*names) == 0
    assert exit_code("--json", *names) == 0
    out, err = capfd.readouterr()
    assert out.startswith("'\\udcff.png': 5\n'two\\nlines.png':\n{")
    assert err.splitlines() == ["'two\\nlines.png': no digits found"] * 2
    assert [json.loads(line)["file"] for line in out.splitlines()[2:]] == names


def test_no_file_is_wrong_usage(capsys):
    for argv in ([], ["--json"], ["--annotate", "copies"]):
        assert exit_code(*argv) == 2
        assert "argument FILE" in capsys.readouterr().err
    assert names_in(".") == set()


# --- copies with boxes ------------------------------------------------------------


def test_a_copy_shows_boxes_digits_and_confidences(said):
    blank("a.png")
    said += [[[digit(5, 10, y=14), digit(6, 60, y=14), digit(None, 120, y=14)]]]
    assert exit_code("--annotate", "deep/copies", "a.png") == 0
    assert names_in("deep/copies") == {"a.png"}
    copy = opened("deep/copies/a.png")
    assert (copy.format, copy.mode) == ("PNG", "RGB")
    times = copy.width // 200
    assert copy.size == (200 * times, 60 * times)
    for x, colour in ((10, BLUE), (60, VERMILION), (120, annotate.REFUSED)):
        around = [(x - 8) * times, 0, (x + 28) * times, 60 * times]
        above = [(x + 5) * times, 0, (x + 15) * times, 9 * times]
        within = [(x + 2) * times, 18 * times, (x + 18) * times, 40 * times]
        assert colour in colours("deep/copies/a.png", around)
        assert colour in colours("deep/copies/a.png", above)
        assert colours("deep/copies/a.png", within) == {(255, 255, 255)}


def test_a_box_is_closed_and_a_refused_one_dashed(said):
    blank("a.png")
    said += [[[digit(5, 40), digit(None, 120)]]]
    exit_code("--annotate", "copies", "a.png")
    copy = np.asarray(opened("copies/a.png"))
    times = len(copy) // 60
    sides = []
    for x, colour in ((40, BLUE), (120, annotate.REFUSED)):
        left = copy[12 * times : 38 * times, (x - 8) * times : x * times]
        sides.append((left == colour).all(axis=2).any(axis=1))
    assert sides[0].all()
    assert 0.3 < sides[1].mean() < 0.7
    assert np.diff(sides[1]).sum() >= 6


@pytest.mark.parametrize("side", [5, 28, 300, 3000])
def test_labels_can_be_read_in_small_and_large_pictures(said, side):
    blank("a.png", (side, side))
    third = max(1, side // 3)
    box = (third, third, 2 * third, 2 * third)
    top = ((8, 0.97), (3, 0.02), (1, 0.01))
    said += [[[Digit(8, 0.97, box, top)]]]
    exit_code("--annotate", "copies", "a.png")
    copy = np.asarray(opened("copies/a.png")).astype(int)
    blue = copy[..., 2] > copy[..., 0] + 60
    top_of_label = np.flatnonzero(blue.any(axis=1))[0]
    top_of_box = np.flatnonzero(blue.sum(axis=1) > len(copy) / 5)[0]
    # Capitals of 8 pixels are the least that a screen shows well.
    assert top_of_box - top_of_label >= max(8, 0.15 * third / side * len(copy))


def test_a_copy_is_the_picture_as_a_person_sees_it(page):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    page("17").save("photo.jpg", exif=exif, quality=95)
    assert exit_code("--annotate", "copies", "photo.jpg") == 0
    copy = opened("copies/photo.png")
    times = copy.width // 138
    assert copy.size == (138 * times, 276 * times)
    assert copy.getexif().get(0x0112, 1) == 1


def test_boxes_are_in_place_in_a_picture_that_was_scaled_down(said):
    blank("a.png", (6000, 3000))
    top = ((8, 0.97), (3, 0.02), (1, 0.01))
    said += [[[Digit(8, 0.97, (1500, 600, 3000, 2400), top)]]]
    exit_code("--annotate", "copies", "a.png")
    copy = opened("copies/a.png")
    blue = (np.asarray(copy) == BLUE).all(axis=2)
    columns = np.flatnonzero(blue.any(axis=0)) / copy.width
    assert (columns[0], columns[-1]) == pytest.approx((0.25, 0.5), abs=0.02)


def test_strokes_are_drawn_on_white():
    Path("seven.json").write_text(json.dumps(SEVEN | {"size": [300, 250]}))
    assert exit_code("--annotate", "copies", "seven.json") == 0
    copy = np.asarray(opened("copies/seven.png"))
    assert copy.shape == (250, 300, 3)
    ink = strokes_ink(load_strokes("seven.json")).values
    assert (copy[ink == 1] == 0).all()
    assert (copy[:, 150:] == 255).all()


def test_a_picture_without_digits_is_copied_as_it_is():
    Image.new("RGB", (40, 30), (200, 220, 240)).save("blank.png")
    assert exit_code("--annotate", "copies", "blank.png") == 0
    copy = opened("copies/blank.png")
    assert copy.size == (40, 30)
    assert colours("copies/blank.png") == {(200, 220, 240)}


def test_copies_of_the_same_name_do_not_overwrite_each_other(said):
    Path("one").mkdir()
    Path("two").mkdir()
    sizes = [(50, 40), (60, 40), (70, 40), (80, 40), (50, 40)]
    files = ["one/a.png", "two/a.png", "a.bmp", "A.gif", "one/a.png"]
    for file, size in zip(files, sizes, strict=True):
        blank(file, size)
    for _ in range(2):  # the second time the same files are replaced
        said += [[]] * 5
        assert exit_code("--annotate", "copies", *files) == 0
        names = ["a.png", "a-2.png", "a-3.png", "A-4.png", "a-5.png"]
        assert names_in("copies") == set(names)
        for name, size in zip(names, sizes, strict=True):
            assert opened(f"copies/{name}").size == size


def test_no_input_is_overwritten(said):
    blank("a.png", (50, 40))
    blank("a.bmp", (60, 40))
    blank("b.jpg", (70, 40))
    Path("b.png").symlink_to("b.jpg")
    before = {name: Path(name).read_bytes() for name in names_in(".")}
    said += [[[digit(5, 10)]]] * 3
    assert exit_code("--annotate", ".", "a.bmp", "a.png", "b.jpg") == 0
    assert {name: Path(name).read_bytes() for name in before} == before
    assert names_in(".") - set(before) == {"a-2.png", "a-3.png", "b-2.png"}


def test_a_copy_that_cannot_be_written_costs_no_reading(said, capsys):
    blank("a.png")
    blank("b.png")
    Path("copies/a.png/in the way").mkdir(parents=True)
    said += [[[digit(5, 10)]], [[digit(6, 10)]]]
    assert exit_code("--annotate", "copies", "a.png", "b.png") == 1
    out, err = capsys.readouterr()
    assert out == "a.png: 5\nb.png: 6\n"
    (line,) = err.splitlines()
    assert line.startswith("error: a.png: cannot be annotated")
    assert names_in("copies") == {"a.png", "b.png"}


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_read(capsys):
    blank("a.png")
    Path("copies").symlink_to("missing")
    assert exit_code("--annotate", "copies", "a.png") == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert "copies" in line
    assert "--annotate DIR" in line


def test_programs_get_the_same_lines_with_copies(said, capsys):
    blank("a.png")
    said += [[[digit(5, 10)]]] * 2
    exit_code("--json", "a.png")
    without = capsys.readouterr().out
    exit_code("--json", "--annotate", "copies", "a.png")
    assert capsys.readouterr().out == without


# --- as a process -----------------------------------------------------------------


def test_the_process_prints_the_same_twice_and_exits_with_its_code(page):
    page("42").save("page.png")
    command = [sys.executable, "-m", "tinycnn.recognize", "page.png", "missing.png"]
    runs = [
        subprocess.run(
            [*command, "--json"], capture_output=True, text=True, check=False
        )
        for _ in range(2)
    ]
    assert [run.returncode for run in runs] == [1, 1]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.splitlines()) == 1
    assert "compiling" not in runs[0].stderr  # which is no terminal
    assert "missing.png" in runs[0].stderr


def test_what_takes_long_is_said_on_a_terminal(said, monkeypatch, capsys):
    blank("a.png")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    started = []

    class Timer:
        def __init__(self, seconds, function, args, kwargs):
            self.say = lambda: function(*args, **kwargs)
            assert seconds > 1

        def start(self):
            started.append(self)
            self.say()

        def cancel(self):
            started.remove(self)

    monkeypatch.setattr(arguments.threading, "Timer", Timer)
    said += [[[digit(5, 10)]]]
    assert exit_code("a.png") == 0
    out, err = capsys.readouterr()
    assert out == "5\n"
    assert err == "compiling kernels, once if they can be kept ...\n"
    assert started == []
