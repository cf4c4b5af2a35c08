"""Winograd: its matrices are a convolution, and its gradient; see test_convolution."""

import numpy as np
import pytest
from pairs import WINOGRAD

from tinycnn.fast import winograd
from tinycnn.fast.fuse import make_steps


@pytest.mark.parametrize(("K", "m"), [(2, 4), (3, 4), (4, 4), (5, 4), (3, 6), (2, 7)])
def test_the_matrices_are_a_convolution(K, m):
    """On whole numbers below ten; measured: 4e-12, of sums up to two thousand."""
    A, G, B = winograd.matrices(K, m)
    P = K + m - 1
    assert (A.shape, G.shape, B.shape) == ((m, P), (P, K), (P, P))
    rng = np.random.default_rng(K)
    for _ in range(20):
        kernel = rng.integers(-9, 10, (K, K))
        patch = rng.integers(-9, 10, (P, P))
        wanted = np.array(
            [
                [(patch[i : i + K, j : j + K] * kernel).sum() for j in range(m)]
                for i in range(m)
            ]
        )
        y = A @ ((G @ kernel @ G.T) * (B @ patch @ B.T)) @ A.T
        assert np.abs(y - wanted).max() <= 1e-12 * (81 * K * K)
        np.testing.assert_array_equal(np.rint(y), wanted)


@pytest.mark.parametrize("where", ["x", "weight"])
def test_what_is_not_a_number_reaches_the_map(where):
    case = WINOGRAD._replace(pool=False)
    pair, x = case.pair(), case.images()
    array = x if where == "x" else pair.layer.parameters()[0].value
    array[1, 1, 5, 6] = np.nan
    reached = np.isnan(pair.step.forward(x))
    if where == "x":
        assert reached[1, :3, 4:7].all()  # and the rest of its patches
        assert not np.delete(reached, 1, axis=0).any()
    else:
        assert reached[..., 6].all()
        assert not np.delete(reached, 6, axis=-1).any()


def test_weights_that_were_edited_in_place_are_transformed_anew():
    """Between two batches of inference they are not: see what comes of the first."""
    pair, x = WINOGRAD.pair(), WINOGRAD.images()
    before = pair.step.forward(x)
    np.testing.assert_array_equal(pair.step.forward(x), before)
    pair.layer.parameters()[0].value[1, 1, 0, 0] += 1
    wanted = make_steps(pair.layer)[0].forward(x)
    assert not np.array_equal(wanted, before)
    np.testing.assert_array_equal(pair.step.forward(x), wanted)


@pytest.mark.parametrize(("size", "m"), [(4, 4), (8, 4), (5, 6), (12, 6), (24, 6)])
def test_patches_are_those_of_fewest_products(size, m):
    """Of 36 for each patch of 4 × 4 outputs, and 64 for 6 × 6."""
    case = WINOGRAD._replace(size=(size, size), N=1, pool=False)
    step = case.pair().step
    step.forward(case.images())
    assert step._plan[1][2][0] == m


@pytest.mark.parametrize(("size", "m"), [(5, 4), (7, 6), (9, 4), (13, 6), (25, 6)])
def test_what_pooling_leaves_out_takes_none(size, m):
    case = WINOGRAD._replace(size=(size, size), N=1)
    step = case.pair().step
    step.forward(case.images())
    found, rows, columns, top, left = step._plan[1][2]
    assert (found, top, left) == (m, 1, 1)
    assert rows == columns == size + 1


def test_an_image_of_another_size_gets_weights_of_its_own():
    """Kept weights are for patches of 4 × 4 or of 6 × 6 outputs."""
    few, many = WINOGRAD._replace(size=(4, 4)), WINOGRAD._replace(size=(12, 12))
    pair, fresh = few.pair(), many.pair()
    pair.step.forward(few.images())
    x = many.images()
    np.testing.assert_array_equal(pair.step.forward(x), fresh.step.forward(x))
