"""Where digits come from: the IDX format, and MNIST or what stands in for it.

`load_mnist` finds or downloads the four files, or takes the bundled sample;
`read_images`, `read_labels` and `read_pair` read any IDX files; `split_validation` cuts
the training images. Everything that goes wrong is a `DataError`, which `IdxError` is
one of.

This room knows files and mirrors. It knows no layer, no picture file and no training.
"""

from tinycnn.data.idx import (
    DataError,
    IdxError,
    read_idx,
    read_images,
    read_labels,
    read_pair,
    write_idx,
)
from tinycnn.data.mnist import Digits, load_mnist, split_validation

__all__ = [
    "DataError",
    "Digits",
    "IdxError",
    "load_mnist",
    "read_idx",
    "read_images",
    "read_labels",
    "read_pair",
    "split_validation",
    "write_idx",
]
