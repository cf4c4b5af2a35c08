"""How good are these probabilities? Accuracy, likelihood, calibration, confusion.

It knows probabilities and labels; it does not know which network gave them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinycnn.nn import softmax_cross_entropy
from tinycnn.nn.layers import Array

BINS = 15  # of confidence, of equal width
FEW = 300  # images that a network is least sure of


class Bin(NamedTuple):
    """Images of which a network is about equally sure.

    Attributes
    ----------
    images : int
    confidence : float
        The mean probability of the predicted class.
    accuracy : float
        The share that is right; the same as the confidence if that is honest.
    """

    images: int
    confidence: float
    accuracy: float


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
    reliability : tuple of Bin
        The images by confidence, least first.
    least_confident : Bin
        The `FEW` images of which it is least sure, or all if there are fewer.
    confusion : int array (K, K)
        ``confusion[label, prediction]`` counts images.
    """

    images: int
    errors: int
    accuracy: float
    nll: float
    ece: float
    reliability: tuple[Bin, ...]
    least_confident: Bin
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
    unsure = np.argsort(confidence, kind="stable")[:FEW]
    return Metrics(
        images=N,
        errors=errors,
        accuracy=(N - errors) / N,
        nll=float(-np.log(chosen.astype(np.float64)).mean()),
        ece=calibration_error(confidence, right),
        reliability=reliability(confidence, right),
        least_confident=_bin(confidence[unsure], right[unsure]),
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


def reliability(confidence: Array, right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Return how often images are right, by how sure the network is of them.

    Parameters
    ----------
    confidence : float array (N,)
        The probability of the predicted class, in [0, 1].
    right : bool array (N,)

    Returns
    -------
    tuple of Bin
        Those of `BINS` bins of equal width in which there are images, least first.
    """
    bin_of = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return tuple(
        _bin(confidence[bin_of == b], right[bin_of == b]) for b in np.unique(bin_of)
    )


def _bin(confidence: Array, right: NDArray[np.bool_]) -> Bin:
    return Bin(len(confidence), float(confidence.mean()), float(right.mean()))


def calibration_error(confidence: Array, right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error.

    ``ECE = sum over bins of n_bin / N * |mean confidence - accuracy|``, over the bins
    of `reliability` (Guo et al. 2017, equation 3).

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
    bins = reliability(confidence, right)
    gaps = [one.images * abs(one.confidence - one.accuracy) for one in bins]
    return sum(gaps) / len(confidence)


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
