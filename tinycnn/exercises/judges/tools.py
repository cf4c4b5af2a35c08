"""Judges of the tools: Numba, the gradient check, five views, a learning curve."""

import contextlib
import time
from itertools import product
from typing import Any
from unittest.mock import Mock

import numpy as np

from tinycnn.exercises.judges import basics
from tinycnn.exercises.judges.compare import Tells, Wrong, changed, compare, reference
from tinycnn.exercises.path import ROOM
from tinycnn.models import as_input, predict

RATIO = 20.0  # how many times as fast compiled loops must be
LOOPS = "n oh ow f kh kw c"


def numba(mine: Any) -> str:
    """Judge which loops are called safe, then the compiled loops, results and time."""
    from numba.core.dispatcher import Dispatcher
    from numba.core.errors import NumbaError

    pairs = [
        (slow, mine.compiled(slow)) for slow in (mine.convolve, mine.convolve_backward)
    ]
    for _, fast in pairs:
        if not isinstance(fast, Dispatcher):
            raise Wrong(
                f"compiled returned {fast!r:.40}, which is not Numba's: use njit"
            )
    found, said = mine.safe_loops(), []
    for array, safe in reference("numba").safe_loops().items():
        if not isinstance(found, dict) or not isinstance(found.get(array), str):
            raise Wrong(
                f"safe_loops must return a dict with a text of loops for {array}"
            )
        mine_safe = found[array].replace(",", " ").split()
        for loop in mine_safe:
            if loop not in LOOPS.split():
                raise Wrong(f"{loop!r} for {array} is none of the loops {LOOPS}")
            if loop not in safe.split():
                raise Wrong(
                    f"the loop over {loop} is not safe for {array}: two iterations "
                    "add to the same entry, and one of the two sums can be lost"
                )
        for loop in safe.split():
            if loop not in mine_safe:
                raise Wrong(
                    f"the loop over {loop} is safe for {array}, too: no two iterations "
                    "write to the same entry"
                )
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
            both = zip(np.atleast_1d(*results), np.atleast_1d(*other), strict=True)
            if not all(np.allclose(a, b, 1e-4, 1e-4) for a, b in both):
                raise Wrong(f"the compiled {name} has another result than your loops")
        ratio = min(seconds[0]) / min(seconds[1])
        if ratio < RATIO:
            raise Wrong(
                f"the compiled {name} is only {ratio:.1f} times as fast, and {RATIO:g} "
                "are asked for: is yours in loops down to single numbers?"
            )
        said.append(f"{name} {ratio:,.0f} times")
    return f"compiled, your loops are as right and faster: {', '.join(said)}"


def gradcheck(mine: Any) -> None:
    """Judge the slopes of a cube, then the check, by right layers and by faults."""
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 2, (3, 2))
    kept = values.copy()
    found = mine.slopes(lambda: (values**3).sum(), values)
    if not np.array_equal(values, kept):
        raise Wrong("slopes changes values: put each entry back, exactly")
    tells = Tells("gradcheck", v=values, h=1e-5)
    compare("the slopes of sum(v**3)", found, 3 * values**2, tells, "slopes", 1e-8)
    lines = (ROOM / "tells" / "ten_faults.txt").read_text("utf-8").splitlines()[4:]
    names = {"rng": rng, "rows": rng.standard_normal((4, 3))}
    names["images"] = rng.permutation(144).reshape(2, 6, 6, 2) / 40 - 2.01
    for line, sentence in zip(lines[::2], lines[1::2], strict=True):
        exercise, layer, x, wrong, *texts = line.split("; ")
        module = changed(exercise, *texts)
        judged = eval(layer, vars(module) | names)
        judged.cast("float64")
        answer, given = mine.check(judged, eval(x, names).copy()), wrong.split()
        kind = type(judged).__name__
        if not isinstance(answer, list):
            raise Wrong(
                f"check returned {answer!r:.40}, and should return a list of names"
            )
        for name in given:
            if name not in answer:
                raise Wrong(
                    f"check misses a wrong {name} of {kind}: {sentence.strip()}"
                )
        if more := [name for name in answer if name not in given]:
            raise Wrong(f"check calls {more[0]} of {kind} wrong: {sentence.strip()}")


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
        if np.shares_memory(found, images):
            raise Wrong("moved returns a view of the images: copy them")
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
        if not np.array_equal(given_labels, labels[numbers]):
            raise Wrong("train is given labels of other images")
        learned.append(numbers.tolist())

        def forward(x: Any) -> Any:  # wrong: 2 and 1 of ten
            n = x.max(axis=(1, 2, 3)).astype(int) - 1
            return np.eye(10)[
                (labels[n] + (n % 10 < (2 if len(given) < 20 else 1))) % 10
            ]

        return Mock(forward=forward)

    errors = mine.learning_curve(train, images, labels, [8, 40])
    if any(max(numbers) >= 40 for numbers in learned):
        raise Wrong(
            "held-out images are learned from: train on images before the last fifth"
        )
    if [len(numbers) for numbers in learned] != [8, 40]:
        raise Wrong(
            f"train must be given 8, then 40 images, not {list(map(len, learned))}"
        )
    tells = Tells("views")
    compare("the curve's errors", np.array(errors, float), [0.2, 0.1], tells, "errors")
    with contextlib.suppress(ValueError):
        mine.learning_curve(train, images, labels, [41])
        raise Wrong(
            "41 of 50 images are learned from, and some of them held out as well"
        )


def _draw_curve(mine: Any) -> str:
    """Print the learning curve of the learner's network; return what views change."""
    digits, models = basics.load_mnist(basics.SAMPLE_FOLDER), []

    def train(images: Any, labels: Any) -> Any:
        with contextlib.redirect_stdout(None):
            models.append(mine.train_cnn(images, labels))
        return models[-1]

    images, labels = as_input(digits.train_images), digits.train_labels.astype(int)
    sizes = [len(images) // part for part in (16, 8, 4, 2)]
    errors = mine.learning_curve(train, images, labels, sizes)
    for size, error in zip(sizes, errors, strict=True):
        print(f"{size:6} images {error:7.1%}  {'=' * round(200 * error)}")
    if errors[-1] >= errors[0]:
        raise Wrong("more images do not help: does your exercise 10 still learn?")
    logits = predict(models[-1], digits.test_images)
    five = mine.predict(models[-1], as_input(digits.test_images))
    one, many = (
        int((n.argmax(axis=1) != digits.test_labels).sum()) for n in (logits, five)
    )
    return f"of {len(five):,} test digits {one} are read wrong, with five views {many}"
