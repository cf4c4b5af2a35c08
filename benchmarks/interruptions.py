"""Stop training again and again, and see that it always ends in the same bytes.

``python -m benchmarks.interruptions [--stops 10] [--seed 0] [--data DIR]``

1. A short run of the ``default`` preset, which has dropout and augmentation, is made
   without a stop, on one thread and on two.
2. As many runs as ``--stops`` says are stopped with SIGTERM at a random moment after
   the first checkpoint and continued with the command that they printed; every other
   one runs on one thread, the rest on two.
3. As many are killed with SIGKILL, which no program can catch, and continued with
   ``--resume``. They save a checkpoint every 0.2 seconds instead of every minute, so
   that kills also fall within an epoch and into saving.

Every third run is stopped a second time after it was continued. Each must end with the
SHA-256 of the first run's weights.safetensors, with the figures of its metrics.jsonl,
and with no other file left in its folder. Exit 1 on any difference. Without ``--data``
the bundled sample is used. POSIX only.
"""

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn._cli import Parser, existing_folder, fail, integer, run_command

SETTINGS = ["--limit", "2000", "--epochs", "4", "--seed", "1"]
TRAIN = ["-m", "tinycnn.train"]
OFTEN = """
from tinycnn import train
train.SECONDS_BETWEEN_CHECKPOINTS = 0.2
train.run_command(train.main)
"""
TRAIN_SAVING_OFTEN = ["-c", OFTEN]


class SurpriseError(Exception):
    """A run ended in another way than it should."""


class Run:
    """A process of the training command, at work on a folder."""

    def __init__(self, program: list[str], arguments: list[str], folder: Path) -> None:
        self.checkpoint = folder / "checkpoint.safetensors"
        self.before = self._last_save()
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TINYCNN_OFFLINE": "1"},
        )

    def _last_save(self) -> int:
        return self.checkpoint.stat().st_mtime_ns if self.checkpoint.exists() else 0

    def wait_for_first_save(self) -> None:
        """Wait until it has saved, which it does before its first batch."""
        while self.process.poll() is None and self._last_save() == self.before:
            time.sleep(0.01)

    def finish(self, expected: int = 0) -> tuple[bool, str]:
        """Wait for the end.

        Returns
        -------
        finished : bool
            Whether training reached its end. A signal that comes after the result was
            printed, while Python shuts down, stops nothing.
        stderr : str

        Raises
        ------
        SurpriseError
            If it neither finished nor ended with the expected code.
        """
        stdout, stderr = self.process.communicate()
        finished = stdout.endswith("}\n")
        if not finished and self.process.returncode != expected:
            raise SurpriseError(f"it ended with {self.process.returncode}: {stderr}")
        return finished, stderr

    def stop(self, signum: signal.Signals, delay: float) -> tuple[bool, str]:
        """Send a signal ``delay`` seconds after the first save; return as `finish`."""
        self.wait_for_first_save()
        try:
            self.process.wait(delay)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signum)
        return self.finish(143 if signum == signal.SIGTERM else -signal.SIGKILL)


def stopped_run(
    settings: list[str], folder: Path, signum: signal.Signals, delays: list[float]
) -> int:
    """Make a run that is stopped after each of the delays and continued.

    Returns
    -------
    int
        How often it was stopped before its end.
    """
    program = TRAIN if signum == signal.SIGTERM else TRAIN_SAVING_OFTEN
    arguments = [*settings, "--out", str(folder)]
    for stops, delay in enumerate(delays):
        finished, stderr = Run(program, arguments, folder).stop(signum, delay)
        if finished:
            return stops
        arguments = ["--resume", str(folder)]
        if signum == signal.SIGTERM:
            arguments = printed_command(stderr)
    Run(program, arguments, folder).finish()
    return len(delays)


def printed_command(stderr: str) -> list[str]:
    """Return the arguments of the command that a stopped run printed."""
    command = stderr.strip().splitlines()[-1].partition("to continue: ")[2]
    words = shlex.split(command)
    if words[:3] != ["python", *TRAIN]:
        raise SurpriseError(f"it printed no command that continues: {stderr}")
    return words[3:]


def outcome(folder: Path) -> dict[str, Any]:
    """Return the SHA-256 of a run's weights, its figures without times, its files."""
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return {
        "weights": hashlib.sha256((folder / "weights.safetensors").read_bytes())
        .hexdigest(),
        "figures": [{**json.loads(line), "seconds": 0} for line in lines],
        "files": sorted(path.name for path in folder.iterdir()),
    }  # fmt: skip


def campaign(settings: list[str], folder: Path, stops: int, seed: int) -> int:
    """Make all runs, print how each compares with the first; return the exit code."""
    rng = np.random.default_rng(seed)
    reference: dict[str, Any] = {}
    total = different = 0

    def compare(name: str, place: Path) -> None:
        nonlocal different
        found = outcome(place)
        reference.update(reference or found)
        others = [what for what in found if found[what] != reference[what]]
        different += bool(others)
        print(f"{name}: {'other ' * bool(others)}{', '.join(others) or 'the same'}")
        sys.stdout.flush()

    seconds = 0.0  # of a whole run after its first save
    for threads in "12":
        place = folder / f"whole-{threads}"
        whole = [*settings, "--threads", threads, "--out", str(place)]
        run = Run(TRAIN, whole, place)
        run.wait_for_first_save()
        began = time.monotonic()
        run.finish()
        seconds = time.monotonic() - began
        compare(f"not stopped, threads: {threads}", place)
    print(f"SHA-256 {reference['weights']}")
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for number in range(stops):
            delays = rng.uniform(0, seconds, 2 if number % 3 == 0 else 1).tolist()
            threads, count, attempt = "12"[number % 2], 0, 0
            while count == 0:  # it may end before its signal; then it gets it earlier
                place = folder / f"{signum.name}-{number}-{attempt}"
                flags = [*settings, "--threads", threads]
                count = stopped_run(flags, place, signum, delays)
                delays, attempt = [delay / 2 for delay in delays], attempt + 1
            total += count
            compare(f"{signum.name} {number}, {count} stops, threads: {threads}", place)
    print(f"{total} stops, {different} different")
    return 1 if different else 0


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = Parser(
        "python -m benchmarks.interruptions", "Stop and continue runs.", json=False
    )
    add = parser.add_argument
    add("--stops", type=integer(1, 1000), default=10, metavar="N", help="by a signal")
    add("--seed", type=integer(0, 2**32), default=0, metavar="N", help="of the moments")
    add("--data", type=existing_folder, metavar="DIR", help="MNIST's four files")
    options = parser.parse_args(argv)
    settings = list(SETTINGS)
    if options.data is not None:
        settings += ["--data", str(options.data.absolute())]
    with tempfile.TemporaryDirectory() as folder:
        try:
            return campaign(settings, Path(folder), options.stops, options.seed)
        except SurpriseError as error:
            fail(error)


if __name__ == "__main__":
    run_command(main)
