"""What the judges share: comparing results, and saying what is wrong with them."""

import copy
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from tinycnn.exercises.judge import import_file
from tinycnn.exercises.path import BY_NAME, ROOM
from tinycnn.gradcheck import check_gradients
from tinycnn.nn.layers import Array, Layer

Tells = Sequence[tuple[str, Any]]  # a sentence, and the wrong result that it explains


class Wrong(Exception):  # noqa: N818 - no error of the program
    """A wrong answer; its text is a sentence for the learner."""


class Mine:
    """What the learner's file defines; a missing name is a wrong answer."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(self.module, name)
        except AttributeError:
            raise Wrong(
                f"it defines no {name}; the starter does: reset lays it out anew"
            ) from None


def reference(name: str) -> Any:
    """Return the module of an exercise's solution."""
    return import_file(ROOM / "solutions" / BY_NAME[name].file, "solution_")


def compare(
    what: str, found: Any, right: Any, tells: Tells = (), tolerance: float = 1e-5
) -> None:
    """Refuse a result that is not the right one, and say how it differs."""
    if found is None:
        raise Wrong(f"{what} is None: is a return or an assignment missing?")
    if not isinstance(found, np.ndarray | np.generic):
        raise Wrong(f"{what} is a {type(found).__name__}, not an array")
    found = np.asarray(found)
    if found.shape != right.shape:
        _refuse_shape(what, found, right, tells)
    if found.dtype != right.dtype:
        raise Wrong(
            f"{what} is {found.dtype} and should be {right.dtype}, as the input is: "
            "which array in it was made without a dtype?"
        )
    worst = _worst(found, right, tolerance)
    if worst is not None:
        at = f"[{', '.join(map(str, worst))}]" if worst else ""
        numbers = (
            f"{what}{at} is {found[worst] + 0:.6g} and should be {right[worst] + 0:.6g}"
        )
        reason = why(found, right, tells, tolerance)
        raise Wrong(f"{numbers}: {reason}" if reason else numbers)


def _refuse_shape(what: str, found: Any, right: Any, tells: Tells) -> NoReturn:
    text = f"{what} has the shape {found.shape} and should have {right.shape}"
    for sentence, wrong in tells:
        if np.shape(wrong) == found.shape and np.allclose(found, wrong, 1e-4):
            raise Wrong(f"{text}: {sentence}")
    if found.shape == right.shape[::-1] and found.ndim > 1:
        text += ": it is transposed"
    raise Wrong(text)


def _worst(found: Any, right: Array, tolerance: float) -> tuple[int, ...] | None:
    """Return the index of the worst entry, None if all will do."""
    if right.size == 0:
        return None
    rms = np.sqrt(np.mean(np.square(right, dtype=float)))
    scale = np.maximum(np.maximum(abs(found), abs(right)), rms)
    with np.errstate(invalid="ignore"):
        error = np.asarray(abs(found - right) / np.where(scale == 0, 1, scale))
    error[np.isnan(error)] = np.inf
    if error.max() <= tolerance:
        return None
    return tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))


def why(found: Any, right: Array, tells: Tells, tolerance: float = 1e-5) -> str:
    """Return a sentence that explains a wrong result, empty if none is known."""

    def alike(wrong: Any) -> bool:
        wrong = np.asarray(wrong)
        fits = wrong.shape == found.shape
        return bool(fits and _worst(found, wrong, 10 * tolerance) is None)

    if not np.isfinite(found).all():
        return "it is not finite: a division by 0, or exp of a large number?"
    for sentence, wrong in tells:
        if alike(wrong):
            return sentence
    if not found.any():
        return "all of it is 0"
    if alike(-right):
        return "every entry has the wrong sign"
    factor = float((found * right).sum() / max(float((right * right).sum()), 1e-30))
    if alike(factor * right):
        return f"every entry is {factor:.4g} times what it should be"
    if right.ndim > 1 and right.shape[0] == right.shape[1] and alike(right.T):
        return "it is transposed"
    count = int((abs(found - right) > 1e-4 * abs(right).max()).sum())
    return f"{count} of {right.size} entries are wrong"


def check_layer(
    layer: Layer,
    right: Layer,
    x: Array,
    tells: Callable[[Array, Array, Layer], dict[str, Tells]],
    *,
    training: bool = False,
    linear: tuple[str, ...] | None = None,
) -> None:
    """Compare a layer with the right one, then its backward with its forward.

    ``tells(x, dy, right)`` returns sentences for wrong results, by the name of the
    result: "y", "x" for its gradient, or the name of a parameter. `right` receives the
    values of the layer's parameters; it has seen x and dy. `linear` replaces linear_in.
    """
    name = type(layer).__name__
    if not isinstance(layer, Layer):
        raise Wrong(f"{name} must be a subclass of Layer")
    x = x.astype(np.float32)
    mine = {p.name: p for p in layer.parameters()}
    for p in right.parameters():
        if p.name not in mine:
            raise Wrong(f"{name} has no parameter named {p.name}")
        value = mine[p.name].value
        if value.shape != p.value.shape or value.dtype != np.float32:
            raise Wrong(
                f"{name}.{p.name}.value is {value.dtype} {value.shape} and should be "
                f"float32 {p.value.shape}"
            )
        p.value = value.copy()
    right_y = right.forward(x, training)
    dy = np.random.default_rng(5).standard_normal(right_y.shape).astype(np.float32)
    right_dx = right.backward(dy)
    known = tells(x, dy, right)
    given = x.copy()
    y = layer.forward(given, training)
    if not np.array_equal(given, x):
        raise Wrong(f"{name}.forward edits x: make a new array, or work on a copy")
    compare(f"{name}.forward's y", y, right_y, known.get("y", ()))
    y_before, given_dy = np.array(y), dy.copy()
    dx = layer.backward(given_dy)
    if not np.array_equal(given_dy, dy):
        raise Wrong(f"{name}.backward edits dy: make a new array, or work on a copy")
    for p in right.parameters():
        if not np.array_equal(mine[p.name].value, p.value):
            raise Wrong(
                f"{name} changes {p.name}.value in backward, which only assigns "
                f"{p.name}.grad; the optimizer changes values"
            )
        if mine[p.name].grad is None:
            raise Wrong(f"{name}.backward assigns nothing to {p.name}.grad")
    if dx is None:
        raise Wrong(f"{name}.backward returns None: return dx")
    grads = {p.name: (mine[p.name].grad, p.grad) for p in right.parameters()}
    wrong: list[tuple[str, Wrong]] = []
    for key, (found, should) in (grads | {"x": (dx, right_dx)}).items():
        try:
            what = "backward's dx" if key == "x" else f"{key}.grad"
            assert should is not None
            compare(f"{name}: {what}", found, should, known.get(key, ()), 1e-4)
        except Wrong as error:
            wrong.append((key, error))
    if wrong:
        raise wrong[0][1] from None
    if not np.array_equal(y, y_before):
        raise Wrong(f"{name}.backward edits y, which belongs to the caller")
    _check_definition(layer, x, linear)


def _check_definition(layer: Layer, x: Array, linear: tuple[str, ...] | None) -> None:
    """Compare every gradient with the definition of the derivative."""
    layer = copy.deepcopy(layer)
    if linear is not None:
        layer.linear_in = linear
    try:
        checks = check_gradients(layer, x)
    except ValueError as error:
        raise Wrong(str(error)) from None
    for check in checks:
        if not check.ok:
            raise Wrong(f"{check.layer}: {check.message}")
