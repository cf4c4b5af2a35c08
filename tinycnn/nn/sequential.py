"""Layers in a row: forward through the list, backward through it reversed."""

import contextlib
import inspect
from collections.abc import Iterator, Sequence

import numpy as np

from tinycnn.nn.layers import Array, Dropout, Layer, Parameter, _alike, _check, _kind


class Sequential(Layer):
    """Layers applied one after the other; itself a layer.

    ``y = layer_n(... layer_1(layer_0(x)))``; by the chain rule the gradient runs
    through the layers in the opposite order.

    Parameters
    ----------
    layers : sequence of Layer
    seed : int
        For the masks of the dropout layers.

    Attributes
    ----------
    layers : tuple of Layer
    texts : tuple of str
        The layers as they were made, which a weights file keeps; see `Layer.__repr__`.

    Raises
    ------
    ValueError
        If an item is no layer, or a layer or a parameter is used in two places, where
        its gradients would overwrite each other; later, if layers do not fit.
    """

    def __init__(self, layers: Sequence[Layer], seed: int = 0) -> None:
        self.layers = tuple(layers)
        self.texts: tuple[str, ...] = tuple(
            f"Sequential{one.texts}" if isinstance(one, Sequential) else repr(one)
            for one in self.layers
        )
        self._shapes: dict[int, tuple[int, ...]] = {}  # of each layer's x
        places: dict[int, str] = {}
        for place, layer in enumerate(self.layers):
            with _named(place, layer):
                _check_layer(layer)
                layer.state()  # refuses names used twice
                for inner in _inner(layer):
                    _refuse_hidden_parameters(inner)
                for part in [*_inner(layer), *layer.parameters()]:
                    if id(part) in places:
                        raise ValueError(
                            f"{part} is used in layer {places[id(part)]} as well; make "
                            "one for each place"
                        )
                    places[id(part)] = f"{place} ({type(layer).__name__})"
        self.seed_dropout(seed)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map the input of the first layer to the output of the last."""
        self._memory = None
        for place, layer in enumerate(self.layers):
            with _named(place, layer):
                _check(layer, x, ("any",) * np.ndim(x))
                y = layer.forward(x, training)
                _check_output(x, y)
            self._shapes[place] = x.shape
            x = y
        return x

    def backward(self, dy: Array) -> Array:
        """Map the gradient of the output to that of the input."""
        if self._memory is not None:
            raise ValueError("a runner was the last to run forward; call its backward")
        for place, layer in reversed(list(enumerate(self.layers))):
            with _named(place, layer):
                dx = layer.backward(dy)
                _check_gradients(layer, dy, dx, self._shapes.get(place))
            dy = dx
        return dy

    def seed_dropout(self, seed: int, step: int = 0) -> None:
        """Seed the masks of dropout; ``step`` counts the training steps before."""
        for number, layer in enumerate(_inner(self)):
            if isinstance(layer, Dropout):
                layer.restart(seed, number, step)

    def __repr__(self) -> str:
        weights = sum(parameter.value.size for parameter in self.parameters())
        return f"Sequential({len(self.layers)} layers, {weights:,} weights)"

    def _parts(self) -> Iterator[tuple[str, Parameter | Layer]]:
        for place, layer in enumerate(self.layers):
            yield str(place), layer


def _inner(layer: Layer) -> list[Layer]:
    """Return a layer and all layers within it."""
    parts = [part for _, part in layer._parts() if isinstance(part, Layer)]
    return [layer, *(inner for part in parts for inner in _inner(part))]


def _refuse_hidden_parameters(layer: Layer) -> None:
    """Refuse parameters and layers in a list, where training would not find them."""
    for name, value in vars(layer).items():
        items = list(value.values()) if isinstance(value, dict) else value
        parts = items if isinstance(items, list | tuple | set) else ()
        if name != "layers" and any(isinstance(p, Parameter | Layer) for p in parts):
            raise ValueError(
                f"parameters or layers in {type(layer).__name__}.{name} would not be "
                "trained; make each an attribute"
            )


@contextlib.contextmanager
def _named(place: int, layer: Layer) -> Iterator[None]:
    """Begin the message of a ValueError with the layer's place in the network."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"layer {place} ({type(layer).__name__}): {error}") from error


def _check_layer(layer: Layer) -> None:
    """Refuse what is no layer, or lacks what a layer needs."""
    if isinstance(layer, type):
        raise ValueError(f"it is the class {layer.__name__}; write {layer.__name__}()")
    if not isinstance(layer, Layer):
        raise ValueError(f"it is {layer!r:.40}, which is no Layer")
    for method in ("forward", "backward"):
        if getattr(type(layer), method) is getattr(Layer, method):
            raise ValueError(f"it has no {method}")
    try:
        inspect.signature(layer.forward).bind(None, True)
    except TypeError:
        words = "forward needs two arguments, as in forward(self, x, training=False)"
        raise ValueError(words) from None


def _check_output(x: Array, y: Array, method: str = "forward") -> None:
    """Refuse a result that is no array, or of another dtype than the argument."""
    if not isinstance(y, np.ndarray):
        result = None if y is None else type(y).__name__
        raise ValueError(f"{method} returned {result}, which is no array")
    if y.dtype != x.dtype:
        raise ValueError(f"{method} was given {x.dtype} and returned {y.dtype}")


def _check_gradients(
    layer: Layer, dy: Array, dx: Array, shape: tuple[int, ...] | None
) -> None:
    """Refuse gradients of another dtype, or another shape than x and parameters."""
    _check_output(dy, dx, "backward")
    if dx.shape != shape:
        raise ValueError(f"backward returned {dx.shape} where x was {shape}")
    for parameter in layer.parameters():
        value, grad = parameter.value, parameter.grad
        if not _alike(grad, value):
            found = "no gradient" if grad is None else _kind(grad)
            raise ValueError(
                f"backward assigned {found} to {parameter}; the gradient must have the "
                "shape and the dtype of the parameter"
            )
