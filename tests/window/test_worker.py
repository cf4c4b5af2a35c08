"""The reading process: the newest drawing is read first, and a crash is survived.

Most tests need the window's side only, with a pipe whose other end is the test; the
others start a real process, which takes a second or two.
"""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageGrab

from tinycnn import models
from tinycnn.ink.picture import PictureError
from tinycnn.ink.strokes import Strokes
from tinycnn.reading.result import Reading
from tinycnn.window.messages import (
    Annotate,
    Answer,
    Explain,
    Explained,
    Failed,
    FatalError,
    Open,
    Opened,
    Read,
    Ready,
    Reload,
    Reloaded,
    Saved,
    Single,
    Singled,
    Weights,
)
from tinycnn.window.worker import Worker, _pasted

ONE = Strokes((np.array([[50.0, 20], [50, 80]]),), (10.0,), (100, 100))


@pytest.fixture
def pair():
    """Return a worker that is ready, and the other end of its pipe."""
    worker = Worker()
    worker._connection, theirs = Pipe()
    worker.is_ready = True
    yield worker, theirs
    theirs.close()
    worker.close()


def received(connection):
    """Return everything that has arrived through a pipe."""
    found = []
    while connection.poll():
        found.append(connection.recv())
    return found


def test_one_request_is_sent_at_a_time_then_only_the_newest_drawing(pair):
    worker, theirs = pair
    for revision in range(1, 6):
        worker.ask(Read(revision, ONE))
    assert [r.revision for r in received(theirs)] == [1]
    theirs.send(Answer(1, Reading()))
    assert [reply.revision for reply in worker.poll()] == [1]
    assert [r.revision for r in received(theirs)] == [5]


def test_a_drawing_is_read_first_and_corrections_and_files_are_never_dropped(pair):
    worker, theirs = pair
    worker.is_ready = False
    explain = [Explain(revision, ONE, 0) for revision in (1, 2)]
    single = [Single(revision, ONE, 0, 7) for revision in (1, 2)]
    for request in (Open(Path("one.png")), *explain, *single, Read(3, ONE)):
        worker.ask(request)
    assert received(theirs) == []
    theirs.send(Ready())
    for _ in range(5):
        worker.poll()
        theirs.send(Failed("no"))
    asked = received(theirs)
    assert [type(r) for r in asked] == [Read, Open, Explain, Single, Single]
    assert [r.revision for r in asked[2:]] == [2, 1, 2]


@pytest.fixture
def deaths(monkeypatch):
    """Return a worker whose processes are pipes, and a way to make one die."""
    ends = []

    def start(self):
        self._connection, theirs = Pipe()
        self._start_at = float("inf")
        self.starts += 1
        ends.append(theirs)

    monkeypatch.setattr(Worker, "start", start)
    worker = Worker()
    worker.start()

    def die(*, ready):
        if ready:
            ends[-1].send(Ready())
            worker.poll()
        asked = received(ends[-1])
        ends[-1].close()
        return asked, worker.poll()

    yield worker, die
    worker.close()


def test_a_dead_process_is_restarted_with_its_request_but_not_a_third_time(deaths):
    worker, die = deaths
    worker.ask(Read(1, ONE))
    for starts, words in ((2, "restarted"), (3, "twice")):
        asked, (reply,) = die(ready=True)
        assert [r.revision for r in asked] == [1]
        assert isinstance(reply, Failed)
        assert words in reply.message
        worker.poll()
        assert worker.starts == starts
    asked, _ = die(ready=True)
    assert asked == []


def test_an_outdated_request_is_not_repeated_after_a_crash(deaths):
    worker, die = deaths
    worker.ask(Read(1, ONE))
    worker.is_ready = True
    worker._send()
    worker.ask(Read(2, ONE))  # the first is being answered, this one waits
    die(ready=False)
    worker.poll()
    asked, _ = die(ready=True)
    assert [r.revision for r in asked] == [2]


def test_a_process_that_never_starts_is_retried_less_and_less_often(
    deaths, monkeypatch
):
    worker, die = deaths
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("tinycnn.window.worker.time", clock)
    starts = []
    for _ in range(600):
        before = worker.starts
        if worker._connection is not None:
            die(ready=False)
        worker.poll()
        starts += [now[0]] * (worker.starts - before)
        now[0] += 0.1
    pauses = np.diff(starts)
    assert 5 < len(starts) < 20
    assert pauses[-1] > 5


# --- with a real process -----------------------------------------------------------


def wait_for(worker, kind, patience=20.0):
    """Return the next reply of a kind."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        for reply in worker.poll():
            if isinstance(reply, kind):
                return reply
        time.sleep(0.002)
    raise AssertionError(f"no {kind}")


@pytest.fixture(scope="module")
def real():
    worker = Worker()
    worker.start()
    wait_for(worker, Ready)
    yield worker
    worker.close()


def reads_a_one(worker, revision):
    worker.ask(Read(revision, ONE))
    answer = wait_for(worker, Answer)
    assert answer.revision == revision
    assert answer.reading.text == "1"
    return answer.reading.digits[0]


def test_it_explains_what_it_read(real):
    digit = reads_a_one(real, 8)
    real.ask(Explain(8, ONE, 0))
    explained = wait_for(real, Explained)
    assert explained.explanation.digit == 1
    assert explained.explanation.top == digit.top


def test_it_returns_the_ink_of_one_digit(real):
    both = Strokes((*ONE.points, ONE.points[0] + [100, 0]), (10.0, 10.0), (300, 100))
    real.ask(Single(9, both, 1, 7))
    single = wait_for(real, Singled)
    assert single.name == 7
    assert single.image.shape == (28, 28)
    assert len(single.strokes.points) == 1
    assert np.array_equal(single.strokes.points[0], both.points[1])


def test_it_opens_a_picture_and_writes_a_copy_with_boxes(real, tmp_path):
    grey = np.rint(255 * (1 - ONE.draw())).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "one.png")
    real.ask(Open(tmp_path / "one.png"))
    opened = wait_for(real, Opened)
    assert opened.reading.text == "1"
    assert opened.picture.pixels.shape == (100, 100, 3)
    for drawing in (tmp_path / "one.png", ONE):
        copy = tmp_path / f"copy{isinstance(drawing, Strokes)}.png"
        real.ask(Annotate(drawing, opened.reading, copy))
        assert wait_for(real, Saved).path == copy
        with Image.open(copy) as image:
            assert image.mode == "RGB"


def test_the_clipboard_gives_a_new_file_a_copied_file_or_a_sentence(
    monkeypatch, tmp_path
):
    def pasted(found):
        monkeypatch.setattr(ImageGrab, "grabclipboard", lambda: found)
        return _pasted(tmp_path)

    for nothing in (None, []):
        with pytest.raises(PictureError, match="no picture in the clipboard"):
            pasted(nothing)
    assert list(tmp_path.iterdir()) == []
    assert pasted(["a/one.png"]) == Path("a/one.png")
    files = {grey: pasted(Image.new("L", (9, 9), grey)) for grey in (10, 20)}
    for grey, path in files.items():
        with Image.open(path) as image:
            assert image.getpixel((0, 0)) == grey


def test_an_error_is_one_sentence_and_other_requests_are_answered(real, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    real.ask(Open(tmp_path / "bad.png"))
    assert "bad.png" in wait_for(real, Failed).message
    real.ask(Explain(10, ONE, 5))  # there is no sixth digit
    assert "IndexError" in wait_for(real, Failed).details
    real.ask(Reload(Weights(models.SHIPPED, models.JUDGE)))
    wait_for(real, Reloaded)
    (tmp_path / "bad").write_bytes(b"no weights")
    real.ask(Reload(Weights(tmp_path / "bad")))
    assert "bad" in wait_for(real, Failed).message
    reads_a_one(real, 12)


def test_a_killed_process_is_replaced_and_reads_on(real):
    for revision in range(20, 22):
        os.kill(real.pid, signal.SIGKILL)
        reads_a_one(real, revision)


@pytest.mark.parametrize("fallback", [False, True])
def test_damaged_weights_are_a_fatal_error_unless_there_is_a_fallback(
    tmp_path, fallback
):
    (tmp_path / "bad").write_bytes(b"no weights")
    worker = Worker(Weights(tmp_path / "bad"), fallback=fallback)
    worker.start()
    try:
        if fallback:
            assert "learn again" in wait_for(worker, Ready).note
            reads_a_one(worker, 1)
        else:
            message = wait_for(worker, FatalError).message
            assert "bad" in message
            assert "leave --weights out" in message
    finally:
        worker.close()


START = """
import os, sys, time
from tinycnn.window.worker import Worker
if __name__ == "__main__":
    worker = Worker()
    worker.start()
    print(worker.pid, flush=True)
    time.sleep(60)
"""


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc")
def test_no_process_is_left_when_the_window_is_killed(tmp_path):
    (tmp_path / "start.py").write_text(START)
    window = subprocess.Popen(
        [sys.executable, str(tmp_path / "start.py")], stdout=subprocess.PIPE, text=True
    )
    pid = int(window.stdout.readline())
    time.sleep(0.5)
    assert is_alive(pid)
    window.kill()
    window.wait()
    window.stdout.close()
    end = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_alive(pid)


def test_closing_takes_no_time_even_while_it_starts():
    worker = Worker()
    worker.start()
    begin = time.monotonic()
    worker.close()
    assert time.monotonic() - begin < 0.5
    assert worker.pid is None
