"""Be ``python -m tinycnn.train``, and tell when the first step is done, or an epoch.

``python -m benchmarks.start_watch step|epoch ARGUMENTS``, with the arguments of
`tinycnn.train`. One line on stdout is a JSON object; then the process is gone.

====================== ===============================================================
``step``               ``peak_mb`` of the process, as soon as a step of training is done
``epoch``              of the whole run: ``seconds`` from before its first batch until
                       all is saved, how many ``batches``, the median seconds of a
                       ``step`` and ``peak_mb``
====================== ===============================================================

Nothing is loaded here that the command does not load itself, or later than it would.

This file knows two inner names of the command, its loop and the step that it takes. It
does not know the clock of who waits: `benchmarks.start`.
"""

import json
import os
import statistics
import sys
import time
from typing import Any, NoReturn

from benchmarks.versus_worker import peak_mb
from tinycnn import train


def leave_after_a_step(run: Any, stop: Any) -> float:
    """Do the command's loop as far as the end of its first step."""
    step = run.trainer.optimizer.step

    def last() -> None:
        step()
        _leave({})

    run.trainer.optimizer.step = last
    return train_loop(run, stop)


def time_all(run: Any, stop: Any) -> float:
    """Do the command's loop, and take the time of it and of each step."""
    from tinycnn.training import fit

    step, took = fit.train_step, []

    def timed(*arguments: Any) -> Any:
        begin = time.perf_counter()
        result = step(*arguments)
        took.append(time.perf_counter() - begin)
        return result

    fit.train_step = timed
    begin = time.perf_counter()
    train_loop(run, stop)
    seconds = time.perf_counter() - begin
    _leave({"seconds": seconds, "batches": len(took), "step": statistics.median(took)})


def _leave(found: dict[str, Any]) -> NoReturn:
    print(json.dumps(found | {"peak_mb": peak_mb()}), flush=True)
    os._exit(0)


train_loop = train._loop

if __name__ == "__main__":
    loops = {"step": leave_after_a_step, "epoch": time_all}
    train._loop = loops[sys.argv[1]]
    sys.exit(train.main(sys.argv[2:]))
