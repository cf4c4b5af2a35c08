"""Functions in a file of one's own, named ``FILE.py:NAME``: networks and examples."""

import contextlib
import hashlib
import runpy
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class UserFileError(ValueError):
    """The code in a file failed; one sentence with the file and the line."""


@dataclass(frozen=True)
class UserFunction:
    """A function in a Python file: the path as it was given, and its name."""

    file: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "UserFunction":
        """Return the function of ``FILE.py:NAME``; ValueError if there is no file."""
        file, _, name = text.rpartition(":")
        if not (file.endswith(".py") and Path(file).is_file() and name.isidentifier()):
            raise ValueError(f"{text!r} is not FILE.py:NAME with a file that exists")
        return cls(file, name)

    def __str__(self) -> str:
        """Return ``FILE.py:NAME`` without the folder."""
        return f"{Path(self.file).name}:{self.name}"

    def sha256(self) -> str:
        """Return the SHA-256 of the file."""
        return hashlib.sha256(Path(self.file).read_bytes()).hexdigest()

    def __call__(self, *arguments: Any) -> Any:
        """Run the file, call the function and return what it returns.

        As with ``python FILE.py``, the file may import others beside it. Raises
        UserFileError if there is no such function, or the code raises anything.
        """
        path = sys.path.copy()
        sys.path.insert(0, str(Path(self.file).resolve().parent))
        try:
            with explained(self):
                function = runpy.run_path(self.file).get(self.name)
                if callable(function):
                    return function(*arguments)
        finally:
            sys.path[:] = path
        raise UserFileError(f"{self.file} has no function named {self.name!r}")


@contextlib.contextmanager
def explained(function: UserFunction | None) -> Iterator[None]:
    """Turn what the code of the function's file raises into a `UserFileError`.

    What the code prints goes to stderr, as stdout is for results. None does nothing.
    """
    if function is None:
        yield
        return
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as error:
        # The sentence of a ValueError says enough; "'a'", of a KeyError, does not.
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        lines: list[int | None] = []
        cause: BaseException | None = error
        while cause is not None:  # a network raises anew, with the layer's place
            frames = traceback.extract_tb(cause.__traceback__)
            lines += [f.lineno for f in frames if f.filename == function.file]
            cause = cause.__cause__
        if not lines and isinstance(error, ValueError | OSError | ArithmeticError):
            raise  # of the library, and a sentence already
        line = f", line {lines[-1]}" if lines else ""
        raise UserFileError(f"{kind}{error} ({function.file}{line})") from error
