"""The curve of a run: ``curve.svg`` in its folder, and blocks at the end of a line."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-=*^"
COLUMNS = ("train_accuracy", "val_accuracy")
SVG = Template(Path(__file__).with_suffix(".svg").read_text("utf-8"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines; a damaged line is left out."""
    found: list[Any] = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError, RecursionError):  # torn by a power cut
            found.append(json.loads(line))
    return [value for value in found if isinstance(value, dict)]


def blocks(values: Sequence[float], encoding: str | None) -> str:
    """Return a character a value, low to high; ASCII if the encoding lacks blocks."""
    try:
        levels, _ = BLOCKS, BLOCKS.encode(encoding or "ascii")
    except (UnicodeError, LookupError):
        levels = ASCII
    least, most = min(values), max(values)
    scale = (len(levels) - 1) / ((most - least) or 1)
    return "".join(levels[round((value - least) * scale)] for value in values)


def write_curve(folder: Path) -> list[float]:
    """Draw ``metrics.jsonl`` into ``curve.svg``; return the validation accuracies."""
    lines = [e for e in read_lines(folder / "metrics.jsonl") if {*COLUMNS} <= e.keys()]
    columns = [[line[name] for line in lines] for name in COLUMNS]
    least, most = min(map(min, columns)), max(map(max, columns))
    right, up = 400 / max(len(lines) - 1, 1), 160 / ((most - least) or 1)
    points = [  # the last twice, because one point alone is not drawn
        " ".join(
            f"{10 + right * x:.1f},{180 - up * (y - least):.1f}"
            for x, y in [*enumerate(column), (len(column) - 1, column[-1])]
        )
        for column in columns
    ]
    labels = (f"{value:.2%}" for value in (least, most, columns[1][-1]))
    names = ("train", "val", "least", "most", "last")
    values = dict(zip(names, [*points, *labels], strict=True))
    svg = SVG.substitute(values, epoch=len(lines))
    (folder / "curve.svg").write_text(svg, "utf-8")
    return columns[1]
