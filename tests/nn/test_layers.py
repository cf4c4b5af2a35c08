"""The laws of the layers: those that all of them keep, then the values of each.

Gradients are held against the gradient check and, for the layers with the most
arithmetic, against naive loops or differences; values against SciPy, loops or sums.
"""

import inspect
import itertools
import math

import numpy as np
import pytest
import scipy.signal
from geometries import (
    CONVOLUTIONS,
    LAYERS,
    UNPADDED,
    Geometry,
    apart,
    batch_norm,
    convolution,
    images,
    pooling,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as draw

from tinycnn import nn
from tinycnn.gradcheck import check_gradients, examples

every_layer = pytest.mark.parametrize("name", LAYERS)
both_ways = pytest.mark.parametrize("training", [True, False])
every_convolution = pytest.mark.parametrize(
    "g", CONVOLUTIONS.values(), ids=CONVOLUTIONS
)
every_pooling = pytest.mark.parametrize("g", UNPADDED.values(), ids=UNPADDED)
# The same examples in every run; one that fails is not shrunk, which takes minutes.
drawn = settings(
    max_examples=60, derandomize=True, deadline=None, phases=[Phase.generate]
)


def make(name):
    return LAYERS[name]()


def upstream(y, seed=9):
    return np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)


def run(layer, x, training=True):
    """Return y, dx and the gradients of the parameters."""
    y = layer.forward(x, training)
    dx = layer.backward(upstream(y))
    return [y.copy(), dx.copy(), *(p.grad.copy() for p in layer.parameters())]


def assert_same(found, wanted, rtol=0.0, case=""):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=case)


# --- laws that every layer keeps --------------------------------------------------


def test_every_public_layer_is_in_the_table_and_among_the_examples_of_the_check():
    exported = vars(nn).values()
    public = {c for c in exported if inspect.isclass(c) and issubclass(c, nn.Layer)}
    assert {type(make(name)[0]) for name in LAYERS} == public - {nn.Layer}
    # A Sequential computes nothing of its own; its layers are the examples.
    checked = {type(layer) for layer, _ in examples()}
    assert public - {nn.Layer, nn.Sequential} <= checked


@every_layer
def test_gradients_are_the_derivative(name):
    layer, x = make(name)
    checks = check_gradients(layer, x)
    assert checks[0].parameter == "x"
    for check in checks:
        assert check.max_relative_error <= 1e-6, check.message
        assert check.kinks == 0
        assert check.ok, check.message


@every_layer
@both_ways
def test_nothing_edits_its_argument_and_what_is_returned_is_the_callers(name, training):
    layer, x = make(name)
    wanted = run(layer, x, training)
    layer, x = make(name)
    x_before = x.copy()
    y = layer.forward(x, training)
    np.testing.assert_array_equal(x, x_before)
    dy = upstream(y)
    dy_before = dy.copy()
    assert not np.shares_memory(y, x)
    y[...] = np.nan  # must not reach the gradients
    dx = layer.backward(dy)
    for now, before in [(x, x_before), (dy, dy_before), (dx, wanted[1])]:
        np.testing.assert_array_equal(now, before)
    assert not np.shares_memory(dx, x)
    assert not np.shares_memory(dx, dy)
    dx[...] = np.nan
    assert_same([p.grad for p in layer.parameters()], wanted[2:])
    again = [layer.backward(dy), *(p.grad for p in layer.parameters())]
    assert_same(again, wanted[1:])  # gradients are assigned and not added


@every_layer
@both_ways
def test_what_goes_in_and_comes_out_has_one_dtype(name, training):
    for dtype in (np.float32, np.float64):
        layer, x = make(name)
        layer.cast(dtype)
        found = run(layer, x.astype(dtype), training)
        for array in [*found, *layer.state().values()]:
            assert array.dtype == dtype


@every_layer
def test_float32_and_float64_agree_within_rounding(name):
    layer, x = make(name)
    wanted = run(layer, x.astype(np.float32).astype(np.float64))
    layer, x = make(name)
    layer.cast(np.float32)
    assert_same(run(layer, x.astype(np.float32)), wanted, rtol=2e-5)


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "strided": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "transposed": lambda a: np.ascontiguousarray(a.swapaxes(0, -1)).swapaxes(0, -1),
    "backwards": lambda array: np.ascontiguousarray(array[::-1])[::-1],
}


@every_layer
@both_ways
def test_the_memory_layout_does_not_matter(name, training):
    layer, x = make(name)
    wanted = run(layer, x, training)
    for layout, lay_out in LAYOUTS.items():
        layer, x = make(name)
        y = layer.forward(lay_out(x), training)
        dx = layer.backward(lay_out(upstream(y)))
        found = [y, dx, *(p.grad for p in layer.parameters())]
        assert_same(found, wanted, rtol=1e-12, case=layout)


@every_layer
@both_ways
def test_backward_belongs_to_the_last_forward(name, training):
    # The state is written back: only what forward remembers may differ.
    layer, x = make(name)
    other = x[:1] * 0.5 + 0.25
    state = {key: array.copy() for key, array in layer.state().items()}
    run(layer, x, not training)
    for key, array in layer.state().items():
        array[...] = state[key]
    if isinstance(layer, nn.Dropout):
        layer.restart(0, 0, 0)
    if isinstance(layer, nn.Sequential):
        layer.seed_dropout(5)
    found = run(layer, other, training)
    assert_same(found, run(make(name)[0], other, training))


@every_layer
def test_the_state_is_alive(name):
    layer, x = make(name)
    wanted = layer.forward(x)
    layer.cast(np.float32)
    layer.cast(np.float64)
    for array in layer.state().values():
        array += 0.5
    if layer.state():
        assert not np.allclose(layer.forward(x), wanted)
    held = layer.state()
    layer.forward(x, training=True)
    for key, array in layer.state().items():
        assert array is held[key]


@every_layer
def test_a_layer_is_shown_in_one_short_line(name):
    layer, _ = make(name)
    for shown in map(repr, [layer, *layer.parameters()]):
        assert "\n" not in shown
        assert len(shown) <= 88
    assert repr(layer).startswith(type(layer).__name__)


def test_a_layer_inside_a_layer_is_trained_saved_and_cast():
    class Residual(nn.Layer):
        def __init__(self):
            self.inner = nn.Dense(3, 3, rng=np.random.default_rng(0))

        def forward(self, x, training=False):
            return x + self.inner.forward(x, training)

        def backward(self, dy):
            return dy + self.inner.backward(dy)

    layer = Residual()
    assert layer.parameters() == layer.inner.parameters()
    assert list(layer.state()) == ["inner.weight", "inner.bias"]
    layer.cast(np.float64)
    assert layer.inner.weight.value.dtype == np.float64
    checks = check_gradients(layer, np.random.default_rng(1).standard_normal((2, 3)))
    assert [check.parameter for check in checks] == ["x", "inner.weight", "inner.bias"]
    assert all(check.ok for check in checks)


@both_ways
def test_not_a_number_is_not_hidden(training):
    for name in ("MaxPool2D", "ReLU", "Conv2D", "BatchNorm2D", "Dense", "Dropout"):
        layer, x = make(name)
        x[(0,) * x.ndim] = np.nan
        with np.errstate(invalid="ignore"):
            assert np.isnan(layer.forward(x, training)).any(), name


# --- initial weights --------------------------------------------------------------


@pytest.mark.parametrize("name", ["Conv2D", "Dense"])
def test_weights_begin_with_he_variance_and_biases_at_zero(name):
    def begin(seed):
        rng = np.random.default_rng(seed)
        if name == "Dense":
            return nn.Dense(40, 300, rng=rng)
        return nn.Conv2D(8, 90, (3, 5), rng=rng)

    layer = begin(2)
    values, fan_in = layer.weight.value, {"Dense": 40, "Conv2D": 3 * 5 * 8}[name]
    assert values.dtype == layer.bias.value.dtype == np.float32
    deviation = math.sqrt(2 / values.size)  # of the variance of so many normal numbers
    assert abs(values.var() * fan_in / 2 - 1) < 5 * deviation
    assert abs(values.mean()) < 5 * values.std() / math.sqrt(values.size)
    assert (layer.bias.value == 0).all()
    np.testing.assert_array_equal(begin(2).weight.value, values)
    assert not np.array_equal(begin(3).weight.value, values)


def test_a_pair_is_vertical_then_horizontal():
    rng = np.random.default_rng(0)
    layer = nn.Conv2D(1, 1, (2, 3), stride=(4, 5), padding=(6, 7), rng=rng)
    assert layer.weight.value.shape == (2, 3, 1, 1)
    assert layer.forward(np.ones((1, 8, 9, 1), np.float32)).shape == (1, 5, 5, 1)
    pool = nn.MaxPool2D((2, 3), stride=(1, np.int64(4)))
    assert pool.forward(np.ones((1, 4, 11, 1))).shape == (1, 3, 3, 1)
    assert nn.MaxPool2D((2, 3)).stride == (2, 3)


# --- convolution ------------------------------------------------------------------


def margins(g):
    """Return (top, bottom), (left, right): "same" puts the extra at the end."""
    if g.padding == "same":
        needed = [
            max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            for size, stride, kernel in ((g.H, g.SH, g.KH), (g.W, g.SW, g.KW))
        ]
        return [(n // 2, math.ceil(n / 2)) for n in needed]
    PH, PW = g.padding if isinstance(g.padding, tuple) else (g.padding, g.padding)
    return [(PH, PH), (PW, PW)]


def correlated(x, layer, g):
    """Return the convolution by SciPy, one image and one kernel at a time."""
    x = np.pad(x, ((0, 0), *margins(g), (0, 0)))
    weight, bias = layer.weight.value, layer.bias.value
    maps = [
        [
            scipy.signal.correlate(image, weight[..., f], "valid", "direct")[..., 0]
            for f in range(g.F)
        ]
        for image in x
    ]
    return np.moveaxis(np.array(maps), 1, -1)[:, :: g.SH, :: g.SW] + bias


@every_convolution
def test_a_convolution_is_the_correlation_of_scipy(g):
    layer, x = convolution(g), images(g)
    y = layer.forward(x)
    np.testing.assert_allclose(y, correlated(x, layer, g), rtol=1e-12)


@every_convolution
def test_gradients_of_a_convolution_are_the_derivative(g):
    for check in check_gradients(convolution(g), images(g)):
        assert check.max_relative_error <= 1e-8, check.message
        assert check.kinks == 0


@draw.composite
def geometries(draw_one, paddings=(0, 1, (2, 1), (0, 2), "same")):
    """Draw sizes with room for at least one whole window."""
    few = draw.integers(1, 3)
    KH, KW, SH, SW = (draw_one(draw.integers(1, 5)) for _ in range(4))
    H, W = (K + draw_one(draw.integers(0, 8)) for K in (KH, KW))
    N, C, F = (draw_one(few) for _ in range(3))
    padding = draw_one(draw.sampled_from(paddings))
    return Geometry(N, H, W, C, F, KH, KW, SH, SW, padding)


@drawn
@given(geometries())
def test_a_convolution_of_drawn_sizes_is_its_naive_loops(g):
    layer, x = convolution(g), images(g)
    y = layer.forward(x)
    dy = upstream(y)
    (top, bottom), (left, right) = margins(g)
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    weight, bias = layer.weight.value, layer.bias.value
    OH, OW = ((padded.shape[i] - g[4 + i]) // g[6 + i] + 1 for i in (1, 2))
    wanted, dpadded = np.empty((g.N, OH, OW, g.F)), np.zeros(padded.shape)
    dweight = np.zeros(weight.shape)
    for n, oh, ow, f in np.ndindex(wanted.shape):
        rows = slice(oh * g.SH, oh * g.SH + g.KH)
        patch = n, rows, slice(ow * g.SW, ow * g.SW + g.KW)
        wanted[n, oh, ow, f] = (padded[patch] * weight[..., f]).sum() + bias[f]
        dweight[..., f] += dy[n, oh, ow, f] * padded[patch]
        dpadded[patch] += dy[n, oh, ow, f] * weight[..., f]
    np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)
    dx = dpadded[:, top : top + g.H, left : left + g.W]
    np.testing.assert_allclose(layer.backward(dy), dx, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer.weight.grad, dweight, rtol=1e-12, atol=1e-12)
    dbias = [dy[..., f].sum() for f in range(g.F)]
    np.testing.assert_allclose(layer.bias.grad, dbias, rtol=1e-12, atol=1e-12)


def test_same_puts_the_extra_row_at_the_bottom_and_the_extra_column_at_the_right():
    # Size, kernel, stride, and the margins, worked by hand.
    by_hand = [
        (5, 3, 1, 1, 1), (5, 4, 1, 1, 2), (5, 2, 1, 0, 1), (6, 2, 2, 0, 0),
        (6, 3, 2, 0, 1), (7, 4, 2, 1, 2), (7, 2, 2, 0, 1), (8, 1, 3, 0, 0),
        (1, 3, 1, 1, 1), (4, 7, 3, 3, 3),
    ]  # fmt: skip
    for (H, KH, SH, *rows), (W, KW, SW, *columns) in itertools.product(
        by_hand, by_hand
    ):
        g = Geometry(1, H, W, 1, 1, KH, KW, SH, SW, "same")
        assert convolution(g).margins(H, W) == (*rows, *columns)
        y = convolution(g).forward(np.ones((1, H, W, 1)))
        assert y.shape == (1, math.ceil(H / SH), math.ceil(W / SW), 1)


# --- pooling ----------------------------------------------------------------------


@every_pooling
def test_gradients_of_a_max_pooling_are_right(g):
    (check,) = check_gradients(pooling(g), apart((g.N, g.H, g.W, g.C)))
    assert check.max_relative_error <= 1e-6, check.message
    assert check.kinks == 0


@drawn
@given(geometries(paddings=(0,)), draw.booleans())
def test_a_max_pooling_of_drawn_sizes_is_its_naive_loops(g, ties):
    x = images(g).round() if ties else images(g)
    layer = pooling(g)
    y = layer.forward(x)
    dy = np.random.default_rng(1).integers(-9, 10, y.shape).astype(float)
    wanted, dx = np.empty(y.shape), np.zeros(x.shape)
    for n, oh, ow, c in np.ndindex(y.shape):
        cells = [
            (n, oh * g.SH + kh, ow * g.SW + kw, c)
            for kh in range(g.KH)
            for kw in range(g.KW)
        ]
        winner = max(cells, key=lambda cell: x[cell])  # of equal ones the first
        wanted[n, oh, ow, c] = x[winner]
        dx[winner] += dy[n, oh, ow, c]
    assert y.shape[1:3] == ((g.H - g.KH) // g.SH + 1, (g.W - g.KW) // g.SW + 1)
    np.testing.assert_array_equal(y, wanted)
    np.testing.assert_array_equal(layer.backward(dy), dx)


def test_a_global_average_is_the_mean_of_each_map():
    x = images(Geometry(2, 3, 5, 4, *[1] * 5))
    layer = nn.GlobalAveragePool2D()
    wanted = [[x[n, :, :, c].sum() / 15 for c in range(4)] for n in range(2)]
    np.testing.assert_allclose(layer.forward(x), wanted, rtol=1e-12)
    dx = layer.backward(np.full((2, 4), 30.0))
    np.testing.assert_allclose(dx, np.full((2, 3, 5, 4), 2.0), rtol=1e-15)


# --- flatten, dense, ReLU ---------------------------------------------------------


def test_flatten_goes_row_by_row_with_the_channels_innermost():
    N, H, W, C = 2, 3, 4, 5
    x = np.arange(float(N * H * W * C)).reshape(N, H, W, C)
    y = nn.Flatten().forward(x)
    for n, h, w, c in np.ndindex(N, H, W, C):
        assert y[n, (h * W + w) * C + c] == x[n, h, w, c]


def test_a_dense_layer_is_a_sum_over_its_inputs():
    layer, x = make("Dense")
    weight, bias = layer.weight.value, layer.bias.value
    wanted = [
        [bias[j] + sum(row[i] * weight[i, j] for i in range(5)) for j in range(3)]
        for row in x
    ]
    np.testing.assert_allclose(layer.forward(x), wanted, rtol=1e-12)


def test_relu_keeps_the_positive_and_its_derivative_at_zero_is_zero():
    layer = nn.ReLU()
    y = layer.forward(np.array([-2.0, -0.0, 0.0, 1e-300, 3.0]))
    np.testing.assert_array_equal(y, [0, 0, 0, 1e-300, 3])
    np.testing.assert_array_equal(layer.backward(np.full(5, 7.0)), [0, 0, 0, 7, 7])


# --- dropout ----------------------------------------------------------------------


def mask_of(seed, number, step, shape=(64, 64), rate=0.5):
    """Return which of many ones survive a training step."""
    layer = nn.Dropout(rate)
    layer.restart(seed, number, step)
    return layer.forward(np.ones(shape), training=True) != 0


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.5, 0.9, 0.9999])
def test_dropout_drops_its_share_and_keeps_the_expectation(rate):
    layer = nn.Dropout(rate)
    assert layer.rate == rate
    rate, count = min(round(256 * rate), 255) / 256, 200 * 200
    y = layer.forward(np.ones((200, 200)), training=True)
    deviation = math.sqrt(rate * (1 - rate) / count)
    assert abs((y == 0).mean() - rate) <= 5 * deviation
    assert set(np.unique(y)) <= {0, 1 / (1 - rate)}
    assert abs(y.mean() - 1) <= 5 * deviation / (1 - rate)
    np.testing.assert_array_equal(layer.backward(np.full((200, 200), 3.0)), 3 * y)


def test_a_mask_is_random_bytes_held_against_256_times_the_rate():
    random = np.random.default_rng([5, 6, 7]).bytes(60)
    wanted = np.array(list(random)).reshape(3, 20) >= 77  # 0.3 is 76.8 of 256
    np.testing.assert_array_equal(mask_of(5, 6, 7, (3, 20), 0.3), wanted)
    layer = nn.Dropout(0.3)
    layer.restart(5, 6, 7)
    for step in (7, 8):  # every mask is a step
        mask, factor = layer.next_mask((64, 64))
        np.testing.assert_array_equal(mask, mask_of(5, 6, step, rate=0.3))
        assert factor == 256 / (256 - 77)


def test_dropout_outside_training_changes_nothing_and_takes_no_step():
    layer, x = nn.Dropout(0.7), apart((3, 4))
    np.testing.assert_array_equal(layer.forward(x), x)
    np.testing.assert_array_equal(layer.backward(x), x)
    first = layer.forward(np.ones((64, 64)), training=True) != 0
    np.testing.assert_array_equal(first, mask_of(0, 0, 0, rate=0.7))


def test_the_same_numbers_make_the_same_mask_and_others_another():
    settings = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)]
    masks = [mask_of(*numbers) for numbers in settings]
    for i, numbers in enumerate(settings):
        np.testing.assert_array_equal(mask_of(*numbers), masks[i])
        for other in masks[:i]:
            assert abs((masks[i] == other).mean() - 0.5) < 0.05


# --- batch norm -------------------------------------------------------------------


def test_batch_norm_in_training_is_the_formula_written_out():
    layer, x = batch_norm(3), images(Geometry(4, 3, 5, 3, *[1] * 5))
    y = layer.forward(x, training=True)
    for c in range(3):
        values = x[..., c]
        mean = values.sum() / 60
        var = ((values - mean) ** 2).sum() / 60
        wanted = layer.weight.value[c] * (values - mean) / math.sqrt(var + 1e-5)
        np.testing.assert_allclose(y[..., c], wanted + layer.bias.value[c], rtol=1e-10)


def test_batch_norm_outside_training_uses_and_keeps_the_running_averages():
    layer, x = batch_norm(3), images(Geometry(4, 3, 5, 3, *[1] * 5))
    mean, var = layer.running_mean.copy(), layer.running_var.copy()
    y = layer.forward(x)
    x_hat = (x - mean) / np.sqrt(var + 1e-5)
    wanted = layer.weight.value * x_hat + layer.bias.value
    np.testing.assert_allclose(y, wanted, rtol=1e-12)
    np.testing.assert_array_equal(layer.running_mean, mean)
    np.testing.assert_array_equal(layer.running_var, var)


@both_ways
@pytest.mark.parametrize("N", [1, 3])
def test_batch_norm_has_the_gradients_that_differences_written_here_find(N, training):
    layer, x = batch_norm(2), images(Geometry(N, 4, 5, 2, *[1] * 5))
    dy, step = upstream(x), 1e-5

    def loss():
        return float((layer.forward(x, training) * dy).sum())

    loss()
    analytic = [layer.backward(dy), *(p.grad for p in layer.parameters())]
    for values, gradient in zip(
        [x, layer.weight.value, layer.bias.value], analytic, strict=True
    ):
        slopes = np.empty(values.shape)
        for index in np.ndindex(values.shape):
            middle = values[index]
            values[index] = middle + step
            after = loss()
            values[index] = middle - step
            slopes[index] = (after - loss()) / (2 * step)
            values[index] = middle
        assert abs(gradient - slopes).max() <= 1e-6 * abs(slopes).max()


@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.7, 1.0])
def test_running_averages_follow_the_batches_with_unbiased_variance(momentum):
    layer = nn.BatchNorm2D(2, momentum=momentum)
    layer.cast(np.float64)
    mean, var = np.zeros(2), np.ones(2)
    for seed in range(3):
        x = 2 + 3 * images(Geometry(2, 2, 3, 2, *[1] * 5), seed)
        layer.forward(x, training=True)
        pixels = x.reshape(-1, 2)
        mean = (1 - momentum) * mean + momentum * pixels.mean(axis=0)
        var = (1 - momentum) * var + momentum * pixels.var(axis=0, ddof=1)
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(layer.running_var, var, rtol=1e-12)


def test_a_channel_without_variance_stays_finite():
    for shape in ((1, 1, 1, 2), (2, 3, 3, 1)):  # a single value, and a constant map
        layer = nn.BatchNorm2D(shape[-1])
        y = layer.forward(np.full(shape, 7, np.float32), training=True)
        np.testing.assert_array_equal(y, np.zeros(shape))
        assert np.isfinite(layer.backward(np.ones_like(y))).all()
        assert np.isfinite(layer.running_var).all()
