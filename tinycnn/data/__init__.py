"""Digits to learn from. What goes wrong is a `DataError`."""

from tinycnn.data.idx import DataError as DataError
from tinycnn.data.idx import read_idx as read_idx
from tinycnn.data.idx import read_pair as read_pair
from tinycnn.data.idx import write_idx as write_idx
from tinycnn.data.mnist import Digits as Digits
from tinycnn.data.mnist import load_mnist as load_mnist
from tinycnn.data.mnist import split_validation as split_validation
