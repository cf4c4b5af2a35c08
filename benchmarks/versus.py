"""How fast is tinycnn beside the frameworks? Paired rounds on the same CPU.

``python -m benchmarks.versus [--models A B default] [--what training inference]
[--batches N ...] [--peers PEER ...] [--rounds 7] [--threads N] [--data DIR]
[--out FILE.json] [--worst-case] [--ablation] [--scaling]``

1. Every contestant that is installed (`versus_peers` says which there are) computes the
   same network, loss and optimizer from the same arrays on the same real digits. Before
   anything is timed, with dropout off, their first logits must agree, and so must the
   losses of a few steps; otherwise the command ends with 1. A contestant that is not
   installed is named as skipped.
2. A *case* is a network, training or inference, and a batch size. In each case a
   contestant is a new process, which sleeps until its turn (one that does not is named
   below the table). After a warm-up, a *round* asks each for a burst of steps; every
   other round goes the other way. A contestant's figure of a round is the median of
   its burst's steps. The table shows median and quartiles of the rounds.
3. *Times tinycnn's* is computed in each round, from neighbours in time; the median of
   the rounds is shown. The *best peer* is the one with the least median.
4. *Of sgemm* is the arithmetic of a step, with nothing left out, by its time, as a
   share of what NumPy's product of two 2048×2048 matrices reaches in the same round on
   as many threads. Who leaves out zeros, or transforms, may exceed 1.
5. *Peak MB* is the most memory that the process ever held, its libraries included.

``--worst-case`` trains also on noise, with weights that do not change (the learning
rate is 0) and biases that open nearly every ReLU: no zeros to profit from.
``--ablation`` trains tinycnn also with each of its tricks left out alone
(`versus_ablation`). ``--scaling`` trains also on 1 to all threads, with batches of 16
to 1,024, and, in batches of 64, with 1 to 4 times the channels. Where no batch size is
said here, it is the first of ``--batches``.

This file knows cases, rounds, tables and the command. It does not know how anybody
computes.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import versus_data
from benchmarks.versus_networks import NETWORKS, flop, without_dropout
from benchmarks.versus_peers import OURS, PEERS, SGEMM_FLOP
from benchmarks.versus_worker import Worker, WorkerError
from tinycnn._cli import Parser, existing_folder, fail, run_command, whole
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
LOGITS_AGREE = 1e-4  # of the largest logit
LOSSES_AGREE = 1e-2  # of the loss
BATCHES_SCALED = 16, 64, 256, 1024
WIDTHS = 1, 2, 4
WIDTHS_BATCH = 64

Figures = dict[str, Any]


@dataclass(frozen=True)
class Entrant:
    """Who takes part in a case.

    Attributes
    ----------
    peer : str
        A key of `OURS` or `PEERS`.
    threads : int
    without : str or None
        The trick that it does without.
    """

    peer: str
    threads: int
    without: str | None = None


@dataclass(frozen=True)
class Case:
    """What is timed.

    Attributes
    ----------
    part : str
        "speed", "worst case", "ablation", "threads", "batches" or "width"; "check" if
        nothing is.
    model : str
        A key of `NETWORKS`.
    what : str
        "training" or "inference".
    batch : int
    width : int
        Times the channels of the network.
    """

    part: str
    model: str
    what: str
    batch: int
    width: int = 1

    @property
    def flop(self) -> int:
        """The operations of a step, nothing left out."""
        network = NETWORKS[self.model](self.width)
        return self.batch * flop(network, training=self.what == "training")


class DisagreementError(RuntimeError):
    """Two contestants do not compute the same; their times cannot be compared."""


# --- who, and what -----------------------------------------------------------------


def found(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the peers that are installed, and how the others are had.

    Parameters
    ----------
    names : sequence of str
        Keys of `PEERS`.

    Returns
    -------
    list of str, dict of str to str
    """
    names = list(dict.fromkeys(names))
    here = [name for name in names if find_spec(PEERS[name].module) is not None]
    return here, {name: PEERS[name].remedy for name in names if name not in here}


def cases(
    arguments: argparse.Namespace, peers: list[str]
) -> Iterator[tuple[Case, list[Entrant]]]:
    """Yield every case with who takes part, tinycnn first."""
    threads = arguments.threads
    everyone = [Entrant(name, threads) for name in ("tinycnn", *peers)]
    for model in arguments.models:
        for what in arguments.what:
            for batch in batches(arguments, what):
                yield Case("speed", model, what, batch), everyone
    first = batches(arguments, "training")[0]
    for model in arguments.models if arguments.worst_case else ():
        yield Case("worst case", model, "training", first), everyone
    for model in arguments.models if arguments.ablation else ():
        yield Case("ablation", model, "training", first), ablated(model, threads)
    for model in arguments.models if arguments.scaling else ():
        ours = [Entrant("tinycnn", count) for count in thread_counts(threads)]
        yield Case("threads", model, "training", first), ours
        for batch in BATCHES_SCALED:
            yield Case("batches", model, "training", batch), everyone
        for width in WIDTHS:
            yield Case("width", model, "training", WIDTHS_BATCH, width), everyone


def batches(arguments: argparse.Namespace, what: str) -> Sequence[int]:
    """Return the batch sizes that were asked for, or the usual ones."""
    return arguments.batches or BATCHES[what]


def ablated(model: str, threads: int) -> list[Entrant]:
    """Return tinycnn as it is, then without each trick that the model profits from."""
    from benchmarks.versus_ablation import tricks_for

    tricks = tricks_for(NETWORKS[model](1))
    return [Entrant("tinycnn", threads, without) for without in (None, *tricks)]


def thread_counts(most: int) -> list[int]:
    """Return 1, 2, 4 and so on, up to ``most``, which is the last."""
    powers = [2**i for i in range(most.bit_length()) if 2**i < most]
    return [*powers, most]


def label(entrant: Entrant, case: Case) -> str:
    """Return what an entrant is called in its case."""
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
            if worst:
                shares = versus_data.write_worst(folder, network, self.labels)
                self.open_shares[case.model] = shares
            else:
                versus_data.write_real(folder, network, self.images, self.labels)
        return folder


def check(arena: Arena, model: str, entrants: Sequence[Entrant]) -> Figures:
    """Hold every entrant against the first, with dropout off.

    Returns
    -------
    dict
        By entrant, the largest difference of ``logits`` (as a share of the largest) and
        of ``losses`` (as a share of the loss).

    Raises
    ------
    DisagreementError
        If one is too large.
    """
    case = Case("check", model, "training", CHECKED_BATCH)
    answers = {}
    for entrant in entrants:
        with closing(arena.start(entrant, case, dropout=False)) as worker:
            answers[label(entrant, case)] = worker.ask(
                {"do": "check", "steps": CHECKED}
            )
    return differences(model, answers)


def differences(model: str, answers: dict[str, Figures]) -> Figures:
    """Return what `check` does, from the answers by name; tinycnn's is the first."""
    logits, losses = next(
        (np.array(one["logits"]), np.array(one["losses"])) for one in answers.values()
    )
    apart = {}
    for name, answer in answers.items():
        apart[name] = {
            "logits": float(np.abs(answer["logits"] - logits).max())
            / float(np.abs(logits).max()),
            "losses": float((np.abs(answer["losses"] - losses) / losses).max()),
        }
        for what, most in (("logits", LOGITS_AGREE), ("losses", LOSSES_AGREE)):
            if not apart[name][what] <= most:
                raise DisagreementError(
                    f"{name} and tinycnn disagree on model {model}: their {what} differ"
                    f" by {apart[name][what]:.2g} of their size, and {most:g} is"
                    " allowed; their times cannot be compared"
                )
    return apart


def measure(
    arena: Arena, case: Case, entrants: Sequence[Entrant], rounds: int
) -> Figures:
    """Run the rounds of a case.

    Returns
    -------
    dict
        What `summarise` returns.

    Raises
    ------
    WorkerError
        If a contestant dies.
    """
    yardsticks = [
        Entrant("sgemm", count) for count in sorted({one.threads for one in entrants})
    ]
    replies: dict[Entrant, list[Figures]] = {}
    with ExitStack() as stack:
        workers = {}
        for entrant in (*entrants, *yardsticks):
            workers[entrant] = stack.enter_context(closing(arena.start(entrant, case)))
            replies[entrant] = []
        for worker in workers.values():
            worker.ask({"do": "burst", "seconds": WARM_UP})
        for number in range(rounds):
            turns = list(workers.items())
            for entrant, worker in turns if number % 2 == 0 else reversed(turns):
                time.sleep(REST)
                answer = worker.ask({"do": "burst", "seconds": BURST})
                replies[entrant].append(answer)
    return summarise(case, replies)


# --- figures -----------------------------------------------------------------------


def summarise(case: Case, replies: dict[Entrant, list[Figures]]) -> Figures:
    """Return the figures of a case.

    Parameters
    ----------
    case : Case
    replies : dict of Entrant to list of dict
        A burst's answer from each round, as in `benchmarks.versus_worker`; tinycnn
        first, yardsticks too.

    Returns
    -------
    dict
        The case, ``best_peer`` and ``ratio_to_best_peer`` (None without a peer), for
        threads also ``gains``, and by name the ``contestants``: ``ms`` (median,
        quartiles and rounds), ``times_tinycnn``, ``of_sgemm``, ``peak_mb`` and
        ``idle_seconds``. Sgemm has ``gflops`` instead of the two ratios.
    """
    rounds = {
        entrant: np.array([statistics.median(answer["ms"]) for answer in answers])
        for entrant, answers in replies.items()
    }
    reference = next(iter(rounds.values()))
    contestants: Figures = {}
    for entrant, answers in replies.items():
        took = rounds[entrant]
        figures: Figures = {
            "threads": entrant.threads,
            "ms": spread(took),
            "peak_mb": max(answer["peak_mb"] for answer in answers),
            "idle_seconds": max(answer["idle_seconds"] for answer in answers),
        }
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
    result = asdict(case) | {
        "mflop": case.flop / 1e6,
        "best_peer": best,
        "ratio_to_best_peer": contestants[best]["times_tinycnn"] if best else None,
        "contestants": contestants,
    }
    if case.part == "threads":
        result["gains"] = gains(rounds)
    return result


def spread(values: Any) -> Figures:
    """Return median, quartiles and the values themselves."""
    q1, median, q3 = map(float, np.quantile(values, (0.25, 0.5, 0.75)))
    return {"median": median, "q1": q1, "q3": q3, "rounds": [float(v) for v in values]}


def gains(rounds: dict[Entrant, Any]) -> list[Figures]:
    """Return, for each number of threads, how much sooner it is done than one.

    Parameters
    ----------
    rounds : dict of Entrant to array (rounds,)
        Milliseconds.

    Returns
    -------
    list of dict
        ``threads``, the gain of ``tinycnn`` and of ``sgemm``, and the median of their
        quotient, ``of_sgemms``.
    """
    counts = sorted({entrant.threads for entrant in rounds} - {1})
    table = []
    for count in counts:
        gain = {
            peer: rounds[Entrant(peer, 1)] / rounds[Entrant(peer, count)]
            for peer in ("tinycnn", "sgemm")
        }
        table.append(
            {"threads": count}
            | {peer: float(np.median(values)) for peer, values in gain.items()}
            | {"of_sgemms": float(np.median(gain["tinycnn"] / gain["sgemm"]))}
        )
    return table


# --- what is printed ---------------------------------------------------------------

HEAD = (
    "measured",
    "model",
    "what",
    "batch",
    "contestant",
    "ms",
    "quartiles",
    "times tinycnn's",
    "of sgemm",
    "peak MB",
)


def report(results: Figures) -> str:
    """Return all figures as Markdown: one table, and what must be said about it.

    Parameters
    ----------
    results : dict
        As ``--json`` prints them.
    """
    rows = [row for case in results["cases"] for row in table_rows(case)]
    machine = results["machine"]
    threads = f"{results['threads']} thread{'s' * (results['threads'] > 1)}"
    versions = ", ".join(dict.fromkeys(results["versions"].values()))
    circumstances = (
        f"{machine['processor']}, {machine['cores']} cores; {threads};"
        f" Python {machine['python']}; {versions}."
        f" Medians of {results['rounds']} paired rounds; digits: {results['data']}."
        " Bold is the best peer."
    )
    parts = [circumstances, table(HEAD, rows)]
    for case in results["cases"]:
        parts += [
            f"{case['model']} on {gain['threads']} threads over 1: tinycnn gains"
            f" {gain['tinycnn']:.2f}×, sgemm {gain['sgemm']:.2f}×; tinycnn's is"
            f" {gain['of_sgemms']:.2f} of sgemm's."
            for gain in case.get("gains", ())
        ]
    parts += [
        f"In the worst case of {model}, its ReLUs let pass"
        f" {', '.join(f'{share:.1%}' for share in shares)}."
        for model, shares in results["open_shares"].items()
    ]
    restless = sorted(
        {
            name
            for case in results["cases"]
            for name, figures in case["contestants"].items()
            # More than the rest after its own turn: it was awake in another's.
            if figures["idle_seconds"] > REST * figures["threads"]
        }
    )
    if restless:
        parts.append(
            "Not asleep while others were timed, which may have cost those some time:"
            f" {', '.join(restless)}."
        )
    parts += [f"Skipped: {name} ({how})." for name, how in results["skipped"].items()]
    return "\n\n".join(parts)


def table_rows(case: Figures) -> list[list[str]]:
    """Return a row for each contestant of a case."""
    measured = case["part"] if case["width"] == 1 else f"width {case['width']}×"
    rows = []
    for name, figures in case["contestants"].items():
        took, best = figures["ms"], name == case["best_peer"]
        cells = [f"{digits(took['q1'])} to {digits(took['q3'])}"]
        if "gflops" in figures:
            cells += ["", f"{figures['gflops']['median']:.0f} GFLOP/s"]
        else:
            bold = "**" * best
            cells += [
                f"{bold}{figures['times_tinycnn']:.2f}{bold}",
                f"{figures['of_sgemm']:.2f}",
            ]
        rows.append(
            [
                measured,
                case["model"],
                case["what"],
                str(case["batch"]),
                f"**{name}**" if best else name,
                digits(took["median"]),
                *cells,
                f"{figures['peak_mb']:.0f}",
            ]
        )
    return rows


def digits(value: float) -> str:
    """Return a positive number with three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def in_short(case: Figures) -> str:
    """Return one line about a case, for whoever waits."""
    ours = next(iter(case["contestants"].values()))
    line = f"{case['part']}: {case['model']} {case['what']}, batch {case['batch']}"
    if case["width"] > 1:
        line += f", width {case['width']}×"
    line += f": tinycnn {digits(ours['ms']['median'])} ms"
    if case["best_peer"]:
        line += f"; {case['best_peer']} {case['ratio_to_best_peer']:.2f} times that"
    return line


def machine() -> Figures:
    """Return what the figures depend on besides the programs."""
    processor = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
    return {
        "processor": processor,
        "cores": available_cores(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


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
        "agreement": {},
        "cases": [],
    }
    planned = list(cases(arguments, peers))
    with tempfile.TemporaryDirectory() as scratch:
        arena = Arena(Path(scratch), data.train_images, data.train_labels)
        # The same objects: they fill while the contestants run.
        results["versions"], results["open_shares"] = arena.versions, arena.open_shares
        try:
            for model in arguments.models:
                entrants = [
                    one for case, those in planned if case.model == model
                    for one in those if one.threads == arguments.threads
                ]  # fmt: skip
                checked = list(dict.fromkeys(entrants))
                results["agreement"][model] = check(arena, model, checked)
                count = len(checked)
                print(f"{model}: {count} compute the same", file=sys.stderr)
            for case, entrants in planned:
                results["cases"].append(
                    measure(arena, case, entrants, arguments.rounds)
                )
                print(in_short(results["cases"][-1]), file=sys.stderr)
                if arguments.out:  # after each case: a long run may not reach its end
                    save(arguments.out, results)
        except WorkerError as error:
            fail(f"{error}; make it run, or leave it out with --peers")
        except DisagreementError as error:
            fail(error)
    print(json.dumps(results) if arguments.json else report(results))
    return 0


def save(path: Path, results: Figures) -> None:
    """Write the figures, and the table beside them."""
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text(report(results) + "\n")


def json_file(text: str) -> Path:
    """Accept the name of a JSON file in a folder that exists."""
    path = Path(text)
    if path.suffix != ".json" or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(
            f"needs FILE.json in a folder that exists, not {text!r}"
        )
    return path


def _parser() -> argparse.ArgumentParser:
    parser = Parser("benchmarks.versus", "Time tinycnn beside other libraries.")
    parser.add_argument(
        "--models",
        nargs="+",
        choices=NETWORKS,
        default=list(NETWORKS),
        metavar="MODEL",
        help=f"{', '.join(NETWORKS)}; all of them",
    )
    parser.add_argument(
        "--what",
        nargs="+",
        choices=BATCHES,
        default=list(BATCHES),
        metavar="WHAT",
        help=f"{', '.join(BATCHES)}; both",
    )
    parser.add_argument(
        "--batches",
        nargs="+",
        type=whole(1, 4096),
        metavar="N",
        help="200 128 64 in training, 256 1 in inference",
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=PEERS,
        default=list(PEERS),
        metavar="PEER",
        help=f"{', '.join(PEERS)}; those of them that are installed",
    )
    parser.add_argument("--rounds", type=whole(1, 1000), default=7, metavar="N")
    cores = available_cores()
    parser.add_argument(
        "--threads",
        type=whole(1, cores),
        default=cores,
        metavar="N",
        help=f"of every contestant; {cores}, one a core",
    )
    parser.add_argument("--data", type=existing_folder, metavar="DIR", help="MNIST")
    parser.add_argument(
        "--out", type=json_file, metavar="FILE.json", help="figures; and FILE.md"
    )
    parser.add_argument(
        "--worst-case", action="store_true", help="also with nothing to skip"
    )
    parser.add_argument(
        "--ablation", action="store_true", help="also without each of our tricks"
    )
    parser.add_argument(
        "--scaling", action="store_true", help="also by threads, batch and width"
    )
    return parser


if __name__ == "__main__":
    run_command(main)
