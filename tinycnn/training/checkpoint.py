"""The folder of a run: everything it needs to go on as if it had never stopped.

========================== ======================================================
``config.json``            settings, versions, machine, threads, data checksum
``metrics.jsonl``          a line an epoch
``checkpoint.safetensors`` weights, their average and moments, the best, `Progress`
``weights.safetensors``    the best weights so far; at the end, those of the run
``run.lock``               held by the process that trains
========================== ======================================================

Each file is replaced in one step, so that a run which was killed at any moment can be
read.
"""

import json
import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding
from filelock import FileLock, Timeout

from tinycnn.files import UnreadableError, read_regular, write_atomically
from tinycnn.nn.layers import Array
from tinycnn.nn.weights import load_weights, read_facts, save_arrays, save_weights
from tinycnn.training.fit import EpochResult, Progress, Trainer

MOST_CONFIG = 1_000_000  # bytes


class RunError(ValueError):
    """The folder of a run is not what it should be; the message says what to do."""


class RunFolder:
    """A run's files, which no other process trains in meanwhile.

    Parameters
    ----------
    path : Path
        `create` makes a new one; otherwise it must have been made before.

    Raises
    ------
    RunError
        If another process trains in this folder.
    OSError
        If the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weights = path / "weights.safetensors"
        self._checkpoint = path / "checkpoint.safetensors"
        self._metrics = path / "metrics.jsonl"
        self._config = path / "config.json"
        self._settings: dict[str, Any] = {}
        self._lock = FileLock(path / "run.lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise RunError(
                f"another process trains in {path}; wait for it, or stop it first"
            ) from None
        for leftover in path.glob("*.tmp"):  # of a process that was killed
            leftover.unlink(missing_ok=True)

    @classmethod
    def create(
        cls, path: Path | None, preset: str, config: dict[str, Any]
    ) -> "RunFolder":
        """Make the folder of a new run and write its ``config.json``.

        Parameters
        ----------
        path : Path or None
            A folder that is new or empty; None names one by time under ``runs``.
        preset : str
            Part of that name.
        config : dict
            ``"settings"`` (what must not change when the run is resumed), and what is
            worth knowing besides. Versions and machine are added.

        Raises
        ------
        OSError
            If the folder cannot be made, or is not empty.
        """
        if path is None:
            path = _new_folder(
                Path("runs"), f"{time.strftime('%Y-%m-%d_%H%M%S')}_{preset}"
            )
        else:
            path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise FileExistsError(f"{path} is not empty; a run is never overwritten")
        folder = cls(path)
        folder._settings = config["settings"]
        text = json.dumps(config | _surroundings(), indent=2) + "\n"
        write_atomically(folder._config, [text.encode()])
        return folder

    def config(self) -> dict[str, Any]:
        """Return the content of ``config.json``.

        Raises
        ------
        RunError
            If it is missing or damaged, there is no checkpoint, or its settings are
            not those that the checkpoint was saved with.
        WeightsError
            If the checkpoint is damaged.
        """
        if not self._config.exists():
            raise RunError(
                f"{self.path} holds no run (no config.json); name the folder that "
                "training printed when it began"
            )
        try:
            config = json.loads(read_regular(self._config, MOST_CONFIG))
            self._settings = config["settings"]
            if not isinstance(config.get("data_folder"), str | None):
                raise TypeError("data_folder must be text or null")
        except (UnreadableError, KeyError, TypeError, ValueError, RecursionError):
            raise RunError(f"{self._config} is damaged; start a new run") from None
        try:
            saved = read_facts(self._checkpoint).get("settings")
        except FileNotFoundError:
            raise RunError(
                f"{self.path} has no checkpoint; the run ended before its first, so "
                "start it again"
            ) from None
        if saved != self._settings:
            raise RunError(
                f"the settings in {self._config} are not those of the run; put them "
                "back, or start a new run"
            )
        return config

    def save(self, trainer: Trainer, seconds: float) -> None:
        """Save the state of a run.

        Parameters
        ----------
        trainer : Trainer
        seconds : float
            How long the run has taken so far, over all its sittings.

        Raises
        ------
        DivergedError
            If a weight is not finite; the last checkpoint stays as it is.
        OSError
            If the disk is full or the folder cannot be written.
        """
        trainer.check_finite()
        facts = {
            "settings": self._settings,
            "progress": asdict(trainer.progress),
            "seconds": seconds,
        }
        save_arrays(self._checkpoint, _Everything(trainer).state(), facts)

    def restore(self, trainer: Trainer) -> float:
        """Bring a new trainer of the same settings to the state of the saved one.

        Lines of ``metrics.jsonl`` that are younger than the checkpoint are cut off.

        Returns
        -------
        float
            The seconds that the run had taken.

        Raises
        ------
        RunError
            If another version saved the checkpoint.
        WeightsError
            If it is damaged, or of another network.
        """
        facts = load_weights(self._checkpoint, _Everything(trainer))
        try:
            trainer.progress = Progress(**facts["progress"])
            trainer.check_progress()
            seconds = float(facts["seconds"])
        except (KeyError, TypeError, ValueError):
            raise RunError(
                f"{self._checkpoint} was saved by another version of tinycnn; continue "
                "with that version, or start a new run"
            ) from None
        trainer.optimizer.steps = trainer.steps
        trainer.model.seed_dropout(trainer.seed, trainer.steps)
        if self._metrics.exists():
            lines = self._metrics.read_bytes().splitlines(keepends=True)
            write_atomically(self._metrics, lines[: trainer.progress.epoch])
        return seconds

    def save_best(self, trainer: Trainer, facts: dict[str, Any]) -> None:
        """Write the best weights so far to ``weights.safetensors``.

        Parameters
        ----------
        trainer : Trainer
        facts : dict
            What is known of these weights, as JSON values.
        """
        save_weights(self.weights, _Best(trainer), facts)

    def append(self, result: EpochResult, seconds: float) -> None:
        """Add the line of an epoch to ``metrics.jsonl``."""
        line = json.dumps(asdict(result) | {"seconds": round(seconds, 3)})
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def close(self) -> None:
        """Let another process train in this folder."""
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)


class _Best:
    """The best weights of a trainer, as a network for `save_weights`."""

    def __init__(self, trainer: Trainer) -> None:
        self.layers, self._arrays = trainer.model.layers, trainer.best

    def state(self) -> dict[str, Array]:
        return self._arrays


class _Everything:
    """The arrays of a trainer: model, its average, optimizer, and the best so far."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def state(self) -> dict[str, Array]:
        parts = {
            "model": self._trainer.model.state(),
            "optimizer": self._trainer.optimizer.state(),
            "best": self._trainer.best,
        }
        if self._trainer.averaged is not self._trainer.model:
            parts["average"] = self._trainer.averaged.state()
        return {
            f"{part}.{name}": array
            for part, arrays in parts.items()
            for name, array in arrays.items()
        }


def _new_folder(parent: Path, name: str) -> Path:
    """Make ``parent/name``, or with a number behind it if that exists."""
    for number in range(1, 1000):
        path = parent / (name if number == 1 else f"{name}_{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{parent} has a thousand runs named {name}; use --out DIR")


def _surroundings() -> dict[str, Any]:
    """Return what a run's bits may depend on besides its settings."""
    packages = ("tinycnn", "numpy", "numba", "llvmlite", "threadpoolctl")
    return {
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in packages},
        "cpu": llvmlite.binding.get_host_cpu_name(),
        "system": platform.platform(),
    }
