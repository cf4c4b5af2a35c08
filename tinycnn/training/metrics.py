"""How good are these probabilities? Accuracy, likelihood, calibration, confusion."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinycnn.nn import softmax_cross_entropy
from tinycnn.nn.layers import Array

BINS = 15


@dataclass(frozen=True)
class Metrics:
    """What a network got right on a set of labelled images, and how sure it was.

    Attributes
    ----------
    images, errors : int
    accuracy : float
        The share that is right.
    nll : float
        Negative log-likelihood: the mean of ``-log p[label]``, in nats.
    ece : float
        Expected calibration error: the mean gap between confidence and accuracy.
    confusion : int array (K, K)
        ``confusion[label, prediction]`` counts images.
    """

    images: int
    errors: int
    accuracy: float
    nll: float
    ece: float
    confusion: NDArray[np.int64]


def measure(probabilities: Array, labels: NDArray[np.integer]) -> Metrics:
    """Compare probabilities with labels.

    Parameters
    ----------
    probabilities : float array (N, K)
        Each row sums to 1.
    labels : int array (N,)
        Each in ``0 .. K - 1``.

    Returns
    -------
    Metrics
    """
    N, K = probabilities.shape
    labels = labels.astype(np.int64)
    predictions = probabilities.argmax(axis=1)
    right = predictions == labels
    errors = int(N - right.sum())
    confusion = np.bincount(labels * K + predictions, minlength=K * K).reshape(K, K)
    # A probability that underflowed to 0 must cost much, not infinitely much.
    smallest = np.finfo(probabilities.dtype).tiny
    chosen = np.maximum(probabilities[np.arange(N), labels], smallest)
    confidence = probabilities.max(axis=1).astype(np.float64)
    return Metrics(
        images=N,
        errors=errors,
        accuracy=(N - errors) / N,
        nll=float(-np.log(chosen.astype(np.float64)).mean()),
        ece=calibration_error(confidence, right),
        confusion=confusion,
    )


def fit_temperature(logits: Array, labels: NDArray[np.integer]) -> float:
    """Return the temperature that makes probabilities likeliest.

    ``p = softmax(logits / temperature)``; the temperature is that of least negative
    log-likelihood (Guo et al. 2017, section 4.2), of 401 from 1/4 to 4.

    Parameters
    ----------
    logits : float array (N, K)
    labels : int array (N,)
        Each in ``0 .. K - 1``.

    Returns
    -------
    float
    """
    temperatures = np.geomspace(0.25, 4, 401)
    logits = logits.astype(np.float64)

    def loss(number: int) -> float:
        return softmax_cross_entropy(logits / temperatures[number], labels)[0]

    # The loss is convex in 1 / temperature: it falls up to the least, then it rises.
    low, high = 0, len(temperatures) - 1
    while low < high:
        middle = (low + high) // 2
        if loss(middle + 1) < loss(middle):
            low = middle + 1
        else:
            high = middle
    return round(float(temperatures[low]), 4)


def fit_threshold(confidence: Array) -> float:
    """Return the confidence below which a digit is refused: 1 of 200 digits is.

    Parameters
    ----------
    confidence : float array (N,)
        In validation digits.

    Returns
    -------
    float
        Above 0.
    """
    return max(round(float(np.quantile(confidence, 0.005)), 5), 1e-5)


def calibration_error(confidence: Array, right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error.

    ``ECE = sum over bins of n_bin / N * |mean confidence - accuracy|``, over `BINS`
    bins of confidence of equal width (Guo et al. 2017, equation 3).

    Parameters
    ----------
    confidence : float array (N,)
        The probability of the predicted class, in [0, 1].
    right : bool array (N,)

    Returns
    -------
    float
        In [0, 1].
    """
    bin_of = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    # n_bin * |mean confidence - accuracy| is the size of a sum over the bin.
    gaps = np.bincount(bin_of, weights=confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def most_confused(
    confusion: NDArray[np.int64], count: int = 5
) -> list[tuple[int, int, int]]:
    """Return the most frequent mistakes.

    Parameters
    ----------
    confusion : int array (K, K)
        ``confusion[label, prediction]``.
    count : int
        How many at most.

    Returns
    -------
    list of (label, prediction, images)
        Most frequent first; ties in order of label, then prediction.
    """
    mistakes = [
        (label, prediction, int(images))
        for (label, prediction), images in np.ndenumerate(confusion)
        if label != prediction and images > 0
    ]
    return sorted(mistakes, key=lambda mistake: -mistake[2])[:count]
