"""The first run on a machine: two processes compile what one would compile alone.

A run begins by holding the fused steps against the plain layers, so it needs the
kernels of both. Where none is kept yet, a second process compiles those of the plain
layers meanwhile, and leaves them where the first will find them.

It knows which kernels a run will need; it does not know the run.
"""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from tinycnn import models
from tinycnn.nn import Adam, kernels


def help_compiling(architecture: str) -> None:
    """Start the second process, if there is something to do for it.

    Nobody waits for it: what it has not done when the run gets there, the run does.

    Parameters
    ----------
    architecture : str
        A key of `tinycnn.models.NETWORKS`.
    """
    if not hasattr(kernels.im2col, "stats"):  # interpreted: NUMBA_DISABLE_JIT=1
        return
    place = kernels.im2col.stats.cache_path
    if place is None or any(Path(place).glob("kernels.im2col*")):
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "tinycnn.training.warmup", architecture],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # Somebody must hear of its end, or it stays on the list of processes.
    threading.Thread(target=process.wait, daemon=True).start()


def main() -> None:
    """Compile what the plain layers of a network need, and a step of its optimizer."""
    model = models.build(sys.argv[1])
    model.fuse = False
    model.backward(model.forward(np.zeros((1, *models.INPUT_SHAPE), np.float32), True))
    Adam(model.parameters()).step()


if __name__ == "__main__":
    main()
