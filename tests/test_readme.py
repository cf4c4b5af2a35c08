"""What the README says is true: its code runs, its links lead somewhere.

Its commands and programs are run, as they stand, by ``.ci/run``.
"""

import inspect
import re
import textwrap
from pathlib import Path

import pytest
import readme

from tinycnn import fast, gradcheck, models
from tinycnn.nn import Adam, Dense
from tinycnn.training import fit

ROOT = Path(__file__).parent.parent
PAGES = {ROOT / "README.md", ROOT / "benchmarks" / "README.md"}
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = readme.blocks(README, "python")


def test_the_training_step_is_the_one_that_trains() -> None:
    (step,) = [block for block in BLOCKS if "label_smoothing" in block]
    assert len(step.splitlines()) == 4
    assert textwrap.indent(step, "    ") in inspect.getsource(fit.train_step)


def test_the_derivation_ends_in_the_code_of_dense() -> None:
    (lines,) = [block for block in BLOCKS if block.startswith("self.weight.grad")]
    for line in lines.replace("dx =", "return").splitlines():
        assert line in inspect.getsource(Dense.backward), line


def test_speed_is_the_two_lines_of_the_command() -> None:
    (lines,) = [block for block in BLOCKS if "runner = fast.fuse" in block]
    names = {"fast": fast, "model": models.build("tiny")}
    exec(lines, names)
    assert isinstance(names["optimizer"], Adam)
    assert names["runner"].model is names["model"]


@pytest.mark.parametrize(("slope", "code"), [("0.1", 0), ("0.2", 1)])
def test_the_example_layer_passes_and_its_mistake_is_named(
    slope: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = [block for block in BLOCKS if "LeakyReLU" in block]
    assert example.count("0.1 * dy") == 1
    file = tmp_path / "my_network.py"
    file.write_text(example.replace("0.1 * dy", f"{slope} * dy"), "utf-8")
    assert gradcheck.main([f"{file}:example"]) == code
    assert ("by the difference quotient" in capsys.readouterr().out) == bool(code)


def test_every_link_leads_to_a_file() -> None:
    for page in PAGES:
        links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text("utf-8"))
        assert links
        for link in links:
            assert (page.parent / link).exists(), link


def test_every_command_is_run_by_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    assert 'python tests/readme.py README.md "$scratch/readme"' in ci
    others = {c for c in readme.commands(README) if not c.startswith("tinycnn ")}
    assert others == {
        "pip install -e . && python -m tinycnn.train",
        'pip install -e ".[dev]" && pytest',
        "python apps/draw.py",
    }
    for part in (
        '-e ".[dev]"',
        "\npytest\n",
        "python -m tinycnn.train",
        "apps/draw.py",
    ):
        assert part in ci


def test_the_readme_is_a_door_and_every_result_has_its_command() -> None:
    assert len(README.splitlines()) <= 250
    results = README.split("## Results")[1].split("##")[0].splitlines()
    table = [line for line in results if line.startswith("|")][2:]
    assert len(table) > 5
    for row in table:
        *_, command, _ = row.split("|")
        assert command.strip().startswith(("`python -m benchmarks.", "the same")), row


def test_the_lengths_in_the_reading_order_are_right_within_a_tenth() -> None:
    rows = re.findall(r"\]\((tinycnn/[^)]+)\) \| ([\d,]+) \|", README)
    assert rows
    for name, lines in rows:
        path = ROOT / name
        files = path.glob("*.py") if path.is_dir() else [path]
        actual = sum(len(file.read_text("utf-8").splitlines()) for file in files)
        assert int(lines.replace(",", "")) == pytest.approx(actual, rel=0.1), name
