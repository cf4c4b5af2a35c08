"""The reading process: the newest drawing is read first, and a crash is survived."""

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


class FakeProcess(Worker):
    """A worker whose processes are pipes; the test holds their other end."""

    def start(self):
        self._connection, self.theirs = Pipe()
        self._start_at = float("inf")
        self.starts += 1

    def received(self):
        """Return the requests that have been sent to the process."""
        found = []
        while self.theirs.poll():
            found.append(self.theirs.recv())
        return found

    def tell(self, reply):
        self.theirs.send(reply)
        return self.poll()

    def die(self):
        """End the process; return its requests and the replies to the window."""
        requests = self.received()
        self.theirs.close()
        return requests, self.poll()


@pytest.fixture
def fake():
    worker = FakeProcess()
    worker.start()
    yield worker
    worker.theirs.close()
    worker.close()


def test_one_request_is_sent_at_a_time_then_only_the_newest_drawing(fake):
    fake.tell(Ready())
    for revision in range(1, 6):
        fake.ask(Read(revision, ONE))
    assert [r.revision for r in fake.received()] == [1]
    assert [reply.revision for reply in fake.tell(Answer(1, Reading()))] == [1]
    assert [r.revision for r in fake.received()] == [5]


def test_a_drawing_is_read_first_and_corrections_and_files_are_never_dropped(fake):
    explain = [Explain(revision, ONE, 0) for revision in (1, 2)]
    single = [Single(revision, ONE, 0, 7) for revision in (1, 2)]
    for request in (Open(Path("one.png")), *explain, *single, Read(3, ONE)):
        fake.ask(request)
    assert fake.received() == []
    for reply in (Ready(), *[Failed("no")] * 5):
        fake.tell(reply)
    requests = fake.received()
    assert [type(r) for r in requests] == [Read, Open, Explain, Single, Single]
    assert [r.revision for r in requests[2:]] == [2, 1, 2]


def test_a_dead_process_is_restarted_with_its_request_but_not_a_third_time(fake):
    fake.ask(Read(1, ONE))
    for starts, words in ((2, "restarted"), (3, "twice")):
        fake.tell(Ready())
        requests, (reply,) = fake.die()
        assert [r.revision for r in requests] == [1]
        assert isinstance(reply, Failed)
        assert words in reply.message
        fake.poll()
        assert fake.starts == starts
    fake.tell(Ready())
    assert fake.received() == []


def test_an_outdated_request_is_not_repeated_after_a_crash(fake):
    fake.tell(Ready())
    fake.ask(Read(1, ONE))
    fake.ask(Read(2, ONE))  # the first is being answered, this one waits
    requests, _ = fake.die()
    assert [r.revision for r in requests] == [1]
    fake.poll()
    fake.tell(Ready())
    assert [r.revision for r in fake.received()] == [2]


def test_a_process_that_never_starts_is_retried_less_and_less_often(fake, monkeypatch):
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("tinycnn.window.worker.time", clock)
    starts = []
    for _ in range(600):
        before = fake.starts
        if fake._connection is not None:
            fake.die()
        fake.poll()
        starts += [now[0]] * (fake.starts - before)
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
