"""The kept versions of fine-tuned weights.

A version is a numbered folder, created completely or not at all; the highest number is
in use. The one before it is kept, so that a fine-tuning can be undone.
"""

import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_data_path

NUMBER = re.compile(r"[0-9]{1,9}")
KEPT = 2  # versions: the one in use and the one before


def folder() -> Path:
    """Return the folder of all versions, which may not exist yet."""
    return user_data_path("tinycnn") / "learnt"  # the name is that of older releases


def latest() -> Path | None:
    """Return the folder of the version in use, None if there is no version."""
    versions = _versions()
    return versions[-1] if versions else None


def keep(write: Callable[[Path], None]) -> Path:
    """Create a new version, which is in use from now on.

    Parameters
    ----------
    write : function of a Path
        Writes the files into this empty folder. If it fails, nothing changes.

    Returns
    -------
    Path
        The folder of the version.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    parent = folder()
    parent.mkdir(parents=True, exist_ok=True)
    unfinished = parent / f"{secrets.token_hex(4)}.tmp"
    unfinished.mkdir()
    try:
        write(unfinished)
        versions = _versions()
        number = int(versions[-1].name) + 1 if versions else 1
        version = unfinished.rename(parent / str(number))
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for old in [*versions, version][:-KEPT]:
        _remove(old)
    return version


def undo() -> bool:
    """Remove the version in use; the one before is used again, or the shipped weights.

    Returns
    -------
    bool
        False if there was no version.

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
    parent = folder()
    found = parent.iterdir() if parent.is_dir() else ()
    numbered = [path for path in found if NUMBER.fullmatch(path.name)]
    return sorted(numbered, key=lambda path: int(path.name))


def _remove(version: Path) -> None:
    """Rename a version, then delete it: a crash leaves no partial version."""
    removed = version.rename(version.with_name(f"{secrets.token_hex(4)}.tmp"))
    shutil.rmtree(removed, ignore_errors=True)
