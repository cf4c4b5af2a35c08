"""Checks whether a layer's ``backward`` is the derivative of its ``forward``.

`check_gradients` moves each number that goes into a layer a little to both sides; the
change of ``sum(dy * y)``, for a random ``dy``, is the gradient that ``backward`` must
give. ``python -m tinycnn.gradcheck`` does this for all built-in layers, or for yours.
"""

from __future__ import annotations

import copy
import json
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinycnn._cli import Parser, fail, integer, run_command, user_function
from tinycnn.userfile import explained

if TYPE_CHECKING:
    from tinycnn.nn import Sequential
    from tinycnn.nn.layers import Array, Layer

STEP = 1e-5
TOLERANCE = 1e-6
# Two one-sided slopes that differ by more than this share belong to a kink: for a
# smooth function they differ by about STEP.
KINK = 1e-3
TERMS = 3_000_000  # numbers kept for the diagnosis
HEADING = f"{'layer':<34}{'parameter':<12}{'entries':>8}{'kinks':>7}{'error':>10}"


@dataclass(frozen=True)
class TensorCheck:
    """The result for the input of a layer, or for one of its parameters.

    The error is the largest ``|a - n| / max(|a|, |n|, rms)``, with ``a`` from
    ``backward``, ``n`` the difference quotient, ``rms`` the root mean square of all
    ``n``; 0 if it is rounding. Where a step crosses a kink there is no derivative.
    """

    layer: str  # its class, and "(inference)" where that differs from training
    parameter: str  # "x" or the name of a parameter
    entries: int  # how many numbers were moved
    kinks: int  # at how many of them there is a kink: left out of the error
    max_relative_error: float
    ok: bool
    message: str  # the worst entry: its index, both numbers, the error; then `why`
    why: str | None  # what is wrong, where the pattern of the errors is clear

    def row(self) -> str:
        """Return a line of a table, and below it the message if something is wrong."""
        sizes = f"{self.entries:>8}{self.kinks:>7}{self.max_relative_error:>10.1e}"
        end = "ok" if self.ok else f"WRONG\n{self.message}"
        return f"{self.layer:<34}{self.parameter:<12}{sizes}  {end}"

    def json(self) -> str:
        """Return the fields that other programs rely on; JSON has no infinity."""
        names = ("layer", "parameter", "max_relative_error", "ok", "why")
        facts = {name: getattr(self, name) for name in names}
        if math.isinf(self.max_relative_error):
            facts["max_relative_error"] = None
        return json.dumps(facts)


def check_gradients(
    layer: Layer, x: Array, *, seed: int = 0, entries: int | None = None
) -> list[TensorCheck]:
    """Compare a layer's ``backward`` with centred differences, entry by entry.

    ``n_i = sum(dy * (y(v + h e_i) - y(v - h e_i))) / (2 h)`` with ``h = 1e-5``, for
    every entry ``v_i`` of the input and of each parameter. Every forward starts from
    the same copy of the layer, so that dropout keeps its mask and batch norm its
    running averages. ``x`` and each parameter have a result; a second one, if the layer
    behaves differently outside training. The layer is left as it was.

    Parameters
    ----------
    layer : Layer
        Of any dtype; float64 copies of it are checked.
    x : float array
        An input for it, away from kinks and ties if possible.
    seed : int
        Of the random upstream gradient ``dy``.
    entries : int or None
        How many numbers of each tensor are moved, drawn at random; None is all.

    Raises
    ------
    ValueError
        If the layer breaks its contract in another way than by a wrong derivative.
    """
    import numpy as np

    from tinycnn.nn import Sequential

    # A network refuses what no network can work with: no backward, y of another dtype.
    network = Sequential([layer := copy.deepcopy(layer)])
    network.cast("float64")
    x = np.array(x, np.float64)
    saved = {id(array): name for name, array in layer.state().items()}
    tensors = {"x": x} | {saved[id(p.value)]: p.value for p in layer.parameters()}
    title, checks, y_before = type(layer).__name__, [], np.empty(0)
    for training in (True, False):
        y, dy, *gradients = _checked_run(network, x, training, seed)
        if np.array_equal(y, y_before):
            break
        for (name, values), gradient in zip(tensors.items(), gradients, strict=True):
            chosen = np.arange(values.size)
            if entries is not None and entries < values.size:
                rng = np.random.default_rng([seed, 2])
                chosen = rng.choice(values.size, entries, replace=False)
            slopes = _slopes(network, x, training, dy, values, chosen)
            checks.append(_compare(title, name, gradient, chosen, slopes, x=x, dy=dy))
        title, y_before = f"{title} (inference)", y
    return checks


def _checked_run(network: Sequential, x: Array, training: bool, seed: int) -> list[Any]:
    """Return what `_run` returns, if it is the same twice and float32 stays float32."""
    import numpy as np

    first, again = (_run(network, x, training, seed, old) for old in (0, 0.5))
    names = [f"the gradient of {p.name}" for p in network.parameters()]
    names = ["y", "dy", "the gradient of x", *names]
    for name, one, other in zip(names, first, again, strict=True):
        if np.allclose(one, other, 1e-9, equal_nan=True):
            continue
        if not np.allclose(one + 0.5, other, 1e-9):
            raise _mistake(
                network,
                f"{name} differs from call to call with the same x; draw random "
                "numbers from a generator that is an attribute of the layer, and let "
                "backward use what the last forward has kept, and no earlier one",
            )
        if one.any():  # else it was not touched, which the third run refuses
            raise _mistake(network, f"backward adds to {name}; assign it, with =")
    _run(network, x, training, seed, old=None)
    return first


def _run(
    network: Sequential, x: Array, training: bool, seed: int, old: float | None
) -> list[Any]:
    """Return y, a random dy, and the gradients of x and the parameters, from a copy.

    The copy is float64; its parameters begin with gradients of ``old``, as if from an
    earlier step. If ``old`` is None they have none, and the copy is float32.
    """
    import numpy as np

    dtype = "float32" if old is None else "float64"
    run, x_before = copy.deepcopy(network), np.array(x, dtype)
    run.cast(dtype)
    for p in run.parameters():
        p.grad = None if old is None else np.full(p.value.shape, old, dtype)
    if old and not training:  # what a forward of other images has kept is no matter
        used = copy.deepcopy(run)
        used.forward(x_before[::-1].copy())
        y, again = (copy.deepcopy(one).forward(x_before) for one in (run, used))
        run = used if np.array_equal(y, again) else run  # else random numbers are drawn
    x = x_before.copy()
    y = run.forward(x, training).copy()
    # A stream of its own: with the numbers of an x drawn from the same seed, dy would
    # be the one direction in which a normalising layer has no gradient.
    dy = np.random.default_rng([seed, 1]).standard_normal(y.shape).astype(y.dtype)
    dy_before = dy.copy()
    dx = run.backward(dy)
    if not np.isfinite(y).all():
        raise _mistake(network, "forward returned NaN or infinity for this x")
    if not (np.array_equal(x, x_before) and np.array_equal(dy, dy_before)):
        raise _mistake(network, "forward or backward edits its argument; copy it")
    return [y, dy, dx, *(parameter.grad for parameter in run.parameters())]


def _mistake(network: Sequential, text: str) -> ValueError:
    return ValueError(f"{type(network.layers[0]).__name__}: {text}")


def _slopes(
    network: Sequential, x: Array, training: bool, dy: Array, values: Array, chosen: Any
) -> tuple[Array, Array, float, Array | None]:
    """Return the slopes of ``sum(dy * y)`` on the left and right of some values.

    The values, of x or of a parameter, are moved in place and put back. The slopes are
    followed by what rounding may move them, and their terms (entries, *shape of y),
    unless these are too many.
    """
    import numpy as np

    def output() -> Array:  # y may be a view of x
        return copy.deepcopy(network).forward(x, training).copy()

    y, left, right, terms = output(), values.flat[chosen], values.flat[chosen], None
    if len(chosen) * dy.size <= TERMS:
        terms = np.empty((len(chosen), *dy.shape))
    for n, i in enumerate(chosen):
        value = values.flat[i]
        values.flat[i] = value + STEP
        above = dy * (output() - y) / STEP
        values.flat[i] = value - STEP
        below = dy * (y - output()) / STEP
        values.flat[i] = value
        left[n], right[n] = below.sum(), above.sum()
        if terms is not None:
            terms[n] = (below + above) / 2
    # Less, unless y is huge; also a slope of 0.
    noise = min(2e-15 * float(np.abs(dy * y).sum()) / STEP, 1e-6)
    return left, right, noise, terms


def _compare(
    title: str, name: str, gradient: Array, chosen: Any, slopes: Any, **arrays: Any
) -> TensorCheck:
    """Compare the chosen entries of a gradient with their slopes."""
    import numpy as np

    from tinycnn.diagnosis import diagnose

    left, right, noise, terms = slopes
    analytic, numeric = gradient.flat[chosen], (left + right) / 2
    rms = np.full_like(numeric, np.sqrt(np.mean(numeric**2)))
    slope = np.maximum.reduce([abs(left), abs(right), rms])
    kinks = abs(right - left) > KINK * slope + noise
    scale = np.maximum.reduce([abs(analytic), abs(numeric), rms])
    gap = abs(analytic - numeric)
    gap[gap <= noise] = 0
    error = np.divide(gap, scale, out=np.zeros_like(gap), where=gap != 0)
    error[np.isnan(error)] = np.inf
    error[kinks] = 0
    worst, count, why = error.argmax(), int(kinks.sum()), None
    at = ", ".join(str(i) for i in np.unravel_index(chosen[worst], gradient.shape))
    ok = bool(error[worst] <= TOLERANCE)
    message = (
        f"{name}[{at}] has the gradient {analytic[worst]:.6g} "
        f"by backward and {numeric[worst]:.6g} by the difference quotient, "
        f"a relative error of {error[worst]:.1e}"
    )
    if 2 * count > kinks.size:
        ok = False
        message = f"the slope changes within a step at {count} of {kinks.size}; "
        message += "choose another x"
    elif not ok:
        numeric[kinks] = np.nan
        shape = gradient.shape if analytic.size == gradient.size else analytic.shape
        pair = analytic.reshape(shape), numeric.reshape(shape)
        if why := diagnose(*pair, terms=terms, **arrays):
            message += f": {why}"
    found = count, float(error[worst]), ok, message, why
    return TensorCheck(title, name, len(chosen), *found)


def check_own_layers(model: Sequential, images: Array) -> None:
    """Check a few entries of every layer of a network that is not the library's.

    Each is given what a few images (N, H, W, C) become on the way to it, and noise: the
    zeros of paper and of ReLU are kinks of many layers. Raises ValueError with layer
    and worst entry if a gradient is wrong; where most are kinks, that is unknown.
    """
    import numpy as np

    rng, x = np.random.default_rng(0), images
    for place, layer in enumerate(copy.deepcopy(model).layers):
        if not type(layer).__module__.startswith("tinycnn.nn.layers"):
            moved = x + x.std() * rng.standard_normal(x.shape)
            for check in check_gradients(layer, moved, entries=20):
                if not check.ok and 2 * check.kinks <= check.entries:
                    raise ValueError(
                        f"layer {place} ({check.layer}) has a wrong gradient: "
                        f"{check.message}; tinycnn gradcheck shows every tensor"
                    )
        x = layer.forward(x)


def examples(seed: int = 0) -> list[tuple[Layer, Array]]:
    """Return every built-in layer with a small float64 input whose sizes all differ."""
    import numpy as np

    from tinycnn import nn

    rng = np.random.default_rng(seed)
    images, rows = rng.standard_normal((2, 7, 8, 4)), rng.standard_normal((7, 8))
    # Shuffled values 0.1 apart, none at 0: no tie and no kink within a step.
    distinct = (rng.permutation(images.size).reshape(images.shape) - 0.5) / 10 - 20
    batch_norm = nn.BatchNorm2D(4)
    for array in batch_norm.state().values():
        array[:] = rng.uniform(0.5, 2, 4)
    labels = rng.integers(0, 8, 7)

    class CrossEntropy(nn.Layer):
        """The loss, as a layer from logits (N, K) to an array (1,)."""

        def forward(self, x: Array, training: bool = False) -> Array:  # noqa: ARG002
            loss, self.dlogits = nn.softmax_cross_entropy(x, labels, 0.1)
            return np.array([loss], x.dtype)

        def backward(self, dy: Array) -> Array:
            return self.dlogits * dy

    return [
        (nn.Conv2D(4, 5, (3, 6), stride=(1, 9), rng=rng), images),
        (nn.Conv2D(4, 5, (4, 5), stride=2, padding="same", rng=rng), images),
        (nn.MaxPool2D((2, 3)), distinct),
        (nn.MaxPool2D(3, stride=2), distinct),
        (nn.GlobalAveragePool2D(), images),
        (nn.Flatten(), images),
        (nn.Dense(8, 5, rng=rng), rows),
        (nn.ReLU(), distinct),
        (nn.Dropout(0.4), images),
        (batch_norm, images),
        (CrossEntropy(), rows),
    ]


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 0 if every gradient is right, 1 if one is not."""
    parser = Parser(
        "tinycnn gradcheck",
        "Compare backward with the definition of the derivative, entry by entry, in "
        "float64. Without arguments: all built-in layers.",
        example="my_layer.py:example",
    )
    about = "NAME() in FILE.py returns (layer, x); README.md has an example"
    add = parser.add_argument
    add("examples", nargs="*", type=user_function, metavar="FILE.py:NAME", help=about)
    about = "for the random upstream gradient (default: %(default)s)"
    add("--seed", type=integer(0, 2**32 - 1), default=0, metavar="N", help=about)
    arguments = parser.parse_args(argv)
    built_in = examples(arguments.seed)
    checks: list[TensorCheck] = []
    try:
        cases = [(function, function()) for function in arguments.examples]
        for function, pair in cases or [(None, pair) for pair in built_in]:
            if not (isinstance(pair, tuple) and len(pair) == 2):
                fail(f"{function.file}: {function.name}() must return (layer, x)")
            with explained(function):
                new = check_gradients(*pair, seed=arguments.seed)
            if not (checks or arguments.json):
                print(HEADING)
            for tensor in new:
                print(tensor.json() if arguments.json else tensor.row(), flush=True)
            checks += new
    except ValueError as error:
        fail(error)
    wrong = sum(not check.ok for check in checks)
    if wrong:
        print(f"{wrong} of {len(checks)} gradients are wrong", file=sys.stderr)
    return min(wrong, 1)


if __name__ == "__main__":
    run_command(main)
