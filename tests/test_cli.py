"""The laws of arguments: what is accepted, and one line for what is not."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinycnn import _cli as arguments
from tinycnn._cli import Parser


def refused(convert, text):
    """Return what a converter says about a text it does not take."""
    with pytest.raises(argparse.ArgumentTypeError) as refusal:
        convert(text)
    said = str(refusal.value)
    assert said.startswith("needs ")
    assert repr(text) in said
    return said


@pytest.mark.parametrize(("text", "value"), [("-2", -2), ("0", 0), ("007", 7)])
def test_a_whole_number_in_its_range_is_taken(text, value):
    assert arguments.whole(-2, 7)(text) == value


@pytest.mark.parametrize(
    "text",
    ["-3", "8", "", "1.0", "1e0", " 1", "1 ", "+1", "1_0", "--1", "٣", "²", "9" * 5000],
)
def test_any_other_whole_number_is_refused_with_the_range(text):
    assert "an integer from -2 to 7" in refused(arguments.whole(-2, 7), text)


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("10", 10.0), (".5", 0.5)])
def test_a_positive_number_is_taken(text, value):
    assert arguments.positive(10)(text) == value


@pytest.mark.parametrize(
    "text", ["0", "-1", "10.001", "nan", "inf", "-inf", "", "one", "1_0", "1e400"]
)
def test_any_other_number_is_refused_with_the_limit(text):
    assert "above 0 and up to 10" in refused(arguments.positive(10), text)


def test_one_of_some_names_is_taken_and_no_other():
    convert = arguments.one_of("quick", "best")
    assert convert("best") == "best"
    for text in ("", "Best", "quick ", "qui"):
        assert "one of quick, best" in refused(convert, text)


def test_a_folder_and_a_file_must_exist_and_be_what_they_are(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    assert arguments.existing_folder(str(tmp_path)) == tmp_path
    assert arguments.existing_file(str(file)) == file
    for text in (str(file), str(tmp_path / "none"), "", " ", "a\0b", "x" * 5000):
        refused(arguments.existing_folder, text)
    for text in (str(tmp_path), str(tmp_path / "none"), "", " ", "a\0b", "x" * 5000):
        refused(arguments.existing_file, text)


def test_a_new_folder_is_absent_or_empty(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    file = tmp_path / "full" / "file"
    file.write_text("")
    for name in ("empty", "absent", "absent/deep/down"):
        assert arguments.new_folder(str(tmp_path / name)) == tmp_path / name
    for text in (str(file.parent), str(file), str(file / "in"), "", "x" * 5000):
        refused(arguments.new_folder, text)
    assert not (tmp_path / "absent").exists()


def test_a_possible_folder_exists_or_can_be_made(tmp_path):
    (tmp_path / "full").mkdir()
    file = tmp_path / "full" / "file"
    file.write_text("")
    for name in ("full", "absent", "absent/deep/down"):
        assert arguments.possible_folder(str(tmp_path / name)) == tmp_path / name
    for text in (str(file), str(file / "in"), "", " ", "x" * 5000):
        refused(arguments.possible_folder, text)
    assert not (tmp_path / "absent").exists()


def test_a_refusal_is_one_line_with_the_flag_the_rule_and_the_value(capsys):
    parser = Parser("tinycnn.test", "Test.")
    parser.add_argument("--count", type=arguments.whole(1, 9))
    with pytest.raises(SystemExit) as exit_:
        parser.parse_args(["--count", "1\n2"])
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "tinycnn.test: argument --count: needs an integer from 1 to 9, "
        "not '1\\n2' (--help lists every flag)\n"
    )


@pytest.mark.parametrize("argv", [["--unknown"], ["--js"], ["surplus"], ["--json=1"]])
def test_what_the_parser_does_not_know_exits_with_2_and_one_line(argv, capsys):
    with pytest.raises(SystemExit) as exit_:
        Parser("tinycnn.test", "Test.").parse_args(argv)
    assert exit_.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_every_command_knows_json():
    parser = Parser("tinycnn.test", "Test.")
    assert parser.parse_args(["--json"]).json is True
    assert parser.parse_args([]).json is False


@pytest.mark.parametrize("code", [0, 1, 3])
def test_run_exits_with_the_code_of_the_command(code):
    with pytest.raises(SystemExit) as exit_:
        arguments.run_command(lambda: code)
    assert exit_.value.code == code


def test_control_c_exits_with_130_and_one_line(capsys):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_:
        arguments.run_command(interrupted)
    assert exit_.value.code == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"


def test_a_reader_that_went_away_ends_the_command_quietly():
    code = (
        "from tinycnn._cli import run_command\n"
        "def main():\n"
        "    while True:\n"
        "        print('line', flush=True)\n"
        "run_command(main)\n"
    )
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as stdout:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr == b""


@pytest.mark.parametrize(("code", "wanted"), [((), 1), ((3,), 3)])
def test_a_failure_is_one_sentence(code, wanted, capsys):
    with pytest.raises(SystemExit) as exit_:
        arguments.fail(ValueError("no\n  luck"), *code)
    assert exit_.value.code == wanted
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: no luck\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_block_that_takes_long_is_explained_on_a_terminal_only(
    terminal, monkeypatch, capsys
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(arguments, "PATIENCE", 0.01)
    with arguments.said_if_slow():
        time.sleep(0.3)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("compiling kernels") == err.count("\n") == int(terminal)


def test_a_block_that_ends_soon_is_not_explained(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(arguments, "PATIENCE", 0.2)
    with arguments.said_if_slow():
        pass
    time.sleep(0.3)
    assert capsys.readouterr() == ("", "")


def test_arguments_import_nothing_heavy():
    code = "import sys, tinycnn._cli; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parent,
    )
    assert not {"numpy", "numba", "scipy", "PIL", "tqdm"} & set(done.stdout.split())
