"""Exercise 8: a convolution as one matrix product.

Seven loops in Python are slow. Three steps make the same sum one product:

    im2col     lay every patch of the image in a row of a matrix
    @          multiply all patches by all kernels at once
    col2im     on the way back: add every row's gradient to the patch it came from

     x (H, W)            cols: a row for each place of the kernel
    +-+-+-+-+            +-+-+-+-+       +-+
    |a|b|c|d|            |a|b|e|f|       |w|         weight, all of a kernel
    +-+-+-+-+    2x2     |b|c|f|g|   @   |w|  =  y   in one column: (KH*KW*C, F)
    |e|f|g|h|   ---->    |c|d|g|h|       |w|
    +-+-+-+-+            +-+-+-+-+       |w|
                                         +-+

Gap 1, im2col: no loop over places, only over kh and kw. The pixels that lie under cell
(kh, kw) of the kernel, for all places at once, are a slice of the image:

    cols[n, oh, ow, kh, kw, c] = x[n, oh * stride + kh, ow * stride + kw, c]

Fix kh and kw. When oh runs through 0 .. OH - 1, the row runs from kh in steps of
stride; where does the slice end, so that it has OH rows? The same for the columns.

Gap 2, col2im: im2col is linear, and its backward is the way back over the same wires
(exercise 7): the same two loops, the same slices on the other side of the assignment.
But a pixel lies in several patches. In the drawing, b lies in the first and the second.

Gap 3, Conv2D. In forward, with the shapes: cols is (N, OH, OW, KH, KW, C); as a matrix
it is (N*OH*OW, KH*KW*C); the weight as a matrix is (KH*KW*C, F), and y is their product
plus the bias, reshaped to (N, OH, OW, F).

Backward: this is Dense. With dy as a matrix (N*OH*OW, F), the gradients of weight and
bias and of "x", here the matrix cols, are the three lines of exercise 2, and col2im
brings the last of them back to the image.

Judge it: tinycnn exercises
"""

import numpy as np

from tinycnn.nn import Layer, Parameter


def im2col(x, KH, KW, stride=1):
    """Return every patch of x (N, H, W, C), as (N, OH, OW, KH, KW, C)."""
    N, H, W, C = x.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    cols = np.empty((N, OH, OW, KH, KW, C), x.dtype)
    raise NotImplementedError("im2col")


def col2im(cols, x_shape, stride=1):
    """Add every patch back to where it came from; return (N, H, W, C)."""
    N, OH, OW, KH, KW, C = cols.shape
    raise NotImplementedError("col2im")


class Conv2D(Layer):
    def __init__(self, in_channels, out_channels, kernel_size, *, stride=1, rng):
        KH, KW = np.broadcast_to(kernel_size, 2).tolist()  # 3 is a 3x3 kernel
        shape = (KH, KW, in_channels, out_channels)
        weight = np.sqrt(2 / (KH * KW * in_channels)) * rng.standard_normal(shape)
        self.weight = Parameter(weight.astype(np.float32), "weight")
        self.bias = Parameter(np.zeros(out_channels, np.float32), "bias")
        self.stride = stride

    def forward(self, x, training=False):
        KH, KW, C, F = self.weight.value.shape
        raise NotImplementedError("Conv2D.forward")

    def backward(self, dy):
        KH, KW, C, F = self.weight.value.shape
        N, OH, OW, F = dy.shape
        raise NotImplementedError("Conv2D.backward")
