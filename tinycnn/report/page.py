"""The page: what `run`, `figures`, `plots` and `pictures` offer ``page.html``."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import ChainableUndefined, Environment, FileSystemLoader

from tinycnn.report import figures, pictures, plots
from tinycnn.report.plots import Line
from tinycnn.report.run import Points, Run, points

IN_CELLS, SHOWN = 900, 18  # digits in all cells of the confusion matrix; in one, a row
WATCHED, FOLLOWED, SNAPSHOTS = 12, 1_000, 20  # digits shown, and test images predicted
COLUMNS = {  # of the records, by plot
    "loss": ("train_loss", "val_nll"),
    "accuracy": ("train_accuracy", "val_accuracy"),
    "learning rate": ("learning_rate",),
    "norm of the weights": ("norm",),
}
AMOUNTS = {
    "deformation": "times that of the training images of the preset default",
    "noise": "standard deviation; ink is 1",
    "thickness": "pixels that strokes grow on each side",
    "shift": "pixels to the right",
}


def write(runs: Sequence[Run]) -> str:
    """Return the page of a run, or of several that are compared with the first."""
    folder, sheet = Path(__file__).parent, pictures.Sheet(runs[0].images)
    html = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        undefined=ChainableUndefined,
    )
    html.filters["percent"] = lambda value, places=2: f"{100 * value:.{places}f} %"
    html.tests["list"] = lambda value: isinstance(value, list)
    html.filters["quoted"] = lambda word: shlex.quote(str(word))
    html.filters["count"] = lambda value: f"{value:,}"
    bins = [figures.reliability(run) for run in runs]
    swept = [figures.sweeps(run) for run in runs]
    sweeps = [
        _plot(f"{name}: {amount}", "amount", _numbered(runs, found), (0, 1.03))
        for name, amount in AMOUNTS.items()
        for found in [[one[name] for one in swept]]
    ]
    values = {"runs": runs, "sheet": sheet, "wilson": figures.wilson, "sweeps": sweeps}
    values["style"] = (folder / "page.css").read_text("utf-8")
    values["curves"] = [_curves(runs, by) for by in ("epoch", "images")]
    values["reliability"] = plots.reliability(bins), bins
    if len(runs) > 1:
        values["pairs"] = [_pair(runs[0], run) for run in runs[1:]]
    else:
        (run,) = runs
        values |= {"run": run, "layers": figures.layers(run), "seen": _seen(run)}
        values |= {"mistakes": run.mistakes(), "cells": _cells(run)}
        values["course"] = _course(run)
    return html.get_template("page.html").render(values, swept=figures.SWEPT)


def _numbered(runs: Sequence[Run], found: Sequence[Points]) -> list[Line]:
    pairs = zip(runs, found, strict=True)
    return [Line(run.name, points, n) for n, (run, points) in enumerate(pairs, 1)]


def _plot(title: str, x: str, lines: list[Line], limits: object = None) -> Any:
    """Return title, SVG and lines of a plot; None if there is nothing to plot."""
    lines = [line for line in lines if line.points]
    return (title, plots.lines(title, x, lines, limits), lines) if lines else None


def _curves(runs: Sequence[Run], by: str) -> list[Any]:
    """Return the plots by epoch, or by the images of the first epoch."""
    records = [run.epochs if by == "epoch" else run.batches for run in runs]
    plotted = []
    for title, columns in COLUMNS.items():
        lines = [
            line._replace(dashed=column.startswith("train") and by == "epoch")
            for column in columns
            for line in _numbered(runs, [points(r, by, column) for r in records])
        ]
        if columns == ("norm",) and len(runs) == 1:  # there is room for each layer
            keys = dict.fromkeys(k for line in records[0] for k in line)
            names = enumerate((k for k in keys if k.startswith("norm ")), 1)
            lines = [Line(k[5:], points(records[0], by, k), n) for n, k in names]
        plotted.append(_plot(title, by, lines))
    return [plot for plot in plotted if plot]


def _cells(run: Run) -> list[list[tuple[int, list[int]]]]:
    """Return a row of cells for each label: how many images, and some of them.

    The surest mistakes; of the right ones those it is least sure of.
    """
    counts = run.metrics.confusion
    each = max(1, min(SHOWN, IN_CELLS // int((counts > 0).sum())))
    cells: list[Any] = [[(int(count), []) for count in row] for row in counts]
    order = np.argsort(np.where(run.right, 1, -1) * run.confidence, kind="stable")
    for n in order:
        cell = cells[run.labels[n]][run.answers[n]][1]
        if len(cell) < each:
            cell.append(int(n))
    return cells


def _seen(run: Run) -> Any:
    """Return the first convolution's filters, and maps of a digit of each class."""
    place = pictures.first_convolution(run.runner.model)
    if place is None:
        return None
    model, chosen = run.runner.model, np.unique(run.labels, return_index=True)[1][:10]
    drawn = [pictures.filters(model.state()[f"{place}.weight"])]
    drawn.append(pictures.maps(model, place, run.images[chosen]))
    return [(pictures.data_uri([p]), p.size) for p in drawn], run.labels[chosen]


def _course(run: Run) -> Any:
    """Return the answers and filters of snapshots, and the digits learned last."""
    snapshots = run.snapshots(SNAPSHOTS)
    if len(snapshots) < 2:
        return None
    images, states = zip(*snapshots, strict=True)
    probabilities = figures.over_time(run, states, FOLLOWED)
    since = figures.learned_at(probabilities, run.labels)
    last = [n for n in np.argsort(-since, kind="stable") if since[n] < len(images)]
    firsts = np.unique(run.labels[: len(since)], return_index=True)[1]
    watched = [*dict.fromkeys([*firsts[: WATCHED // 2], *last, *firsts])][:WATCHED]
    place, frames = pictures.first_convolution(run.runner.model), []
    if place is not None:
        frames = [pictures.filters(arrays[f"{place}.weight"]) for arrays in states]
    return {
        "images": images,
        "rows": [(n, probabilities[:, n]) for n in watched],
        "last": [(n, images[since[n]]) for n in last[:5]],
        "followed": len(since),
        "frames": [pictures.data_uri(f) for f in (frames, frames[-1:]) if f],
        "size": frames[0].size if frames else (1, 1),
    }


def _pair(first: Run, second: Run) -> dict[str, Any]:
    """Return how the second compares with the first on the same images."""
    found: dict[str, Any] = {"first": first, "second": second}
    if np.array_equal(first.images, second.images):
        found["difference"] = figures.difference(first.right, second.right)
        found["alone"] = [
            (right, wrong, np.flatnonzero(right.right & ~wrong.right))
            for right, wrong in ((first, second), (second, first))
        ]
    return found
