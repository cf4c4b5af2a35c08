"""The folder of a run: all that is needed to resume it exactly, and its history.

========================== ======================================================
``checkpoint.safetensors`` weights, their average and moments, the best; settings
``weights.safetensors``    the best weights so far; at the end, those of the run
``metrics.jsonl``          a line an epoch
``curve.svg`` and others   for people: see `History` and `write_curve`
``config.json``            for people: settings, versions, machine, threads
``run.lock``               locked by the process that trains
========================== ======================================================

What a resumed run reads is replaced in one step, so that it can be killed any moment.
"""

import contextlib
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
from filelock import FileLock, Timeout
from safetensors.numpy import save

from tinycnn.files import write_atomically
from tinycnn.nn.weights import load_weights, read_facts, save_weights
from tinycnn.training.fit import Epoch, Progress, Trainer

PACKAGES = ("tinycnn", "numpy", "numba", "llvmlite", "safetensors")
SNAPSHOTS, BYTES = 24, 20_000_000  # of a run, at most; 8192 of a file are its header
POINTS = 100  # of the first epoch, at most
BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-=*^"
COLUMNS = ("train_accuracy", "val_accuracy")
OTHER_VERSION = (
    "was begun by another version of tinycnn or with another recipe; continue with "
    "that version, or start a new run"
)
SVG = Path(__file__).with_name("curve.svg").read_text("utf-8")


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
        If it cannot be written, or the folder of a new run is not empty.
    """

    def __init__(self, path: Path, config: dict[str, Any] | None = None) -> None:
        self._name_files(path)
        if config is not None:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise FileExistsError(f"{path} is not empty; a run is not overwritten")
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
        """Return the facts of the checkpoint, or raise RunError if it is of no use."""
        try:
            facts = read_facts(self._checkpoint)
        except FileNotFoundError:
            raise RunError(
                f"{self.path} has no checkpoint; name the folder that training printed "
                "when it began, or start a new run"
            ) from None
        progress = facts.get("progress")
        if not isinstance(progress, dict) or progress.keys() != vars(Progress()).keys():
            raise RunError(f"{self.path} {OTHER_VERSION}")
        return facts

    def save(self, trainer: Trainer, facts: dict[str, Any]) -> None:
        """Save the state of a trainer, and JSON values for `facts` to return.

        With a DivergedError (a weight is not finite) or OSError the old one stays.
        """
        trainer.check_finite()
        for leftover in self.path.glob("*.safetensors.*.tmp"):  # of a killed process
            leftover.unlink(missing_ok=True)
        progress = {"progress": asdict(trainer.progress)}
        save_weights(self._checkpoint, trainer, facts | progress)

    def restore(self, trainer: Trainer) -> None:
        """Bring a new trainer of the same settings to the state of the saved one."""
        progress = self.facts()["progress"]
        load_weights(self._checkpoint, trainer)
        trainer.resume(progress)

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
        # In this order: a released file may already be the lock of another process.
        with contextlib.suppress(OSError):  # Windows removes no file that is open
            Path(self._lock.lock_file).unlink()
        self._lock.release()


class History:
    """Snapshots of the averaged weights, and the first epoch batch by batch.

    Snapshots are float16, in ``snapshots/IMAGES.safetensors``, many early in a run and
    few later. ``first_epoch.jsonl`` has a line every so many batches, with sums since
    the beginning. A resumed run writes some of both again, with the same figures.
    """

    def __init__(self, trainer: Trainer, folder: Path, snapshots: bool) -> None:
        self.trainer, self.folder = trainer, folder
        size = sum(2 * array.size for array in trainer.averaged.state().values())
        gaps = min(SNAPSHOTS, BYTES // (size + 8192)) - 1 if snapshots else 0
        steps = trainer.batches * trainer.recipe.epochs
        self._steps = {round(steps * (i / gaps) ** 3) for i in range(gaps + 1) if gaps}
        self._every = math.ceil(trainer.batches / POINTS)

    def keep(self) -> None:
        """Write what belongs to this step of the run, if anything does."""
        trainer, now = self.trainer, self.trainer.progress
        if trainer.steps in self._steps:
            state = trainer.averaged.state().items()
            arrays = {n: a.clip(-6e4, 6e4).astype(np.float16) for n, a in state}
            file = self.folder / "snapshots" / f"{trainer.images:09}.safetensors"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(save(arrays))
        if now.epoch == 0 < now.batch and now.batch % self._every == 0:
            figures = {
                "images": trainer.images,
                "loss_sum": now.loss_sum,
                "correct": now.correct,
                "learning_rate": trainer.schedule(trainer.steps - 1),
                "norms": trainer.norms(),
            }
            with (self.folder / "first_epoch.jsonl").open("a") as lines:
                lines.write(json.dumps(figures) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines; a damaged line is left out."""
    found: list[Any] = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError, RecursionError):  # torn by a power cut
            found.append(json.loads(line))
    return [value for value in found if isinstance(value, dict)]


def blocks(values: Sequence[float], encoding: str | None) -> str:
    """Return a character a value, low to high; ASCII if the encoding lacks blocks."""
    encoded = BLOCKS.encode(encoding or "ascii", "replace")
    levels = ASCII if b"?" in encoded else BLOCKS
    least, most = min(values), max(values)
    scale = (len(levels) - 1) / ((most - least) or 1)
    return "".join(levels[round((value - least) * scale)] for value in values)


def write_curve(folder: Path) -> list[float]:
    """Draw ``metrics.jsonl`` into ``curve.svg``; return the validation accuracies."""
    lines = [e for e in read_lines(folder / "metrics.jsonl") if {*COLUMNS} <= e.keys()]
    shown = [line[name] for line in lines for name in COLUMNS]
    least, most = min(shown), max(shown)
    figures = {"least": least, "most": most, "last": shown[-1], "epoch": len(lines)}
    figures |= {"top": -most, "wide": len(lines) - 1 or 1, "high": most - least or 1}
    for name in COLUMNS:
        points = [f"{x},{-line[name]}" for x, line in enumerate(lines)]
        figures[name] = " ".join(points + points[-1:])  # one point alone is not drawn
    (folder / "curve.svg").write_text(SVG.format(**figures), "utf-8")
    return shown[1::2]
