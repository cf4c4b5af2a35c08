"""Go through all exercises as a learner who pastes the solutions, in a new folder.

``python tests/exercises/whole_run.py`` is a step of ``.ci/run``: the trainings are too
slow for a test. Everything must be solved, and in time.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "tinycnn.exercises"]


def run(folder, *argv):
    return subprocess.run(
        [*COMMAND, *argv], cwd=folder, capture_output=True, text=True, check=False
    )


def main():
    with tempfile.TemporaryDirectory() as scratch:
        assert run(scratch, "start", "my work").returncode == 0
        folder = Path(scratch, "my work")
        for number, file in enumerate(sorted(folder.glob("ex*.py")), 1):
            unsolved = run(folder)
            assert unsolved.returncode == 1, unsolved.stdout
            assert "is still to be written" in unsolved.stdout, unsolved.stdout
            shown = run(folder, "solution", str(number), "--show")
            assert shown.returncode == 0, shown.stderr
            file.write_text(shown.stdout)
            began = time.perf_counter()
            solved = run(folder)
            seconds = time.perf_counter() - began
            assert solved.returncode == 0, solved.stdout + solved.stderr
            print(f"{seconds:5.1f} s  {solved.stdout.splitlines()[-3:]}", flush=True)
            limit = 60 if re.search("test digits|compiled", solved.stdout) else 5
            assert seconds < limit, f"exercise {number} took {seconds:.1f} s"
        assert "All exercises are done" in solved.stdout
        assert run(folder).returncode == 0
        subprocess.run([sys.executable, "ex16_views.py"], cwd=folder, check=True)


if __name__ == "__main__":
    main()
