"""Exercise 10: your convolutional network learns to read digits.

The dense network of exercise 5 does not know that two pixels are neighbours. This one
looks at patches, and at patches of patches. All of its layers are yours.

    images              (N, 28, 28,  1)
      Conv2D 5x5,  8    (N,  ?,  ?,  8)      what does a 5x5 kernel leave of 28?
      ReLU
      MaxPool2D 2       (N,  ?,  ?,  8)      half as many
      Conv2D 3x3, 16    (N,  ?,  ?, 16)
      ReLU
      MaxPool2D 2       (N,  ?,  ?, 16)
      Flatten           (N, ?)               all the rest in one row
      Dense             (N, 10)              one logit a class; softmax is in the loss
    logits

The gap is the list. Work out the sizes on paper: without padding and with stride 1, a
K x K kernel leaves H - K + 1 of H rows, and a 2 x 2 window half of them. Dense needs
the length of its rows. Other numbers of kernels, and other layers between, are welcome.

The judge trains on the bundled sample (4,000 digits) and reads 1,000 others: at least
960 must be right. It takes 10 to 30 seconds. Judge it: tinycnn exercises
"""

import numpy as np
from ex01_relu import ReLU
from ex02_dense import Dense
from ex04_sgd import SGD
from ex05_training import train_epoch
from ex08_im2col import Conv2D
from ex09_pooling import MaxPool2D

from tinycnn.nn import Flatten, Sequential

EPOCHS, BATCH_SIZE, LEARNING_RATE, MOMENTUM = 8, 32, 0.05, 0.9


def network(rng):
    """Return the layers, from images (N, 28, 28, 1) to logits (N, 10)."""
    raise NotImplementedError("network")


def train(images, labels):
    """Return a network that has learned from images (N, 28, 28, 1)."""
    rng = np.random.default_rng(0)
    model = Sequential(network(rng))
    optimizer = SGD(model.parameters(), LEARNING_RATE, momentum=MOMENTUM)
    for epoch in range(EPOCHS):
        optimizer.learning_rate = LEARNING_RATE * (1 - epoch / EPOCHS)
        losses = train_epoch(model, optimizer, images, labels, rng, BATCH_SIZE)
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.3f}", flush=True)
    return model
