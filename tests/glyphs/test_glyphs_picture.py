"""The picture of the README that `benchmarks.handwriting` draws."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import handwriting


def test_every_row_and_column_has_ink_and_another_seed_draws_others(tmp_path):
    files = [tmp_path / f"{seed}.png" for seed in (3, 4)]
    for file, seed in zip(files, "34", strict=True):
        assert handwriting.main([str(file), "--seed", seed]) == 0
    picture = np.asarray(Image.open(files[0]))
    rows, columns = handwriting.DIGITS + handwriting.SIGNS, handwriting.COLUMNS
    tiles = picture.reshape(rows, picture.shape[0] // rows, columns, -1)
    assert (tiles.min(axis=(1, 3)) < 64).all()
    assert files[0].read_bytes() != files[1].read_bytes()


def test_what_cannot_be_written_is_one_sentence(tmp_path, capsys):
    for name in ("gone/hands.png", "hands.nothing"):
        with pytest.raises(SystemExit, match="1"):
            handwriting.main([str(tmp_path / name)])
        (line,) = capsys.readouterr().err.splitlines()
        assert "hands" in line or ".nothing" in line
