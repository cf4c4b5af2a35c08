"""Exercise 15: the gradient check itself.

All the time a judge has compared your backward with the definition of the derivative.
Now you write it. The loss of the check is made up: for any dy of the shape of y,

    L = sum of dy * y              so that the gradient of L by y is dy

and backward(dy) must give the gradient of L by x, and by each parameter. The definition
says the same with forward alone. For one entry v of an array, and a small step h,

    slope = (L(v + h) - L(v - h)) / (2 h)          centred: the error shrinks as h^2

    L                 .                   (L(v + h) - L(v)) / h, one-sided, is worse:
    |             . /                     its error shrinks as h only
    |         . - /
    |     .   /
    +---------|----|----|-----            h = 1e-5 is good in float64; in float32 the
            v-h    v   v+h                rounding of L alone is larger than what moves

Gap 1, slopes(loss, values): loss() computes L from an array values, which it uses as it
is at the moment. Move one entry of values after the other, up and down, in place; put
each back exactly; return the slopes, an array of the shape of values.

Gap 2, check(layer, x): return a list of the names of all wrong gradients: "x" and the
names of parameters (p.name, for p in layer.parameters()); [] if the layer is right. All
arrays of layer and x are float64. Call forward(x, training=True).

    1. y = layer.forward(...), dx = layer.backward(dy): what is to be checked. dy must
       be random: with dy = 1 everywhere, many a mistake cancels in the sum.
    2. For x, and for the value of each parameter p (which is p.value; its gradient by
       backward is p.grad): the slopes by definition. loss calls forward anew.
    3. Compare entry by entry, with one tolerance for all sizes: gradients can be 1e-8
       or 1e+8 as a whole, so divide by the largest of them. And an entry that is NaN is
       wrong, but every comparison with NaN is False.

       error = max |backward - slopes| / max |slopes|        wrong if not below 1e-5

    Mind a gradient that is 0 everywhere, and right: 0 / 0.

The judge gives check five right layers, which must pass, and ten faults, each of which
must be named. Judge it: tinycnn exercises
"""

import numpy as np


def slopes(loss, values, h=1e-5):
    """Return the slope of loss() by each entry of an array."""
    raise NotImplementedError("slopes")


def check(layer, x):
    """Return the names of the gradients that are wrong."""
    dy = np.random.default_rng(0).standard_normal(layer.forward(x, training=True).shape)
    raise NotImplementedError("check")
