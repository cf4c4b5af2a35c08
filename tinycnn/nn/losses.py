"""Softmax cross-entropy: the loss of a batch, and its gradient for the logits."""

import numpy as np
from numpy.typing import NDArray

from tinycnn.nn.layers import Array, _kind


def softmax(logits: Array) -> Array:
    """Turn logits into probabilities: ``p_k = exp(z_k) / sum_j exp(z_j)``.

    Parameters
    ----------
    logits : float array (..., K)

    Returns
    -------
    probabilities : float array (..., K)
        Of the same dtype, summing to 1 along the last axis.
    """
    # Softmax does not change when all logits move together; this keeps exp finite.
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def softmax_cross_entropy(
    logits: Array, labels: NDArray[np.integer], label_smoothing: float = 0.0
) -> tuple[float, Array]:
    """Return the mean cross-entropy of softmax probabilities, and its gradient.

    With ``t`` the target distribution (1 for the label; with smoothing ``s`` the label
    has ``1 - s`` and all K classes share ``s``, Szegedy et al. 2016, section 7):

    ``loss = -1/N sum_n sum_k t_nk log p_nk`` and ``dlogits = (p - t) / N``. Derivation:
    ``exercises/derivations.md``.

    Parameters
    ----------
    logits : float array (N, K)
    labels : int array (N,)
        Each in ``0 .. K - 1``.
    label_smoothing : float
        In [0, 1); 0 is the ordinary cross-entropy.

    Returns
    -------
    loss : float
    dlogits : float array (N, K)
        The gradient of the loss with respect to the logits, of their dtype.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, or a label is no class.
    """
    are_arrays = isinstance(logits, np.ndarray) and isinstance(labels, np.ndarray)
    if not (
        are_arrays
        and (logits.dtype.kind == "f" and labels.dtype.kind in "iu")
        and (logits.ndim == 2 and labels.shape == logits.shape[:1] and labels.size > 0)
    ):
        raise ValueError(
            "softmax_cross_entropy needs float logits (N, K) and integer labels (N,) "
            f"with N at least 1, not {_kind(logits)} and {_kind(labels)}"
        )
    N, K = logits.shape
    if labels.min() < 0 or labels.max() >= K:
        raise ValueError(
            f"labels must lie in 0 .. {K - 1}, not in {labels.min()} .. {labels.max()}"
        )
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), not {label_smoothing}")

    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    target = np.full_like(logits, label_smoothing / K)
    target[np.arange(N), labels] += 1 - label_smoothing
    loss = -float((target * log_p).sum()) / N
    dlogits = (np.exp(log_p) - target) / N
    return loss, dlogits
