"""What a run left behind, read as far as it can be, and what its weights do."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tinycnn.evaluate import Evaluation
from tinycnn.nn.layers import Array
from tinycnn.training.checkpoint import read_lines
from tinycnn.userfile import UserFunction

Points = list[tuple[float, float]]
Lines = list[dict[str, float]]


class Run(Evaluation):
    """A run's records, and what its weights make of the test images.

    Parameters
    ----------
    folder : Path or None
        Of the run; None for a weights file alone.
    weights, data, network : Path or None, Path or None, UserFunction or None
        As of `Evaluation`; by default, those of the run.

    Attributes
    ----------
    name : str
    config : dict
        Of ``config.json``; empty if it is missing or damaged.
    first : int
        The label of class 0.
    answers, right, confidence : int, bool, float64 array (N,)
    epochs, batches : list of dict
        Lines of ``metrics.jsonl`` and ``first_epoch.jsonl``, with the same columns;
        ``norm`` is that of all weights together.
    notes : list of str
        Sentences about what is missing or damaged.

    Raises what `Evaluation` raises; ValueError if there are no weights.
    """

    def __init__(
        self,
        folder: Path | None,
        weights: Path | None = None,
        data: Path | None = None,
        network: UserFunction | None = None,
    ) -> None:
        self.notes: list[str] = []
        self.config: dict[str, Any] = {}
        self.epochs, self.batches = Lines(), Lines()
        if folder:
            weights = folder / "weights.safetensors"
            if not weights.exists():
                raise ValueError(
                    f"{folder} has no weights.safetensors: it is no run, or none of "
                    "its epochs has ended; name the folder that training printed"
                )
            self._read_config(folder / "config.json")
            self.epochs = self._read(folder / "metrics.jsonl", "epoch")
            self.batches = _means(self._read(folder / "first_epoch.jsonl", "images"))
            if isinstance(known := self.config.get("data_folder"), str):
                data = data or Path(known)
            own = self.config.get("network_file")
            if network is None and isinstance(own, list) and len(own) == 2:
                network = UserFunction(*map(str, own))
                if not Path(network.file).is_file():
                    where = "name where it is by --network FILE.py:NAME"
                    raise ValueError(f"{network.file} is not there; {where}")
        self.network = network
        super().__init__(weights, network, data)
        self.name = str(folder) if folder else self.path.stem
        self.first = self.facts["first_label"]
        self.answers = self.probabilities.argmax(axis=1)
        self.right = self.answers == self.labels
        self.confidence = self.probabilities.max(axis=1)

    def snapshots(self, most: int) -> list[tuple[int, dict[str, Array]]]:
        """Return images of training and arrays of so many snapshots, evenly chosen."""
        files = sorted(self.path.parent.glob("snapshots/*.safetensors"))
        places = np.linspace(0, len(files) - 1, min(most, len(files))).round()
        shapes = {n: a.shape for n, a in self.runner.model.state().items()}
        found = []
        for file in (files[int(place)] for place in places):
            arrays = {}
            with contextlib.suppress(SafetensorError, OSError):
                arrays = load_file(file)
            same = {n: a.shape for n, a in arrays.items()} == shapes
            finite = all(np.isfinite(array).all() for array in arrays.values())
            if same and finite and file.stem.isdecimal():
                found.append((int(file.stem), arrays))
            else:
                self.notes.append(f"the snapshot {file.name} is damaged and left out")
        return found

    def _read_config(self, path: Path) -> None:
        config = None
        with contextlib.suppress(OSError, ValueError, RecursionError):
            config = json.loads(path.read_bytes())
        self.config = config if isinstance(config, dict) else {}
        if not self.config:
            self.notes.append(f"{path.name} is missing or damaged")

    def _read(self, path: Path, key: str) -> Lines:
        """Return the lines with a number for ``key``, in order, each once."""
        count = path.read_bytes().count(b"\n") if path.exists() else 0
        lines = [line for line in read_lines(path) if _is_number(line.get(key))]
        if not lines:
            self.notes.append(f"{path.name} is missing or damaged, so are its curves")
        elif count > len(lines):
            lost = count - len(lines)
            self.notes.append(f"{lost} of {count} lines of {path.name} are damaged")
        unique: dict[float, dict[str, float]] = {}  # a resumed run repeats some lines
        for line in lines:
            norms = line["norms"] if isinstance(line.get("norms"), dict) else {}
            norms = {f"norm {n}": v for n, v in norms.items() if _is_number(v)}
            total = {"norm": math.hypot(*norms.values())} if norms else {}
            numbers = {n: v for n, v in line.items() if _is_number(v)}
            unique[line[key]] = numbers | norms | total
        return [unique[value] for value in sorted(unique)]


def points(lines: Lines, x: str, y: str) -> Points:
    """Return two columns, where there are both."""
    return [(line[x], line[y]) for line in lines if x in line and y in line]


def _means(lines: Lines) -> Lines:
    """Add the means since the line before to sums since the beginning."""
    before = dict.fromkeys(("images", "loss_sum", "correct"), 0.0)
    for line in lines:
        step = line["images"] - before["images"]
        if step > 0 and before.keys() <= line.keys():
            line["train_loss"] = (line["loss_sum"] - before["loss_sum"]) / step
            line["train_accuracy"] = (line["correct"] - before["correct"]) / step
            before = {name: line[name] for name in before}
    return lines


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e12
