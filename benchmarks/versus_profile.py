"""Where our training step goes: time, share of sgemm and memory, by fused step.

*MB* are the arrays that a step is given and returns, its weights and, in backward,
their gradients: the least that moves. *Of sgemm* is as in `benchmarks.versus`.
"""

import statistics
import time
from collections import defaultdict
from typing import Any

from benchmarks.tables import markdown, three_digits
from benchmarks.versus_networks import Network, draw, flop

STEPS = 40
HEAD = ("step", "ms", "share", "of sgemm", "MB", "GB/s")


def profile(
    network: Network, images: Any, labels: Any, threads: int, gflops: float
) -> str:
    """Return a table of the steps of training on one batch, again and again."""
    from benchmarks.versus_peers import as_layers
    from tinycnn import fast, nn
    from tinycnn.threads import use_threads

    use_threads(threads)
    model = as_layers(network, draw(network))
    runner, optimizer = fast.fuse(model), fast.Adam(model.parameters())
    took, moved = defaultdict[str, list[float]](list), dict[str, int]()

    def watched(name: str, function: Any, arrays: list[Any]) -> Any:
        def run(*given: Any) -> Any:
            start = time.perf_counter()
            y = function(*given)
            took[name].append(1000 * (time.perf_counter() - start))
            moved[name] = sum(getattr(one, "nbytes", 0) for one in (*given, y, *arrays))
            return y

        return run

    work = {}
    for place, step in runner.steps.items():
        weights = [parameter.value for parameter in model.layers[place].parameters()]
        name = f"{place} {type(step).__name__}"
        step.forward = watched(f"{name}, forward", step.forward, weights)
        step.backward = watched(f"{name}, backward", step.backward, 2 * weights)
        forward = flop(network[: place + 1], training=False) if weights else 0
        forward -= flop(network[:place], training=False) if weights and place else 0
        work[f"{name}, forward"] = forward
        work[f"{name}, backward"] = forward * (2 if place else 1)
    state = [*optimizer.state().values()]
    optimizer.step = watched("Adam", optimizer.step, state + 2 * state)
    for _ in range(STEPS):
        start = time.perf_counter()
        y = runner.forward(images, training=True)
        runner.backward(nn.softmax_cross_entropy(y, labels)[1])
        optimizer.step()
        took["all"].append(1000 * (time.perf_counter() - start))
    ms = {name: statistics.median(times[STEPS // 4 :]) for name, times in took.items()}
    rows = []
    for name, value in ms.items():
        share = work.get(name, 0) * len(images) / value / 1e6 / gflops
        size = moved.get(name, 0) / 1e6
        cells = value, value / ms["all"], share, size, size / value
        rows.append([name, *map(three_digits, cells)])
    return markdown(HEAD, rows)
