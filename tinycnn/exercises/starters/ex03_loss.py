"""Exercise 3: softmax cross-entropy, the loss and its gradient.

The last layer gives K numbers for each image, the logits z. Softmax makes them
probabilities, and the loss is the mean surprise about the right class:

    p[n, k] = exp(z[n, k]) / sum over j of exp(z[n, j])
    loss    = -1/N * sum over n of log p[n, labels[n]]

    logits z: (N, K)      labels: (N,), integers from 0 to K - 1
    loss: one number      dlogits = dloss/dz: (N, K)

      logits        exp           p              label 1: surprise -log 0.24 = 1.42
    [2.0 1.0 0.1]  [7.4 2.7 1.1]  [0.66 0.24 0.10]

Large logits. exp(1000) is infinite in any float, and 0 / 0 is not a number. Softmax
does not change when one number is subtracted from all logits of a row (a common factor
of numerator and denominator), so subtract the largest first: every exp is then at most
1. And take the logarithm by hand, because log of a p that was rounded to 0 is -inf:

    log p[n, k] = z[n, k] - log(sum over j of exp(z[n, j]))          with z shifted

Derivation. For one row, with t the label:  L = -z[t] + log(sum over j of exp(z[j])).

    dL/dz[k] = -(1 if k is t, else 0) + (derivative of the logarithm by z[k])

The derivative of log(s) is ds/s, and of s = sum over j of exp(z[j]) only one term moves
with z[k]. Write the fraction down: it is something that you have computed already. Then
remember the 1/N of the mean.

The function edits neither logits nor labels. Input and output are
float32. Judge it: tinycnn exercises
"""

import numpy as np


def softmax_cross_entropy(logits, labels):
    """Return the mean loss, and its gradient for the logits (N, K)."""
    raise NotImplementedError("softmax_cross_entropy")
