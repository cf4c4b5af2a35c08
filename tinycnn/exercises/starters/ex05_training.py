"""Exercise 5: the training step. Your own layers learn to read digits.

The network below is made of your ReLU and your Dense; your loss and your SGD train it.

    images (N, 28, 28, 1)
       |  Flatten            (N, 784)
       |  Dense              (N, 100)
       |  ReLU               (N, 100)
       |  Dense              (N, 10)
    logits ----> loss
       ^           |
       +- dlogits -+         and backward through all layers, from the last to the first

Sequential is a list of layers and itself a layer: model.forward(images, training=True)
returns the logits, model.backward(dlogits) assigns every parameter's gradient.

Gap 1, training_step: learn from one batch. Four statements:

    the logits of the images, with training=True
    the loss and its gradient for the logits
    backward, so that every parameter has its gradient
    a step of the optimizer

Gap 2, train_epoch: learn from every image once, in batches.

    order = rng.permutation(len(images)) is 0 .. N-1, shuffled. Cut it in pieces of
    batch_size; the last piece is shorter if N is no multiple of it, and counts too.
    images[piece] are the images of a batch, labels[piece] their labels.

The judge trains on the bundled sample (4,000 digits) and reads 1,000 others: at least
920 must be right. It takes a few seconds. Judge it: tinycnn exercises
"""

import numpy as np
from ex01_relu import ReLU
from ex02_dense import Dense
from ex03_loss import softmax_cross_entropy
from ex04_sgd import SGD

from tinycnn.nn import Flatten, Sequential

EPOCHS, BATCH_SIZE, LEARNING_RATE, MOMENTUM = 10, 32, 0.05, 0.9


def network(rng):
    """Return two dense layers with a ReLU between them."""
    return [Flatten(), Dense(28 * 28, 100, rng=rng), ReLU(), Dense(100, 10, rng=rng)]


def training_step(model, optimizer, images, labels):
    """Learn from one batch and return its loss."""
    raise NotImplementedError("training_step")


def train_epoch(model, optimizer, images, labels, rng, batch_size=BATCH_SIZE):
    """Learn from every image once, in a random order; return the list of losses."""
    raise NotImplementedError("train_epoch")


def train(images, labels):
    """Return a network that has learned from images (N, 28, 28, 1)."""
    rng = np.random.default_rng(0)
    model = Sequential(network(rng))
    optimizer = SGD(model.parameters(), LEARNING_RATE, momentum=MOMENTUM)
    for epoch in range(EPOCHS):
        losses = train_epoch(model, optimizer, images, labels, rng)
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.3f}")
    return model
