"""`fast.Adam` is `nn.Adam` within rounding: see also tests/nn/test_optim."""

import numpy as np
import pytest
from pairs import LAYOUTS

from tinycnn import fast, nn

RATES = [0.1, 0.05, 0.2, 0.01, 0.03]


def parameters(dtype):
    rng = np.random.default_rng(3)
    return [
        nn.Parameter(rng.normal(size=size).astype(dtype), "weight")
        for size in ((37, 53), (7,), (2, 3, 5), (1, 1))
    ]


def give_gradients(optimizer, step, lay_out=np.asarray):
    rng = np.random.default_rng(step)
    for parameter in optimizer.parameters:
        size = 10.0 ** rng.integers(-6, 2)
        grad = rng.normal(size=parameter.value.shape) * size
        parameter.grad = lay_out(grad.astype(parameter.value.dtype))


@pytest.mark.parametrize("weight_decay", [0, 0.1])
@pytest.mark.parametrize(("dtype", "most"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_many_steps_are_those_of_the_plain_adam(dtype, most, weight_decay):
    """Values and state, also where each goes on from the other's state."""
    plain, quick = (
        kind(parameters(dtype), weight_decay=weight_decay)
        for kind in (nn.Adam, fast.Adam)
    )
    assert issubclass(fast.Adam, nn.Adam)
    for step in range(60):
        for optimizer in (plain, quick):
            optimizer.learning_rate = RATES[step % 5]
            give_gradients(optimizer, step)
            optimizer.step()
        if step == 30:
            for name, array in plain.state().items():
                array[...], quick.state()[name][...] = quick.state()[name], array.copy()
        assert plain.steps == quick.steps == step + 1
        ours = quick.state() | {i: p.value for i, p in enumerate(quick.parameters)}
        theirs = plain.state() | {i: p.value for i, p in enumerate(plain.parameters)}
        assert list(ours) == list(theirs)
        for name, array in theirs.items():
            error = np.abs(ours[name] - array).max()
            assert error <= most * np.abs(array).max(), (name, step)


@pytest.mark.parametrize("lay_out", LAYOUTS[:3])
def test_the_layout_of_gradients_and_values_does_not_matter(lay_out):
    usual, gradient = (fast.Adam(parameters(np.float32), 0.1) for _ in range(2))
    laid_out = parameters(np.float32)
    for parameter in laid_out:
        parameter.value = lay_out(parameter.value)
    value = fast.Adam(laid_out, 0.1)
    held = [p.value for p in laid_out] + list(value.state().values())
    assert not held[0].flags.c_contiguous
    for step in range(3):
        for optimizer in (usual, gradient, value):
            give_gradients(
                optimizer, step, lay_out if optimizer is gradient else np.array
            )
            optimizer.step()
    for other in (gradient, value):
        for ours, theirs in zip(other.parameters, usual.parameters, strict=True):
            np.testing.assert_allclose(ours.value, theirs.value, 1e-5, 1e-7)
        for name, array in usual.state().items():
            np.testing.assert_allclose(other.state()[name], array, 1e-5, 1e-7)
    now = [p.value for p in laid_out] + list(value.state().values())
    assert all(a is b for a, b in zip(now, held, strict=True))  # edited in place


def test_an_edited_adam_makes_one_warning_and_runs_as_it_is_written(monkeypatch):
    def sign_step(*rest):
        rest[2][...] -= np.sign(rest[3])

    monkeypatch.setattr(nn.Adam, "_update", sign_step)
    plain = nn.Adam(parameters(np.float32))
    with pytest.warns(match="was Adam edited"):
        quick = fast.Adam(parameters(np.float32))
    for step in range(3):
        for optimizer in (plain, quick):
            give_gradients(optimizer, step)
            optimizer.step()
    for ours, theirs in zip(quick.parameters, plain.parameters, strict=True):
        np.testing.assert_array_equal(ours.value, theirs.value)
