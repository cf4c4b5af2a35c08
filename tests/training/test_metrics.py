"""The laws of `tinycnn.training.metrics`: figures that can be worked out by hand.

Where a hand would take too long, loops over the images are the judge: they use the
definition and none of the code's shortcuts. Nothing here knows a network.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tinycnn.nn import softmax
from tinycnn.training.metrics import (
    calibration_error,
    fit_temperature,
    fit_threshold,
    measure,
    most_confused,
    reliability,
)

# Four images of three classes: right, right, wrong (2 read as 0), wrong (0 read as 1).
PROBABILITIES = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.25, 0.25], [0.3, 0.6, 0.1]]
)
LABELS = np.array([0, 1, 2, 0], np.uint8)


def scores(images, classes):
    """Return a strategy for positive scores, an array (images, classes)."""
    return arrays.arrays(np.float64, (images, classes), elements=st.floats(0.01, 1))


@st.composite
def cases(draw):
    """Draw probabilities (N, K) and labels (N,)."""
    N, K = draw(st.integers(1, 40)), draw(st.integers(2, 10))
    weights = draw(scores(N, K))
    labels = draw(arrays.arrays(np.uint8, N, elements=st.integers(0, K - 1)))
    return weights / weights.sum(axis=1, keepdims=True), labels


def ece_by_definition(confidence, right, bins):
    """Return Guo et al.'s equation 3, bin by bin and image by image."""
    total = 0.0
    for b in range(bins):
        last = b == bins - 1
        inside = [
            n
            for n, p in enumerate(confidence)
            if b <= p * bins < b + 1 or (last and p * bins >= bins)
        ]
        if inside:
            mean_confidence = sum(float(confidence[n]) for n in inside) / len(inside)
            accuracy = sum(bool(right[n]) for n in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean_confidence)
    return total


def test_accuracy_errors_and_images_by_hand():
    metrics = measure(PROBABILITIES, LABELS)
    assert (metrics.images, metrics.errors, metrics.accuracy) == (4, 2, 0.5)


def test_nll_by_hand():
    expected = -(math.log(0.7) + math.log(0.8) + math.log(0.25) + math.log(0.3)) / 4
    assert measure(PROBABILITIES, LABELS).nll == pytest.approx(expected, rel=1e-12)


def test_rows_of_the_confusion_are_labels_and_columns_predictions():
    expected = [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert measure(PROBABILITIES, LABELS).confusion.tolist() == expected


def test_ece_by_hand():
    # 0.7, 0.8, 0.5 and 0.6 of 15 bins lie in bins 10, 12, 7 and 9: each is alone.
    expected = (0.3 + 0.2 + 0.5 + 0.6) / 4
    assert measure(PROBABILITIES, LABELS).ece == pytest.approx(expected, rel=1e-12)


def test_images_of_one_bin_are_averaged_before_the_gap_is_taken():
    # All in bin 14 (from 0.9333): mean confidence 0.96, accuracy 2/3.
    confidence = np.array([0.95, 0.96, 0.97])
    right = np.array([True, True, False])
    assert calibration_error(confidence, right) == pytest.approx(0.96 - 2 / 3)


def test_full_confidence_lies_in_the_last_bin():
    confidence = np.array([1.0, 0.94])  # together in bin 14: mean 0.97, accuracy 1/2
    right = np.array([False, True])
    assert calibration_error(confidence, right) == pytest.approx(0.97 - 0.5)


def test_there_are_fifteen_bins():
    # In bins 8 and 9 of 15, but both in bin 5 of 10; apart, the gaps cannot cancel.
    confidence, right = np.array([0.59, 0.61]), np.array([True, False])
    assert calibration_error(confidence, right) == pytest.approx((0.41 + 0.61) / 2)


def test_perfect_calibration_costs_nothing():
    confidence = np.full(4, 0.75)
    right = np.array([True, True, True, False])
    assert calibration_error(confidence, right) == 0


def test_a_probability_of_zero_costs_much_but_not_infinitely_much():
    certain = np.array([[1, 0]], np.float32)
    nll = measure(certain, np.array([1])).nll
    assert nll == pytest.approx(-math.log(np.finfo(np.float32).tiny))


def test_of_equal_probabilities_the_first_class_is_predicted():
    metrics = measure(np.full((1, 4), 0.25), np.array([0]))
    assert metrics.errors == 0


@given(cases())
def test_every_figure_agrees_with_a_loop_over_the_images(case):
    probabilities, labels = case
    N, K = probabilities.shape
    confusion = np.zeros((K, K), int)
    nll, right = 0.0, []
    for row, label in zip(probabilities, labels, strict=True):
        prediction = max(range(K), key=lambda k, row=row: row[k])
        confusion[label, prediction] += 1
        nll -= math.log(row[label]) / N
        right.append(prediction == label)
    metrics = measure(probabilities, labels)
    assert metrics.confusion.tolist() == confusion.tolist()
    assert metrics.errors == N - np.trace(confusion)
    assert metrics.accuracy == pytest.approx(np.trace(confusion) / N)
    assert metrics.nll == pytest.approx(nll, rel=1e-9)
    expected = ece_by_definition(probabilities.max(axis=1), right, 15)
    assert metrics.ece == pytest.approx(expected, abs=1e-12)
    assert 0 <= metrics.ece <= 1


@given(cases())
def test_float32_probabilities_give_the_same_figures(case):
    probabilities, labels = case
    single = probabilities.astype(np.float32)
    first, second = measure(single, labels), measure(single.astype(float), labels)
    assert first.nll == pytest.approx(second.nll, rel=1e-6)
    assert first.confusion.tolist() == second.confusion.tolist()


def test_the_most_confused_come_first_and_ties_in_reading_order():
    confusion = np.array([[90, 2, 0, 1], [3, 80, 2, 0], [0, 5, 70, 2], [2, 0, 0, 60]])
    expected = [(2, 1, 5), (1, 0, 3), (0, 1, 2), (1, 2, 2), (2, 3, 2)]
    assert most_confused(confusion) == expected
    assert most_confused(confusion, count=2) == expected[:2]


def test_no_mistakes_no_confusion():
    assert most_confused(np.diag([3, 0, 5])) == []


@given(arrays.arrays(np.int64, (5, 5), elements=st.integers(0, 4)))
def test_the_most_confused_are_the_largest_off_the_diagonal(confusion):
    mistakes = [confusion[i, j] for i in range(5) for j in range(5) if i != j]
    largest = sorted((m for m in mistakes if m > 0), reverse=True)[:5]
    found = most_confused(confusion)
    assert [images for _, _, images in found] == largest
    assert all(confusion[label, read] == images for label, read, images in found)
    assert len(set(found)) == len(found)


# --- temperature -------------------------------------------------------------------


def drawn_labels(logits, rng):
    """Return labels that are drawn from the probabilities of these logits."""
    below = softmax(logits).cumsum(axis=1) < rng.random((len(logits), 1))
    return np.minimum(below.sum(axis=1), logits.shape[1] - 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_spoiled_the_logits_is_found(temperature):
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, (20_000, 10))
    found = fit_temperature(honest * temperature, drawn_labels(honest, rng))
    assert found == pytest.approx(temperature, rel=0.05)


@settings(deadline=None)  # it takes as long as the machine is busy
@given(cases())
def test_no_temperature_of_the_grid_is_likelier(case):
    probabilities, labels = case
    logits = np.log(probabilities)

    def nll(temperature):
        return measure(softmax(logits / temperature), labels).nll

    least = nll(fit_temperature(logits, labels))
    assert all(least <= nll(t) + 1e-4 for t in np.geomspace(0.25, 4, 401))


def test_logits_that_are_always_right_get_the_least_temperature_and_wrong_the_most():
    logits, labels = 5 * np.eye(10, dtype=np.float32), np.arange(10)
    assert fit_temperature(logits, labels) == 0.25
    assert fit_temperature(logits, labels[::-1]) == 4


def test_fitting_leaves_the_logits_as_they_are():
    logits = np.random.default_rng(0).normal(size=(9, 10)).astype(np.float32)
    before = logits.copy()
    fit_temperature(logits, np.arange(9))
    np.testing.assert_array_equal(logits, before)


def test_reliability_by_hand():
    confidence = np.array([1, 0.5, 0.95, 0.52])
    right = np.array([True, False, False, True])
    assert reliability(confidence, right) == (
        (2, pytest.approx(0.51), 0.5),
        (2, pytest.approx(0.975), 0.5),
    )


def test_the_least_confident_are_those_with_the_lowest_confidence():
    confidence = np.random.default_rng(0).permutation(np.linspace(0.5, 1, 1000))
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = (confidence < 0.6).astype(int)  # wrong below, right above
    found = measure(probabilities, labels).least_confident
    assert found.images == 300
    assert found.confidence == pytest.approx(np.sort(confidence)[:300].mean())
    assert found.accuracy == pytest.approx((300 - (confidence < 0.6).sum()) / 300)


def test_of_few_images_all_are_the_least_confident():
    metrics = measure(PROBABILITIES, LABELS)
    assert metrics.least_confident.images == len(LABELS)
    assert metrics.least_confident.accuracy == metrics.accuracy


def test_the_threshold_refuses_1_of_200_digits():
    confidence = np.random.default_rng(0).permutation(np.linspace(0, 1, 1001))
    assert (confidence < fit_threshold(confidence)).sum() == 5


def test_a_threshold_is_above_0_whatever_it_was_fitted_on():
    assert fit_threshold(np.zeros(5)) > 0
