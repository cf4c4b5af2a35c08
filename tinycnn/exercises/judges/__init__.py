"""The judges: each looks at one exercise and raises `Wrong`, or returns a remark."""

from collections.abc import Callable
from typing import Any

from tinycnn.exercises.judges import basics, convolution, training
from tinycnn.exercises.path import EXERCISES

JUDGES: dict[str, Callable[[Any], str | None]] = {
    e.name: getattr(room, e.name)
    for room in (basics, convolution, training)
    for e in EXERCISES
    if hasattr(room, e.name)
}
