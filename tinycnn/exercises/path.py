"""The path: all exercises in their order, and the files of each."""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOM = Path(__file__).parent


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes
    ----------
    number : int
        From 1.
    name, title : str
    needs : tuple of str
        The names of earlier exercises whose files this one imports.
    library : str
        What a skipped file imports from the library instead; empty if the library has
        no such function, and the reference solution stands in.
    seconds : float
        When a judgement is stopped.
    """

    number: int
    name: str
    title: str
    needs: tuple[str, ...]
    library: str
    seconds: float

    @property
    def file(self) -> str:
        """The file in the learner's folder."""
        return f"ex{self.number:02}_{self.name}.py"

    def __str__(self) -> str:
        return f"{self.number} {self.title}"

    def starter(self) -> str:
        """Return the text of the file as it is laid out."""
        return (ROOM / "starters" / self.file).read_text("utf-8")

    def solution(self) -> str:
        """Return the starter with the bodies of the functions in ``solutions``."""
        lines = self.starter().splitlines()
        solved = (ROOM / "solutions" / self.file).read_text("utf-8")
        gaps = _bodies("\n".join(lines))
        for name, (first, last) in reversed(_bodies(solved).items()):
            start, end = gaps[name]
            lines[start:end] = solved.splitlines()[first:last]
        return "\n".join(lines) + "\n"

    def judge(self, mine: Any) -> str | None:
        """Judge what a file defines; return a remark, or raise `Wrong`."""
        from tinycnn.exercises.judges import layers, learning

        room = layers if hasattr(layers, self.name) else learning
        remark: str | None = getattr(room, self.name)(mine)
        return remark

    def hints(self) -> list[str]:
        """Return three hints, each of which says more than the last."""
        text = (ROOM / "hints" / self.file).with_suffix(".txt").read_text("utf-8")
        return text.strip().split("\n\n")

    def stand_in(self) -> str:
        """Return the text of the file where the exercise is skipped."""
        if not self.library:
            return '"""Skipped: the solution stands in."""\n' + self.solution()
        return (
            '"""Skipped: the library\'s stands in."""\n\n'
            f"from tinycnn.nn import {self.library}\n\n"
            f'__all__ = ["{self.library}"]\n'
        )


def _bodies(source: str) -> dict[str, tuple[int, int]]:
    """Return name and lines of the body of every function, without its docstring."""
    bodies = {}
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            first = function.body[ast.get_docstring(function) is not None]
            bodies[function.name] = (first.lineno - 1, function.end_lineno or 0)
    return bodies


_LINES = (ROOM / "path.txt").read_text("utf-8").splitlines()
_ROWS = [line.split("; ") for line in _LINES if line and line[0] != "#"]
EXERCISES = tuple(
    Exercise(number, name, title, tuple(needs.split()), library.strip(), float(seconds))
    for number, (name, title, needs, library, seconds) in enumerate(_ROWS, 1)
)
BY_NAME = {exercise.name: exercise for exercise in EXERCISES}
