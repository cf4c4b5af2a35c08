"""The shipped reader, and digits to write with."""

import numpy as np
import pytest
from scipy import ndimage

from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.reading.reader import Reader


@pytest.fixture(scope="module")
def reader():
    return Reader()


@pytest.fixture(scope="module")
def glyphs():
    """Return a typical digit in one piece of each label, (10, 28, 28) in [0, 1]."""
    sample = load_mnist(SAMPLE_FOLDER)
    typical = []
    for label in range(10):
        images = sample.train_images[sample.train_labels == label] / np.float32(255)
        far = np.square(images - images.mean(axis=0)).sum(axis=(1, 2))
        nearest = images[far.argsort(kind="stable")]
        typical.append(next(i for i in nearest if ndimage.label(i >= 0.4)[1] == 1))
    return np.stack(typical)
