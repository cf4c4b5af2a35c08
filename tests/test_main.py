"""The laws of ``tinycnn`` and ``python -m tinycnn``: one door to all commands."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tinycnn
from tinycnn import __main__, _cli

ROOT = Path(__file__).parent.parent


def run(*argv, program=("-m", "tinycnn"), **settings):
    return subprocess.run(
        [sys.executable, *program, *argv],
        capture_output=True,
        text=True,
        check=False,
        **settings,
    )


def test_every_command_is_listed_and_only_those():
    package = Path(tinycnn.__file__).parent
    commands = {
        path.stem
        for path in package.glob("*.py")
        if "Parser(" in path.read_text("utf-8") and path.stem != "_cli"
    } | {path.parent.name for path in package.glob("*/__main__.py")}
    assert set(__main__.COMMANDS) == commands


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_without_a_command_all_are_listed(argv, capsys):
    assert __main__.main(argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for command, about in __main__.COMMANDS.items():
        assert f"  {command} " in out
        assert about in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_version_is_that_of_the_package(capsys):
    assert __main__.main(["--version"]) == 0
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"tinycnn {version}\n"


@pytest.mark.parametrize("command", ["trian", "--verbose", "", "a\nb"])
def test_an_unknown_command_is_one_line_with_the_known_ones(command, capsys):
    assert __main__.main([command]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert "there are train, evaluate," in line


@pytest.mark.parametrize("command", __main__.COMMANDS)
def test_help_can_be_typed_from_and_ends_in_an_example(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        __main__.main([command, "--help"])
    out = capsys.readouterr().out
    assert out.startswith(f"usage: tinycnn {command} [-h]")
    assert f"\nExample: tinycnn {command} " in out


def test_a_command_is_the_same_by_each_of_its_names():
    whole = run("gradcheck", "--help")
    assert whole.returncode == 0
    script = "from tinycnn.__main__ import run, sys\n"
    script += "sys.argv.insert(1, 'gradcheck')\nrun()"
    for program in (("-m", "tinycnn.gradcheck"), ("-c", script)):
        assert run("--help", program=program).stdout == whole.stdout
    refused = run("gradcheck", "nothing.py:x")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("tinycnn gradcheck: argument FILE.py:NAME")


def test_the_package_offers_its_parts_when_they_are_asked_for():
    code = (
        "import sys, time\n"
        "began = time.perf_counter()\n"
        "import tinycnn\n"
        "seconds = time.perf_counter() - began\n"
        "assert not {'numpy', 'numba'} & set(sys.modules)\n"
        "assert set(tinycnn.__all__) <= set(dir(tinycnn))\n"
        "tinycnn.nn.Conv2D, tinycnn.Reader, tinycnn.load\n"
        "try:\n    tinycnn.layers\n"
        "except AttributeError as error:\n    print(error, seconds < 1)\n"
    )
    ran = run(program=("-c", code))
    said = "module 'tinycnn' has no attribute 'layers' True\n"
    assert ran.stdout == said, ran.stderr


def test_numbers_have_their_noun():
    assert _cli.counted(1, "epoch") == "1 epoch"
    assert _cli.counted(0, "epoch") == "0 epochs"
    assert _cli.counted(1000, "image") == "1,000 images"
