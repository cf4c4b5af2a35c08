"""The window's saved settings: size, theme, brush, panel.

They are one small JSON file. A missing file means the defaults; a damaged one too, with
a line in the log.
"""

import json
import logging
import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tinycnn.files import write_atomically
from tinycnn.ink.strokes import PEN_WIDTH

THEMES = ("light", "dark")
THINNEST, THICKEST = 4.0, 40.0  # brush widths, in units
LARGEST_FILE = 10_000  # bytes
LOG = logging.getLogger("tinycnn.window")


@dataclass
class Settings:
    """The settings.

    Attributes
    ----------
    size : str
        Of the window in Tk's notation, ``"1000x700"``; empty is the default.
    theme : str
        ``"light"`` or ``"dark"``.
    brush : float
        In canvas units.
    panel : bool
        Whether the panel is open.
    """

    size: str = ""
    theme: str = "light"
    brush: float = PEN_WIDTH
    panel: bool = False


def load_settings(path: Path) -> Settings:
    """Read the settings; an invalid value is replaced by its default."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(LARGEST_FILE))
        if not isinstance(found, dict):
            raise ValueError("not a JSON object")
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError, RecursionError) as error:
        LOG.warning("settings ignored: %s: %s", path, error)
        return Settings()
    settings = Settings()
    for field in fields(Settings):
        if field.name in found:
            value = found[field.name]
            if _is_valid(field.name, value):
                setattr(settings, field.name, value)
            else:
                LOG.warning("%s: %s cannot be %.40r", path, field.name, value)
    return settings


def save_settings(path: Path, settings: Settings) -> None:
    """Write the settings; a failure is logged."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, [json.dumps(asdict(settings)).encode() + b"\n"])
    except OSError as error:
        LOG.warning("settings not saved: %s", error)


def _is_valid(name: str, value: Any) -> bool:
    """Return whether a setting can have this value."""
    if name == "size":
        return isinstance(value, str) and bool(
            re.fullmatch(r"([1-9]\d{2,4}x[1-9]\d{2,4})?", value, re.ASCII)
        )
    if name == "theme":
        return value in THEMES
    if name == "brush":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and THINNEST <= value <= THICKEST
    return isinstance(value, bool)
