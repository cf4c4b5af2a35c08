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


@contextmanager
def window(display, home, *argv):
    """Start the window; yield its process, a hand, and a wait for a colour."""
    hand = Hand(display)
    process = start(home, *argv, display=display)

    def wait(*colours):
        end = time.monotonic() + 60
        seen = [tuple(bytes.fromhex(colour[1:])) for colour in colours]
        while not any(hand.sees(colour, (0, 0, 1440, 900)) for colour in seen):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, f"none of {colours}"
            time.sleep(0.02)

    try:
        yield process, hand, wait
    finally:
        process.kill()
        process.communicate()
        hand.close()


def test_wrong_usage_and_missing_parts_are_one_sentence_each(tmp_path):
    nowhere = {"display": ":4321"}
    cases = [
        ([], {}, 1, "no display"),
        ([], nowhere, 1, ":4321"),
        ([], nowhere | {"code": NO_TKINTER}, 1, "tkinter; "),
        (["missing.png"], {}, 2, "missing.png"),
        (["--weights", "missing"], {}, 2, "missing"),
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


def test_damaged_weights_end_it_with_one_sentence(display, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    process = start(
        tmp_path, "--weights", str(tmp_path / "bad.safetensors"), display=display
    )
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", 1)
    (line,) = err.splitlines()
    assert "bad.safetensors" in line


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
        assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 143


@pytest.mark.parametrize(
    ("how", "code"), [("key", 0), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_it_ends_at_once_and_quietly_while_it_warms_up(display, tmp_path, how, code):
    with window(display, tmp_path) as (process, hand, wait):
        wait(LIGHT.paper)
        time.sleep(0.3)  # the reading process is busy with its imports
        begin = time.monotonic()
        if how == "key":
            hand.move(300, 300)
            hand.key("q", "Control_L")
        else:
            process.send_signal(how)
        assert process.communicate(timeout=10) == ("", "")
        assert time.monotonic() - begin < 2
    assert process.returncode == code
    assert (tmp_path / "tinycnn" / "window.json").exists()
    assert (tmp_path / "tinycnn" / "log" / "window.log").read_text() == ""
