"""Random small networks, fused, beside their plain layers; and threads that share one.

``python -m benchmarks.fused [--networks 5000] [--forwards 10000] [--seed 0]``

1. *Networks*: sizes, orders of layers, batches and nested networks are drawn; between
   two steps of one, its weights are edited, replaced or given another layout. Output,
   gradients and the state of batch norm must be those of the layers as they are
   written, to `MOST` of the largest. Where rounding opens a ReLU or lets another cell
   win, gradients differ by right: a network is wrong if it is with `TRIES` inputs.
2. *Threads*: two and four threads ask one fused network, four ask one `Reader`, and,
   where processes fork, a pool of two asks after a first forward here. All answers must
   have the bits of the first.

It ends with 1 if anything differs, and with a signal if a kernel left its arrays.
"""

import argparse
import copy
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tinycnn import Reader, fast, models, nn
from tinycnn._cli import Parser, integer, run_command

MOST = 2e-3
TRIES = 3
FILTERS = 1, 3, 16, 17, 32, 48
UNITS = 3, 16, 64, 80, 96


def draw_layer(rng: Any, shape: tuple[int, ...], depth: int) -> nn.Layer:
    """Return a layer for images of a shape (H, W, C) or rows of a shape (D,)."""
    kind, C = rng.integers(9), shape[-1]
    if kind < 2:
        return nn.ReLU()
    if kind == 2:
        return nn.Dropout(float(rng.choice([0.25, 0.5])))
    if kind == 3 and depth < 2:
        return nn.Sequential(draw_layers(rng, shape, depth + 1))
    if len(shape) == 1:
        return nn.Dense(C, int(rng.choice(UNITS)), rng=rng)
    if kind == 4:
        return nn.MaxPool2D(int(rng.choice([2, 2, 2, 3])))
    if kind == 5:
        return nn.BatchNorm2D(C) if rng.random() < 0.7 else nn.Flatten()
    return nn.Conv2D(
        C,
        int(rng.choice(FILTERS)),
        3 if rng.random() < 0.4 else tuple(map(int, rng.integers(1, 6, 2))),
        stride=int(rng.choice([1, 1, 1, 2])),
        padding=["same", 0, 1, (2, 0)][rng.integers(4)],
        rng=rng,
    )


def draw_layers(rng: Any, shape: tuple[int, ...], depth: int = 0) -> list[nn.Layer]:
    """Return layers that fit each other."""
    layers: list[nn.Layer] = []
    count = rng.integers(1, 8)
    while len(layers) < count:
        layer = draw_layer(rng, shape, depth)
        try:
            shape = layer.forward(np.zeros((1, *shape), np.float32)).shape[1:]
        except ValueError:  # a window larger than the image
            continue
        layers.append(layer)
        if isinstance(layer, nn.Conv2D) and rng.random() < 0.8:
            layers.append(nn.ReLU())
    return layers


def computed(runner: Any, model: nn.Sequential, x: Any, dy: Any) -> list[Any]:
    """Return output and state after a forward and, if there is dy, gradients in one."""
    y, grads = runner.forward(x, dy is not None), [np.zeros(1)]
    if dy is not None:
        runner.backward(dy)
        grads += [parameter.grad.ravel() for parameter in model.parameters()]
    buffers = [a for name, a in model.state().items() if "running" in name]
    return [y, np.concatenate(grads), *buffers]


def differs(seed: int) -> str:
    """Return what differs between a drawn network and its plain twin, or nothing."""
    rng = np.random.default_rng(seed)
    shape = (*map(int, rng.integers(1, 20, 2)), int(rng.choice([1, 1, 2, 16, 17, 32])))
    shape = shape if rng.random() < 0.9 else shape[2:]
    model = nn.Sequential(draw_layers(rng, shape), seed)
    plain, runner = copy.deepcopy(model), fast.fuse(model)
    for training in (True, True, True, False):
        for p, q in zip(model.parameters(), plain.parameters(), strict=True):
            new = p.value + rng.normal(0, 0.1, p.value.shape).astype(np.float32)
            p.value[...] = q.value = new.copy()
            if rng.random() < 0.5:
                p.value = np.asfortranarray(new)
        N, errors = int(rng.choice([1, 2, 5, 8, 17, 33])), []
        while len(errors) < TRIES and min(errors, default=1) > MOST:
            x = rng.standard_normal((N, *shape)).astype(np.float32)
            x[rng.random(x.shape) < rng.choice([0, 0.7])] = 0
            dy = rng.standard_normal(plain.forward(x).shape).astype(np.float32)
            found, wanted = (
                computed(*both, x, dy if training else None)
                for both in ((runner, model), (plain, plain))
            )
            apart = zip(found, wanted, strict=True)
            error = [np.abs(a - b).max() / (np.abs(b).max() + 1e-6) for a, b in apart]
            errors.append(max(error))
        if min(errors) > MOST:
            return f"seed {seed}, {model.layers}, {N} of {shape}: {errors}"
    return ""


def shared_by_threads(forwards: int) -> int:
    """Return how many of many answers of a network, a reader and a pool are others."""
    rng, wrong = np.random.default_rng(0), 0
    runner, reader = fast.fuse(models.build("default")), Reader()
    batches = [rng.random((n, 28, 28, 1), np.float32) for n in (1, 3, 8)]
    images = [batch[..., 0] for batch in batches]
    asked = [("network", runner.forward, batches, n, forwards) for n in (2, 4)]
    asked += [("reader", reader.probabilities, images, 4, forwards)]
    for name, ask, inputs, count, much in asked:
        wanted = [ask(one) for one in inputs]
        with ThreadPoolExecutor(count) as threads:
            found = threads.map(ask, (inputs[i % 3] for i in range(much)))
            bad = [not np.array_equal(y, wanted[i % 3]) for i, y in enumerate(found)]
        print(f"{name}, {count} threads: {sum(bad)} of {much} answers differ")
        wrong += sum(bad)
    if "fork" in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map_async(runner.forward, batches).get(timeout=60)
        again = map(runner.forward, batches)
        bad = [not np.array_equal(*both) for both in zip(again, found, strict=True)]
        print(f"two processes after a fork: {sum(bad)} of {len(bad)} answers differ")
        wrong += sum(bad)
    return wrong


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    arguments = _parser().parse_args(argv)
    seeds = range(arguments.seed, arguments.seed + arguments.networks)
    wrong = [text for text in map(differs, seeds) if text]
    print(f"{len(wrong)} of {len(seeds)} networks differ", *wrong, sep="\n")
    return 1 if wrong + shared_by_threads(arguments.forwards) else 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "python -m benchmarks.fused", "Compare steps and layers.", json=False
    )
    parser.add_argument("--networks", type=integer(0, 10**6), default=5000, metavar="N")
    parser.add_argument(
        "--forwards", type=integer(10, 10**6), default=10000, metavar="N"
    )
    parser.add_argument("--seed", type=integer(0, 10**9), default=0, metavar="N")
    return parser


if __name__ == "__main__":
    run_command(main)
