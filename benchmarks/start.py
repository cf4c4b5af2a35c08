"""How soon training starts: from the start of the process to its first trained step.

``python -m benchmarks.start [--presets default classic] [--rounds 7] [--threads N]
[--data DIR]``

It runs the command itself, ``python -m tinycnn.train``, in a new process each time,
with an empty folder for compiled kernels (*first ever*), then with the folder that the
first left (*cached*); the two take turns. Without ``--data`` the digits are those of
the bundled sample. The files of Python and of the libraries are in the system's memory,
as they are on a machine that has used them before. POSIX only.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tables import machine, markdown, three_digits
from tinycnn._cli import Parser, existing_folder, fail, integer, run_command
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.threads import available_cores

ROOT = Path(__file__).parent.parent
NAMES = {"first": "first ever", "cached": "cached"}
# The command, but for its end: right after the first step of its optimizer.
WATCHED = """
import os, sys
from tinycnn import train

def loop(run):
    step = run.trainer.optimizer.step

    def last():
        step()
        print("done", flush=True)
        os._exit(0)

    run.trainer.optimizer.step = last
    return whole_loop(run)

whole_loop, train._loop = train._loop, loop
sys.exit(train.main())
"""


class CommandError(RuntimeError):
    """The command ended before its first step; says how."""


def time_start(arguments: list[str], kernels: Path) -> float:
    """Return the seconds from the start of the command until its first step is done.

    Parameters
    ----------
    arguments : list of str
        Of `tinycnn.train`.
    kernels : Path
        The folder for compiled kernels.

    Raises
    ------
    CommandError
    """
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"NUMBA_CACHE_DIR": str(kernels)},
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - begin
        _, errors = process.communicate()
    if line != "done\n":
        said = errors.strip().splitlines() or ["nothing"]
        raise CommandError(f"tinycnn.train ended with {process.returncode}: {said[-1]}")
    return seconds


def measure(preset: str, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Return the seconds of all rounds of a preset: ``first`` and ``cached``."""
    flags = ["--preset", preset, "--epochs", "1", "--data", str(arguments.data)]
    flags += ["--threads", str(arguments.threads), "--out"]
    rounds: dict[str, list[float]] = {name: [] for name in NAMES}
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name in NAMES:
                given = [*flags, str(Path(folder) / name)]
                rounds[name].append(time_start(given, Path(folder) / "kernels"))
        values = ", ".join(f"{name} {rounds[name][-1]:.2f} s" for name in NAMES)
        print(f"{preset}, round {number + 1}: {values}", file=sys.stderr)
    return rounds


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    arguments = _parser().parse_args(argv)
    rows = []
    try:
        for preset in arguments.presets:
            for name, seconds in measure(preset, arguments).items():
                least, most = map(three_digits, (min(seconds), max(seconds)))
                median = three_digits(statistics.median(seconds))
                rows.append([preset, NAMES[name], median, f"{least} to {most}"])
    except CommandError as error:
        fail(error)
    about = machine()
    print(
        f"{about['processor']}, {about['cores']} cores; threads: {arguments.threads};"
        f" Python {about['python']}. Medians of {arguments.rounds} rounds.\n"
    )
    print(markdown(("preset", "start", "median (s)", "least to greatest"), rows))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "python -m benchmarks.start", "Time the start of training.", json=False
    )
    add, cores = parser.add_argument, available_cores()
    add("--presets", nargs="+", default=["default", "classic"], metavar="NAME")
    add("--rounds", type=integer(1, 1000), default=7, metavar="N")
    add("--threads", type=integer(1, cores), default=cores, metavar="N")
    add(
        "--data",
        type=lambda text: existing_folder(text).absolute(),
        default=SAMPLE_FOLDER,
        metavar="DIR",
        help="MNIST (default: the bundled sample)",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
