"""The first run on a machine: two processes compile what one would compile alone.

A run begins by holding the fused steps against the plain layers, so it needs the
kernels of both. Where none is kept yet, a second process compiles those of the plain
layers meanwhile, and some more, and leaves them where the first will find them.

It knows which kernels a run will need; it does not know the run.
"""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from tinycnn import models
from tinycnn.fast.steps import FusedDense
from tinycnn.nn import Adam, kernels
from tinycnn.training.augment import Deformation, deform


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
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "tinycnn.training.warmup", architecture],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:  # no memory for another, say: the run can do without
        return
    # Somebody must hear of its end, or it stays on the list of processes.
    threading.Thread(target=process.wait, daemon=True).start()


def main() -> None:
    """Compile what a run needs, but for what it will be compiling itself meanwhile.

    A run begins with the first step of the plan, and that takes it longest. It comes to
    dense steps next, later to the plain layers, and last to deformed images and to the
    gradient of the first step.
    """
    images = np.zeros((2, *models.INPUT_SHAPE), np.float32)  # one would need no threads
    model = models.build(sys.argv[1])
    for step in model.plan:
        if isinstance(step, FusedDense):
            x = np.zeros((2, len(step.dense.weight.value)), np.float32)
            step.backward(step.forward(x))
    model.fuse = False
    model.backward(model.forward(images, training=True))
    Adam(model.parameters()).step()
    deform(np.zeros(images.shape[:3], np.uint8), Deformation().warps(0, 1, 2))
    first = model.plan[0]
    first.backward_parameters(first.forward(images, training=True))


if __name__ == "__main__":
    main()
