"""Accuracy, likelihood, calibration and confusion of predicted probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinycnn.nn import softmax, softmax_cross_entropy
from tinycnn.nn.layers import Array

BINS = 15


@dataclass(frozen=True)
class Metrics:
    """The figures of a network on labelled images."""

    images: int
    errors: int
    accuracy: float
    nll: float  # negative log-likelihood: the mean of -log p[label], in nats
    ece: float  # expected calibration error: the mean gap of confidence and accuracy
    confusion: NDArray[np.int64]  # (K, K): images of each label, by prediction


def measure(
    logits: Array, labels: NDArray[np.integer], temperature: float = 1.0
) -> Metrics:
    """Compare ``softmax(logits / temperature)`` with labels.

    Parameters
    ----------
    logits : float array (N, K)
    labels : int array (N,)
        Each in ``0 .. K - 1``.
    temperature : float
    """
    N, K = logits.shape
    labels = labels.astype(np.int64)
    logits = logits.astype(np.float64) / temperature
    probabilities = softmax(logits)
    right = probabilities.argmax(axis=1) == labels
    errors = int(N - right.sum())
    pairs = labels * K + probabilities.argmax(axis=1)
    return Metrics(
        images=N,
        errors=errors,
        accuracy=(N - errors) / N,
        nll=softmax_cross_entropy(logits, labels)[0],
        ece=calibration_error(probabilities.max(axis=1), right),
        confusion=np.bincount(pairs, minlength=K * K).reshape(K, K),
    )


def fit_temperature(logits: Array, labels: NDArray[np.integer]) -> float:
    """Return the temperature, 1/4 to 4, of the least negative log-likelihood.

    It is that of ``softmax(logits / temperature)`` (Guo et al. 2017, section 4.2);
    logits and labels are as in `measure`.
    """
    from scipy.optimize import minimize_scalar

    logits = logits.astype(np.float64)
    found = minimize_scalar(
        lambda temperature: softmax_cross_entropy(logits / temperature, labels)[0],
        bounds=(0.25, 4),
        method="bounded",
    )
    return round(float(found.x), 4)


def calibration_error(confidence: Array, right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error, in [0, 1].

    ``ECE = sum over bins of n_bin / N * |mean confidence - accuracy|``, over `BINS`
    bins of confidence of equal width (Guo et al. 2017, equation 3).

    Parameters
    ----------
    confidence : float array (N,)
        The probability of the predicted class.
    right : bool array (N,)
    """
    bin_of = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    # n_bin * |mean confidence - accuracy| is the size of a sum over the bin.
    gaps = np.bincount(bin_of, weights=confidence - right)
    return float(np.abs(gaps).sum() / len(confidence))
