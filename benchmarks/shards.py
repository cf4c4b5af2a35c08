"""What ``--shards`` promises, and what it costs.

``python -m benchmarks.shards FOLDER --what accuracy|bits|kills|speed [--data DIR]``

accuracy
    ``default`` learns from the first 35,000 training images of MNIST (of which training
    keeps the last twelfth for validation) and is judged on the last 25,000: with
    ``--shards 1`` and its own batch of 64, and with ``--shards 8`` and a batch of 512
    at several learning rates. The rate is chosen by the mean accuracy on validation;
    the table shows what the 25,000 say of every one.
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
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.tables import markdown
from tinycnn._cli import Parser, existing_folder, integer, run_command

RATES = 8e-3, 1.6e-2, 3.2e-2
LEARN, JUDGE, SEEDS = 35_000, 25_000, 3


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = Parser("python -m benchmarks.shards", "Measure --shards.", json=False)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="keeps all runs")
    add("--what", choices=sorted(PARTS), required=True, help="what to measure")
    add("--data", type=existing_folder, metavar="DIR", help="MNIST's four files")
    add("--threads", type=integer(1, 256), default=1, metavar="N", help="of accuracy")
    arguments = parser.parse_args(argv)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    return PARTS[arguments.what](arguments)


def train(folder: Path, *flags: str, processes: int = 0) -> dict[str, Any]:
    """Train to the end, with mpiexec if there are processes; return the result."""
    command = ["mpiexec", "-n", str(processes)] if processes else []
    command += [sys.executable, "-m", "tinycnn.train", "--json", *flags]
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
    settings = {"1 shard of 64": []}
    for rate in RATES:
        name = f"8 shards of 64, rate {rate:g}"
        settings[name] = ["--shards=8", "--batch-size=512", f"--lr={rate:g}"]
    for seed in range(SEEDS):
        for name, flags in settings.items():
            run = f"{name}, seed {seed}"
            if run not in done:
                common = [f"--seed={seed}", f"--threads={arguments.threads}"]
                folder = arguments.folder / run.replace(" ", "_").replace(",", "")
                result = train(folder, *flags, *common, "--data", str(data))
                done[run] = {"name": run} | result
                with record.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(done[run]) + "\n")
    rows = []
    for name in settings:
        runs = [run for key, run in done.items() if key.startswith(f"{name},")]
        both = ([100 * run[f"{of}_accuracy"] for run in runs] for of in ("val", "test"))
        means = [f"{statistics.mean(one):.3f}" for one in both]
        each = ", ".join(f"{100 * run['test_accuracy']:.2f}" for run in runs)
        rows.append([name, *means, each])
    print(markdown(("", "validation", f"the last {JUDGE:,}", "each"), rows))
    return 0


PARTS = {"accuracy": accuracy}


if __name__ == "__main__":
    run_command(main)
