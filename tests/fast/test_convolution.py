"""The fused convolution gives the bits of its layers, and rounds as little as they do.

The bits are those of the direct sums: Winograd's fractions round, so it is switched off
but in the tests that say how much.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as draw
from pairs import INK, USUAL, Case, drawn, whole_numbers

from tinycnn import nn
from tinycnn.fast import convolution, fuse, winograd


@pytest.fixture
def direct(monkeypatch):
    """Sum directly, whatever would pay."""
    monkeypatch.setattr(winograd, "patch_side", lambda *_: 0)


directly = pytest.mark.usefixtures("direct")


def one_of(*values):
    return draw.sampled_from(values)


cases = draw.builds(
    Case,
    N=one_of(1, 2, 5, 17, 33),
    C=one_of(1, 2, 3, 16, 32),
    F=one_of(16, 32, 48),
    # Tiles are 6 columns wide: fewer, exactly one, one and a rest, two, two and a rest.
    size=draw.tuples(draw.integers(3, 7), one_of(3, 5, 6, 7, 12, 13)),
    kernel=one_of((1, 1), (3, 3), (7, 5), (2, 4), (5, 1)),
    padding=one_of(0, 1, (0, 2), "same"),
    pool=draw.booleans(),
    rate=one_of(0, 0.5),
).filter(lambda case: min(case.image()) > 0)


@directly
@drawn
@given(cases, one_of(0.15, 0.9, 1))
def test_one_step_of_drawn_sizes_gives_the_bits_of_its_layers(case, zeros):
    case.pair().hold_together(case.images(zeros))


EDGES = {
    "one pixel": Case(1, 1, 16, (1, 1), (1, 1)),
    "one place for the window": Case(2, 3, 16, (3, 2), pool=True),
    "more padding than kernel": Case(2, 2, 32, (9, 9), (2, 2), padding=3, pool=True),
    "a digit": INK,
    "fifteen channels": Case(2, 15, 96, (4, 5), (2, 3), padding=(0, 2)),
    "sixteen channels": Case(2, 16, 16, (4, 5), pool=True, rate=0.5),
    "more images than blocks": Case(33, 1, 16, (4, 6), pool=True, rate=0.5),
    "nearly all is dropped": Case(2, 2, 16, (4, 7), rate=0.9999),
    "dropout of nothing": Case(2, 2, 16, (4, 7), pool=True, rate=2.0**-40),
}


@directly
@pytest.mark.parametrize("name", EDGES)
def test_so_it_does_at_the_edges(name):
    EDGES[name].pair().hold_together(EDGES[name].images())


@directly
def test_the_gradients_of_a_first_layer_go_from_pixels_with_ink(monkeypatch):
    calls, ink = [], convolution.backward_of_ink

    def noted(*arguments):
        calls.append(arguments)
        ink(*arguments)

    monkeypatch.setattr(convolution, "backward_of_ink", noted)
    for case, count in [(INK, 3), (USUAL, 0), (EDGES["sixteen channels"], 0)]:
        calls.clear()
        case.pair().hold_together(case.images())
        assert len(calls) == count


@pytest.mark.parametrize("padding", ["same", 2])
@pytest.mark.parametrize("C", [1, 16])
def test_images_that_fill_as_many_patches_leave_nothing_to_smaller_ones(C, padding):
    """28 and 26 pixels are 7 patches: ink of the one lay in margins of the other."""
    conv = nn.Conv2D(C, 16, 3, padding=padding, rng=np.random.default_rng(0))
    model = nn.Sequential([conv, nn.ReLU(), nn.MaxPool2D(2)])
    runner = fuse(model)
    for size, change in [(28, 0), (26, 0), (25, 0), (28, 0), (30, -1), (28, 0)]:
        if padding != "same":  # the same size with its margins, in another place
            conv.padding = 2 + change
        x = np.random.default_rng(size).random((3, size, size, C), np.float32) + 1
        found, wanted = runner.forward(x), model.forward(x)
        np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)


@directly
@pytest.mark.parametrize("K", [3, 4, 5])
def test_of_images_of_another_size_or_number_nothing_is_left(K):
    """The workspace that is kept fits the next batch, or is made anew."""
    pair = Case(1, 2, 16, (1, 1), (K, K), "same").pair()
    # Among them sizes that only differ in how many zeros lie below and to the right.
    for N, H, W in [(2, 6, 6), (2, 5, 5), (17, 5, 5), (1, 5, 6), (3, 4, 4), (3, 3, 3)]:
        pair.hold_together(whole_numbers((N, H, W, 2), zeros=0))


@directly
def test_settings_that_changed_between_two_batches_count():
    pair = Case(5, 2, 16, (8, 8), padding=1, pool=True, rate=0.5).pair()
    x = whole_numbers((5, 8, 8, 2))
    pair.hold_together(x)
    edits = [(0, "stride", 1), (0, "padding", "same"), (0, "padding", (0, 1))]
    edits += [(2, "kernel_size", 2), (2, "stride", [2, 2]), (3, "rate", 0.75)]
    for place, attribute, value in edits:
        for layer in (pair.layer, pair.plain):
            setattr(layer.layers[place], attribute, value)
            layer.layers[0].weight.value -= 1  # in place
        pair.hold_together(x)
    wide = whole_numbers((3, 3, 2, 32))
    pair.layer.layers[0].weight.value = pair.plain.layers[0].weight.value = wide
    pair.layer.layers[0].bias.value = pair.plain.layers[0].bias.value = wide[0, 0, 0]
    pair.hold_together(x)


@pytest.mark.parametrize(
    ("place", "attribute", "value"),
    [
        (0, "stride", 2),
        (0, "stride", (1, 2)),
        (0, "weight", nn.Parameter(whole_numbers((3, 3, 2, 17)), "weight")),
        (2, "stride", 1),
        (2, "kernel_size", 3),
        (2, "kernel_size", (2, 1)),
    ],
)
def test_what_is_no_longer_what_was_fused_is_refused(place, attribute, value):
    pair, x = Case(5, 2, 16, (8, 8), pool=True).pair(), whole_numbers((5, 10, 10, 2))
    pair.hold_together(x)
    before = getattr(pair.layer.layers[place], attribute)
    setattr(pair.layer.layers[place], attribute, value)
    if attribute == "weight":
        pair.layer.layers[0].bias.value = whole_numbers(17)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Conv2D.*MaxPool2D.*; fuse again"):
            pair.step.forward(x)
    if attribute != "weight":
        setattr(pair.layer.layers[place], attribute, before)
        pair.hold_together(x)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("where", ["x", "weight", "bias"])
def test_what_is_not_a_number_reaches_the_output(where, training):
    """Also past dropout, which multiplies by zero and so does not hide it."""
    pair, x = USUAL.pair(), USUAL.images()
    if where == "x":
        x[1, 4, 5, 2] = x[3, 0, 0, 0] = np.nan
    for layer in (pair.layer, pair.plain):
        for parameter in layer.parameters():
            if parameter.name == where:
                parameter.value[..., 4] = np.nan
    y = pair.step.forward(x, training)
    assert np.isnan(y).any()
    np.testing.assert_array_equal(y, pair.plain.forward(x, training))


# --- rounding -------------------------------------------------------------------------

ROUNDED = Case(5, 16, 48, (12, 13), (5, 5), padding="same", pool=True, rate=0.5)


def rounding(case, training=True):
    """Return the error of the output, as a share of the largest pre-activation.

    And those of the gradients, as shares of their own largest. They are to be compared
    where the same cells win and the same outputs live: that is asserted.
    """
    pair = case.pair()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.N, *case.image(), case.C)).astype(np.float32)
    for p, q in zip(pair.layer.parameters(), pair.plain.parameters(), strict=True):
        p.value = rng.standard_normal(p.value.shape).astype(np.float32)
        q.value = p.value.astype(np.float64)
    y = pair.step.forward(x, training)
    pair.layer.seed_dropout(3)
    dy = np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape)
    found = pair.compute(x, training, dy)
    exact = [array.astype(np.float64) for array in (x, dy)]
    wanted = pair.compute_plain(exact[0], training, exact[1])
    np.testing.assert_array_equal(found[0] != 0, wanted[0] != 0)
    largest = np.abs(pair.plain.layers[0].forward(exact[0])).max()
    sizes = [largest, *(np.abs(array).max() or 1 for array in wanted[1:])]
    return [
        np.abs(ours - theirs).max() / size
        for ours, theirs, size in zip(found, wanted, sizes, strict=True)
    ]


@directly
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", [ROUNDED, INK])
def test_the_rounding_is_two_millionths_of_the_largest_pre_activation(case, training):
    """Measured: 1.3e-6 with dropout, which doubles, 0.7e-6 without.

    The gradients: 4e-7 of their own largest.
    """
    assert max(rounding(case, training)) <= 2e-6


WINOGRAD = [
    ROUNDED,
    ROUNDED._replace(pool=False, rate=0, size=(11, 7)),
    ROUNDED._replace(kernel=(3, 3)),
    Case(2, 48, 48, (13, 15), padding=2, pool=True),
    Case(17, 16, 16, (8, 12), pool=True),  # more images than blocks
    Case(3, 128, 64, (14, 14), padding=1),
    Case(3, 16, 16, (3, 4), padding="same"),  # smaller than a patch
    Case(3, 16, 32, (7, 6)),
    Case(3, 16, 48, (12, 15), padding=(2, 3)),
    Case(1, 48, 32, (8, 7), padding="same"),
    Case(3, 16, 16, (41, 5), padding="same"),  # more rows than a band
    Case(3, 16, 16, (8, 117), padding="same"),  # wider than a band
    Case(3, 128, 64, (14, 14), (5, 5), padding="same"),
    Case(3, 16, 16, (2, 3), (5, 5), padding="same"),
    Case(3, 16, 32, (5, 4), (5, 5)),  # a row more than a patch
    Case(3, 16, 16, (7, 7), (5, 5), padding=(1, 2)),
    Case(33, 16, 16, (6, 6), (5, 5), padding="same"),
]


def test_with_winograd_it_is_fifteen_millionths(monkeypatch):
    """Of 5e-5 that are allowed; measured 8.4e-6 at most, where the largest is small.

    The gradients do not depend on it; measured 9e-7 of their own largest.
    """
    for case in WINOGRAD:
        # Also where it would not pay: hanging patches must be right, however many.
        patch = case.kernel[0] + 3
        monkeypatch.setattr(winograd, "patch_side", lambda *_, patch=patch: patch)
        error, *of_gradients = rounding(case, training=True)
        assert error <= 1.5e-5, case
        assert max(of_gradients) <= 2e-6, case
