"""The learner's folder: the files of the exercises, and what is done, in a text file.

``progress.json`` has an entry for every exercise that was begun: ``"state"``, "solved"
or "skipped", ``"sha256"`` of the file that was solved, and ``"hints"``, how many were
shown. A file that would be overwritten
goes to ``kept/`` first.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from tinycnn.exercises.path import BY_NAME, EXERCISES, Exercise
from tinycnn.files import write_atomically

STATES = ("solved", "skipped", "open")


class WorkshopError(ValueError):
    """The folder cannot be used as it is; one sentence with the remedy."""


class Workshop:
    """A folder with exercises.

    Raises
    ------
    WorkshopError
        If it has none, or ``progress.json`` is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._progress = folder / "progress.json"
        self._entries: dict[str, dict[str, Any]] = {}
        if self._progress.exists():
            self._entries = self._read()
        elif not any(map(self.has, EXERCISES)):
            raise WorkshopError(
                f"there are no exercises in {folder.resolve()}; lay them out with "
                "tinycnn exercises start, and change to their folder"
            )

    @classmethod
    def start(cls, folder: Path) -> "Workshop":
        """Lay out all starters that the folder does not have, and return it.

        Raises
        ------
        WorkshopError
            If the folder has other files and no exercises.
        """
        folder.mkdir(parents=True, exist_ok=True)
        used = any(folder.iterdir())
        if used and not any((folder / e.file).exists() for e in EXERCISES):
            raise WorkshopError(
                f"{folder} has files, but no exercises; name a folder that is new or "
                "empty"
            )
        for exercise in EXERCISES:
            if not (folder / exercise.file).exists():
                _write(folder / exercise.file, exercise.starter())
        workshop = cls(folder)
        workshop._save()
        return workshop

    def path(self, exercise: Exercise) -> Path:
        """Return where the learner's file of an exercise is."""
        return self.folder / exercise.file

    def has(self, exercise: Exercise) -> bool:
        """Return whether the learner's file is there."""
        return self.path(exercise).is_file()

    def state(self, exercise: Exercise) -> str:
        """Return one of `STATES`."""
        return str(self._entries.get(exercise.name, {}).get("state", "open"))

    def hints(self, exercise: Exercise) -> int:
        """Return how many hints were shown."""
        return int(self._entries.get(exercise.name, {}).get("hints", 0))

    def tries(self, exercise: Exercise) -> int:
        """Return how often a planted fault was looked for."""
        return int(self._entries.get(exercise.name, {}).get("tries", 0))

    def first_open(self) -> Exercise | None:
        """Return the first exercise that is neither solved nor skipped."""
        return next((e for e in EXERCISES if self.state(e) == "open"), None)

    def stands_in(self, exercise: Exercise) -> bool:
        """Return whether the file is that of a skipped exercise, as it was written."""
        text = exercise.stand_in().encode()
        return self.has(exercise) and self.path(exercise).read_bytes() == text

    def missing(self, exercise: Exercise) -> list[Exercise]:
        """Return the open exercises on whose files an exercise builds."""
        needed = [BY_NAME[name] for name in exercise.needs]
        return [e for e in needed if self.state(e) == "open"]

    def changed(self, exercise: Exercise) -> list[Exercise]:
        """Return the solved exercises that it imports, and that are not as judged."""
        needed = [BY_NAME[name] for name in exercise.needs]
        kept = {e: self._entries.get(e.name, {}).get("sha256") for e in needed}
        return [e for e in needed if kept[e] and kept[e] != self._hash(e)]

    def judged(self, exercise: Exercise, solved: bool) -> None:
        """Note the verdict, and of what file."""
        facts = {"state": "solved", "sha256": self._hash(exercise)}
        self.note(exercise, **facts if solved else {"state": "open"})

    def _hash(self, exercise: Exercise) -> str:
        content = self.path(exercise).read_bytes() if self.has(exercise) else b""
        return hashlib.sha256(content).hexdigest()

    def note(self, exercise: Exercise, **facts: str | int) -> None:
        """Write facts of an exercise into ``progress.json``."""
        entry = self._entries.get(exercise.name, {}) | facts
        self._entries[exercise.name] = entry
        self._save()

    def replace(self, exercise: Exercise, text: str) -> Path | None:
        """Write an exercise's file; return where the old one was kept, if it differed.

        An untouched starter is not kept.
        """
        path = self.path(exercise)
        old = path.read_bytes() if path.is_file() else b""
        if old in (b"", text.encode(), exercise.starter().encode()):
            _write(path, text)
            return None
        folder, number = self.folder / "kept", 1
        folder.mkdir(exist_ok=True)
        while (folder / f"{path.stem}-{number}.py").exists():
            number += 1
        write_atomically(folder / f"{path.stem}-{number}.py", [old])
        _write(path, text)
        return folder / f"{path.stem}-{number}.py"

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            entries = json.loads(self._progress.read_text("utf-8"))
            for name in BY_NAME:
                entry = entries.get(name, {})
                if entry.get("state", "open") not in STATES:
                    raise ValueError(f"the state of {name} is none of {STATES}")
                int(entry.get("hints", 0))
            return dict(entries)
        except (ValueError, AttributeError, TypeError, OSError) as error:
            raise WorkshopError(
                f"{self._progress} is damaged ({error}); delete it, and judge the "
                "exercises again: no file of yours is touched"
            ) from error

    def _save(self) -> None:
        _write(self._progress, json.dumps(self._entries, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    write_atomically(path, [text.encode()])
