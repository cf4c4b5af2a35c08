"""Exercise 1: ReLU, and what a layer is.

A layer is a differentiable function of one array.

    forward(x)    returns y, and keeps in self what backward will need, under a name
                  that begins with _ (others are settings of the layer)
    backward(dy)  is given dL/dy, the gradient of the loss L for every entry of y,
                  and returns dx = dL/dx, of the shape of x

ReLU keeps the positive numbers and replaces the others by 0:

    y = max(x, 0), entry by entry                 x, y, dy, dx: (N, ...), one shape

       y |        /          x    -2.0   0.5   0.0   3.0
         |       /           y     0.0   0.5   0.0   3.0
         |      /            dy    0.1   0.2   0.3   0.4
    _____|_____/             dx    0.0   0.2    ?    0.4
         0        x

Derivation. y[i] depends on x[i] alone, so the chain rule has one term:

    dL/dx[i] = dL/dy[i] * (slope of y[i] with respect to x[i])

dL/dy[i] is given: it is dy[i]. What is left is the slope of the curve above, at x[i]:
it has one value where x is positive and another where x is negative. At 0 exactly the
curve has a corner and no slope; take 0 there, as everyone does.

Neither method edits its argument. Input and output are float32.
Judge it: tinycnn exercises
"""

import numpy as np

from tinycnn.nn import Layer


class ReLU(Layer):
    def forward(self, x, training=False):
        raise NotImplementedError("ReLU.forward")

    def backward(self, dy):
        raise NotImplementedError("ReLU.backward")
