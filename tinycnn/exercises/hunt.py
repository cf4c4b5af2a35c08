"""The bug hunt: a copy of a layer with one planted fault, its symptom and the check."""

import copy
from pathlib import Path
from typing import Any

from tinycnn import nn
from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.exercises.faults import FAULTS, parse
from tinycnn.exercises.judges.compare import changed, check_definition, compare
from tinycnn.exercises.path import ROOM, Exercise
from tinycnn.gradcheck import examples
from tinycnn.models import as_input

EPOCHS, IMAGES = 3, 640


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
        """Train with the layer of a file, and print; `Wrong` if it has a fault."""
        kind = self.title.split(":")[0]
        solution, digits = changed("window"), load_mnist(SAMPLE_FOLDER)
        solution.EPOCHS = EPOCHS
        images = as_input(digits.train_images[:IMAGES])
        labels = digits.train_labels[:IMAGES].astype(int)
        for whose, module in (("the library's", nn), ("your", mine)):
            print(f"the network of exercise 17 with {whose} {kind}:")
            setattr(solution, kind, getattr(module, kind))
            solution.train(images, labels)
        for layer, x in examples():
            if type(layer).__name__ == kind:
                judged = copy.deepcopy(layer)
                judged.__class__ = getattr(mine, kind)
                check_definition(judged, x)
                for training in (True, False):
                    y = copy.deepcopy(judged).forward(x, training)
                    wanted = copy.deepcopy(layer).forward(x, training)
                    compare("window", "y", f"y with training={training}", y, wanted)
        return f"the fault was: {self.title}"


LINES = Path(__file__).with_suffix(".txt").read_text("utf-8").splitlines()
HUNTS = [Hunt(n, f"hunt{n}", says, (), "", 60) for n, says in enumerate(LINES, 1)]
