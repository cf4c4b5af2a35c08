"""Kill a process again and again while it saves, and see that the file is always whole.

``python -m benchmarks.killed_saves [--count 50] [--seed 0]``

A child saves two sets of weights in turn, without a pause, always to the same file.
After a random short delay it is killed with SIGKILL, which no program can catch. Then
the file must load, be one of the two sets, and take the next save. Exit 1 on any
surprise.

A killed save can leave its temporary file beside the real one. Nothing reads it and it
is in nobody's way. How many were left, which tells how often the kill fell into a save,
is printed.

This file knows processes and signals. It does not know how a file is written. POSIX
only.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tinycnn._cli import whole
from tinycnn.files import temporaries
from tinycnn.nn.weights import load_weights, save_weights

LONGEST_DELAY = 0.1  # seconds from the first save on


class Model:
    """1 MB of weights, every one the same number."""

    def __init__(self, value: float) -> None:
        self.weight = np.full((500, 500), value, np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays by name."""
        return {"weight": self.weight}


def save_until_killed(path: Path) -> None:
    """Save weights of ones and twos in turn, for ever."""
    models = [Model(1), Model(2)]
    save_weights(path, models[0], {})
    print("saving", flush=True)
    while True:
        for model in models:
            save_weights(path, model, {})


def kill_one(path: Path, delay: float) -> None:
    """Start a child that saves, and kill it `delay` seconds after its first save."""
    command = [sys.executable, "-m", "benchmarks.killed_saves", "--child", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            child.wait(delay)
        except subprocess.TimeoutExpired:
            child.kill()
    if child.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the child ended by itself with {child.returncode}")


def problem_with(path: Path) -> str | None:
    """Return what is wrong with the file a killed process left, if anything."""
    model = Model(0)
    try:
        load_weights(path, model)
        if not any((model.weight == value).all() for value in (1, 2)):
            return "its weights are neither set"
        save_weights(path, Model(3), {})
        load_weights(path, model)
    # Any exception at all is what is looked for.
    except Exception as error:  # noqa: BLE001
        return repr(error)
    return None if (model.weight == 3).all() else "the next save was lost"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Kill processes while they save.")
    parser.add_argument(
        "--count", type=whole(1, 10**6), default=50, help="processes to kill"
    )
    parser.add_argument("--seed", type=whole(0, 2**32 - 1), default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        save_until_killed(arguments.child)
    rng = np.random.default_rng(arguments.seed)

    problems = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        for number in range(arguments.count):
            kill_one(path, rng.uniform(0, LONGEST_DELAY))
            if problem := problem_with(path):
                problems.append(f"kill {number}: {problem}")
        strays = temporaries(path)
        others = {path, *strays} ^ set(path.parent.iterdir())
        problems += [f"unexpected or missing: {other.name}" for other in others]
    print(f"{arguments.count} kills, {len(problems)} problems")
    print(f"{len(strays)} fell into a save and left its temporary file")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
