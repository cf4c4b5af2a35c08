"""How good do the presets get? Each is trained with several seeds, by one protocol.

``python -m benchmarks.accuracy FOLDER [--preset NAME ...] [--seeds N] [--data DIR]``
or the same behind ``mpiexec -n P``

Every run is the command ``python -m tinycnn.train --preset NAME --seed S``, nothing
else, in a process of its own. It learns from MNIST's first 55,000 training images and
keeps the epoch that is best on the last 5,000; on these alone every recipe was chosen.
The test images are read once, at the end of a finished run, and no choice looks at
them. No seed is left out.

FOLDER keeps the runs and ``runs.jsonl``, a line for every finished run. The same
command again continues where it was stopped: finished runs stay, an interrupted one is
resumed. After a change of a recipe, name another folder. With ``mpiexec``, the runs are
dealt out to its processes, on all their machines; without, they are made one by one.
At the end there is a table of all that FOLDER holds on stdout:

* mean, standard deviation (of the sample: divided by the number of seeds less one),
  least and greatest of the test accuracies, in %; and the mean on validation;
* *seconds* is the mean wall time of the whole command, an interrupted one's sittings
  added up. To leave the first compilation out, train once before;
* *at 175 GFLOP/s* is what they would come to if a product of two float32 matrices ran
  at that pace, which is the whole of the two cores of a Zen 3 server processor. The
  product is timed, with all threads, right before and right after the run; a run that
  was interrupted, in its last sitting.

MNIST's test images are taken as they are. About fifteen of their labels are wrong
according to human annotators (Northcutt, Athalye and Mueller 2021, table 1): a network
that is right about digits loses about 0.15 points to them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from benchmarks.tables import markdown
from tinycnn._cli import Parser, existing_folder, fail, integer, report, run_command
from tinycnn.cluster import ALONE, on_all
from tinycnn.nn.weights import read_facts
from tinycnn.train import PRESETS, launched

SEEDS = {"best": 3}  # of the others, 5
PACE = 175.0  # GFLOP/s
SIDE = 2048  # of the two matrices
COLUMNS = (
    *("preset", "parameters", "epochs", "seeds", "mean", "sd", "min", "max"),
    *("validation", "seconds", f"at {PACE:.0f} GFLOP/s"),
)


def main(argv: list[str] | None = None) -> int:
    """Make the runs that are missing, and print the table of all."""
    arguments = _parser().parse_args(argv)
    rank = launched()
    if rank is not None:
        return on_all(rank, partial(make_runs, arguments))
    return make_runs(arguments, ALONE)


def make_runs(arguments: argparse.Namespace, comm: Any) -> int:
    """Make those that are missing, dealt out to the processes of ``comm``."""
    record = arguments.folder / "runs.jsonl"
    try:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        made = {(run["preset"], run["seed"]) for run in read_record(record)}
        jobs = [
            (arguments.folder, preset, seed, arguments.data)
            for preset in arguments.preset or PRESETS
            for seed in range(arguments.seeds or SEEDS.get(preset, 5))
            if (preset, seed) not in made
        ]
        comm.allgather(None)  # all have seen what is to be done
        failed = 0
        for job in jobs[comm.rank :: comm.size]:
            try:
                line = json.dumps(one_run(job)) + "\n"
            except ValueError as error:
                failed = report(error)
                continue
            with record.open("a", encoding="utf-8") as lines:
                lines.write(line)
        failed = max(comm.allgather(failed))
        print(table(read_record(record)))
    except (OSError, ValueError) as error:
        fail(error)
    return failed


def read_record(path: Path) -> list[dict[str, Any]]:
    """Return the finished runs; a damaged line is a ValueError."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def one_run(job: tuple[Path, str, int, Path | None]) -> dict[str, Any]:
    """Train to the end, from the start or from where an earlier sitting left off.

    Parameters
    ----------
    job : (Path, str, int, Path or None)
        FOLDER, preset, seed and the folder of MNIST.

    Returns
    -------
    dict
        The last line of ``tinycnn.train --json``, with ``best_epoch``, ``parameters``
        and ``gflops`` (of the two products, the mean).

    Raises
    ------
    ValueError
        If training failed, or had other data than MNIST.
    """
    folder, preset, seed, data = job
    run = folder / f"{preset}_{seed}"
    command = [sys.executable, "-m", "tinycnn.train", "--json"]
    if (run / "checkpoint.safetensors").exists():
        command += ["--resume", str(run)]
    else:
        command += ["--preset", preset, "--seed", str(seed), "--out", str(run)]
    if data is not None:
        command += ["--data", str(data)]
    print(f"{preset}, seed {seed}", file=sys.stderr)
    before = gflops()
    # The command is no process of mpiexec's.
    own = {name: v for name, v in os.environ.items() if not name.endswith("_RANK")}
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=own)
    if process.returncode != 0:
        raise ValueError(
            f"{preset} with seed {seed} ended with exit code {process.returncode}; the "
            "same command goes on from there"
        )
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    if result["test_images"] != 10_000:
        raise ValueError(
            f"{result['data']} is not MNIST; name another FOLDER, and with --data the "
            "place of MNIST"
        )
    # A path would tie the record to this machine.
    del result["weights"]
    arrays = load_file(run / "weights.safetensors")
    learned = [a.size for name, a in arrays.items() if "running" not in name]
    return result | {
        "best_epoch": read_facts(run / "weights.safetensors")["best_epoch"],
        "parameters": sum(learned),
        "gflops": round((before + gflops()) / 2, 1),
    }


def gflops() -> float:
    """Return the pace of a product of two float32 matrices, the best of five."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, SIDE, SIDE), np.float32)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        _ = a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * SIDE**3 / min(seconds) / 1e9


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return the runs as a table, a line a preset, in the order of the presets."""
    found = {name: [run for run in runs if run["preset"] == name] for name in PRESETS}
    rows = [
        _cells(preset, of_preset) for preset, of_preset in found.items() if of_preset
    ]
    return markdown(COLUMNS, rows)


def _cells(preset: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    """Return the cells of a line."""
    test = [100 * run["test_accuracy"] for run in runs]
    scaled = [run["seconds"] * run["gflops"] / PACE for run in runs]
    return [
        preset,
        f"{runs[0]['parameters']:,}",
        str(runs[0]["epochs"]),
        str(len(runs)),
        f"{statistics.mean(test):.3f}",
        f"{statistics.stdev(test):.3f}" if len(test) > 1 else "",
        f"{min(test):.2f}",
        f"{max(test):.2f}",
        f"{100 * statistics.mean(run['val_accuracy'] for run in runs):.3f}",
        f"{statistics.mean(run['seconds'] for run in runs):.0f}",
        f"{statistics.mean(scaled):.0f}",
    ]


def _parser() -> argparse.ArgumentParser:
    about = "Train the presets with several seeds and tell how good they get."
    parser = Parser("python -m benchmarks.accuracy", about, json=False)
    add, every = parser.add_argument, list(PRESETS)
    add("folder", type=Path, metavar="FOLDER", help="keeps all runs")
    add("--preset", nargs="+", choices=every, metavar="NAME", help="default: all")
    seeds = "seeds 0 to N - 1; default: 5, of best 3"
    add("--seeds", type=integer(1, 100), metavar="N", help=seeds)
    add("--data", type=existing_folder, metavar="DIR", help="MNIST's four files")
    return parser


if __name__ == "__main__":
    run_command(main)
