"""Plant one fault at a time, and see that a test finds it.

``python -m benchmarks.planted_faults [--only TEXT] [--workers 2]``

The faults are in ``tinycnn/exercises/faults.txt``, which describes its format. Each is
planted in a copy of the project, never in the project itself; the tests named for it
run until the first failure; then the copy is repaired. A fault is *caught* if a test
fails or the tests do not end within five minutes, and *SURVIVED* if all pass. Exit 1 if
one survives, if its old text is not found exactly once, or if its tests fail without
it. ``--only`` takes the faults whose file or description contains TEXT.
"""

import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tinycnn._cli import Parser, fail, integer, run_command
from tinycnn.exercises.faults import FAULTS, Fault, parse

ROOT = Path(__file__).parent.parent
LIMIT_SECONDS = 300.0
PYTEST = [sys.executable, "-m", "pytest", "-x", "-q", "-n=0", "-p", "no:cacheprovider"]


class Workshop:
    """A copy of the project in which faults are planted, one at a time.

    Parameters
    ----------
    folder : Path
        An empty folder, for the copy and for compiled kernels.
    """

    def __init__(self, folder: Path) -> None:
        self.copy, self.kernels = folder / "copy", folder / "kernels"
        unwanted = shutil.ignore_patterns("__pycache__", ".*", "runs")
        shutil.copytree(ROOT, self.copy, ignore=unwanted)
        self.kernels.mkdir()
        self.failures: dict[str, str] = {}  # of tests without a fault

    def verdict(self, fault: Fault) -> str:
        """Plant a fault, run its tests, repair the copy; return what came of it."""
        if fault.tests not in self.failures:  # compiles the kernels, too
            self.failures[fault.tests] = self.failure(fault.tests, self.kernels)
        if self.failures[fault.tests]:
            return f"CANNOT: without it, there is {self.failures[fault.tests]}"
        path = self.copy / fault.file
        original = path.read_text("utf-8") if path.is_file() else ""
        if (count := original.count(fault.old)) != 1:
            return f"CANNOT: its old text occurs {count} times"
        damaged = original.replace(fault.old, fault.new)
        try:
            compile(damaged, path.name, "exec")
        except SyntaxError as error:
            return f"CANNOT: it is not Python ({error})"
        # Compiled kernels belong to a file of one size and time. Faulty ones go into a
        # copy of the folder, and the time is put back: so the folder stays valid.
        status = path.stat()
        with tempfile.TemporaryDirectory(dir=self.copy.parent) as kernels:
            shutil.copytree(self.kernels, kernels, dirs_exist_ok=True)
            path.write_text(damaged, "utf-8")
            try:
                failure = self.failure(fault.tests, Path(kernels))
            finally:
                path.write_text(original, "utf-8")
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return f"caught by {failure}" if failure else "SURVIVED"

    def failure(self, tests: str, kernels: Path) -> str:
        """Return the first test that fails, or how the run ended; empty if all pass."""
        process = subprocess.Popen(
            [*PYTEST, *shlex.split(tests)],
            cwd=self.copy,
            env=os.environ
            | {
                "PYTHONPATH": str(self.copy),
                "NUMBA_CACHE_DIR": str(kernels),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # what a test has started is ended with it
        )
        try:
            output, _ = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"no end within {LIMIT_SECONDS:.0f} s"
        found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
        how = found[1] if found else f"exit code {process.returncode}"
        return how if process.returncode else ""


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = Parser("python -m benchmarks.planted_faults", "Plant faults.", json=False)
    add = parser.add_argument
    add("--only", default="", metavar="TEXT", help="of the file or description")
    add("--workers", type=integer(1, 64), default=2, metavar="N", help="in parallel")
    arguments = parser.parse_args(argv)
    faults = parse(FAULTS.read_text("utf-8"))
    faults = [one for one in faults if arguments.only in f"{one.file}: {one.says}"]
    if not faults:
        fail(f"no fault has {arguments.only!r} in its file or description")
    began = time.monotonic()
    workshops: queue.SimpleQueue[Workshop] = queue.SimpleQueue()

    def work(fault: Fault) -> bool:
        workshop = workshops.get()
        verdict = workshop.verdict(fault)
        workshops.put(workshop)
        print(f"{fault.file}: {fault.says}: {verdict}", flush=True)
        return verdict.startswith("caught")

    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.workers):
            place = Path(folder) / str(number)
            place.mkdir()
            workshops.put(Workshop(place))
        with ThreadPoolExecutor(arguments.workers) as pool:
            caught = sum(pool.map(work, faults))
    minutes = (time.monotonic() - began) / 60
    print(f"{caught} of {len(faults)} faults caught in {minutes:.0f} minutes")
    return 0 if caught == len(faults) else 1


if __name__ == "__main__":
    run_command(main)
