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
TITLES = {"Dense", "Convolution", "Max pooling", "Batch norm", "Dropout's scale"}


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


def test_the_derivations_are_linked_from_what_they_derive():
    for file in {"layers.py", *FILES.values()}:
        text = (PACKAGE / "nn" / file).read_text("utf-8")
        assert "``exercises/derivations.md``" in text


def test_every_derivation_is_there_and_its_formulas_are_closed():
    assert set(SECTIONS) == TITLES | set(FILES)
    displayed = re.findall(r"```math\n(.+)\n```", TEXT)
    assert len(displayed) == TEXT.count("```math") > 20
    assert TEXT.count("```") % 2 == 0
    prose = re.sub(r"```[\s\S]+?```|`[^`\n]+`", "", TEXT)
    for paragraph in prose.split("\n\n"):
        assert paragraph.count("$") % 2 == 0, paragraph
    inline = re.findall(r"\$([^$]+)\$", prose)
    for formula in [*displayed, *inline]:
        assert formula.count("{") == formula.count("}")
        assert formula == formula.strip()
    # Markdown would read these before the formula is.
    assert not [formula for formula in inline if re.search(r"\\[^a-z]|[*\n]", formula)]
