"""What the commands share: the parser, converters of arguments, messages, exit codes.

Exit codes: 0 done; 1 could not, or a check failed; 2 wrong usage; 3 training diverged;
130 and 143 stopped by Ctrl-C or SIGTERM.
"""

import argparse
import contextlib
import io
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

from tinycnn.userfile import UserFunction

PATIENCE = 1.5  # seconds until a wait is explained
DATA = (
    "the folder of MNIST's four files, or of others in this format (default: search "
    "for MNIST, download it, or use the bundled sample)"
)
T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """The argument parser of a command, which reports wrong usage in one line.

    It has a ``--json``, unless the command has no results; its help ends in an example.
    """

    def __init__(
        self, prog: str, description: str, *, example: str = "", json: bool = True
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"Example: {prog} {example}" if example else None,
            allow_abbrev=False,
        )
        if json:
            about = "print results as JSON on stdout"
            self.add_argument("--json", action="store_true", help=about)

    def error(self, message: str) -> NoReturn:
        """Print one line on stderr and exit with 2."""
        line = f"{self.prog}: {_one_line(message)} (--help lists every flag)"
        print(line, file=sys.stderr)
        sys.exit(2)


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run a command and exit with its code.

    Ctrl-C ends it with 130 and a line, a closed pipe quietly; a full disk is reported.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the encoding lacks
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda text, *_, **__: f"warning: {_one_line(text)}\n"
    if sys.stderr is None:  # closed by the parent process
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    try:
        code = main()
        print(end="", flush=True)  # also where there is no stdout
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        code = 130
    except OSError as error:
        # Python flushes stdout once more at exit; give it somewhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            fail(f"the results cannot be written ({error})")
        code = 1
    sys.exit(code)


def fail(message: object, code: int = 1) -> NoReturn:
    """Print one sentence on stderr and exit; the `SystemExit` has it as a note."""
    report(message)
    end = SystemExit(code)
    end.add_note(_one_line(message))
    raise end


def report(message: object) -> int:
    """Print one sentence on stderr, and return 1 to count errors with."""
    print(f"error: {_one_line(message)}", file=sys.stderr)
    return 1


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: "1 epoch", "1,000 epochs"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def printable(text: object) -> str:
    """Return a text for a terminal: control characters of files and names escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def _one_line(message: object) -> str:
    return printable(" ".join(str(message).split()))


@contextlib.contextmanager
def said_if_slow() -> Iterator[None]:
    """Say on a terminal that kernels are compiled if the block does not end soon."""
    line = "compiling kernels, the first time only ..."
    timer = threading.Timer(PATIENCE, print, [line], {"file": sys.stderr})
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def converter(
    needed: str, convert: Callable[[str], T], accepts: Callable[[T], bool]
) -> Callable[[str], T]:
    """Return a function for ``type=`` of argparse that refuses all but what is needed.

    `convert` and `accepts` may raise ValueError or OSError, which refuses as well.
    """

    def converted(text: str) -> T:
        with contextlib.suppress(OSError, ValueError):
            if text.strip() and accepts(value := convert(text)):
                return value
        raise argparse.ArgumentTypeError(f"needs {needed}, not {text!r}")

    return converted


def integer(least: int, most: int) -> Callable[[str], int]:
    """Return a converter that accepts an integer from ``least`` to ``most``."""
    needed = f"an integer from {least} to {most}"
    return converter(needed, int, lambda value: least <= value <= most)


def file_to_write(suffix: str) -> Callable[[str], Path]:
    """Return a converter that accepts a file ``*SUFFIX``: no other may be replaced."""
    return converter(
        f"a file *{suffix} in a folder that exists",
        Path,
        lambda path: path.suffix == suffix and path.parent.is_dir(),
    )


existing_file = converter("a file that exists", Path, Path.is_file)
existing_folder = converter("a folder that exists", Path, Path.is_dir)
user_function = converter(
    "FILE.py:NAME, with a file that exists", UserFunction.parse, lambda _: True
)
new_folder = converter(
    "a folder that is new or empty",
    Path,
    lambda folder: not (folder.exists() and any(folder.iterdir())),
)
