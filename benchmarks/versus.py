"""How fast is tinycnn beside the frameworks? Paired rounds on the same CPU.

``python -m benchmarks.versus [--models A B default] [--what training inference]
[--batches N ...] [--peers PEER ...] [--rounds 7] [--threads N] [--data DIR]
[--worst-case] [--busy] [--ablation] [--scaling] [--json] [--profile]``

1. Every contestant that is installed (`versus_peers` lists them) computes the same
   network, loss and optimizer from the same arrays on the same real digits. Before
   anything is timed, with dropout off, their first logits must agree, and so must the
   losses of a few steps; otherwise the command ends with 1. A contestant that is not
   installed is named as skipped.
2. A *case* is a network, training or inference, and a batch size. In each case a
   contestant is a new process, which sleeps until its turn. After a warm-up, a *round*
   asks each for a burst of steps; every other round goes the other way. A contestant's
   figure of a round is the median of its burst's steps. The table shows median and
   quartiles of the rounds.
3. *Times tinycnn's* is computed in each round, from neighbours in time; the median of
   the rounds is shown. The *best peer* is the one with the least median.
4. *Of sgemm* is the arithmetic of a step, with nothing left out, by its time, as a
   share of what NumPy's product of two 2048×2048 matrices reaches in the same round on
   as many threads. Leaving out zeros, or transforming, may exceed 1.

``--worst-case`` trains also on noise, with weights that do not change (the learning
rate is 0) and biases that open nearly every ReLU: no zeros to profit from. ``--busy``
trains also with one core taken by another program, a process that spins on it.
``--ablation`` trains tinycnn also with each of its tricks left out alone
(`versus_ablation`), and as its layers are written. ``--scaling`` trains also on 1 to
all threads, with batches of 16 to 1,024, and, in batches of 64, with 1 to 4 times the
channels. Where no batch size is said here, it is the first of ``--batches``.
``--profile`` prints where a training step of ours goes (`versus_profile`), and no more.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import versus_data
from benchmarks.tables import machine, markdown, three_digits
from benchmarks.versus_ablation import tricks_for
from benchmarks.versus_networks import NETWORKS, flop, without_dropout
from benchmarks.versus_peers import OURS, PEERS, SGEMM_FLOP
from benchmarks.versus_profile import profile
from benchmarks.versus_worker import Worker, WorkerError
from tinycnn._cli import Parser, existing_folder, fail, integer, run_command
from tinycnn.data import load_mnist
from tinycnn.data.idx import DataError
from tinycnn.threads import available_cores

BATCHES = {"training": (200, 128, 64), "inference": (256, 1)}
LEARNING_RATE = 1e-3
WARM_UP = 3.0  # seconds of steps before the first round, after one that compiles
BURST = 1.0  # seconds of steps
REST = 0.25  # seconds for threads to fall asleep before the next one's turn
CHECKED = 5  # steps whose losses must agree
CHECKED_BATCH = 64
# Logits differ by rounding only. Adam's first steps are nearly the signs of the
# gradients, and where one is nearly 0, rounding decides: losses drift apart a little.
LOGITS_AGREE = 1e-4  # of the largest
LOSSES_AGREE = 1e-2
BATCHES_SCALED = 16, 64, 256, 1024
WIDTHS = 1, 2, 4
WIDTHS_BATCH = 64
HEAD = (
    *("measured", "model", "what", "batch", "contestant"),
    *("ms", "quartiles", "times tinycnn's", "of sgemm"),
)

Figures = dict[str, Any]


class Entrant(NamedTuple):
    """A contestant in a case."""

    peer: str  # a key of `OURS` or `PEERS`
    threads: int
    without: str | None = None  # the trick that is left out


class Case(NamedTuple):
    """What is timed."""

    part: str  # "speed", "worst case", "busy", "ablation", "threads", ...
    model: str  # a key of `NETWORKS`
    what: str  # "training" or "inference"
    batch: int
    width: int = 1  # times the channels of the network

    @property
    def flop(self) -> int:
        """The operations of a step, nothing left out."""
        network = NETWORKS[self.model](self.width)
        return self.batch * flop(network, training=self.what == "training")


class DisagreementError(RuntimeError):
    """Two contestants do not compute the same; their times cannot be compared."""


# --- who, and what -----------------------------------------------------------------


def found(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return which keys of `PEERS` are installed, and how to install the others."""
    here = [name for name in names if find_spec(PEERS[name].module) is not None]
    return here, {name: PEERS[name].remedy for name in names if name not in here}


def cases(
    arguments: argparse.Namespace, peers: list[str]
) -> Iterator[tuple[Case, list[Entrant]]]:
    """Yield every case with its contestants, tinycnn first."""
    threads = arguments.threads
    everyone = [Entrant(name, threads) for name in ("tinycnn", *peers)]
    for model in arguments.models:
        for what in arguments.what:
            for batch in arguments.batches or BATCHES[what]:
                yield Case("speed", model, what, batch), everyone
    first = (arguments.batches or BATCHES["training"])[0]
    for model in arguments.models if arguments.worst_case else ():
        yield Case("worst case", model, "training", first), everyone
    for model in arguments.models if arguments.busy else ():
        yield Case("busy", model, "training", first), everyone
    for model in arguments.models if arguments.ablation else ():
        tricks = tricks_for(NETWORKS[model](1))
        ours = [Entrant("tinycnn", threads, without) for without in (None, *tricks)]
        plain = Entrant("tinycnn-plain", threads)
        yield Case("ablation", model, "training", first), [*ours, plain]
    for model in arguments.models if arguments.scaling else ():
        ours = [Entrant("tinycnn", count) for count in thread_counts(threads)]
        yield Case("threads", model, "training", first), ours
        for batch in BATCHES_SCALED:
            yield Case("batches", model, "training", batch), everyone
        for width in WIDTHS:
            yield Case("width", model, "training", WIDTHS_BATCH, width), everyone


def thread_counts(most: int) -> list[int]:
    """Return 1, 2, 4 and so on, up to ``most``, which is the last."""
    powers = [2**i for i in range(most.bit_length()) if 2**i < most]
    return [*powers, most]


def label(entrant: Entrant, case: Case) -> str:
    """Return the name of an entrant in its case."""
    name = entrant.peer
    if entrant.without is not None:
        name += f" without {entrant.without}"
    if case.part == "threads":
        name += f", {entrant.threads} thread{'s' * (entrant.threads > 1)}"
    return name


# --- the contestants' processes ----------------------------------------------------


class Arena:
    """Starts contestants, with the files they need.

    Parameters
    ----------
    scratch : Path
        An empty folder.
    images : uint8 array (N, 28, 28)
    labels : uint8 array (N,)

    Attributes
    ----------
    versions : dict of str to str
        Of the contestants' libraries, as far as they were started.
    open_shares : dict of str to list of float
        Of the worst cases, by model: `benchmarks.versus_data.open_shares`.
    """

    def __init__(self, scratch: Path, images: Any, labels: Any) -> None:
        self.scratch, self.images, self.labels = scratch, images, labels
        self.versions: dict[str, str] = {}
        self.open_shares: dict[str, list[float]] = {}

    def start(self, entrant: Entrant, case: Case, *, dropout: bool = True) -> Worker:
        """Start an entrant's process and return when its network is built."""
        network = NETWORKS[case.model](case.width)
        order = {
            "peer": entrant.peer,
            "network": network if dropout else without_dropout(network),
            "training": case.what == "training",
            "batch": case.batch,
            "threads": entrant.threads,
            "learning_rate": 0.0 if case.part == "worst case" else LEARNING_RATE,
            "without": entrant.without,
            "folder": str(self.folder(case)),
        }
        environment = (OURS | PEERS)[entrant.peer].environment
        if entrant.without is not None:
            kept = self.scratch / f"compiled without {entrant.without}"
            environment = environment | {"NUMBA_CACHE_DIR": str(kept)}
        worker = Worker(label(entrant, case), order, environment)
        self.versions[entrant.peer] = worker.version
        return worker

    def folder(self, case: Case) -> Path:
        """Return the folder with a case's digits and arrays, made once."""
        worst = case.part == "worst case"
        folder = self.scratch / f"{case.model} {case.width} {'worst' * worst}"
        if not folder.exists():
            network = NETWORKS[case.model](case.width)
            shares = versus_data.write(
                folder, network, self.images, self.labels, worst=worst
            )
            if worst:
                self.open_shares[case.model] = shares
        return folder


def check(arena: Arena, model: str, entrants: Sequence[Entrant]) -> None:
    """Compare every entrant with the first, with dropout off: see `compare`."""
    case = Case("check", model, "training", CHECKED_BATCH)
    answers = {}
    for entrant in entrants:
        with closing(arena.start(entrant, case, dropout=False)) as worker:
            answers[label(entrant, case)] = worker.check(CHECKED)
    compare(model, answers)


def compare(model: str, answers: dict[str, Figures]) -> None:
    """Raise `DisagreementError` if an answer to a check is far from the first."""
    ours, *_ = answers.values()
    for name, answer in answers.items():
        for what, most in (("logits", LOGITS_AGREE), ("losses", LOSSES_AGREE)):
            one, other = np.array(answer[what]), np.array(ours[what])
            apart = float(np.abs(one - other).max() / np.abs(other).max())
            if not apart <= most:  # rejects NaN, too
                raise DisagreementError(
                    f"{name} and tinycnn disagree on model {model}: their {what} differ"
                    f" by {apart:.2g} of the largest, and {most:g} is allowed; their"
                    " times cannot be compared"
                )


def measure(
    arena: Arena, case: Case, entrants: Sequence[Entrant], rounds: int
) -> Figures:
    """Run the rounds of a case, and `summarise`; WorkerError if a contestant dies."""
    yardsticks = [
        Entrant("sgemm", count) for count in sorted({one.threads for one in entrants})
    ]
    replies: dict[Entrant, list[list[float]]] = {}
    with ExitStack() as stack:
        if case.part == "busy":
            stack.enter_context(a_busy_core())
        workers = {}
        for entrant in (*entrants, *yardsticks):
            workers[entrant] = stack.enter_context(closing(arena.start(entrant, case)))
            replies[entrant] = []
        for worker in workers.values():
            worker.burst(WARM_UP)
        for number in range(rounds):
            turns = list(workers.items())
            for entrant, worker in turns if number % 2 == 0 else reversed(turns):
                time.sleep(REST)
                replies[entrant].append(worker.burst(BURST))
    return summarise(case, replies)


def profiles(arena: Arena, arguments: argparse.Namespace) -> Iterator[str]:
    """Yield a profile of our training for each model, beside sgemm a moment before."""
    size = (arguments.batches or BATCHES["training"])[0]
    images, labels = versus_data.as_input(arena.images[:size]), arena.labels[:size]
    for model in arguments.models:
        case = Case("profile", model, "training", size)
        with closing(arena.start(Entrant("sgemm", arguments.threads), case)) as worker:
            gflops = SGEMM_FLOP / statistics.median(worker.burst(BURST)) / 1e6
        network = NETWORKS[model](1)
        yield f"{model}, {size} images, sgemm {gflops:.0f} GFLOP/s"
        yield profile(network, images, labels, arguments.threads, gflops)


@contextmanager
def a_busy_core() -> Iterator[int]:
    """Let a process spin on one core, the last; yield its number. Linux only."""
    code = "import os\nos.sched_setaffinity(0, {max(os.sched_getaffinity(0))})\n"
    code += f"while os.getppid() == {os.getpid()}: pass"  # also if this one is killed
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


# --- figures -----------------------------------------------------------------------


def summarise(case: Case, replies: dict[Entrant, list[list[float]]]) -> Figures:
    """Return the figures of a case.

    ``replies`` are the milliseconds of every step of a burst, from each round; tinycnn
    first, yardsticks too. Returned are the case, ``best_peer`` and
    ``ratio_to_best_peer`` (None without a peer), and by name the ``contestants``:
    ``ms`` (median, quartiles and rounds), ``times_tinycnn`` and ``of_sgemm``. Sgemm has
    ``gflops`` instead of the two.
    """
    rounds = {
        entrant: np.array([statistics.median(burst) for burst in bursts])
        for entrant, bursts in replies.items()
    }
    reference = next(iter(rounds.values()))
    contestants: Figures = {}
    for entrant, took in rounds.items():
        figures: Figures = {"threads": entrant.threads, "ms": spread(took)}
        if entrant.peer == "sgemm":
            figures["gflops"] = spread(SGEMM_FLOP / took / 1e6)
        else:
            yardstick = rounds[Entrant("sgemm", entrant.threads)]
            figures["times_tinycnn"] = float(np.median(took / reference))
            figures["of_sgemm"] = float(
                np.median((case.flop / took) / (SGEMM_FLOP / yardstick))
            )
        contestants[label(entrant, case)] = figures
    peers = {e.peer: np.median(rounds[e]) for e in rounds if e.peer in PEERS}
    best = min(peers, key=lambda name: peers[name], default=None)
    return case._asdict() | {
        "mflop": case.flop / 1e6,
        "best_peer": best,
        "ratio_to_best_peer": contestants[best]["times_tinycnn"] if best else None,
        "contestants": contestants,
    }


def spread(values: Any) -> Figures:
    """Return median, quartiles and the values themselves."""
    q1, median, q3 = map(float, np.quantile(values, (0.25, 0.5, 0.75)))
    return {"median": median, "q1": q1, "q3": q3, "rounds": [float(v) for v in values]}


# --- what is printed ---------------------------------------------------------------


def report(results: Figures) -> str:
    """Return what ``--json`` prints as Markdown: a table, and what is to be said."""
    about = results["machine"]
    versions = ", ".join(dict.fromkeys(results["versions"].values()))
    circumstances = (
        f"{about['processor']}, {about['cores']} cores; threads: {results['threads']};"
        f" Python {about['python']}; {versions}."
        f" Medians of {results['rounds']} paired rounds; digits: {results['data']}."
        " Bold is the best peer."
    )
    rows = [row for case in results["cases"] for row in table_rows(case)]
    parts = [circumstances, markdown(HEAD, rows)]
    parts += [
        f"In the worst case of {model}, its ReLUs let pass"
        f" {', '.join(f'{share:.1%}' for share in shares)}."
        for model, shares in results["open_shares"].items()
    ]
    parts += [f"Skipped: {name} ({how})." for name, how in results["skipped"].items()]
    return "\n\n".join(parts)


def table_rows(case: Figures) -> list[list[str]]:
    """Return a row for each contestant of a case."""
    measured = case["part"] if case["width"] == 1 else f"width {case['width']}×"
    rows = []
    for name, figures in case["contestants"].items():
        took = figures["ms"]
        bold = "**" * (name == case["best_peer"])
        if "gflops" in figures:
            ratios = ["", f"{figures['gflops']['median']:.0f} GFLOP/s"]
        else:
            ratio = f"{figures['times_tinycnn']:.2f}"
            ratios = [f"{bold}{ratio}{bold}", f"{figures['of_sgemm']:.2f}"]
        quartiles = f"{three_digits(took['q1'])} to {three_digits(took['q3'])}"
        case_cells = measured, case["model"], case["what"], str(case["batch"])
        median = three_digits(took["median"])
        rows.append([*case_cells, f"{bold}{name}{bold}", median, quartiles, *ratios])
    return rows


# --- the command -------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    arguments = _parser().parse_args(argv)
    peers, skipped = found(arguments.peers)
    for name, how in skipped.items():
        print(f"skipped: {name} ({how})", file=sys.stderr)
    try:
        data = load_mnist(arguments.data)
    except DataError as error:
        fail(error)
    results: Figures = {
        "machine": machine(),
        "data": data.source,
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "skipped": skipped,
        "cases": [],
    }
    planned = list(cases(arguments, peers))
    with tempfile.TemporaryDirectory() as scratch:
        arena = Arena(Path(scratch), data.train_images, data.train_labels)
        # The same objects: they fill while the contestants run.
        results["versions"], results["open_shares"] = arena.versions, arena.open_shares
        if arguments.profile:
            print(*profiles(arena, arguments), sep="\n\n")
            return 0
        try:
            for model in arguments.models:
                entrants = [
                    one for case, those in planned if case.model == model
                    for one in those if one.threads == arguments.threads
                ]  # fmt: skip
                checked = list(dict.fromkeys(entrants))
                check(arena, model, checked)
                print(f"{model}: {len(checked)} compute the same", file=sys.stderr)
            for case, entrants in planned:
                figures = measure(arena, case, entrants, arguments.rounds)
                results["cases"].append(figures)
                for row in table_rows(figures):
                    print(*row, file=sys.stderr)
        except WorkerError as error:
            fail(f"{error}; make it run, or leave it out with --peers")
        except DisagreementError as error:
            fail(error)
    print(json.dumps(results) if arguments.json else report(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "python -m benchmarks.versus", "Time tinycnn beside other libraries."
    )
    add = parser.add_argument
    models, whats, all_peers = list(NETWORKS), list(BATCHES), list(PEERS)
    add("--models", nargs="+", choices=models, default=models, help="default: all")
    add("--what", nargs="+", choices=whats, default=whats, help="default: both")
    usual = "default: 200 128 64 in training, 256 1 in inference"
    add("--batches", nargs="+", type=integer(1, 4096), metavar="N", help=usual)
    add(
        "--peers",
        nargs="+",
        choices=all_peers,
        default=all_peers,
        help="default: all that are installed",
    )
    add("--rounds", type=integer(1, 1000), default=7, metavar="N", help="default: 7")
    cores = available_cores()
    some = f"of every contestant; default: {cores}, one a core"
    add("--threads", type=integer(1, cores), default=cores, metavar="N", help=some)
    add("--data", type=existing_folder, metavar="DIR", help="MNIST's four files")
    add("--worst-case", action="store_true", help="also with nothing to skip")
    add("--busy", action="store_true", help="also with one core taken by a program")
    add("--ablation", action="store_true", help="also without each of our tricks")
    add("--profile", action="store_true", help="only where our training step goes")
    add("--scaling", action="store_true", help="also by threads, batch and width")
    return parser


if __name__ == "__main__":
    run_command(main)
