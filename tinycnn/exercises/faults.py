"""The planted faults: mistakes that a learner could make, from ``faults.txt``."""

import re
from pathlib import Path
from typing import NamedTuple

FAULTS = Path(__file__).with_suffix(".txt")
NEEDED = {"file:", "says:", "-"}


class Fault(NamedTuple):
    """A mistake: `new` in the place of `old`, which occurs exactly once in a file."""

    file: str
    says: str
    old: str
    new: str
    tests: str
    why: str


def parse(text: str) -> list[Fault]:
    """Return the faults of a text in the format that ``faults.txt`` describes.

    Raises
    ------
    ValueError
        If a block lacks a part, or has a line of another form.
    """
    faults = []
    for block in re.split(r"\n\s*\n", text):
        parts: dict[str, list[str]] = {}
        for line in block.splitlines():
            found = re.fullmatch(r"(file:|tests:|says:|why:|[-+])(?: (.*))?", line)
            if found:
                parts.setdefault(found[1], []).append(found[2] or "")
            elif not line.startswith("#"):
                raise ValueError(f"not a line of a fault: {line!r}")
        if missing := NEEDED - parts.keys() if parts else set():
            raise ValueError(f"a fault without {min(missing)}\n{block}")
        names = ("file:", "says:", "-", "+", "tests:", "why:")
        if parts:
            faults.append(Fault(*("\n".join(parts.get(name, [])) for name in names)))
    return faults
