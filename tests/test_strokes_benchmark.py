"""The laws of `benchmarks.strokes`: a row a set, every digit counted, or a sentence."""

import gzip
import json

import pytest

from benchmarks import strokes
from tinycnn.data import load_mnist, write_idx
from tinycnn.data.mnist import SAMPLE_FOLDER

ONE = [[[3.0, 0.0], [3.1, 5.0]]]
FIVE = [
    [[4.0, 0.0], [1.0, 0.0], [1.0, 4.0], [4.0, 4.0], [5.0, 6.0], [4.0, 8.0], [1.0, 8.0]]
]
SCRIBBLE = [[[x, 7.0 * x % 5] for x in range(12)]]


@pytest.fixture
def folder(tmp_path):
    """Return a folder with 5,020 training digits, 20 to test, and a few in each set."""
    (tmp_path / "mnist").mkdir()
    (tmp_path / "strokes").mkdir()
    sample = load_mnist(SAMPLE_FOLDER)
    for part in ("train", "t10k"):
        name = str(tmp_path / "mnist" / part)
        write_idx(f"{name}-images-idx3-ubyte", sample.test_images[:20].repeat(251, 0))
        write_idx(f"{name}-labels-idx1-ubyte", sample.test_labels[:20].repeat(251, 0))
    one, five = {"label": "1", "strokes": ONE}, {"label": "5", "strokes": FIVE}
    rows = {
        "UJI": [one, one, five],
        "pendigits": [one | {"label": "7"}, one],  # the first is called what it is not
        "CROHME digits": [{"digits": [five, one]}, {"digits": [one]}],
        "CROHME symbols": [{"label": "x", "strokes": SCRIBBLE}],
    }
    for name, file in strokes.SETS.items():
        with gzip.open(tmp_path / "strokes" / file, "wt") as packed:
            packed.writelines(json.dumps(row) + "\n" for row in rows[name])
    return tmp_path


def test_every_set_has_a_row_and_every_pen_another(folder, capsys):
    assert strokes.main([str(folder), "--pens", "3"]) == 0
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("| ")]
    head, *rows = [[cell.strip() for cell in x.strip("|").split("|")] for x in lines]
    found = [dict(zip(head, row, strict=True)) for row in rows]
    sets = [row for row in found if not row["set"].startswith("pen ")]
    assert [row["set"] for row in sets] == ["MNIST test", *strokes.SETS]
    assert [row["digits"] for row in sets] == ["5,020", "3", "2", "3", "1"]
    assert [row["reader"] for row in sets[1:]] == ["1.0000", "0.5000", "1.0000", ""]
    assert float(sets[0]["accepted"]) > 0.8
    assert sets[4]["accepted"] == "0.0000"
    on_a_sheet = [row["on a sheet"] for row in sets]
    assert on_a_sheet == ["", "1.0000", "0.5000", "1.0000", "0.0000"]
    # A thicker pen leaves more ink; symbols have no pens.
    assert [row["set"] for row in found].count("pen 3.0") == 3
    assert float(found[2]["ink"]) > float(found[1]["ink"])


def test_a_set_that_is_missing_is_one_sentence(folder, capsys):
    (folder / "strokes" / strokes.SETS["UJI"]).unlink()
    with pytest.raises(SystemExit) as end:
        strokes.main([str(folder)])
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert strokes.SETS["UJI"] in line
