"""All commands: ``tinycnn COMMAND`` and ``python -m tinycnn COMMAND``."""

import sys
from importlib import import_module

import tinycnn
from tinycnn._cli import run_command

COMMANDS = {
    "train": "train a network to read digits",
    "evaluate": "measure trained weights on labelled images",
    "report": "show a run, or compare several, as one page",
    "recognize": "read the numbers in pictures",
    "draw": "open a window, draw digits and see them read",
    "gradcheck": "check whether every backward is the derivative of its forward",
    "exercises": "build the library yourself, piece by piece, with a judge",
    "finetune": "fine-tune the reader on corrections that the window kept",
    "export": "write a network for other libraries, as ONNX",
}
HELP = """\
usage: tinycnn COMMAND [...] | tinycnn --version

A convolutional network written by hand that learns to read digits.

{commands}

tinycnn COMMAND --help lists its flags. python -m tinycnn COMMAND is the same.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command that the first argument names; return its exit code."""
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in COMMANDS:
        return import_module(f"tinycnn.{command}").main(rest)
    if command == "--version":
        print(f"tinycnn {tinycnn.__version__}")
        return 0
    if command in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        lines = (f"  {name:<{width}}  {about}" for name, about in COMMANDS.items())
        print(HELP.format(commands="\n".join(lines)), end="")
        return 0
    known = ", ".join(COMMANDS)
    print(f"tinycnn: no command {command!a}; there are {known}", file=sys.stderr)
    return 2


def run() -> None:
    """Run the process's command; the entry point of ``tinycnn``."""
    run_command(main)


if __name__ == "__main__":
    run()
