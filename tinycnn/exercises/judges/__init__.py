"""The judges: each looks at one exercise and raises `Wrong`, or returns a remark."""

from collections.abc import Callable
from typing import Any

from tinycnn.exercises.judges import basics, convolution, tools, training
from tinycnn.exercises.path import EXERCISES

JUDGES: dict[str, Callable[[Any], str | None]] = {
    e.name: getattr(room, e.name)
    for room in (basics, convolution, tools, training)
    for e in EXERCISES
    if hasattr(room, e.name)
}
