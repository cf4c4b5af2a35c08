r"""Exercise 4: stochastic gradient descent with momentum.

The gradient points to where the loss grows. An optimizer goes the other way:

    value = value - learning_rate * grad

In a narrow valley this zigzags from wall to wall. Momentum remembers earlier steps and
lets the zigzag cancel out:

    velocity = momentum * velocity + grad             velocity starts at 0
    value    = value - learning_rate * velocity       with the new velocity

    without:  \  /\  /\  /\  /         with:   \
               \/  \/  \/  \/                   \__.-----.____

Each parameter has a velocity of its own, with the same shape and dtype.

    parameters: list of Parameter, each with .value and .grad (of one shape, float32)
    learning_rate: may be changed between two steps: optimizer.learning_rate = 0.1
    momentum: from 0 (plain descent) up to, not including, 1

An example, with momentum 0.5 and learning_rate 0.1, a gradient of 1 in each step:

    step        1        2        3
    velocity    1.0      1.5      1.75
    value       2.0 ->   1.9      1.75     1.575

step() changes each p.value and leaves each p.grad as it is. Judge it: tinycnn exercises
"""

import numpy as np


class SGD:
    def __init__(self, parameters, learning_rate, *, momentum=0.0):
        self.parameters = list(parameters)
        self.learning_rate = learning_rate
        self.momentum = momentum
        raise NotImplementedError("SGD.__init__: the velocities")

    def step(self):
        raise NotImplementedError("SGD.step")
