"""The path: all exercises in their order, and the files of each."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    needs: tuple[str, ...] = ()
    library: str = ""
    seconds: float = 10.0

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
        bodies = dict(_bodies(solved))
        for name, (start, end) in reversed(list(_bodies("\n".join(lines)))):
            if name in bodies:
                first, last = bodies[name]
                lines[start:end] = solved.splitlines()[first:last]
        return "\n".join(lines) + "\n"

    def hints(self) -> list[str]:
        """Return three hints, each of which says more than the last."""
        text = (ROOM / "hints" / self.file).with_suffix(".txt").read_text("utf-8")
        return text.strip().split("\n\n")

    def stand_in(self) -> str:
        """Return the text of the file where the exercise is skipped."""
        if not self.library:
            return (
                f'"""Skipped: the reference solution stands in."""\n{self.solution()}'
            )
        return (
            '"""Skipped: the library\'s stands in."""\n\n'
            f"from tinycnn.nn import {self.library}\n\n"
            f'__all__ = ["{self.library}"]\n'
        )


def _bodies(source: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield name and lines of the body of every function, without its docstring."""
    for part in ast.parse(source).body:
        for function in part.body if isinstance(part, ast.ClassDef) else [part]:
            if isinstance(function, ast.FunctionDef):
                name = function.name
                if part is not function:
                    name = f"{part.name}.{name}"  # type: ignore[attr-defined]
                first = function.body[ast.get_docstring(function) is not None]
                yield name, (first.lineno - 1, function.end_lineno or 0)


_LAYERS = "relu dense loss sgd training im2col pooling"
_PATH: tuple[tuple[str, str, str, str, float], ...] = (
    # name, title, what it needs, what the library has in its place, seconds
    ("relu", "ReLU", "", "ReLU", 10),
    ("dense", "Dense", "", "Dense", 10),
    ("loss", "Softmax cross-entropy", "", "softmax_cross_entropy", 10),
    ("sgd", "SGD with momentum", "", "SGD", 10),
    ("training", "The training step", "relu dense loss sgd", "", 120),
    ("convolution", "Convolution in loops, forward", "", "", 10),
    ("convolution_backward", "Convolution in loops, backward", "", "", 10),
    ("im2col", "Convolution as one product", "", "", 10),
    ("pooling", "Max pooling, and ties", "im2col", "", 10),
    ("cnn", "Your CNN", _LAYERS, "", 120),
    ("adam", "Adam", "", "Adam", 10),
    ("dropout", "Dropout", "", "Dropout", 10),
    ("batchnorm", "Batch norm, the full backward", "", "BatchNorm2D", 10),
    (
        "window",
        "Your network in the window",
        f"{_LAYERS} adam dropout batchnorm",
        "",
        120,
    ),
)
EXERCISES = tuple(
    Exercise(number, name, title, tuple(needs.split()), library, seconds)
    for number, (name, title, needs, library, seconds) in enumerate(_PATH, 1)
)
BY_NAME = {exercise.name: exercise for exercise in EXERCISES}
