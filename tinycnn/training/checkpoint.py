"""The folder of a run: everything it needs to go on as if it had never stopped.

========================== ======================================================
``config.json``            settings, versions, machine, threads, data checksum
``metrics.jsonl``          a line an epoch
``checkpoint.safetensors`` weights, their average and moments, the best, `Progress`
``weights.safetensors``    the best weights so far; at the end, those of the run
========================== ======================================================

It knows files and what a `Trainer` consists of. It does not know arguments, signals or
when it is time to save. Each file is replaced in one step, so that a run which was
killed at any moment can be read.
"""

import json
import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding

from tinycnn.files import write_atomically
from tinycnn.nn.layers import Array
from tinycnn.nn.weights import load_weights, read_metadata, save_weights
from tinycnn.training.fit import EpochResult, Progress, Trainer


class RunError(ValueError):
    """The folder of a run is not what it should be; the message says what to do."""


class RunFolder:
    """A run's files.

    Parameters
    ----------
    path : Path
        `create` makes a new one; otherwise it must have been made before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weights = path / "weights.safetensors"
        self._checkpoint = path / "checkpoint.safetensors"
        self._metrics = path / "metrics.jsonl"
        self._config = path / "config.json"
        self._settings = ""

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
        folder._settings = json.dumps(config["settings"], sort_keys=True)
        text = json.dumps(config | _surroundings(), indent=2) + "\n"
        write_atomically(folder._config, [text.encode()])
        return folder

    def config(self) -> dict[str, Any]:
        """Return what ``config.json`` says.

        Raises
        ------
        RunError
            If it is missing or damaged, there is no checkpoint, or its settings are
            not those that the checkpoint was saved with.
        TensorFileError
            If the checkpoint is damaged.
        """
        try:
            if self._config.is_fifo():  # reading it could wait for ever
                raise TypeError("config.json must be a file")
            config = json.loads(self._config.read_text("utf-8"))
            self._settings = json.dumps(config["settings"], sort_keys=True)
            if not isinstance(config.get("data_folder"), str | None):
                raise TypeError("data_folder must be text or null")
        except FileNotFoundError:
            raise RunError(
                f"{self.path} holds no run (no config.json); name the folder that "
                "training printed when it began"
            ) from None
        except (OSError, KeyError, TypeError, ValueError, RecursionError):
            raise RunError(f"{self._config} is damaged; start a new run") from None
        try:
            saved = read_metadata(self._checkpoint).get("settings")
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
        return config  # type: ignore[no-any-return]

    def save(self, trainer: Trainer, seconds: float) -> None:
        """Save where a run stands.

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
        metadata = {
            "settings": self._settings,
            "progress": json.dumps(asdict(trainer.progress)),
            "optimizer_steps": str(trainer.optimizer.steps),
            "seconds": repr(seconds),
        }
        save_weights(self._checkpoint, _Everything(trainer), metadata)

    def restore(self, trainer: Trainer) -> float:
        """Put a new trainer of the same settings where the saved one stood.

        Lines of ``metrics.jsonl`` that are younger than the checkpoint are cut off.

        Returns
        -------
        float
            The seconds that the run had taken.

        Raises
        ------
        RunError
            If another version saved the checkpoint.
        TensorFileError
            If it is damaged, or of another network.
        """
        metadata = load_weights(self._checkpoint, _Everything(trainer))
        try:
            trainer.progress = Progress(**json.loads(metadata["progress"]))
            trainer.optimizer.steps = int(metadata["optimizer_steps"])
            seconds = float(metadata["seconds"])
        except (KeyError, TypeError, ValueError):
            raise RunError(
                f"{self._checkpoint} was saved by another version of tinycnn; continue "
                "with that version, or start a new run"
            ) from None
        trainer.model.seed_dropout(trainer.seed, trainer.optimizer.steps)
        self._cut_metrics(trainer.progress.epoch)
        return seconds

    def save_best(self, trainer: Trainer, metadata: dict[str, str]) -> None:
        """Write the best weights so far to ``weights.safetensors``.

        Parameters
        ----------
        trainer : Trainer
        metadata : dict of str to str
            What is known of these weights.
        """
        save_weights(self.weights, _State(trainer.best), metadata)

    def append(self, result: EpochResult, seconds: float) -> None:
        """Add the line of an epoch to ``metrics.jsonl``."""
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(
                json.dumps(asdict(result) | {"seconds": round(seconds, 3)}) + "\n"
            )

    def _cut_metrics(self, epochs: int) -> None:
        """Keep the first ``epochs`` lines."""
        if self._metrics.exists():
            lines = self._metrics.read_bytes().splitlines(keepends=True)
            write_atomically(self._metrics, lines[:epochs])


class _State:
    """Arrays by name, as saving wants them."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._arrays = arrays

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
