"""The same training step on many processes (MPI), with the same bits; and sweeps.

``mpiexec -n P python -m tinycnn.train --shards S``
"""

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
from typing import TYPE_CHECKING, Any

import llvmlite.binding
import numpy as np
from numpy.typing import NDArray

from tinycnn._cli import counted, fail, report
from tinycnn.models import BATCH, predict
from tinycnn.nn import softmax_cross_entropy
from tinycnn.nn.layers import Array
from tinycnn.threads import available_cores
from tinycnn.training.augment import Warps
from tinycnn.training.checkpoint import RunFolder
from tinycnn.training.fit import Epoch, Trainer

if TYPE_CHECKING:
    from tinycnn.data import Digits

SIGNALS = signal.SIGINT, signal.SIGTERM
PATIENCE = 2.0  # seconds in which all processes fail, or one ends the others


# What `mpi4py.MPI.Comm` is for one process, as far as it is used here.
ALONE = SimpleNamespace(
    rank=0,
    size=1,
    allgather=lambda value: [value],
    bcast=lambda value: value,
    Bcast=lambda array: None,  # noqa: ARG005
    barrier=lambda: None,
)


class Tree:
    """Adds the arrays of shards 0 to S - 1 along one binary tree, whatever comes whole.

    ::

        0   1   2   3   4   5   6   7
        +---+   +---+   +---+   +---+       a node is left + right
          +-------+       +-------+
              +---------------+

    Attributes
    ----------
    nodes : list of (int, int, array)
        First shard, number of shards and sum of each node whose parent is not complete.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[int, int, Array]] = []

    def add(self, first: int, count: int, array: Array) -> None:
        """Add a node, which begins where the last one ended, and complete its parents.

        Parameters
        ----------
        first, count : int
            The shards whose sum it is; 1 of them, or a power of two.
        array : float array (M,)
        """
        while self.nodes and self.nodes[-1][1] == count and first % (2 * count):
            first, _, left = self.nodes.pop()
            array, count = left + array, 2 * count
        self.nodes.append((first, count, array))


def shards_of(rank: int, size: int, shards: int) -> range:
    """Return the shards that a process computes."""
    return range(shards * rank // size, shards * (rank + 1) // size)


def summed(comm: Any, shards: int, nodes: Sequence[Array]) -> Array:
    """Return the sum of all shards' arrays, the same bits for any number of processes.

    Every process owns a slice of the array: it is sent this slice of all nodes, goes on
    with the tree there, and sends the sum to all. That is the volume of an ordinary
    all-reduce, if each process has one node, as with 1, 2, 4 or 8 of them.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or ALONE
    shards : int
        A power of two.
    nodes : sequence of float32 array (M,)
        Those of the `Tree` of this process's shards.
    """
    if comm.size == 1:
        return nodes[0]
    M, ranks = nodes[0].size, range(comm.size)
    cuts = [M * rank // comm.size for rank in (*ranks, comm.size)]
    widths = [end - start for start, end in itertools.pairwise(cuts)]
    theirs = []  # the nodes of every process
    for rank in ranks:
        tree = Tree()
        for shard in shards_of(rank, comm.size, shards):
            tree.add(shard, 1, np.empty(0, np.float32))
        theirs.append(tree.nodes)
    width, received = widths[comm.rank], sum(map(len, theirs))
    slices = [node[a:b] for a, b in itertools.pairwise(cuts) for node in nodes]
    pieces = np.empty((received, width), np.float32)
    comm.Alltoallv(
        (np.concatenate(slices), [len(nodes) * w for w in widths]),
        (pieces, [len(their) * width for their in theirs]),
    )
    whole = Tree()
    for (first, count, _), piece in zip(itertools.chain(*theirs), pieces, strict=True):
        whole.add(first, count, piece)
    result = np.empty(M, np.float32)
    comm.Allgatherv(whole.nodes[0][2], (result, widths))
    return result


class ShardedTrainer(Trainer):
    """A trainer that cuts every batch of B images into S shards.

    Shard s has the images from ``B * s // S`` to ``B * (s + 1) // S``. Its forward and
    backward are those of any batch: batch norm's statistics are the shard's own. Its
    gradient is that of the sum of its losses, divided by B. Running averages start from
    the step's and change by the mean of what the images' shards make of them. The mask
    of dropout is a function of (seed, layer, step * S + s).

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or ALONE
    shards : int
    asked : function
        Returns the signal that asks this process to stop, or None.

    Attributes
    ----------
    signum : int or None
        The signal that had reached any process by the last step.

    Raises
    ------
    ValueError
        If S is no power of two, P above S or a batch below S; or in the first step, if
        processors round differently.
    """

    def __init__(
        self,
        *arguments: Any,
        comm: Any,
        shards: int,
        asked: Callable[[], int | None],
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._comm, self.shards, self._asked = comm, shards, asked
        self._compared = comm.size == 1
        if shards & (shards - 1):
            raise ValueError(f"--shards needs a power of two, not {shards}")
        if comm.size > shards:
            raise ValueError(
                f"{comm.size} processes cannot share {counted(shards, 'shard')} of a "
                f"batch; start fewer, or give --shards a larger power of two"
            )
        if self.recipe.batch_size < shards:
            raise ValueError(
                f"a batch of {self.recipe.batch_size} images cannot be cut into "
                f"{shards} shards; give more by --batch-size, or fewer shards"
            )
        if any(array.dtype != np.float32 for array in self.model.state().values()):
            raise ValueError("--shards needs float32 parameters and buffers")

    def _step(self, chosen: NDArray[np.integer], warps: Warps) -> tuple[float, int]:
        S, B, tree = self.shards, len(chosen), Tree()
        parts = [chosen[B * s // S : B * (s + 1) // S] for s in range(S)]
        first, self._compared = not self._compared, True
        if first:
            self._compare(self._shard(0, parts[0], B, warps)[: -len(SIGNALS)])
        for s in shards_of(self._comm.rank, self._comm.size, S):
            tree.add(s, 1, self._shard(s, parts[s], B, warps))
        total = summed(self._comm, S, [array for *_, array in tree.nodes])
        parameters, buffers = self.model.parameters(), self._buffers()
        sizes = [p.value.size for p in parameters] + [b.size for b in buffers]
        *arrays, last = np.split(total, np.cumsum(sizes))
        for parameter in parameters:
            parameter.grad = arrays.pop(0).reshape(parameter.value.shape)
        for buffer, change in zip(buffers, arrays, strict=True):
            buffer += change.reshape(buffer.shape)
        self.optimizer.step()
        if first:
            self._compare(np.concatenate([p.value.ravel() for p in parameters]))
        loss, right, *asked = last.tolist()
        self.signum = next((s for s, n in zip(SIGNALS, asked, strict=True) if n), None)
        return loss, int(right)

    def _shard(
        self, s: int, part: NDArray[np.integer], B: int, warps: Warps
    ) -> NDArray[np.float32]:
        """Return gradients, changes of buffers, loss, images named right, signals."""
        buffers, parameters = self._buffers(), self.model.parameters()
        asked = [float(self._asked() == number) for number in SIGNALS]
        if len(part) == 0:  # of a short last batch
            M = sum(p.value.size for p in parameters) + sum(b.size for b in buffers)
            return np.array([0.0] * (M + 2) + asked, np.float32)
        before = [buffer.copy() for buffer in buffers]
        self.model.seed_dropout(self.seed, self.steps * self.shards + s)
        images, labels = self._batch(part, warps)
        logits = self._runner.forward(images, training=True)
        smoothing, share = self.recipe.label_smoothing, np.float32(len(part) / B)
        loss, dlogits = softmax_cross_entropy(logits, labels, smoothing)
        self._runner.backward(dlogits * share)
        changes = []
        for buffer, old in zip(buffers, before, strict=True):
            changes.append((buffer - old) * share)
            buffer[...] = old
        right = (logits.argmax(axis=1) == labels).sum()
        grads = [np.asarray(parameter.grad) for parameter in parameters]
        arrays = [array.ravel() for array in (*grads, *changes)]
        last = np.array([loss * share, right, *asked], np.float32)
        return np.concatenate([*arrays, last])

    def _buffers(self) -> list[Array]:
        """Return the arrays that are saved but not trained."""
        learned = {id(parameter.value) for parameter in self.model.parameters()}
        return [a for a in self.model.state().values() if id(a) not in learned]

    def _compare(self, array: Array) -> None:
        """Refuse processors, or versions, that do not compute the same bits."""
        name = f"{platform.node()} ({llvmlite.binding.get_host_cpu_name()})"
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        found = self._comm.allgather((digest, name))
        for rank, (other, its_name) in enumerate(found):
            if other != found[0][0]:
                raise ValueError(
                    f"rank {rank} on {its_name} rounds differently from rank 0 on "
                    f"{found[0][1]}; use processors of one type and the same versions"
                )

    def _predict(self, images: NDArray[np.uint8]) -> Array:
        """Return the logits; every process computes those of some batches."""
        rank, size, views = self._comm.rank, self._comm.size, self.recipe.views
        batches = -(-len(images) // BATCH)  # rounded up
        own = images[BATCH * (batches * rank // size) :]
        own = own[: BATCH * (batches * (rank + 1) // size - batches * rank // size)]
        logits = predict(self._averaged_runner, own, views) if len(own) else None
        found = self._comm.allgather(logits)
        return np.concatenate([part for part in found if part is not None])


class NoFolder(RunFolder):
    """A run's folder as processes other than rank 0 have it: they save nothing."""

    def __init__(self, path: Path, config: Any = None) -> None:  # noqa: ARG002
        self.path, self.weights = path, path / "weights.safetensors"

    def facts(self) -> dict[str, Any]:
        """Return nothing; rank 0 tells the facts."""
        return {}

    def restore(self, trainer: Trainer) -> None:
        """Do nothing: see `share`."""

    def save(self, trainer: Trainer, facts: dict[str, Any]) -> None:
        """Do nothing."""

    def append(self, result: Epoch, seconds: float) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: nothing is locked."""


def share(comm: Any, trainer: Trainer) -> None:
    """Bring the trainers of all processes to the state of rank 0's."""
    progress = comm.bcast(vars(trainer.progress))
    for array in trainer.state().values():
        comm.Bcast(array)
    if comm.rank:
        trainer.resume(progress)


def load_first(comm: Any, load: Callable[[], "Digits"]) -> "Digits":
    """Return the digits, read by rank 0 first, which may download; compare all."""
    if comm.rank:
        comm.barrier()
    loaded = load()
    if not comm.rank:
        comm.barrier()
    found = comm.allgather(loaded.checksum)
    if different := [str(rank) for rank, sum_ in enumerate(found) if sum_ != found[0]]:
        raise ValueError(
            f"rank {', '.join(different)} has other images than rank 0; give all the "
            "same by --data DIR"
        )
    return loaded


def threads(comm: Any) -> int | None:
    """Return a process's share of the cores; None if it may take all it is bound to."""
    here = comm.allgather(platform.node()).count(platform.node())
    cores = available_cores()
    bound = cores < (os.cpu_count() or 1)
    return None if here == 1 or bound else max(1, cores // here)


def on_all(command: Callable[[Any], int]) -> int:
    """Run a command on all processes that mpiexec started, and return its exit code.

    If all fail within `PATIENCE`, for one reason, rank 0 alone has told it. If one
    fails alone, it tells its reason and ends the others, which may wait for it.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter if there is no MPI
        fail(
            f"this was started by mpiexec and needs mpi4py with an MPI ({error}); pip "
            'install "tinycnn[mpi]"'
        )
    comm = MPI.COMM_WORLD
    farewell = comm.Dup()  # others may be inside a call on the first
    try:
        code = command(comm)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001
        code = report(traceback.format_exc())
    if code:
        all_failed, began = farewell.Ibarrier(), time.monotonic()
        while not all_failed.Test():
            if time.monotonic() - began > PATIENCE:
                if comm.rank and isinstance(sys.stderr, io.StringIO):
                    *_, last = sys.stderr.getvalue().splitlines() or ["it ended"]
                    print(f"rank {comm.rank}: {last}", file=sys.__stderr__, flush=True)
                comm.Abort(code)
            time.sleep(0.01)
    return code


def spread(
    comm: Any, function: Callable[[Any], Any], jobs: Sequence[Any], at_once: int = 1
) -> Iterator[Any]:
    """Yield what a function makes of each job, as soon as it is made.

    The jobs are done by the processes of mpiexec other than rank 0, which yields; if
    there are none, by threads, so many at once.
    """
    pool: Any = ThreadPoolExecutor(at_once)
    if comm.size > 1:
        from mpi4py.futures import MPICommExecutor

        pool = MPICommExecutor(comm)
    with pool as executor:
        futures = [executor.submit(function, job) for job in jobs] if executor else []
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def train_seed(command: Sequence[str]) -> tuple[int, str]:
    """Train in a process of its own; return the exit code, and the last line told."""
    # This one's place among the processes of mpiexec is not that one's.
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_RANK")}
    argv = [sys.executable, "-m", "tinycnn.train", "--json", *command]
    ended = subprocess.run(argv, capture_output=True, text=True, env=environment)
    *_, line = (ended.stderr if ended.returncode else ended.stdout).splitlines() or [""]
    return ended.returncode, line


def sweep(
    comm: Any, folder: Path, seeds: Sequence[int], flags: list[str], at_once: int
) -> int:
    """Train with several seeds, each in a folder in this one; return the exit code.

    Each result is a line on stdout and in ``runs.jsonl``. Finished runs are not made
    again, and interrupted ones go on.
    """
    record, code = folder / "runs.jsonl", 0
    lines = record.read_text("utf-8").splitlines() if record.exists() else []
    done = {json.loads(line)["seed"] for line in lines}
    jobs = []
    for seed in (seed for seed in seeds if seed not in done):
        run = folder / f"seed_{seed}"
        begun = (run / "checkpoint.safetensors").exists()
        where = ["--resume" if begun else "--out", str(run)]
        jobs.append([*flags, "--seed", str(seed), *where])
    for ended, line in spread(comm, train_seed, jobs, at_once):
        if ended:
            code = report(line.removeprefix("error: "))
            continue
        with record.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)
    return code
