"""What the judges share: comparing results, and saying what is wrong with them."""

import copy
import inspect
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np

from tinycnn.diagnosis import diagnose
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


def refuse(moment: str, **names: Any) -> None:
    """Raise the first sentence of ``refusals.txt`` whose condition holds now."""
    for line, sentence in REFUSALS:
        when, _, condition = line.partition(": ")
        if when == moment and eval(condition, names | {"np": np}):
            raise Wrong(eval(f"f{sentence!r}", names | {"np": np}))


def pairs_of_lines(path: Path) -> list[tuple[str, str]]:
    """Return the lines of a file two by two, without comments and empty lines."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    lines = [line.strip() for line in lines if line and line[0] != "#"]
    return list(zip(lines[::2], lines[1::2], strict=True))


REFUSALS = pairs_of_lines(ROOM / "tells" / "refusals.txt")


def compare(
    exercise: str,
    result: str,
    what: str,
    found: Any,
    right: Any,
    /,
    tolerance: float = 1e-4,
    **names: Any,
) -> None:
    """Refuse a result that is not the right one, and say how it differs.

    `what` names it for the learner, `result` in the file of the tells, which use
    `names`: lines in pairs, an expression for a wrong result and the sentence for it.
    """
    right = np.asarray(right)
    refuse("result", what=what, found=found)
    found = np.asarray(found)
    fits = found.shape == right.shape
    if fits and (at := worst(found, right, tolerance)) is None:
        refuse("dtype", what=what, found=found, right=right)
        return
    why = ""
    names = {"np": np, "changed": partial(changed, exercise)} | names
    path = (ROOM / "tells" / BY_NAME[exercise].file).with_suffix(".txt")
    for line, sentence in pairs_of_lines(path):
        name, _, expression = line.partition(": ")
        if name == result and not why:
            wrong = np.asarray(eval(expression, names))
            if found.shape == wrong.shape:
                near = worst(found, wrong, 10 * tolerance) is None
                why = sentence if near else ""
    if not fits:
        text = f"{what} has the shape {found.shape} and should have {right.shape}"
        raise Wrong(f"{text}: {why}" if why else text)
    index = f"[{', '.join(map(str, at))}]" if at else ""
    why = why or diagnose(found, right, tolerance=10 * tolerance) or ""
    if not why:
        count = int((abs(found - right) > 1e-4 * abs(right).max()).sum())
        why = f"{count} of {right.size} entries are wrong"
    numbers = f"{found[at] + 0:.6g} and should be {right[at] + 0:.6g}"
    raise Wrong(f"{what}{index} is {numbers}: {why}")


def worst(found: Array, right: Array, tolerance: float) -> tuple[int, ...] | None:
    """Return the index of the worst entry, None if all will do."""
    found, right = np.asarray(found, float), np.asarray(right, float)
    scale = tolerance * np.sqrt((right**2).sum(where=np.isfinite(right)) / right.size)
    fits = np.isclose(found, right, tolerance, scale, equal_nan=True)
    gap = np.where(fits, 0, np.nan_to_num(abs(found - right), nan=np.inf))
    if fits.all():
        return None
    return tuple(int(i) for i in np.unravel_index(gap.argmax(), gap.shape))


def check_function(
    exercise: str,
    what: str,
    functions: Sequence[Callable[..., Any]],
    arguments: Sequence[Any],
    results: Sequence[str],
    /,
    **names: Any,
) -> None:
    """Compare what a function returns with what the right one does.

    `functions` are the learner's and the right one. `what` names the results for the
    learner, `results` in the file of the tells, which use `names`, the arguments and
    the right function.
    """
    given = copy.deepcopy(arguments)
    found, should = functions[0](*given), functions[1](*arguments)
    if len(results) == 1:
        found, should = (found,), (should,)
    refuse("function", name=functions[1].__name__, found=found, results=results)
    for before, after in zip(arguments, given, strict=True):
        refuse("arguments", name=functions[1].__name__, before=before, after=after)
    names |= inspect.signature(functions[1]).bind(*arguments).arguments
    names |= {functions[1].__name__: functions[1]}
    names |= dict(zip(results, should, strict=True))
    for result, own, right in zip(results, found, should, strict=True):
        compare(exercise, result, f"{what}{result}", own, right, **names)


def check_layer(
    exercise: str,
    layers: Sequence[Any],
    x: Array,
    *,
    training: bool = False,
    definition: bool = True,
    **names: Any,
) -> None:
    """Compare a layer with the right one, then its backward with its forward.

    `layers` are the learner's and the right one, which is given the values of the
    other's parameters. The tells use `names`, `right`, and its parameters and their
    gradients. Where `definition` is False there is no derivative: ties.
    """
    layer, right = layers
    name = type(layer).__name__
    refuse("layer", layer=layer, name=name, Layer=Layer)
    x = x.astype(np.float32)
    mine = {p.name: p for p in layer.parameters()}
    for p in right.parameters():
        value: Any = mine[p.name].value if p.name in mine else None
        refuse("parameter", value=value, p=p, name=name)
        if not value.any():  # a bias of 0 would hide that it is forgotten
            value[:] = np.random.default_rng(6).standard_normal(value.shape)
        p.value = value.copy()
    y = right.forward(x, training)
    dy = np.random.default_rng(5).standard_normal(y.shape).astype(np.float32)
    names |= {"right": right, "x": x, "y": y, "dy": dy, "dx": right.backward(dy)}
    for p in right.parameters():
        names |= {p.name: p.value, f"d{p.name}": p.grad}
    settings, my_y = repr(layer), layer.forward(x.copy(), training)
    compare(exercise, "y", f"{name}.forward: y", my_y, y, **names)
    refuse("settings", layer=layer, settings=settings, name=name)
    dx = layer.backward(dy.copy())
    for p in right.parameters():
        refuse("gradient", mine=mine[p.name], p=p, name=name)
        what = f"{name}.backward: {p.name}.grad"
        compare(exercise, p.name, what, mine[p.name].grad, p.grad, **names)
    compare(exercise, "dx", f"{name}.backward: dx", dx, names["dx"], **names)
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
