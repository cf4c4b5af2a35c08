"""The bug hunt: a copy of a layer with one planted fault, its symptom and the check."""

import copy
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn import nn
from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.exercises.faults import FAULTS, Fault, parse
from tinycnn.exercises.judge import import_file
from tinycnn.gradcheck import check_gradients, examples
from tinycnn.models import as_input

STEPS, BATCH_SIZE = 60, 32
HEAD = '''"""Bug hunt, level {level}: {kind} has one fault. Find it, and mend it here.

What the layer should do is in its docstring; the library's own is out of bounds. Judge
it: tinycnn exercises hunt --level {level}
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycnn.nn.layers import Array, Layer, Pair, Parameter, kernels
from tinycnn.nn.layers import _check, _he_normal, _integer, _output_size, _pair


'''


def levels() -> list[Fault]:
    """Return the faults to find, one a level, the easy ones first."""
    faults = {fault.says: fault for fault in parse(FAULTS.read_text("utf-8"))}
    lines = Path(__file__).with_suffix(".txt").read_text("utf-8").splitlines()
    return [faults[line] for line in lines if line]


def planted(level: int) -> str:
    """Return the file of a level: the class, with the fault."""
    fault = levels()[level - 1]
    kind = fault.says.split(":")[0]
    text = Path(nn.layers.__file__).read_text("utf-8").replace(fault.old, fault.new)
    start = text.index(f"class {kind}(")
    return HEAD.format(level=level, kind=kind) + text[start:].split("\n\n\n")[0] + "\n"


def judge_hunt(level: int, path: Path) -> str:
    """Print the loss with the layer of a file; return what is wrong, "" if nothing."""
    kind = levels()[level - 1].says.split(":")[0]
    mine = getattr(import_file(path), kind)
    right, found = (_losses(kind, layer) for layer in (getattr(nn, kind), mine))
    print(f"step   loss with the library's {kind} (-) and with yours (=)")
    for step in range(0, STEPS, 10):
        for losses, sign in ((right, "-"), (found, "=")):
            loss = float(np.mean(losses[step : step + 10]))
            length = round(20 * loss) if np.isfinite(loss) else 70
            print(f"{step:4} {loss:6.2f}  {sign * min(length, 70)}")
    for layer, x in examples():
        if type(layer).__name__ == kind:
            judged = copy.deepcopy(layer)
            judged.__class__ = mine
            try:
                for check in check_gradients(judged, x):
                    if not check.ok:
                        return check.message
            except ValueError as error:
                return str(error)
            for training in (True, False):
                y, other = (
                    copy.deepcopy(one).forward(x, training) for one in (layer, judged)
                )
                if not np.allclose(y, other):
                    mode = "in" if training else "outside"
                    return f"the gradients fit; forward {mode} training is another one"
    return ""


def _losses(kind: str, layer: Any) -> list[float]:
    """Train a small network on the sample, with a class in the place of one of nn."""
    made = {name: getattr(nn, name) for name in nn.__all__} | {kind: layer}
    rng, digits = np.random.default_rng(0), load_mnist(SAMPLE_FOLDER)
    images, labels = as_input(digits.train_images), digits.train_labels.astype(int)
    model = nn.Sequential(
        [
            made["Conv2D"](1, 8, 5, stride=2, rng=rng),
            made["BatchNorm2D"](8),
            made["ReLU"](),
            made["MaxPool2D"](2),
            made["Dropout"](0.2),
            made["Flatten"](),
            made["Dense"](288, 10, rng=rng),
        ]
    )
    optimizer, losses = nn.SGD(model.parameters(), 0.1, momentum=0.9), []
    with np.errstate(all="ignore"):
        for step in range(STEPS):
            batch = slice(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
            logits = model.forward(images[batch], training=True)
            loss, dlogits = nn.softmax_cross_entropy(logits, labels[batch])
            model.backward(dlogits)
            optimizer.step()
            losses.append(loss)
    return losses
