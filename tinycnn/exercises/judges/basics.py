"""Judges of the first five exercises: from ReLU to a network that learns."""

from typing import Any

import numpy as np

from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.exercises.judges.compare import (
    Mine,
    Tells,
    Wrong,
    check_layer,
    compare,
    reference,
)
from tinycnn.models import as_input, predict
from tinycnn.nn import Layer, Parameter
from tinycnn.nn.layers import Array


def relu(mine: Mine) -> None:
    """Judge ReLU: the forward, the backward, and the corner at 0."""
    rng = np.random.default_rng(0)
    x = rng.permutation(60).reshape(3, 4, 5) / 10 - 3.0  # one entry is exactly 0

    def tells(x: Array, dy: Array, _: Layer) -> dict[str, Tells]:
        return {
            "y": [
                ("that is |x|; negative numbers become 0", abs(x)),
                ("that keeps the negative numbers", np.minimum(x, 0)),
                ("that is x unchanged", x),
                ("that says where x is positive; keep the numbers there", x > 0),
                ("there are no numbers above 1 left: is max meant?", np.clip(x, 0, 1)),
            ],
            "x": [
                ("that is dy itself: nothing passes where x was negative", dy),
                ("that passes dy where x was negative: turn it round", dy * (x <= 0)),
                ("that is the slope alone: multiply it by dy", x > 0),
                ("that multiplies by x, and not by the slope, which is 1 or 0",
                 dy * np.maximum(x, 0)),
                ("that asks where dy is positive, and not where x was",
                 np.maximum(dy, 0)),
                ("at x = 0 exactly the slope is to be 0: is >= meant to be >?",
                 dy * (x >= 0)),
            ],
        }  # fmt: skip

    check_layer(mine.ReLU(), reference("relu").ReLU(), x, tells)


def dense(mine: Mine) -> None:
    """Judge Dense, with sizes that are all different."""
    rng = np.random.default_rng(0)
    layer, right = mine.Dense(5, 3, rng=rng), reference("dense").Dense(5, 3, rng=rng)
    if not isinstance(getattr(layer, "bias", None), Parameter):
        raise Wrong("Dense.bias is no Parameter: __init__ of the starter makes it")
    layer.bias.value[:] = rng.standard_normal(3)  # a forgotten bias must be seen
    x = rng.standard_normal((7, 5))

    def tells(x: Array, dy: Array, right: Layer) -> dict[str, Tells]:
        weight, bias = (p.value for p in right.parameters())
        product = x @ weight
        return {
            "y": [
                ("the bias is missing", product),
                ("the bias is subtracted", product - bias),
                ("the bias counts twice", product + 2 * bias),
            ],
            "weight": [
                ("that is the mean over the rows; the gradient is their sum",
                 x.T @ dy / 7),
                ("that is transposed: the weight is (D, U)", dy.T @ x),
                ("that is the gradient times the weight; the slope is x alone",
                 x.T @ dy * weight),
            ],
            "bias": [
                ("that is the mean over the rows; the gradient is their sum",
                 dy.mean(axis=0)),
                ("sum it over the rows, axis 0", dy),
                ("that sums over the wrong axis: sum over the rows, axis 0",
                 dy.sum(axis=1)),
                ("keepdims leaves an axis too many", dy.sum(axis=0, keepdims=True)),
                ("the sum runs over all of dy; only over its rows, axis 0", dy.sum()),
                ("that is times the bias; the slope of y by the bias is 1",
                 dy.sum(axis=0) * bias),
            ],
            "x": [
                ("that is dy itself: multiply it by the weight, transposed", dy),
                ("the bias has no part in it", dy @ weight.T + bias.sum()),
            ],
        }  # fmt: skip

    check_layer(layer, right, x, tells)


def loss(mine: Mine) -> None:
    """Judge the loss: its value, its gradient, and logits of a thousand."""
    rng = np.random.default_rng(0)
    N, K = 6, 4
    logits = rng.standard_normal((N, K)).astype(np.float32)
    labels = np.array([0, 3, 1, 1, 2, 0])
    right_loss, right = reference("loss").softmax_cross_entropy(logits, labels)
    loss, dlogits = _loss_of(mine, logits, labels)
    powers = np.exp(logits)
    p = powers / powers.sum(axis=1, keepdims=True)
    t = np.eye(K, dtype=np.float32)[labels]
    all_logs = -np.log(p)
    compare(
        "the loss",
        np.float64(loss),
        np.float64(right_loss),
        [
            ("that is the sum over the images; take the mean", right_loss * N),
            ("the sign is wrong: a logarithm of p is negative", -right_loss),
            ("that divides by K as well; divide by N alone", right_loss / K),
            ("that averages over all classes; only the label's counts",
             all_logs.mean()),
            ("that sums over all classes; only the label's counts",
             all_logs.sum() / N),
            ("that is the mean probability: its logarithm is missing",
             (p * t).sum() / N),
            ("that is the logarithm to base 2", right_loss / np.log(2)),
            ("that is the mean logit: softmax is missing", -(logits * t).sum() / N),
        ],
        1e-4,
    )  # fmt: skip
    columns = powers / powers.sum(axis=0, keepdims=True)
    compare(
        "dlogits",
        dlogits,
        right,
        [
            ("the 1/N of the mean is missing", right * N),
            ("the sign is wrong: it is p less the target", -right),
            ("that is p / N: 1 must be subtracted at the label", p / N),
            ("that is p: subtract 1 at the label, and divide by N", p),
            ("the 1/N belongs to p as well", p - t / N),
            ("the 1 is divided by N as well as p", p / N - t),
            ("that divides by N * K; divide by N", right / K),
            ("that divides by N twice", right / N),
            ("softmax runs over the wrong axis: rows sum to 1", (columns - t) / N),
            ("only the label's entry is there; p counts in the others as well",
             right * t),
            ("that is the derivative by p; go on to the logits", -t / p / N),
        ],
        1e-4,
    )  # fmt: skip
    large = 1000 * logits
    with np.errstate(all="ignore"):
        found, gradient = _loss_of(mine, large, labels)
    if not (np.isfinite(found) and np.isfinite(gradient).all()):
        raise Wrong(
            "with logits of 1000 the result is not finite: subtract the largest logit "
            "of each row first, and do not take the logarithm of p"
        )
    right_loss, right = reference("loss").softmax_cross_entropy(large, labels)
    compare("the loss of logits of 1000", np.float64(found), np.float64(right_loss))
    compare("dlogits of logits of 1000", gradient, right)


def _loss_of(mine: Mine, logits: Array, labels: Any) -> tuple[float, Any]:
    """Call the learner's loss, and check what kind of results it has."""
    given, given_labels = logits.copy(), labels.copy()
    pair = mine.softmax_cross_entropy(given, given_labels)
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise Wrong(
            f"softmax_cross_entropy returned {type(pair).__name__}, not two results, "
            "loss and dlogits"
        )
    if not (np.array_equal(given, logits) and np.array_equal(given_labels, labels)):
        raise Wrong("softmax_cross_entropy edits its arguments: work on a copy")
    if np.shape(pair[0]) != ():
        raise Wrong(
            f"the loss has the shape {np.shape(pair[0])} and should be one number: the "
            "mean over the batch"
        )
    return pair


def sgd(mine: Mine) -> None:
    """Judge SGD over five steps, the learning rate changed midway."""
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(s).astype(np.float32) for s in ((3, 4), (4,))]
    grads = [
        [rng.standard_normal(v.shape).astype(np.float32) for v in values]
        for _ in range(5)
    ]

    def run(optimizer: Any, momentum: float, steps: int) -> list[Parameter]:
        parameters = [Parameter(v.copy(), f"p{i}") for i, v in enumerate(values)]
        sgd = optimizer(parameters, 0.5, momentum=momentum)
        for step in range(steps):
            if step == 3:
                sgd.learning_rate = 0.1
            for p, grad in zip(parameters, grads[step], strict=True):
                p.grad = grad.copy()
            sgd.step()
            for p, grad in zip(parameters, grads[step], strict=True):
                if p.grad is None or not np.array_equal(p.grad, grad):
                    raise Wrong(
                        "step changes p.grad: velocity and gradient must be two arrays"
                    )
        return parameters

    right = reference("sgd").SGD
    g, v = [grad[0] for grad in grads], values[0]
    cases: list[tuple[float, int, str, Tells]] = [
        (0.0, 1, "after a step without momentum", [
            ("nothing has changed: p.value itself must change", v),
            ("that goes uphill: subtract", v + 0.5 * g[0]),
            ("the learning rate is missing", v - g[0]),
            ("the value is replaced, not changed", -0.5 * g[0]),
            ("the learning rate counts twice", v - 0.25 * g[0]),
        ]),
        (0.9, 1, "after a step with momentum 0.9", [
            ("the gradient is not to be scaled by 1 - momentum", v - 0.05 * g[0]),
            ("the first step uses the velocity before it is updated", v),
            ("that has momentum for the gradient: momentum * velocity + grad",
             v - 0.45 * g[0]),
            ("momentum * velocity + grad is added twice", v - 0.95 * g[0]),
        ]),
        (0.9, 2, "after two steps with momentum 0.9", [
            ("the velocity is not kept from step to step", v - 0.5 * (g[0] + g[1])),
            ("the velocity is never scaled by momentum", v - 0.5 * (2 * g[0] + g[1])),
            ("the old velocity moves the value: update it first",
             v - 0.5 * g[0]),
            ("the velocity must be added to, not subtracted from, the gradient",
             v - 0.5 * (g[0] - 0.9 * g[0] + g[1])),
        ]),
        (0.9, 5, "after five steps, with another learning_rate from the fourth", [
            ("the learning rate of the start is used: read self.learning_rate in step",
             _descent(v, g, [0.5] * 5)),
            ("the learning rate must not be inside the velocity",
             _descent(v, g, [0.5, 0.5, 0.5, 0.1, 0.1], inside=True)),
        ]),
    ]  # fmt: skip
    for momentum, steps, when, tells in cases:
        should = run(right, momentum, steps)
        found = run(mine.SGD, momentum, steps)
        for p, q, known in zip(found, should, (tells, ()), strict=True):
            compare(f"the value {when}", p.value, q.value, known, 1e-4)


def _descent(
    value: Array, grads: list[Array], rates: list[float], inside: bool = False
) -> Array:
    """Return where momentum 0.9 leads, also with the rate inside the velocity."""
    velocity = np.zeros_like(value)
    for grad, rate in zip(grads, rates, strict=True):
        velocity = 0.9 * velocity + (rate * grad if inside else grad)
        value = value - (velocity if inside else rate * velocity)
    return value


class _Recorder:
    """Stands in for a network and an optimizer, and writes down what is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.training: Any = None
        self.given: Any = None
        self.batches: list[list[int]] = []
        self.logits = np.array([[1.0, 2.0, 0.5], [0.0, 1.0, 3.0]], np.float32)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.calls.append("forward")
        self.training = training
        self.batches.append([int(i) for i in x[:, 0, 0, 0]])
        return np.resize(self.logits, (len(x), 3))

    def backward(self, dy: Any) -> Any:
        self.calls.append("backward")
        self.given = dy
        return dy

    def step(self) -> None:
        self.calls.append("step")


def check_steps(mine: Mine) -> None:
    """Judge one training step, and the batches of an epoch."""
    both = _Recorder()
    labels = np.array([0, 2])
    loss = mine.training_step(both, both, np.zeros((2, 1, 1, 1), np.float32), labels)
    wanted = ["forward", "backward", "step"]
    if both.calls != wanted:
        missing = [name for name in wanted if name not in both.calls]
        raise Wrong(
            f"training_step calls {', '.join(both.calls) or 'nothing'}; it must call "
            "forward, backward and step, once each and in this order"
            + (f": {missing[0]} is missing" if missing else "")
        )
    if both.training is not True:
        raise Wrong("training_step must call forward with training=True")
    right_loss, right = reference("loss").softmax_cross_entropy(both.logits, labels)
    compare(
        "what backward is given",
        np.asarray(both.given),
        right,
        [("that is the loss; backward needs dlogits", np.asarray(right_loss)),
         ("those are the logits; backward needs dlogits", both.logits)],
    )  # fmt: skip
    if loss is None:
        raise Wrong("training_step returns None: return the loss")
    compare("the loss of a step", np.float64(loss), np.float64(right_loss))
    _check_epoch(mine)


def _check_epoch(mine: Mine) -> None:
    N, size = 70, 32
    images = np.arange(N, dtype=np.float32).reshape(N, 1, 1, 1)
    labels = np.arange(N) % 3
    pairs: list[tuple[int, int]] = []
    module: Any = mine.module
    step = module.training_step

    def recorded(model: Any, optimizer: Any, images: Array, labels: Any) -> Any:
        indices = [int(i) for i in images[:, 0, 0, 0]]
        pairs.extend(zip(indices, map(int, labels), strict=True))
        return step(model, optimizer, images, labels)

    both = _Recorder()
    module.training_step = recorded
    try:
        rng = np.random.default_rng(0)
        losses = mine.train_epoch(both, both, images, labels, rng, size)
    finally:
        module.training_step = step
    seen = [index for batch in both.batches for index in batch]
    sizes = [len(batch) for batch in both.batches]
    if len(seen) < N and len(set(seen)) == len(seen) == N // size * size:
        raise Wrong(
            f"train_epoch leaves out the last batch, which is shorter: of {N} images "
            f"only {len(seen)} are learned from"
        )
    if sorted(seen) != list(range(N)):
        raise Wrong(
            f"train_epoch must show each of {N} images once; {len(seen)} were shown, "
            f"{len(set(seen))} of them different"
        )
    if sizes != [32, 32, 6]:
        raise Wrong(f"the batches of 70 images by 32 are 32, 32 and 6, not {sizes}")
    if seen == sorted(seen):
        raise Wrong("train_epoch does not shuffle the images: use rng.permutation")
    if pairs and any(label != index % 3 for index, label in pairs):
        raise Wrong("images and labels are shuffled apart: take both by one order")
    if losses is None or np.shape(losses) != (3,):
        raise Wrong("train_epoch must return the list of losses, one for each batch")


def training(mine: Mine) -> str:
    """Judge the step, the epoch, and the network that they train."""
    check_steps(mine)
    return check_training(mine, 0.92)


def check_training(mine: Mine, least: float) -> str:
    """Train on the sample; refuse a network that reads too few of the test digits."""
    digits = load_mnist(SAMPLE_FOLDER)
    model = mine.train(as_input(digits.train_images), digits.train_labels.astype(int))
    if model is None:
        raise Wrong("train returns None: return the model")
    try:
        logits = predict(model, digits.test_images)
    except ArithmeticError:
        raise Wrong(
            "the network has diverged: its logits are not finite; is the learning rate "
            "too large?"
        ) from None
    share = float((logits.argmax(axis=1) == digits.test_labels).mean())
    said = f"{share:.1%} of the 1,000 test digits are right"
    if share < least:
        raise Wrong(f"{said}, and at least {least:.0%} must be")
    return f"{said}, by layers of your own"
