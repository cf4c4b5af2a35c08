"""The planted faults: mistakes that a learner could make, from ``faults.txt``."""

import re
from pathlib import Path
from typing import NamedTuple

FAULTS = Path(__file__).with_suffix(".txt")


class Fault(NamedTuple):
    """A mistake: `new` in the place of `old`, which occurs exactly once in a file."""

    file: str
    says: str
    old: str
    new: str
    tests: str
    why: str


def parse(text: str) -> list[Fault]:
    """Return the faults of a text in the format that ``faults.txt`` describes."""
    faults = []
    for block in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n", "", text)):
        parts: dict[str, list[str]] = {}
        for sign, line in re.findall(r"(?m)^(\w+:|[-+])(?: (.*))?$", block):
            parts.setdefault(sign, []).append(line)
        names = ("file:", "says:", "-", "+", "tests:", "why:")
        if parts:
            faults.append(Fault(*("\n".join(parts.get(name, [])) for name in names)))
    return faults
