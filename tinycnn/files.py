"""How a strange file is read, and how a file is replaced in one step.

It knows names, disks and what a killed process leaves behind. It knows no format: what
the bytes mean is the business of whoever gives or takes them.
"""

import contextlib
import glob
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path


class UnreadableError(ValueError):
    """What is wrong with a file, said of it: "is empty; save it again"."""


def read_regular(path: str | Path, most: int) -> bytes:
    """Return the content of a file that anybody may have named.

    Parameters
    ----------
    path : str or Path
    most : int
        Bytes that it may have.

    Raises
    ------
    UnreadableError
        If it cannot be read, is a folder, pipe or device, is empty, or has more bytes.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe may never end
            raise UnreadableError("is not a regular file; name one")
        with Path(path).open("rb") as file:
            content = file.read(most + 1)
    except UnreadableError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise UnreadableError(
            f"cannot be read ({reason}); check the name and your right to read it"
        ) from error
    if len(content) > most:
        raise UnreadableError(f"has more than {most:,} bytes; save it smaller")
    if not content:
        raise UnreadableError("is empty; save it again")
    return content


def write_atomically(path: str | Path, parts: Iterable[bytes]) -> None:
    """Put a new file in the place of `path`, or change nothing.

    A reader sees the file as it was before or as it is after. The new bytes first go
    to ``NAME.PID-RANDOM.tmp`` in the same folder. It is removed when anything fails;
    only a killed process can leave it behind. Such a file is never read and never in
    the way of a later write, and may be deleted: `temporaries` finds it.

    Parameters
    ----------
    path : str or Path
        The file; replaced if it is there. A symbolic link is followed. Permissions are
        those of any new file.
    parts : iterable of bytes
        The content, one part after another.

    Raises
    ------
    OSError
        If the file cannot be written (no such folder, no permission, disk full). It
        names `path`, and what was at `path` before is untouched.
    """
    target = Path(os.path.realpath(path))
    # The number is for two processes, the token for two threads or two machines.
    temporary = target.with_name(
        f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    )
    try:
        with temporary.open("xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())  # the bytes are on the disk before the name is
        temporary.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # after a success it is gone already
            temporary.unlink()
    _sync_folder(target.parent)


def temporaries(path: str | Path) -> list[Path]:
    """Return the temporary files of `path`, whose writers are at work or were killed.

    Parameters
    ----------
    path : str or Path
        A file that `write_atomically` writes; it need not be there.
    """
    target = Path(os.path.realpath(path))
    return list(target.parent.glob(f"{glob.escape(target.name)}.[0-9]*-*.tmp"))


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk as well, so that it outlives a power cut."""
    # Windows cannot open a folder and some network disks cannot sync one. The file is
    # whole either way, so that is no failure.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
