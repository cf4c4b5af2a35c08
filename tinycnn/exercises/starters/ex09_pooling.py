"""Exercise 9: max pooling, and ties.

Pooling keeps the largest number of every window of K x K pixels, channel by channel:

    y[n, oh, ow, c] = max over kh, kw of x[n, oh * stride + kh, ow * stride + kw, c]

    x: (N, H, W, C)     y, dy: (N, OH, OW, C)     dx: (N, H, W, C)

       x                    y            dy             dx
    1 5 | 2 0                                         0 a | ? 0
    3 4 | 0 2               5 2          a b          0 0 | 0 ?     a tie: 2 and 2
    ----+----      2x2                                ----+----
    7 7 | 1 0     ---->     7 1   dy:    c d          c 0 | d 0
    7 0 | 0 0                                         0 0 | 0 0

Derivation. Within a window, y moves with the largest pixel, with slope 1, and with none
of the others: the gradient goes to the cell that won, whole. Where two pixels tie there
is no derivative; one of them must get it, and only one, because all together the window
has one dy to give away. The rule here, as in the library: the first in row-major order
wins, that is the upper one, and of one row the left one. In the drawing there are two
tied 2 in the window at the top right: which of the two places marked ? receives b?

Windows may overlap, if stride is less than K. A cell that wins twice receives the sum.
Rows and columns that no whole window reaches get no gradient: 0.

You have all you need: im2col lays every window in a row, (N, OH, OW, K, K, C), and
col2im adds every row back. Reshape K, K to K * K. NumPy's argmax(axis) returns the
*first* place of the largest number; np.take_along_axis and np.put_along_axis read and
write at such places.

Input and output are float32. Judge it: tinycnn exercises
"""

import numpy as np
from ex08_im2col import col2im, im2col

from tinycnn.nn import Layer


class MaxPool2D(Layer):
    def __init__(self, kernel_size, *, stride=None):
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride

    def forward(self, x, training=False):
        K = self.kernel_size
        raise NotImplementedError("MaxPool2D.forward")

    def backward(self, dy):
        N, OH, OW, C = dy.shape
        K = self.kernel_size
        raise NotImplementedError("MaxPool2D.backward")
