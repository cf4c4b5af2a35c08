"""What the commands share: arguments are checked, refusals worded, waits explained.

It knows argparse, exit codes and the terminal. It imports nothing heavy, so that
``--help`` answers at once, and knows nothing of networks.

Exit codes: 0 done; 1 could not, or a check failed; 2 wrong usage; 3 training diverged;
130 and 143 stopped by Ctrl-C or SIGTERM.
"""

import argparse
import contextlib
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

PATIENCE = 1.5  # seconds until a wait is explained


class Parser(argparse.ArgumentParser):
    """An argument parser whose refusals are one line: the flag, the rule, the value.

    Parameters
    ----------
    prog, description : str
    json : bool
        Whether there is a ``--json``, for a command with results.
    """

    def __init__(self, prog: str, description: str, *, json: bool = True) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        if json:
            self.add_argument(
                "--json", action="store_true", help="print results as JSON on stdout"
            )

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: None = None
    ) -> argparse.Namespace:
        """Parse as usual; ``--flag=--``, which argparse drops, is a wrong value too."""
        for text in sys.argv[1:] if args is None else args:
            if text.startswith("--") and text.endswith("=--"):
                self.error(f"argument {text[:-3]}: needs a value, not '--'")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print one line on stderr and exit with 2."""
        one_line = " ".join(message.split())
        print(f"{self.prog}: {one_line} (--help lists every flag)", file=sys.stderr)
        sys.exit(2)


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run a command and exit with its code.

    Ctrl-C ends it with 130 and one line; a reader of stdout that went away ends it
    quietly; a full disk behind stdout is said.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # Python flushes stdout once more at exit; give it somewhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        fail(f"the results cannot be written ({error})")
    sys.exit(code)


def fail(message: object, code: int = 1) -> NoReturn:
    """Print one sentence on stderr and exit."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def said_if_slow() -> Iterator[None]:
    """Say on a terminal that kernels are compiled if the block does not end soon."""
    line = "compiling kernels, once if they can be kept ..."
    timer = threading.Timer(PATIENCE, print, [line], {"file": sys.stderr})
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a converter that accepts an integer from ``least`` to ``most``."""

    def convert(text: str) -> int:
        # Only plain digits: int() would also take " 5", "1_000" and other scripts'.
        plain = text.isascii() and text.removeprefix("-").isdigit()
        if not plain or len(text) > 20 or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"needs an integer from {least} to {most}, not {text!r}"
            )
        return int(text)

    return convert


def positive(most: float) -> Callable[[str], float]:
    """Return a converter that accepts a number above 0 and up to ``most``."""

    def convert(text: str) -> float:
        # float() would also take " 5", "1_000" and other scripts' digits.
        plain = text.isascii() and not any(c.isspace() or c == "_" for c in text)
        try:
            value = float(text) if plain else math.nan
        except ValueError:
            value = math.nan
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(
                f"needs a number above 0 and up to {most:g}, not {text!r}"
            )
        return value

    return convert


def one_of(*names: str) -> Callable[[str], str]:
    """Return a converter that accepts one of the names."""

    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(
                f"needs one of {', '.join(names)}, not {text!r}"
            )
        return text

    return convert


def existing_folder(text: str) -> Path:
    """Accept the path of a folder that exists."""
    if not text.strip() or not holds(Path(text).is_dir):
        raise argparse.ArgumentTypeError(f"needs a folder that exists, not {text!r}")
    return Path(text)


def existing_file(text: str) -> Path:
    """Accept the path of a file that exists."""
    if not text.strip() or not holds(Path(text).is_file):
        raise argparse.ArgumentTypeError(f"needs a file that exists, not {text!r}")
    return Path(text)


def possible_folder(text: str) -> Path:
    """Accept the path of a folder that exists or can be made."""
    path = Path(text)

    def usable() -> bool:
        return all(p.is_dir() for p in (path, *path.absolute().parents) if p.exists())

    if not text.strip() or not holds(usable):
        raise argparse.ArgumentTypeError(
            f"needs a folder that exists or can be made, not {text!r}"
        )
    return path


def new_folder(text: str) -> Path:
    """Accept the path of a folder that can be made, or exists and is empty."""
    path = Path(text)

    def usable() -> bool:
        if path.exists():
            return path.is_dir() and not any(path.iterdir())
        return all(p.is_dir() for p in path.absolute().parents if p.exists())

    if not text.strip() or not holds(usable):
        raise argparse.ArgumentTypeError(
            f"needs a folder that is new or empty, not {text!r}"
        )
    return path


def holds(question: Callable[[], bool]) -> bool:
    """Return the answer of a question to the file system, no if it refuses to say.

    Parameters
    ----------
    question : function without arguments
        As ``Path("x").is_file``; a name may be too long to ask about.
    """
    try:
        return question()
    except (OSError, ValueError):
        return False


integer = whole
