"""What is shown of how a network learned: snapshots, the first epoch, a curve.

Training itself never reads them.
"""

import contextlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from tinycnn.training.fit import Trainer

SNAPSHOTS, BYTES = 24, 20_000_000  # of a run, at most; 8192 of a file are its header
POINTS = 100  # of the first epoch, at most
BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-=*^"
COLUMNS = ("train_accuracy", "val_accuracy")
SVG = Path(__file__).with_name("curve.svg").read_text("utf-8")


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
