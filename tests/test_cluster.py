"""The laws of `tinycnn.cluster`: the same bits for any number of processes.

Processes are threads here, which run in turns, so that no MPI is needed; ``.ci/run``
compares real ones.
"""

import io
import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinycnn import cluster, train
from tinycnn.cluster import ALONE, ShardedTrainer, summed
from tinycnn.nn import Adam, BatchNorm2D, Dense, Dropout, Flatten, Sequential
from tinycnn.training.augment import Deformation, deform
from tinycnn.training.fit import Trainer
from tinycnn.training.recipes import Recipe

RECIPE = Recipe("small", 2, 2, deformation=Deformation(shift=1), average_decay=0.9)


@dataclass
class Comm:
    """The methods of `mpi4py.MPI.Comm` that are used."""

    rank: int
    size: int
    sent: list
    turn: threading.Lock
    every: threading.Barrier

    def allgather(self, value):
        self.sent[self.rank] = value
        self.turn.release()
        try:
            self.every.wait()
            found = list(self.sent)
            self.every.wait()
        finally:
            self.turn.acquire()
        return found

    def Alltoallv(self, sent, received):  # noqa: N802
        pieces = np.split(sent[0].ravel(), np.cumsum(sent[1])[:-1])
        mine = [theirs[self.rank] for theirs in self.allgather(pieces)]
        assert [piece.size for piece in mine] == list(received[1])
        received[0][...] = np.concatenate(mine).reshape(received[0].shape)

    def Allgather(self, sent, received):  # noqa: N802
        received[...] = np.concatenate(self.allgather(sent))


def on_all(size, function):
    """Return ``function(comm)`` of each process; raise what one raised."""
    shared = [None] * size, threading.Lock(), threading.Barrier(size, timeout=60)

    def process(rank):
        with shared[1]:
            return function(Comm(rank, size, *shared))

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(process, range(size)))


@given(st.sampled_from([1, 2, 4, 8, 16]), st.data(), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_the_sum_is_that_of_one_tree_for_any_number_of_processes(shards, data, size):
    processes = data.draw(st.integers(1, shards))
    rng = np.random.default_rng(size)
    arrays = (rng.standard_normal((shards, size)) * 10.0 ** rng.integers(-6, 6)).astype(
        np.float32
    )
    tree = list(arrays)
    while len(tree) > 1:
        tree = [a + b for a, b in zip(tree[::2], tree[1::2], strict=True)]
    found = on_all(processes, lambda c: summed(c, shards, arrays.__getitem__))
    assert {one.tobytes() for one in found} == {tree[0].tobytes()}


def trainer(comm, shards, batch, count, asked=lambda: None):
    rng = np.random.default_rng(7)
    layers = [BatchNorm2D(1), Flatten(), Dropout(0.3), Dense(16, 10, rng=rng)]
    model = Sequential(layers, 3)
    recipe = Recipe(**vars(RECIPE) | {"batch_size": batch})
    images = rng.integers(0, 256, (count, 4, 4)).astype(np.uint8)
    labels, val = rng.integers(0, 10, count).astype(np.uint8), images[[0, -1]]
    data = images, labels, val, labels[[0, -1]]
    arguments = recipe, 3, model, Adam(model.parameters()), *data
    if shards is None:
        return Trainer(*arguments)
    return ShardedTrainer(comm, shards, asked, *arguments)


def outcome(comm, *settings):
    """Train to the end; return all figures and the bytes of all arrays."""
    run = trainer(comm, *settings)
    figures = list(run.run())
    return figures, {name: array.tobytes() for name, array in run.state().items()}


@given(st.sampled_from([2, 4, 8]), st.data(), st.integers(1, 20))
@settings(max_examples=5, deadline=None)
def test_a_run_is_the_same_for_any_number_of_processes(shards, data, count):
    batch = data.draw(st.integers(shards, 12))
    expected = outcome(ALONE, shards, batch, count)
    processes = data.draw(st.integers(2, shards))
    for found in on_all(processes, lambda c: outcome(c, shards, batch, count)):
        assert found == expected


def test_one_shard_learns_what_the_plain_trainer_learns():
    (_, plain), (_, one) = (outcome(ALONE, shards, 8, 20) for shards in (None, 1))
    different = {name for name in plain if plain[name] != one[name]}
    assert all("running" in name for name in different)  # b + (a - b) is rounded


def test_running_averages_move_by_the_mean_over_all_images():
    run, chosen = trainer(ALONE, 4, 7, 20), np.arange(7)
    warps, norm = RECIPE.deformation.warps(3, 1, 20), run.model.layers[0]
    run._step(chosen, warps)
    mean = deform(run.train_images[chosen], warps.of(chosen)).mean()
    assert norm.running_mean == pytest.approx(0.1 * mean, rel=1e-5)


def test_a_signal_to_one_process_is_known_to_all_after_the_same_step():
    def stopped(comm):
        number = 15 if comm.rank == 1 else None
        run = trainer(comm, 4, 8, 20, lambda: number if run.steps == 1 else None)
        steps = itertools.takewhile(lambda _: run.signum is None, run.run())
        return len(list(steps)), run.signum

    assert on_all(3, stopped) == [(1, 15)] * 3
    assert trainer(ALONE, 4, 8, 20).signum is None  # also where no step was taken yet


def test_a_process_that_rounds_differently_is_named_in_the_first_step(monkeypatch):
    original = ShardedTrainer._shard

    def other(self, *arguments):
        array = original(self, *arguments)
        array.view(np.int32)[5] ^= self._comm.rank == 2
        return array

    monkeypatch.setattr(ShardedTrainer, "_shard", other)
    with pytest.raises(
        ValueError, match=r"rank 2 on .* rounds differently from rank 0"
    ):
        on_all(3, lambda comm: outcome(comm, 4, 8, 20))


@pytest.mark.parametrize(("size", "shards", "batch"), [(3, 2, 8), (1, 8, 7)])
def test_too_few_shards_or_images_are_one_sentence(size, shards, batch):
    said = f"--shards {shards} is for .*, not {batch} and {size}"
    with pytest.raises(ValueError, match=said):
        trainer(SimpleNamespace(rank=0, size=size), shards, batch, 20)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_without_its_mpi_rank_0_alone_says_what_is_missing(rank, monkeypatch, capsys):
    monkeypatch.setenv(next(iter(train.LAUNCHERS)), rank)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(SystemExit) as ended:
        train.main(["--shards", "2"])
    assert ended.value.code == 1
    assert ('pip install "tinycnn[mpi]"' in capsys.readouterr().err) == (rank == "0")


def test_an_mpiexec_of_another_mpi_is_named(monkeypatch, capsys):
    alone = SimpleNamespace(rank=0, size=1)
    mpi = SimpleNamespace(COMM_WORLD=alone, get_vendor=lambda: ("Open MPI", (5, 0)))
    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=mpi))
    with pytest.raises(SystemExit):
        cluster.on_all("1", lambda _: 0)
    assert "mpi4py's mpiexec, of Open MPI" in capsys.readouterr().err


def test_a_sweep_trains_with_each_seed_and_goes_on(tmp_path, capfd, monkeypatch):
    """A failed seed does not end it; a signal does."""
    made = {}

    def one(arguments):
        made[arguments.seed] = arguments
        if arguments.seed == 1:
            cluster.fail("no space", code=3)
        print(arguments.seed)
        return 143 if arguments.seed == 3 else 0

    (tmp_path / "seed_0").mkdir()
    (tmp_path / "seed_0" / "checkpoint.safetensors").touch()
    flags = ["--preset=quick", "--seeds=0-4", "--from", __file__]
    arguments = train._parser().parse_args([*flags, "--resume", str(tmp_path)])
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # as on a rank from 1
    assert cluster.sweep(ALONE, one, arguments) == 143
    told = capfd.readouterr()
    assert told.out.split() == ["0", "2", "3"]
    assert told.err.splitlines() == [
        "failed: seed 1: no space",
        f"the same with --resume {tmp_path} goes on",
    ]
    assert sorted(made) == [0, 1, 2, 3]
    for seed, ran in made.items():
        assert (ran.preset, ran.json) == ("quick", True)
        assert (ran.resume is None) == (seed != 0)
        assert (ran.out is None) == (seed == 0)
        assert (ran.start is None) == (seed == 0)
