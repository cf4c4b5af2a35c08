"""ReLU, pooling and dropout of a map, against a twin of a few lines in NumPy."""

import itertools

import numpy as np
import pytest

from tinycnn.fast.convolution import DEAD, pool


def twin(window, bias, mask):
    """Return what is left of a window (KH, KW, F), and the winners."""
    cells, F = window.reshape(-1, window.shape[-1]), window.shape[-1]
    won = cells.argmax(axis=0)
    nan = np.isnan(cells)
    # Of several that are no numbers, the last one wins.
    won = np.where(nan.any(axis=0), len(cells) - 1 - nan[::-1].argmax(axis=0), won)
    best = cells[won, np.arange(F)] + bias
    closed, nan = (best <= 0) | (mask == 0), np.isnan(best)
    y = np.where(closed & ~nan, 0, best)
    return y, np.where(closed | nan, DEAD, won)


def maps_and_biases(shape, F, rng):
    """Yield maps and biases: ordinary, ties, NaN, infinities, both zeros."""
    x, bias = rng.standard_normal(shape), rng.standard_normal(F)
    yield x, bias
    yield rng.integers(-1, 2, shape), rng.integers(0, 2, F)
    yield np.where(rng.random(shape) < 0.2, np.nan, x), bias
    x = np.where(rng.random(shape) < 0.4, -np.inf, x)
    x[..., ::3] = -np.inf
    x[0, 0, ::4] = np.inf
    yield x, np.where(np.arange(F) == 1, -np.inf, bias)
    yield x, np.where(np.arange(F) % 5 == 1, np.nan, bias)
    yield rng.choice([0.0, -0.0], shape), rng.choice([0.0, -0.0], F)


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("side", [1, 2])
def test_pooling_keeps_the_largest_of_a_window(side, drops):
    OH, OW = 2, 3
    H, W = side * OH + 1, side * OW + 1  # a row and a column left
    for F in (2, 8, 19):
        rng = np.random.default_rng([F, side])
        for values, offsets in maps_and_biases((H, W, F), F, rng):
            maps = np.full((3, H, W, F), np.nan, np.float32)
            maps[1], bias = values, offsets.astype(np.float32)
            mask = rng.integers(1 - drops, 2, (OH, OW, F), np.uint8)
            y = np.full((2, OH, OW, F), 77, np.float32)
            winner = np.full((2, OH, OW, F), 77, np.uint8)
            winner[1] = mask
            pool(maps, 1, side, bias, y, winner, 1)
            for oh, ow in itertools.product(range(OH), range(OW)):
                part = maps[1, oh * side :, ow * side :][:side, :side]
                wanted, won = twin(part, bias, mask[oh, ow])
                np.testing.assert_array_equal(y[1, oh, ow], wanted)
                np.testing.assert_array_equal(winner[1, oh, ow], won)
            assert not np.signbit(y[y == 0]).any()
            assert (y[0] == 77).all()
            assert (winner[0] == 77).all()
