"""Digits to learn from. What goes wrong is a `DataError`, as `IdxError` is."""

from tinycnn.data.idx import DataError, IdxError, read_idx, read_pair, write_idx
from tinycnn.data.mnist import Digits, load_mnist, split_validation

__all__ = [
    "DataError",
    "Digits",
    "IdxError",
    "load_mnist",
    "read_idx",
    "read_pair",
    "split_validation",
    "write_idx",
]
