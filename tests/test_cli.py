"""The laws of the commands' arguments and messages.

Each refusal is one line on stderr that names the flag, what it needs and what it was
given, and exits with 2. A flag that is missing in the table below fails.
"""

import argparse
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from tinycnn import _cli
from tinycnn._cli import Parser

PACKAGE = Path(_cli.__file__).parent
COMMANDS = sorted(
    path.stem
    for path in PACKAGE.glob("*.py")
    if "Parser(" in path.read_text("utf-8") and path.stem != "_cli"
)
COMMANDS += [path.parent.name for path in PACKAGE.glob("*/__main__.py")]

# What the values in the table stand for is made anew for each test.
FILE, FOLDER, FULL_FOLDER = "a file.txt", "an empty folder", "a full folder"
NO_PATH = ["", " ", "missing", f"{FILE}/below", "a\0b", "x" * 5000]
NO_INTEGER = ["", "six", "1.5", "1e3", "0x10", "nan", "-1", "9" * 5000]
NO_FOLDER, NO_FILE = [*NO_PATH, FILE], [*NO_PATH, FOLDER]
NO_NAME = ["", "Default", "default ", "no-such-preset", "1"]

# Values that a flag must refuse, in whichever command it is.
WRONG = {
    "--preset": NO_NAME,
    "--epochs": [*NO_INTEGER, "0", "10001"],
    "--batch-size": [*NO_INTEGER, "0", "10001"],
    "--lr": ["", "six", "0", "-0.0", "-1", "nan", "inf", "1e999", "1e-400"],
    "--seed": [*NO_INTEGER, str(2**32)],
    "--limit": [*NO_INTEGER, "0"],
    "--seeds": ["", "six", "3-1", "-1", "0-", "1-2-3", "0-4294967296"],
    "--shards": [*NO_INTEGER, "0", "3", "2048"],
    "--numbers": [*NO_INTEGER, "0", "99"],
    "--threads": [*NO_INTEGER, "0", "257"],
    "--data": NO_FOLDER,
    "--resume": NO_FOLDER,
    "FOLDER": NO_FOLDER,
    "RUN": NO_FOLDER,
    "--out": ["", " ", "x" * 5000],
    "--mistakes": ["", " ", FOLDER, FILE, "missing/below.png", f"{FILE}/below.png"],
    "--weights": NO_FILE,
    "--from": NO_FILE,
    "--network": [*NO_FILE, FILE, f"{FILE}:name", "missing.py:name", ":", "name"],
    "FILE.py:NAME": [*NO_FILE, f"{FILE}:name", "missing.py:name"],
    "--min-confidence": ["", "six", "-0.1", "1.1", "nan", "50%"],
    "--images": NO_FILE,
    "--labels": NO_FILE,
    "WEIGHTS": NO_FILE,
    "PICTURE": NO_FILE,
    "ACTION": ["", " ", "Start", "solve", "-1"],
    "--level": [*NO_INTEGER, "0", "9"],
}
# Refused when they are used: see the tests of recognize and of exercises.
FREE = {"FILE", "FILE.onnx", "--annotate", "WHICH"}


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Work in a folder that has what the table names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYCNN_OFFLINE", "1")
    Path(FILE).write_text("no digits")
    Path(FOLDER).mkdir()
    Path(FULL_FOLDER).mkdir()
    Path(FULL_FOLDER, "mine").write_text("mine")


@pytest.fixture(params=COMMANDS)
def parser(request, monkeypatch):
    """Return the parser of a command, taken before the command acts on anything."""

    class Found(BaseException):
        """Carries the parser out."""

    def found(self, argv=None):  # noqa: ARG001
        raise Found(self)

    with monkeypatch.context() as patch:
        patch.setattr(Parser, "parse_args", found)
        with pytest.raises(Found) as caught:
            import_module(f"tinycnn.{request.param}").main([])
    return caught.value.args[0]


def name_of(action):
    return (action.option_strings or [action.metavar])[-1]


def refusal(parser, argv, capsys):
    """Return the one line with which a parser refuses its arguments."""
    with pytest.raises(SystemExit) as ended:
        pytest.fail(f"{argv} was accepted: {parser.parse_args(argv)}")
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, ""), argv
    (line,) = err.splitlines()
    assert line.startswith(f"{parser.prog}: "), argv
    return line


def test_every_flag_refuses_wrong_values_in_one_line(parser, capsys):
    for action in parser._actions:
        name = name_of(action)
        if action.nargs == 0 or name in FREE:
            continue
        assert name in WRONG, f"{parser.prog} {name} is missing in the table"
        for value in WRONG[name]:
            flag = name.startswith("--")
            line = refusal(
                parser, [f"{name}={value}"] if flag else ["--", value], capsys
            )
            assert f"argument {name}: " in line
            assert repr(value) in line
            assert "needs" in line or "choose from" in line
        if action.option_strings:
            assert f"argument {name}: " in refusal(parser, [name], capsys)
    assert {path.name for path in Path.cwd().iterdir()} == {FILE, FOLDER, FULL_FOLDER}


def test_a_switch_takes_no_value_and_no_flag_is_guessed(parser, capsys):
    for action in parser._actions:
        if action.nargs == 0:
            name = name_of(action)
            for value in ("", "yes", "0"):
                line = refusal(parser, [f"{name}={value}"], capsys)
                assert name in line
                assert repr(value) in line
    positional = parser._get_positional_actions()
    needed = [
        {"WEIGHTS": FILE, "FILE.onnx": "new.onnx"}.get(action.metavar, FOLDER)
        for action in positional
        if action.nargs in (None, "+")
    ]
    if needed:
        assert positional[0].metavar in refusal(parser, [], capsys)
    for unknown in ("--see", "--sed=1", "-x", "--JSON", "--js"):
        assert unknown in refusal(parser, [*needed, unknown], capsys)


def test_every_flag_is_explained_on_stdout(parser, capsys):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--help"])
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "")
    for action in parser._actions:
        assert action.help, name_of(action)
        assert name_of(action) in out


def test_a_refusal_has_the_flag_the_rule_and_the_value_in_one_line(capsys):
    parser = Parser("tinycnn.test", "Test.")
    parser.add_argument("--count", type=_cli.integer(1, 9))
    assert parser.parse_args(["--json"]).json is True
    assert refusal(parser, ["--count", "1\n2\r3"], capsys) == (
        "tinycnn.test: argument --count: needs an integer from 1 to 9, "
        "not '1\\n2\\r3' (--help lists every flag)"
    )
    assert "x y" in refusal(parser, ["x\ny"], capsys)
    assert "\\x1b[31m" in refusal(parser, ["\x1b[31m"], capsys)
    assert "\\udcff" in refusal(parser, [os.fsdecode(b"\xff")], capsys)


def refused(convert, text):
    with pytest.raises(argparse.ArgumentTypeError) as refusal:
        convert(text)
    assert repr(text) in str(refusal.value)
    return str(refusal.value)


def test_numbers_are_taken_in_their_range_only():
    convert = _cli.integer(-2, 7)
    assert [convert(text) for text in ("-2", "0", "7")] == [-2, 0, 7]
    for text in ("-3", "8", "", "1.0", "1e0", "--1", "²", "9" * 5000):
        assert "needs an integer from -2 to 7" in refused(convert, text)


def test_a_path_must_be_what_it_is_for():
    new = {FOLDER, "absent", "absent/deep/down"}
    for convert, accepted in (
        (_cli.existing_file, {FILE}),
        (_cli.existing_folder, {FOLDER, FULL_FOLDER}),
        (_cli.new_folder, new),
    ):
        for text in (*new, FULL_FOLDER, FILE, "", " ", "x" * 5000):
            if text in accepted:
                assert convert(text) == Path(text)
            else:
                refused(convert, text)
    assert not Path("absent").exists()


def test_a_message_is_one_line_and_moves_no_cursor(capsys):
    for code in (1, 3):
        with pytest.raises(SystemExit) as ended:
            _cli.fail(ValueError("no\n  luck\x1b[2J"), code)
        assert ended.value.code == code
        assert capsys.readouterr() == ("", "error: no luck\\x1b[2J\n")
    assert _cli.printable("ä 5\t\u202e\n") == "ä 5\\t\\u202e\\n"
    assert _cli.printable(5) == "5"


# --- a command as a process -------------------------------------------------------


def command(body, **settings):
    """Run a command whose main has these lines."""
    lines = ["import warnings", "from tinycnn._cli import run_command", "def main():"]
    lines += [f"    {line}" for line in body.splitlines()]
    return subprocess.run(
        [sys.executable, "-c", "\n".join([*lines, "run_command(main)"])],
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        text=True,
        **settings,
    )


def test_a_command_exits_with_its_code_and_warns_in_one_line():
    done = command("warnings.warn('two\\nlines', stacklevel=1)\nreturn 3")
    assert (done.returncode, done.stderr) == (3, "warning: two lines\n")
    done = command("raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "stopped by Ctrl-C\n")


def test_a_reader_that_went_away_ends_a_command_quietly():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as stdout:
        done = command("while True: print('line', flush=True)", stdout=stdout)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(os.name == "nt", reason="needs a process without stderr")
def test_without_stderr_nothing_but_results_is_on_stdout():
    done = command(
        "import sys\nprint('a notice', file=sys.stderr)\nprint('result')\nreturn 0",
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.close(2),
    )
    assert (done.returncode, done.stdout) == (0, "result\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_sentence():
    with open("/dev/full", "w") as stdout:  # noqa: PTH123
        done = command("print('line')\nreturn 0", stdout=stdout)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the results cannot be written")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_block_that_takes_long_is_explained_on_a_terminal_only(
    terminal, monkeypatch, capsys
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(_cli, "PATIENCE", 0.05)
    with _cli.said_if_slow():
        time.sleep(0.5)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("compiling kernels") == err.count("\n") == int(terminal)
    monkeypatch.setattr(_cli, "PATIENCE", 0.3)
    with _cli.said_if_slow():
        pass
    time.sleep(0.5)
    assert capsys.readouterr() == ("", "")
