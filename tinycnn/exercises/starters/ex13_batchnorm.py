"""Exercise 13: batch norm, the full backward.

Batch norm gives every channel the mean bias and the standard deviation weight, over all
M = N * H * W values of the channel in this batch. For one channel:

    mean  = 1/M * sum of x                      x, y, dy, dx: (N, H, W, C)
    var   = 1/M * sum of (x - mean)^2           mean, var, std, weight, bias: (C,)
    std   = sqrt(var + eps)
    x_hat = (x - mean) / std
    y     = weight * x_hat + bias

In training, mean and var are those of the batch, and their running averages are kept;
outside training the running averages take their place, and are constants. forward, with
the averages, is given. The gap is backward.

Weight and bias are as in Dense, channel by channel: each is part of all M values.

Input. Let d = weight * dy, the gradient of x_hat. One value x[i] moves all M values of
x_hat, on three ways:

    x[i] ----------------> x_hat[i]            its own place       slope  1 / std
      |                                                                  (1)
      +----> mean -------> x_hat[m], all m     d mean / d x[i] = 1 / M
      |                                        slope of x_hat[m] by mean  -1 / std
      |                                                                  (2)
      +----> std  -------> x_hat[m], all m     d std / d x[i] = x_hat[i] / M
                                               slope of x_hat[m] by std  -x_hat[m]/std
                                                                         (3)
The chain rule multiplies along a way and sums over the places where it ends:

    dx[i] = 1/std * d[i]                                            (1)
            + sum over m of d[m] * ...                              (2)
            + sum over m of d[m] * ...                              (3)

Write (2) and (3) down. In each, something does not depend on m and goes before the sum;
what is left of the sums are the gradients of bias and weight, up to a factor, which you
have computed already. Outside training, ways (2) and (3) do not exist.

The slope of std, if you want to check it: d var / d x[i] = 2 / M * (x[i] - mean), and
the root halves it. NumPy: axis=(0, 1, 2) sums over all but the channels.

Judge it: tinycnn exercises
"""

import numpy as np

from tinycnn.nn import Layer, Parameter


class BatchNorm2D(Layer):
    buffer_names = ("running_mean", "running_var")  # saved, but not trained
    eps = 1e-5

    def __init__(self, channels, *, momentum=0.1):
        self.momentum = momentum
        self.weight = Parameter(np.ones(channels, np.float32), "weight")
        self.bias = Parameter(np.zeros(channels, np.float32), "bias")
        self.running_mean = np.zeros(channels, np.float32)
        self.running_var = np.ones(channels, np.float32)

    def forward(self, x, training=False):
        mean, var = self.running_mean, self.running_var
        if training:
            mean, var = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
            self.running_mean += self.momentum * (mean - self.running_mean)
            self.running_var += self.momentum * (var - self.running_var)
        self._training = training
        self._std = np.sqrt(var + self.eps)
        self._x_hat = (x - mean) / self._std
        return self.weight.value * self._x_hat + self.bias.value

    def backward(self, dy):
        # self._training, self._std (C,) and self._x_hat (N, H, W, C) are from forward
        raise NotImplementedError("BatchNorm2D.backward")
