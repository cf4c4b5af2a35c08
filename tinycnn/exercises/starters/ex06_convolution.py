"""Exercise 6: a convolution in loops, forward.

A kernel, a small array of weights, slides over the image. At every place the pixels
under it are multiplied by its weights and summed: one number of the output.

    y[n, oh, ow, f] = bias[f] + sum over kh, kw, c of
                      x[n, oh * stride + kh, ow * stride + kw, c] * weight[kh, kw, c, f]

    x: (N, H, W, C)          N images of H rows, W columns, C channels
    weight: (KH, KW, C, F)   F kernels of KH rows, KW columns, C channels
    bias: (F,)
    y: (N, OH, OW, F)        F feature maps: how much each kernel finds, at each place

One channel, a 2x2 kernel, stride 1:

      x                 weight         y
    1 2 0 1             1 0            1*1 + 2*0 + 0*0 + 3*2 = 7   2 + 0 + 0 + 2 = 4 ...
    0 3 1 0             0 2            .
    2 1 1 2
                 the kernel's first place is rows 0 and 1, columns 0 and 1

How many places are there? The kernel's first row stands at 0, stride, 2 * stride, ...
and its last row, KH - 1 further down, must not leave the image: the first row is at
most H - KH. Count the multiples of stride from 0 to H - KH: that is OH. In the drawing
it is 2, and OW is 3. There is no padding.

The kernel is not flipped (strictly, this is a cross-correlation). The result has
the dtype of x. Write the sum as it stands there, in loops; speed is for later.

Judge it: tinycnn exercises
"""

import numpy as np


def convolve(x, weight, bias, stride=1):
    """Return the feature maps (N, OH, OW, F) of images (N, H, W, C)."""
    N, H, W, C = x.shape
    KH, KW, C, F = weight.shape
    raise NotImplementedError("convolve")
