"""Random small networks, fused, beside their plain layers; and threads that share one.

``python -m benchmarks.fused [--networks 5000] [--forwards 10000] [--seed 0]``

1. *Networks*: sizes, orders of layers, batches and nested networks are drawn; between
   two steps, weights are edited or replaced. Output, gradients and the state of batch
   norm must be those of the layers as they are written, to `MOST` of the largest, or as
   near to the layers in float64 as these are in float32: behind several batch norms of
   few values, rounding grows to a hundredth. Where it opens a ReLU or lets another cell
   win, gradients differ by right: a network is wrong if it is with `TRIES` inputs.
2. *Threads*: two and four threads ask one fused network, four ask one `Reader`, and,
   where processes fork, a pool of two asks. All answers must have the same bits.

It ends with 1 if anything differs, and with a signal if a kernel left its arrays.
"""

import copy
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tinycnn import Reader, fast, models, nn
from tinycnn._cli import Parser, integer, run_command

MOST = 2e-3
TRIES = 3


def draw_layers(rng: Any, shape: tuple[int, ...], depth: int = 0) -> list[nn.Layer]:
    """Return layers that fit each other, for images (H, W, C) or rows (D,)."""
    layers: list[nn.Layer] = []
    for _ in range(rng.integers(2, 12)):
        C, K = shape[-1], tuple(map(int, rng.integers(1, 6, 2)))
        F = int(rng.choice([1, 3, 16, 17, 32, 48, 64, 80]))
        padding = ["same", 0, 1, (2, 0)][rng.integers(4)]
        stride = int(rng.choice([1, 1, 1, 2]))
        conv = nn.Conv2D(C, F, K, stride=stride, padding=padding, rng=rng)
        layer: nn.Layer = rng.choice(
            [
                nn.ReLU(),
                nn.Dropout(0.5),
                nn.Dense(C, F, rng=rng) if len(shape) == 1 else nn.MaxPool2D(2),
                nn.BatchNorm2D(C) if rng.random() < 0.8 else nn.Flatten(),
                *(conv, nn.Conv2D(C, F, 3, padding=padding, rng=rng)),
                nn.Sequential(draw_layers(rng, shape, depth + 1) if depth < 2 else []),
            ]
        )
        try:
            shape = layer.forward(np.zeros((1, *shape), np.float32)).shape[1:]
        except ValueError:  # of other dimensions, or smaller than the window
            continue
        layers += [layer, nn.ReLU()] if rng.random() < 0.5 else [layer]
    return layers


def computed(runner: Any, model: nn.Sequential, x: Any, dy: Any) -> list[Any]:
    """Return output and state after a forward and, if there is dy, gradients in one."""
    y, grads = runner.forward(x, dy is not None), [np.zeros(1)]
    if dy is not None:
        runner.backward(dy)
        grads += [parameter.grad.ravel() for parameter in model.parameters()]
    buffers = [a for name, a in model.state().items() if "running" in name]
    return [y, np.concatenate(grads), *buffers]


def distance(found: list[Any], wanted: list[Any]) -> float:
    """Return the greatest difference, as a share of the largest number of its array."""
    pairs = zip(found, wanted, strict=True)
    return float(max(np.abs(a - b).max() / (np.abs(b).max() + 1e-6) for a, b in pairs))


def differs(seed: int) -> str:
    """Return what differs between a drawn network and its plain twin, or nothing."""
    rng = np.random.default_rng(seed)
    shape = (*map(int, rng.integers(1, 20, 2)), int(rng.choice([1, 1, 2, 16, 17, 32])))
    model = nn.Sequential(draw_layers(rng, shape), seed)
    plain, runner = copy.deepcopy(model), fast.fuse(model)
    for training in (True, True, True, False):
        for p, q in zip(model.parameters(), plain.parameters(), strict=True):
            q.value = p.value + rng.normal(0, 0.1, p.value.shape).astype(np.float32)
            p.value[...] = q.value
            if rng.random() < 0.5:
                p.value = np.array(q.value, order="F")
        N, errors = int(rng.choice([1, 2, 5, 8, 17, 33])), list[float]()
        while len(errors) < TRIES and min(errors, default=1) > MOST:
            x = rng.standard_normal((N, *shape)).astype(np.float32)
            x[rng.random(x.shape) < rng.choice([0, 0.7])] = 0
            dy = rng.standard_normal(plain.forward(x).shape).astype(np.float32)
            dy, exact = dy if training else None, copy.deepcopy(plain)
            exact.cast(np.float64)
            found = computed(runner, model, x, dy)
            wanted = computed(plain, plain, x, dy)
            error = distance(found, wanted)
            if error > MOST:
                dy = dy if dy is None else dy.astype(np.float64)
                true = computed(exact, exact, x.astype(np.float64), dy)
                if distance(found, true) <= distance(wanted, true):
                    error = 0.0
            errors.append(error)
        if min(errors) > MOST:
            return f"seed {seed}, {model.layers}, {N} of {shape}: {errors}"
    return ""


def shared_by_threads(forwards: int) -> int:
    """Return how many of many answers of a network, a reader and a pool are others."""
    rng, wrong = np.random.default_rng(0), 0
    forward, reader = fast.fuse(models.build("default")).forward, Reader()
    batches = [rng.random((n, 28, 28, 1), np.float32) for n in (1, 3, 8)]
    wanted = [forward(x) for x in batches]
    read = [reader.probabilities(x[..., 0]) for x in batches]
    with ThreadPoolExecutor(2) as two, ThreadPoolExecutor(4) as four:
        for pool in (two, four):
            found = pool.map(lambda i: forward(batches[i % 3]), range(forwards))
            bad = [not np.array_equal(y, wanted[i % 3]) for i, y in enumerate(found)]
            print(f"network, threads: {sum(bad)} of {len(bad)} answers differ")
            wrong += sum(bad)
        found = four.map(
            lambda i: reader.probabilities(batches[i % 3][..., 0]), range(forwards)
        )
        bad = [not np.array_equal(y, read[i % 3]) for i, y in enumerate(found)]
        print(f"reader, four threads: {sum(bad)} of {len(bad)} answers differ")
    if "fork" in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map_async(forward, batches).get(timeout=60)
        bad += [not np.array_equal(*both) for both in zip(found, wanted, strict=True)]
        print(f"two processes after a fork: {sum(bad[-3:])} of 3 answers differ")
    return wrong + sum(bad)


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = Parser(
        "python -m benchmarks.fused", "Compare steps and layers.", json=False
    )
    for name, default in (("networks", 5000), ("forwards", 10000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=integer(0, 10**9), default=default)
    given = parser.parse_args(argv)
    wrong = [
        *filter(None, map(differs, range(given.seed, given.seed + given.networks)))
    ]
    print(f"{len(wrong)} of {given.networks} networks differ", *wrong, sep="\n")
    return 1 if shared_by_threads(given.forwards) or wrong else 0


if __name__ == "__main__":
    run_command(main)
