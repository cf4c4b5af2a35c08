"""The laws of `tinycnn.training.average`: a network that follows another, slowly."""

import numpy as np
import pytest

from tinycnn.nn import BatchNorm2D, Conv2D, Dense, Flatten, Sequential
from tinycnn.training.average import MovingAverage


def network(seed):
    rng = np.random.default_rng(seed)
    layers = [Conv2D(1, 2, 3, rng=rng), BatchNorm2D(2), Flatten()]
    return Sequential([*layers, Dense(2 * 4 * 4, 3, rng=rng)])


def set_all(model, number):
    for array in model.state().values():
        array[...] = number


def one_number(model):
    """Return the number that every array of a model is full of."""
    numbers = {float(x) for array in model.state().values() for x in array.flat}
    (number,) = numbers
    return number


def test_the_first_update_forgets_where_the_average_began():
    source, target = network(0), network(1)
    MovingAverage(source, target, 0.99).update(0)
    for name, array in target.state().items():
        assert np.array_equal(array, source.state()[name])


def test_late_in_a_run_it_is_the_equation():
    source, target = network(0), network(1)
    set_all(source, 1)
    set_all(target, 0)
    average = MovingAverage(source, target, 0.9)
    expected = 0.0
    for steps in range(1000, 1005):
        average.update(steps)
        expected = 0.9 * expected + 0.1
        assert one_number(target) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("steps", "decay"), [(10, 0.5), (30, 0.75), (90, 0.9)])
def test_early_in_a_run_it_follows_faster(steps, decay):
    source, target = network(0), network(1)
    set_all(source, 0)
    set_all(target, 1)
    MovingAverage(source, target, 0.999).update(steps)
    assert one_number(target) == pytest.approx(decay, rel=1e-6)


def test_running_statistics_are_averaged_too():
    source, target = network(0), network(1)
    average = MovingAverage(source, target, 0.5)
    average.update(0)
    source.state()["1.running_mean"][:] = 4
    average.update(1000)
    assert target.state()["1.running_mean"].tolist() == [2, 2]


def test_the_source_is_left_alone_and_nothing_is_shared():
    source, target = network(0), network(1)
    before = {name: array.copy() for name, array in source.state().items()}
    MovingAverage(source, target, 0.9).update(5)
    set_all(target, 7)
    for name, array in source.state().items():
        assert np.array_equal(array, before[name])
