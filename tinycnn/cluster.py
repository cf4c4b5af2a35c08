"""The same training step on many processes (MPI), with the same bits; and sweeps.

``mpiexec -n P python -m tinycnn.train --shards S``

**What it is good for.** A step of T seconds on one process takes ``T / P + 2 (1 - 1/P)
G / b`` on P machines, for a gradient of G bytes over b bytes a second: the slices of
the sum go to their owners and back to all (if each process adds up one node of the
tree, as with 1, 2, 4 or 8). So it pays above ``b = 2 G / T``, whatever P. On two cores:

=================== ======= ======= ========== ==================== ===============
network, batch      G       T       break-even 1 Gbit/s, P = 2, 4   10 Gbit/s
=================== ======= ======= ========== ==================== ===============
``default``, 64     0.46 MB 18 ms   0.4 Gbit/s 1.4, 1.7 times       1.9, 3.5 times
``default``, 512    0.46 MB 117 ms  0.1 Gbit/s 1.9, 3.3 times       2.0, 3.9 times
``classic``, 200    9.5 MB  61 ms   2.5 Gbit/s 0.55, 0.45 times     1.6, 2.2 times
=================== ======= ======= ========== ==================== ===============

For the small networks here many seeds, a process each, are the better use of machines.
The machines share the folder of the run, which all read when a run is resumed.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from llvmlite.binding import get_host_cpu_name
from numpy.typing import NDArray

from tinycnn._cli import fail, report
from tinycnn.models import BATCH, predict
from tinycnn.nn import softmax_cross_entropy
from tinycnn.nn.layers import Array
from tinycnn.nn.weights import load_weights
from tinycnn.threads import available_cores
from tinycnn.training.augment import Warps, deform
from tinycnn.training.checkpoint import RunFolder
from tinycnn.training.fit import Trainer

SIGNALS = signal.SIGINT, signal.SIGTERM
PATIENCE = 2.0  # seconds in which all processes fail, or one ends the others
# One process as an `mpi4py.MPI.Comm`, as far as that is used here.
ALONE = SimpleNamespace(rank=0, size=1, allgather=lambda x: [x], barrier=lambda: None)


def add_up(first: int, count: int, known: Callable[..., Array | None]) -> Array:
    """Return the sum of some shards' arrays along the tree: left half + right half.

    ``count`` is a power of two; ``known(first, count)`` may have the sum already.
    """
    array, half = known(first, count), count // 2
    if array is not None:
        return array
    return add_up(first, half, known) + add_up(first + half, half, known)


def nodes_of(rank: int, size: int, shards: int) -> Iterator[tuple[int, int]]:
    """Yield (first, count) of the tree's nodes that a process adds up by itself."""
    first, end = shards * rank // size, shards * (rank + 1) // size
    while first < end:
        count = 1
        while first % (2 * count) == 0 and first + 2 * count <= end:
            count *= 2
        yield first, count
        first += count


def summed(comm: Any, shards: int, compute: Callable[[int], Array]) -> Array:
    """Return the sum of ``compute(shard)``, the same bits for any number of processes.

    Each process owns a slice of the sum: it receives this slice of all nodes
    (Alltoallv), finishes the tree there, and sends the result to all (Allgatherv).
    """

    def computed(first: int, count: int) -> Array | None:
        return compute(first) if count == 1 else None

    nodes = [list(nodes_of(rank, comm.size, shards)) for rank in range(comm.size)]
    own = [add_up(first, count, computed) for first, count in nodes[comm.rank]]
    if comm.size == 1:
        return own[0]
    cuts = [own[0].size * rank // comm.size for rank in range(comm.size + 1)]
    counts, widths = np.array([len(its) for its in nodes]), np.diff(cuts)
    slices = [array[a:b] for a, b in itertools.pairwise(cuts) for array in own]
    pieces = np.empty((counts.sum(), widths[comm.rank]), np.float32)
    sent = np.concatenate(slices), len(own) * widths
    comm.Alltoallv(sent, (pieces, counts * widths[comm.rank]))
    found = dict(zip(itertools.chain(*nodes), pieces, strict=True))
    total = np.empty(cuts[-1], np.float32)
    comm.Allgatherv(add_up(0, shards, lambda *node: found.get(node)), (total, widths))
    return total


class ShardedTrainer(Trainer):
    """A trainer that cuts every batch of B images into S shards, a power of two.

    Shard s has the images from ``B * s // S`` to ``B * (s + 1) // S``, and the
    statistics of batch norm are its own. The gradient is that of the sum of the losses,
    divided by B. Running averages start from the step's; what the shards make of them
    is averaged over the images. The mask of dropout is a function of (seed, layer,
    step * S + s).

    ``asked`` returns the signal that asks this process to stop, or None; ``signum`` is
    the one that had reached any process by the last step. The first step raises
    ValueError if the processes do not round alike.
    """

    def __init__(
        self, comm: Any, shards: int, asked: Callable[[], int | None], *args: Any,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(*args, **options)
        self._comm, self._shards, self._asked = comm, shards, asked
        self._compared = comm.size == 1
        batch = self.recipe.batch_size
        if not comm.size <= shards <= batch:
            raise ValueError(
                f"{comm.size} processes cannot share a batch of {batch} images in "
                f"{shards} shards; give --shards a power of two from the number of "
                "processes up to --batch-size"
            )

    def _step(self, chosen: NDArray[np.integer], warps: Warps) -> tuple[float, int]:
        S, B = self._shards, len(chosen)

        def compute(s: int) -> Array:
            return self._shard(s, chosen[B * s // S : B * (s + 1) // S], B, warps)

        first, self._compared = not self._compared, True
        if first:
            self._compare(compute(0)[: -len(SIGNALS)])
        total = summed(self._comm, S, compute)
        arrays, parameters = self._arrays()
        *parts, last = np.split(total, np.cumsum([array.size for array in arrays]))
        for array, part in zip(arrays, parts, strict=True):
            if id(array) in parameters:
                parameters[id(array)].grad = part.reshape(array.shape)
            else:
                array += part.reshape(array.shape)
        self.optimizer.step()
        if first:
            self._compare(np.concatenate([array.ravel() for array in arrays]))
        loss, right, *asked = last.tolist()
        self.signum = next((s for s, n in zip(SIGNALS, asked, strict=True) if n), None)
        return loss, int(right)

    def _shard(
        self, s: int, part: NDArray[np.integer], B: int, warps: Warps
    ) -> NDArray[np.float32]:
        """Return gradients, changes of buffers, loss, images named right, signals."""
        arrays, parameters = self._arrays()
        parts, last = [np.zeros(array.size) for array in arrays], np.zeros(2)
        if len(part) > 0:  # a short last batch may have fewer images than shards
            before = [array.copy() for array in arrays]
            images = deform(self.train_images[part], warps.of(part))
            labels, smoothing = self.train_labels[part], self.recipe.label_smoothing
            self.model.seed_dropout(self.seed, self.steps * self._shards + s)
            logits = self._runner.forward(images, training=True)
            loss, dlogits = softmax_cross_entropy(logits, labels, smoothing)
            share = np.float32(len(part) / B)
            self._runner.backward(dlogits * share)
            last[:] = loss * share, (logits.argmax(axis=1) == labels).sum()
            for number, (array, old) in enumerate(zip(arrays, before, strict=True)):
                if id(array) in parameters:
                    parts[number] = parameters[id(array)].grad.ravel()
                else:
                    parts[number] = (array - old).ravel() * share
                    array[...] = old
        asked = [self._asked() == number for number in SIGNALS]
        return np.concatenate([*parts, last, asked], dtype=np.float32)

    def _arrays(self) -> tuple[list[Array], dict[int, Any]]:
        """Return all arrays, and the parameters by the identity of theirs."""
        parameters = {id(one.value): one for one in self.model.parameters()}
        return list(self.model.state().values()), parameters

    def _compare(self, array: Array) -> None:
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        remedy = "use processors of one type and the same versions"
        compare(self._comm, digest, "rounds differently from", remedy)

    def _predict(self, images: NDArray[np.uint8]) -> Array:
        """Return the logits; every process computes those of some batches."""
        comm, batches = self._comm, -(-len(images) // BATCH)  # rounded up
        cuts = [BATCH * (batches * r // comm.size) for r in range(comm.size + 1)]
        own, views = images[cuts[comm.rank] : cuts[comm.rank + 1]], self.recipe.views
        logits = predict(self._averaged_runner, own, views) if len(own) else None
        found = comm.allgather(logits)
        return np.concatenate([part for part in found if part is not None])


class ReadOnlyFolder(RunFolder):
    """A run's folder as processes other than rank 0 have it: they save nothing."""

    def __init__(self, path: Path, config: Any = None) -> None:  # noqa: ARG002
        self.path, self.weights = path, path / "weights.safetensors"
        self._checkpoint = path / "checkpoint.safetensors"

    def restore(self, trainer: Trainer) -> None:
        """Bring a new trainer to the state of the checkpoint."""
        trainer.resume(load_weights(self._checkpoint, trainer)["progress"])

    def _nothing(self, *_: Any) -> Any:
        pass

    save = append = close = _nothing  # type: ignore[assignment]


def load_first(comm: Any, load: Callable[[], Any]) -> Any:
    """Return the digits, loaded by rank 0 first, which may download; compare them."""
    if comm.rank:
        comm.barrier()
    digits = load()
    if not comm.rank:
        comm.barrier()
    compare(comm, digits.checksum, "has other images than", "give --data DIR the same")
    return digits


def compare(comm: Any, value: str, differs: str, remedy: str) -> None:
    """Raise ValueError, which names a process with another value than rank 0."""
    here = f"{platform.node()} ({get_host_cpu_name()})"
    (expected, first), *others = comm.allgather((value, here))
    for rank, (found, other) in enumerate(others, 1):
        if found != expected:
            where = f"rank {rank} on {other} {differs} rank 0 on {first}"
            raise ValueError(f"{where}; {remedy}")


def threads(comm: Any) -> int | None:
    """Return a process's share of the cores; None if it may take all it is bound to."""
    here = comm.allgather(platform.node()).count(platform.node())
    cores = available_cores()
    bound = cores < (os.cpu_count() or 1)
    return None if here == 1 or bound else max(1, cores // here)


def on_all(rank: str, command: Callable[[Any], int]) -> int:
    """Run a command on all processes that mpiexec started, and return its exit code.

    Rank 0 alone talks. If all processes fail within `PATIENCE`, it has told why; one
    that fails alone does so itself, and ends the others, which may wait for it.
    """
    code, heard = 1, io.StringIO()
    with contextlib.ExitStack() as quiet:
        if rank != "0":
            quiet.enter_context(contextlib.redirect_stdout(heard))
            quiet.enter_context(contextlib.redirect_stderr(heard))
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:  # the latter if there is no MPI
            pip = 'pip install "tinycnn[mpi]"'
            fail(
                f"mpiexec started this, but there is no mpi4py or MPI ({error}); {pip}"
            )
        farewell = MPI.COMM_WORLD.Dup()  # others may be inside a call on the first
        try:
            code = command(MPI.COMM_WORLD)
        except SystemExit as error:
            code = int(error.code or 0)
        except BaseException:  # noqa: BLE001
            report(traceback.format_exc())
    all_failed, began = code and farewell.Ibarrier(), time.monotonic()
    while all_failed and not all_failed.Test():
        if time.monotonic() - began > PATIENCE:
            if rank != "0":
                last = heard.getvalue().splitlines()[-1:]
                print(f"rank {rank}:", *last, file=sys.stderr, flush=True)
            MPI.COMM_WORLD.Abort(code)
            break  # what ends the processes may take a moment
        time.sleep(0.01)
    return code


def spread(
    comm: Any, function: Callable[[Any], Any], jobs: Sequence[Any], at_once: int
) -> Iterator[Any]:
    """Yield ``function(job)`` of all, by mpiexec's ranks from 1, or so many threads."""
    pool: Any = ThreadPoolExecutor(at_once)
    if comm.size > 1:
        from mpi4py.futures import MPICommExecutor

        pool = MPICommExecutor(comm)
    with pool as executor:
        futures = [executor.submit(function, job) for job in jobs] if executor else []
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            for future in futures:
                future.cancel()


def train_apart(flags: Sequence[str]) -> tuple[int, str]:
    """Train in a process of its own; return the exit code, and the last line told."""
    # It is none of the processes of mpiexec.
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_RANK")}
    argv = [sys.executable, "-m", "tinycnn.train", "--json", *flags]
    ended = subprocess.run(argv, capture_output=True, text=True, env=environment)
    told = ended.stderr if ended.returncode else ended.stdout
    return ended.returncode, told.strip().rpartition("\n")[2]


def sweep(comm: Any, arguments: Any, flags: list[str]) -> int:
    """Train with several seeds, each in a folder in one for all; return the exit code.

    Each result is a line on stdout and in ``runs.jsonl``. Finished runs are not made
    again, and interrupted ones go on.
    """
    comm, code, jobs = comm or ALONE, 0, []
    now = Path("runs", time.strftime("%Y-%m-%d_%H%M%S_seeds"))
    folder = arguments.resume or arguments.out or now
    record, network = folder / "runs.jsonl", arguments.network
    lines = record.read_text("utf-8").splitlines() if record.exists() else []
    done = {json.loads(line)["seed"] for line in lines}
    count = arguments.threads or threads(comm) or 1
    flags = [*flags, f"--threads={count}"]
    flags += [f"--data={arguments.data}"] if arguments.data else []
    flags += [f"--network={network.file}:{network.name}"] if network else []
    for seed in sorted(set(arguments.seeds) - done):
        run = folder / f"seed_{seed}"
        begun = (run / "checkpoint.safetensors").exists()
        where, start = ("--resume", None) if begun else ("--out", arguments.start)
        given = [*flags, f"--from={start}"] if start else flags
        jobs.append([*given, f"--seed={seed}", where, str(run)])
    at_once = max(1, available_cores() // count)
    for ended, line in spread(comm, train_apart, jobs, at_once):
        if ended:
            code = report(line.removeprefix("error: "))
            continue
        with record.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)
    return code
