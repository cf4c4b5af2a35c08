"""The bug hunt: a copy of a layer with one planted fault, its symptom and the check."""

import copy
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn import nn
from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.exercises.faults import FAULTS, parse
from tinycnn.exercises.judges.compare import changed, check_definition, compare
from tinycnn.exercises.path import ROOM, Exercise
from tinycnn.gradcheck import examples
from tinycnn.models import as_input

STEPS, BATCH_SIZE = 60, 32


class Hunt(Exercise):
    """A level of the hunt, judged like an exercise; its title says what is wrong."""

    @property
    def file(self) -> str:
        """The file in the learner's folder."""
        return f"{self.name}.py"

    def __str__(self) -> str:
        return f"Bug hunt, level {self.number}"

    def starter(self) -> str:
        """Return the text of the file: the class, with the fault."""
        faults = {fault.says: fault for fault in parse(FAULTS.read_text("utf-8"))}
        fault, kind = faults[self.title], self.title.split(":")[0]
        text = Path(nn.layers.__file__).read_text("utf-8")
        text = text.replace(fault.old, fault.new)
        start = text.index(f"class {kind}(")
        head = (ROOM / "starters" / "hunt.txt").read_text("utf-8")
        head = head.format(level=self.number, kind=kind)
        return head + text[start:].split("\n\n\n")[0] + "\n"

    def judge(self, mine: Any) -> str:
        """Print the loss with the layer of a file; `Wrong` if it has a fault."""
        kind = self.title.split(":")[0]
        right, found = getattr(nn, kind), getattr(mine, kind)
        print(f"step   loss with the library's {kind}, and with yours (=)")
        losses = np.array([_losses(kind, right), _losses(kind, found)])
        for step in range(0, STEPS, 10):
            should, loss = losses[:, step : step + 10].mean(axis=1)
            bar = "=" * min(round(10 * loss), 60) if np.isfinite(loss) else "= ..."
            print(f"{step:4} {should:6.2f} {loss:6.2f}  {bar}")
        for layer, x in examples():
            if type(layer).__name__ == kind:
                judged = copy.deepcopy(layer)
                judged.__class__ = found
                check_definition(judged, x)
                for training in (True, False):
                    y, wanted = (
                        copy.deepcopy(one).forward(x, training)
                        for one in (judged, layer)
                    )
                    what = f"the gradients fit; y with training={training}"
                    compare("window", "y", what, y, wanted)
        return f"the fault was: {self.title}"


LINES = Path(__file__).with_suffix(".txt").read_text("utf-8").splitlines()
HUNTS = [Hunt(n, f"hunt{n}", says, (), "", 60) for n, says in enumerate(LINES, 1)]


def _losses(kind: str, layer: Any) -> list[float]:
    """Train the network of exercise 17 with a layer in the place of one of its own."""
    solution, digits = changed("window"), load_mnist(SAMPLE_FOLDER)
    setattr(solution, kind, layer)
    rng = np.random.default_rng(0)
    images = as_input(digits.train_images[: STEPS * BATCH_SIZE])
    labels = digits.train_labels[: len(images)].astype(int)
    model = nn.Sequential(solution.network(rng))
    optimizer = changed("sgd").SGD(model.parameters(), 0.05, momentum=0.9)
    losses = solution.train_epoch(model, optimizer, images, labels, rng, BATCH_SIZE)
    return list(losses)
