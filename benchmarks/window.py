"""Does the window keep its promises? Measured through real pointer and key events.

``python -m benchmarks.window FOLDER [--only PART ...] [--limit N] [--seed 0] [--json]``

Everything runs on a screen in memory (Xvfb); events come from the X server (XTEST).
FOLDER holds ``strokes/crohme-train-numbers.jsonl.gz``, as `benchmarks.reading` has it.

replay
    Numbers are drawn in the window. The text it shows is compared with what the
    `Reader` makes of the strokes as saved, of the picture as saved, and with the truth.
latency
    Ten digits are on the sheet: from the release of the button after another stroke to
    its boxes on the screen.
heartbeat
    Random strokes, undos, redos, erasings, clearings and changes of size, for half of
    the time with the panel; how late a
    timer of 10 ms is, and by how much the window's memory grows after the first fifth
    (before that, images grow to the largest window and the history fills).
inside
    From the click to the gradients of a digit, to the outcome of a training step, and
    to the 1,000 test digits read with damaged weights.
start
    ``apps/draw.py`` is started with an empty kernel cache: until the window shows ink,
    and until there is a box.
kills
    The reading process is killed while it reads: how often the number is then read as
    it was before, and how long that takes.
closing
    ``apps/draw.py`` is closed while it draws, computes or compiles: its exit code, how
    long it takes, what is on stderr, which processes are left.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import reading_sets, window_pilot
from benchmarks.window_pilot import Hand, Stage, screen, until
from tinycnn._cli import Parser, existing_folder, fail, integer, run_command
from tinycnn.glyphs.writer import write
from tinycnn.ink.strokes import load_strokes
from tinycnn.reading.reader import Reader
from tinycnn.threads import use_threads
from tinycnn.window.theme import THEMES

DRAW = Path(__file__).parent.parent / "apps" / "draw.py"
LARGER = 1.4  # than in `benchmarks.reading`: 84 to 168 units tall, for a pen of 14
EDGE = 30  # units left free around what is drawn
BEAT = 10  # milliseconds
PACE = 2  # milliseconds between random actions
HZ = 125  # movements a second, as a mouse sends them
Figures = dict[str, Any]
Places = NDArray[np.float64]


class Place(NamedTuple):
    """Where to measure, and how much.

    Attributes
    ----------
    display : str
        As ``DISPLAY`` has it.
    folder : Path
        Holds ``strokes/``.
    scratch : Path
        An empty folder of the part that is measured.
    seed : int
    limit : int or None
        Replaces the usual number of repetitions.
    """

    display: str
    folder: Path
    scratch: Path
    seed: int
    limit: int | None

    @contextlib.contextmanager
    def stage(self, size: str = "900x650") -> Iterator[Stage]:
        """Open a window, with its reading process at work, and close it at the end."""
        stage = Stage(self.display, self.scratch, size)
        stage.start()
        yield stage
        stage.close()


def numbers(
    at: Place, count: int, room: tuple[float, float]
) -> Iterator[tuple[list[Places], str]]:
    """Yield strokes and text of numbers, as large as suits the window's own pen.

    What is too long for a room, in units, is drawn smaller.
    """
    for item in reading_sets.crohme_strokes(at.folder, at.seed, at.limit or count):
        everything = np.concatenate(item.given.points)
        low, high = everything.min(axis=0), everything.max(axis=0)
        fits = (np.array(room) - 2 * EDGE) / np.maximum(high - low, 1)
        scale = min(LARGER, *fits)
        yield [(points - low) * scale + EDGE for points in item.given.points], item.text


def drawn(stage: Stage, strokes: list[Places]) -> str:
    """Draw strokes on an empty sheet and return what is read."""
    stage.window.clear()
    for points in strokes:
        stage.draw(points.tolist(), 0, 0)
    return stage.read()


def replay(at: Place) -> Figures:
    """Draw numbers; hold the text against that of what is saved."""
    reader = Reader()
    same_strokes = same_picture = right = count = 0
    differing = []
    with at.stage("1400x860") as stage:
        for strokes, truth in numbers(at, 600, (1340, 560)):
            text = drawn(stage, strokes)
            for name in ("drawing.json", "drawing.png"):
                stage.window.documents.save_path(at.scratch / name)
            until(stage.root, lambda: not stage.worker.is_busy)
            of_strokes = reader.read(load_strokes(at.scratch / "drawing.json"))
            of_picture = reader.read(at.scratch / "drawing.png")
            count += 1
            same_strokes += of_strokes.text == text
            same_picture += of_picture.text == text
            right += text == truth
            if of_picture.text != text:
                differing.append([truth, text, of_picture.text])
    return {
        "numbers": count,
        "same_as_saved_strokes": same_strokes / count,
        "same_as_saved_picture": same_picture / count,
        "right": right / count,
        "truth_window_picture": differing,
    }


def latency(at: Place) -> Figures:
    """Time from the end of a stroke to its boxes, with ten digits on the sheet."""
    rng = np.random.default_rng(at.seed)
    took: list[float] = []
    with at.stage("1400x860") as stage:
        shown = watch_boxes(stage)
        for number in range(9):
            for stroke in write(str(rng.integers(10)), rng):
                timed_stroke(stage, stroke * 8, 40 + number * 120)
        while len(took) < (at.limit or 200):
            strokes = write(str(rng.integers(10)), rng)
            for stroke in strokes:
                begin = timed_stroke(stage, stroke * 8, 40 + 9 * 120)
                until(stage.root, lambda: stage.session.is_settled)
                took.append(1000 * (shown[-1] - begin))
            for _ in strokes:
                stage.window.undo()
            stage.read()
    return quantiles(took, "ms")


def watch_boxes(stage: Stage) -> list[float]:
    """Return a list to which the time is added whenever boxes are on the screen."""
    shown: list[float] = []
    show = stage.window.show

    def watched() -> None:
        show()
        stage.root.update_idletasks()
        stage.root.winfo_pointerx()  # asks the X server, which has drawn before
        shown.append(time.perf_counter())

    stage.window.show = watched  # type: ignore[method-assign]
    return shown


def timed_stroke(stage: Stage, points: Places, x: float) -> float:
    """Draw at the pace of a mouse; return when the button was released."""
    first, *others = stage.on_screen(points.tolist(), x, 120)
    stage.hand.move(*first)
    stage.hand.press()
    for place in others:
        stage.hand.move(*place)
        pause = time.perf_counter() + 1 / HZ
        until(stage.root, lambda pause=pause: time.perf_counter() >= pause)
    begin = time.perf_counter()
    stage.hand.release()
    until(stage.root, lambda: stage.sheet._down is None)
    return begin


def heartbeat(at: Place) -> Figures:
    """Do random actions while a timer runs."""
    count = at.limit or 10_000
    chance = random.Random(at.seed)
    late: list[float] = []
    done = [0]
    memory: list[int] = []
    errors: list[str] = []
    with at.stage() as stage:
        root = stage.root
        root.report_callback_exception = lambda *e: errors.append(repr(e))
        due = [time.perf_counter() + BEAT / 1000]

        def beat() -> None:
            now = time.perf_counter()
            late.append(1000 * (now - due[0]))
            due[0] = now + BEAT / 1000
            root.after(BEAT, beat)

        def act() -> None:
            random_action(stage, chance)
            done[0] += 1
            if done[0] == count // 5:
                memory.append(resident())
            if done[0] == count // 2:
                stage.window.toggle_panel()
            root.after(PACE, act)

        due[0] = time.perf_counter() + BEAT / 1000
        root.after(BEAT, beat)
        root.after(PACE, act)
        until(root, lambda: done[0] >= count, 3600)
        memory.append(resident())
    return {
        "actions": count,
        **quantiles(late, "ms_late"),
        "exceptions": errors[:3],
        "memory_growth_mb": round((memory[1] - memory[0]) / 2**20, 1),
    }


def random_action(stage: Stage, chance: random.Random) -> None:
    """Draw, erase, undo, redo, clear or resize."""
    kind = chance.random()
    wide, high = stage.sheet.winfo_width(), stage.sheet.winfo_height()
    left, top = stage.sheet.winfo_rootx(), stage.sheet.winfo_rooty()
    x, y = chance.uniform(0, wide), chance.uniform(0, high)
    hand = stage.hand
    if kind < 0.8:
        hand.move(left + x, top + y)
        button = 3 if kind > 0.75 else 1
        hand.press(button)
        for _ in range(chance.randrange(1, 12)):
            x, y = x + chance.gauss(0, 25), y + chance.gauss(0, 25)
            hand.move(min(max(left + x, 0), 1430), min(max(top + y, 0), 890))
        hand.release(button)
    elif kind < 0.9:
        hand.key("z", "Control_L")
    elif kind < 0.93:
        hand.key("z", "Control_L", "Shift_L")
    elif kind < 0.97:
        hand.key("Delete")
    else:
        wide, high = chance.randrange(640, 1400), chance.randrange(440, 860)
        stage.root.geometry(f"{wide}x{high}")


def inside(at: Place) -> Figures:
    """Time gradients, a training step and damage, from the click to the picture."""
    took: dict[str, list[float]] = {"gradients": [], "step": [], "damage": []}
    with at.stage() as stage:
        panel = stage.window.panel
        for stroke in write("7", np.random.default_rng(at.seed)):
            stage.draw((stroke * 8 + 60).tolist(), 0, 0)
        stage.read()
        stage.window.toggle_panel()

        def timed(kind: str, act: Callable[[], None], done: Callable[[], bool]) -> None:
            begin = time.perf_counter()
            act()
            until(stage.root, done)
            took[kind].append(1000 * (time.perf_counter() - begin))
            until(stage.root, lambda: not stage.worker.is_busy)

        panel.tabs.select(1)
        learning, breaking = panel.learning, panel.breaking
        until(stage.root, lambda: learning.gradients is not None)
        for number in range(at.limit or 20):
            learning.label.set(str(number % 10))
            old, learning.trial = learning.gradients, None
            timed(
                "gradients", learning.ask, lambda old=old: learning.gradients is not old
            )
            timed("step", learning.train, lambda: learning.trial is not None)
        panel.tabs.select(2)
        until(stage.root, lambda: len(breaking.right) > 1)
        for number in range(at.limit or 20):
            del breaking.right[1:]
            breaking.bits.set("48"[number % 2])
            timed("damage", breaking.change, lambda: len(breaking.right) > 1)
    return {kind: quantiles(values, "ms") for kind, values in took.items()}


def start(at: Place) -> Figures:
    """Start with an empty kernel cache; draw a 1 as soon as there is a sheet."""
    inks, boxes = [], []
    light, area = THEMES["light"], (300, 200, 1100, 600)
    for number in range(at.limit or 3):
        home = at.scratch / str(number)
        home.mkdir()
        hand = Hand(at.display)
        began = time.perf_counter()
        process = launch(at.display, home, {"NUMBA_CACHE_DIR": str(home)})
        try:
            x, y = 720, 450  # within the sheet, wherever the window is opened
            while not hand.sees(rgb(light.ink), area):
                for event in (hand.press, hand.release):
                    hand.move(x, y - 60)
                    event()
                if time.perf_counter() - began > 30:
                    raise TimeoutError("no ink")
            inks.append(round(time.perf_counter() - began, 2))
            hand.move(x, y - 60)
            hand.press()
            for step in range(20):
                hand.move(x, y - 60 + 6 * step)
            hand.release()
            hand.move(5, 5)
            while not any(
                hand.sees(rgb(c), area) for c in (light.sure, light.doubtful)
            ):
                time.sleep(0.02)
                if time.perf_counter() - began > 300:
                    raise TimeoutError("no box")
            boxes.append(round(time.perf_counter() - began, 1))
        finally:
            process.terminate()
            process.communicate()
            hand.close()
    return {"starts": len(inks), "seconds_to_ink": inks, "seconds_to_boxes": boxes}


def closing(at: Place) -> Figures:
    """Close the program at every moment of its life."""
    chance = random.Random(at.seed)
    slowest, problems = 0.0, []
    count = at.limit or 50
    hand = Hand(at.display)
    for number in range(count):
        phase = ("compiling", "drawing", "computing")[number % 3]
        home = at.scratch / str(number)
        home.mkdir()
        cache = {"NUMBA_CACHE_DIR": str(home)} if phase == "compiling" else {}
        process = launch(at.display, home, cache)
        until_seen(hand, process)
        hand.move(500, 350)  # without a window manager, keys go to what is here
        if phase == "compiling":
            time.sleep(chance.uniform(0, 2.5))
        else:
            time.sleep(chance.uniform(1.5, 2.0))
            scrawl(hand, chance)
            if phase == "drawing":
                hand.press()
                hand.move(chance.uniform(400, 1000), chance.uniform(300, 600))
        begin = time.perf_counter()
        hand.key("q", "Control_L")
        try:
            _, err = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            _, err = process.communicate()
            err += "not closed within 10 s"
        took = time.perf_counter() - begin
        hand.release()
        slowest = max(slowest, took)
        left = of_session(process.pid, patience=1 - took)
        if process.returncode or err or left or took > 1:
            problems.append([number, phase, process.returncode, took, err, left])
    hand.close()
    return {
        "closings": count,
        "slowest_seconds": round(slowest, 2),
        "problems": problems,
    }


def kills(at: Place) -> Figures:
    """Kill the reading process at work, again and again; the number is read anyway."""
    chance, rng = random.Random(at.seed), np.random.default_rng(at.seed)
    same, took = 0, []
    with at.stage() as stage:
        for _ in range(at.limit or 20):
            strokes = [stroke * 8 + 60 for stroke in write(str(rng.integers(10)), rng)]
            text, process = drawn(stage, strokes), stage.worker._process
            assert process is not None
            stage.window.undo()
            stage.window.redo()  # it is read again
            time.sleep(chance.uniform(0, 0.01))
            process.kill()
            begin = time.perf_counter()
            until(stage.root, lambda old=process: stage.worker._process is not old)
            same += stage.read() == text
            took.append(time.perf_counter() - begin)
    return {"read_as_before": same, **quantiles(took, "s")}


PARTS: dict[str, Callable[[Place], Figures]] = {
    "replay": replay,
    "latency": latency,
    "heartbeat": heartbeat,
    "inside": inside,
    "start": start,
    "kills": kills,
    "closing": closing,
}


# --- processes ---------------------------------------------------------------------


def launch(display: str, home: Path, more: dict[str, str]) -> "subprocess.Popen[str]":
    """Start the program in a session of its own, with folders of its own."""
    folders = {f"XDG_{n}_HOME": str(home) for n in ("CONFIG", "STATE", "DATA")}
    return subprocess.Popen(
        [sys.executable, str(DRAW)],
        env={**os.environ, "DISPLAY": display, **folders, **more},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until_seen(hand: Hand, process: "subprocess.Popen[str]") -> None:
    """Wait until the window is on the screen."""
    while not hand.sees(rgb(THEMES["light"].paper), (700, 300, 760, 400)):
        if process.poll() is not None:
            raise RuntimeError(f"the window did not open: {process.communicate()[1]}")
        time.sleep(0.01)


def scrawl(hand: Hand, chance: random.Random) -> None:
    """Draw a few strokes."""
    for _ in range(4):
        hand.move(chance.uniform(300, 900), chance.uniform(250, 400))
        hand.press()
        for _ in range(10):
            hand.move(chance.uniform(300, 900), chance.uniform(250, 400))
        hand.release()


def of_session(session: int, patience: float) -> list[str]:
    """Return the commands of a session's processes that do not go away."""
    end = time.perf_counter() + max(patience, 0.05)
    while True:
        left = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    left.append((folder / "cmdline").read_text().replace("\0", " "))
        if not left or time.perf_counter() > end:
            return left
        time.sleep(0.01)


def resident() -> int:
    """Return the bytes of memory that this process occupies."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def rgb(colour: str) -> tuple[int, int, int]:
    """Return the parts of a colour as ``#rrggbb``."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def quantiles(values: list[float], unit: str) -> Figures:
    """Return the median, the tail and the worst of many values."""
    ordered = sorted(values)
    return {
        "count": len(ordered),
        f"median_{unit}": round(statistics.median(ordered), 1),
        f"p99_{unit}": round(ordered[int(0.99 * (len(ordered) - 1))], 1),
        f"p999_{unit}": round(ordered[int(0.999 * (len(ordered) - 1))], 1),
        f"most_{unit}": round(ordered[-1], 1),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 1 if it cannot be measured here."""
    arguments = _parser().parse_args(argv)
    reason = window_pilot.missing()
    if reason:
        fail(reason)
    use_threads()
    results = {}
    # One screen for all: Tk ends the process when a screen that it once used goes away.
    with screen(2200, 1300) as display, tempfile.TemporaryDirectory() as scratch:
        for name in arguments.only or PARTS:
            own = Path(scratch) / name
            own.mkdir()
            place = Place(
                display, arguments.folder, own, arguments.seed, arguments.limit
            )
            try:
                results[name] = PARTS[name](place)
            except reading_sets.MissingError as error:
                results[name] = {"skipped": str(error)}
            if not arguments.json:
                print(name)
                for key, value in results[name].items():
                    print(f"  {key}: {value}", flush=True)
    if arguments.json:
        print(json.dumps(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser("python -m benchmarks.window", "Measure what the window promises.")
    add = parser.add_argument
    add("folder", type=existing_folder, metavar="FOLDER", help="with strokes/ in it")
    add("--only", nargs="+", choices=PARTS, help="default: all parts")
    add("--limit", type=integer(1, 10**6), metavar="N", help="of each part")
    add("--seed", type=integer(0, 2**32), default=0, metavar="N")
    return parser


if __name__ == "__main__":
    run_command(main)
