"""Judging one file of a learner, in a process of its own with a time limit.

`judge` starts the process, which runs this file; `verdict` is what that does.
"""

import contextlib
import faulthandler
import importlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple, TextIO

from tinycnn.exercises.path import BY_NAME, ROOM, Exercise

SHOWN = 2000  # characters of what the learner's code prints
# -P: a file numpy.py in the learner's folder is not NumPy. -B: nothing is left there.
COMMAND = (sys.executable, "-P", "-B", "-u", "-m", "tinycnn.exercises.judge")
# What NumPy and Python say, and what is meant in these exercises.
MEANT = dict(
    line.split(": ", 1)
    for line in (ROOM / "tells" / "meant.txt").read_text("utf-8").splitlines()
)


class Verdict(NamedTuple):
    """Whether an exercise is solved, a sentence about it, and what its code printed."""

    solved: bool
    message: str
    printed: str = ""


def judge(exercise: Exercise, folder: Path, seconds: float | None = None) -> Verdict:
    """Judge the learner's file in a process of its own."""
    seconds = exercise.seconds if seconds is None else seconds
    if not (folder / exercise.file).is_file():
        return Verdict(
            False,
            f"{exercise.file} is not in this folder; rename it back, or lay it out "
            f"anew with: tinycnn exercises reset {exercise.number}",
        )
    with tempfile.TemporaryDirectory() as scratch:
        answer, trace = Path(scratch, "verdict.json"), Path(scratch, "trace")
        code, output = None, Path(scratch, "printed")
        # It ends itself in time; importing what a judge needs takes the rest.
        with (
            output.open("wb") as printed,
            contextlib.suppress(subprocess.TimeoutExpired),
        ):
            code = subprocess.run(
                [*COMMAND, exercise.name, str(folder), scratch, str(seconds)],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                timeout=seconds + 60,
                check=False,
            ).returncode
        text = output.read_text("utf-8", "replace")
        if answer.exists():
            solved, remark = json.loads(answer.read_text("utf-8"))
            return Verdict(solved, remark, text)
        frames = trace.read_text("utf-8") if trace.exists() else ""
    message = f"Python ended with code {code} before there was a result"
    if frames or code is None:
        message = f"no result after {seconds:g} s: is there a loop without an end?"
    at = re.search(r'((?:ex|hunt)\d\w+\.py)", line (\d+)', frames)
    place = f"{at[1]}, line {at[2]}" if at else exercise.file
    return Verdict(False, f"{place}: {message}", text)


class Excerpt(io.TextIOBase):
    """A file that is written to another, no more than its beginning."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._room = file, SHOWN

    def write(self, text: str) -> int:
        """Write what there is room for, and once that there was more."""
        if self._room >= 0:
            more = " ... and more" if len(text) > self._room else ""
            self._file.write(text[: self._room] + more)
            self._room -= len(text)
        return len(text)


def verdict(exercise: Exercise, folder: Path) -> Verdict:
    """Import the learner's file from ``sys.path``, and judge what it defines."""
    import numpy as np

    from tinycnn.exercises.judges.compare import Wrong

    try:
        with np.errstate(all="ignore"):
            mine = importlib.import_module(exercise.file.removesuffix(".py"))
            return Verdict(True, exercise.judge(mine) or "")
    except Wrong as error:
        return Verdict(False, f"{exercise.file}: {error}")
    except SyntaxError as error:
        name = Path(error.filename or exercise.file).name
        return Verdict(False, f"{name}, line {error.lineno}: {error.msg}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a learner's code
        name = _place(error, folder) or exercise.file
        if isinstance(error, NotImplementedError) and name != exercise.file:
            return Verdict(False, f"{name}: {error} is still to be written")
        text = f"{type(error).__name__}: {error}".removesuffix(": ").split("\n")[0]
        text = next((f"{MEANT[said]} ({text})" for said in MEANT if said in text), text)
        if not name.startswith(exercise.file):
            return Verdict(False, f"{exercise.file}: {text} (raised in {name})")
        return Verdict(False, f"{name}: {text}")


def _place(error: BaseException | None, folder: Path) -> str:
    """Return the file and line, of those in a folder, that an error comes from."""
    place = ""
    while error is not None:  # a network raises anew, with the layer's place
        for frame in traceback.extract_tb(error.__traceback__):
            if Path(frame.filename).parent == folder:
                place = f"{Path(frame.filename).name}, line {frame.lineno}"
        error = error.__cause__
    return place


def _main(name: str, folder: str, scratch: str, seconds: str) -> None:
    """Write the verdict into the folder `scratch`, or where the time ran out."""
    import threadpoolctl

    # On a busy machine, threads that wait for each other take ten times as long.
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")
    sys.path.insert(0, folder)
    importlib.import_module("tinycnn.exercises.judges.learning")  # before the clock
    if not (exercise := BY_NAME.get(name)):
        from tinycnn.exercises.hunt import HUNTS

        exercise = next(hunt for hunt in HUNTS if hunt.name == name)
    trace = Path(scratch, "trace").open("w")  # noqa: SIM115 - open to the end
    faulthandler.dump_traceback_later(float(seconds), exit=True, file=trace)
    sys.stdout = sys.stderr = Excerpt(sys.stdout)
    solved, message, _ = verdict(exercise, Path(folder))
    text = json.dumps([solved, message])
    Path(scratch, "verdict.json").write_text(text, encoding="utf-8")
    os._exit(0)  # threads of the learner's are not waited for


if __name__ == "__main__":
    _main(*sys.argv[1:])
