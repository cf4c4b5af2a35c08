"""The training step: the reference solution."""

import numpy as np
from ex01_relu import ReLU
from ex02_dense import Dense
from ex03_loss import softmax_cross_entropy
from ex04_sgd import SGD

from tinycnn.nn import Flatten, Sequential

EPOCHS, BATCH_SIZE, LEARNING_RATE, MOMENTUM = 6, 32, 0.05, 0.9


def network(rng):
    """Return two dense layers with a ReLU between them."""
    return [Flatten(), Dense(28 * 28, 100, rng=rng), ReLU(), Dense(100, 10, rng=rng)]


def training_step(model, optimizer, images, labels):
    """Learn from one batch and return its loss."""
    logits = model.forward(images, training=True)
    loss, dlogits = softmax_cross_entropy(logits, labels)
    model.backward(dlogits)
    optimizer.step()
    return loss


def train_epoch(model, optimizer, images, labels, rng, batch_size=BATCH_SIZE):
    """Learn from every image once, in a random order; return the losses."""
    order = rng.permutation(len(images))
    losses = []
    for start in range(0, len(images), batch_size):
        batch = order[start : start + batch_size]
        losses.append(training_step(model, optimizer, images[batch], labels[batch]))
    return losses


def train(images, labels):
    """Return a network that has learned from images (N, 28, 28, 1)."""
    rng = np.random.default_rng(0)
    model = Sequential(network(rng))
    optimizer = SGD(model.parameters(), LEARNING_RATE, momentum=MOMENTUM)
    for epoch in range(EPOCHS):
        losses = train_epoch(model, optimizer, images, labels, rng)
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.3f}")
    return model
