"""The path: all exercises in their order, and the files of each."""

from dataclasses import dataclass
from pathlib import Path

ROOM = Path(__file__).parent
TRAINING = 120.0  # seconds until a training is stopped; it takes less than 60


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
        """Return the text of the reference solution."""
        return (ROOM / "solutions" / self.file).read_text("utf-8")

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


_PATH: tuple[tuple[str, str, str, str, float], ...] = (
    # name, title, what it needs, what the library has in its place, seconds
    ("relu", "ReLU", "", "ReLU", 10),
    ("dense", "Dense", "", "Dense", 10),
    ("loss", "Softmax cross-entropy", "", "softmax_cross_entropy", 10),
    ("sgd", "SGD with momentum", "", "SGD", 10),
    ("training", "The training step", "relu dense loss sgd", "", TRAINING),
)
EXERCISES = tuple(
    Exercise(number, name, title, tuple(needs.split()), library, seconds)
    for number, (name, title, needs, library, seconds) in enumerate(_PATH, 1)
)
BY_NAME = {exercise.name: exercise for exercise in EXERCISES}
