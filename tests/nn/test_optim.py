"""The laws of the optimizers: each against its paper, a number at a time."""

import math

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
