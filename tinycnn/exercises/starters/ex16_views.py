"""Exercise 16: five views and a learning curve.

Five views. A digit that is moved by one pixel is the same digit, but the network's
logits are a little different: part of what it says is chance. So ask it five times, for
the image where it is and moved by one pixel up, down, left and right, and take the mean
of the five logits: of chance, a mean has less.

    down = 1                       right = -1
    1 2 3        0 0 0             1 2 3        2 3 0
    4 5 6   ->   1 2 3             4 5 6   ->   5 6 0      what comes in is 0: paper
    7 8 9        4 5 6             7 8 9        8 9 0

Gap 1, moved(images, down, right): images (N, H, W, C) moved by that many pixels, -1, 0
or 1 each; new memory, the same shape and dtype.
Gap 2, predict(model, images): the mean of the logits (N, K) of five views.

A learning curve. Would more data help? Train the same network on more and more images,
and look at its error on images that no training has seen, always the same ones:

    images    error
       250    11.2 %   ======================
       500     7.1 %   ==============
      1000     4.6 %   =========
      2000     2.9 %   ======          if it still falls: yes; twice the data helps

The test images are not for this: what is chosen by looking at them is no longer tested
by them. Hold out a part of the training images instead, here the last fifth.

Gap 3, learning_curve(train, images, labels, sizes): train(images, labels) returns a
model. Hold out the last fifth of the images, len(images) // 5 of them; for each size,
train on the first `size` of the others, anew; return a list with the share of held-out
images that predict reads wrong, a number from 0 to 1 for each size. Raise ValueError if
a size is larger than what is not held out: or some images would be in both parts.

Judge it: tinycnn exercises. Then draw the curve of your network of exercise 10, and
see what five views change, in 10 to 30 seconds: python ex16_views.py
"""

import numpy as np
from ex10_cnn import train as train_cnn

from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.models import as_input

VIEWS = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)]  # down, right


def moved(images, down, right):
    """Return the images moved by one pixel or none."""
    raise NotImplementedError("moved")


def predict(model, images):
    """Return the mean of the logits of five views."""
    raise NotImplementedError("predict")


def learning_curve(train, images, labels, sizes):
    """Return the share of held-out images that is wrong, for each size."""
    raise NotImplementedError("learning_curve")


if __name__ == "__main__":
    digits = load_mnist(SAMPLE_FOLDER)
    images, labels = as_input(digits.train_images), digits.train_labels.astype(int)
    sizes = [len(images) // part for part in (16, 8, 4, 2)]
    errors = learning_curve(train_cnn, images, labels, sizes)
    for size, error in zip(sizes, errors, strict=True):
        print(f"{size:6} images {error:7.1%}  {'=' * round(200 * error)}")
    model = train_cnn(images, labels)
    images, labels = as_input(digits.test_images), digits.test_labels
    for views, logits in (1, model.forward(images)), (5, predict(model, images)):
        wrong = (logits.argmax(axis=1) != labels).sum()
        print(f"by the mean of {views}: {wrong} of {len(labels)} are read wrong")
