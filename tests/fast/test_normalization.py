"""The fused batch norm computes what NumPy does in float64, to rounding."""

import numpy as np
import pytest
from pairs import norm_pair


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(layer, compute, x, dy, training):
    """Return output, gradients and running averages."""
    norm = layer.layers[0]
    return [*compute(x, training, dy), norm.running_mean, norm.running_var]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mean", [0, 1000])
@pytest.mark.parametrize("C", [1, 3, 16, 17, 200])  # 200: several blocks
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


@pytest.mark.parametrize("mean", [1e3, 1e5])
def test_a_large_mean_and_a_level_channel_cost_no_digits(mean):
    pair, (x, dy) = norm_pair(3), normal(2, 65, 7, 7, 3)
    pair.plain.cast(np.float64)
    x[..., 0], x[..., 1:] = mean / 3, mean + 0.5 * x[..., 1:]
    exact = x.astype(np.float64), dy.astype(np.float64)
    found = run(pair.layer, pair.compute, x, dy, True)
    wanted = run(pair.plain, pair.compute_plain, *exact, True)
    for ours, theirs in zip(found[:2], wanted[:2], strict=True):
        for c in range(3):
            off = np.abs(ours - theirs)[..., c].max()
            assert off <= 1e-6 * mean * np.abs(theirs[..., c]).max() + 1e-9


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outside_training_what_is_not_a_number_stays_where_it_is(value):
    pair, (x, dy) = norm_pair(3), normal(2, 2, 4, 5, 3)
    for broken in (x, dy):
        kept, broken[1, 2, 3, 1] = broken[1, 2, 3, 1], value
        pair.step.forward(x)
        dx = pair.step.backward(dy)
        assert np.isfinite(dx).sum() == dx.size - (broken is dy)
        broken[1, 2, 3, 1] = kept
