"""The laws of the dense layer without its zeros: what `Dense` computes, bit for bit.

On small whole numbers, whose sums are exact in any order. One test says how much
rounding there is with others. When a model uses the step is in `test_plan`, and which
addresses it touches in `test_addresses`.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from tinycnn.fast.steps import FusedDense
from tinycnn.nn import Dense

# Eight images and more are computed with a copy of the weights.
IMAGES = [1, 7, 8, 9, 33]
# Outputs go by 96, 80, 48, 32, 16, 8 and 1; inputs by 64 forward and 96 backward.
OUTPUTS = [64, 65, 79, 95, 96, 97, 127, 128, 176, 192, 193, 300]
INPUTS = [1, 2, 63, 64, 65, 95, 96, 97, 127, 200, 511, 512, 513, 700]


def whole_numbers(shape, seed, zeros=0.5):
    """Return whole numbers from -3 to 3, of which so many are zero."""
    rng = np.random.default_rng(seed)
    values = rng.choice([-3, -2, -1, 1, 2, 3], shape)
    return (values * (rng.random(shape) >= zeros)).astype(np.float32)


def make_pair(D, U, *, bias=True):
    """Return a dense layer of whole numbers twice: the step, and the plain one."""
    pair = []
    for _ in range(2):
        layer = Dense(D, U, bias=bias, rng=np.random.default_rng(0))
        for seed, parameter in enumerate(layer.parameters()):
            parameter.value[:] = whole_numbers(parameter.value.shape, seed, 0.1)
        pair.append(layer)
    return FusedDense(pair[0]), pair[1]


def compute(layer, x, dy, training=True):
    """Return output, gradient of the input and gradients of the parameters."""
    y, dx = layer.forward(x, training), layer.backward(dy)
    return [y, dx, *(parameter.grad for parameter in layer.parameters())]


def assert_same(found, wanted):
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == np.float32


def hold_together(N, D, U, zeros=0.5, *, bias=True):
    fused, plain = make_pair(D, U, bias=bias)
    x, dy = whole_numbers((N, D), 2, zeros), whole_numbers((N, U), 3, zeros)
    for training in (True, False):
        assert_same(compute(fused, x, dy, training), compute(plain, x, dy, training))


@pytest.mark.parametrize("U", OUTPUTS)
@pytest.mark.parametrize("N", IMAGES)
def test_the_step_gives_the_bits_of_the_plain_layer(N, U):
    rng = np.random.default_rng([N, U])
    for D in rng.choice(INPUTS, 3, replace=False):
        hold_together(N, int(D), U)


@pytest.mark.parametrize("D", INPUTS)
def test_so_it_does_for_any_number_of_inputs(D):
    for N in (1, 9):
        hold_together(N, D, 70)


@pytest.mark.parametrize("zeros", [0, 1])
@pytest.mark.parametrize("N", [1, 9])
@pytest.mark.parametrize(("D", "U"), [(1, 64), (65, 97), (200, 300)])
def test_so_it_does_where_nothing_is_zero_and_where_all_is(D, U, N, zeros):
    hold_together(N, D, U, zeros)


@pytest.mark.parametrize("N", [1, 9])
def test_so_it_does_without_a_bias(N):
    hold_together(N, 200, 64, bias=False)


def test_so_it_does_for_few_outputs():
    """No plan asks for it; the step does not mind."""
    for U in (1, 2, 7, 8, 63):
        hold_together(9, 70, U)


def test_no_image_gives_no_output_and_no_gradient():
    hold_together(0, 65, 64)
    fused, _ = make_pair(65, 64)
    fused.backward(fused.forward(np.zeros((0, 65), np.float32)))
    assert not any(parameter.grad.any() for parameter in fused.parameters())


@pytest.mark.parametrize("zeros", [0, 0.5, 0.9])
def test_the_rounding_is_two_millionths(zeros):
    """Against float64, as a share of the largest number; measured 8e-7.

    Of 700 products and 300; float32 rounds each by 6e-8.
    """
    rng = np.random.default_rng(0)
    layer = Dense(700, 300, rng=rng)
    layer.bias.value[:] = rng.standard_normal(300)
    plain = Dense(700, 300, rng=rng)
    for ours, theirs in zip(layer.parameters(), plain.parameters(), strict=True):
        theirs.value = ours.value.astype(np.float64)
    x, dy = (
        (rng.standard_normal((128, size)) * (rng.random((128, size)) >= zeros)).astype(
            np.float32
        )
        for size in (700, 300)
    )
    found = compute(FusedDense(layer), x, dy)[:2]
    wanted = compute(plain, x.astype(np.float64), dy.astype(np.float64))
    found += [parameter.grad for parameter in layer.parameters()]
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.abs(ours - theirs).max() <= 2e-6 * np.abs(theirs).max()


# --- what is no number ----------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("N", [1, 9])
def test_what_is_not_a_number_in_x_reaches_its_row(N, value):
    fused, plain = make_pair(130, 70)
    x, dy = whole_numbers((N, 130), 2), whole_numbers((N, 70), 3)
    x[-1, [3, 129]] = value
    with np.errstate(invalid="ignore"):
        found, wanted = compute(fused, x, dy), compute(plain, x, dy)
    assert not np.isfinite(found[0][-1]).any()
    assert np.isfinite(found[0][:-1]).all()
    np.testing.assert_array_equal(found[0], wanted[0])
    # To the gradient of a weight too, where its dy is not zero but maybe also there.
    alive = dy[-1] != 0
    assert not np.isfinite(found[2][[3, 129]][:, alive]).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("N", [1, 9])
def test_what_is_not_a_number_in_a_weight_reaches_all_but_zero(N, value):
    fused, _ = make_pair(130, 70)
    x, dy = whole_numbers((N, 130), 2), whole_numbers((N, 70), 3)
    x[0, 7], dy[0, 60] = 2, -1
    fused.dense.weight.value[7, 60] = value
    y, dx, *_ = compute(fused, x, dy)
    np.testing.assert_array_equal(np.isfinite(y[:, 60]), x[:, 7] == 0)
    assert np.isfinite(np.delete(y, 60, axis=1)).all()
    np.testing.assert_array_equal(np.isfinite(dx[:, 7]), dy[:, 60] == 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("N", [1, 9])
def test_what_is_not_a_number_in_dy_reaches_its_gradients(N, value):
    fused, _ = make_pair(130, 70)
    x, dy = whole_numbers((N, 130), 2), whole_numbers((N, 70), 3)
    dy[-1, 69] = value
    _, dx, dweight, dbias = compute(fused, x, dy)
    assert not np.isfinite(dx[-1][fused.dense.weight.value[:, 69] != 0]).any()
    assert np.isfinite(dx[:-1]).all()
    np.testing.assert_array_equal(np.isfinite(dweight[:, 69]), x[-1] == 0)
    assert not np.isfinite(dbias[69])
    assert np.isfinite(dbias[:69]).all()


# --- arguments ------------------------------------------------------------------------


def test_arguments_are_not_edited():
    fused, _ = make_pair(130, 70)
    x, dy = whole_numbers((9, 130), 2), whole_numbers((9, 70), 3)
    weight, bias = (parameter.value.copy() for parameter in fused.parameters())
    before = x.copy(), dy.copy()
    found = compute(fused, x, dy)
    assert_same([x, dy], before)
    assert_same([parameter.value for parameter in fused.parameters()], [weight, bias])
    assert not any(np.shares_memory(array, x) for array in found)
    assert not any(np.shares_memory(array, dy) for array in found)


def test_read_only_arguments_do():
    fused, plain = make_pair(130, 70)
    x, dy = whole_numbers((9, 130), 2), whole_numbers((9, 70), 3)
    wanted = compute(plain, x, dy)
    x.flags.writeable = dy.flags.writeable = False
    assert_same(compute(fused, x, dy), wanted)


def test_the_layout_of_arguments_and_parameters_does_not_matter():
    _, plain = make_pair(130, 70)
    x, dy = whole_numbers((9, 130), 2), whole_numbers((9, 70), 3)
    wanted = compute(plain, x, dy)

    def backwards(array):
        return array[::-1].copy()[::-1]

    def every_other(array):
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]

    for lay_out in (np.asfortranarray, backwards, every_other):
        fused, _ = make_pair(130, 70)
        arrays = [lay_out(x), lay_out(dy)]
        assert not any(array.flags.c_contiguous for array in arrays)
        assert_same(compute(fused, *arrays), wanted)
        for parameter in fused.parameters():
            parameter.value = lay_out(parameter.value)
        assert_same(compute(fused, x, dy), wanted)


def test_float64_between_two_layers_is_converted():
    fused, plain = make_pair(65, 64)
    x, dy = whole_numbers((9, 65), 2), whole_numbers((9, 64), 3)
    found = compute(fused, x.astype(np.float64), dy.astype(np.float64))
    assert_same(found, compute(plain, x, dy))


def test_wrong_shapes_are_refused_in_the_words_of_the_plain_layer():
    fused, plain = make_pair(65, 64)
    for x in (
        np.zeros((2, 64), np.float32),
        np.zeros(65, np.float32),
        np.zeros((2, 65), np.int64),
    ):
        messages = []
        for layer in (fused, plain):
            with pytest.raises(ValueError, match="Dense needs") as error:
                layer.forward(x)
            messages.append(str(error.value))
        assert messages[0] == messages[1]
    fused.forward(np.zeros((2, 65), np.float32))
    with pytest.raises(ValueError, match="backward needs dy of the shape of y"):
        fused.backward(np.zeros((2, 65), np.float32))


def test_backward_before_forward_is_refused():
    fused, _ = make_pair(65, 64)
    for backward in (fused.backward, fused.backward_parameters):
        with pytest.raises(RuntimeError, match="needs a forward first"):
            backward(np.zeros((2, 64), np.float32))


@pytest.mark.parametrize("N", [1, 9])
def test_the_smallest_number_is_not_zero(N):
    fused, plain = make_pair(130, 70)
    x, dy = whole_numbers((N, 130), 2, 0.9), whole_numbers((N, 70), 3, 0.9)
    x[x == 0], dy[dy == 0] = -0.0, -0.0
    x[0, [5, 129]], dy[0, [5, 69]] = 1e-45, -1e-45
    # Else nothing of it would be left beside whole numbers.
    x[0, 6:129] = dy[0, 6:69] = 0
    x[0, :5] = dy[0, :5] = 0
    for layer in (fused, plain):
        layer.parameters()[1].value[:] = 0
        layer.parameters()[0].value[[5, 129]] = 1e30
    found, wanted = compute(fused, x, dy), compute(plain, x, dy)
    assert found[0][0].all()
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def print_digests():
    """Print a line for each number of threads: a digest of everything computed."""
    for threads in (1, 2, 3):
        numba.set_num_threads(threads)
        digest = hashlib.sha256()
        for N in (1, 7, 9, 33):
            fused, _ = make_pair(700, 130)
            x = np.cos(whole_numbers((N, 700), 2)) * (whole_numbers((N, 700), 4) != 0)
            dy = np.sin(whole_numbers((N, 130), 3))
            for array in compute(fused, x, dy):
                digest.update(array.tobytes())
        print(threads, digest.hexdigest())


def test_the_number_of_threads_changes_no_bit():
    done = subprocess.run(
        [sys.executable, "-c", "import test_dense as t; t.print_digests()"],
        cwd=Path(__file__).parent,
        env=os.environ | {"NUMBA_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [threads for threads, _ in lines] == ["1", "2", "3"]
    assert len({digest for _, digest in lines}) == 1
