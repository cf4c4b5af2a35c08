"""The convolutional network: the reference solution."""


def network(rng):
    return [
        Conv2D(1, 8, 5, rng=rng),
        ReLU(),
        MaxPool2D(2),
        Conv2D(8, 16, 3, rng=rng),
        ReLU(),
        MaxPool2D(2),
        Flatten(),
        Dense(5 * 5 * 16, 10, rng=rng),
    ]
