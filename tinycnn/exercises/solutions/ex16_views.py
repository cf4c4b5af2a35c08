"""Five views and a learning curve: the reference solution."""


def moved(images, down, right):
    N, H, W, C = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return padded[:, 1 - down : 1 - down + H, 1 - right : 1 - right + W].copy()


def predict(model, images):
    return np.mean([model.forward(moved(images, *view)) for view in VIEWS], axis=0)


def learning_curve(train, images, labels, sizes):
    rest = len(images) - len(images) // 5
    if max(sizes) > rest:
        raise ValueError(f"{max(sizes)} of {rest} images cannot be learned from")
    errors = []
    for size in sizes:
        model = train(images[:size], labels[:size])
        digits = predict(model, images[rest:]).argmax(axis=1)
        errors.append(float((digits != labels[rest:]).mean()))
    return errors
