"""The laws that every fused step keeps; see also tests/nn/test_mistakes."""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from pairs import LAYOUTS, STEPS, USUAL, assert_same, whole_numbers

from tinycnn.fast import compiled

every_step = pytest.mark.parametrize("name", STEPS)
both_ways = pytest.mark.parametrize("training", [True, False])


def make(name):
    make_pair, x = STEPS[name]
    return make_pair(), x.copy()


@every_step
@both_ways
def test_nothing_edits_its_argument_and_what_is_returned_is_the_callers(name, training):
    pair, x = make(name)
    wanted = pair.compute(x, training)
    pair, x = make(name)
    parameters = [parameter.value.copy() for parameter in pair.layer.parameters()]
    y = pair.step.forward(x, training)
    assert not np.shares_memory(y, x)
    y[...] = np.nan  # must not reach the gradients
    dy = whole_numbers(y.shape, seed=2)
    dy_before = dy.copy()
    dx = pair.step.backward(dy)
    grads = [parameter.grad for parameter in pair.layer.parameters()]
    if not np.isfinite(dx).any():  # of a first layer there is none
        dx, wanted[1] = dy.copy(), dy
    assert_same([dx, *grads], wanted[1:])
    assert_same([x, dy], [STEPS[name][1], dy_before])
    assert_same([p.value for p in pair.layer.parameters()], parameters)
    for array in (dx, *grads):
        assert not np.shares_memory(array, x)
        assert not np.shares_memory(array, dy)
    dx[...] = np.nan
    # Gradients are assigned, not added, and into arrays of their own.
    pair.step.backward(dy)
    for before, parameter in zip(grads, pair.layer.parameters(), strict=True):
        assert parameter.grad is not before
        np.testing.assert_array_equal(parameter.grad, before)


@every_step
@pytest.mark.parametrize("lay_out", LAYOUTS)
def test_the_layout_of_arguments_and_parameters_does_not_matter(name, lay_out):
    pair, x = make(name)
    wanted = pair.compute(x)
    dy = lay_out(whole_numbers(wanted[0].shape, seed=2))
    for of_parameters in (False, True):
        pair, x = make(name)
        if of_parameters:
            for parameter in pair.layer.parameters():
                parameter.value = lay_out(parameter.value)
        assert_same(pair.compute(lay_out(x), True, dy), wanted)


@every_step
def test_backward_needs_a_forward_and_a_dy_like_y(name):
    pair, x = make(name)
    with pytest.raises(ValueError, match="needs a forward first"):
        pair.step.backward(x)
    y = pair.step.forward(x)
    wrong = [y[..., None], y[..., :1], y[1:], y.astype(np.float64), y.tolist(), None]
    for dy in wrong:
        with pytest.raises(ValueError, match="backward needs dy like y, float32"):
            pair.step.backward(dy)
    pair.step.backward(y)


@every_step
def test_several_threads_may_ask_one_step(name):
    """Each call works in arrays of its own; also for batches of other sizes."""
    pair, x = make(name)
    USUAL.pair().step.forward(USUAL.images())  # in parallel, which chooses the layer
    if not compiled._ALONE and numba.threading_layer() == "workqueue":
        pytest.skip("Numba's workqueue aborts when two threads run parallel kernels")
    batches = [np.roll(x, n, axis=0)[: 1 + n % len(x)] for n in range(200)]
    wanted = [make(name)[0].step.forward(batch) for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        assert_same(threads.map(pair.step.forward, batches), wanted)
