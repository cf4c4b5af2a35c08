"""A network that learns in milliseconds, and trainers of it on images made up here."""

import numpy as np

from tinycnn.nn import (
    Adam,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    ReLU,
    Sequential,
)
from tinycnn.threads import use_threads
from tinycnn.training.augment import Deformation
from tinycnn.training.fit import Trainer
from tinycnn.training.recipes import Recipe

COUNT, BATCH = 20, 8  # batches of 8, 8 and 4 images
RECIPE = Recipe(
    network="small",
    epochs=3,
    epochs_of_few=3,
    batch_size=BATCH,
    learning_rate=2e-3,
    weight_decay=0.01,
    label_smoothing=0.1,
    deformation=Deformation(rotation=10, scale=0.1, shear=0.1, shift=1),
)


def small_network(seed=0):
    """Return a network with batch norm, dropout, and layers that `fuse` merges."""
    rng = np.random.default_rng(seed)
    layers = [
        *(Conv2D(1, 3, 5, stride=3, rng=rng), ReLU(), MaxPool2D(2), BatchNorm2D(3)),
        *(Flatten(), Dropout(0.3), Dense(4 * 4 * 3, 10, rng=rng)),
    ]
    return Sequential(layers, seed)


def random_digits(count=COUNT, seed=0):
    """Return uint8 images (count, 28, 28) of noise, and labels (count,)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
    return images, rng.integers(0, 10, count).astype(np.uint8)


def new_trainer(
    recipe=RECIPE, seed=0, *, model=None, train=None, val=None, prepare=None
):
    """Return a trainer at its beginning, of the small network unless told otherwise."""
    use_threads()
    model = model or small_network(seed)
    adam = Adam(model.parameters(), weight_decay=recipe.weight_decay)
    data = *(train or random_digits()), *(val or random_digits(6, seed=1))
    return Trainer(recipe, seed, model, adam, *data, prepare=prepare)


def copy_of(state):
    """Return a copy of each array of a state."""
    return {name: array.copy() for name, array in state.items()}


def same(first, second):
    """Whether two states are equal bit for bit."""
    return first.keys() == second.keys() and all(
        first[name].tobytes() == second[name].tobytes() for name in first
    )
