"""Answers that learners give: changes of the reference solutions, by exercise.

``WRONG[name]`` has triples: the lines as they are right, as they are wrong, and
what the judge's message must contain. ``RIGHT[name]`` has pairs: other right answers.
"""

RELU_FORWARD = "        return np.maximum(x, 0)\n"
LOSS_END = (
    "    dlogits = np.exp(log_p)\n    dlogits[rows, labels] -= 1\n    dlogits /= N\n"
)
SGD_STEP = (
    "            self.velocity[i] = self.momentum * self.velocity[i] + p.grad\n"
    "            p.value -= self.learning_rate * self.velocity[i]\n"
)
STEP = "    model.backward(dlogits)\n    optimizer.step()\n"

WRONG = {
    "relu": [
        ("np.maximum(x, 0)", "abs(x)", "that is |x|"),
        ("np.maximum(x, 0)", "np.minimum(x, 0)", "keeps the negative numbers"),
        ("np.maximum(x, 0)", "x.copy()", "x unchanged"),
        ("np.maximum(x, 0)", "(x > 0).astype(x.dtype)", "says where x is positive"),
        ("np.maximum(x, 0)", "np.maximum(x, np.float64(0))", "float64"),
        ("np.maximum(x, 0)", "np.max(x, 0)", "the shape (4, 5)"),
        ("return np.maximum(x, 0)", "np.maximum(x, 0)", "forward is None"),
        (
            RELU_FORWARD,
            "        x[x < 0] = 0\n        return x.copy()\n",
            "forward edits x",
        ),
        ("return dy * self.positive", "return dy.copy()", "that is dy itself"),
        ("dy * self.positive", "dy * ~self.positive", "turn it round"),
        ("return dy * self.positive", "return self.positive * 1", "the slope alone"),
        (
            "return dy * self.positive",
            "return self.positive.astype(dy.dtype)",
            "the slope alone",
        ),
        ("dy * self.positive", "np.maximum(dy, 0)", "where dy is positive"),
        (
            "self.positive = x > 0",
            "self.positive = np.maximum(x, 0)",
            "multiplies by x",
        ),
        ("self.positive = x > 0", "self.positive = x >= 0", "is >= meant to be >"),
        ("return dy * self.positive", "dy * self.positive", "return dx"),
        (
            "return dy * self.positive",
            "dy[~self.positive] = 0\n        return dy",
            "edits dy",
        ),
        ("dy * self.positive", "-dy * self.positive", "the wrong sign"),
        ("dy * self.positive", "dy * self.mask", "is the name the same?"),
    ],
    "dense": [
        ("self.weight.value + self.bias.value", "self.weight.value", "bias is missing"),
        (" + self.bias.value", " - self.bias.value", "bias is subtracted"),
        ("x @ self.weight.value", "self.weight.value @ x", "is a transpose missing"),
        ("x @ self.weight.value", "x @ self.weight.value.T", "is a transpose missing"),
        ("self.x.T @ dy", "dy.T @ self.x", "that is transposed"),
        ("self.x.T @ dy", "self.x @ dy", "is a transpose missing"),
        ("self.x.T @ dy", "self.x.T @ dy / len(dy)", "mean over the rows"),
        ("self.x.T @ dy", "-self.x.T @ dy", "the wrong sign"),
        ("self.x.T @ dy", "2 * self.x.T @ dy", "2 times what it should be"),
        ("dy.sum(axis=0)", "dy.mean(axis=0)", "mean over the rows"),
        ("dy.sum(axis=0)", "dy.sum(axis=1)", "over the wrong axis"),
        ("dy.sum(axis=0)", "dy", "sum it over the rows"),
        ("dy.sum(axis=0)", "dy.sum()", "the sum runs over all of dy"),
        ("dy.sum(axis=0)", "dy.sum(axis=0, keepdims=True)", "an axis too many"),
        ("dy @ self.weight.value.T", "dy @ self.weight.value", "transpose missing"),
        ("return dy @ self", "dy @ self", "return dx"),
        ("        self.bias.grad = dy.sum(axis=0)\n", "", "nothing to bias.grad"),
        ("self.weight.grad =", "self.weight.grad +=", "with = and not +="),
        ("self.x.T @ dy", "(self.x.astype(float)).T @ dy", "float64"),
        (
            "        return dy @",
            "        self.weight.value -= 0.1 * self.weight.grad\n        return dy @",
            "the optimizer changes values",
        ),
        (
            "self.bias.grad = dy",
            "dy *= 0.5\n        self.bias.grad = dy",
            "edits dy",
        ),
    ],
    "loss": [
        (".mean()", ".sum()", "sum over the images"),
        ("loss = -", "loss = ", "a logarithm of p is negative"),
        (".mean()", "", "should be one number"),
        ("-log_p[rows, labels].mean()", "-log_p.mean()", "averages over all classes"),
        ("log_p[rows, labels]", "np.exp(log_p)[rows, labels]", "the loss is"),
        ("-log_p[rows, labels]", "-logits[rows, labels]", "softmax is missing"),
        ("    dlogits /= N\n", "", "1/N of the mean is missing"),
        ("    dlogits[rows, labels] -= 1\n", "", "1 must be subtracted at the label"),
        ("labels] -= 1\n", "labels] -= 1\n    dlogits *= -1\n", "p less the target"),
        ("dlogits /= N", "dlogits /= dlogits.size", "divide by N"),
        ("dlogits /= N", "dlogits /= N * N", "divides by N twice"),
        (
            "dlogits[rows, labels] -= 1\n    dlogits /= N",
            "dlogits[rows, labels] -= 1 / N",
            "belongs to p as well",
        ),
        ("dlogits[rows, labels] -= 1", "dlogits[rows, 1] -= 1", "entries are wrong"),
        ("np.exp(log_p)", "np.exp(log_p.astype(float))", "float64"),
        ("logits - logits.max(axis=1, keepdims=True)", "logits", "logits of 1000"),
        ("    shifted =", "    logits -= 1\n    shifted =", "edits its arguments"),
        ("return loss, dlogits", "return dlogits", "not two results"),
        (".max(axis=1, keepdims=True)", ".max(axis=1)", "is the right axis summed"),
        ("exp(shifted).sum(axis=1,", "exp(shifted).sum(axis=0,", "the loss is"),
    ],
    "sgd": [
        ("p.value -=", "p.value +=", "goes uphill"),
        ("self.learning_rate * self.velocity[i]", "self.velocity[i]", "is missing"),
        ("p.value -=", "p.value = -", "replaced, not changed"),
        ("p.value -=", "value = p.value -", "nothing has changed"),
        ("+ p.grad", "+ (1 - self.momentum) * p.grad", "not to be scaled"),
        ("self.momentum * self.velocity[i] + p.grad", "p.grad", "from step to step"),
        ("self.momentum * self.velocity[i]", "self.velocity[i]", "never scaled"),
        ("* self.velocity[i] + p.grad", "* self.velocity[i] - p.grad", "uphill"),
        (
            SGD_STEP,
            "\n".join(SGD_STEP.splitlines()[::-1]) + "\n",
            "nothing has changed",
        ),
        (
            SGD_STEP,
            SGD_STEP.replace("+ p.grad", "+ self.learning_rate * p.grad").replace(
                "-= self.learning_rate * ", "-= "
            ),
            "inside the velocity",
        ),
        ("-= self.learning_rate *", "-= 0.5 *", "learning rate of the start"),
        (
            "self.velocity[i] = self.momentum * self.velocity[i] + p.grad",
            (
                "p.grad += self.momentum * self.velocity[i]\n"
                "            self.velocity[i] = p.grad"
            ),
            "changes p.grad",
        ),
        ("p.value -=", "p.value = p.value.astype(float) -", "float64"),
    ],
    "training": [
        ("    model.backward(dlogits)\n", "", "backward is missing"),
        ("    optimizer.step()\n", "", "step is missing"),
        (STEP, "    optimizer.step()\n    model.backward(dlogits)\n", "in this order"),
        ("training=True", "training=False", "with training=True"),
        ("backward(dlogits)", "backward(loss)", "that is the loss"),
        ("backward(dlogits)", "backward(logits)", "those are the logits"),
        ("    return loss\n", "", "return the loss"),
        ("    return losses\n", "", "return the list of losses"),
        ("rng.permutation(len(images))", "np.arange(len(images))", "does not shuffle"),
        (
            "range(0, len(images), batch_size)",
            "range(0, len(images) - batch_size + 1, batch_size)",
            "leaves out the last batch",
        ),
        ("labels[batch]))", "labels[start : start + batch_size]))", "shuffled apart"),
        (
            "batch = order[start : start + batch_size]",
            "batch = rng.integers(0, len(images), batch_size)[: len(images) - start]",
            "each of 70 images once",
        ),
        (
            "start : start + batch_size]",
            "start : start + batch_size // 2]",
            "each of 70 images once",
        ),
        ("0.05, 0.9", "1e-5, 0.0", "at least 92%"),
        ("0.05, 0.9", "np.float32(np.nan), 0.9", "the network has diverged"),
    ],
}

RIGHT = {
    "relu": [
        ("np.maximum(x, 0)", "np.where(x > 0, x, 0)"),
        ("np.maximum(x, 0)", "x * (x > 0)"),
        ("dy * self.positive", "np.where(self.positive, dy, 0)"),
        (
            RELU_FORWARD,
            "        y = x.copy()\n        y[x < 0] = 0\n        return y\n",
        ),
    ],
    "dense": [
        ("self.x.T @ dy", "(dy.T @ self.x).T"),
        ("dy @ self.weight.value.T", "(self.weight.value @ dy.T).T"),
        ("self.x.T @ dy", 'np.einsum("nd,nu->du", self.x, dy)'),
        ("dy.sum(axis=0)", "np.ones(len(dy), dy.dtype) @ dy"),
    ],
    "loss": [
        ("-log_p[rows, labels].mean()", "-float(log_p[rows, labels].sum() / N)"),
        ("dlogits[rows, labels] -= 1", "dlogits -= labels[:, None] == np.arange(4)"),
        (
            LOSS_END,
            LOSS_END.replace("    dlogits /= N\n", "    dlogits = dlogits / N\n"),
        ),
    ],
    "sgd": [
        ("p.value -= self.learning_rate", "p.value = p.value - self.learning_rate"),
        (
            "self.velocity[i] = self.momentum * self.velocity[i] + p.grad",
            "self.velocity[i] *= self.momentum\n            self.velocity[i] += p.grad",
        ),
        ("np.zeros_like(p.value) for", "0 for"),
    ],
    "training": [
        (
            (
                "for start in range(0, len(images), batch_size):\n"
                "        batch = order[start : start + batch_size]\n"
            ),
            (
                "cuts = range(batch_size, len(order), batch_size)\n"
                "    for batch in np.split(order, cuts):\n"
            ),
        ),
        ("labels)\n    model", "labels)\n    dlogits = 1 * dlogits\n    model"),
        ("rng.permutation(len(images))", "rng.permuted(np.arange(len(images)))"),
    ],
}
