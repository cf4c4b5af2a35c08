"""Plots as SVG to be placed into a page, coloured by its CSS variables."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tinycnn.report.run import Points

COLOURS = 8
STYLE = Path(__file__).with_name("plots.mplstyle")
VARIABLES = {"#010101": "soft", "#020202": "rule"}
VARIABLES |= {f"#0303{n:02x}": f"c{n}" for n in range(1, COLOURS + 1)}


class Line(NamedTuple):
    """A line of a plot; the colour is a number from 1, validation's is not dashed."""

    name: str
    points: Points
    colour: int = 1
    dashed: bool = False


@contextmanager
def _plot(name: str, about: str, svg: list[Markup]) -> Iterator[Axes]:
    """Offer axes, and append what was drawn on them to ``svg``."""
    # The salt makes identifiers unique in the page and the same in every run.
    with mpl.rc_context({"svg.hashsalt": name}, STYLE):
        figure = Figure()
        yield figure.add_subplot()
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", content.getvalue(), flags=re.S)
    used = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    size = text.partition("viewBox=")[2]
    svg.append(Markup(f'<svg role="img" aria-label="{escape(about)}" viewBox={size}'))


def lines(title: str, x: str, shown: Sequence[Line], limits: object = None) -> Markup:
    """Return a plot of lines by ``x``; ``limits`` are those of the vertical axis."""
    told = "; ".join(
        f"{line.name}{' in training' if line.dashed else ''} from "
        f"{line.points[0][1]:.4g} to {line.points[-1][1]:.4g}"
        for line in shown
    )
    svg: list[Markup] = []
    with _plot(f"{title} {x}", f"{title} by {x}: {told}", svg) as axes:
        for _, points, colour, dashed in shown:
            style, marker = ("--", "x") if dashed else ("-", "o")
            style += marker if len(points) < 8 else ""
            axes.plot(*zip(*points, strict=True), style, c=_css(colour))
        axes.locator_params("x", nbins=5, integer=x != "amount", min_n_ticks=1)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.10g}")
        if limits or title == "accuracy":
            axes.yaxis.set_major_formatter(_percent)
        axes.set_ylim(limits)  # type: ignore[arg-type]
    return svg[0]


def reliability(runs: Sequence[Sequence[tuple[float, float, int]]]) -> Markup:
    """Return accuracy over confidence, a dot a bin, larger with more images."""
    svg: list[Markup] = []
    with _plot("reliability", "accuracy by confidence, a line of dots", svg) as axes:
        axes.plot([0, 1], [0, 1], ":", c="#010101", linewidth=1)
        for colour, bins in enumerate(runs, 1):
            xs, ys, counts = zip(*bins, strict=True)
            axes.plot(xs, ys, c=_css(colour), linewidth=1)
            sizes = [8 + 60 * (count / sum(counts)) ** 0.5 for count in counts]
            axes.scatter(xs, ys, sizes, color=_css(colour), linewidth=0)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_percent)
        axes.set_ylim(-0.05, 1.08)
    return svg[0]


def _css(colour: int) -> str:
    return f"#0303{1 + (colour - 1) % COLOURS:02x}"


def _percent(value: float, _: object) -> str:
    return f"{100 * value:.5g} %"
