"""The dense layer without its zeros gives the bits of `Dense`, and rounds as little."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import sampled_from
from pairs import dense_pair, drawn, whole_numbers


def hold_together(N, D, U, zeros=0.5):
    x, dy = whole_numbers((N, D), 2, zeros), whole_numbers((N, U), 3, zeros)
    dense_pair(D, U).hold_together(x, dy)


@drawn
@given(
    N=sampled_from([1, 7, 8, 9, 33]),
    # Inputs go by 64 forward and 96 backward; outputs in parts of 192 down to 16.
    D=sampled_from([16, 32, 64, 80, 96, 112, 128, 208, 496, 512, 528, 704]),
    U=sampled_from([64, 80, 96, 112, 128, 144, 176, 192, 208, 304]),
    zeros=sampled_from([0, 0.3, 0.5, 0.9, 1]),
)
def test_the_step_of_drawn_sizes_gives_the_bits_of_the_plain_layer(N, D, U, zeros):
    hold_together(N, D, U, zeros)


@pytest.mark.parametrize("zeros", [0, 0.5, 0.9])
def test_the_rounding_is_two_millionths(zeros):
    """Against float64, as a share of the largest number; measured 8e-7.

    Of 704 products and 304; float32 rounds each by 6e-8.
    """
    rng, pair = np.random.default_rng(0), dense_pair(704, 304)
    for p, q in zip(pair.layer.parameters(), pair.plain.parameters(), strict=True):
        p.value = rng.standard_normal(p.value.shape).astype(np.float32)
        q.value = p.value.astype(np.float64)
    x, dy = (
        (rng.standard_normal((128, size)) * (rng.random((128, size)) >= zeros)).astype(
            np.float32
        )
        for size in (704, 304)
    )
    found = pair.compute(x, True, dy)
    wanted = pair.compute_plain(x.astype(np.float64), True, dy.astype(np.float64))
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.abs(ours - theirs).max() <= 2e-6 * np.abs(theirs).max()


# --- what is no number ----------------------------------------------------------------

every_value = pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
few_and_many = pytest.mark.parametrize("N", [1, 9])


def example(N):
    return (
        dense_pair(144, 80),
        whole_numbers((N, 144), 2, 0.5),
        whole_numbers((N, 80), 3),
    )


@every_value
@few_and_many
def test_what_is_not_a_number_in_x_reaches_its_row(N, value):
    pair, x, dy = example(N)
    x[-1, [3, 143]] = value
    with np.errstate(invalid="ignore"):
        y, _, dweight, _ = pair.compute(x, True, dy)
        np.testing.assert_array_equal(y, pair.plain.forward(x))
    assert not np.isfinite(y[-1]).any()
    assert np.isfinite(y[:-1]).all()
    # To the gradient of a weight too, where its dy is not zero but maybe also there.
    assert not np.isfinite(dweight[[3, 143]][:, dy[-1] != 0]).any()


@every_value
@few_and_many
def test_what_is_not_a_number_in_a_weight_reaches_all_but_zero(N, value):
    pair, x, dy = example(N)
    x *= whole_numbers(x.shape, 4, 0.5) != 0  # few are left: others are left out
    x[0, 7], dy[0, 60] = 2, -1
    pair.layer.parameters()[0].value[7, 60] = value
    y, dx, *_ = pair.compute(x, True, dy)
    np.testing.assert_array_equal(np.isfinite(y[:, 60]), x[:, 7] == 0)
    assert np.isfinite(np.delete(y, 60, axis=1)).all()
    np.testing.assert_array_equal(np.isfinite(dx[:, 7]), dy[:, 60] == 0)


@every_value
def test_what_is_not_a_number_in_a_weight_reaches_zero_too_where_little_is(value):
    pair, x = dense_pair(144, 80), whole_numbers((9, 144), 2, 0.1)
    x[0, 7], x[1, 7] = 2, 0
    pair.layer.parameters()[0].value[7, 60] = value
    y = pair.step.forward(x)
    assert not np.isfinite(y[:2, 60]).any()
    assert np.isfinite(np.delete(y, 60, axis=1)).all()


@every_value
@few_and_many
def test_what_is_not_a_number_in_dy_reaches_its_gradients(N, value):
    pair, x, dy = example(N)
    dy[-1, 79] = value
    _, dx, dweight, dbias = pair.compute(x, True, dy)
    weight = pair.layer.parameters()[0].value
    assert not np.isfinite(dx[-1][weight[:, 79] != 0]).any()
    assert np.isfinite(dx[:-1]).all()
    assert not np.isfinite(dweight[:, 79]).any()
    assert not np.isfinite(dbias[79])
    assert np.isfinite(dbias[:79]).all()


@few_and_many
def test_the_smallest_number_is_not_zero(N):
    pair = dense_pair(144, 80)
    x, dy = whole_numbers((N, 144), 2, 0.9), whole_numbers((N, 80), 3, 0.9)
    x[x == 0], dy[dy == 0] = -0.0, -0.0
    x[0, [5, 143]], dy[0, [5, 79]] = 1e-45, -1e-45
    # Else nothing of it would be left beside whole numbers.
    x[0, 6:143] = dy[0, 6:79] = 0
    x[0, :5] = dy[0, :5] = 0
    for layer in (pair.layer, pair.plain):
        weight, bias = layer.parameters()
        weight.value[[5, 143]], bias.value[:] = 1e30, 0
    found, wanted = pair.compute(x, True, dy), pair.compute_plain(x, True, dy)
    assert found[0][0].all()
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
