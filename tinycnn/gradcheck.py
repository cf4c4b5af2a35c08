"""Is my layer's backward right? ``python -m tinycnn.gradcheck`` answers.

It knows arguments, messages and exit codes; the check is `tinycnn._gradcheck_core`.
"""

import contextlib
import json
import math
import runpy
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinycnn._cli import Parser, fail, holds, run_command, whole

if TYPE_CHECKING:
    from tinycnn._gradcheck_core import TensorCheck
    from tinycnn.nn.layers import Array, Layer


def main(argv: list[str] | None = None) -> int:
    """Check the named layers, or all built-in ones, and return the exit code.

    Parameters
    ----------
    argv : list of str or None
        The arguments; None takes those of the process.

    Returns
    -------
    int
        0 if every gradient is right, 1 if one is not.
    """
    parser = Parser(
        "tinycnn.gradcheck",
        "Compare backward with the definition of the derivative, entry by entry, in "
        "float64. Without arguments: all built-in layers.",
    )
    parser.add_argument(
        "examples",
        nargs="*",
        metavar="FILE.py:NAME",
        help="NAME() in FILE.py returns (layer, x); README.md has an example",
    )
    parser.add_argument(
        "--seed",
        type=whole(0, 2**32 - 1),
        default=0,
        help="of the random upstream gradient (default: 0)",
    )
    arguments = parser.parse_args(argv)

    from tinycnn._gradcheck_core import check_gradients, examples, table

    if arguments.examples:
        pairs = [_example(example, parser) for example in arguments.examples]
    else:
        pairs = examples(arguments.seed)

    checks: list[TensorCheck] = []
    for layer, x in pairs:
        with _explained(type(layer).__name__):
            new = check_gradients(layer, x, seed=arguments.seed)
        checks += new
        if arguments.json:
            for check in new:
                print(json.dumps(_as_json(check)), flush=True)
    if not arguments.json:
        print(table(checks))
    wrong = sum(not check.ok for check in checks)
    if wrong:
        print(f"{wrong} of {len(checks)} gradients are wrong", file=sys.stderr)
    return 1 if wrong else 0


def _example(example: str, parser: Parser) -> tuple["Layer", "Array"]:
    """Return the layer and the input that ``FILE.py:NAME`` makes."""
    file, _, name = example.rpartition(":")
    if not (file.endswith(".py") and name.isidentifier() and holds(Path(file).is_file)):
        parser.error(
            "argument FILE.py:NAME: needs a Python file that exists, a colon and the "
            f"name of a function in it, not {example!r}"
        )
    with _explained(file):
        module = runpy.run_path(file)
    if not callable(module.get(name)):
        parser.error(f"argument FILE.py:NAME: {file} has no function named {name!r}")
    with _explained(example):
        pair = module[name]()
    from tinycnn.nn import Layer

    if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], Layer)):
        fail(
            f"{example} must return (layer, x) with a Layer of tinycnn.nn, not {pair!r}"
        )
    return pair


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """End with one sentence, naming the line, if the learner's code raises."""
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - anything may come
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        fail(f"{name} raised {type(error).__name__}: {error} ({where})")


def _as_json(check: "TensorCheck") -> dict[str, Any]:
    """Return the fields that other programs rely on; JSON has no infinity."""
    error = check.max_relative_error
    return {
        "layer": check.layer,
        "parameter": check.parameter,
        "max_relative_error": error if math.isfinite(error) else None,
        "ok": check.ok,
    }


if __name__ == "__main__":
    run_command(main)
