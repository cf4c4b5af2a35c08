"""What the window remembers from one day to the next: size, theme, brush, panel.

It knows one small JSON file. A file that is missing is normal; a damaged one is worth a
line in the log and nothing more, for nobody's drawing may depend on it.
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
THINNEST, THICKEST = 4.0, 40.0  # units that the brush may be wide
LARGEST_FILE = 10_000  # bytes
LOG = logging.getLogger("tinycnn.window")


@dataclass
class Settings:
    """What is remembered.

    Attributes
    ----------
    size : str
        Of the window, as Tk writes it, ``"1000x700"``; empty is the default.
    theme : str
        ``"light"`` or ``"dark"``.
    brush : float
        Units of the canvas.
    panel : bool
        Whether the panel is open.
    """

    size: str = ""
    theme: str = "light"
    brush: float = PEN_WIDTH
    panel: bool = False


def load_settings(path: Path) -> Settings:
    """Read the settings; whatever is wrong in them is as it would be at first."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(LARGEST_FILE))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError, RecursionError) as error:
        LOG.warning("the settings in %s are left out: %s", path, error)
        return Settings()
    settings = Settings()
    for field in fields(Settings):
        if field.name in found:
            value = found[field.name]
            if _is_right(field.name, value):
                setattr(settings, field.name, value)
            else:
                LOG.warning("%s: %s cannot be %.40r", path, field.name, value)
    return settings


def save_settings(path: Path, settings: Settings) -> None:
    """Write the settings; a folder that cannot be written to is worth a line only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, [json.dumps(asdict(settings)).encode() + b"\n"])
    except OSError as error:
        LOG.warning("the settings cannot be kept: %s", error)


def _is_right(name: str, value: Any) -> bool:
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
