"""Optimizers, which turn gradients into steps, and learning-rate schedules."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from tinycnn.nn.layers import Array, Parameter, _alike, _kind

Schedule = Callable[[int], float]  # from the step, from 0, to the learning rate


class Optimizer:
    """The base class of optimizers: parameters, a learning rate, a count of steps.

    Parameters
    ----------
    parameters : sequence of Parameter
    learning_rate : float
        May be assigned between two steps; that is how a schedule is applied.

    Attributes
    ----------
    steps : int
        How many steps were taken.

    Raises
    ------
    ValueError
        If a setting is out of its range, or a parameter is given twice.
    """

    def __init__(self, parameters: Sequence[Parameter], learning_rate: float) -> None:
        if not (math.isfinite(learning_rate) and learning_rate >= 0):
            raise ValueError(
                f"learning_rate must be finite and at least 0, not {learning_rate}"
            )
        self.parameters = list(parameters)
        if len(set(map(id, self.parameters))) < len(self.parameters):
            raise ValueError("the optimizer was given one Parameter twice")
        self.learning_rate = learning_rate
        self.steps = 0
        self._like = [np.empty_like(p.value) for p in self.parameters]

    def step(self) -> None:
        """Update every parameter by its gradient.

        Raises ValueError if one has no gradient yet, or one of another shape or dtype.
        """
        for number, parameter in enumerate(self.parameters):
            like, value, grad = self._like[number], parameter.value, parameter.grad
            name = f"parameter {number} ({parameter.name})"
            if grad is None:
                raise ValueError(f"{name} has no gradient: run backward before step")
            if not (_alike(value, like) and _alike(grad, like)):
                raise ValueError(
                    f"{name} was {_kind(like)} when the optimizer was made, and is now "
                    f"{_kind(value)} with a gradient {_kind(grad)}"
                )
        self.steps += 1
        for number, parameter in enumerate(self.parameters):
            assert parameter.grad is not None
            self._update(number, parameter.value, parameter.grad)

    def state(self) -> dict[str, Array]:
        """Return name and live array of everything remembered between two steps."""
        raise NotImplementedError

    def _update(self, number: int, value: Array, grad: Array) -> None:
        """Change one parameter's ``value`` in place."""
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    ``velocity = momentum * velocity + grad`` and
    ``value -= learning_rate * velocity`` (Sutskever et al. 2013, equations 1 and 2,
    with the learning rate outside the velocity). The momentum lies in [0, 1); 0 is
    plain gradient descent. Otherwise as `Optimizer`.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        learning_rate: float,
        *,
        momentum: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), not {momentum}")
        self.momentum = momentum
        self._velocity = [np.zeros_like(p.value) for p in self.parameters]

    def state(self) -> dict[str, Array]:
        """Return the velocities, named like ``"0.velocity"``."""
        return {f"{i}.velocity": array for i, array in enumerate(self._velocity)}

    def _update(self, number: int, value: Array, grad: Array) -> None:
        velocity = self._velocity[number]
        velocity *= self.momentum
        velocity += grad
        value -= self.learning_rate * velocity


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1), with decoupled weight decay.

    ``m = beta1 * m + (1 - beta1) * grad`` and
    ``v = beta2 * v + (1 - beta2) * grad ** 2`` start at zero and are too small at
    first; divided by ``1 - beta ** steps`` they are not:

    ``value -= learning_rate * (m / (1 - beta1 ** steps))
    / (sqrt(v / (1 - beta2 ** steps)) + eps)``

    Decay shrinks weights of rank two and more, not biases and scales, by
    ``learning_rate * weight_decay`` a step, apart from the gradient (Loshchilov and
    Hutter 2019, algorithm 2). The betas lie in [0, 1), ``eps`` is positive and
    ``weight_decay`` at least 0. Otherwise as `Optimizer`. Why steps are divided:
    ``exercises/derivations.md``.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        learning_rate: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate)
        if not (0 <= beta1 < 1 and 0 <= beta2 < 1 and eps > 0 and weight_decay >= 0):
            raise ValueError(
                "Adam needs beta1 and beta2 in [0, 1), eps above 0 and weight_decay at "
                f"least 0, not {beta1}, {beta2}, {eps} and {weight_decay}"
            )
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.weight_decay = weight_decay
        self._m = [np.zeros_like(p.value) for p in self.parameters]
        self._v = [np.zeros_like(p.value) for p in self.parameters]

    def state(self) -> dict[str, Array]:
        """Return both moments of every parameter, named like ``"0.m"``, ``"0.v"``."""
        m = {f"{i}.m": array for i, array in enumerate(self._m)}
        return m | {f"{i}.v": array for i, array in enumerate(self._v)}

    def _update(self, number: int, value: Array, grad: Array) -> None:
        m, v = self._m[number], self._v[number]
        m += (1 - self.beta1) * (grad - m)
        v += (1 - self.beta2) * (grad * grad - v)
        unbiased_m = m / (1 - self.beta1**self.steps)
        unbiased_v = v / (1 - self.beta2**self.steps)
        if value.ndim >= 2:
            value *= 1 - self.learning_rate * self.weight_decay
        value -= self.learning_rate * unbiased_m / (np.sqrt(unbiased_v) + self.eps)


def cosine(learning_rate: float, steps: int) -> Schedule:
    """Return half a cosine from ``learning_rate`` down to 0 over ``steps`` steps.

    ``schedule(step) = learning_rate * (1 + cos(pi * step / steps)) / 2``
    (Loshchilov and Hutter 2017, equation 5, without restarts).
    """

    def schedule(step: int) -> float:
        return learning_rate * (1 + math.cos(math.pi * step / steps)) / 2

    return schedule


def one_cycle(learning_rate: float, steps: int, warm_up: float = 0.3) -> Schedule:
    """Return a rise from near 0 to ``learning_rate``, then a fall to 0.

    Both are half cosines over ``steps`` steps; the rise takes the share ``warm_up`` of
    them and starts at a twenty-fifth (Smith and Topin 2018, section 3, with cosines for
    lines).
    """
    rise = max(1, round(warm_up * steps))
    fall = cosine(learning_rate, max(1, steps - rise))

    def schedule(step: int) -> float:
        if step >= rise:
            return fall(step - rise)
        low = learning_rate / 25
        return low + (learning_rate - low) * (1 - math.cos(math.pi * step / rise)) / 2

    return schedule
