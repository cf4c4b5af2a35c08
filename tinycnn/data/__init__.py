"""Digits to learn from. What goes wrong is a `DataError`."""

from tinycnn.data.idx import DataError, read_idx, read_pair, write_idx
from tinycnn.data.mnist import Digits, load_mnist, split_validation

__all__ = [
    "DataError",
    "Digits",
    "load_mnist",
    "read_idx",
    "read_pair",
    "split_validation",
    "write_idx",
]
