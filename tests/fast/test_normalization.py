"""The laws of the fused batch norm: what NumPy computes in float64, to rounding.

It knows `BatchNorm2D`, the plain twin. When a model uses the step is in `test_plan`.
"""

import numpy as np
import pytest

from tinycnn.fast import normalization
from tinycnn.fast.steps import FusedBatchNorm
from tinycnn.nn import BatchNorm2D

CHANNELS = [1, 3, 16, 17]
ROWS = [1, 2, 50]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(found, wanted, tolerance=2e-6):
    """Assert that rounding is below a share of the largest number."""
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize("M", ROWS)
def test_moments_are_mean_and_biased_variance(M, C):
    x = normal(M, C) + np.arange(C, dtype=np.float32)
    mean, variance = np.full((2, C), np.nan)
    normalization.moments(x, mean, variance)
    np.testing.assert_allclose(mean, x.mean(0, np.float64), rtol=1e-12)
    wanted = x.var(0, np.float64)
    np.testing.assert_allclose(variance, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize("M", ROWS)
def test_normalize_fills_both_maps(M, C):
    x, (mean, std, weight, bias) = normal(M, C), normal(4, C, seed=1)
    std = np.abs(std) + np.float32(0.5)
    x_hat, y = np.full((2, M, C), np.nan, np.float32)
    normalization.normalize(x, mean, std, weight, bias, x_hat, y)
    wanted = (x.astype(np.float64) - mean) / std
    assert_close(x_hat, wanted)
    assert_close(y, weight * wanted + bias)


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize("M", ROWS)
def test_gradient_sums_are_those_over_all_rows(M, C):
    dy, x_hat = normal(2, M, C)
    dweight, dbias = np.full((2, C), np.nan)
    normalization.gradient_sums(dy, x_hat, dweight, dbias)
    # A product is rounded to float32 before it is added, unless both are one step.
    assert_close(dweight, (dy.astype(np.float64) * x_hat).sum(0))
    np.testing.assert_allclose(dbias, dy.sum(0, np.float64), rtol=1e-12)


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize("M", ROWS)
def test_the_input_gradient_is_its_formula(M, C):
    (dy, x_hat), (scale, mean_dy, mean_product) = normal(2, M, C), normal(3, C, seed=1)
    dx = np.full((M, C), np.nan, np.float32)
    normalization.input_gradient(dy, x_hat, scale, mean_dy, mean_product, dx)
    apart = dy.astype(np.float64) - mean_dy - x_hat.astype(np.float64) * mean_product
    assert_close(dx, scale * apart)


def make_pair(C):
    """Return the step and, in float64, the layer it stands in for."""
    norm, plain = BatchNorm2D(C, momentum=0.3), BatchNorm2D(C, momentum=0.3)
    for layer in (norm, plain):
        layer.weight.value[:], layer.bias.value[:], layer.running_mean[:] = normal(3, C)
        layer.running_var[:] = np.linspace(0.5, 2, C)
    plain.cast(np.float64)
    return FusedBatchNorm(norm), plain


def compute(layer, x, dy, training):
    """Return output, gradients and running averages."""
    norm = getattr(layer, "norm", layer)
    y, dx = layer.forward(x, training), layer.backward(dy)
    grads = [parameter.grad for parameter in norm.parameters()]
    return [y, dx, *grads, norm.running_mean, norm.running_var]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mean", [0, 1000])
@pytest.mark.parametrize("C", CHANNELS)
def test_the_step_is_batch_norm_in_float64(C, mean, training):
    """To rounding: measured 2e-7, and 1.3e-5 where the mean is a thousand times std."""
    tolerance = 3e-5 if mean else 1e-6
    step, plain = make_pair(C)
    x, dy = normal(9, 6, 7, C) + np.float32(mean), normal(9, 6, 7, C, seed=1)
    for _ in range(2):
        found = compute(step, x, dy, training)
        assert {array.dtype for array in found} == {np.dtype(np.float32)}
        wanted = compute(plain, x.astype(np.float64), dy.astype(np.float64), training)
        largest = [np.abs(array).max() for array in wanted]
        largest[2:4] = [np.abs(dy).sum((0, 1, 2)).max()] * 2  # the sums of these
        for ours, theirs, size in zip(found, wanted, largest, strict=True):
            assert np.abs(ours - theirs).max() <= tolerance * size


def test_one_value_a_channel_has_no_variance():
    step, plain = make_pair(3)
    x, dy = normal(2, 1, 1, 1, 3)
    for ours, theirs in zip(
        compute(step, x, dy, True), compute(plain, x, dy, True), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_what_is_not_a_number_reaches_the_whole_channel_and_no_other():
    step, _ = make_pair(3)
    x = normal(2, 4, 5, 3)
    x[1, 2, 3, 1] = np.nan
    broken = np.isnan(step.forward(x, training=True))
    assert broken[..., 1].all()
    assert not broken[..., [0, 2]].any()


def test_arguments_are_not_edited_and_their_layout_does_not_matter():
    x, dy = normal(2, 4, 5, 6, 3)
    wanted = compute(make_pair(3)[0], x.copy(), dy.copy(), True)
    fortran = [np.asfortranarray(array) for array in (x, dy)]
    float64 = [array.astype(np.float64) for array in (x, dy)]
    backwards = [array[::-1].copy()[::-1] for array in (x, dy)]
    for arguments in ([x, dy], fortran, float64, backwards):
        before = [array.copy() for array in arguments]
        found = compute(make_pair(3)[0], *arguments, True)
        for ours, theirs in zip([*found, *arguments], [*wanted, *before], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_wrong_shapes_are_refused_in_the_words_of_the_plain_layer():
    step, plain = make_pair(3)
    integers = np.zeros((2, 4, 5, 3), np.int64)
    for x in (normal(2, 4, 5, 2), normal(2, 4, 3), integers):
        messages = []
        for layer in (step, plain):
            with pytest.raises(ValueError, match="BatchNorm2D needs") as error:
                layer.forward(x)
            messages.append(str(error.value))
        assert messages[0] == messages[1]
    step.forward(normal(2, 4, 5, 3))
    with pytest.raises(ValueError, match="backward needs dy of the shape of y"):
        step.backward(normal(2, 5, 4, 3))


def test_backward_before_forward_is_refused():
    with pytest.raises(RuntimeError, match="needs a forward first"):
        make_pair(3)[0].backward(normal(2, 4, 5, 3))
