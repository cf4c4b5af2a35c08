"""The laws of `benchmarks.handwriting`: a picture, or a sentence."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import handwriting


def test_the_picture_has_a_row_for_every_row_of_digits_and_signs(tmp_path):
    file = tmp_path / "hands.png"
    assert handwriting.main([str(file), "--seed", "3"]) == 0
    picture = np.asarray(Image.open(file))
    rows = handwriting.DIGITS + handwriting.SIGNS
    size = 28 * handwriting.SCALE
    assert picture.shape == (rows * size, handwriting.COLUMNS * size)
    tiles = picture.reshape(rows, size, handwriting.COLUMNS, size)
    assert (tiles.min(axis=(1, 3)) < 64).all()  # there is ink in every one


def test_another_seed_is_another_hand(tmp_path):
    for seed in "00", "1":
        handwriting.main([str(tmp_path / f"{seed}.png"), "--seed", seed])
    handwriting.main([str(tmp_path / "again.png")])
    first, again, other = (
        (tmp_path / f"{name}.png").read_bytes() for name in ("00", "again", "1")
    )
    assert first == again != other


@pytest.mark.parametrize("name", ["gone/hands.png", "hands.nothing"])
def test_what_cannot_be_written_is_one_sentence(name, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        handwriting.main([str(tmp_path / name)])
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "hands" in line or ".nothing" in line
