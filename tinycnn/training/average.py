"""The moving average of a network's weights, which is better than the last weights.

Every step of training leaves the weights a little beside where they should be, each
time elsewhere. Averaged over many steps these errors cancel.
"""

import numpy as np

from tinycnn.nn.sequential import Sequential


class MovingAverage:
    """A network whose weights follow those of another, slowly.

    ``average = decay * average + (1 - decay) * weights`` after every step: a mean of
    the last ``1 / (1 - decay)`` steps or so, in which older weights fade (Polyak and
    Juditsky 1992 proved the plain mean optimal; with this decay it is that of Szegedy
    et al. 2016, section 8). Early in a run the decay is smaller, ``steps / (steps +
    10)``, so that the first weights, which are chance, are soon forgotten. Batch norm's
    running statistics are averaged like the weights they belong to.

    Parameters
    ----------
    source : Sequential
        The network that learns.
    model : Sequential
        Another of the same layers; its weights are overwritten.
    decay : float
        In (0, 1).

    Attributes
    ----------
    model : Sequential
        The average.
    """

    def __init__(self, source: Sequential, model: Sequential, decay: float) -> None:
        self.source, self.model, self.decay = source, model, decay
        weights = source.state()
        self._pairs = [(array, weights[name]) for name, array in model.state().items()]

    def update(self, steps: int) -> None:
        """Take one step towards the source, after so many earlier ones."""
        decay = min(self.decay, steps / (steps + 10))
        for average, array in self._pairs:
            average *= np.float32(decay)
            average += np.float32(1 - decay) * array
