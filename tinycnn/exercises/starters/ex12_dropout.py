"""Exercise 12: dropout, and its scale.

In training, dropout sets a random part of the numbers to 0, so that no number can rely
on another being there. Outside training it does nothing.

    training:   y = x * mask * scale       mask: 0 or 1 for each entry, drawn anew
    otherwise:  y = x                      in every forward

    rate: the share that is dropped, such as 0.25; each entry of the mask is 0 with
    this probability, and 1 otherwise

        x       0.5   2.0   1.0   4.0
        mask     1     0     1     1          rate 0.25
        y       0.67  0.0   1.33  5.33

The scale. The next layer shall find numbers as large, on average, in training as
afterwards. The average of y over many masks is

    x * scale * (the average of the mask)

and must be x. The mask is 1 with probability 1 - rate. What is the scale?

Backward: once the mask is drawn, y is x times a constant, entry by entry. Nothing else
has to be known, but it must be the *same* mask as in forward; and outside training,
backward has no mask either.

Draw random numbers with self.rng, which is a generator of its own: its random(shape)
gives an array of numbers from 0 to 1, all equally likely. (A layer that draws from
np.random cannot be checked: it is another function at every call.) Mind the dtype of y.

Judge it: tinycnn exercises
"""

import numpy as np

from tinycnn.nn import Layer


class Dropout(Layer):
    def __init__(self, rate, seed=0):
        self.rate = rate
        self.rng = np.random.default_rng(seed)

    def forward(self, x, training=False):
        raise NotImplementedError("Dropout.forward")

    def backward(self, dy):
        raise NotImplementedError("Dropout.backward")
