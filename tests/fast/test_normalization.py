"""The fused batch norm computes what NumPy does in float64, to rounding."""

import numpy as np
import pytest
from pairs import norm_pair

from tinycnn.fast import normalization


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(found, wanted, tolerance=2e-6):
    """Assert that rounding is below a share of the largest number."""
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


every_size = pytest.mark.parametrize(
    ("M", "C"), [(M, C) for M in (1, 2, 50) for C in (1, 3, 16, 17)]
)


@every_size
def test_moments_are_mean_and_biased_variance(M, C):
    x = normal(M, C) + np.arange(C, dtype=np.float32)
    mean, variance = np.full((2, C), np.nan)
    normalization.moments(x, mean, variance)
    np.testing.assert_allclose(mean, x.mean(0, np.float64), rtol=1e-12)
    wanted = x.var(0, np.float64)
    np.testing.assert_allclose(variance, wanted, rtol=1e-12, atol=1e-12)


@every_size
def test_normalize_fills_both_maps(M, C):
    x, (mean, std, weight, bias) = normal(M, C), normal(4, C, seed=1)
    std = np.abs(std) + np.float32(0.5)
    x_hat, y = np.full((2, M, C), np.nan, np.float32)
    normalization.normalize(x, mean, std, weight, bias, x_hat, y)
    wanted = (x.astype(np.float64) - mean) / std
    assert_close(x_hat, wanted)
    assert_close(y, weight * wanted + bias)


@every_size
def test_gradient_sums_are_those_over_all_rows(M, C):
    dy, x_hat = normal(2, M, C)
    dweight, dbias = np.full((2, C), np.nan)
    normalization.gradient_sums(dy, x_hat, dweight, dbias)
    # A product is rounded to float32 before it is added, unless both are one step.
    assert_close(dweight, (dy.astype(np.float64) * x_hat).sum(0))
    np.testing.assert_allclose(dbias, dy.sum(0, np.float64), rtol=1e-12)


@every_size
def test_the_input_gradient_is_its_formula(M, C):
    (dy, x_hat), (scale, mean_dy, mean_product) = normal(2, M, C), normal(3, C, seed=1)
    dx = np.full((M, C), np.nan, np.float32)
    normalization.input_gradient(dy, x_hat, scale, mean_dy, mean_product, dx)
    apart = dy.astype(np.float64) - mean_dy - x_hat.astype(np.float64) * mean_product
    assert_close(dx, scale * apart)


def run(layer, compute, x, dy, training):
    """Return output, gradients and running averages."""
    norm = layer.layers[0]
    return [*compute(x, training, dy), norm.running_mean, norm.running_var]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mean", [0, 1000])
@pytest.mark.parametrize("C", [1, 3, 16, 17])
def test_the_step_is_batch_norm_in_float64(C, mean, training):
    """To rounding: measured 2e-7, and 1.3e-5 where the mean is a thousand times std."""
    tolerance, pair = 3e-5 if mean else 1e-6, norm_pair(C)
    pair.plain.cast(np.float64)
    x, dy = normal(9, 6, 7, C) + np.float32(mean), normal(9, 6, 7, C, seed=1)
    for _ in range(2):
        found = run(pair.layer, pair.compute, x, dy, training)
        assert {array.dtype for array in found} == {np.dtype(np.float32)}
        exact = x.astype(np.float64), dy.astype(np.float64)
        wanted = run(pair.plain, pair.compute_plain, *exact, training)
        largest = [np.abs(array).max() for array in wanted]
        largest[2:4] = [np.abs(dy).sum((0, 1, 2)).max()] * 2  # the sums of these
        for ours, theirs, size in zip(found, wanted, largest, strict=True):
            assert np.abs(ours - theirs).max() <= tolerance * size


def test_one_value_a_channel_has_no_variance():
    pair, (x, dy) = norm_pair(3), normal(2, 1, 1, 1, 3)
    found = run(pair.layer, pair.compute, x, dy, True)
    wanted = run(pair.plain, pair.compute_plain, x, dy, True)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_what_is_not_a_number_reaches_the_whole_channel_and_no_other():
    x = normal(2, 4, 5, 3)
    x[1, 2, 3, 1] = np.nan
    broken = np.isnan(norm_pair(3).step.forward(x, training=True))
    assert broken[..., 1].all()
    assert not broken[..., [0, 2]].any()
