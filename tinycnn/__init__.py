"""A hand-written convolutional network library that reads handwritten digits.

Importing this package imports nothing else: the commands answer ``--help`` before
NumPy is loaded. The mathematics is in `tinycnn.nn`, the digits in `tinycnn.data`,
learning in `tinycnn.training`.
"""

__version__ = "0.1.0"
