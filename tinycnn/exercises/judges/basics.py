"""Judges of the first five exercises: from ReLU to a network that learns."""

import contextlib
from typing import Any
from unittest.mock import Mock

import numpy as np

from tinycnn.data import Digits, load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.exercises.judges.compare import (
    Tells,
    changed,
    check_layer,
    compare,
    reference,
    refuse,
    unedited,
)
from tinycnn.models import as_input, predict
from tinycnn.nn import Parameter
from tinycnn.nn.layers import Array


def relu(mine: Any) -> None:
    """Judge ReLU: the forward, the backward, and the corner at 0."""
    rng = np.random.default_rng(0)
    x = rng.permutation(60).reshape(3, 4, 5) / 10 - 3.0  # one entry is exactly 0
    check_layer("relu", (mine.ReLU(), reference("relu").ReLU()), x)


def dense(mine: Any) -> None:
    """Judge Dense, with sizes that are all different."""
    rng = np.random.default_rng(0)
    layer, right = mine.Dense(5, 3, rng=rng), reference("dense").Dense(5, 3, rng=rng)
    with_bias(layer, rng)
    check_layer("dense", (layer, right), rng.standard_normal((7, 5)))


def loss(mine: Any) -> None:
    """Judge the loss: its value, its gradient, and logits of a thousand."""
    right = reference("loss").softmax_cross_entropy
    rng = np.random.default_rng(0)
    N, K = 6, 4
    logits = rng.standard_normal((N, K)).astype(np.float32)
    labels = np.array([0, 3, 1, 1, 2, 0])
    powers, t = np.exp(logits), np.eye(K, dtype=np.float32)[labels]
    names = {"N": N, "K": K, "t": t, "p": powers / powers.sum(axis=1, keepdims=True)}
    names |= {"columns": powers / powers.sum(axis=0), "logits": logits}
    for of, size in (("", 1), (" of logits of 1000", 1000)):
        found = unedited(mine.softmax_cross_entropy, size * logits, labels)
        top = int(logits.max(axis=1).argmax())  # the row with the largest logit
        refuse("loss", found=found, size=size, top=top)
        should = right(size * logits, labels)
        tells = Tells("loss", loss=should[0], **names)
        compare(f"the loss{of}", found[0], should[0], tells, "loss")
        compare(f"dlogits{of}", found[1], should[1], tells, "dlogits")


def sgd(mine: Any) -> None:
    """Judge SGD over five steps, the learning rate changed midway."""
    check_optimizer("sgd", "SGD", mine, "plain 1", 1)
    for count in (1, 2, 5):
        check_optimizer("sgd", "SGD", mine, f"momentum {count}", count, momentum=0.9)


def check_optimizer(
    exercise: str,
    name: str,
    mine: Any,
    kind: str,
    count: int,
    scale: float = 1,
    **settings: Any,
) -> None:
    """Compare the values of two parameters after some steps.

    From the fourth step on, the learning rate is smaller. The gradients are random
    numbers times `scale`.
    """

    def run(*texts: str, number: int = 0) -> Array:
        return steps(changed(exercise, *texts))[number]

    def steps(module: Any) -> list[Array]:
        rng = np.random.default_rng(0)
        pair = [Parameter(v.copy(), f"p{i}") for i, v in enumerate(values)]
        optimizer = getattr(module, name)(pair, 0.07, **settings)
        for step in range(count):
            optimizer.learning_rate = 0.07 if step < 3 else 0.02
            grads = [
                (scale * rng.standard_normal(s)).astype(np.float32) for s in shapes
            ]
            for p, grad in zip(pair, grads, strict=True):
                p.grad = grad.copy()
            optimizer.step()
            lists = [v for v in vars(optimizer).values() if isinstance(v, list)]
            for p, grad in zip(pair, grads, strict=True):
                refuse("optimizer", p=p, grad=grad)
                pairs.extend((a, p.grad) for v in lists for a in v)
        return [p.value for p in pair]

    shapes = ((3, 4), (4,))
    pairs: list[tuple[Any, Any]] = []
    values = [np.random.default_rng(1).random(s).astype(np.float32) for s in shapes]
    tells = Tells(exercise, v=values[0], run=run)
    for number, (found, right) in enumerate(
        zip(steps(mine), steps(reference(exercise)), strict=True)
    ):
        with_ = "".join(f"{key} {value}, " for key, value in settings.items())
        what = (
            f"with {with_}gradients of about {scale:g}, after step {count}, the value"
        )
        compare(f"{what} of p{number}", found, right, tells, kind)
    if count > 2:  # after what is told of wrong values
        refuse("kept", pairs=pairs)


def with_bias(layer: Any, rng: np.random.Generator) -> None:
    """Make the bias other than zero, so that a forgotten one is seen."""
    refuse("bias", layer=layer)
    layer.bias.value[:] = rng.standard_normal(layer.bias.value.shape)


def _check_step(mine: Any) -> None:
    """Judge which methods a training step calls, and with what."""
    logits = np.array([[1.0, 2.0, 0.5], [0.0, 1.0, 3.0]], np.float32)
    labels, images = np.array([0, 2]), np.zeros((2, 1, 1, 1), np.float32)
    right_loss, right = reference("loss").softmax_cross_entropy(logits, labels)
    both = Mock(**{"forward.return_value": logits})  # the network and the optimizer
    loss = mine.training_step(both, both, images, labels)
    calls, wanted = [name for name, *_ in both.mock_calls], "forward backward step"
    given = both.forward.call_args
    refuse("step", calls=calls, wanted=wanted.split(), given=given, loss=loss)
    tells = Tells("training", loss=right_loss, logits=logits)
    gradient = both.backward.call_args.args[0]
    compare("what backward is given", gradient, right, tells, "given")
    compare("the loss of a step", loss, right_loss)


def _check_epoch(mine: Any) -> None:
    """Judge which images the steps of an epoch are given."""
    N, size, step = 70, 32, mine.training_step
    images = np.arange(N, dtype=np.float32).reshape(N, 1, 1, 1)
    labels, rng = np.arange(N) % 3, np.random.default_rng(0)
    mine.training_step = Mock(return_value=0.5)
    try:
        losses = mine.train_epoch(None, None, images, labels, rng, size)
        count, rng = mine.training_step.call_count, np.random.default_rng(0)
        mine.train_epoch(None, None, images, labels, rng, size)
        calls = [call.args[2:] for call in mine.training_step.call_args_list]
    finally:
        mine.training_step = step
    batches, again = calls[:count], calls[count:]
    seen = [int(i) for batch, _ in batches for i in batch.ravel()]
    facts = {"seen": seen, "batches": batches, "again": again, "losses": losses}
    refuse("epoch", N=N, size=size, **facts)


def training(mine: Any) -> str:
    """Judge the step, the epoch, and the network that they train."""
    _check_step(mine)
    _check_epoch(mine)
    return check_training(mine, 0.92)[0]


def sample() -> Digits:
    """Return the bundled digits."""
    return load_mnist(SAMPLE_FOLDER)


def check_training(mine: Any, least: float) -> tuple[str, Any]:
    """Train on the sample; refuse a network that reads too few of the test digits."""
    digits = sample()
    model = mine.train(as_input(digits.train_images), digits.train_labels.astype(int))
    refuse("model", model=model)
    logits, share = None, 0.0
    with contextlib.suppress(ArithmeticError):
        logits = predict(model, digits.test_images)
        share = float((logits.argmax(axis=1) == digits.test_labels).mean())
    refuse("trained", logits=logits, share=share, least=least)
    said = f"{share:.1%} of the 1,000 test digits are right"
    return f"{said}, by layers of your own", model
