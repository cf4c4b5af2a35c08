"""A run or several as one page: ``python -m tinycnn.report``."""

import argparse
import contextlib
import sys
import warnings
import webbrowser
from pathlib import Path

from tinycnn import _cli
from tinycnn.files import write_atomically


def main(argv: list[str] | None = None) -> int:
    """Run the command and return 0; failures leave by `SystemExit`."""
    arguments = _arguments(argv)

    from tinycnn.report.page import write
    from tinycnn.report.run import Run
    from tinycnn.userfile import explained

    runs: list[Run] = []
    options = (arguments.weights, arguments.data, arguments.network)
    one = arguments.runs[0] if len(arguments.runs) == 1 else Path()
    out = arguments.out or one / "report.html"
    try:
        for folder in arguments.runs or [None]:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                runs.append(Run(folder, *options))
            runs[-1].notes += [str(warning.message) for warning in caught]
        with contextlib.ExitStack() as stack:
            for run in runs:
                stack.enter_context(explained(run.network))
            page = write(runs)
        write_atomically(out, [page.encode()])
    except (ValueError, OSError, ArithmeticError) as error:
        _cli.fail(error)
    for note in (f"{run.name}: {note}" for run in runs for note in run.notes):
        print(_cli.printable(note), file=sys.stderr)
    print(out)
    if arguments.open:
        webbrowser.open(out.resolve().as_uri())
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = _cli.Parser(
        "tinycnn report",
        "Show a run of training as one page: curves, what the network gets wrong, its "
        "filters, and how it learned. Several runs are compared.",
        example="runs/first --open",
        json=False,
    )
    add, folder = parser.add_argument, _cli.existing_folder
    add("runs", nargs="*", type=folder, metavar="RUN", help="folders of runs")
    weights = "weights without a run (default, without RUN: the shipped weights)"
    add("--weights", type=_cli.existing_file, metavar="FILE", help=weights)
    network = "the file that defines the network, if it is your own"
    add("--network", type=_cli.user_function, metavar="FILE.py:NAME", help=network)
    data = "the folder of the test images (default: that of the run, or as in train)"
    add("--data", type=folder, metavar="DIR", help=data)
    out = "the page (default: report.html, in the folder if there is one RUN)"
    add("--out", type=_cli.file_to_write(".html"), metavar="FILE.html", help=out)
    add("--open", action="store_true", help="open the page in the browser")
    given = parser.parse_args(argv)
    if given.runs and given.weights:
        parser.error("give RUN or --weights, not both")
    return given


if __name__ == "__main__":
    _cli.run_command(main)
