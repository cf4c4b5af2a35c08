"""The derivations end in lines that stand in the source, and GitHub can show them."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

import tinycnn

PACKAGE = Path(tinycnn.__file__).parent
TEXT = (PACKAGE / "exercises" / "derivations.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n([\s\S]+?)(?=^## |\Z)", TEXT, re.M))
FILES = {"Softmax cross-entropy": "losses.py", "Adam's correction": "optim.py"}
TITLES = {
    "Dense",
    "Convolution",
    "Max pooling",
    "Batch norm",
    "Dropout's scale",
    *FILES,
}


def plain(text):
    """Return the lines without their indentation, those of one block beside it."""
    return "\n".join(line.strip() for line in dedent(text).strip().splitlines())


@pytest.mark.parametrize("title", SECTIONS)
def test_a_derivation_ends_in_the_lines_that_it_proves(title):
    source = plain((PACKAGE / "nn" / FILES.get(title, "layers.py")).read_text("utf-8"))
    blocks = re.findall(r"```python\n([\s\S]+?)```", SECTIONS[title])
    assert blocks
    assert SECTIONS[title].rstrip().endswith("```")
    for block in blocks:
        assert f"\n{plain(block)}\n" in source, block


def test_every_derivation_is_there_and_its_formulas_are_closed():
    assert set(SECTIONS) == TITLES
    prose = re.sub(r"```[\s\S]+?```|`[^`\n]+`", "", TEXT)
    displayed = re.findall(r"\$\$([^$]+)\$\$", prose)
    inline = re.sub(r"\$\$[^$]+\$\$", "", prose)
    assert len(displayed) > 20
    for line in inline.split("\n\n"):
        assert line.count("$") % 2 == 0, line
    # GitHub ends a formula at a blank line, and reads * as Markdown: a displayed one
    # is one line, and braces are balanced.
    for formula in [*displayed, *re.findall(r"\$([^$]+)\$", inline)]:
        assert formula.count("{") == formula.count("}")
        assert formula == formula.strip()
        assert "*" not in formula
    assert not any("\n" in formula for formula in displayed)
