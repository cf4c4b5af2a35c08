"""The window's saved settings, one small JSON file.

A missing file means the defaults; a damaged one too, with a line in the log.
"""

import json
import logging
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

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

    def __post_init__(self) -> None:
        """Validate: a TypeError or ValueError says that there is something wrong."""
        if not (
            re.fullmatch(r"([1-9]\d{2,4}x[1-9]\d{2,4})?", self.size, re.ASCII)
            and re.fullmatch("light|dark", self.theme)
            and THINNEST <= self.brush <= THICKEST
            and self.panel in (False, True)
        ):
            raise ValueError(f"invalid: {self!r:.200}")


def load_settings(path: Path) -> Settings:
    """Read the settings; a file with anything invalid is ignored."""
    try:
        if path.exists():
            found = json.loads(read_regular(path, LARGEST_FILE))
            known = {field.name for field in fields(Settings)} & found.keys()
            return Settings(**{name: found[name] for name in known})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        LOG.warning("settings ignored: %s: %s", path, error)
    return Settings()


def save_settings(path: Path, settings: Settings) -> None:
    """Write the settings; a failure is logged."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, [json.dumps(asdict(settings)).encode() + b"\n"])
    except OSError as error:
        LOG.warning("settings not saved: %s", error)
