"""The same training step on many processes (MPI), with the same bits; and sweeps.

``mpiexec -n P python -m tinycnn.train --shards S``: what is it good for? A step of T
seconds on one process takes ``T / P + 2 (1 - 1/P) G / b`` on P machines, for a gradient
of G bytes over b bytes a second: the slices of the sum go to their owners and back to
all (if each process adds up one node of the tree, as with 1, 2, 4 or 8). So it pays
above ``b = 2 G / T``, whatever P. On two cores, ``default`` with a batch of 64
(G = 0.46 MB, T = 18 ms) breaks even at 0.4 Gbit/s, and is 1.9 and 3.6 times as fast on
2 and 4 machines at 10 Gbit/s; ``classic`` with 200 (9.5 MB, 61 ms) breaks even at
2.5 Gbit/s, and is 1.6 and 2.3 times as fast. For the small networks here many seeds, a
process each, are the better use of machines, which share the folder of the run.
"""

import contextlib
import copy
import io
import itertools
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from llvmlite.binding import get_host_cpu_name

from tinycnn._cli import fail, report
from tinycnn.models import BATCH, predict
from tinycnn.nn import softmax_cross_entropy
from tinycnn.nn.layers import Array
from tinycnn.training.augment import Warps, deform
from tinycnn.training.checkpoint import RunFolder
from tinycnn.training.fit import Trainer

# One process as an `mpi4py.MPI.Comm`, as far as that is used here.
ALONE = SimpleNamespace(rank=0, size=1, allgather=lambda x: [x])


def share(count: int, part: int, parts: int) -> slice:
    """Return which of ``count`` items in a row belong to one of several parts."""
    return slice(count * part // parts, count * (part + 1) // parts)


def add_up(nodes: Iterable[tuple[int, int, Any]]) -> list[tuple[int, int, Any]]:
    """Add siblings of a binary tree, left + right, until there are none side by side.

    A node is its first shard, the number of its shards, a power of two, and their sum.
    """
    done: list[tuple[int, int, Any]] = []
    for first, count, array in nodes:
        while first // count % 2 == 1 and done and done[-1][1] == count:
            array = done.pop()[2] + array
            first, count = first - count, 2 * count
        done.append((first, count, array))
    return done


def summed(comm: Any, shards: int, compute: Callable[[int], Array]) -> Array:
    """Return the sum of ``compute(shard)``, the same bits for any number of processes.

    Each process owns a slice of the sum: it receives this slice of all nodes
    (Alltoallv), finishes the tree there, and sends the result to all (Allgather).
    """
    P = comm.size
    parts = [range(shards)[share(shards, rank, P)] for rank in range(P)]
    own = [total for *_, total in add_up((s, 1, compute(s)) for s in parts[comm.rank])]
    if P == 1:
        return own[0]
    nodes = [add_up((s, 1, 0) for s in part) for part in parts]
    W = -(-own[0].size // P)  # of a slice, rounded up; the last one is filled up
    sent = np.stack([np.resize(array, (P, W)) for array in own], axis=1)
    pieces = np.empty((sum(map(len, nodes)), W), np.float32)
    counts = [len(own) * W] * P, [len(theirs) * W for theirs in nodes]
    comm.Alltoallv((sent, counts[0]), (pieces, counts[1]))
    found = zip(itertools.chain(*nodes), pieces, strict=True)
    ((*_, mine),) = add_up((first, count, piece) for (first, count, _), piece in found)
    total = np.empty(P * W, np.float32)
    comm.Allgather(mine, total)
    return total[: own[0].size]


class ShardedTrainer(Trainer):
    """A trainer that cuts every batch of B images into S shards, a power of two.

    Shard s has the images from ``B * s // S`` to ``B * (s + 1) // S``, and the
    statistics of batch norm are its own. The gradient is that of the sum of the losses,
    divided by B; running averages start from the step's, and their changes are averaged
    over the images. The mask of dropout is a function of (seed, layer, step * S + s).
    A layer of one's own must draw no random numbers.

    ``asked`` returns the signal that asks this process to stop, or None; ``signum`` is
    the one that had reached any process by the last step.
    """

    def __init__(
        self, comm: Any, shards: int, asked: Callable[[], Any], *args: Any, **named: Any
    ) -> None:
        super().__init__(*args, **named)
        self._comm, self._shards, self._asked = comm, shards, asked
        self._compared, batch = comm.size == 1, self.recipe.batch_size
        self.signum: int | None = None
        learned = {id(parameter.value) for parameter in self.model.parameters()}
        state = self.model.state().values()
        self._buffers = [array for array in state if id(array) not in learned]
        if not comm.size <= shards <= batch:
            raise ValueError(
                f"--shards {shards} is for batches of at least as many images, and at "
                f"most as many processes, not {batch} and {comm.size}"
            )

    def _step(self, chosen: Any, warps: Warps) -> tuple[float, int]:
        compute = partial(self._shard, chosen, warps)
        if not self._compared:
            self._compare(compute(0))
        total = summed(self._comm, self._shards, compute)
        parameters = self.model.parameters()
        arrays = [*(parameter.value for parameter in parameters), *self._buffers]
        *parts, last = np.split(total, np.cumsum([array.size for array in arrays]))
        for parameter, part in zip(parameters, parts, strict=False):
            parameter.grad = part.reshape(parameter.value.shape)
        for buffer, part in zip(self._buffers, parts[len(parameters) :], strict=True):
            buffer += part.reshape(buffer.shape)
        self.optimizer.step()
        self.signum = max(self._comm.allgather(self._asked() or 0)) or None
        return float(last[0]), int(last[1])

    def _compare(self, array: Array) -> None:
        """Raise ValueError if the processes have not computed the same."""
        here = f"{platform.node()} ({get_host_cpu_name()})"
        found = self._comm.allgather((array.tobytes(), here))
        for rank, (content, other) in enumerate(found):
            if content != found[0][0]:
                raise ValueError(
                    f"rank {rank} on {other} rounds differently from rank 0 on "
                    f"{found[0][1]}; use one type, the same versions and flags"
                )
        self._compared = True

    def _shard(self, chosen: Any, warps: Warps, s: int) -> Array:
        """Return gradients, changes of buffers, loss, and images named right."""
        part = chosen[share(len(chosen), s, self._shards)]
        if len(part) == 0:  # a short last batch may have fewer images than shards
            return np.zeros(sum(a.size for a in self.model.state().values()) + 2, "f4")
        before = [buffer.copy() for buffer in self._buffers]
        images = deform(self.train_images[part], warps.of(part))
        labels, smoothing = self.train_labels[part], self.recipe.label_smoothing
        self.model.seed_dropout(self.seed, self.steps * self._shards + s)
        logits = self._runner.forward(images, training=True)
        loss, dlogits = softmax_cross_entropy(logits, labels, smoothing)
        weight = np.float32(len(part) / len(chosen))
        self._runner.backward(dlogits * weight)
        pieces: list[Any] = [p.grad for p in self.model.parameters()]
        for buffer, old in zip(self._buffers, before, strict=True):
            pieces.append((buffer - old) * weight)
            buffer[...] = old
        pieces += [loss * weight, (logits.argmax(axis=1) == labels).sum()]
        return np.concatenate([np.ravel(one) for one in pieces], dtype=np.float32)

    def _predict(self, images: Any) -> Array:
        """Return the logits; every process computes those of some batches."""
        comm, starts = self._comm, range(0, len(images), BATCH)
        own = [
            predict(self._averaged_runner, images[at : at + BATCH], self.recipe.views)
            for at in starts[share(len(starts), comm.rank, comm.size)]
        ]
        return np.concatenate([*itertools.chain(*comm.allgather(own))])


class ReadOnlyFolder(RunFolder):
    """A run's folder as processes other than rank 0 have it: they save nothing."""

    def __init__(self, path: Path, config: Any = None) -> None:  # noqa: ARG002
        self._name_files(path)
        self.save = self.append = self.close = lambda *_: None  # type: ignore


def on_all(rank: str, command: Callable[[Any], int]) -> int:
    """Run a command on all processes that mpiexec started, and return its exit code.

    Rank 0 alone talks. If all processes fail within two seconds, it has told why; one
    that fails alone does so itself, and ends the others, which may wait for it.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter if there is no MPI
        fail(f'{error}; pip install "tinycnn[mpi]"') if rank == "0" else sys.exit(1)
    world, code, heard = MPI.COMM_WORLD, 1, io.StringIO()
    if str(world.rank) != rank:
        fail(f"rank {rank}: start this with mpi4py's mpiexec, of {MPI.get_vendor()[0]}")
    if world.rank:
        sys.stdout = sys.stderr = heard
    try:
        code = command(world.Dup())
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:  # noqa: BLE001
        report(traceback.format_exc())
    if code and not all_come(world, 2):
        if world.rank:
            last = heard.getvalue().splitlines()[-1:]
            print(f"rank {rank}:", *last, file=sys.__stderr__, flush=True)
        world.Abort(code)
    return code


def all_come(comm: Any, seconds: float) -> bool:
    """Wait for all processes, with the core at rest; return whether they came."""
    barrier, end = comm.Ibarrier(), time.monotonic() + seconds
    while not (come := barrier.Test()) and time.monotonic() < end:
        time.sleep(0.01)
    return come


def sweep(comm: Any, train: Callable[[Any], int], arguments: Any) -> int:
    """Train with several seeds, each in a folder in one for all; return the worst code.

    The seeds are dealt out to the processes. Each result is a line on stdout. With
    ``--resume``, interrupted runs go on, and finished ones are measured again.
    """
    # This also waits until all have seen that --out is new.
    now = comm.allgather(Path("runs", time.strftime("%Y-%m-%d_%H%M%S_seeds")))[0]
    folder, worst = arguments.resume or arguments.out or now, 0
    for seed in arguments.seeds[comm.rank :: comm.size]:
        run, one = folder / f"seed_{seed}", copy.copy(arguments)
        one.json, one.seed, one.resume, one.out = True, seed, None, run
        if (run / "checkpoint.safetensors").exists():
            one.resume, one.out, one.start = run, None, None
        if comm.size > 1:
            one.threads = one.threads or 1
        with contextlib.redirect_stdout(sys.__stdout__):
            try:
                code = train(one)
            except SystemExit as error:
                why = getattr(error, "__notes__", [])  # of `fail`
                print(f"failed: seed {seed}", *why, sep=": ", file=sys.__stderr__)
                code = int(error.code or 0)
        worst = max(worst, code)
        if code >= 128:  # stopped by a signal
            print(f"the same with --resume {folder} goes on", file=sys.__stderr__)
            break
    if comm.size > 1:
        for number in (signal.SIGINT, signal.SIGTERM):  # the others save, and come
            signal.signal(number, signal.SIG_IGN)
        all_come(comm, 1e9)
    return max(comm.allgather(worst))
