"""The laws of the optimizers: each against its paper, a number at a time."""

import math

import numba
import numpy as np
import pytest

from tinycnn.nn import SGD, Adam, Parameter, constant, cosine, one_cycle

RATES = [0.1, 0.05, 0.2, 0.01, 0.03]  # a schedule that changes at every step


def two_parameters(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [
        Parameter(rng.normal(size=(2, 3)).astype(dtype), "weight"),
        Parameter(rng.normal(size=4).astype(dtype), "bias"),
    ]


def gradients(step):
    rng = np.random.default_rng(100 + step)
    # Of very different sizes, so that a wrong eps or square shows.
    return [rng.normal(size=(2, 3)) * 10, rng.normal(size=4) * 1e-7]


def train(optimizer, dtype=np.float64):
    """Take a step a learning rate and return the values, one row a step."""
    history = []
    for step, rate in enumerate(RATES):
        optimizer.learning_rate = rate
        for parameter, grad in zip(optimizer.parameters, gradients(step), strict=True):
            parameter.grad = grad.astype(dtype)
        optimizer.step()
        history.append(
            np.concatenate([p.value.ravel().copy() for p in optimizer.parameters])
        )
    return np.array(history)


def one_number(index):
    """Return a number's first value, its gradients, and whether it is in the matrix."""
    values = np.concatenate([p.value.ravel() for p in two_parameters()])
    grads = [
        float(np.concatenate([g.ravel() for g in gradients(step)])[index])
        for step in range(len(RATES))
    ]
    return float(values[index]), grads, index < 6


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize(
    ("beta1", "beta2", "eps"), [(0.9, 0.999, 1e-8), (0.5, 0.7, 1e-3), (0.0, 0.0, 1e-5)]
)
def test_adam_is_the_algorithm_of_the_paper(beta1, beta2, eps, weight_decay):
    optimizer = Adam(
        two_parameters(), beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay
    )
    history = train(optimizer)
    for index in range(10):
        value, grads, in_matrix = one_number(index)
        m = v = 0.0
        for t, (g, rate) in enumerate(zip(grads, RATES, strict=True), start=1):
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            m_hat = m / (1 - beta1**t)
            v_hat = v / (1 - beta2**t)
            decay = rate * weight_decay * value if in_matrix else 0.0
            value = value - decay - rate * m_hat / (math.sqrt(v_hat) + eps)
            assert history[t - 1, index] == pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_sgd_is_its_two_equations(momentum):
    history = train(SGD(two_parameters(), 1.0, momentum=momentum))
    for index in range(10):
        value, grads, _ = one_number(index)
        velocity = 0.0
        for t, (g, rate) in enumerate(zip(grads, RATES, strict=True)):
            velocity = momentum * velocity + g
            value -= rate * velocity
            assert history[t, index] == pytest.approx(value, rel=1e-12, abs=1e-14)


def test_the_defaults_of_adam_are_those_of_the_paper():
    optimizer = Adam(two_parameters())
    settings = (optimizer.learning_rate, optimizer.beta1, optimizer.beta2)
    assert settings == (1e-3, 0.9, 0.999)
    assert optimizer.eps == 1e-8
    assert optimizer.weight_decay == 0


def test_the_first_step_of_adam_is_as_long_as_the_learning_rate():
    parameter = Parameter(np.zeros(2), "weight", np.array([1e3, -1e-3]))
    Adam([parameter], 0.1).step()
    np.testing.assert_allclose(parameter.value, [-0.1, 0.1], rtol=1e-4)


def test_decay_acts_without_any_gradient_and_on_matrices_only():
    weight, bias = two_parameters()
    before = weight.value.copy(), bias.value.copy()
    weight.grad, bias.grad = np.zeros((2, 3)), np.zeros(4)
    Adam([weight, bias], 0.5, weight_decay=0.1).step()
    np.testing.assert_allclose(weight.value, before[0] * 0.95, rtol=1e-12)
    np.testing.assert_array_equal(bias.value, before[1])


@pytest.mark.parametrize("kind", [Adam, SGD])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_state_keep_their_dtype_and_their_place(kind, dtype):
    parameters = two_parameters(dtype)
    optimizer = kind(parameters, 0.1)
    values, state = [p.value for p in parameters], optimizer.state()
    train(optimizer, dtype)
    for parameter, value in zip(parameters, values, strict=True):
        assert parameter.value is value
        assert value.dtype == dtype
    for name, array in optimizer.state().items():
        assert array is state[name]
        assert array.dtype == dtype


@pytest.mark.parametrize("kind", [Adam, SGD])
def test_gradients_are_not_edited(kind):
    parameters = two_parameters()
    optimizer = kind(parameters, 0.1)
    for parameter, grad in zip(parameters, gradients(0), strict=True):
        parameter.grad = grad
    optimizer.step()
    optimizer.step()
    for parameter, grad in zip(parameters, gradients(0), strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


def large_parameters(dtype, shape=(37, 53)):
    rng = np.random.default_rng(3)
    return [
        Parameter(rng.normal(size=size).astype(dtype), "weight")
        for size in (shape, (7,), (2, 3, 5))
    ]


def large_gradients(parameters, step):
    rng = np.random.default_rng(step)
    return [
        (rng.normal(size=p.value.shape) * 10.0 ** rng.integers(-6, 2)).astype(
            p.value.dtype
        )
        for p in parameters
    ]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float32, 5e-7), (np.float64, 1e-15)]
)
def test_the_compiled_step_is_the_formula_in_numpy(dtype, tolerance):
    """To rounding: measured 7e-8 a step in float32, 9e-17 in float64.

    As a share of the largest value; the formula is computed in longer numbers.
    """
    optimizer = Adam(large_parameters(dtype), weight_decay=0.3)
    values = [p.value.astype(np.longdouble) for p in optimizer.parameters]
    moments = [[np.zeros_like(value), np.zeros_like(value)] for value in values]
    for t, rate in enumerate(RATES, start=1):
        optimizer.learning_rate = rate
        grads = large_gradients(optimizer.parameters, t)
        for number, grad in enumerate(grads):
            optimizer.parameters[number].grad = grad
            m, v = moments[number]
            m[...] = 0.9 * m + (1 - 0.9) * grad
            v[...] = 0.999 * v + (1 - 0.999) * grad.astype(np.longdouble) ** 2
            m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
            if grad.ndim >= 2:
                values[number] -= rate * 0.3 * values[number]
            values[number] -= rate * m_hat / (np.sqrt(v_hat) + 1e-8)
        optimizer.step()
        for parameter, value in zip(optimizer.parameters, values, strict=True):
            error = np.abs(parameter.value - value).max() / np.abs(value).max()
            assert error <= tolerance * t


def backwards(array):
    return array[::-1].copy()[::-1]


def every_other(array):
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


@pytest.mark.parametrize("kind", [Adam, SGD])
@pytest.mark.parametrize("lay_out", [np.asfortranarray, backwards, every_other])
def test_the_layout_of_gradients_and_values_does_not_matter(lay_out, kind):
    usual = kind(large_parameters(np.float32), 0.1)
    gradient, value = (kind(large_parameters(np.float32), 0.1) for _ in range(2))
    for parameter in value.parameters:
        parameter.value = lay_out(parameter.value)
    value = kind(value.parameters, 0.1)
    held = [p.value for p in value.parameters], list(value.state().values())
    assert not held[0][0].flags.c_contiguous
    for step in range(3):
        grads = large_gradients(usual.parameters, step)
        for number, grad in enumerate(grads):
            usual.parameters[number].grad = value.parameters[number].grad = grad
            gradient.parameters[number].grad = lay_out(grad)
        for optimizer in (usual, gradient, value):
            optimizer.step()
    for other in (gradient, value):
        for ours, theirs in zip(other.parameters, usual.parameters, strict=True):
            np.testing.assert_array_equal(ours.value, theirs.value)
        for name, array in usual.state().items():
            np.testing.assert_array_equal(other.state()[name], array)
    for parameter, before in zip(value.parameters, held[0], strict=True):
        assert parameter.value is before  # edited in place
    for array, before in zip(value.state().values(), held[1], strict=True):
        assert array is before


@pytest.mark.skipif(
    numba.config.NUMBA_NUM_THREADS < 2, reason="this machine has one core"
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_changes_no_bit(dtype):
    found, before = [], numba.get_num_threads()
    for threads in (1, 2):
        numba.set_num_threads(threads)
        for shape in [(37, 53), (1, 1), (3, 7)]:
            optimizer = Adam(large_parameters(dtype, shape), 0.1, weight_decay=0.1)
            for step in range(2):
                grads = large_gradients(optimizer.parameters, step)
                for parameter, grad in zip(optimizer.parameters, grads, strict=True):
                    parameter.grad = grad
                optimizer.step()
            arrays = [*(p.value for p in optimizer.parameters)]
            arrays += optimizer.state().values()
            found.append([array.tobytes() for array in arrays])
    numba.set_num_threads(before)
    assert found[:3] == found[3:]


@pytest.mark.parametrize("grad", [np.nan, np.inf])
def test_a_gradient_that_is_no_number_reaches_its_value_and_no_other(grad):
    parameter = Parameter(np.ones(9, np.float32), "weight", np.ones(9, np.float32))
    parameter.grad[4] = grad
    Adam([parameter], 0.1).step()
    np.testing.assert_array_equal(np.isnan(parameter.value), np.arange(9) == 4)


@pytest.mark.parametrize(
    "build",
    [
        lambda p: Adam(p, 0.1, weight_decay=0.2),
        lambda p: SGD(p, 0.1, momentum=0.9),
    ],
)
def test_a_copied_state_goes_on_like_the_original(build):
    original, copy = build(two_parameters()), build(two_parameters())
    train(original)
    copy.steps = original.steps
    for name, array in original.state().items():
        copy.state()[name][...] = array
    for ours, theirs in zip(copy.parameters, original.parameters, strict=True):
        ours.value[...] = theirs.value
    np.testing.assert_array_equal(train(copy), train(original))


def test_the_state_is_named_by_the_number_of_the_parameter():
    parameters = two_parameters()
    assert list(SGD(parameters, 0.1).state()) == ["0.velocity", "1.velocity"]
    assert sorted(Adam(parameters).state()) == ["0.m", "0.v", "1.m", "1.v"]


def test_every_step_is_counted():
    optimizer = Adam(two_parameters())
    assert optimizer.steps == 0
    train(optimizer)
    assert optimizer.steps == len(RATES)


def test_a_step_without_gradients_is_refused_and_changes_nothing():
    weight, bias = two_parameters()
    before = weight.value.copy()
    weight.grad = np.ones((2, 3))
    optimizer = SGD([weight, bias], 0.1)
    with pytest.raises(RuntimeError, match=r"bias.*run backward before step"):
        optimizer.step()
    np.testing.assert_array_equal(weight.value, before)
    assert optimizer.steps == 0


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda p: SGD(p, -0.1), "at least 0, not -0.1"),
        (lambda p: SGD(p, math.nan), "not nan"),
        (lambda p: Adam(p, math.inf), "finite and at least 0, not inf"),
        (lambda p: SGD(p, 0.1, momentum=1.0), r"\[0, 1\), not 1.0"),
        (lambda p: SGD(p, 0.1, momentum=-0.1), "not -0.1"),
        (lambda p: Adam(p, beta1=1.0), "beta1 and beta2"),
        (lambda p: Adam(p, beta2=-0.1), "beta1 and beta2"),
        (lambda p: Adam(p, eps=0.0), "eps above 0"),
        (lambda p: Adam(p, weight_decay=-1.0), "weight_decay at least 0"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(build, said):
    with pytest.raises(ValueError, match=said):
        build(two_parameters())


# --- schedules --------------------------------------------------------------------


def rises(values):
    return (np.diff(values) > 0).all()


def test_a_constant_schedule_never_changes():
    schedule = constant(0.3)
    assert {schedule(step) for step in range(5)} == {0.3}


def test_a_cosine_falls_from_the_rate_through_its_half_to_zero():
    schedule = cosine(0.8, 40)
    assert schedule(0) == 0.8
    assert schedule(10) == pytest.approx(0.4 + 0.4 * math.sqrt(0.5), rel=1e-12)
    assert schedule(20) == pytest.approx(0.4, rel=1e-12)
    assert schedule(40) == pytest.approx(0, abs=1e-15)
    assert rises([-schedule(step) for step in range(41)])


@pytest.mark.parametrize(("steps", "warm_up", "peak"), [(100, 0.3, 30), (50, 0.1, 5)])
def test_one_cycle_rises_from_a_twenty_fifth_to_its_peak_and_falls_to_zero(
    steps, warm_up, peak
):
    schedule = one_cycle(0.5, steps, warm_up)
    rates = [schedule(step) for step in range(steps + 1)]
    assert rates[0] == pytest.approx(0.5 / 25, rel=1e-12)
    assert rates[peak] == max(rates) == 0.5
    assert rates[steps] == pytest.approx(0, abs=1e-15)
    assert rises(rates[: peak + 1])
    assert rises([-rate for rate in rates[peak:]])
    assert rates[(peak + steps) // 2] == pytest.approx(
        0.25 * (1 + math.cos(math.pi * ((peak + steps) // 2 - peak) / (steps - peak)))
    )


def test_the_rise_of_one_cycle_is_half_a_cosine():
    schedule = one_cycle(1.0, 100, 0.4)
    assert schedule(20) == pytest.approx((1 + 1 / 25) / 2, rel=1e-12)
    low = 1 / 25
    quarter = low + (1 - low) * (1 - math.sqrt(0.5)) / 2
    assert schedule(10) == pytest.approx(quarter, rel=1e-12)


def test_the_warm_up_takes_three_tenths_unless_told():
    assert one_cycle(1.0, 10)(3) == 1


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_few_steps_is_finite_and_positive(steps):
    schedule = one_cycle(0.5, steps)
    assert all(0 < schedule(step) <= 0.5 for step in range(steps))
