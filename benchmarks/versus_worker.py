"""One contestant, one process: it sleeps until it is asked for a burst of steps.

The number of threads is set in every way there is before a library is loaded: by
variables of the environment, and by the cores that the process may use.
"""

import math
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

LOGITS = 16  # images whose logits are compared

Message = dict[str, Any]


class WorkerError(RuntimeError):
    """A contestant's process ended before it answered."""


class Worker:
    """The caller's end of a contestant's process; WorkerError if that ends.

    An ``order`` has ``peer``, ``network``, ``training``, ``batch``, ``threads``,
    ``learning_rate``, ``folder`` (as `benchmarks.versus_data` writes it), and
    ``without``: a key of `benchmarks.versus_ablation.ABLATIONS` or None.
    """

    def __init__(self, name: str, order: Message, environment: dict[str, str]) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, order), daemon=True)
        with patch.dict(os.environ, variables(order["threads"]) | environment):
            self.process.start()
        theirs.close()  # so that the end of the process closes the pipe
        try:
            self.version = self._answer()
        except BaseException:
            self.close()
            raise

    def check(self, steps: int) -> Message:
        """Return ``logits`` of the first digits, and ``losses`` of steps after that."""
        return self._answer(("check", steps))

    def burst(self, seconds: float) -> list[float]:
        """Return the milliseconds of every step for some seconds."""
        return self._answer(("burst", seconds))

    def close(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def _answer(self, request: tuple[str, Any] | None = None) -> Any:
        try:
            if request is not None:
                self.pipe.send(request)
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            raise WorkerError(
                f"the process of {self.name} ended with {self.process.exitcode};"
                " its own message is above"
            ) from None


def variables(threads: int) -> dict[str, str]:
    """Return the variables that tell every library how many threads it may use."""
    libraries = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    return {f"{name}_NUM_THREADS": str(threads) for name in libraries} | {
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


# --- in the process ----------------------------------------------------------------


def serve(pipe: Any, order: Message) -> None:
    """Build the network, then answer requests."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: order["threads"]])
    from benchmarks import versus_data, versus_peers
    from benchmarks.versus_ablation import ABLATIONS

    images, labels, arrays = versus_data.read(Path(order["folder"]))
    job = versus_peers.Job(
        order["network"], arrays, order["threads"], order["learning_rate"]
    )
    trick = order["without"]
    with nullcontext() if trick is None else ABLATIONS[trick].left_out():
        contestant = (versus_peers.OURS | versus_peers.PEERS)[order["peer"]].build(job)
        pipe.send(contestant.version)
        batches = in_a_circle(contestant, images, labels, order["batch"])
        while True:
            what, much = pipe.recv()
            if what == "check":
                pipe.send(check(contestant, batches, much))
            else:
                pipe.send(burst(contestant, batches, order["training"], much))


def in_a_circle(contestant: Any, images: Any, labels: Any, size: int) -> Iterator[Any]:
    """Yield batches of the digits for ever; one may hold the last and the first."""
    from benchmarks.versus_data import as_input

    place = 0
    while True:
        chosen = range(place, place + size)
        place = chosen.stop % len(images)
        yield contestant.prepare(
            as_input(images.take(chosen, axis=0, mode="wrap")),
            labels.take(chosen, mode="wrap"),
        )


def check(contestant: Any, batches: Iterator[Any], steps: int) -> Message:
    """Return the logits of some digits, then the losses of some steps from there on."""
    import numpy as np

    first = next(batches)
    logits = np.asarray(contestant.infer(first))[:LOGITS]
    losses = [contestant.train(first)]
    losses += [contestant.train(next(batches)) for _ in range(steps - 1)]
    return {"logits": logits.tolist(), "losses": losses}


def burst(
    contestant: Any, batches: Iterator[Any], training: bool, seconds: float
) -> list[float]:
    """Return the milliseconds of every step until some seconds are over, at least one.

    One more step before them is not timed: it wakes threads and caches, and the first
    one ever compiles.
    """
    do = contestant.train if training else contestant.infer
    do(next(batches))
    took: list[float] = []
    end = time.perf_counter() + seconds
    while not took or time.perf_counter() < end:
        batch = next(batches)
        start = time.perf_counter()
        answer = do(batch)
        took.append(1000 * (time.perf_counter() - start))
        if training and not math.isfinite(answer):
            raise ArithmeticError(f"the loss is {answer}")
    return took
