"""The window's saved settings, one small JSON file.

A missing file means the defaults; a damaged one too, with a line in the log.
"""

import json
import logging
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tinycnn.files import read_regular, write_atomically
from tinycnn.ink.strokes import PEN_WIDTH

THINNEST, THICKEST = 4.0, 40.0  # brush widths, in units
LARGEST_FILE = 10_000  # bytes
LOG = logging.getLogger("tinycnn.window")


@dataclass
class Settings:
    """Window size as Tk writes it, theme, brush in units, panel."""

    size: str = ""
    theme: str = "light"
    brush: float = PEN_WIDTH
    panel: bool = False


def load_settings(path: Path) -> Settings:
    """Read the settings; an invalid value is replaced by its default."""
    settings = Settings()
    if not path.exists():
        return settings
    try:
        found = json.loads(read_regular(path, LARGEST_FILE))
        if not isinstance(found, dict):
            raise ValueError("not a JSON object")
    except (ValueError, RecursionError) as error:
        LOG.warning("settings ignored: %s: %s", path, error)
        return settings
    for name in {field.name for field in fields(Settings)} & found.keys():
        if _is_valid(name, found[name]):
            setattr(settings, name, found[name])
        else:
            LOG.warning("%s: %s cannot be %.40r", path, name, found[name])
    return settings


def save_settings(path: Path, settings: Settings) -> None:
    """Write the settings; a failure is logged."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, [json.dumps(asdict(settings)).encode() + b"\n"])
    except OSError as error:
        LOG.warning("settings not saved: %s", error)


def _is_valid(name: str, value: Any) -> bool:
    if name == "brush":
        return type(value) in (int, float) and THINNEST <= value <= THICKEST
    if name == "panel":
        return isinstance(value, bool)
    form = {"size": r"([1-9]\d{2,4}x[1-9]\d{2,4})?", "theme": "light|dark"}[name]
    return isinstance(value, str) and bool(re.fullmatch(form, value, re.ASCII))
