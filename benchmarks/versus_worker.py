"""One contestant, one process: it sleeps until it is asked for a burst of steps.

The first line on its stdin is the order, a JSON object; it answers with a line when the
network is built, and then once a request:

======================================= ================================================
``{"do": "check", "steps"}``            ``losses`` of that many steps, and ``logits`` of
                                        the first digits before them
``{"do": "burst", "seconds"}``          ``ms`` of every step, ``peak_mb`` of the process
                                        so far, and the processor's ``idle_seconds``
                                        that it took between the last burst and this
======================================= ================================================

It ends when its stdin does. What it has to complain of goes to its stderr; if it dies,
the last line of that is what the caller learns (`WorkerError`).

The number of threads is set in every way there is before a library is loaded: by
variables of the environment, and by the cores that the process may use.

This file knows processes, clocks and memory. What is timed is in
`benchmarks.versus_peers`.
"""

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LOGITS = 16  # images whose logits are compared
# What this library and those below it set when they are imported, also in the process
# that starts the others. How threads wait is the affair of each contestant.
SET_ON_IMPORT = (
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "NUMBA_OPT",
    "KMP_DUPLICATE_LIB_OK",
)
UNTIMED = 1  # step of a burst: threads and caches wake up, the first one compiles

Message = dict[str, Any]


class WorkerError(RuntimeError):
    """A contestant's process is gone; says which, how and why."""


class Worker:
    """The caller's end of a contestant's process.

    Parameters
    ----------
    name : str
        To complain with.
    order : dict
        ``peer``, ``network``, ``training``, ``batch``, ``threads``,
        ``learning_rate``, ``folder`` (as `benchmarks.versus_data` writes it), and
        ``without``: a key of `ABLATIONS` or None.
    environment : dict of str to str
        What the process needs besides.

    Attributes
    ----------
    version : str
        Of the library, as it says.

    Raises
    ------
    WorkerError
        If the network cannot be built.
    """

    def __init__(self, name: str, order: Message, environment: dict[str, str]) -> None:
        self.name = name
        self.log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.versus_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=ROOT,
            env=environment_of(order["threads"]) | environment,
        )
        try:
            self.version = self.ask(order)["version"]
        except BaseException:
            self.close()
            raise

    def ask(self, message: Message) -> Message:
        """Send a line and return the answer.

        Raises
        ------
        WorkerError
            If the process ends instead of answering.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps(message), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer.endswith("\n"):  # nothing, or half a line
            raise WorkerError(self._account())
        return json.loads(answer)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:  # something was left in its buffer
                continue

    def _account(self) -> str:
        """Return how the process ended, and its last words."""
        code = self.process.wait()
        self.log.seek(0)
        lines = [line.strip() for line in self.log if line.strip()]
        ended = f"ended with {code}" if code >= 0 else f"was killed by signal {-code}"
        last = f": {lines[-1]:.300}" if lines else " without a word"
        return f"the process of {self.name} {ended}{last}"


def environment_of(threads: int) -> dict[str, str]:
    """Return the variables of a contestant: how many threads, and nothing of ours."""
    inherited = {k: v for k, v in os.environ.items() if k not in SET_ON_IMPORT}
    counted = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    return (
        inherited
        | {f"{name}_NUM_THREADS": str(threads) for name in counted}
        | {
            "CUDA_VISIBLE_DEVICES": "",
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
    )


# --- in the process ----------------------------------------------------------------


def serve(requests: Iterator[Message], reply: Callable[[Message], None]) -> None:
    """Build the network of the first request, then do what the others ask."""
    order = next(requests)
    use_cores(order["threads"])
    with ExitStack() as tricks:
        # Only now: these load NumPy, which looks once at how many cores there are.
        from benchmarks import versus_data, versus_peers

        if order["without"] is not None:
            from benchmarks.versus_ablation import ABLATIONS

            tricks.enter_context(ABLATIONS[order["without"]].left_out())
        images, labels, arrays = versus_data.read(Path(order["folder"]))
        peer = (versus_peers.OURS | versus_peers.PEERS)[order["peer"]]
        contestant = peer.build(
            versus_peers.Job(
                order["network"], arrays, order["threads"], order["learning_rate"]
            )
        )
        reply({"version": contestant.version})
        course = Course(contestant, images, labels, order["training"], order["batch"])
        for request in requests:
            if request["do"] == "check":
                reply(course.check(request["steps"]))
            else:
                reply(course.burst(request["seconds"]))


class Course:
    """The digits that a contestant goes through in a circle, and its clock.

    Parameters
    ----------
    contestant : Contestant
    images : uint8 array (N, 28, 28)
    labels : int64 array (N,)
    training : bool
        Whether a step is one of training or a question.
    batch : int
        Images of a step.
    """

    def __init__(
        self, contestant: Any, images: Any, labels: Any, training: bool, batch: int
    ) -> None:
        self.contestant = contestant
        self.images, self.labels = images, labels
        self.training, self.batch = training, batch
        self.place = 0
        self.stopped = time.process_time()

    def check(self, steps: int) -> Message:
        """Return the logits of the first digits, then the losses of some steps."""
        import numpy as np

        asked = np.asarray(self.contestant.infer(self.next_batch()))[:LOGITS]
        self.place = 0
        losses = [self.contestant.train(self.next_batch()) for _ in range(steps)]
        return {"logits": asked.tolist(), "losses": losses}

    def burst(self, seconds: float) -> Message:
        """Return the time of every step until some seconds are over, at least one."""
        idle = time.process_time() - self.stopped
        for _ in range(UNTIMED):
            self._step()
        end = time.perf_counter() + seconds
        took = [self._step()]
        while time.perf_counter() < end:
            took.append(self._step())
        self.stopped = time.process_time()
        return {"ms": took, "peak_mb": peak_mb(), "idle_seconds": idle}

    def next_batch(self) -> Any:
        """Return the next digits as the contestant wants them."""
        from benchmarks.versus_data import as_input

        chosen = range(self.place, self.place + self.batch)
        self.place = chosen.stop % len(self.images)
        return self.contestant.prepare(
            as_input(self.images.take(chosen, axis=0, mode="wrap")),
            self.labels.take(chosen, mode="wrap"),
        )

    def _step(self) -> float:
        """Return the milliseconds of one step on the next batch."""
        batch = self.next_batch()
        start = time.perf_counter()
        answer = (
            self.contestant.train(batch)
            if self.training
            else self.contestant.infer(batch)
        )
        took = 1000 * (time.perf_counter() - start)
        if self.training and not math.isfinite(answer):
            raise ArithmeticError(f"the loss is {answer}")
        return took


def use_cores(count: int) -> None:
    """Leave the process so many of its cores; where that cannot be said, all."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def peak_mb() -> float:
    """Return the most memory that this process has held, in MB of 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not from getrusage: there a child begins with what its parent held.
        line = next(s for s in status.read_text().splitlines() if "VmHWM" in s)
        return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def main() -> None:
    """Serve whoever holds the other ends of stdin and stdout."""
    # Libraries print what they like to stdout; that goes to stderr, answers do not.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(
        (json.loads(line) for line in sys.stdin),
        lambda message: print(json.dumps(message), file=answers, flush=True),
    )


if __name__ == "__main__":
    main()
