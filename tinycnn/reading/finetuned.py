"""Where what was learned from corrections is kept, version by version.

A version is a folder with a number, made whole or not at all; the highest is in use.
The one before is kept, so that learning can be undone.

It knows folders. It does not know what is in them, nor networks.
"""

import os
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_data_path

NUMBER = re.compile(r"[0-9]{1,9}")
KEPT = 2  # versions: the one in use and the one before


def folder() -> Path:
    """Return the folder of all versions; it need not be there."""
    return user_data_path("tinycnn") / "learnt"


def latest() -> Path | None:
    """Return the folder of the version in use, or None where nothing was learned."""
    versions = _versions()
    return versions[-1] if versions else None


def judge_beside(weights: Path) -> Path | None:
    """Return the judge in the folder of some weights, or None where there is none.

    Learning makes both. What is there under its name is taken, be it a link that leads
    nowhere: then whoever reads it says so.
    """
    judge = weights.with_name("judge.safetensors")
    return judge if os.path.lexists(judge) else None


def keep(write: Callable[[Path], None]) -> Path:
    """Make a new version and use it from now on.

    Parameters
    ----------
    write : function of a Path
        Writes its files into this empty folder. If it fails, nothing has changed.

    Returns
    -------
    Path
        The folder of the version.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    unfinished = place / f"{secrets.token_hex(4)}.tmp"
    unfinished.mkdir()
    try:
        write(unfinished)
        versions = _versions()
        number = int(versions[-1].name) + 1 if versions else 1
        version = unfinished.rename(place / str(number))
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for old in [*versions, version][:-KEPT]:
        _remove(old)
    return version


def undo() -> bool:
    """Go back to the version before; at last, to the weights that ship.

    Returns
    -------
    bool
        False if nothing was learned.

    Raises
    ------
    OSError
        If the folder cannot be changed.
    """
    version = latest()
    if version is None:
        return False
    _remove(version)
    return True


def _versions() -> list[Path]:
    """Return the versions, oldest first."""
    place = folder()
    found = place.iterdir() if place.is_dir() else ()
    numbered = [path for path in found if NUMBER.fullmatch(path.name)]
    return sorted(numbered, key=lambda path: int(path.name))


def _remove(version: Path) -> None:
    """Remove a version in one step; what is left of it after a crash is no version."""
    gone = version.rename(version.with_name(f"{secrets.token_hex(4)}.tmp"))
    shutil.rmtree(gone, ignore_errors=True)
