"""The laws of `tinycnn.training.metrics`: figures that can be worked out by hand.

Where that would take too long, a loop over the images applies the definition.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tinycnn.nn import softmax
from tinycnn.training.metrics import calibration_error, fit_temperature, measure

# Four images of three classes: right, right, wrong (2 read as 0), wrong (0 read as 1).
PROBABILITIES = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.25, 0.25], [0.3, 0.6, 0.1]]
)
LOGITS = np.log(PROBABILITIES)
LABELS = np.array([0, 1, 2, 0], np.uint8)


@st.composite
def cases(draw):
    """Draw logits (N, K) and labels (N,)."""
    N, K = draw(st.integers(1, 40)), draw(st.integers(2, 10))
    logits = draw(arrays.arrays(np.float64, (N, K), elements=st.floats(-4, 4)))
    labels = draw(arrays.arrays(np.uint8, N, elements=st.integers(0, K - 1)))
    return logits, labels


def ece_by_definition(confidence, right, bins):
    """Return Guo et al.'s equation 3, bin by bin."""
    total = 0.0
    for b in range(bins):
        inside = b <= confidence * bins
        inside &= (confidence * bins < b + 1) | (b == bins - 1)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    return total


def test_every_figure_by_hand():
    metrics = measure(LOGITS, LABELS)
    assert (metrics.images, metrics.errors, metrics.accuracy) == (4, 2, 0.5)
    nll = -(math.log(0.7) + math.log(0.8) + math.log(0.25) + math.log(0.3)) / 4
    assert metrics.nll == pytest.approx(nll, rel=1e-12)
    # Rows are labels, columns predictions.
    assert metrics.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    # 0.7, 0.8, 0.5 and 0.6 lie in bins 10, 12, 7 and 9 of 15: each is alone.
    assert metrics.ece == pytest.approx((0.3 + 0.2 + 0.5 + 0.6) / 4, rel=1e-12)


@pytest.mark.parametrize(
    ("confidence", "right", "ece"),
    [
        # All in bin 14 (from 0.9333): mean confidence 0.96, accuracy 2/3.
        ([0.95, 0.96, 0.97], [1, 1, 0], 0.96 - 2 / 3),
        # Full confidence lies in the last bin, too: mean 0.97, accuracy 1/2.
        ([1.0, 0.94], [0, 1], 0.97 - 0.5),
        # In bins 8 and 9 of 15, but both in bin 5 of 10; apart, gaps cannot cancel.
        ([0.59, 0.61], [1, 0], (0.41 + 0.61) / 2),
        ([0.75] * 4, [1, 1, 1, 0], 0),
    ],
)
def test_the_calibration_error_by_hand(confidence, right, ece):
    found = calibration_error(np.array(confidence), np.array(right, bool))
    assert found == pytest.approx(ece, abs=1e-12)


def test_a_probability_of_zero_costs_its_logit_and_not_infinity():
    assert measure(np.array([[1e3, 0]]), np.array([1])).nll == pytest.approx(1e3)


def test_of_equal_probabilities_the_first_class_is_predicted():
    assert measure(np.zeros((1, 4)), np.array([0])).errors == 0


@settings(deadline=None)  # a busy machine takes longer
@given(cases(), st.sampled_from([0.5, 1.0, 3.0]))
def test_every_figure_agrees_with_a_loop_over_the_images(case, temperature):
    logits, labels = case[0].astype(np.float32), case[1]
    N, K = logits.shape
    probabilities = softmax(logits.astype(np.float64) / temperature)
    confusion = np.zeros((K, K), int)
    nll, right = 0.0, []
    for row, label in zip(probabilities, labels, strict=True):
        prediction = max(range(K), key=lambda k, row=row: row[k])
        confusion[label, prediction] += 1
        nll -= math.log(row[label]) / N
        right.append(prediction == label)
    metrics = measure(logits, labels, temperature)
    assert metrics.confusion.tolist() == confusion.tolist()
    assert metrics.errors == N - np.trace(confusion)
    assert metrics.accuracy == pytest.approx(np.trace(confusion) / N)
    assert metrics.nll == pytest.approx(nll, rel=1e-9)
    expected = ece_by_definition(probabilities.max(axis=1), np.array(right), 15)
    assert metrics.ece == pytest.approx(expected, abs=1e-12)
    assert 0 <= metrics.ece <= 1


# --- temperature -------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_spoiled_the_logits_is_found(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 10))
    below = softmax(logits).cumsum(axis=1) < rng.random((len(logits), 1))
    labels = np.minimum(below.sum(axis=1), 9)  # drawn from these probabilities
    found = fit_temperature(logits * temperature, labels)
    assert found == pytest.approx(temperature, rel=0.05)


@settings(deadline=None, max_examples=30)
@given(cases())
def test_no_temperature_of_a_grid_is_likelier(case):
    logits, labels = case
    before = logits.copy()
    least = measure(logits, labels, fit_temperature(logits, labels)).nll
    for temperature in np.geomspace(0.25, 4, 101):
        assert least <= measure(logits, labels, temperature).nll + 1e-4, temperature
    assert np.array_equal(logits, before)


def test_logits_that_are_always_right_get_the_least_temperature_and_wrong_the_most():
    logits, labels = 5 * np.eye(10, dtype=np.float32), np.arange(10)
    assert fit_temperature(logits, labels) == 0.25
    assert fit_temperature(logits, labels[::-1]) == 4
