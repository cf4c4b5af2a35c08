"""The folder of a run: all that is needed to resume it exactly.

========================== ======================================================
``checkpoint.safetensors`` weights, their average and moments, the best; settings
``weights.safetensors``    the best weights so far; at the end, those of the run
``metrics.jsonl``          a line an epoch
``curve.svg`` and others   for people: see `tinycnn.training.history`
``config.json``            for people: settings, versions, machine, threads
``run.lock``               locked by the process that trains
========================== ======================================================

What a resumed run reads is replaced in one step, so that it can be killed any moment.
"""

import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding
from filelock import FileLock, Timeout

from tinycnn.files import write_atomically
from tinycnn.nn.weights import load_weights, read_facts, save_arrays
from tinycnn.training.fit import Epoch, Trainer

PACKAGES = ("tinycnn", "numpy", "numba", "llvmlite", "safetensors")


class RunError(ValueError):
    """A folder cannot be trained in; the message says why and what to do."""


class RunFolder:
    """A run's files, locked until `close`.

    Parameters
    ----------
    path : Path
    config : dict of str to JSON values, optional
        Of a new run: the folder is made, and versions and machine are added.

    Raises
    ------
    RunError
        If another process trains in this folder.
    OSError
        If it cannot be written.
    """

    def __init__(self, path: Path, config: dict[str, Any] | None = None) -> None:
        self._name_files(path)
        if config is not None:
            path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path / "run.lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise RunError(
                f"another process trains in {path}; wait for it, or stop it first"
            ) from None
        if config is not None:
            machine = {
                "versions": {name: version(name) for name in PACKAGES},
                "python": platform.python_version(),
                "cpu": llvmlite.binding.get_host_cpu_name(),
                "system": platform.platform(),
            }
            text = json.dumps(config | machine, indent=2) + "\n"
            write_atomically(path / "config.json", [text.encode()])

    def _name_files(self, path: Path) -> None:
        self.path = path
        self.weights = path / "weights.safetensors"
        self._checkpoint = path / "checkpoint.safetensors"
        self._metrics = path / "metrics.jsonl"

    def facts(self) -> dict[str, Any]:
        """Return the facts of the checkpoint; raise RunError if there is none."""
        try:
            return read_facts(self._checkpoint)
        except FileNotFoundError:
            raise RunError(
                f"{self.path} has no checkpoint; name the folder that training printed "
                "when it began, or start a new run"
            ) from None

    def save(self, trainer: Trainer, facts: dict[str, Any]) -> None:
        """Save the state of a trainer, and JSON values for `facts` to return.

        With a DivergedError (a weight is not finite) or OSError the old one stays.
        """
        trainer.check_finite()
        for leftover in self.path.glob("*.safetensors.*.tmp"):  # of a killed process
            leftover.unlink(missing_ok=True)
        progress = {"progress": asdict(trainer.progress)}
        save_arrays(self._checkpoint, trainer.state(), facts | progress)

    def restore(self, trainer: Trainer) -> None:
        """Bring a new trainer of the same settings to the state of the saved one."""
        trainer.resume(load_weights(self._checkpoint, trainer)["progress"])

    def append(self, result: Epoch, seconds: float) -> None:
        """Add the line of an epoch to ``metrics.jsonl``.

        It replaces what a killed run wrote of this epoch after its last checkpoint.
        """
        line = json.dumps(result | {"seconds": round(seconds, 3)}) + "\n"
        old = self._metrics.read_bytes() if self._metrics.exists() else b""
        earlier = old.splitlines(keepends=True)[: result["epoch"] - 1]
        write_atomically(self._metrics, [*earlier, line.encode()])

    def close(self) -> None:
        """Release the lock of the folder."""
        self._lock.release()
