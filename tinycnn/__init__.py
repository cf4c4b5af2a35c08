"""A hand-written convolutional network library that reads handwritten digits."""

# Nothing is imported here, so that ``--help`` answers before NumPy is loaded.
__version__ = "0.1.0"
