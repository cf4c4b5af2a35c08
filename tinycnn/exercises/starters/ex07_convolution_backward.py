"""Exercise 7: a convolution in loops, backward.

The forward of exercise 6 is a sum of products. Each of them

    y[n, oh, ow, f]  contains  x[n, h, w, c] * weight[kh, kw, c, f]
    with  h = oh * stride + kh  and  w = ow * stride + kw

is a wire from one pixel and one weight to one output. Backward goes along the same
wires, in the same loops, the other way:

        x[n, h, w, c] ----*----> y[n, oh, ow, f]       forward: product, added to y
                          |
                 weight[kh, kw, c, f]

        dx[n, h, w, c] <--*----- dy[n, oh, ow, f]      backward: what is added to dx,
                          v                            and what to dweight?
                 dweight[kh, kw, c, f]

Derivation. A pixel is part of several outputs: up to KH * KW * F of them, wherever the
kernel covers it. A weight is part of all N * OH * OW places. By the chain rule the
gradient is the sum over all wires that leave it,

    dL/dx[n, h, w, c] = sum over its wires of dy at the wire's end * slope of the wire

and the slope of a product by one factor is the other factor. The bias is part of every
output of its feature map, with slope 1.

You need not find out which wires leave a pixel: go through all of them, as forward did,
and at each add its share to the place where it belongs.

    dy: (N, OH, OW, F)     dx: like x, (N, H, W, C)
    dweight: like weight, (KH, KW, C, F)     dbias: (F,)

Nothing of dy, x and weight is edited. Judge it: tinycnn exercises
"""

import numpy as np


def convolve_backward(dy, x, weight, stride=1):
    """Return dx, dweight and dbias."""
    N, OH, OW, F = dy.shape
    KH, KW, C, F = weight.shape
    raise NotImplementedError("convolve_backward")
