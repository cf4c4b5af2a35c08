"""Winograd: its matrices are a convolution; where it is used; see test_convolution."""

import numpy as np
import pytest
from pairs import WINOGRAD

from tinycnn.fast import winograd
from tinycnn.fast.fuse import make_steps
from tinycnn.fast.winograd import patch_side


@pytest.mark.parametrize("K", [2, 3, 4, 5])
def test_the_matrices_are_a_convolution(K):
    """On whole numbers below ten; measured: 4e-12, of sums up to two thousand."""
    A, G, B = winograd.matrices(K)
    P, m = K + 3, 4
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


# K, C, OH, OW, and the side of a patch.
TABLE = [
    (3, 16, 12, 12, 6),
    (5, 16, 12, 12, 8),
    (3, 1, 12, 12, 0),
    (3, 12, 12, 12, 0),  # channels that fill no vector
    *[(K, 16, 12, 12, 0) for K in (1, 2, 4, 7, (3, 5))],
    # 9 * OH * OW multiplications against 36 for each patch of 4 × 4.
    (3, 16, 4, 4, 6),
    (3, 16, 2, 4, 6),
    (3, 16, 2, 3, 0),
    (3, 16, 7, 8, 6),
    (3, 16, 5, 5, 0),
    # 25 * OH * OW against 64 for each patch of 4 × 4.
    (5, 16, 4, 4, 8),
    (5, 16, 2, 3, 8),
    (5, 16, 1, 5, 0),
]


def test_it_is_used_where_half_of_the_multiplications_are_saved():
    for K, C, OH, OW, patch in TABLE:
        shape = (*(K if isinstance(K, tuple) else (K, K)), C, 16)
        assert patch_side(shape, OH, OW) == patch, (shape, OH, OW)


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
    # The same step over maps of another size, where another way may pay.
    pair.step.forward(x[:, :5, :5])
    np.testing.assert_array_equal(pair.step.forward(x), wanted)
