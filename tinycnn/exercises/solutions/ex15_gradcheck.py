"""The gradient check: the reference solution."""


def slopes(loss, values, h=1e-5):
    found = np.zeros(values.shape)
    for at in np.ndindex(values.shape):
        kept = values[at]
        values[at] = kept + h
        above = loss()
        values[at] = kept - h
        below = loss()
        values[at] = kept
        found[at] = (above - below) / (2 * h)
    return found


def check(layer, x):
    dy = np.random.default_rng(0).standard_normal(layer.forward(x, training=True).shape)
    pairs = [("x", x, layer.backward(dy))]
    pairs += [(p.name, p.value, p.grad) for p in layer.parameters()]
    wrong = []
    for name, values, gradient in pairs:
        right = slopes(lambda: (dy * layer.forward(x, training=True)).sum(), values)
        if not abs(gradient - right).max() <= 1e-5 * abs(right).max():
            wrong.append(name)
    return wrong
