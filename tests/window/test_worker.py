"""The processes: the newest drawing is read first, and a crash is survived."""

import time
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image, ImageGrab, ImageOps

from tinycnn import finetune
from tinycnn.ink.picture import PictureError
from tinycnn.ink.strokes import Strokes
from tinycnn.window.correcting import LEARNS, READS
from tinycnn.window.served import Reads, outcome
from tinycnn.window.session import Correction, Drawing
from tinycnn.window.worker import Worker, call

LINE = np.array([[50.0, 20], [50, 80]])
ONE = Drawing(Strokes((LINE,), (10.0,), (100, 100)))
BOTH = Drawing(Strokes((LINE, np.add(LINE, (100, 0))), (10.0, 10.0), (300, 100)))


class FakeProcess(Worker):
    """A worker whose processes are pipes; the test holds their other end."""

    def __init__(self):
        super().__init__(READS)
        self.said, self.results = [], []
        self.on_failure = self.said.append
        self.start()

    def start(self):
        self._connection, self.theirs = Pipe()
        self._start_at = float("inf")
        self.starts += 1

    def call(self, name, number, newest=False):
        self.ask(name, number, then=self.results.append, newest=newest)

    def received(self):
        """Return the calls that have been sent to the process."""
        found = []
        while self.theirs.poll():
            name, (number,) = self.theirs.recv()
            found.append((name, number))
        return found

    def tell(self, *messages):
        for message in messages:
            self.theirs.send(message)
        self.poll()

    def die(self):
        """End the process; return its calls."""
        calls = self.received()
        self.theirs.close()
        self.poll()
        return calls


READY, DONE = ("ready", ""), ("done", None)


@pytest.fixture
def fake():
    worker = FakeProcess()
    yield worker
    worker.theirs.close()
    worker.close()


def test_what_only_the_newest_of_counts_is_first_and_others_keep_their_order(fake):
    fake.call("open", 0)
    for number in (1, 2):
        fake.call("explain", number, newest=True)
        fake.call("corrected", number)
    fake.call("read", 3, newest=True)
    assert fake.received() == []
    fake.tell(READY)
    assert fake.received() == [("read", 3)]  # one at a time
    fake.tell(("item", "one"), *[DONE] * 5)
    assert fake.results == ["one"]
    sent = [("explain", 2), ("open", 0), ("corrected", 1), ("corrected", 2)]
    assert fake.received() == sent


def test_a_dead_process_is_restarted_and_gets_the_calls_that_waited(fake):
    fake.tell(READY)
    fake.call("open", 1)
    fake.call("read", 2, newest=True)
    assert fake.die() == [("open", 1)]
    assert "restarted" in fake.said[-1]
    fake.poll()
    assert fake.starts == 2
    fake.tell(READY)
    assert fake.die() == [("open", 1)]  # once more, as it may not be to blame
    fake.poll()
    fake.tell(READY)
    assert fake.received() == [("read", 2)]
    fake._restarts = False
    fake.die()
    fake.poll()
    assert (fake.said[-1], fake.starts) == ("", 3)


def test_a_process_that_never_starts_is_retried_now_and_then(fake, monkeypatch):
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("tinycnn.window.worker.time", clock)
    for _ in range(100):
        if fake._connection is not None:
            fake.die()
        fake.poll()
        now[0] += 0.1
    assert 5 < fake.starts < 15


def test_a_call_yields_its_items_or_a_sentence_with_a_traceback_if_unexpected():
    def broken():
        raise ValueError("a  reason")

    held = SimpleNamespace(
        count=lambda n: iter(range(n)), one=lambda: [7], broken=broken
    )
    assert [*call(held, "count", (2,))] == [("item", 0), ("item", 1), DONE]
    assert [*call(held, "one", ())] == [("item", [7]), DONE]
    ((kind, (message, details)),) = call(held, "broken", ())
    assert (kind, message) == ("failed", "This went wrong: a reason")
    assert "Traceback" in details
    held.expected = (ValueError,)
    assert [*call(held, "broken", ())] == [("failed", ("a reason", ""))]
    held = SimpleNamespace(list=lambda: Path("none").stat(), expected=OSError)
    ((_, (message, _)),) = call(held, "list", ())
    assert message == "No such file or directory: none; check this place"


# --- with a real process -----------------------------------------------------------


def wait(worker, condition, patience=120.0):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        worker.poll()
        time.sleep(0.002)


def ask(worker, name, *arguments):
    """Return the results of a call, and what was said of failures."""
    found, said = [], []
    worker.on_failure = said.append
    worker.ask(name, *arguments, then=found.append)
    wait(worker, lambda: worker.is_ready and not worker.is_busy and (found or said))
    return found[0] if found else said[-1]


def test_an_error_is_one_sentence_and_other_calls_are_answered(tmp_path):
    real = Worker(READS)
    real.start()
    (tmp_path / "bad.png").write_text("no picture")
    said = ask(real, "open", tmp_path / "bad.png")
    assert said.startswith("bad.png: ")
    assert ask(real, "explain", ONE, (1, 2, 3, 4)) is None  # there is no such digit
    assert "This went wrong" in ask(real, "gradients", None, 7)
    assert ask(real, "reload") == ""
    assert ask(real, "read", ONE).text == "1"
    real.close()


def test_damaged_weights_are_fatal_unless_they_were_fine_tuned(tmp_path, monkeypatch):
    bad = tmp_path / "learnt" / "weights.safetensors"
    bad.parent.mkdir()
    bad.write_bytes(b"no weights")
    said = []
    worker = Worker(READS, bad)
    worker.on_fatal = said.append
    worker.start()
    wait(worker, lambda: said)
    assert "leave --weights out" in said[0]
    monkeypatch.setattr("platformdirs.user_data_path", lambda _: tmp_path)
    reads = Reads()
    assert "learn again" in reads.note
    assert reads.reload() == reads.note
    finetune.undo()
    reads.reload()
    assert (reads.note, reads.read(ONE).text) == ("", "1")


def test_learning_fails_without_corrections_and_says_what_came_of_it(tmp_path):
    worker = Worker(LEARNS, tmp_path, restarts=False)
    worker.start()
    assert "no corrections" in ask(worker, "learn")
    worker.close()
    figures = {"corrections": 3, "right_before": 0, "right_after": 2, "data": "mnist"}
    figures |= {"test_errors_before": 49, "test_errors_after": 51}
    sentence = outcome(figures | {"test_images": 10_000})
    assert "2 of 3 corrections are right now, 0 before" in sentence
    assert "MNIST's 10,000 test images: 51, 49 before" in sentence


# --- what is held ------------------------------------------------------------------


@pytest.fixture(scope="module")
def reads():
    return Reads()


@pytest.fixture
def picture(tmp_path):
    """Return a picture of a 1."""
    grey = np.rint(255 * (1 - ONE.strokes.draw())).astype(np.uint8)
    Image.fromarray(grey).resize((300, 300)).save(tmp_path / "one.png")
    return tmp_path / "one.png"


def test_strokes_on_a_picture_are_read_and_saved_with_it(reads, picture, tmp_path):
    opened = reads.open(picture)
    assert (opened.size, opened.pixels.shape) == ((300, 300), (300, 300, 3))
    beside = Strokes((np.add(3 * LINE, (70, 0)),), (20.0,), (300, 300))
    drawing = Drawing(beside, picture)
    assert reads.read(drawing).text == "11"
    assert reads.save(drawing, tmp_path / "copy.png") == "copy.png"
    assert "not the picture" in reads.save(drawing, tmp_path / "copy.json")
    with pytest.raises(PictureError, match="jpg is not saved"):
        reads.save(drawing, tmp_path / "copy.jpg")
    assert not (tmp_path / "copy.jpg").exists()
    with Image.open(tmp_path / "copy.png") as image:
        assert image.getpixel((220, 150)) == (0, 0, 0)


def test_ink_on_a_light_sheet_is_dark_whatever_lies_around_it(reads, picture, tmp_path):
    with Image.open(picture) as sheet:
        desk, dark = ImageOps.expand(sheet, 120, fill=40), ImageOps.invert(sheet)
    for image, is_light in ((desk, True), (dark, False)):
        image.save(tmp_path / "a.png")
        opened = reads.open(tmp_path / "a.png")
        assert opened.is_light == is_light


def test_strokes_on_a_large_picture_are_saved_where_they_are(reads, tmp_path):
    Image.new("L", (4000, 3000), 255).save(tmp_path / "large.png")
    opened = reads.open(tmp_path / "large.png")
    stroke = Strokes((np.array([[1000.0, 600], [1000, 1800]]),), (80.0,), opened.size)
    reads.save(Drawing(stroke, tmp_path / "large.png"), tmp_path / "copy.png")
    with Image.open(tmp_path / "copy.png") as image:
        scale = image.width / 4000
        ys, xs = np.nonzero(np.asarray(image.convert("L")) < 100)
    assert xs.mean() / scale == pytest.approx(1000, abs=20)
    assert ys.mean() / scale == pytest.approx(1200, abs=20)
    Image.new("L", (9000, 300), 255).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match="8192"):
        reads.open(tmp_path / "wide.png")


def test_the_ink_of_a_correction_is_that_of_its_digits(reads, picture):
    a, b = (digit.box for digit in reads.read(BOTH).digits)
    ((image, strokes),) = reads.corrected(BOTH, Correction((b,), ((b, 7),)))
    assert image.shape == (28, 28)
    assert np.array_equal(strokes.points[0], BOTH.strokes.points[1])
    around = (a[0], a[1], b[2], b[3])
    ((_, strokes),) = reads.corrected(BOTH, Correction((a, b), ((around, 4),)))
    assert len(strokes.points) == 2
    upper, lower = (a[0], a[1], a[2], 50), (a[0], 50, a[2], a[3])
    halves = reads.corrected(BOTH, Correction((a,), ((upper, 1), (lower, 1))))
    assert [image.max() for image, _ in halves] == [1, 1]
    assert len(reads.corrected(BOTH, Correction((a,), ()))) == 1
    drawing = Drawing(Strokes((), (), (300, 300)), picture)
    (box,) = (digit.box for digit in reads.read(drawing).digits)
    half = (box[0], box[1], box[2], box[3] - 90)
    ((image, strokes),) = reads.corrected(drawing, Correction((box,), ((half, 1),)))
    assert strokes is None
    assert image.max() > 0.9


def test_the_clipboard_gives_a_new_file_a_copied_file_or_a_sentence(
    reads, monkeypatch, tmp_path, picture
):
    def pasted(found):
        grab = Mock(side_effect=[found])  # an exception is raised
        monkeypatch.setattr(ImageGrab, "grabclipboard", grab)
        return reads.paste(tmp_path / "pasted").path

    for nothing in (None, [], OSError("cannot identify <_io.BytesIO object at 0x7f>")):
        with pytest.raises(PictureError, match="no picture in the clipboard"):
            pasted(nothing)
    with pytest.raises(PictureError, match="install xclip"):
        pasted(NotImplementedError("wl-paste or xclip is required"))
    assert not (tmp_path / "pasted").exists()
    assert pasted([str(picture)]) == picture
    files = {grey: pasted(Image.new("L", (9, 9), grey)) for grey in (10, 20)}
    for grey, path in files.items():
        with Image.open(path) as image:
            assert image.getpixel((0, 0)) == grey
