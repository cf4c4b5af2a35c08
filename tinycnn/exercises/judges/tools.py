"""Judges of the tools: Numba, the gradient check, five views, a learning curve."""

import contextlib
import re
import time
from itertools import product
from typing import Any
from unittest.mock import Mock

import numpy as np

from tinycnn.exercises.judges import basics
from tinycnn.exercises.judges.compare import (
    Tells,
    Wrong,
    changed,
    compare,
    pairs_of_lines,
    reference,
    refuse,
)
from tinycnn.exercises.path import ROOM
from tinycnn.models import as_input, predict

RATIO = 20.0  # how many times as fast compiled loops must be


def numba(mine: Any) -> str:
    """Judge which loops are called safe, then the compiled loops, results and time."""
    from numba.core.dispatcher import Dispatcher
    from numba.core.errors import NumbaError

    slow_ones = mine.convolve, mine.convolve_backward
    pairs = [(slow, mine.compiled(slow)) for slow in slow_ones]
    for _, fast in pairs:
        refuse("compiled", fast=fast, Dispatcher=Dispatcher)
    answer, said = mine.safe_loops(), []
    for array, safe in reference("numba").safe_loops().items():
        refuse("safe", found=answer, array=array)
        found, right = answer[array].replace(",", " ").split(), safe.split()
        for loop in found + right:
            refuse("loop", loop=loop, array=array, found=found, right=right)
    rng = np.random.default_rng(0)
    shapes = ((2, 12, 12, 3), (3, 3, 3, 4), (4,), (2, 10, 10, 4))
    x, weight, bias, dy = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    arguments = (x, weight, bias, 1), (dy, x, weight, 1)
    for (slow, fast), given in zip(pairs, arguments, strict=True):
        name = slow.__name__
        try:
            results = fast(*given)
        except NumbaError as error:
            reason = str(error).split("\n")[0]
            raise Wrong(f"Numba does not compile your {name}: {reason}") from None
        seconds = [[], []]  # type: list[list[float]]
        for _, (turn, function) in product(range(3), enumerate((slow, fast))):
            began = time.perf_counter()
            other = function(*given)
            seconds[turn].append(time.perf_counter() - began)
            both = {"results": np.atleast_1d(*results), "other": np.atleast_1d(*other)}
            refuse("fast", name=name, **both)
        ratio = min(seconds[0]) / min(seconds[1])
        refuse("ratio", ratio=ratio, RATIO=RATIO, name=name)
        said.append(f"{name} {ratio:,.0f} times")
    return f"compiled, your loops are as right and faster: {', '.join(said)}"


def gradcheck(mine: Any) -> None:
    """Judge the slopes of a cube, then the check, by right layers and by faults."""
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 2, (3, 2))
    kept = values.copy()
    found = mine.slopes(lambda: (values**3).sum(), values)
    refuse("slopes", values=values, kept=kept)
    tells = Tells("gradcheck", v=values, h=1e-5)
    compare("the slopes of sum(v**3)", found, 3 * values**2, tells, "slopes", 1e-8)
    names = {"rng": rng, "rows": rng.standard_normal((4, 3))}
    names["images"] = rng.permutation(144).reshape(2, 6, 6, 2) / 40 - 2.01
    for line, sentence in pairs_of_lines(ROOM / "tells" / "ten_faults.txt"):
        exercise, layer, x, wrong, *texts = re.split("; ?", line)
        judged = eval(layer, vars(changed(exercise, *texts)) | names)
        judged.cast("float64")
        answer, kind = mine.check(judged, eval(x, names).copy()), type(judged).__name__
        facts = {"wrong": wrong.split(), "kind": kind, "sentence": sentence}
        refuse("check", answer=answer, **facts)


def views(mine: Any) -> str:
    """Judge the views, the curve by a stub of a training, then draw a real one."""
    right, rng = reference("views"), np.random.default_rng(0)
    images = rng.uniform(1, 2, (3, 4, 5, 2)).astype(np.float32)
    for down, across in product((-1, 0, 1), repeat=2):
        tells = Tells("views", x=images, d=down, r=across, moved=right.moved)
        what = f"images moved by {down} down, {across} right"
        should = right.moved(images, down, across)
        found = mine.moved(images, down, across)
        compare(what, found, should, tells, "moved")
        refuse("moved", found=found, images=images)
    weight = rng.standard_normal((40, 10)).astype(np.float32)
    model = Mock(forward=lambda x: x.reshape(len(x), -1) ** 2 @ weight)
    tells = Tells("views", f=model.forward, x=images, moved=right.moved, V=right.VIEWS)
    should = right.predict(model, images)
    compare(
        "logits of five views", mine.predict(model, images), should, tells, "logits"
    )
    _check_curve(mine)
    return _draw_curve(mine)


def _check_curve(mine: Any) -> None:
    """Judge which images are learned from, and which are read."""
    images = np.ones((50, 3, 3, 1), np.float32) * np.arange(1, 51).reshape(50, 1, 1, 1)
    labels, learned = np.arange(50) % 10, []

    def train(given: Any, given_labels: Any) -> Any:
        numbers = given.max(axis=(1, 2, 3)).astype(int) - 1
        refuse("labels", given_labels=given_labels, right=labels[numbers])
        learned.append(numbers.tolist())

        def forward(x: Any) -> Any:  # wrong: 2 and 1 of ten
            n = x.max(axis=(1, 2, 3)).astype(int) - 1
            return np.eye(10)[
                (labels[n] + (n % 10 < (2 if len(given) < 20 else 1))) % 10
            ]

        return Mock(forward=forward)

    errors = mine.learning_curve(train, images, labels, [8, 40])
    refuse("curve", learned=learned)
    tells = Tells("views")
    compare("the curve's errors", np.array(errors, float), [0.2, 0.1], tells, "errors")
    refused = False
    try:
        mine.learning_curve(train, images, labels, [41])
    except ValueError:
        refused = True
    refuse("too many", refused=refused)


def _draw_curve(mine: Any) -> str:
    """Print the learning curve of the learner's network; return what views change."""
    digits, models = basics.sample(), []

    def train(images: Any, labels: Any) -> Any:
        with contextlib.redirect_stdout(None):
            models.append(mine.train_cnn(images, labels))
        return models[-1]

    images, labels = as_input(digits.train_images), digits.train_labels.astype(int)
    sizes = [len(images) // part for part in (16, 8, 4, 2)]
    errors = mine.learning_curve(train, images, labels, sizes)
    for size, error in zip(sizes, errors, strict=True):
        print(f"{size:6} images {error:7.1%}  {'=' * round(200 * error)}")
    refuse("helps", errors=errors)
    logits = predict(models[-1], digits.test_images)
    five = mine.predict(models[-1], as_input(digits.test_images))
    one, many = (
        int((n.argmax(axis=1) != digits.test_labels).sum()) for n in (logits, five)
    )
    return f"of {len(five):,} test digits {one} are read wrong, with five views {many}"
