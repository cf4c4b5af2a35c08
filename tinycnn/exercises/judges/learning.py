"""Judges of losses, optimizers, trainings and tools; some return a remark."""

import contextlib
import re
import timeit
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import numpy as np

from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.exercises.judges.compare import (
    Wrong,
    changed,
    check_function,
    compare,
    pairs_of_lines,
    refuse,
)
from tinycnn.exercises.path import ROOM
from tinycnn.models import as_input, predict
from tinycnn.nn import Parameter, Sequential
from tinycnn.nn.layers import Array
from tinycnn.userfile import UserFunction

RATIO = 20.0  # how many times as fast compiled loops must be


def loss(mine: Any) -> None:
    """Judge the loss: its value, its gradient, and logits of a thousand."""
    N, K = 6, 4
    logits = np.random.default_rng(0).standard_normal((N, K)).astype(np.float32)
    labels = np.array([0, 3, 1, 1, 2, 0])
    powers, t = np.exp(logits), np.eye(K, dtype=np.float32)[labels]
    names = {"N": N, "K": K, "t": t, "p": powers / powers.sum(axis=1, keepdims=True)}
    names |= {"columns": powers / powers.sum(axis=0)}
    both = mine.softmax_cross_entropy, changed("loss").softmax_cross_entropy
    for what, size in (("", 1), ("with logits of 1000, ", 1000)):
        given = (size * logits, labels)
        check_function("loss", what, both, given, ("loss", "dlogits"), **names)


def sgd(mine: Any) -> None:
    """Judge SGD over five steps, the learning rate changed midway."""
    check_optimizer("sgd", mine, "plain 1", 1)
    for count in (1, 2, 5):
        check_optimizer("sgd", mine, f"momentum {count}", count, momentum=0.9)


def adam(mine: Any) -> None:
    """Judge Adam after a step, with tiny gradients, and after five steps."""
    check_optimizer("adam", mine, "adam 1", 1)
    check_optimizer("adam", mine, "adam small", 1, scale=1e-8)
    check_optimizer("adam", mine, "adam 5", 5)


def check_optimizer(
    exercise: str, mine: Any, kind: str, count: int, scale: float = 1, **settings: Any
) -> None:
    """Compare the values of two parameters after some steps.

    From the fourth step on, the learning rate is smaller. The gradients are random
    numbers times `scale`.
    """
    draw = np.random.default_rng(1).random
    values = [draw(shape).astype(np.float32) for shape in ((3, 4), (4,))]

    def steps(module: Any) -> tuple[Array, ...]:
        rng = np.random.default_rng(0)
        pair = [Parameter(v.copy(), f"p{i}") for i, v in enumerate(values)]
        kind = module.SGD if exercise == "sgd" else module.Adam
        optimizer = kind(pair, 0.07, **settings)
        for step in range(count):
            optimizer.learning_rate = 0.07 if step < 3 else 0.02
            for p in pair:
                grad = scale * rng.standard_normal(p.value.shape)
                p.grad = grad.astype(np.float32)
            optimizer.step()
        return tuple(p.value for p in pair)

    def run(*texts: str, number: int = 0) -> Array:
        return steps(changed(exercise, *texts))[number]

    for number, (found, right) in enumerate(
        zip(steps(mine), steps(changed(exercise)), strict=True)
    ):
        what = f"with gradients of about {scale:g}, after step {count}, the value"
        what += f" of p{number}"
        compare(exercise, kind, what, found, right, v=values[0], run=run)


def training(mine: Any) -> str:
    """Judge the step, the epoch, and the network that they train."""
    # Which methods does a step call, and with what?
    logits = np.array([[1.0, 2.0, 0.5], [0.0, 1.0, 3.0]], np.float32)
    labels, images = np.array([0, 2]), np.zeros((2, 1, 1, 1), np.float32)
    right_loss, right = changed("loss").softmax_cross_entropy(logits, labels)
    both = Mock(**{"forward.return_value": logits})  # the network and the optimizer
    loss = mine.training_step(both, both, images, labels)
    calls, wanted = [name for name, *_ in both.mock_calls], "forward backward step"
    given = both.forward.call_args
    refuse("step", calls=calls, wanted=wanted.split(), given=given, loss=loss)
    gradient, what = both.backward.call_args.args[0], "what backward is given"
    names: dict[str, Any] = {"loss": right_loss, "logits": logits}
    compare("training", "given", what, gradient, right, **names)
    compare("training", "loss", "the loss of a step", loss, right_loss)

    N, size = 70, 32  # Which images are the steps of an epoch given?
    images = np.arange(N, dtype=np.float32).reshape(N, 1, 1, 1)
    with patch.object(mine, "training_step", return_value=0.5) as step:
        for _ in range(2):
            rng, count = np.random.default_rng(0), step.call_count
            losses = mine.train_epoch(None, None, images, np.arange(N) % 3, rng, size)
    calls = [call.args[2:] for call in step.call_args_list]
    batches, again = calls[:count], calls[count:]
    seen = [int(i) for batch, _ in batches for i in batch.ravel()]
    facts = {"seen": seen, "batches": batches, "again": again, "losses": losses}
    refuse("epoch", N=N, size=size, **facts)
    return check_training(mine, 0.92)[0]


def check_training(mine: Any, least: float) -> tuple[str, Any]:
    """Train on the sample; refuse a network that reads too few of the test digits."""
    digits = load_mnist(SAMPLE_FOLDER)
    model = mine.train(as_input(digits.train_images), digits.train_labels.astype(int))
    refuse("model", model=model)
    logits, share = None, 0.0
    with contextlib.suppress(ArithmeticError):
        logits = predict(model, digits.test_images)
        share = float((logits.argmax(axis=1) == digits.test_labels).mean())
    refuse("trained", logits=logits, share=share, least=least)
    said = f"{share:.1%} of the 1,000 test digits are right"
    return f"{said}, by layers of your own", model


def cnn(mine: Any) -> str:
    """Judge the layers of the network, then train it."""
    check_network(mine, ("Conv2D", "MaxPool2D", "ReLU", "Dense"))
    return check_training(mine, 0.96)[0]


def check_network(mine: Any, needed: tuple[str, ...]) -> None:
    """Refuse a network that lacks a layer, or does not make logits of images."""
    layers = mine.network(np.random.default_rng(0))
    refuse("network", layers=layers)
    kinds = [type(layer).__name__ for layer in layers]
    for kind in needed:
        refuse("kinds", kind=kind, kinds=kinds)
    logits = Sequential(layers).forward(np.ones((3, 28, 28, 1), np.float32))
    refuse("logits", logits=logits, kinds=kinds)


def window(mine: Any) -> str:
    """Judge the network, its training and its file: a drawn 7 must be read."""
    from tinycnn.ink.strokes import Strokes
    from tinycnn.reading.reader import Reader

    check_network(mine, ("Conv2D", "BatchNorm2D", "Dropout", "Dense"))
    said, model = check_training(mine, 0.96)
    path = Path(mine.__file__).with_name("mine.safetensors")
    path.unlink(missing_ok=True)
    mine.save(model, path)
    refuse("file", path=path)
    reader = Reader(path, network=UserFunction(mine.__file__, "network"))
    for name, value in model.state().items():
        refuse("state", value=value, other=reader.model.state()[name], name=name)
    seven = np.array([[90.0, 70], [190, 72], [150, 140], [120, 230]])
    text = reader.read(Strokes((seven,), (14.0,), (300, 300))).text
    refuse("seven", text=text)
    return (
        f"{said}; a drawn 7 is read. Now yours: tinycnn draw --weights {path.name} "
        f"--network {Path(mine.__file__).name}:network"
    )


def numba(mine: Any) -> str:
    """Judge the compiled loops, results and time, then which loops are called safe."""
    from numba.core.dispatcher import Dispatcher

    said = []
    rng = np.random.default_rng(0)
    shapes = ((2, 12, 12, 3), (3, 3, 3, 4), (4,), (2, 10, 10, 4))
    x, weight, bias, dy = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    arguments = (x, weight, bias, 1), (dy, x, weight, 1)
    both = mine.convolve, mine.convolve_backward
    for slow, given in zip(both, arguments, strict=True):
        name, fast = slow.__name__, mine.compiled(slow)
        refuse("compiled", fast=fast, Dispatcher=Dispatcher)
        results = fast(*given)
        seconds = []
        for function in (slow, fast):
            clock = timeit.Timer("f(*x)", globals={"f": function, "x": given})
            seconds.append(min(clock.repeat(9 if function is fast else 1, 1)))
            other = function(*given)
            arrays = np.atleast_1d(*results), np.atleast_1d(*other)
            refuse("fast", name=name, results=arrays[0], other=arrays[1])
        ratio = seconds[0] / seconds[1]
        refuse("ratio", ratio=ratio, RATIO=RATIO, name=name)
        said.append(f"{name} {ratio:,.0f} times")
    answer = mine.safe_loops()
    for array, safe in changed("numba").safe_loops().items():
        refuse("safe", found=answer, array=array)
        found, right = answer[array].replace(",", " ").split(), safe.split()
        for loop in found + right:
            refuse("loop", loop=loop, array=array, found=found, right=right)
    return f"compiled, your loops are as right and faster: {', '.join(said)}"


def gradcheck(mine: Any) -> None:
    """Judge the slopes of a cube, then the check, by right layers and by faults."""
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 2, (3, 2))
    kept = values.copy()
    found = mine.slopes(lambda: (values**3).sum(), values)
    refuse("slopes", values=values, kept=kept)
    what, right = "the slopes of sum(v**3)", 3 * values**2
    compare("gradcheck", "slopes", what, found, right, 1e-8, v=values, h=1e-5)
    names = {"rng": rng, "rows": rng.standard_normal((4, 3))}
    names["images"] = rng.permutation(144).reshape(2, 6, 6, 2) / 40 - 2.01
    for line, sentence in pairs_of_lines(ROOM / "tells" / "ten_faults.txt"):
        exercise, layer, x, wrong, *texts = re.split("; ?", line)
        judged = eval(layer, vars(changed(exercise, *texts)) | names)
        judged.cast("float64")
        answer, kind = mine.check(judged, eval(x, names).copy()), type(judged).__name__
        facts = {"wrong": wrong.split(), "kind": kind, "sentence": sentence}
        refuse("check", answer=answer, **facts)


def views(mine: Any) -> None:
    """Judge the views, then the curve by a stub of a training."""
    right, rng = changed("views"), np.random.default_rng(0)
    images = rng.uniform(1, 2, (3, 4, 5, 2)).astype(np.float32)
    both = mine.moved, right.moved
    for down, across in product((-1, 0, 1), repeat=2):
        names = {"x": images, "d": down, "r": across, "move": right.moved}
        given, what = (images, down, across), f"images by {down} down, {across} right: "
        check_function("views", what, both, given, ("moved",), **names)
        refuse("moved", found=mine.moved(*given), images=images)
    weight = rng.standard_normal((40, 10)).astype(np.float32)
    model = Mock(forward=lambda x: x.reshape(len(x), -1) ** 2 @ weight)
    names = {"f": model.forward, "x": images, "move": right.moved, "V": right.VIEWS}
    both, should = mine.predict(model, images), right.predict(model, images)
    compare("views", "logits", "logits of five views", both, should, **names)

    # Which images are learned from, and which are read?
    images = np.ones((50, 3, 3, 1), np.float32) * np.arange(1, 51).reshape(50, 1, 1, 1)
    labels, learned = np.arange(50) % 10, []

    def train(given: Any, given_labels: Any) -> Any:
        numbers = given.max(axis=(1, 2, 3)).astype(int) - 1
        refuse("labels", given_labels=given_labels, right=labels[numbers])
        learned.append(numbers.tolist())

        def forward(x: Any) -> Any:  # wrong: 2 and 1 of ten
            n, wrong = x.max(axis=(1, 2, 3)).astype(int) - 1, 2 - len(given) // 40
            return np.eye(10)[(labels[n] + (n % 10 < wrong)) % 10]

        return Mock(forward=forward)

    errors = mine.learning_curve(train, images, labels, [8, 40])
    refuse("curve", learned=learned)
    errors = np.array(errors, float)
    compare("views", "errors", "the curve's errors", errors, [0.2, 0.1])
    with contextlib.suppress(ValueError):
        mine.learning_curve(train, images, labels, [41])
        raise Wrong("41 of 50 images are learned from, and some of them held out")
