"""Make the README's pictures of the window: ``python -m benchmarks.window_pictures``.

The window is opened on a screen in memory, digits that the code writes
(`tinycnn.glyphs.writer`) are drawn in it by real pointer events, and the screen is
captured: ``apps/draw.png``, with the panel, and ``apps/draw.gif``, which moves.
"""

import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import window_pilot
from benchmarks.window_pilot import Stage, screen, settle, until
from tinycnn._cli import Parser, existing_folder, fail, run_command
from tinycnn.files import write_atomically
from tinycnn.glyphs.writer import write

APPS = Path(__file__).parent.parent / "apps"
SEEDS = 43, 107  # of legible handwriting
STILL, MOVING = "1100x801", "740x470"
NUMBERS = "3140\n592"  # on the still picture
NUMBER = "2026"  # on the moving one
TALL, PITCH = 9.5, 135  # pixels a unit of a digit, and from one to the next
FRAME = 80  # milliseconds
LAST = 2500  # milliseconds that the end is shown


def hand_written(text: str, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return the strokes of a number, line by line, at the upper left of a sheet."""
    strokes = []
    for row, line in enumerate(text.splitlines()):
        for column, digit in enumerate(line):
            corner = (70 + PITCH * column, 75 + 210 * row)
            strokes += [s * TALL + corner for s in write(digit, rng)]
    return strokes


def still(display: str, folder: Path) -> Image.Image:
    """Draw a tangle and two lines, open the panel: it shows the last digit."""
    stage = Stage(display, folder, STILL)
    stage.start()
    turns = np.arange(12) * 2.5  # a tangle, which is no digit
    tangle = 50 * np.stack([np.cos(turns), np.sin(turns)], axis=1) + (570, 335)
    stage.draw(tangle.tolist(), 0, 0)
    for points in hand_written(NUMBERS, np.random.default_rng(SEEDS[0])):
        stage.draw(points.tolist(), 0, 0)
    stage.read()
    stage.window.toggle_panel()
    panel = stage.window.panel
    until(stage.root, lambda: panel.explanation is not None)
    picture = captured(stage)
    print(f"{NUMBERS!r} was read as {stage.session.reading.text!r}", file=sys.stderr)
    stage.close()
    return picture


def moving(display: str, folder: Path) -> list[Image.Image]:
    """Draw a number slowly and capture every moment."""
    stage = Stage(display, folder, MOVING)
    stage.start()
    frames = [captured(stage)]
    for points in hand_written(NUMBER, np.random.default_rng(SEEDS[1])):
        first, *others = stage.on_screen(points.tolist(), 0, 40)
        stage.hand.move(*first)
        stage.hand.press()
        for number, place in enumerate(others):
            stage.hand.move(*place)
            pause = time.perf_counter() + 0.02
            until(stage.root, lambda pause=pause: time.perf_counter() >= pause)
            if number % 3 == 2:
                frames.append(captured(stage))
        stage.hand.release()
        settle(stage.root)
        stage.read()
        frames += [captured(stage)] * 2
    print(f"{NUMBER!r} was read as {stage.session.reading.text!r}", file=sys.stderr)
    stage.close()
    return frames


def captured(stage: Stage) -> Image.Image:
    """Return a screenshot of the window."""
    settle(stage.root)
    stage.root.winfo_pointerx()  # asks the X server, which has drawn before
    x, y = stage.root.winfo_rootx(), stage.root.winfo_rooty()
    width, height = stage.root.winfo_width(), stage.root.winfo_height()
    # The menu lies above what Tk calls the window.
    return Image.fromarray(stage.hand.look((x, 0, x + width, y + height)))


def as_files(picture: Image.Image, frames: list[Image.Image]) -> tuple[bytes, bytes]:
    """Return a PNG, and a GIF that runs for ever; both of few colours."""
    png, gif = io.BytesIO(), io.BytesIO()
    picture.quantize(64, dither=Image.Dither.NONE).save(png, "PNG", optimize=True)
    palette = frames[-1].quantize(32)
    few = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    times = [FRAME] * (len(few) - 1) + [LAST]
    few[0].save(
        gif, "GIF", save_all=True, append_images=few[1:], duration=times, loop=0
    )
    return png.getvalue(), gif.getvalue()


def main(argv: list[str] | None = None) -> int:
    """Make both pictures."""
    about = "Make the README's pictures."
    parser = Parser("python -m benchmarks.window_pictures", about, json=False)
    add = parser.add_argument
    add("--out", type=existing_folder, default=APPS, metavar="DIR", help="where to")
    out = parser.parse_args(argv).out
    reason = window_pilot.missing()
    if reason:
        fail(reason)
    with screen() as display, tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        png, gif = as_files(still(display, place), moving(display, place))
        write_atomically(out / "draw.png", [png])
        write_atomically(out / "draw.gif", [gif])
    return 0


if __name__ == "__main__":
    run_command(main)
