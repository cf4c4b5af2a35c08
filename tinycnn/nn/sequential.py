"""Layers in a row: forward through the list, backward through it reversed.

It knows the order of the layers and the names under which their arrays are saved; it
does not know what any layer computes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from tinycnn.nn.layers import Array, Dropout, Layer, Parameter


class Sequential(Layer):
    """Layers applied one after the other; itself a layer.

    ``y = layer_n(... layer_1(layer_0(x)))``; by the chain rule the gradient runs
    through the layers in the opposite order.

    Parameters
    ----------
    layers : sequence of Layer
    seed : int
        For the masks of the dropout layers.
    fuse : bool
        Whether float32 goes through the `plan`, where several layers are one step. The
        results differ by rounding. False runs every layer as it is written.

    Attributes
    ----------
    layers : list of Layer
    fuse : bool
        May be assigned.
    """

    def __init__(
        self, layers: Sequence[Layer], seed: int = 0, *, fuse: bool = True
    ) -> None:
        self.layers = list(layers)
        self.fuse = fuse
        self.seed_dropout(seed)
        self._planned: list[Layer] = []
        self._plan: list[Layer] = []
        self._found: list[Parameter] = []
        self._ran: list[Layer] | None = None

    @property
    def plan(self) -> list[Layer]:
        """The steps that do the work of the layers: `tinycnn.fast.fuse`."""
        from tinycnn.fast.fuse import make_plan

        if self._planned != self.layers:
            self._planned, self._plan = list(self.layers), make_plan(self.layers)
            self._found = self.parameters()
        return self._plan

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map the input of the first layer to the output of the last."""
        plan = self.plan
        values = [x, *[parameter.value for parameter in self._found]]
        planned = self.fuse and all(value.dtype == np.float32 for value in values)
        self._ran = plan if planned else self.layers
        for step in self._ran:
            x = step.forward(x, training)
        return x

    def backward(self, dy: Array) -> Array:
        """Map the gradient of the output to that of the input."""
        if self._ran is None:
            raise RuntimeError("Sequential.backward needs a forward first")
        for step in reversed(self._ran):
            dy = step.backward(dy)
        return dy

    def backward_parameters(self, dy: Array) -> None:
        """Do what `backward` does, without the gradient of the input."""
        if self._ran is None:
            raise RuntimeError("Sequential.backward needs a forward first")
        for step in reversed(self._ran[1:]):
            dy = step.backward(dy)
        for step in self._ran[:1]:
            step.backward_parameters(dy)

    def predict(self, x: Array, batch_size: int = 250) -> Array:
        """Return ``forward(x)``, a batch at a time so that memory stays small.

        Parameters
        ----------
        x : float array (N, ...)
        batch_size : int

        Returns
        -------
        y : float array (N, ...)
        """
        starts = range(0, len(x), batch_size)
        return np.concatenate([self.forward(x[i : i + batch_size]) for i in starts])

    def parameters(self) -> list[Parameter]:
        """Return the parameters of all layers, in order."""
        return [p for layer in self.layers for p in layer.parameters()]

    def state(self) -> dict[str, Array]:
        """Return the live arrays of all layers, named like ``"3.weight"``."""
        return {
            f"{number}.{name}": array
            for number, layer in enumerate(self.layers)
            for name, array in layer.state().items()
        }

    def cast(self, dtype: DTypeLike) -> None:
        """Convert every layer's parameters and buffers to a dtype, in place."""
        for layer in self.layers:
            layer.cast(dtype)

    def seed_dropout(self, seed: int, step: int = 0, first: int = 0) -> None:
        """Give each dropout layer its number; set the seed and the step of their masks.

        Parameters
        ----------
        seed : int
        step : int
            How many training steps came before: a resumed run goes on from there.
        first : int
            The number of the first layer. A network within the network counts on in
            thousands of its own, so that no two dropout layers share a number.
        """
        for number, layer in enumerate(self.layers, start=first):
            if isinstance(layer, Dropout):
                layer.seed, layer.number, layer.step = seed, number, step
            elif isinstance(layer, Sequential):
                layer.seed_dropout(seed, step, first=1000 * (number + 1))

    def summary(self, input_shape: tuple[int, ...]) -> str:
        """Return a table: layer, output shape, parameters, multiply-adds.

        Multiply-adds are those of the forward pass of one image: every weight of rank
        two or more is used once at each position of its layer's output.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one input, without N: ``(28, 28, 1)``.

        Returns
        -------
        str
            One line a layer, a line of totals, and one with the steps of the plan.
        """
        x: Array = np.zeros((1, *input_shape), np.float32)
        rows = [("layer", "output shape", "parameters", "multiply-adds")]
        all_parameters = all_multiply_adds = 0
        for number, layer in enumerate(self.layers):
            x, multiply_adds = _forward_and_count(layer, x)
            parameters = sum(parameter.value.size for parameter in layer.parameters())
            shape = " × ".join(map(str, x.shape[1:]))
            name = f"{number} {type(layer).__name__}"
            rows.append((name, shape, f"{parameters:,}", f"{multiply_adds:,}"))
            all_parameters += parameters
            all_multiply_adds += multiply_adds
        rows.append(("total", "", f"{all_parameters:,}", f"{all_multiply_adds:,}"))
        table = "\n".join(f"{a:<24}{b:<16}{c:>12}{d:>16}" for a, b, c, d in rows)
        steps = ", ".join(type(step).__name__ for step in self.plan)
        return f"{table}\nfused: {steps}" if self.fuse else table


def _forward_and_count(layer: Layer, x: Array) -> tuple[Array, int]:
    """Return y and the multiply-adds it took."""
    if isinstance(layer, Sequential):
        total = 0
        for inner in layer.layers:
            x, count = _forward_and_count(inner, x)
            total += count
        return x, total
    y = layer.forward(x)
    positions = int(np.prod(y.shape[1:-1]))
    sizes = [p.value.size for p in layer.parameters() if p.value.ndim >= 2]
    return y, positions * sum(sizes)
