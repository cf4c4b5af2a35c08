"""What the benchmarks share: a Markdown table, and the machine it was measured on."""

import platform
from collections.abc import Sequence
from pathlib import Path

from tinycnn.threads import available_cores


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up.

    Parameters
    ----------
    head : sequence of str
        The names of the columns.
    rows : sequence of sequences of str
        Each as long as `head`.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def three_digits(value: float) -> str:
    """Return a positive number with three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def machine() -> dict[str, str | int]:
    """Return what the figures depend on besides the programs.

    Returns
    -------
    dict
        ``processor`` as the system names it, ``cores``, ``python`` (its version) and
        ``system``.
    """
    processor = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
    return {
        "processor": processor,
        "cores": available_cores(),
        "python": platform.python_version(),
        "system": platform.system(),
    }
