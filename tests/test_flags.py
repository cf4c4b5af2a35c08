"""One table of every flag of every command, with values that it must refuse.

Each refusal exits with 2 and is one line on stderr that names the flag, what is allowed
and what was given. A flag that is missing in the table fails the suite. Nothing here
trains or measures anything.
"""

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from tinycnn import _cli as arguments
from tinycnn import draw as app
from tinycnn import evaluate, gradcheck, recognize, train, train_judge

COMMANDS = {
    "train": train.main,
    "train_judge": train_judge.main,
    "evaluate": evaluate.main,
    "recognize": recognize.main,
    "gradcheck": gradcheck.main,
    "draw": app.main,
}

# What the values in the table stand for is made anew for each test.
MISSING, FILE, FOLDER, FULL_FOLDER, BELOW_FILE = (
    "missing",
    "a file.txt",
    "an empty folder",
    "a full folder",
    "a file.txt/below",
)
TOO_LONG = "x" * 5000

NO_NUMBER = ["", " ", "six", "1_000", "٣", "0x10", "NaN", "inf", "-inf", "1,5"]
NO_INTEGER = [*NO_NUMBER, "1.5", "1.0", "1e3", "-1", " 5", "5 ", "+5", "9" * 400]
NO_PATH = ["", " ", "\t", MISSING, BELOW_FILE, TOO_LONG]


class Flag(NamedTuple):
    """What a flag allows, as its refusal words it, and values it must refuse."""

    command: str
    name: str
    allowed: str
    wrong: list[str]


NAMES = ["", " ", "Default", "default ", "no-such-preset", "default,classic", "1"]
TABLE = [
    Flag("train", "--preset", "one of quick, default", NAMES),
    Flag("train", "--data", "a folder that exists", [*NO_PATH, FILE]),
    Flag("train", "--extra", "a folder that exists", [*NO_PATH, FILE]),
    Flag("train", "--epochs", "an integer from 1 to", [*NO_INTEGER, "0", "10001"]),
    Flag("train", "--batch-size", "an integer from 1 to", [*NO_INTEGER, "0", "10001"]),
    Flag(
        "train",
        "--lr",
        "a number above 0",
        [*NO_NUMBER, "0", "-0.0", "-1", "1e10", "1e-400", "1e999", " 0.1", "٠٫١"],
    ),
    Flag("train", "--seed", "an integer from 0 to", [*NO_INTEGER, str(2**32)]),
    Flag("train", "--limit", "an integer from 1 to", [*NO_INTEGER, "0", "1000001"]),
    Flag("train", "--written", "an integer from 0 to", [*NO_INTEGER, "1000001"]),
    Flag("train", "--threads", "an integer from 1 to", [*NO_INTEGER, "0", "257"]),
    Flag(
        "train",
        "--out",
        "a folder that is new or empty",
        ["", " ", "\t", FILE, FULL_FOLDER, BELOW_FILE, TOO_LONG],
    ),
    Flag("train", "--resume", "a folder that exists", [*NO_PATH, FILE]),
    Flag("train_judge", "--data", "a folder that exists", [*NO_PATH, FILE]),
    Flag("train_judge", "--seed", "an integer from 0 to", [*NO_INTEGER, str(2**32)]),
    Flag(
        "train_judge",
        "--numbers",
        "an integer from 100 to",
        [*NO_INTEGER, "0", "99", "1000001"],
    ),
    Flag(
        "train_judge",
        "--out",
        "the name of a file in a folder that exists",
        ["", " ", "\t", FOLDER, BELOW_FILE, f"{MISSING}/file", TOO_LONG],
    ),
    Flag("evaluate", "WEIGHTS", "a file that exists", [*NO_PATH, FOLDER]),
    Flag("evaluate", "--data", "a folder that exists", [*NO_PATH, FILE]),
    Flag("evaluate", "--images", "a file that exists", [*NO_PATH, FOLDER]),
    Flag("evaluate", "--labels", "a file that exists", [*NO_PATH, FOLDER]),
    Flag("recognize", "--weights", "a file that exists", [*NO_PATH, FOLDER]),
    Flag(
        "recognize",
        "--annotate",
        "a folder that exists or can be made",
        ["", " ", "\t", FILE, BELOW_FILE, TOO_LONG],
    ),
    Flag("gradcheck", "--seed", "an integer from 0 to", [*NO_INTEGER, str(2**32)]),
    Flag(
        "gradcheck",
        "FILE.py:NAME",
        "a Python file that exists, a colon and the name of a function",
        [
            *["", " ", ":", "example", "missing.py", "missing.py:example", ":example"],
            *[FILE, f"{FILE}:example", f"{FOLDER}:example", "here.py:", "here.py:1x"],
            *["here.py: example", f"{TOO_LONG}.py:example"],
        ],
    ),
    Flag("draw", "PICTURE", "a file that exists", [*NO_PATH, FOLDER]),
    Flag("draw", "--weights", "a file that exists", [*NO_PATH, FOLDER]),
]
# Flags that take no value: what is given to them is refused.
SWITCHES = [
    *[(command, "--json") for command in COMMANDS if command != "draw"],
    *[(command, "--help") for command in COMMANDS],
    ("train", "--no-fuse"),
    ("recognize", "--verbose"),
]
# What is wrong with one of these files stops no other: see test_recognize.py.
FILES = [("recognize", "FILE")]

CASES = [
    pytest.param(flag, value, id=f"{flag.command} {flag.name} {number}")
    for flag in TABLE
    for number, value in enumerate(flag.wrong)
]


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Work in a folder that has what the table names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYCNN_OFFLINE", "1")
    Path(FILE).write_text("no digits")
    Path(FOLDER).mkdir()
    Path(FULL_FOLDER).mkdir()
    Path(FULL_FOLDER, "mine").write_text("mine")
    Path("here.py").write_text("raise RuntimeError('must not be run')\n")


def refusal(command, argv, capsys):
    """Return the one line with which a command refuses its arguments."""
    before = sorted(Path.cwd().rglob("*"))
    with pytest.raises(SystemExit) as ended:
        COMMANDS[command](argv)
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    (line,) = err.splitlines()
    assert "Traceback" not in line
    assert sorted(Path.cwd().rglob("*")) == before
    return line


@pytest.fixture
def accepting_fails(monkeypatch):
    """Fail when a parser accepts its arguments, before the command acts on them."""
    original = arguments.Parser.parse_args

    def parse_args(self, argv):
        accepted = original(self, argv)
        pytest.fail(f"accepted: {accepted}")

    monkeypatch.setattr(arguments.Parser, "parse_args", parse_args)


@pytest.mark.parametrize(("flag", "value"), CASES)
def test_a_wrong_value_is_refused_in_one_line(flag, value, capsys, request):
    if flag.name != "FILE.py:NAME":  # these are judged after the parser
        request.getfixturevalue("accepting_fails")
    argv = [f"{flag.name}={value}"] if flag.name.startswith("--") else ["--", value]
    line = refusal(flag.command, argv, capsys)
    program = "draw.py" if flag.command == "draw" else f"tinycnn.{flag.command}"
    assert line.startswith(f"{program}: ")
    assert f"argument {flag.name}: " in line
    assert f"needs {flag.allowed}" in line
    assert f"not {value!r}" in line


@pytest.mark.parametrize("flag", TABLE, ids=lambda flag: f"{flag.command} {flag.name}")
def test_every_flag_has_six_wrong_values_in_the_table(flag):
    assert len(set(flag.wrong)) >= 6


@pytest.mark.parametrize("value", ["", "yes", "no", "1", "0", "true"])
@pytest.mark.parametrize(("command", "name"), SWITCHES)
def test_a_switch_takes_no_value(command, name, value, capsys):
    line = refusal(command, [f"{name}={value}"], capsys)
    assert name in line
    assert repr(value) in line


@pytest.mark.parametrize(
    "flag",
    [flag for flag in TABLE if flag.name.startswith("--")],
    ids=lambda flag: f"{flag.command} {flag.name}",
)
def test_a_flag_without_its_value_is_named(flag, capsys):
    assert f"argument {flag.name}: " in refusal(flag.command, [flag.name], capsys)


def parser_of(command, monkeypatch):
    """Return the parser that a command uses."""

    class Found(BaseException):
        """Carries the parser out."""

    def found(self, argv):  # noqa: ARG001
        raise Found(self)

    with monkeypatch.context() as patch:
        patch.setattr(arguments.Parser, "parse_args", found)
        with pytest.raises(Found) as caught:
            COMMANDS[command]([])
    return caught.value.args[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_every_command_is_in_the_table(command, monkeypatch):
    actions = parser_of(command, monkeypatch)._actions
    names = {(action.option_strings or [action.metavar])[-1] for action in actions}
    in_table = {flag.name for flag in TABLE if flag.command == command}
    others = {name for owner, name in [*SWITCHES, *FILES] if owner == command}
    assert names == in_table | others


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_explained(command, monkeypatch):
    for action in parser_of(command, monkeypatch)._actions:
        assert action.help, action.option_strings


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_for_stdout_and_no_failure(command, capsys):
    with pytest.raises(SystemExit) as ended:
        COMMANDS[command](["--help"])
    out, err = capsys.readouterr()
    assert ended.value.code == 0
    assert err == ""
    for flag in TABLE:
        if flag.command == command:
            assert flag.name in out


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("unknown", ["--see", "--sed=1", "-x", "--JSON", "--js"])
def test_an_unknown_or_shortened_flag_is_named(command, unknown, capsys):
    assert unknown in refusal(command, [unknown], capsys)


def test_training_takes_no_positional_argument(capsys):
    assert "leftover" in refusal("train", ["leftover"], capsys)


def test_reading_needs_a_file(capsys):
    assert "argument FILE: needs at least one" in refusal("recognize", [], capsys)


def test_a_value_with_line_breaks_is_still_one_line(capsys):
    assert "--seed" in refusal("train", ["--seed", "1\n2\r3"], capsys)
    assert "x" in refusal("train", ["x\ny"], capsys)


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
def test_a_name_that_is_no_text_is_shown_escaped(capsys):
    name = os.fsdecode(b"\xff\xfe")
    line = refusal("train", ["--data", name], capsys)
    assert "udcff" in line
