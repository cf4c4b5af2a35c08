"""A hand-written convolutional network library that reads handwritten digits."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinycnn import nn
    from tinycnn.models import load
    from tinycnn.reading.reader import Reader

__all__ = ["Reader", "__version__", "load", "nn"]
__version__ = "0.1.0"
_HOMES = {"Reader": "reading.reader", "load": "models", "nn": "nn"}


def __getattr__(name: str) -> Any:
    """Import what is asked for; so that ``--help`` answers before NumPy is loaded."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tinycnn' has no attribute {name!r}")
    module = import_module(f"tinycnn.{_HOMES[name]}")
    return module if name == "nn" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
