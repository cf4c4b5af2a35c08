"""The command: one sentence if it cannot start, else a clean end."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.window_pilot import Hand
from tinycnn.ink.strokes import Strokes, save_strokes
from tinycnn.window.theme import THEMES

DRAW = Path(__file__).parents[1] / "apps" / "draw.py"
LIGHT = THEMES["light"]
ONE = Strokes((np.array([[150.0, 50], [150, 250]]),), (14.0,), (300, 300))
NO_TKINTER = """
import runpy, sys
sys.modules["tkinter"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(home, *argv, display=None, code=None):
    variables = {n: v for n, v in os.environ.items() if n != "DISPLAY"}
    for name in ("CONFIG", "STATE", "DATA"):
        variables[f"XDG_{name}_HOME"] = str(home)
    return subprocess.Popen(
        [sys.executable, *(("-c", code) if code else ()), str(DRAW), *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables | ({"DISPLAY": display} if display else {}),
    )


def eventually(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def window(display, home, *argv):
    """Start the window; yield its process, a hand, and a wait for a colour."""
    hand = Hand(display)
    process = start(home, *argv, display=display)

    def wait(*colours):
        def seen():
            assert process.poll() is None, process.communicate()
            found = [tuple(bytes.fromhex(colour[1:])) for colour in colours]
            return any(hand.sees(colour, (0, 0, 1440, 900)) for colour in found)

        eventually(seen)

    try:
        yield process, hand, wait
    finally:
        process.kill()
        process.communicate()
        hand.close()


def test_wrong_usage_and_what_is_missing_or_damaged_are_one_sentence(display, tmp_path):
    nowhere = {"display": ":4321"}
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no weights")
    cases = [
        ([], {}, 1, "no display"),
        ([], nowhere, 1, ":4321"),
        ([], nowhere | {"code": NO_TKINTER}, 1, "tkinter; "),
        (["missing.png"], {}, 2, "missing.png"),
        (["--weights", "missing"], {}, 2, "missing"),
        (["--weights", str(bad)], {"display": display}, 1, bad.name),
    ]
    if sys.platform != "linux":  # the others have no DISPLAY
        del cases[:2]
    for argv, options, code, words in cases:
        process = start(tmp_path, *argv, **options)
        out, err = process.communicate(timeout=60)
        assert (out, process.returncode) == ("", code), words
        (line,) = err.splitlines()
        assert words in line
        assert "Traceback" not in line


@pytest.mark.parametrize("name", ["one.json", "one.png"])
def test_a_file_on_the_command_line_is_opened_and_read(display, tmp_path, name):
    if name == "one.json":
        save_strokes(tmp_path / name, ONE)
    else:
        grey = np.rint(255 * (1 - ONE.draw())).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / name)
    with window(display, tmp_path, str(tmp_path / name)) as (process, _, wait):
        wait(LIGHT.sure, LIGHT.doubtful)  # a box
        process.terminate()
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 143


@pytest.mark.parametrize(
    ("how", "code"), [("key", 0), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_it_ends_quietly_while_it_warms_up(display, tmp_path, how, code):
    with window(display, tmp_path) as (process, hand, wait):
        wait(LIGHT.paper)
        time.sleep(0.3)  # the reading process is busy with its imports
        if how == "key":
            hand.move(300, 300)
            hand.key("q", "Control_L")
        else:
            process.send_signal(how)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == code
    assert (tmp_path / "tinycnn" / "window.json").exists()
    assert (tmp_path / "tinycnn" / "log" / "window.log").read_text() == ""


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc")
def test_no_process_is_left_when_the_window_is_killed(display, tmp_path):
    with window(display, tmp_path) as (process, *_):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        eventually(lambda: children.read_text().split())
        pids = children.read_text().split()
        assert all(map(is_alive, pids))
        process.kill()
        process.wait()
        eventually(lambda: not any(map(is_alive, pids)))


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
