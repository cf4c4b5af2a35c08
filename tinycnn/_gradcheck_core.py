"""Is a layer's ``backward`` the derivative of its ``forward``? Ask the definition.

Each number that goes into a layer is moved a little to both sides; what that does to
``sum(dy * y)``, for a random ``dy``, is the gradient that ``backward`` must have found.
Everything is float64, and every entry of the input and of each parameter is checked.

It knows only the contract of `tinycnn.nn.layers.Layer`, so it checks layers that were
written after it.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinycnn.nn import layers
from tinycnn.nn.layers import Array, Layer
from tinycnn.nn.losses import softmax_cross_entropy

STEP = 1e-5
TOLERANCE = 1e-6
LINEAR_TOLERANCE = 1e-9
# Two one-sided slopes that differ by more than this share belong to a kink: for a
# smooth function they differ by about STEP.
KINK = 1e-3


@dataclass(frozen=True)
class TensorCheck:
    """What came out for the input of a layer, or for one of its parameters.

    Attributes
    ----------
    layer : str
        The layer's class, and ``"(inference)"`` where that differs from training.
    parameter : str
        ``"x"`` or the name of a parameter.
    entries, kinks : int
        How many numbers were moved, and at how many of them the function bends so that
        no derivative exists; those are left out of the error.
    max_relative_error : float
        ``max |a - n| / max(|a|, |n|, rms)`` with ``a`` from ``backward``, ``n`` the
        difference quotient, and ``rms`` the root mean square of all the ``n``.
    tolerance : float
    ok : bool
    message : str
        The worst entry: its index, both numbers, the error. Or why nothing could be
        compared.
    """

    layer: str
    parameter: str
    entries: int
    kinks: int
    max_relative_error: float
    tolerance: float
    ok: bool
    message: str


def check_gradients(layer: Layer, x: Array, *, seed: int = 0) -> list[TensorCheck]:
    """Compare a layer's ``backward`` with centred differences, entry by entry.

    ``n_i = sum(dy * (y(v + h e_i) - y(v - h e_i))) / (2 h)`` for every entry ``v_i`` of
    the input and of each parameter, with ``h = 1`` where the layer declares that it is
    linear in ``v`` (no truncation error then) and ``h = 1e-5`` elsewhere. Every forward
    starts from the same copy of the layer, so that dropout keeps its mask and batch
    norm its running averages. Layers that behave differently outside training are
    checked both ways. The layer itself is left as it was.

    Parameters
    ----------
    layer : Layer
        Of any dtype; the check works on a float64 copy.
    x : float array
        An input for it, away from kinks and ties if possible.
    seed : int
        Of the random upstream gradient ``dy``.

    Returns
    -------
    list of TensorCheck
        One for ``x`` and one a parameter, for each way the layer behaves.
    """
    layer = copy.deepcopy(layer)
    layer.cast(np.float64)
    x = np.array(x, np.float64)
    in_training = copy.deepcopy(layer).forward(x.copy(), training=True)
    in_inference = copy.deepcopy(layer).forward(x.copy(), training=False)
    checks = list(_check(layer, x, True, seed))
    if not np.array_equal(in_training, in_inference):
        checks += _check(layer, x, False, seed)
    return checks


def table(checks: list[TensorCheck]) -> str:
    """Return one line a check, under a heading, and a sentence a failure."""
    lines = [f"{'layer':<34}{'parameter':<12}{'entries':>8}{'kinks':>7}{'error':>10}"]
    for check in checks:
        verdict = "ok" if check.ok else "WRONG"
        lines.append(
            f"{check.layer:<34}{check.parameter:<12}{check.entries:>8}{check.kinks:>7}"
            f"{check.max_relative_error:>10.1e}  {verdict}"
        )
    lines += [f"{check.layer}: {check.message}" for check in checks if not check.ok]
    return "\n".join(lines)


def _check(layer: Layer, x: Array, training: bool, seed: int) -> Iterator[TensorCheck]:
    """Yield the checks of one way the layer behaves."""
    run, x_before = copy.deepcopy(layer), x.copy()
    y = run.forward(x, training)
    # A stream of its own: with the numbers of an x drawn from the same seed, dy would
    # be the one direction in which a normalising layer has no gradient.
    dy = np.random.default_rng([seed, 1]).standard_normal(y.shape)
    dy_before = dy.copy()
    dx = run.backward(dy)
    edited = ""
    if not (np.array_equal(x, x_before) and np.array_equal(dy, dy_before)):
        edited = "forward or backward edits its argument; let it make a new array"

    names = {id(array): name for name, array in layer.state().items()}
    arguments: list[tuple[str, Array, Array | None]] = [("x", x, dx)]
    for parameter, after in zip(layer.parameters(), run.parameters(), strict=True):
        name = names.get(id(parameter.value), parameter.name)
        arguments.append((name, parameter.value, after.grad))
    title = type(layer).__name__ + ("" if training else " (inference)")
    for name, values, analytic in arguments:
        linear = name in layer.linear_in
        tolerance = LINEAR_TOLERANCE if linear else TOLERANCE
        left, right = _slopes(layer, x, values, dy, training, 1.0 if linear else STEP)
        kinks, error, message = _compare(name, analytic, left, right)
        ok = error <= tolerance
        if edited:
            ok, message = False, edited
        elif linear and kinks:
            ok = False
            message = (
                f"the layer declares itself linear in {name}, but its slope changes at "
                f"{kinks} of {values.size} entries; take {name} out of linear_in"
            )
        elif 2 * kinks > values.size:
            ok = False
            message = (
                f"{kinks} of {values.size} entries sit on a kink or a jump, so hardly "
                "anything was checked; choose another x"
            )
        yield TensorCheck(
            title, name, values.size, kinks, error, tolerance, ok, message
        )


def _slopes(
    layer: Layer, x: Array, values: Array, dy: Array, training: bool, step: float
) -> tuple[Array, Array]:
    """Return the one-sided slopes of ``sum(dy * y)`` along every entry of ``values``.

    ``values`` is ``x`` itself or the array of one of the layer's parameters; each entry
    is moved in place and put back.
    """

    def output() -> Array:
        # A copy, because y may be a view of the x that is about to change.
        return copy.deepcopy(layer).forward(x, training).copy()

    centre = output()
    left, right = np.empty(values.shape), np.empty(values.shape)
    for index in np.ndindex(values.shape):
        value = values[index]
        values[index] = value + step
        right[index] = (dy * (output() - centre)).sum() / step
        values[index] = value - step
        left[index] = (dy * (centre - output())).sum() / step
        values[index] = value
    return left, right


def _compare(
    name: str, analytic: Array | None, left: Array, right: Array
) -> tuple[int, float, str]:
    """Return the number of kinks, the largest relative error elsewhere, a message."""
    numeric = (left + right) / 2
    rms = np.sqrt(np.mean(numeric**2))
    kinks = abs(right - left) > KINK * np.maximum.reduce(
        [abs(left), abs(right), np.full_like(left, rms)]
    )
    count = int(kinks.sum())
    if analytic is None:
        return count, np.inf, f"backward gave no gradient of {name}"
    if analytic.shape != numeric.shape:
        shapes = f"{analytic.shape}, not {numeric.shape}"
        return count, np.inf, f"backward gave {name} a gradient of the shape {shapes}"

    scale = np.maximum(np.maximum(abs(analytic), abs(numeric)), rms)
    gap = abs(analytic - numeric)
    error = np.divide(gap, scale, out=np.zeros_like(gap), where=gap != 0)
    error[np.isnan(error)] = np.inf
    error[kinks] = 0
    worst = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
    message = (
        f"{name}[{', '.join(map(str, worst))}] has the gradient {analytic[worst]:.6g} "
        f"by backward and {numeric[worst]:.6g} by the difference quotient, "
        f"a relative error of {error[worst]:.1e}"
    )
    return count, float(error[worst]), message


class CrossEntropy(Layer):
    """The loss dressed as a layer, so that the same check holds for it.

    Parameters
    ----------
    labels : int array (N,)
    label_smoothing : float
    """

    def __init__(self, labels: NDArray[np.integer], label_smoothing: float) -> None:
        self.labels, self.label_smoothing = labels, label_smoothing

    def forward(self, x: Array, training: bool = False) -> Array:  # noqa: ARG002
        """Map logits (N, K) to the loss (1,)."""
        loss, dlogits = softmax_cross_entropy(x, self.labels, self.label_smoothing)
        self._remember((1,), dlogits)
        return np.array([loss])

    def backward(self, dy: Array) -> Array:
        """Map the gradient of the loss (1,) to that of the logits (N, K)."""
        (dlogits,) = self._recall(dy)
        return dlogits * dy  # type: ignore[no-any-return]


def distinct_values(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return shuffled values 0.1 apart, none at 0: no tie and no kink within a step."""
    count = int(np.prod(shape))
    return (rng.permutation(count).reshape(shape) - count // 2 + 0.5) / 10


def examples(seed: int = 0) -> list[tuple[Layer, Array]]:
    """Return every built-in layer with a small input whose sizes all differ.

    Parameters
    ----------
    seed : int
        Of the weights and inputs.

    Returns
    -------
    list of (Layer, float64 array)
    """
    rng = np.random.default_rng(seed)
    N, H, W, C, F, KH, KW, SH, SW = 2, 7, 8, 4, 5, 3, 6, 1, 9
    images = rng.standard_normal((N, H, W, C))
    rows = rng.standard_normal((H, W))
    batch_norm = layers.BatchNorm2D(C)
    batch_norm.weight.value[:] = rng.standard_normal(C)
    batch_norm.running_mean[:] = rng.standard_normal(C)
    batch_norm.running_var[:] = rng.uniform(0.5, 2, C)
    strides, kernel = (SH, SW), (KH, KW)
    return [
        (layers.Conv2D(C, F, kernel, stride=strides, rng=rng), images),
        (layers.Conv2D(C, F, kernel, stride=2, padding="same", rng=rng), images),
        (layers.MaxPool2D((2, 3)), distinct_values((N, H, W, C), rng)),
        (layers.MaxPool2D(3, stride=2), distinct_values((N, H, W, C), rng)),
        (layers.GlobalAveragePool2D(), images),
        (layers.Flatten(), images),
        (layers.Dense(W, F, rng=rng), rows),
        (layers.ReLU(), distinct_values((N, H, W, C), rng)),
        (layers.Dropout(0.4), images),
        (batch_norm, images),
        (CrossEntropy(rng.integers(0, W, H), label_smoothing=0.1), rows),
    ]
