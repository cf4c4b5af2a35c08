"""Judging one file of a learner, in a process of its own with a time limit.

`judge` starts the process, which runs this file; `verdict` is what that does.
"""

import contextlib
import faulthandler
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import IO

import tinycnn
from tinycnn.exercises.path import BY_NAME, ROOM, Exercise

SHOWN = 2000  # characters of what the learner's code prints
# -P: a file numpy.py in the learner's folder is not NumPy.
COMMAND = (sys.executable, "-P", "-u", "-m", "tinycnn.exercises.judge")
# What NumPy and Python say, and what is meant in these exercises.
MEANT = dict(
    line.split(": ", 1)
    for line in (ROOM / "tells" / "meant.txt").read_text("utf-8").splitlines()
)


@dataclass(frozen=True)
class Verdict:
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
    root = str(Path(tinycnn.__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    printed: list[bytes] = []
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "verdict.json"
        process = subprocess.Popen(
            [*COMMAND, exercise.name, str(folder), str(answer), str(seconds)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        assert process.stdout is not None
        reader = threading.Thread(target=_drain, args=(process.stdout, printed))
        reader.daemon = True
        reader.start()
        try:
            process.wait(
                seconds + 60
            )  # it ends itself in time, which imports do not use
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait()
        reader.join(1)
        text = b"".join(printed).decode("utf-8", "replace")
        text = text if len(text) <= SHOWN else text[:SHOWN].rstrip() + " ... and more"
        trace = answer.with_suffix(".trace")
        if frames := trace.read_text("utf-8") if trace.exists() else "":
            at = re.search(r'(ex\d+_\w+\.py)", line (\d+)', frames)
            name = f"{at[1]}, line {at[2]}" if at else exercise.file
            message = f"no result after {seconds:g} s: is there a loop without an end?"
            return Verdict(False, f"{name}: {message}", text)
        try:
            found = json.loads(answer.read_text("utf-8"))
        except (OSError, ValueError):
            code = process.returncode
            message = f"Python ended with code {code} before there was a result"
            return Verdict(False, f"{exercise.file}: {message}", text)
    return Verdict(found["solved"], found["message"], text)


def _drain(pipe: IO[bytes], printed: list[bytes]) -> None:
    """Read a pipe to its end, and keep no more than is shown."""
    kept = 0
    with pipe:
        while chunk := pipe.read1(65536):  # type: ignore[attr-defined]
            if kept <= SHOWN:
                printed.append(chunk[: SHOWN + 1 - kept])
                kept += len(printed[-1])


def verdict(exercise: Exercise, folder: Path) -> Verdict:
    """Import the learner's file in this process and judge what it defines."""
    import numpy as np
    import threadpoolctl

    from tinycnn.exercises.judges import JUDGES
    from tinycnn.exercises.judges.compare import Wrong

    # On a busy machine, threads that wait for each other take ten times as long.
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")
    try:
        with learners_modules(folder), np.errstate(all="ignore"):
            mine = import_file(folder / exercise.file)
            return Verdict(True, JUDGES[exercise.name](mine) or "")
    except Wrong as error:
        return Verdict(False, f"{exercise.file}: {error}")
    except SyntaxError as error:
        name = Path(error.filename or exercise.file).name
        return Verdict(False, f"{name}, line {error.lineno}: {error.msg}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a learner's code
        name = _place(error, folder) or exercise.file
        if isinstance(error, NotImplementedError) and name != exercise.file:
            return Verdict(False, f"{name}: {error} is still to be written")
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
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


def import_file(path: Path) -> ModuleType:
    """Import a file from its source.

    Compiled code beside it is not used: it can be older than a file saved twice within
    a second.
    """
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # as an import does; later files import it
    code = compile(path.read_bytes(), str(path), "exec")
    exec(code, module.__dict__)
    return module


@contextlib.contextmanager
def learners_modules(folder: Path) -> Iterator[None]:
    """Let files import those beside them, and forget them afterwards."""
    before, keeps_code = dict(sys.modules), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = keeps_code
        for name in set(sys.modules) - set(before):
            if name.startswith("ex"):
                del sys.modules[name]


if __name__ == "__main__":
    _name, _folder, _answer, _seconds = sys.argv[1:]
    importlib.import_module("tinycnn.exercises.judges")  # before the clock is started
    _trace = Path(_answer).with_suffix(".trace").open("w")
    faulthandler.dump_traceback_later(float(_seconds), exit=True, file=_trace)
    _found = asdict(verdict(BY_NAME[_name], Path(_folder)))
    Path(_answer).write_text(json.dumps(_found), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # threads of the learner's are not waited for
