"""A learner's mistakes: each is refused in a sentence that names the layer.

At forward and backward the network is tried as it is written and fused, after a batch
with which nothing is wrong; both must refuse, before a kernel reads an address.
"""

import numpy as np
import pytest

from tinycnn import nn
from tinycnn.fast import fuse

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 6, 6, 1)).astype(np.float32)
DY = RNG.standard_normal((2, 5)).astype(np.float32)


class Mine(nn.Layer):
    """A right layer of a learner: ``y = scale * x``."""

    def __init__(self):
        self.scale = nn.Parameter(np.ones(1, np.float32), "scale")

    def forward(self, x, training=False):  # noqa: ARG002
        self._x = x
        return self.scale.value * x

    def backward(self, dy):
        self.scale.grad = (dy * self._x).sum().reshape(1)
        return self.scale.value * dy


def dense(D=3, U=3):
    return nn.Dense(D, U, rng=RNG)


def network():
    """Return a network with every fused step, and a layer of a learner at place 4."""
    layers = [nn.Conv2D(1, 16, 3, padding=1, rng=RNG), nn.ReLU(), nn.MaxPool2D(2)]
    layers += [nn.BatchNorm2D(16), Mine(), nn.Flatten(), dense(144, 64), nn.ReLU()]
    return nn.Sequential([*layers, dense(64, 5)])


def at(model, place):
    return f"layer {place} ({type(model.layers[place]).__name__})"


def refused(parts, action, *arguments):
    """Assert that a ValueError says all parts, beginning with the first, in a line."""
    try:
        action(*arguments)
    except ValueError as error:
        message = str(error)
        assert message.startswith(parts[0]), (parts, message)
        assert all(part in message for part in parts), (parts, message)
        assert "\n" not in message
    else:
        pytest.fail(f"not refused: {parts}")


# --- when a network is made -------------------------------------------------------


def test_a_layer_and_a_parameter_stand_in_one_place():
    class Twice(Mine):
        def __init__(self):
            super().__init__()
            self.again = self.scale

    class Around(Mine):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

    relu, one, tied = nn.ReLU(), dense(), dense()
    tied.weight = one.weight
    shared = "Parameter(weight, (3, 3), float32) is used in layer 0 (Dense)"
    inner = [nn.Sequential([relu]), nn.Sequential([relu])]
    cases = [
        ([relu, dense(), relu], "layer 2 (ReLU)", "layer 0 (ReLU)"),
        ([one, nn.Sequential([one])], "layer 1 (Sequential)", "layer 0 (Dense)"),
        (inner, "layer 1 (Sequential)", "ReLU() is used in layer 0 (Sequential)"),
        ([Around(one), relu, one], "layer 2 (Dense)", "layer 0 (Around)"),
        ([one, relu, tied], "layer 2 (Dense)", shared),
        ([one, nn.Sequential([tied])], "layer 1 (Sequential)", shared),
        ([one, Around(tied)], "layer 1 (Around)", shared),
        ([relu, Twice()], "layer 1 (Twice)", "'scale'"),
    ]
    for layers, *parts in cases:
        refused(parts, nn.Sequential, layers)


def test_parameters_have_names_of_their_own_and_are_attributes():
    class OneName(Mine):
        def __init__(self):
            super().__init__()
            self.other = nn.Parameter(np.zeros(2), "scale")

    class Holding(Mine):
        def __init__(self, parts):
            super().__init__()
            self.parts = parts

    shift = nn.Parameter(np.zeros(2), "shift")
    cases = [
        (OneName(), "two arrays named 'scale'"),
        (Holding([shift]), "parameters or layers in Holding.parts"),
        (Holding((1, shift)), "parameters or layers in Holding.parts"),
        (Holding({"shift": shift}), "parameters or layers in Holding.parts"),
        (Holding([nn.ReLU(), dense()]), "parameters or layers in Holding.parts"),
    ]
    for layer, said in cases:
        name = type(layer).__name__
        refused([f"layer 1 ({name})", said], nn.Sequential, [dense(), layer])
        inner = [f"layer 0 ({name})", said]
        refused(inner, lambda one: nn.Sequential([nn.Sequential([one])]), layer)


def test_a_layer_has_all_that_a_layer_needs():
    class NoForward(Mine):
        forward = nn.Layer.forward

    class NoBackward(Mine):
        backward = nn.Layer.backward

    class NoTraining(Mine):
        def forward(self, x):
            return x

    class KeywordOnly(Mine):
        def forward(self, x, *, training=False):  # noqa: ARG002
            return x

    cases = [
        (nn.ReLU, "layer 1 (type): it is the class ReLU; write ReLU()"),
        (np.tanh, "layer 1 (ufunc): it is <ufunc 'tanh'>, which is no Layer"),
        (NoForward(), "layer 1 (NoForward): it has no forward"),
        (NoBackward(), "layer 1 (NoBackward): it has no backward"),
        (NoTraining(), "layer 1 (NoTraining): forward needs two arguments"),
        (KeywordOnly(), "layer 1 (KeywordOnly): forward needs two arguments"),
    ]
    for layer, said in cases:
        refused([said], nn.Sequential, [dense(), layer])
    for method in (nn.Layer().forward, nn.Layer().backward):
        with pytest.raises(NotImplementedError):
            method(X)


def test_no_layer_or_parameter_is_made_of_wrong_arguments():
    def conv(*sizes, **settings):
        return nn.Conv2D(*sizes, rng=RNG, **settings)

    cases = [
        (lambda: conv(0, 1, 1), "in_channels", "not 0"),
        (lambda: conv(1, True, 3), "out_channels", "not True"),
        (lambda: conv(1, 1, (3, 0)), "kernel_size", "not 0"),
        (lambda: conv(1, 1, (3, 3, 3)), "kernel_size", "(3, 3, 3)"),
        (lambda: conv(1, 1, 2.5), "kernel_size", "not 2.5"),
        (lambda: conv(1, 1, 3, stride=0), "stride", "not 0"),
        (lambda: conv(1, 1, 3, stride=(1, 0)), "stride", "not 0"),
        (lambda: conv(1, 1, 3, padding=-1), "padding", "not -1"),
        (lambda: conv(1, 1, 3, padding="valid"), "Conv2D", "'valid'", "it is 0"),
        (lambda: nn.MaxPool2D(0), "kernel_size", "not 0"),
        (lambda: nn.MaxPool2D("2"), "kernel_size", "not '2'"),
        (lambda: nn.MaxPool2D(2, stride=0), "stride", "not 0"),
        (lambda: dense(0, 3), "in_features", "not 0"),
        (lambda: dense(3, 0), "out_features", "not 0"),
        (lambda: nn.Dropout(1.0), "rate", "[0, 1)", "not 1.0"),
        (lambda: nn.Dropout(np.nan), "rate", "not nan"),
        (lambda: nn.BatchNorm2D(0), "channels", "not 0"),
        (lambda: nn.BatchNorm2D(3, momentum=1.5), "momentum", "not 1.5"),
        (lambda: nn.Parameter("weight", X), "Parameter", "then its name", "not str"),
        (lambda: nn.Parameter(X.astype(int), "weight"), "Parameter", "not int64"),
        (lambda: nn.Parameter([0.0, 0.5], "weight"), "Parameter", "not list (2,)"),
    ]
    for build, *parts in cases:
        refused(parts, build)


# --- forward and backward ---------------------------------------------------------


@pytest.fixture(params=["plain", "fused"])
def run(request):
    """Return a network after right batches, and what runs it."""
    model = network()
    fused = request.param == "fused"
    runner = fuse(model) if fused else model
    assert_right(runner)
    return model, runner


def assert_right(runner):
    for training in (True, False):
        assert runner.forward(X, training).shape == DY.shape
        dx = runner.backward(DY)
        assert dx is None or dx.shape == X.shape


def put(patch, layer, path, value):
    """Assign to an attribute of a layer, as in ``"weight.value"``, for a while."""
    *owners, attribute = path.split(".")
    for name in owners:
        layer = getattr(layer, name)
    patch.setattr(layer, attribute, value)


def ones(*shape):
    return np.ones(shape, np.float32)


def test_images_that_do_not_fit_are_refused(run):
    model, runner = run
    cases = [
        (X.astype(int), 0, "not int64 (2, 6, 6, 1)"),
        (X.astype(np.uint8), 0, "not uint8"),
        (X.astype(np.float16), 0, "not float16"),
        (X.tolist(), 0, "not list (2, 6, 6, 1)"),
        (None, 0, "not NoneType"),
        (X[:0], 0, "at least one image, not x (0, 6, 6, 1)"),
        (X[:, :0], 0, "at least one image, not x (2, 0, 6, 1)"),
        (X[..., 0], 0, "(N, H, W, 1), not (2, 6, 6)"),
        (X[None], 0, "(N, H, W, 1), not (1, 2, 6, 6, 1)"),
        (X.repeat(3, axis=3), 0, "(N, H, W, 1), not (2, 6, 6, 3)"),
        (X[:, :1, :1], 2, "2×2", "1×1"),
        (X.repeat(2, axis=1), 6, "(N, 144), not (2, 288)"),
    ]
    for x, place, *parts in cases:
        for training in (True, False):
            refused([at(model, place), *parts], runner.forward, x, training)
    assert_right(runner)


STRIDES = [0, -1, "2", 1.5, None, (1, 0), (2, 2, 2)]
BEFORE_FORWARD = [
    *[(place, "stride", stride, "stride") for place in (0, 2) for stride in STRIDES],
    (0, "padding", "valid", "'valid'"),
    (0, "padding", (0, -1), "not -1"),
    (0, "bias.value", ones(4), ""),
    (0, "bias.value", ones(2), ""),
    (0, "weight.value", ones(9, 16), ""),
    (
        0,
        "weight.value",
        ones(3, 3, 2, 16),
        "(N, H, W, 2), not (2, 6, 6, 1)",
    ),
    (2, "kernel_size", (0, 2), "kernel_size"),
    (3, "weight.value", ones(4), "(N, H, W, 4), not (2, 3, 3, 16)"),
    (3, "bias.value", ones(2), ""),
    (3, "running_mean", ones(2), ""),
    (3, "running_var", ones(5), ""),
    (6, "bias.value", ones(63), ""),
    (6, "weight.value", ones(28, 64), "(N, 28), not (2, 144)"),
    (4, "forward", lambda *_: None, "returned None, which is no array"),
    (4, "forward", lambda x, _: [x, x], "returned list, which is no array"),
    (4, "forward", lambda x, _: x.astype(np.float64), "float32 and returned float64"),
]


def test_forward_names_the_layer_with_the_mistake(run, monkeypatch):
    model, runner = run
    for place, *edit, said in BEFORE_FORWARD:
        for training in (True, False):
            with monkeypatch.context() as patch:
                put(patch, model.layers[place], *edit)
                refused([at(model, place), said], runner.forward, X, training)
        assert_right(runner)


@pytest.mark.parametrize("fused", [False, True])
def test_no_batch_is_refused_whatever_the_first_layer(fused):
    for first in (nn.Flatten(), nn.ReLU(), Mine(), nn.BatchNorm2D(1), nn.Dropout(0.5)):
        model = nn.Sequential([first, nn.Flatten(), dense(36, 64)])
        runner = fuse(model) if fused else model
        for _ in range(2):  # also after a right batch
            for x in (X[:0], X.tolist()):
                refused([at(model, 0)], runner.forward, x)
            assert runner.forward(X).shape == (2, 64)


def test_a_dy_that_does_not_fit_is_refused(run):
    model, runner = run
    cases = [
        (DY[:, :4], "not float32 (2, 4)"),
        (DY.T, "not float32 (5, 2)"),
        (DY.astype(np.float64), "not float64 (2, 5)"),
        (DY.astype(int), "not int64 (2, 5)"),
        (DY.tolist(), "not list (2, 5)"),
        (None, "not NoneType"),
    ]
    for dy, said in cases:
        runner.forward(X, training=True)
        refused([at(model, 8), "float32 (2, 5)", said], runner.backward, dy)
    assert_right(runner)


AGAIN = "forward again"
BEFORE_BACKWARD = [
    (0, "stride", 2, AGAIN),
    (0, "stride", 0, AGAIN),
    (0, "padding", 0, AGAIN),
    (0, "weight.value", ones(5, 5, 1, 16), AGAIN),
    (0, "weight.value", ones(3, 3, 1, 4), AGAIN),
    (0, "weight.value", ones(3, 3, 1, 32), AGAIN),
    (0, "weight.value", np.ones((3, 3, 1, 16)), "float64"),
    (2, "kernel_size", 3, AGAIN),
    (2, "stride", 1, AGAIN),
    (3, "weight.value", ones(2), AGAIN),
    (6, "weight.value", ones(144, 32), AGAIN),
]


def test_what_changed_between_forward_and_backward_is_refused(run, monkeypatch):
    model, runner = run
    for place, *edit, said in BEFORE_BACKWARD:
        for training in (True, False):
            runner.forward(X, training)
            # Fused, a pooling belongs to the step of the convolution before it.
            named = 0 if place == 2 and runner is not model else place
            with monkeypatch.context() as patch:
                put(patch, model.layers[place], *edit)
                refused([at(model, named), said], runner.backward, DY)
        assert_right(runner)


GRADIENTS = [
    (
        lambda grad: grad.reshape(1, 1),
        "float32 (1, 1) to Parameter(scale, (1,), float32)",
    ),
    (lambda grad: grad.astype(np.float64), "float64 (1,) to Parameter(scale"),
    (lambda grad: grad.item(), "float () to Parameter(scale"),
    (list, "list (1,) to Parameter(scale"),
    (lambda _: None, "no gradient to Parameter(scale"),
]
RETURNED = [
    (lambda _: None, 4, "backward returned None"),
    (lambda dx: dx.astype(np.float64), 4, "given float32 and returned float64"),
    (lambda dx: dx[:, :2], 4, "returned (2, 2, 3, 16) where x was (2, 3, 3, 16)"),
]


def test_backward_names_the_layer_whose_gradients_do_not_fit(run, monkeypatch):
    model, runner = run
    mine, backward = model.layers[4], model.layers[4].backward
    cases = [(make, (lambda dx: dx), 4, said) for make, said in GRADIENTS]
    cases += [((lambda grad: grad), *case) for case in RETURNED]
    for gradient, returned, place, said in cases:

        def edited(dy, gradient=gradient, returned=returned):
            dx = backward(dy)
            mine.scale.grad = gradient(mine.scale.grad)
            return returned(dx)

        runner.forward(X, training=True)
        with monkeypatch.context() as patch:
            patch.setattr(mine, "backward", edited)
            refused([at(model, place), said], runner.backward, DY)
        assert_right(runner)


def test_backward_before_forward_is_refused():
    model = network()
    refused([at(model, 8), "needs a forward first"], model.backward, DY)
    for layer in (*model.layers, fuse(network())):
        if not isinstance(layer, Mine):
            name = type(layer).__name__ if isinstance(layer, nn.Layer) else ""
            refused([name, "needs a forward first"], layer.backward, DY)
