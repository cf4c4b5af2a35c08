"""The optimizers, each against its paper, a number at a time; and the schedules."""

import math

import numpy as np
import pytest

from tinycnn import fast
from tinycnn.nn import SGD, Adam, Parameter, cosine, one_cycle

RATES = [0.1, 0.05, 0.2, 0.01, 0.03]  # a schedule that changes at every step
every_optimizer = pytest.mark.parametrize("kind", [SGD, Adam, fast.Adam])
# What holds for the plain Adam holds for the fast one.
both_adams = pytest.mark.parametrize("kind", [Adam, fast.Adam])


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


@both_adams
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize(
    ("beta1", "beta2", "eps"), [(0.9, 0.999, 1e-8), (0.5, 0.7, 1e-3), (0.0, 0.0, 1e-5)]
)
def test_adam_is_the_algorithm_of_the_paper(kind, beta1, beta2, eps, weight_decay):
    optimizer = kind(
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


@both_adams
def test_the_defaults_of_adam_are_those_of_the_paper(kind):
    optimizer = kind(two_parameters())
    settings = (optimizer.learning_rate, optimizer.beta1, optimizer.beta2)
    assert settings == (1e-3, 0.9, 0.999)
    assert optimizer.eps == 1e-8
    assert optimizer.weight_decay == 0


@both_adams
def test_decay_acts_without_any_gradient_and_on_matrices_only(kind):
    weight, bias = two_parameters()
    before = weight.value.copy(), bias.value.copy()
    weight.grad, bias.grad = np.zeros((2, 3)), np.zeros(4)
    kind([weight, bias], 0.5, weight_decay=0.1).step()
    np.testing.assert_allclose(weight.value, before[0] * 0.95, rtol=1e-12)
    np.testing.assert_array_equal(bias.value, before[1])


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_state_keep_their_dtype_and_are_edited_in_place(kind, dtype):
    parameters = two_parameters(dtype)
    optimizer = kind(parameters, 0.1)
    values, state = [p.value for p in parameters], optimizer.state()
    train(optimizer, dtype)
    last = gradients(len(RATES) - 1)
    for parameter, value, grad in zip(parameters, values, last, strict=True):
        assert parameter.value is value
        assert value.dtype == dtype
        np.testing.assert_array_equal(parameter.grad, grad.astype(dtype))  # not edited
    for name, array in optimizer.state().items():
        assert array is state[name]
        assert array.dtype == dtype


@both_adams
@pytest.mark.parametrize("grad", [np.nan, np.inf])
def test_a_gradient_that_is_no_number_reaches_its_value_and_no_other(kind, grad):
    parameter = Parameter(np.ones(9, np.float32), "weight")
    parameter.grad = np.ones(9, np.float32)
    parameter.grad[4] = grad
    with np.errstate(invalid="ignore"):
        kind([parameter], 0.1).step()
    np.testing.assert_array_equal(np.isnan(parameter.value), np.arange(9) == 4)


@every_optimizer
def test_a_copied_state_goes_on_like_the_original(kind):
    original, copy = kind(two_parameters(), 0.1), kind(two_parameters(), 0.1)
    train(original)
    copy.steps = original.steps
    assert original.steps == len(RATES)
    for name, array in original.state().items():
        copy.state()[name][...] = array
    for ours, theirs in zip(copy.parameters, original.parameters, strict=True):
        ours.value[...] = theirs.value
    np.testing.assert_array_equal(train(copy), train(original))


def test_the_state_is_named_by_the_number_of_the_parameter():
    parameters = two_parameters()
    assert list(SGD(parameters, 0.1).state()) == ["0.velocity", "1.velocity"]
    for kind in (Adam, fast.Adam):
        assert sorted(kind(parameters).state()) == ["0.m", "0.v", "1.m", "1.v"]


@every_optimizer
@pytest.mark.parametrize(
    ("grad", "said"),
    [
        (None, "run backward before step"),
        (np.ones((3, 2)), r"float64 \(2, 3\) .* float64 \(3, 2\)"),
        (np.ones((2, 2)), r"a gradient float64 \(2, 2\)"),
        (np.ones(6), r"a gradient float64 \(6,\)"),
        (np.ones((2, 3), np.float32), r"a gradient float32 \(2, 3\)"),
        (np.ones((2, 3), int), r"a gradient int64 \(2, 3\)"),
        ([[1.0] * 3] * 2, r"a gradient list \(2, 3\)"),
    ],
)
def test_a_wrong_gradient_is_refused_and_no_parameter_changes(kind, grad, said):
    bias, weight = two_parameters()[::-1]
    before = bias.value.copy(), weight.value.copy()
    bias.grad, weight.grad = np.ones(4), grad
    optimizer = kind([bias, weight], 0.1)
    with pytest.raises(ValueError, match=rf"parameter 1 \(weight\).*{said}"):
        optimizer.step()
    np.testing.assert_array_equal(bias.value, before[0])
    np.testing.assert_array_equal(weight.value, before[1])
    assert optimizer.steps == 0
    assert not any(array.any() for array in optimizer.state().values())


@every_optimizer
def test_a_parameter_of_another_shape_than_at_the_beginning_is_refused(kind):
    weight, bias = two_parameters()
    optimizer = kind([weight, bias], 0.1)
    weight.value, weight.grad, bias.grad = np.ones((4, 5)), np.ones((4, 5)), np.ones(4)
    with pytest.raises(ValueError, match=r"parameter 0 \(weight\) was .*\(2, 3\)"):
        optimizer.step()


@every_optimizer
def test_a_parameter_given_twice_is_refused(kind):
    weight, bias = two_parameters()
    with pytest.raises(ValueError, match="one Parameter twice"):
        kind([weight, bias, weight], 0.1)


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


def test_a_cosine_falls_from_the_rate_through_its_half_to_zero():
    schedule = cosine(0.8, 40)
    assert schedule(0) == 0.8
    assert schedule(10) == pytest.approx(0.4 + 0.4 * math.sqrt(0.5), rel=1e-12)
    assert schedule(20) == pytest.approx(0.4, rel=1e-12)
    assert schedule(40) == pytest.approx(0, abs=1e-15)
    assert rises([-schedule(step) for step in range(41)])


@pytest.mark.parametrize(("steps", "warm_up", "peak"), [(100, 0.4, 40), (50, 0.1, 5)])
def test_one_cycle_rises_from_a_twenty_fifth_to_its_peak_and_falls_to_zero(
    steps, warm_up, peak
):
    schedule = one_cycle(0.5, steps, warm_up)
    rates = [schedule(step) for step in range(steps + 1)]
    low = 0.5 / 25
    assert one_cycle(0.5, steps)(3 * steps // 10) == 0.5  # unless told otherwise
    assert rates[0] == pytest.approx(low, rel=1e-12)
    assert rates[peak] == max(rates) == 0.5
    assert rates[steps] == pytest.approx(0, abs=1e-15)
    assert rises(rates[: peak + 1])
    assert rises([-rate for rate in rates[peak:]])
    # Both are half cosines.
    for step in range(peak):
        share = (1 - math.cos(math.pi * step / peak)) / 2
        assert rates[step] == pytest.approx(low + (0.5 - low) * share, rel=1e-12)
    for step in range(peak, steps):
        share = (1 + math.cos(math.pi * (step - peak) / (steps - peak))) / 2
        assert rates[step] == pytest.approx(0.5 * share, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_few_steps_is_finite_and_positive(steps):
    schedule = one_cycle(0.5, steps)
    assert all(0 < schedule(step) <= 0.5 for step in range(steps))
