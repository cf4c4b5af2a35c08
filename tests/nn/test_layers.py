"""The laws of the layers: those that all of them keep, then each one's values.

Gradients are held against the product's own check and, for the layers with the most
arithmetic, against a second one that is written here. Values are held against SciPy,
NumPy's windows, or sums written out.
"""

import inspect
import math

import numpy as np
import pytest
import scipy.signal
from geometries import (
    CHECKED,
    CONVOLUTIONS,
    LAYERS,
    UNPADDED,
    Geometry,
    apart,
    batch_norm,
    convolution,
    dense,
    images,
    pooling,
)
from numpy.lib.stride_tricks import sliding_window_view

from tinycnn import nn
from tinycnn._gradcheck_core import check_gradients, examples
from tinycnn.nn import kernels

every_layer = pytest.mark.parametrize("name", LAYERS)
both_ways = pytest.mark.parametrize("training", [True, False])
every_convolution = pytest.mark.parametrize(
    "g", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys()
)
every_pooling = pytest.mark.parametrize("g", UNPADDED.values(), ids=UNPADDED.keys())


def make(name):
    return LAYERS[name].make()


def upstream(y, seed=9):
    return np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)


def run(layer, x, training=True):
    """Return y, dx and the gradients by the position of their parameter."""
    y = layer.forward(x, training)
    dx = layer.backward(upstream(y))
    return [y.copy(), dx.copy(), *(p.grad.copy() for p in layer.parameters())]


def assert_same(found, wanted, rtol=0.0):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


# --- laws that every layer keeps --------------------------------------------------


def public_layers():
    exported = (getattr(nn, name) for name in nn.__all__)
    return {c for c in exported if inspect.isclass(c) and issubclass(c, nn.Layer)}


def test_every_public_layer_is_in_the_table_of_checked_layers():
    assert set(CHECKED) == public_layers() - {nn.Layer}


def test_every_public_layer_is_among_the_examples_of_the_gradient_check():
    # A Sequential computes nothing of its own; its layers are the examples.
    missing = public_layers() - {nn.Layer, nn.Sequential}
    assert missing <= {type(layer) for layer, _ in examples()}


@every_layer
def test_gradients_are_the_derivative(name):
    layer, x = make(name)
    checks = check_gradients(layer, x)
    assert checks[0].parameter == "x"
    for check in checks:
        short_name = check.parameter.rpartition(".")[2]
        exact = short_name in LAYERS[name].linear
        assert check.max_relative_error <= (1e-9 if exact else 1e-6), check.message
        assert check.kinks == 0
        assert check.ok, check.message


@every_layer
@both_ways
def test_arguments_are_never_edited(name, training):
    layer, x = make(name)
    x_before = x.tobytes()
    y = layer.forward(x, training)
    assert x.tobytes() == x_before
    dy = upstream(y)
    dy_before = dy.tobytes()
    layer.backward(dy)
    assert x.tobytes() == x_before
    assert dy.tobytes() == dy_before


@every_layer
@both_ways
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_goes_in_and_comes_out_has_one_dtype(name, training, dtype):
    layer, x = make(name)
    layer.cast(dtype)
    assert {array.dtype for array in layer.state().values()} <= {np.dtype(dtype)}
    for array in run(layer, x.astype(dtype), training):
        assert array.dtype == dtype
    for array in layer.state().values():
        assert array.dtype == dtype


@every_layer
def test_float32_and_float64_tell_the_same_story(name):
    layer, x = make(name)
    wanted = run(layer, x.astype(np.float32).astype(np.float64))
    layer, x = make(name)
    layer.cast(np.float32)
    assert_same(run(layer, x.astype(np.float32)), wanted, rtol=2e-5)


def fortran(array):
    return np.asfortranarray(array)


def strided(array):
    return np.repeat(array, 2, axis=-1)[..., ::2]


def transposed(array):
    return np.ascontiguousarray(array.swapaxes(0, -1)).swapaxes(0, -1)


def backwards(array):
    return np.ascontiguousarray(array[::-1])[::-1]


@every_layer
@both_ways
@pytest.mark.parametrize("lay_out", [fortran, strided, transposed, backwards])
def test_the_memory_layout_does_not_matter(name, training, lay_out):
    layer, x = make(name)
    wanted = run(layer, x, training)
    layer, x = make(name)
    y = layer.forward(lay_out(x), training)
    dx = layer.backward(lay_out(upstream(y)))
    found = [y, dx, *(p.grad for p in layer.parameters())]
    assert_same(found, wanted, rtol=1e-12)


@every_layer
def test_backward_before_forward_is_refused(name):
    layer, x = make(name)
    with pytest.raises(RuntimeError, match="needs a forward first"):
        layer.backward(x)


@every_layer
def test_a_dy_of_another_shape_is_refused_with_both_shapes(name):
    layer, x = make(name)
    y = layer.forward(x)
    with pytest.raises(ValueError, match="dy of the shape of y") as refusal:
        layer.backward(np.ones((*y.shape, 1)))
    assert str((*y.shape, 1)) in str(refusal.value)
    assert str(y.shape) in str(refusal.value)


@every_layer
@both_ways
def test_gradients_are_assigned_and_not_added(name, training):
    layer, x = make(name)
    y = layer.forward(x, training)
    dy = upstream(y)
    once = [layer.backward(dy).copy(), *(p.grad.copy() for p in layer.parameters())]
    again = [layer.backward(dy), *(p.grad for p in layer.parameters())]
    assert_same(again, once)


@every_layer
@both_ways
def test_the_gradients_of_the_parameters_alone_are_those_of_backward(name, training):
    layer, x = make(name)
    _, _, *wanted = run(layer, x, training)
    for parameter in layer.parameters():
        parameter.grad = None
    assert layer.backward_parameters(upstream(layer.forward(x, training))) is None
    if not (training and name in ("Dropout", "Sequential")):  # these drop others now
        assert_same([p.grad for p in layer.parameters()], wanted)
    assert all(p.grad is not None for p in layer.parameters())


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
        layer.step = 0
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


def test_a_layer_that_has_no_forward_says_so():
    with pytest.raises(NotImplementedError):
        nn.Layer().forward(np.ones(1))
    with pytest.raises(NotImplementedError):
        nn.Layer().backward(np.ones(1))


# --- wrong arguments --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "x", "said"),
    [
        ("Conv2D", np.ones((2, 6, 7)), "(N, H, W, 3), not (2, 6, 7)"),
        ("Conv2D", np.ones((2, 6, 7, 4)), "(N, H, W, 3), not (2, 6, 7, 4)"),
        ("Conv2D", np.ones((2, 2, 7, 3)), "a 3×5 window"),
        ("Conv2D", np.ones((2, 6, 4, 3)), "not 6×4"),
        ("Conv2D", np.ones((2, 6, 7, 3), int), "floats, not int64"),
        ("MaxPool2D", np.ones((6, 7, 3)), "(N, H, W, C), not (6, 7, 3)"),
        ("MaxPool2D", np.ones((2, 1, 7, 3)), "a 2×2 window"),
        ("MaxPool2D", np.ones((2, 7, 1, 3)), "not 7×1"),
        ("MaxPool2D", np.ones((2, 6, 7, 3), np.uint8), "floats, not uint8"),
        ("GlobalAveragePool2D", np.ones((2, 3)), "(N, H, W, C), not (2, 3)"),
        ("BatchNorm2D", np.ones((2, 3, 4, 5)), "(N, H, W, 2), not (2, 3, 4, 5)"),
        ("Dense", np.ones((4, 6)), "(N, 5), not (4, 6)"),
        ("Dense", np.ones((4, 1, 5)), "(N, 5), not (4, 1, 5)"),
        ("Dense", np.ones((4, 5), bool), "floats, not bool"),
    ],
)
def test_an_x_that_does_not_fit_is_refused_with_the_numbers(name, x, said):
    layer, _ = make(name)
    with pytest.raises(ValueError, match=name) as refusal:
        layer.forward(x)
    assert said in str(refusal.value)


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: nn.Conv2D(0, 1, 1, rng=RNG), "in_channels .* not 0"),
        (lambda: nn.Conv2D(1, -2, 1, rng=RNG), "out_channels .* not -2"),
        (lambda: nn.Conv2D(1, 1, 0, rng=RNG), "kernel_size .* not 0"),
        (lambda: nn.Conv2D(1, 1, (3, 0), rng=RNG), "kernel_size .* not 0"),
        (lambda: nn.Conv2D(1, 1, (3, 3, 3), rng=RNG), r"kernel_size .* \(3, 3, 3\)"),
        (lambda: nn.Conv2D(1, 1, 2.5, rng=RNG), "kernel_size .* not 2.5"),
        (lambda: nn.Conv2D(1, True, 3, rng=RNG), "out_channels .* not True"),
        (lambda: nn.Conv2D(1, 1, 3, stride=0, rng=RNG), "stride .* not 0"),
        (lambda: nn.Conv2D(1, 1, 3, stride=(1, 0), rng=RNG), "stride .* not 0"),
        (lambda: nn.Conv2D(1, 1, 3, padding=-1, rng=RNG), "padding .* not -1"),
        (lambda: nn.Conv2D(1, 1, 3, padding="valid", rng=RNG), "padding .* 'valid'"),
        (lambda: nn.MaxPool2D(0), "kernel_size .* not 0"),
        (lambda: nn.MaxPool2D(2, stride=0), "stride .* not 0"),
        (lambda: nn.MaxPool2D("2"), "kernel_size .* not '2'"),
        (lambda: nn.Dense(0, 3, rng=RNG), "in_features .* not 0"),
        (lambda: nn.Dense(3, 0, rng=RNG), "out_features .* not 0"),
        (lambda: nn.Dropout(1.0), r"\[0, 1\), not 1.0"),
        (lambda: nn.Dropout(-0.1), "not -0.1"),
        (lambda: nn.Dropout(math.nan), "not nan"),
        (lambda: nn.BatchNorm2D(0), "channels .* not 0"),
        (lambda: nn.BatchNorm2D(3, momentum=1.5), r"\[0, 1\], not 1.5"),
        (lambda: nn.BatchNorm2D(3, momentum=-0.5), "not -0.5"),
    ],
)
def test_a_constructor_refuses_what_makes_no_sense(build, said):
    with pytest.raises(ValueError, match=said):
        build()


def test_a_pair_is_vertical_then_horizontal():
    layer = nn.Conv2D(1, 1, (2, 3), stride=(4, 5), padding=(6, 7), rng=RNG)
    assert layer.kernel_size == (2, 3)
    assert layer.stride == (4, 5)
    assert layer.padding == (6, 7)
    assert nn.MaxPool2D((2, 3)).stride == (2, 3)
    assert nn.MaxPool2D(3, stride=np.int64(2)).stride == (2, 2)


# --- initial weights --------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Conv2D(8, 90, (3, 5), rng=np.random.default_rng(2)), 3 * 5 * 8),
        (nn.Dense(40, 300, rng=np.random.default_rng(3)), 40),
    ],
    ids=["Conv2D", "Dense"],
)
def test_weights_begin_with_he_variance_and_biases_at_zero(layer, fan_in):
    values = layer.weight.value
    assert values.dtype == np.float32
    deviation = math.sqrt(2 / values.size)  # of the variance of so many normal numbers
    assert abs(values.var() * fan_in / 2 - 1) < 5 * deviation
    assert abs(values.mean()) < 5 * values.std() / math.sqrt(values.size)
    assert (layer.bias.value == 0).all()
    assert layer.bias.value.dtype == np.float32


def test_the_same_generator_makes_the_same_weights():
    first, second, third = (
        nn.Conv2D(2, 3, 3, rng=np.random.default_rng(seed)).weight.value
        for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)


def test_parameters_come_in_order_with_their_names():
    layer = dense(3, 2)
    assert [p.name for p in layer.parameters()] == ["weight", "bias"]
    assert [p.name for p in dense(3, 2, bias=False).parameters()] == ["weight"]
    names = ["weight", "bias", "running_mean", "running_var"]
    assert list(batch_norm(2).state()) == names


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
    np.testing.assert_allclose(layer.forward(x), correlated(x, layer, g), rtol=1e-12)


@every_convolution
def test_zeros_of_the_padding_count_as_zeros_beside_negatives(g):
    layer, x = convolution(g), -1 - abs(images(g))
    layer.weight.value[...] = abs(layer.weight.value)
    np.testing.assert_allclose(layer.forward(x), correlated(x, layer, g), rtol=1e-12)


@every_convolution
def test_gradients_of_a_convolution_are_exact(g):
    for check in check_gradients(convolution(g), images(g)):
        assert check.max_relative_error <= 1e-9, check.message
        assert check.kinks == 0


@every_convolution
def test_a_convolution_without_bias_adds_none(g):
    layer, x = convolution(g), images(g)
    y = layer.forward(x)
    without = convolution(g, bias=False)
    assert without.bias is None
    np.testing.assert_allclose(without.forward(x), y - layer.bias.value, atol=1e-12)
    dy = upstream(y)
    np.testing.assert_array_equal(without.backward(dy), layer.backward(dy))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after"),
    [
        (5, 3, 1, 1, 1),
        (5, 4, 1, 1, 2),
        (5, 2, 1, 0, 1),
        (6, 2, 2, 0, 0),
        (6, 3, 2, 0, 1),
        (7, 4, 2, 1, 2),
        (7, 2, 2, 0, 1),
        (8, 1, 3, 0, 0),
        (1, 3, 1, 1, 1),
        (4, 7, 3, 3, 3),
    ],
)
def test_same_keeps_the_ceiling_and_puts_the_extra_at_bottom_and_right(
    size, kernel, stride, before, after
):
    # The margins are worked by hand; each direction alone, then against Conv2D(0).
    rng = np.random.default_rng(6)
    for vertical in (True, False):
        H, W = (size, 4) if vertical else (4, size)
        KH, KW = (kernel, 1) if vertical else (1, kernel)
        SH, SW = (stride, 1) if vertical else (1, stride)
        g = Geometry(2, H, W, 2, 3, KH, KW, SH, SW, "same")
        margin, none = (before, after), (0, 0)
        x = rng.standard_normal((2, H, W, 2))
        rows, columns = (margin, none) if vertical else (none, margin)
        padded = np.pad(x, (none, rows, columns, none))
        assert convolution(g).margins(H, W) == (*rows, *columns)
        y = convolution(g).forward(x)
        assert y.shape[1:3] == (math.ceil(H / SH), math.ceil(W / SW))
        wanted = convolution(g._replace(padding=0)).forward(padded)
        np.testing.assert_array_equal(y, wanted)


# --- pooling ----------------------------------------------------------------------


@every_pooling
def test_a_max_pooling_is_the_maximum_of_the_windows_of_numpy(g):
    x = images(g)
    windows = sliding_window_view(x, (g.KH, g.KW), axis=(1, 2))
    wanted = windows[:, :: g.SH, :: g.SW].max(axis=(-1, -2))
    np.testing.assert_array_equal(pooling(g).forward(x), wanted)


@every_pooling
def test_gradients_of_a_max_pooling_are_right(g):
    (check,) = check_gradients(pooling(g), apart((g.N, g.H, g.W, g.C)))
    assert check.max_relative_error <= 1e-6, check.message
    assert check.kinks == 0


@every_pooling
def test_tied_maxima_send_the_gradient_to_one_cell_a_window(g):
    layer = pooling(g)
    y = layer.forward(np.full((g.N, g.H, g.W, g.C), 2.5))
    dx = layer.backward(np.ones_like(y))
    assert dx.sum() == y.size
    assert np.count_nonzero(dx) == y.size
    assert (dx[:, :: g.SH, :: g.SW][:, : y.shape[1], : y.shape[2]] == 1).all()


@every_pooling
def test_a_max_pooling_of_negatives_stays_negative(g):
    x = -1 - abs(images(g))
    assert pooling(g).forward(x).max() < -1


def test_a_maximum_seen_by_four_windows_receives_four_gradients():
    x = np.zeros((1, 3, 3, 1))
    x[0, 1, 1, 0] = 1
    layer = nn.MaxPool2D(2, stride=1)
    layer.forward(x)
    dx = layer.backward(np.array([1.0, 10, 100, 1000]).reshape(1, 2, 2, 1))
    assert dx[0, 1, 1, 0] == 1111
    assert dx.sum() == 1111


def test_what_no_whole_window_reaches_is_dropped_and_receives_nothing():
    x = np.arange(15.0).reshape(1, 3, 5, 1)
    layer = nn.MaxPool2D(2)
    np.testing.assert_array_equal(layer.forward(x).ravel(), [6, 8])
    dx = layer.backward(np.ones((1, 1, 2, 1)))
    assert not dx[:, 2:].any()
    assert not dx[:, :, 4:].any()


@pytest.mark.parametrize("name", ["MaxPool2D", "ReLU", "Conv2D", "BatchNorm2D"])
@both_ways
def test_not_a_number_is_not_hidden(name, training):
    layer, x = make(name)
    x[0, 0, 0, 0] = np.nan
    with np.errstate(invalid="ignore"):
        assert np.isnan(layer.forward(x, training)).any()


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


# --- gradients by a second check, written here ------------------------------------


def slopes(function, values, step):
    """Return the centred differences of a function of ``values``, moved in place."""
    found = np.empty(values.shape)
    for index in np.ndindex(values.shape):
        middle = values[index]
        values[index] = middle + step
        after = function()
        values[index] = middle - step
        found[index] = (after - function()) / (2 * step)
        values[index] = middle
    return found


@pytest.mark.parametrize(
    ("layer", "x", "training", "step"),
    [
        (convolution(UNPADDED["overlap both ways"]._replace(N=1, C=2)), None, True, 1),
        (pooling(UNPADDED["3×3 stride 1"]), apart((2, 5, 6, 2)), True, 1e-2),
        (pooling(UNPADDED["gaps between rows"]), apart((1, 10, 11, 2)), True, 1e-2),
        (batch_norm(3), images(Geometry(2, 4, 5, 3, *[1] * 5)), True, 1e-5),
        (batch_norm(3), images(Geometry(2, 4, 5, 3, *[1] * 5)), False, 1e-2),
    ],
    ids=["Conv2D", "MaxPool2D", "MaxPool2D gaps", "BatchNorm2D", "BatchNorm2D off"],
)
def test_a_second_check_finds_the_same_gradients(layer, x, training, step):
    if x is None:
        x = images(Geometry(1, 11, 8, 2, *[1] * 5))
    dy = upstream(layer.forward(x, training))

    def loss():
        return float((layer.forward(x, training) * dy).sum())

    tensors = [x, *(p.value for p in layer.parameters())]
    numeric = [slopes(loss, values, step) for values in tensors]
    layer.forward(x, training)
    analytic = [layer.backward(dy), *(p.grad for p in layer.parameters())]
    for a, n in zip(analytic, numeric, strict=True):
        # x of a layer with running averages is no linear argument; 1e-9 elsewhere.
        limit = 1e-6 if step == 1e-5 else 1e-9
        assert abs(a - n).max() <= limit * abs(n).max()


# --- dropout ----------------------------------------------------------------------


def dropped(layer, shape=(64, 64)):
    """Return which of many ones a step in training drops."""
    return layer.forward(np.ones(shape), training=True) == 0


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_expectation(rate):
    layer = nn.Dropout(rate)
    count = 200 * 200
    y = layer.forward(np.ones((200, 200)), training=True)
    deviation = math.sqrt(rate * (1 - rate) / count)
    assert abs((y == 0).mean() - rate) <= 5 * deviation
    assert set(np.unique(y)) <= {0, 1 / (1 - rate)}
    assert abs(y.mean() - 1) <= 5 * deviation / (1 - rate)


def test_dropout_outside_training_changes_nothing():
    layer = nn.Dropout(0.7)
    x = apart((3, 4))
    np.testing.assert_array_equal(layer.forward(x), x)
    np.testing.assert_array_equal(layer.backward(x), x)
    assert layer.step == 0


def test_the_same_numbers_make_the_same_mask_and_others_another():
    def mask(seed, number, step):
        layer = nn.Dropout(0.5)
        layer.seed, layer.number, layer.step = seed, number, step
        return dropped(layer)

    settings = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)]
    masks = [mask(*numbers) for numbers in settings]
    for i, numbers in enumerate(settings):
        np.testing.assert_array_equal(mask(*numbers), masks[i])
        for other in masks[:i]:
            assert abs((masks[i] == other).mean() - 0.5) < 0.05


def test_every_step_drops_others_and_the_count_goes_on():
    layer = nn.Dropout(0.5)
    first, second, third = (dropped(layer) for _ in range(3))
    assert layer.step == 3
    assert (first != second).any()
    assert (second != third).any()
    layer.step = 1
    np.testing.assert_array_equal(dropped(layer), second)


def test_a_mask_is_a_hash_held_against_the_threshold():
    layer = nn.Dropout(0.3)
    layer.seed, layer.number, layer.step = 5, 6, 7
    key = layer.next_key()
    assert layer.step == 8
    assert key.dtype == np.uint32
    layer.step = 7
    bits = [int(kernels.hashed(key, np.uint32(i))) for i in range(60)]
    assert layer.threshold == int(0.3 * 2**32)
    np.testing.assert_array_equal(
        layer.next_mask((3, 20)).ravel(), np.array(bits) >= layer.threshold
    )
    assert layer.step == 8
    assert layer.next_key() != key


@pytest.mark.parametrize("rate", [0.0, 2.0**-33, 0.5, 0.75, 1 - 2.0**-53])
def test_the_threshold_is_the_rate_of_all_numbers_that_there_are(rate):
    threshold = nn.Dropout(rate).threshold
    assert threshold.dtype == np.uint32
    assert int(threshold) == math.floor(rate * 2**32)


def test_images_and_places_of_a_batch_have_masks_of_their_own():
    mask = dropped(nn.Dropout(0.5), (8, 16, 16, 2)).reshape(8, -1)
    assert len({row.tobytes() for row in mask}) == 8
    assert len({column.tobytes() for column in mask.T}) > 200


def test_the_gradient_passes_where_the_element_survived():
    layer = nn.Dropout(0.4)
    y = layer.forward(np.ones((50, 50)), training=True)
    np.testing.assert_array_equal(layer.backward(np.full((50, 50), 3.0)), 3 * y)


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


def test_batch_norm_of_a_single_value_stays_finite():
    layer = nn.BatchNorm2D(2)
    y = layer.forward(np.full((1, 1, 1, 2), 5, np.float32), training=True)
    np.testing.assert_array_equal(y, np.zeros((1, 1, 1, 2)))
    dx = layer.backward(np.ones((1, 1, 1, 2), np.float32))
    assert np.isfinite(dx).all()
    assert np.isfinite(layer.running_var).all()


def test_a_constant_channel_stays_finite():
    layer = nn.BatchNorm2D(1)
    y = layer.forward(np.full((2, 3, 3, 1), 7, np.float32), training=True)
    np.testing.assert_array_equal(y, np.zeros((2, 3, 3, 1)))
    assert np.isfinite(layer.backward(np.ones_like(y))).all()


def test_batch_norm_gradients_are_right_for_one_image_and_for_many():
    for N in (1, 3):
        x = images(Geometry(N, 3, 4, 2, *[1] * 5))
        checks = check_gradients(batch_norm(2), x)
        assert len(checks) == 6  # three tensors, in training and outside
        for check in checks:
            exact = check.parameter != "x"
            limit = 1e-9 if exact else 1e-6
            assert check.max_relative_error <= limit, check.message


class Residual(nn.Layer):
    """A layer with a layer inside."""

    def __init__(self):
        self.inner = nn.Dense(3, 3, rng=np.random.default_rng(0))

    def forward(self, x, training=False):
        return x + self.inner.forward(x, training)

    def backward(self, dy):
        return dy + self.inner.backward(dy)


def test_a_layer_inside_a_layer_is_trained_saved_and_cast():
    layer = Residual()
    assert layer.parameters() == layer.inner.parameters()
    assert list(layer.state()) == ["inner.weight", "inner.bias"]
    layer.cast(np.float64)
    assert layer.inner.weight.value.dtype == np.float64
    checks = check_gradients(layer, np.random.default_rng(1).standard_normal((2, 3)))
    assert [check.parameter for check in checks] == ["x", "inner.weight", "inner.bias"]
    assert all(check.ok for check in checks)
