"""What ``--shards`` promises, and what it costs.

``python -m benchmarks.shards FOLDER --what accuracy|bits|kills|speed [--data DIR]``

accuracy
    ``default`` learns from the first 35,000 training images of MNIST (of which training
    keeps the last twelfth for validation) and is judged on the last 25,000: with
    ``--shards 1`` and its own batch of 64, and with ``--shards 8`` and a batch of 512
    at several learning rates. Of these the best on validation with the first seed is
    used with the others.
bits
    The SHA-256 of the weights file for ``mpiexec -n`` 1, 2, 3, 4 and 8, and without it.
kills
    Ten runs, in which a random process is killed at a random moment and which another
    number of processes continues, and the SHA-256 of their weights files; and how long
    the other processes lived.
speed
    Images a second of one process and of two, with one thread each, in turn; and the
    share of the time of two that goes into the exchange.

FOLDER keeps the runs. ``bits`` and ``kills`` are of ``default`` on the sample and of
``classic`` with ``--limit 4000``, few epochs each, and exit with 1 on any difference.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.interruptions import OFTEN, outcome
from benchmarks.tables import markdown
from tinycnn._cli import Parser, existing_folder, integer, run_command

RATES = 8e-3, 1.6e-2, 3.2e-2
LEARN, JUDGE, SEEDS = 35_000, 25_000, 3
ROUNDS = 5
RUNS = {
    "default": ["--preset=default", "--epochs=2", "--shards=8"],
    "classic": ["--preset=classic", "--epochs=2", "--shards=8", "--limit=4000"],
}
# Training that adds to its result the share of its steps' time, but of the first, that
# goes into the exchange of gradients, waiting for the other process included.
TIMED = (
    "-c",
    """
import json, time
from tinycnn import cluster, train
from tinycnn.cluster import ShardedTrainer
spent = {"step": [], "sum": [], "shard": []}

def timed(name, function):
    def call(*arguments):
        began = time.perf_counter()
        result = function(*arguments)
        spent[name].append(time.perf_counter() - began)
        if name == "step" and len(spent[name]) == 1:
            for times in spent.values():
                times.clear()
            spent[name].append(0)
        return result
    return call

cluster.summed = timed("sum", cluster.summed)
ShardedTrainer._shard = timed("shard", ShardedTrainer._shard)
ShardedTrainer._step = timed("step", ShardedTrainer._step)
dumps = json.dumps
def with_share(value, **options):
    if isinstance(value, dict) and "images_per_second" in value:
        step, total, shard = (sum(times) for times in spent.values())
        value = value | {"exchange": (total - shard) / step}
    return dumps(value, **options)
json.dumps = with_share
train.run_command(train.main)
""",
)


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = Parser("python -m benchmarks.shards", "Measure --shards.", json=False)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="keeps all runs")
    add("--what", choices=sorted(PARTS), required=True, help="what to measure")
    add("--data", type=existing_folder, metavar="DIR", help="MNIST's four files")
    add("--seed", type=integer(0, 2**32), default=0, metavar="N", help="of kills")
    add("--threads", type=integer(1, 256), default=1, metavar="N", help="of accuracy")
    arguments = parser.parse_args(argv)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    return PARTS[arguments.what](arguments)


def train(
    folder: Path,
    *flags: str,
    processes: int = 0,
    program: tuple[str, str] = ("-m", "tinycnn.train"),
) -> dict[str, Any]:
    """Train to the end, with mpiexec if there are processes; return the result."""
    command = ["mpiexec", "-n", str(processes)] if processes else []
    command += [sys.executable, *program, "--json", *flags]
    where = "--resume" if (folder / "checkpoint.safetensors").exists() else "--out"
    ended = subprocess.run(
        [*command, where, str(folder)], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(ended.stdout.splitlines()[-1])


def accuracy(arguments: argparse.Namespace) -> int:
    """Compare one shard with eight, at several learning rates."""
    from tinycnn.data import load_mnist, write_idx

    data, record = arguments.folder / "data", arguments.folder / "results.jsonl"
    if not data.exists():
        digits = load_mnist(arguments.data)
        images, labels = digits.train_images, digits.train_labels
        data.mkdir()
        for name, part in (("train", slice(LEARN)), ("t10k", slice(-JUDGE, None))):
            write_idx(data / f"{name}-images-idx3-ubyte", images[part])
            write_idx(data / f"{name}-labels-idx1-ubyte", labels[part])
    lines = record.read_text("utf-8").splitlines() if record.exists() else []
    done = {line["name"]: line for line in map(json.loads, lines)}
    settings: dict[str, list[str]] = {"1 shard of 64": []}
    for rate in RATES:
        name = f"8 shards of 64, rate {rate:g}"
        settings[name] = ["--shards=8", "--batch-size=512", f"--lr={rate:g}"]
    compared = list(settings)
    for seed in range(SEEDS):
        for name in compared:
            run = f"{name}, seed {seed}"
            if run not in done:
                common = [f"--seed={seed}", f"--threads={arguments.threads}"]
                folder = arguments.folder / run.replace(" ", "_").replace(",", "")
                result = train(folder, *settings[name], *common, "--data", str(data))
                done[run] = {"name": run} | result
                with record.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(done[run]) + "\n")
        first, *rates = settings
        best = max(rates, key=lambda name: done[f"{name}, seed 0"]["val_accuracy"])
        compared = [first, best]
    rows = []
    for name in settings:
        runs = [run for key, run in done.items() if key.startswith(f"{name},")]
        both = ([100 * run[f"{of}_accuracy"] for run in runs] for of in ("val", "test"))
        means = [f"{statistics.mean(one):.3f}" for one in both]
        each = ", ".join(f"{100 * run['test_accuracy']:.2f}" for run in runs)
        rows.append([name, *means, each])
    print(markdown(("", "validation", f"the last {JUDGE:,}", "each"), rows))
    return 0


def bits(arguments: argparse.Namespace) -> int:
    """Compare the weights files of different numbers of processes."""
    different = 0
    for name, flags in RUNS.items():
        found = {}
        for processes in (0, 1, 2, 3, 4, 8):
            folder = arguments.folder / f"{name}_{processes}"
            train(folder, *flags, *_data(arguments), processes=processes)
            found[processes] = outcome(folder)
            print(name, processes, found[processes]["weights"], flush=True)
        different += sum(one != found[0] for one in found.values())
    return min(different, 1)


def kills(arguments: argparse.Namespace) -> int:
    """Kill one process of ten runs; let another number of processes go on."""
    rng, different, lived = np.random.default_rng(arguments.seed), 0, []
    flags = [*RUNS["default"], *_data(arguments)]
    whole = arguments.folder / "whole"
    seconds = train(whole, *flags, processes=2)["seconds"]
    number = 0
    while len(lived) < 10:
        number, folder = number + 1, arguments.folder / f"killed_{number}"
        first = int(rng.integers(2, 5))
        then = int(rng.choice([n for n in (1, 2, 3, 4) if n != first]))
        command = ["mpiexec", "-n", str(first), sys.executable, "-c", OFTEN]
        run = subprocess.Popen(
            [*command, *flags, "--out", str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not (folder / "checkpoint.safetensors").exists():
            time.sleep(0.05)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(float(rng.uniform(0, 0.5 * seconds)))
        ranks = _processes(folder)
        if not ranks:  # it ended before
            seconds /= 2
            continue
        os.kill(int(rng.choice(ranks)), signal.SIGKILL)
        began = time.monotonic()
        while _processes(folder):
            time.sleep(0.02)
        lived.append(time.monotonic() - began)
        run.wait()
        train(folder, processes=then)
        same = outcome(folder) == outcome(whole)
        different += not same
        print(
            f"{first} processes, {len(ranks)} alive when one was killed, the "
            f"others gone after {lived[-1]:.1f} s; {then} went on: "
            f"{'the same' if same else 'DIFFERENT'}",
            flush=True,
        )
    print(f"{different} different; gone after at most {max(lived):.1f} s")
    return min(different, 1)


def _processes(folder: Path) -> list[int]:
    """Return the processes of Python that train in a folder (Linux)."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            argv = (place / "cmdline").read_bytes().decode().split("\0")
            if argv[0] == sys.executable and str(folder) in argv:
                found.append(int(place.name))
    return found


def speed(arguments: argparse.Namespace) -> int:
    """Compare one process with two, each with one thread."""
    rows = []
    for preset, batch in (("default", 64), ("default", 512), ("classic", 200)):
        flags = [f"--preset={preset}", f"--batch-size={batch}", "--shards=8"]
        flags += ["--threads=1", "--epochs=1", "--limit=8000", *_data(arguments)]
        found: dict[int, list[float]] = {1: [], 2: []}
        shares = []
        for number in range(ROUNDS):
            for processes, rates in found.items():
                folder = arguments.folder / f"{preset}_{batch}_{processes}_{number}"
                result = train(folder, *flags, processes=processes, program=TIMED)
                rates.append(result["images_per_second"])
            shares.append(result["exchange"])
        one, two = (statistics.median(rates) for rates in found.values())
        ratio = statistics.median(b / a for a, b in zip(*found.values(), strict=True))
        share = f"{statistics.median(shares):.0%}"
        rows.append(
            [f"{preset}, {batch}", f"{one:,.0f}", f"{two:,.0f}", f"{ratio:.2f}", share]
        )
    print(markdown(("", "one process", "two", "ratio", "exchange"), rows))
    return 0


def _data(arguments: argparse.Namespace) -> list[str]:
    return ["--data", str(arguments.data)] if arguments.data else []


PARTS = {"accuracy": accuracy, "bits": bits, "kills": kills, "speed": speed}


if __name__ == "__main__":
    run_command(main)
