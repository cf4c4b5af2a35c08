"""Exercise 2: a dense layer, and gradients of parameters.

Every output is a weighted sum of all D inputs, for each row n of a batch of N:

    y[n, u] = sum over d of x[n, d] * weight[d, u]  +  bias[u]

    x: (N, D)      weight: (D, U)      bias: (U,)      y, dy: (N, U)

         D                 U                  U                U
      +-----+           +-----+            +-----+          +-----+
    N |  x  |   @     D |  w  |     +    1 |  b  |   =    N |  y  |
      +-----+           +-----+            +-----+          +-----+

backward(dy) has three results, each of the shape of what it is the gradient of:

    self.weight.grad  (D, U)      assigned, with =, never added to
    self.bias.grad    (U,)        assigned
    dx                (N, D)      returned

Derivation. L depends on a weight through every y that the weight is part of. The chain
rule sums over them:

    dL/dweight[d, u] = sum over n of dy[n, u] * (slope of y[n, u] by weight[d, u])

Column u of the weight is part of column u of y only, in every row n. Read the slope off
the formula at the top. The same for the other two:

    dL/dbias[u]      = sum over n of dy[n, u] * (slope of y[n, u] by bias[u])
    dL/dx[n, d]      = sum over u of dy[n, u] * (slope of y[n, u] by x[n, d])

Then write each sum as a product of matrices: in (a @ b)[i, j] = sum over k of
a[i, k] * b[k, j] the summed index is inside, and .T swaps the two indices of a matrix.
The shapes above leave one way only.

Input and output are float32. Judge it: tinycnn exercises
"""

import numpy as np

from tinycnn.nn import Layer, Parameter


class Dense(Layer):
    def __init__(self, in_features, out_features, *, rng):
        # Random weights of a size that keeps y as large as x (He et al. 2015).
        scale = np.sqrt(2 / in_features)
        weight = scale * rng.standard_normal((in_features, out_features))
        self.weight = Parameter(weight.astype(np.float32), "weight")
        self.bias = Parameter(np.zeros(out_features, np.float32), "bias")

    def forward(self, x, training=False):
        # self.weight.value is the array (D, U), self.bias.value the array (U,)
        raise NotImplementedError("Dense.forward")

    def backward(self, dy):
        raise NotImplementedError("Dense.backward")
