"""The program as it is started: one sentence if it cannot, else a clean end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.window_pilot import Hand
from tinycnn.ink.strokes import Strokes, save_strokes
from tinycnn.window.theme import THEMES

DRAW = Path(__file__).parents[1] / "apps" / "draw.py"
NO_TKINTER = """
import runpy, sys
sys.modules["tkinter"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def environment(home, display=None):
    variables = {n: v for n, v in os.environ.items() if n != "DISPLAY"}
    for name in ("CONFIG", "STATE", "DATA"):
        variables[f"XDG_{name}_HOME"] = str(home)
    return variables | ({"DISPLAY": display} if display else {})


def started(home, *argv, display=None, code=None):
    program = [sys.executable, *(("-c", code) if code else ()), str(DRAW), *argv]
    return subprocess.Popen(
        program,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(home, display),
    )


def sentence(process):
    out, err = process.communicate(timeout=60)
    assert out == ""
    (line,) = err.splitlines()
    assert "Traceback" not in line
    return line


@pytest.mark.skipif(sys.platform != "linux", reason="DISPLAY is X's")
def test_without_a_display_one_sentence_says_so(tmp_path):
    process = started(tmp_path)
    assert "no display" in sentence(process)
    assert process.returncode == 1
    process = started(tmp_path, display=":4321")
    assert ":4321" in sentence(process)
    assert process.returncode == 1


def test_without_tkinter_the_remedy_is_named(tmp_path):
    process = started(tmp_path, display=":4321", code=NO_TKINTER)
    line = sentence(process)
    assert "tkinter" in line
    assert "install" in line or "python-tk" in line
    assert process.returncode == 1


def test_help_needs_no_display(tmp_path):
    process = started(tmp_path, "--help")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "--weights" in out
    assert err == ""


@pytest.mark.parametrize("argv", [["missing.png"], ["--weights", "missing"]])
def test_a_file_that_is_missing_is_wrong_usage(tmp_path, argv):
    process = started(tmp_path, *argv)
    assert "missing" in sentence(process)
    assert process.returncode == 2


def test_damaged_weights_end_it_with_one_sentence(display, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    weights = str(tmp_path / "bad.safetensors")
    process = started(tmp_path, "--weights", weights, display=display)
    assert "bad.safetensors" in sentence(process)
    assert process.returncode == 1


@pytest.mark.parametrize("name", ["one.json", "one.png"])
def test_a_file_on_the_command_line_is_opened_and_read(display, tmp_path, name):
    one = Strokes((np.array([[150.0, 50], [150, 250]]),), (14.0,), (300, 300))
    if name == "one.json":
        save_strokes(tmp_path / name, one)
    else:
        grey = np.rint(255 * (1 - one.draw())).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / name)
    hand = Hand(display)
    process = started(tmp_path, str(tmp_path / name), display=display)
    light = THEMES["light"]
    boxes = [tuple(bytes.fromhex(c[1:])) for c in (light.sure, light.doubtful)]
    end = time.monotonic() + 60
    try:
        while not any(hand.sees(box, (0, 0, 1440, 900)) for box in boxes):
            assert process.poll() is None
            assert time.monotonic() < end, "no box"
            time.sleep(0.02)
        process.terminate()
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
        hand.close()
    assert (out, err, process.returncode) == ("", "", 143)


@pytest.mark.parametrize(
    ("how", "code"), [("key", 0), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_it_ends_at_once_and_quietly_while_it_warms_up(display, tmp_path, how, code):
    hand = Hand(display)
    process = started(tmp_path, display=display)
    config = tmp_path / "tinycnn" / "window.json"
    try:
        paper = tuple(bytes.fromhex(THEMES["light"].paper[1:]))
        while not hand.sees(paper, (0, 0, 1440, 900)):
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.3)  # the reading process is busy with its imports
        begin = time.monotonic()
        if how == "key":
            hand.move(300, 300)
            hand.key("q", "Control_L")
        else:
            process.send_signal(how)
        out, err = process.communicate(timeout=10)
        assert time.monotonic() - begin < 2
    finally:
        process.kill()
        process.communicate()
        hand.close()
    assert (out, err, process.returncode) == ("", "", code)
    assert config.exists()
    assert (tmp_path / "tinycnn" / "log" / "window.log").read_text() == ""


def test_it_ends_quietly_while_its_panel_is_half_drawn(display, tmp_path):
    """The bars come first, the maps last, and events have their turn between."""
    settings = tmp_path / "tinycnn" / "window.json"
    settings.parent.mkdir()
    settings.write_text('{"panel": true, "size": "1200x800", "theme": "light"}')
    one = Strokes((np.array([[150.0, 50], [150, 250]]),), (14.0,), (300, 300))
    save_strokes(tmp_path / "one.json", one)
    hand = Hand(display)
    process = started(tmp_path, str(tmp_path / "one.json"), display=display)
    bar = tuple(bytes.fromhex(THEMES["light"].sure[1:]))
    end = time.monotonic() + 60
    try:
        hand.move(300, 300)
        while not hand.sees(bar, (900, 0, 1200, 800)):
            assert process.poll() is None
            assert time.monotonic() < end, "no bar"
        hand.key("q", "Control_L")
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
        hand.close()
    assert (out, err, process.returncode) == ("", "", 0)
