"""Exercise 11: Adam.

SGD takes one learning rate for all weights. Adam gives each its own: the step is
divided by how large the gradients of this weight usually are.

    m = beta1 * m + (1 - beta1) * grad            the mean of the gradients
    v = beta2 * v + (1 - beta2) * grad ** 2       the mean of their squares

Both start at 0, one array for each parameter, with its shape and dtype.

The correction. Averages that start at 0 are too small at first. Suppose that every
gradient is g. What is m after t steps?

    t = 1:   m = (1 - beta1) * g
    t = 2:   m = beta1 * (1 - beta1) * g + (1 - beta1) * g
    t:       m = g * (1 - beta1) * (1 + beta1 + beta1^2 + ... + beta1^(t - 1))

The sum in brackets is a geometric series: (1 - beta1^t) / (1 - beta1). So m is g times
a factor, which you can now write down; divide m by it, and v by the one with beta2:

    m_hat = m / (...)         v_hat = v / (...)

    step                 1      2      3      10     100
    factor, beta1 0.9    0.1    0.19   0.271  0.651  1.000

Then, with t counting the steps from 1, the same t for all parameters:

    value = value - learning_rate * m_hat / (sqrt(v_hat) + eps)

eps keeps a weight whose gradients are all 0 from a division by 0; it stands outside the
root. learning_rate may be changed between two steps. p.grad is left as it is.

Judge it: tinycnn exercises
"""

import numpy as np


class Adam:
    def __init__(
        self, parameters, learning_rate=1e-3, *, beta1=0.9, beta2=0.999, eps=1e-8
    ):
        self.parameters = list(parameters)
        self.learning_rate = learning_rate
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        raise NotImplementedError("Adam.__init__: m, v and the number of steps")

    def step(self):
        raise NotImplementedError("Adam.step")
