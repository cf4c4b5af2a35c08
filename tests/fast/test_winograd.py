"""Winograd: its matrices are a convolution, and where and how it rounds.

That the step otherwise gives the results of the plain layers is in `test_convolution`,
and which addresses are touched in `test_addresses`.
"""

import copy

import numpy as np
import pytest

from tinycnn.fast import steps, winograd
from tinycnn.fast.steps import FusedConvolution, patch_side
from tinycnn.nn import Conv2D


@pytest.mark.parametrize("K", [2, 3, 4, 5])
def test_the_matrices_are_a_convolution(K):
    """On whole numbers below ten; measured: 4e-12, of sums up to two thousand."""
    A, G = winograd.output_matrix(K), winograd.kernel_matrix(K)
    B, P, m = winograd.patch_matrix(K), K + 3, 4
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


class Case:
    """A convolution that Winograd does, with its images."""

    def __init__(self, K, C, F, size, padding="same", N=3):
        self.patch = K + 3
        rng = np.random.default_rng([K, C, F, *size])
        self.conv = Conv2D(C, F, K, padding=padding, rng=rng)
        self.conv.bias.value[:] = rng.standard_normal(F)
        self.x = rng.standard_normal((N, *size, C)).astype(np.float32)
        self.plain = copy.deepcopy(self.conv)
        self.plain.cast(np.float64)

    def rounding(self):
        """Return the largest error as a share of the largest pre-activation."""
        wanted = self.plain.forward(self.x.astype(np.float64))
        y = FusedConvolution(self.conv, None, None).forward(self.x)
        return np.abs(y - np.maximum(wanted, 0)).max() / np.abs(wanted).max()


CASES = [
    Case(3, 64, 64, (12, 16)),  # whole patches
    Case(3, 16, 32, (13, 15)),
    Case(3, 128, 64, (14, 14), 1),
    Case(3, 8, 16, (3, 4)),  # smaller than a patch
    Case(3, 8, 17, (9, 8), 0),  # a row more than a patch
    Case(3, 8, 33, (10, 11), (2, 3)),  # more padding than same
    Case(3, 24, 31, (8, 7), N=1),
    Case(3, 8, 16, (7, 8), N=17),  # more images than blocks
    Case(3, 8, 16, (41, 5)),  # more rows than a band
    Case(3, 8, 16, (8, 117)),  # wider than a band
    Case(5, 64, 64, (8, 12)),
    Case(5, 16, 33, (13, 11)),
    Case(5, 32, 64, (12, 12), 0),
    Case(5, 8, 16, (2, 3)),
    Case(5, 128, 64, (14, 14)),
    Case(5, 8, 17, (9, 8), 0),
    Case(5, 8, 20, (9, 7), (1, 2)),
    Case(5, 8, 16, (6, 6), N=33),
]


def test_the_rounding_is_far_below_its_bound(monkeypatch):
    """The bound is 5e-5 of the largest pre-activation.

    Measured: 3×3 at most 5.2e-6 and 5×5 5.8e-6, with 128 channels, and 8.4e-6 where the
    largest is small. The direct sums round by a third to a twentieth of that.
    """
    for case in CASES:
        # Also where it would not pay: hanging patches must be right, however many.
        monkeypatch.setattr(steps, "patch_side", lambda *_, P=case.patch: P)
        assert case.rounding() <= 1.5e-5, (case.conv, case.x.shape)


# K, stride, C, F, OH, OW, and the side of a patch.
TABLE = [
    (3, 1, 16, 16, 12, 12, 6),
    (5, 1, 16, 16, 12, 12, 8),
    (3, 1, 8, 17, 12, 12, 6),  # filters that fill no tile
    (3, 1, 1, 16, 12, 12, 0),
    (3, 1, 12, 16, 12, 12, 0),  # channels that fill no vector
    (3, 1, 16, 15, 12, 12, 0),  # few filters
    *[(K, 1, 16, 16, 12, 12, 0) for K in (1, 2, 4, 7, (3, 5))],
    *[(3, stride, 16, 16, 12, 12, 0) for stride in (2, (1, 2))],
    # 9 * OH * OW multiplications against 36 for each patch of 4 × 4.
    (3, 1, 8, 16, 4, 4, 6),
    (3, 1, 8, 16, 2, 4, 6),
    (3, 1, 8, 16, 2, 3, 0),
    (3, 1, 8, 16, 7, 8, 6),
    (3, 1, 8, 16, 14, 14, 6),
    (3, 1, 8, 16, 5, 5, 0),
    # 25 * OH * OW against 64 for each patch of 4 × 4.
    (5, 1, 8, 16, 4, 4, 8),
    (5, 1, 8, 16, 2, 3, 8),
    (5, 1, 8, 16, 1, 5, 0),
    (5, 1, 8, 16, 7, 7, 8),
]


def test_it_is_used_where_half_of_the_multiplications_are_saved():
    for K, stride, C, F, OH, OW, patch in TABLE:
        conv = Conv2D(C, F, K, stride=stride, rng=np.random.default_rng(0))
        assert patch_side(conv, OH, OW) == patch, (conv, OH, OW)


@pytest.mark.parametrize("K", [3, 5])
def test_the_step_asks_and_does_as_it_is_told(K, monkeypatch):
    case = Case(K, 16, 16, (12, 12))
    found = []
    for answer in (case.patch, 0):
        monkeypatch.setattr(steps, "patch_side", lambda *_, a=answer: a)
        found.append(FusedConvolution(case.conv, None, None).forward(case.x))
    monkeypatch.undo()
    found.append(FusedConvolution(case.conv, None, None).forward(case.x))
    np.testing.assert_array_equal(found[2], found[0])
    assert not np.array_equal(found[0], found[1])  # they round differently


@pytest.mark.parametrize("where", ["x", "weight"])
def test_what_is_not_a_number_reaches_the_map(where):
    case = Case(3, 16, 16, (9, 10))
    array = case.x if where == "x" else case.conv.weight.value
    array[1, 1, 5, 6] = np.nan
    reached = np.isnan(FusedConvolution(case.conv, None, None).forward(case.x))
    if where == "x":
        assert reached[1, :3, 4:7].all()  # and the rest of its patches
        assert not reached[[0, 2]].any()
    else:
        assert reached[..., 6].all()
        assert not np.delete(reached, 6, axis=-1).any()


def test_weights_that_were_edited_in_place_are_transformed_anew():
    """Between two batches of inference they are not: see what comes of the first."""
    case = Case(3, 16, 16, (8, 8))
    step = FusedConvolution(case.conv, None, None)
    before = step.forward(case.x)
    np.testing.assert_array_equal(step.forward(case.x), before)
    case.conv.weight.value[1, 1, 0, 0] += 1
    fresh = FusedConvolution(case.conv, None, None).forward(case.x)
    assert not np.array_equal(fresh, before)
    np.testing.assert_array_equal(step.forward(case.x), fresh)
    # The same step over maps of another size, where another way may pay.
    step.forward(case.x[:, :5, :5])
    np.testing.assert_array_equal(step.forward(case.x), fresh)
