"""Reading a file that a user names, and replacing a file in one step."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class UnreadableError(ValueError):
    """What is wrong with a file, without its name: "is empty; save it again"."""


def read_regular(path: str | Path | bytes, most: int) -> bytes:
    """Return the content of a regular file of 1 to `most` bytes, or the bytes given.

    Raises
    ------
    UnreadableError
        The file cannot be read, is a folder, pipe or device, is empty, or is larger.
    """
    try:
        if isinstance(path, bytes):
            content = path
        elif not stat.S_ISREG((status := Path(path).stat()).st_mode):
            # Opening a pipe could block for ever.
            raise OSError(errno.EINVAL, "not a regular file")
        else:
            with Path(path).open("rb") as file:
                # read(n) allocates n bytes whatever the file holds.
                content = file.read(min(status.st_size, most) + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise UnreadableError(f"cannot be read ({reason}); check its name") from error
    if len(content) > most:
        raise UnreadableError(f"has more than {most:,} bytes; save it smaller")
    if not content:
        raise UnreadableError("is empty; save it again")
    return content


def write_atomically(path: str | Path, parts: Iterable[bytes]) -> None:
    """Replace a file by one with this content in one step, or change nothing.

    The content first goes to ``NAME.PID-RANDOM.tmp`` in the same folder, which is
    removed when anything fails; a killed process leaves it. A symbolic link is
    followed. A replaced file keeps its permissions.

    Raises
    ------
    OSError
        The file cannot be written (no such folder, no permission, disk full). The error
        names `path`, and the old file is untouched.
    """
    target = Path(os.path.realpath(path))
    # The number tells processes apart, the token threads and machines.
    unique = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = target.with_name(f"{target.name}.{unique}.tmp")
    try:
        with temporary.open("xb") as file:
            with suppress(OSError):  # the file is new, or the disk has no permissions
                shutil.copymode(target, temporary)  # before there is content to read
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())  # the content is on the disk before the name is
        temporary.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
