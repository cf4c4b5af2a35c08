"""The learner's folder: the files of the exercises, and what is done, in a text file.

``progress.json`` has an entry for every exercise that was begun: ``"solved"``, the
SHA-256 of the file that was judged right, ``"hints"``, how many were shown, and
``"tries"`` of a hunt. A file that would be overwritten goes to ``kept/`` first.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from tinycnn.exercises.path import BY_NAME, EXERCISES, Exercise
from tinycnn.files import write_atomically


class Workshop:
    """A folder with exercises.

    Raises
    ------
    ValueError
        If it has none, or ``progress.json`` is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._progress = folder / "progress.json"
        self._entries: dict[str, dict[str, Any]] = {}
        if not (
            self._progress.exists() or any(self.path(e).is_file() for e in EXERCISES)
        ):
            raise ValueError(
                f"there are no exercises in {folder.resolve()}; lay them out with "
                "tinycnn exercises start, and change to their folder"
            )
        try:
            if self._progress.exists():
                self._entries = json.loads(self._progress.read_text("utf-8"))
            for entry in dict(self._entries).values():
                int(entry.get("hints", 0)), int(entry.get("tries", 0))
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{self._progress} is damaged ({error}); delete it, and judge the "
                "exercises again: no file of yours is touched"
            ) from error

    @classmethod
    def start(cls, folder: Path) -> "Workshop":
        """Lay out all starters that the folder does not have, and return it.

        Raises
        ------
        ValueError
            If the folder has other files and no exercises.
        """
        folder.mkdir(parents=True, exist_ok=True)
        used = any(folder.iterdir())
        if used and not any((folder / e.file).exists() for e in EXERCISES):
            raise ValueError(
                f"{folder} has files, but no exercises; name a folder that is new or "
                "empty"
            )
        for exercise in EXERCISES:
            if not (folder / exercise.file).exists():
                _write(folder / exercise.file, exercise.starter())
        return cls(folder)

    def path(self, exercise: Exercise) -> Path:
        """Return where the learner's file of an exercise is."""
        return self.folder / exercise.file

    def state(self, exercise: Exercise) -> str:
        """Return "solved", "skipped", or "open": also if solved and changed since."""
        if self._content(exercise) == exercise.stand_in().encode():
            return "skipped"
        solved = self._entries.get(exercise.name, {}).get("solved")
        return "solved" if solved == self.sha256(exercise) else "open"

    def sha256(self, exercise: Exercise) -> str:
        """Return the SHA-256 of the learner's file."""
        return hashlib.sha256(self._content(exercise)).hexdigest()

    def _content(self, exercise: Exercise) -> bytes:
        path = self.path(exercise)
        return path.read_bytes() if path.is_file() else b""

    def count(self, exercise: Exercise, what: str) -> int:
        """Return how many "hints" were shown, or how many "tries" there were."""
        return int(self._entries.get(exercise.name, {}).get(what, 0))

    def first_open(self) -> Exercise | None:
        """Return the first exercise that is neither solved nor skipped."""
        return next((e for e in EXERCISES if self.state(e) == "open"), None)

    def needed(self, exercise: Exercise, state: str) -> list[Exercise]:
        """Return the exercises in a state on whose files an exercise builds."""
        needed = [BY_NAME[name] for name in exercise.needs]
        return [e for e in needed if self.state(e) == state]

    def note(self, exercise: Exercise, **facts: str | int) -> None:
        """Write facts of an exercise into ``progress.json``."""
        self._entries.setdefault(exercise.name, {}).update(facts)
        _write(self._progress, json.dumps(self._entries, indent=2) + "\n")

    def replace(self, exercise: Exercise, text: str) -> Path | None:
        """Write an exercise's file; return where the old one was kept, if it differed.

        An untouched starter is not kept.
        """
        path, old, kept = self.path(exercise), self._content(exercise), None
        if old not in (b"", text.encode(), exercise.starter().encode()):
            folder = self.folder / "kept"
            folder.mkdir(exist_ok=True)
            number = len(list(folder.glob(f"{path.stem}-*.py"))) + 1
            kept = folder / f"{path.stem}-{number}.py"
            write_atomically(kept, [old])
        _write(path, text)
        return kept


def _write(path: Path, text: str) -> None:
    write_atomically(path, [text.encode()])
