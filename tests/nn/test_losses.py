"""The laws of the loss: SciPy's log-softmax is the judge of its values."""

import math

import numpy as np
import pytest
import scipy.special

from tinycnn.nn import softmax, softmax_cross_entropy

N, K = 5, 7
LOGITS = np.random.default_rng(0).normal(size=(N, K)) * 3
LABELS = np.array([6, 0, 3, 3, 1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_the_loss_is_the_mean_cross_entropy_with_the_target(smoothing):
    log_p = scipy.special.log_softmax(LOGITS, axis=1)
    wanted = 0.0
    for n in range(N):
        for k in range(K):
            target = smoothing / K + (1 - smoothing) * (k == LABELS[n])
            wanted -= target * log_p[n, k] / N
    loss, _ = softmax_cross_entropy(LOGITS, LABELS, smoothing)
    assert type(loss) is float
    assert loss == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_is_the_derivative(smoothing):
    # By differences of the loss as SciPy computes it.
    _, dlogits = softmax_cross_entropy(LOGITS, LABELS, smoothing)
    for n, k in np.ndindex(N, K):
        sides = []
        for step in (1e-5, -1e-5):
            moved = LOGITS.copy()
            moved[n, k] += step
            log_p = scipy.special.log_softmax(moved, axis=1)
            right = log_p[np.arange(N), LABELS]
            rows = (1 - smoothing) * right + smoothing * log_p.mean(axis=1)
            sides.append(-rows.mean())
        slope = (sides[0] - sides[1]) / 2e-5
        assert dlogits[n, k] == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_keeps_the_dtype_and_the_arguments_their_values(dtype):
    logits, labels = LOGITS.astype(dtype), LABELS.astype(np.uint8)
    before = logits.tobytes(), labels.tobytes()
    loss, dlogits = softmax_cross_entropy(logits, labels, 0.1)
    assert dlogits.dtype == dtype
    assert dlogits.shape == logits.shape
    assert loss == pytest.approx(softmax_cross_entropy(LOGITS, LABELS, 0.1)[0], 1e-6)
    assert softmax(logits).dtype == dtype
    assert (logits.tobytes(), labels.tobytes()) == before
    assert not np.shares_memory(dlogits, logits)


@pytest.mark.parametrize("size", [1e3, 1e30])
def test_huge_logits_stay_finite(size):
    logits = np.array([[size, 0, -size], [-size, size, 0]], np.float32)
    loss, dlogits = softmax_cross_entropy(logits, np.array([0, 1]))
    assert loss == 0
    assert np.isfinite(dlogits).all()
    loss, _ = softmax_cross_entropy(logits, np.array([1, 2]))
    assert loss == pytest.approx(size, rel=1e-6)
    np.testing.assert_array_equal(softmax(logits), [[1, 0, 0], [0, 1, 0]])


def test_a_row_far_below_the_others_keeps_its_loss():
    logits = np.array([[1e4, 0], [-1e4, -1e4 - 1]])
    loss, dlogits = softmax_cross_entropy(logits, np.array([0, 0]))
    assert loss == pytest.approx(math.log(1 + math.exp(-1)) / 2, rel=1e-9)
    assert np.isfinite(dlogits).all()
    np.testing.assert_allclose(softmax(logits)[1], softmax(np.array([1.0, 0])))


def test_softmax_is_that_of_scipy_along_the_last_axis():
    logits = LOGITS[:, np.newaxis] + np.arange(3)[:, np.newaxis] * LOGITS[0]
    wanted = scipy.special.softmax(logits, axis=-1)
    np.testing.assert_allclose(softmax(logits), wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("logits", "labels", "smoothing", "said"),
    [
        (LOGITS, LABELS[:4], 0.0, r"not float64 \(5, 7\) and int64 \(4,\)"),
        (LOGITS, LABELS.reshape(5, 1), 0.0, r"int64 \(5, 1\)"),
        (LOGITS[0], LABELS, 0.0, r"not float64 \(7,\)"),
        (LOGITS[:0], LABELS[:0], 0.0, r"not float64 \(0, 7\)"),
        (LOGITS.astype(int), LABELS, 0.0, "not int64"),
        (LOGITS.tolist(), LABELS, 0.0, "not list"),
        (LOGITS, LABELS.tolist(), 0.0, "and list"),
        (LOGITS, LABELS.astype(float), 0.0, r"and float64 \(5,\)"),
        (LOGITS, LABELS + 1, 0.0, r"0 \.\. 6, not in 1 \.\. 7"),
        (LOGITS, LABELS - 1, 0.0, r"0 \.\. 6, not in -1 \.\. 5"),
        (LOGITS, LABELS, 1.0, r"\[0, 1\), not 1.0"),
        (LOGITS, LABELS, -0.1, "not -0.1"),
        (LOGITS, LABELS, math.nan, "not nan"),
    ],
)
def test_wrong_arguments_are_refused_with_the_numbers(logits, labels, smoothing, said):
    with pytest.raises(ValueError, match=said):
        softmax_cross_entropy(logits, labels, smoothing)
