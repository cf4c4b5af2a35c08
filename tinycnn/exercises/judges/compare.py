"""What the judges share: comparing results, and saying what is wrong with them."""

import copy
import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np

from tinycnn.exercises.path import BY_NAME, ROOM
from tinycnn.gradcheck import check_gradients
from tinycnn.nn.layers import Array, Layer


class Wrong(Exception):  # noqa: N818 - no error of the program
    """A wrong answer; its text is a sentence for the learner."""


def changed(exercise: str, *texts: str) -> Any:
    """Return an exercise's solution with texts in place of others: old, new, ...

    What it imports of other exercises are their solutions.
    """
    source = BY_NAME[exercise].solution()
    for old, new in zip(texts[::2], texts[1::2], strict=True):
        assert old in source, old
        source = source.replace(old, new)
    module = ModuleType("solution")
    needed = {BY_NAME[n].file[:-3]: changed(n) for n in BY_NAME[exercise].needs}
    with mock.patch.dict(sys.modules, needed):
        exec(source, module.__dict__)
    return module


reference = changed


def unedited(function: Any, *arguments: Any) -> Any:
    """Return what a function returns, if it leaves its arguments as they are."""
    given = copy.deepcopy(arguments)
    found = function(*given)
    for before, after in zip(arguments, given, strict=True):
        if not np.array_equal(before, after):
            raise Wrong(f"{function.__name__} edits its arguments: work on a copy")
    return found


class Tells:
    """The wrong results of an exercise that are known: a file in ``tells``.

    Its format is described in the first of them. `names` is what their expressions use.
    """

    def __init__(self, exercise: str, **names: Any) -> None:
        path = (ROOM / "tells" / BY_NAME[exercise].file).with_suffix(".txt")
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        lines = [line for line in lines if line and not line.startswith("#")]
        self._entries = list(zip(lines[::2], lines[1::2], strict=True))
        self.names = {"np": np, "changed": partial(changed, exercise)} | names

    def find(self, result: str, found: Array, tolerance: float) -> str:
        """Return the sentence for a wrong result, empty if it is not known."""
        for line, sentence in self._entries:
            name, _, expression = line.partition(": ")
            if name == result:
                wrong = np.asarray(eval(expression, dict(self.names)))
                fits = found.shape == wrong.shape
                if fits and worst(found, wrong, tolerance) is None:
                    return sentence.strip()
        return ""


def compare(
    what: str,
    found: Any,
    right: Any,
    tells: Tells | None = None,
    result: str = "",
    tolerance: float = 1e-4,
) -> None:
    """Refuse a result that is not the right one, and say how it differs.

    `what` names it for the learner, `result` in the file of the tells.
    """
    right = np.asarray(right)
    if found is None:
        raise Wrong(f"{what} is None: is a return or an assignment missing?")
    if not isinstance(found, np.ndarray | np.generic | float):
        raise Wrong(f"{what} is a {type(found).__name__}, not an array")
    number = right.ndim == 0  # any kind of number will do
    found = np.asarray(found)
    at: tuple[int, ...] | None = ()
    if found.shape == right.shape:
        at = worst(found, right, tolerance)
    known = ""
    if tells and at is not None:
        known = tells.find(result, found, 10 * tolerance)
    if found.shape != right.shape:
        text = f"{what} has the shape {found.shape} and should have {right.shape}"
        raise Wrong(f"{text}: {known}" if known else text)
    if at is not None:
        index = f"[{', '.join(map(str, at))}]" if at else ""
        raise Wrong(
            f"{what}{index} is {found[at] + 0:.6g} and should be {right[at] + 0:.6g}: "
            + (known or _pattern(found, right, tolerance))
        )
    if found.dtype != right.dtype and not number:
        raise Wrong(
            f"{what} is {found.dtype} and should be {right.dtype}, as the input is: "
            "which array in it was made without a dtype?"
        )


def worst(found: Array, right: Array, tolerance: float) -> tuple[int, ...] | None:
    """Return the index of the worst entry, None if all will do."""
    if right.size == 0:
        return None
    found, right = np.asarray(found, float), np.asarray(right, float)
    rms = np.sqrt((right[np.isfinite(right)] ** 2).sum() / right.size)
    with np.errstate(invalid="ignore"):
        scale = np.maximum(np.maximum(abs(found), abs(right)), rms)
        error = np.asarray(abs(found - right) / np.where(scale == 0, 1, scale))
    error[np.isnan(found) & np.isnan(right)] = 0
    error[np.isnan(error)] = np.inf
    if error.max() <= tolerance:
        return None
    return tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))


def _pattern(found: Array, right: Array, tolerance: float) -> str:
    """Return what is wrong with a result that is wrong in no known way."""
    if not np.isfinite(found).all():
        return "it is not finite: a division by 0, or exp of a large number?"
    if not found.any():
        return "all of it is 0"
    if worst(found, -right, tolerance) is None:
        return "every entry has the wrong sign"
    factor = float((found * right).sum() / max(float((right * right).sum()), 1e-30))
    if worst(found, factor * right, 10 * tolerance) is None:
        return f"every entry is {factor:.4g} times what it should be"
    wrong = abs(found - right) > 1e-4 * abs(right).max()
    if right.ndim == 4 and not wrong[:, 1:-1, 1:-1].any():
        return "only the border is wrong"
    return f"{int(wrong.sum())} of {right.size} entries are wrong"


def check_layer(
    exercise: str,
    layers: Sequence[Any],
    x: Array,
    *,
    training: bool = False,
    more: Callable[[Any, Array], dict[str, Any]] | None = None,
    definition: bool = True,
) -> None:
    """Compare a layer with the right one, then its backward with its forward.

    `layers` are the learner's and the right one, which is given the
    values of the other's parameters. ``more(right, dy)`` returns
    names for the tells. Where `definition` is False there is no derivative: ties.
    """
    layer, right = layers
    name = type(layer).__name__
    if not isinstance(layer, Layer):
        raise Wrong(f"{name} must be a subclass of Layer")
    x = x.astype(np.float32)
    mine = {p.name: p for p in layer.parameters()}
    for p in right.parameters():
        value = mine[p.name].value if p.name in mine else None
        if value is None or value.shape != p.value.shape or value.dtype != np.float32:
            raise Wrong(f"{name} needs a parameter {p.name}, float32 {p.value.shape}")
        p.value = value.copy()
    y = right.forward(x, training)
    dy = np.random.default_rng(5).standard_normal(y.shape).astype(np.float32)
    names: dict[str, Any] = {p.name: p.value for p in right.parameters()}
    names["dx"] = right.backward(dy)
    tells = Tells(exercise, **({"x": x, "y": y, "dy": dy} | names))
    if more:
        tells.names |= more(right, dy)
    given, given_dy, settings = x.copy(), dy.copy(), repr(layer)
    my_y = layer.forward(given, training)
    if not np.array_equal(given, x):
        raise Wrong(f"{name}.forward edits x: make a new array, or work on a copy")
    compare(f"{name}.forward: y", my_y, y, tells, "y")
    if repr(layer) != settings:
        raise Wrong(
            f"forward has changed the settings of {name}, which are its public numbers "
            "and tuples: keep what backward needs under a name that begins with _"
        )
    kept = my_y.copy()
    my_dx = layer.backward(given_dy)
    if not (np.array_equal(given_dy, dy) and np.array_equal(given, x)):
        raise Wrong(f"{name}.backward edits dy or x: make a new array")
    if not np.array_equal(my_y, kept):
        raise Wrong(f"{name}.backward edits y, which belongs to the caller")
    for p in right.parameters():
        if not np.array_equal(mine[p.name].value, p.value):
            raise Wrong(
                f"{name}.backward changes {p.name}.value, and should assign "
                f"{p.name}.grad; the optimizer changes values"
            )
        if mine[p.name].grad is None:
            raise Wrong(f"{name}.backward assigns nothing to {p.name}.grad")
        compare(
            f"{name}.backward: {p.name}.grad", mine[p.name].grad, p.grad, tells, p.name
        )
    if my_dx is None:
        raise Wrong(f"{name}.backward returns None: return dx")
    compare(f"{name}.backward: dx", my_dx, names["dx"], tells, "dx")
    if definition:
        check_definition(layer, x)


def check_definition(layer: Any, x: Array) -> None:
    """Compare a layer's backward with the definition of the derivative, in float64."""
    try:
        checks = check_gradients(copy.deepcopy(layer), x)
    except ValueError as error:
        raise Wrong(str(error)) from None
    for check in checks:
        if not check.ok:
            raise Wrong(f"{check.layer}: {check.message}")
