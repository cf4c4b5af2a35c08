"""How soon training starts, and what an epoch costs besides its steps.

``python -m benchmarks.start [--presets default classic] [--rounds 7] [--threads N]
[--data DIR] [--epoch]``

It runs the command itself, ``python -m tinycnn.train``, in a new process each time:

1. *First ever*: with an empty folder for compiled kernels. Seconds from the start of
   the process until its first step of training is done, all kernels compiled.
2. *Cached*: the same with the folder that the first left. The two take turns.
3. *Epoch* (``--epoch``): one epoch. Its seconds, batches deformed, validation and
   checkpoints included, as a multiple of the number of its batches times the median
   step. Meant for MNIST itself: in the sample there is little to share them out to.

Without ``--data`` the digits are those of the bundled sample, which nobody has to
download. The files of Python and of the libraries are in the system's memory, as they
are on a machine that has used them before.

This file knows processes, folders and a table. It does not know what the command does:
`benchmarks.start_watch`. POSIX only.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.versus import digits, machine, table
from tinycnn._cli import Parser, existing_folder, fail, run_command, whole
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.threads import available_cores
from tinycnn.train import PRESETS

ROOT = Path(__file__).parent.parent

Figures = dict[str, Any]


class CommandError(RuntimeError):
    """The command ended before it did what was to be timed; says how."""


def watch(what: str, arguments: list[str], cache: Path) -> Figures:
    """Run the command in a new process.

    Parameters
    ----------
    what : str
        "step" or "epoch".
    arguments : list of str
        Of `tinycnn.train`.
    cache : Path
        The folder for compiled kernels.

    Returns
    -------
    dict
        What `benchmarks.start_watch` tells, and after how many seconds: ``waited``.

    Raises
    ------
    CommandError
    """
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.start_watch", what, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        waited = time.perf_counter() - begin
        _, errors = process.communicate()
    # What helped it to compile may still be at it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if not line:
        said = errors.strip().splitlines() or ["nothing"]
        raise CommandError(f"tinycnn.train ended with {process.returncode}: {said[-1]}")
    return json.loads(line) | {"waited": waited}


def measure(preset: str, arguments: argparse.Namespace) -> Figures:
    """Return all rounds of a preset.

    Returns
    -------
    dict of str to list of float
        ``first`` and ``cached`` in seconds, ``peak_mb`` of the latter; of epochs
        ``epoch`` in seconds, ``times_steps`` and ``epoch_peak_mb``.
    """
    rounds: Figures = {"first": [], "cached": [], "peak_mb": []}
    flags = ["--preset", preset, "--epochs", "1", "--data", str(arguments.data)]
    flags += ["--threads", str(arguments.threads)]
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)

            def run(what: str, out: str, place: Path = place) -> Figures:
                given = [*flags, "--out", str(place / out)]
                return watch(what, given, place / "kernels")

            first, cached = run("step", "first"), run("step", "cached")
            rounds["first"].append(first["waited"])
            rounds["cached"].append(cached["waited"])
            rounds["peak_mb"].append(cached["peak_mb"])
            line = f"{preset}, round {number + 1}: first ever {first['waited']:.2f} s"
            line += f", cached {cached['waited']:.2f} s"
            if arguments.epoch:
                epoch = run("epoch", "epoch")
                ratio = epoch["seconds"] / (epoch["batches"] * epoch["step"])
                rounds.setdefault("epoch", []).append(epoch["seconds"])
                rounds.setdefault("times_steps", []).append(ratio)
                rounds.setdefault("epoch_peak_mb", []).append(epoch["peak_mb"])
                line += f", epoch {epoch['seconds']:.1f} s, {ratio:.2f} times its steps"
            print(line, file=sys.stderr)
    return rounds


NAMES = {
    "first": "start to first step, first ever (s)",
    "cached": "start to first step, cached (s)",
    "peak_mb": "peak memory until then, cached (MB)",
    "epoch": "an epoch (s)",
    "times_steps": "an epoch, times batches × step",
    "epoch_peak_mb": "peak memory of an epoch (MB)",
}


def report(results: Figures) -> str:
    """Return the figures as a Markdown table."""
    rows = []
    for preset, figures in results["presets"].items():
        for name, values in figures.items():
            q1, q3 = min(values), max(values)
            if len(values) > 1:
                q1, _, q3 = statistics.quantiles(values, n=4, method="inclusive")
            middle = digits(statistics.median(values))
            rows.append([preset, NAMES[name], middle, f"{digits(q1)} to {digits(q3)}"])
    about = results["machine"]
    return (
        f"{about['processor']}, {about['cores']} cores, {results['threads']} threads;"
        f" Python {about['python']}. Medians of {results['rounds']} rounds.\n\n"
        + table(("preset", "measured", "median", "quartiles"), rows)
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    arguments = _parser().parse_args(argv)
    results: Figures = {
        "machine": machine(),
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "presets": {},
    }
    try:
        for preset in arguments.presets:
            results["presets"][preset] = measure(preset, arguments)
    except CommandError as error:
        fail(error)
    print(json.dumps(results) if arguments.json else report(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser("benchmarks.start", "Time the start of training.")
    add = parser.add_argument
    add(
        "--presets",
        nargs="+",
        choices=PRESETS,
        default=["default", "classic"],
        metavar="NAME",
        help=f"of {', '.join(PRESETS)} (default: default and classic)",
    )
    add("--rounds", type=whole(1, 1000), default=7, metavar="N")
    cores = available_cores()
    add("--threads", type=whole(1, cores), default=cores, metavar="N")
    add(
        "--data",
        type=lambda text: existing_folder(text).absolute(),
        default=SAMPLE_FOLDER,
        metavar="DIR",
        help="MNIST (default: the bundled sample)",
    )
    add("--epoch", action="store_true", help="time a whole epoch, too")
    return parser


if __name__ == "__main__":
    run_command(main)
