"""The network in the window: the reference solution."""


def network(rng):
    return [
        Conv2D(1, 8, 5, rng=rng),
        ReLU(),
        MaxPool2D(2),
        BatchNorm2D(8),
        Conv2D(8, 16, 3, rng=rng),
        ReLU(),
        MaxPool2D(2),
        BatchNorm2D(16),
        Flatten(),
        Dropout(0.2),
        Dense(5 * 5 * 16, 10, rng=rng),
    ]


def save(model, path):
    save_weights(path, model, {"network": "mine"})
