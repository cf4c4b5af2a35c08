"""What a report shows of how a network learned; training itself never reads it."""

import json
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from tinycnn.training.fit import Trainer

SNAPSHOTS, BYTES = 24, 20_000_000  # of a run, at most; 8192 of a file are its header
POINTS = 100  # of the first epoch, at most


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
