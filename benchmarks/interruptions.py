"""Stop training again and again, and see that it always ends in the same bytes.

``python -m benchmarks.interruptions [--stops 10] [--seed 0] [--data DIR]``

1. A short run of the ``default`` preset, which has dropout and augmentation, is made
   without a stop: the reference.
2. The same settings with one thread and with two, twice each.
3. As many runs as ``--stops`` says are stopped with SIGTERM at a random moment after
   the first checkpoint and continued with the command that they printed.
4. As many are killed with SIGKILL, which no program can catch, and continued with
   ``--resume``. Every other one saves a checkpoint every 0.2 seconds instead of every
   minute, so that kills also fall within an epoch and into saving.

Every third run is stopped a second time after it was continued. Each must end with the
SHA-256 of the reference's weights.safetensors and with the figures of its
metrics.jsonl. Exit 1 on any difference.

Without ``--data``, or with no network, the bundled sample is used. This file knows
processes, signals and the files of a run. It does not know how any of them is made.
POSIX only.
"""

import argparse
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

import numpy as np

LIMIT, EPOCHS = 2000, 4
TRAIN = ["-m", "tinycnn.train"]
OFTEN = """
from tinycnn import train
train.SECONDS_BETWEEN_CHECKPOINTS = 0.2
train.run_command(train.main)
"""
TRAIN_SAVING_OFTEN = ["-c", OFTEN]


class SurpriseError(Exception):
    """A run did something else than it should."""


class Process:
    """A training command at work on a run's folder."""

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

    def end(self) -> tuple[int, str]:
        """Wait until it has ended; return its exit code and its stderr.

        The code is 0 whenever it has told its result: a signal that comes after that,
        while Python shuts down, stops nothing.
        """
        stdout, stderr = self.process.communicate()
        return 0 if stdout.endswith("}\n") else self.process.returncode, stderr

    def stop(self, signum: signal.Signals, delay: float) -> tuple[bool, str]:
        """Send a signal ``delay`` seconds after the first save.

        Returns
        -------
        stopped : bool
            False if the run had ended before.
        stderr : str
        """
        self.wait_for_first_save()
        try:
            self.process.wait(delay)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signum)
        code, stderr = self.end()
        expected = 143 if signum == signal.SIGTERM else -signal.SIGKILL
        if code not in (0, expected):
            raise SurpriseError(f"{signum.name} ended it with {code}: {stderr}")
        return code == expected, stderr


def finish(program: list[str], arguments: list[str], folder: Path) -> None:
    """Let a run go to its end."""
    code, stderr = Process(program, arguments, folder).end()
    if code != 0:
        raise SurpriseError(f"it ended with {code}: {stderr}")


def outcome(folder: Path) -> tuple[str, list[dict[str, float]]]:
    """Return the SHA-256 of a run's weights and its figures, without times."""
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    figures = [{**json.loads(line), "seconds": 0} for line in lines]
    return digest, figures


def command_in(stderr: str) -> list[str]:
    """Return the arguments of the command that a stopped run printed."""
    command = stderr.strip().splitlines()[-1].partition("to continue: ")[2]
    words = shlex.split(command)
    if words[:3] != ["python", *TRAIN]:
        raise SurpriseError(f"it printed no command that continues: {stderr}")
    return words[3:]


def interrupted(
    settings: list[str],
    folder: Path,
    signum: signal.Signals,
    delays: list[float],
    program: list[str],
) -> tuple[int, int]:
    """Make a run that is stopped after each of the delays and continued.

    Returns
    -------
    stops, batches : int, int
        How often it was stopped before its end, and how many batches the checkpoint
        had after the first stop.
    """
    arguments, stops, batches = [*settings, "--out", str(folder)], 0, 0
    for delay in delays:
        process = Process(program, arguments, folder)
        stopped, stderr = process.stop(signum, delay)
        if not stopped:
            return stops, batches
        stops += 1
        batches = batches or steps_in(folder)
        arguments = ["--resume", str(folder)]
        if signum == signal.SIGTERM:
            arguments = command_in(stderr)
    finish(program, arguments, folder)
    return stops, batches


def steps_in(folder: Path) -> int:
    """Return how many batches the checkpoint of a run has learned from."""
    with (folder / "checkpoint.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return int(header["__metadata__"]["optimizer_steps"])


class Campaign:
    """The reference, and what differed from it."""

    def __init__(self, settings: list[str], folder: Path) -> None:
        self.settings, self.folder = settings, folder
        whole = folder / "reference"
        process = Process(TRAIN, [*settings, "--out", str(whole)], whole)
        process.wait_for_first_save()
        began = time.monotonic()
        code, stderr = process.end()
        if code != 0:
            raise SurpriseError(f"the reference ended with {code}: {stderr}")
        self.seconds = time.monotonic() - began
        self.reference = outcome(whole)
        self.runs = self.stops = self.different = 0

    def judge(self, name: str, folder: Path) -> None:
        """Print how a finished run compares with the reference."""
        weights, figures = outcome(folder)
        trouble = []
        if weights != self.reference[0]:
            trouble.append(f"other weights, {weights[:16]}")
        if figures != self.reference[1]:
            trouble.append("other figures in metrics.jsonl")
        self.runs += 1
        self.different += bool(trouble)
        print(f"{name}: {' and '.join(trouble) or 'the same'}", flush=True)

    def threads(self, number: int, threads: int) -> None:
        """Make a run with so many threads."""
        folder = self.folder / f"threads-{threads}-{number}"
        arguments = [*self.settings, "--threads", str(threads), "--out", str(folder)]
        finish(TRAIN, arguments, folder)
        self.judge(f"{threads} threads, run {number}", folder)

    def stop(
        self, number: int, signum: signal.Signals, rng: np.random.Generator
    ) -> None:
        """Make a run that is stopped at least once."""
        often = signum == signal.SIGKILL and number % 2 == 1
        delays = [rng.uniform(0, self.seconds)]
        if number % 3 == 0:
            delays.append(rng.uniform(0, self.seconds / 2))
        stops = attempt = 0
        while not stops:  # it may end before its signal, then it gets it earlier
            attempt += 1
            folder = self.folder / f"{signum.name}-{number}-{attempt}"
            stops, batches = interrupted(
                self.settings,
                folder,
                signum,
                delays,
                TRAIN_SAVING_OFTEN if often else TRAIN,
            )
            delays[0] /= 2
        self.stops += stops
        times = "once" if stops == 1 else "twice"
        name = f"{signum.name} {number}, {times}, first continued after batch {batches}"
        self.judge(name, folder)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Stop training and continue it.")
    parser.add_argument("--stops", type=int, default=10, help="runs for each signal")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--data", help="the folder of MNIST's four files")
    options = parser.parse_args()
    settings = ["--limit", str(LIMIT), "--epochs", str(EPOCHS), "--seed", "1"]
    if options.data is not None:
        settings += ["--data", str(Path(options.data).absolute())]
    rng = np.random.default_rng(options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(settings, Path(folder))
        total = steps_in(Path(folder) / "reference")
        print(
            f"reference: {total} batches in {campaign.seconds:.1f} s after the first"
            f" checkpoint, SHA-256 {campaign.reference[0]}",
            flush=True,
        )
        for number in (1, 2):
            for threads in (1, 2):
                campaign.threads(number, threads)
        for signum in (signal.SIGTERM, signal.SIGKILL):
            for number in range(options.stops):
                campaign.stop(number, signum, rng)
    print(
        f"{campaign.runs} runs, {campaign.stops} stops, {campaign.different} different,"
        f" {time.monotonic() - began:.0f} s"
    )
    return 1 if campaign.different else 0


if __name__ == "__main__":
    sys.exit(main())
