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
        ("return np.maximum(x, 0)", "np.maximum(x, 0)", "forward: y is None"),
        (
            RELU_FORWARD,
            "        x[x < 0] = 0\n        return x.copy()\n",
            "forward edits x",
        ),
        ("return dy * self._positive", "return dy.copy()", "that is dy itself"),
        ("dy * self._positive", "dy * ~self._positive", "turn it round"),
        ("return dy * self._positive", "return self._positive * 1", "the slope alone"),
        (
            "return dy * self._positive",
            "return self._positive.astype(dy.dtype)",
            "the slope alone",
        ),
        ("dy * self._positive", "np.maximum(dy, 0)", "where dy is positive"),
        (
            "self._positive = x > 0",
            "self._positive = np.maximum(x, 0)",
            "multiplies by x",
        ),
        ("self._positive = x > 0", "self._positive = x >= 0", "is >= meant to be >"),
        ("return dy * self._positive", "dy * self._positive", "return dx"),
        (
            "return dy * self._positive",
            "dy[~self._positive] = 0\n        return dy",
            "edits dy",
        ),
        ("dy * self._positive", "-dy * self._positive", "the wrong sign"),
        ("dy * self._positive", "dy * self._mask", "is the name the same?"),
    ],
    "dense": [
        ("self.weight.value + self.bias.value", "self.weight.value", "bias is missing"),
        (" + self.bias.value", " - self.bias.value", "bias is subtracted"),
        ("x @ self.weight.value", "self.weight.value @ x", "is a transpose missing"),
        ("x @ self.weight.value", "x @ self.weight.value.T", "is a transpose missing"),
        ("self._x.T @ dy", "dy.T @ self._x", "that is transposed"),
        ("self._x.T @ dy", "self._x @ dy", "is a transpose missing"),
        ("self._x.T @ dy", "self._x.T @ dy / len(dy)", "mean over the rows"),
        ("self._x.T @ dy", "-self._x.T @ dy", "the wrong sign"),
        ("self._x.T @ dy", "2 * self._x.T @ dy", "2 times what it should be"),
        ("dy.sum(axis=0)", "dy.mean(axis=0)", "mean over the rows"),
        ("dy.sum(axis=0)", "dy.sum(axis=1)", "over the wrong axis"),
        ("dy.sum(axis=0)", "dy", "sum it over the rows"),
        ("dy.sum(axis=0)", "dy.sum()", "the sum runs over all of dy"),
        ("dy.sum(axis=0)", "dy.sum(axis=0, keepdims=True)", "an axis too many"),
        ("dy @ self.weight.value.T", "dy @ self.weight.value", "transpose missing"),
        ("return dy @ self", "dy @ self", "return dx"),
        ("        self.bias.grad = dy.sum(axis=0)\n", "", "nothing to bias.grad"),
        ("self.weight.grad =", "self.weight.grad +=", "with = and not +="),
        ("self._x.T @ dy", "(self._x.astype(float)).T @ dy", "float64"),
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
        ("-= self.learning_rate *", "-= 0.07 *", "learning rate of the start"),
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
    "convolution": [
        ("total = bias[f]", "total = 0", "the bias is missing"),
        ("total = bias[f]", "total = bias[0]", "a bias of its own"),
        ("total += pixel", "total = pixel", "only the last term"),
        (
            "total += pixel * weight[kh, kw, c, f]",
            "total += pixel * weight[kh, kw, c, f] + bias[f]",
            "once for each term",
        ),
        (
            "total += pixel * weight[kh, kw, c, f]",
            "total += pixel * weight[-1 - kh, -1 - kw, c, f]",
            "the kernel is turned round",
        ),
        ("weight[kh, kw, c, f]", "weight[-1 - kh, kw, c, f]", "upside down"),
        ("weight[kh, kw, c, f]", "weight[kh, -1 - kw, c, f]", "left to right"),
        ("weight[kh, kw, c, f]", "weight[kw, kh, c, f]", "IndexError"),
        ("range(C)", "range(1)", "only the first channel"),
        ("oh * stride + kh, ow * stride + kw", "oh + kh, ow + kw", "stride is missing"),
        (
            "(H - KH) // stride + 1",
            "(H - KH) // stride",
            "and should have (2, 3, 4, 6)",
        ),
        ("(H - KH) // stride + 1", "H // stride", "IndexError"),
        (
            "OW = (H - KH) // stride + 1, (W - KW) // stride + 1",
            "OW = (H - KH) + 1, (W - KW) + 1",
            "IndexError",
        ),
        (", x.dtype)", ")", "float64"),
        ("    return y\n", "", "is None"),
        ("    y = np", "    bias -= 1\n    y = np", "edits its arguments"),
        (
            "                    total = bias[f]\n",
            "                    total = bias\n",
            "ValueError",
        ),
    ],
    "convolution_backward": [
        ("dx[n, h, w, c] +=", "dx[n, h, w, c] =", "a pixel lies under several"),
        ("dweight[kh, kw, c, f] +=", "dweight[kh, kw, c, f] =", "used at every place"),
        ("dbias[f] += d", "dbias[f] = d", "the bias is used at every place"),
        ("weight[kh, kw, c, f]\n", "weight[-1 - kh, -1 - kw, c, f]\n", "turned round"),
        ("d * x[n", "d * weight[kh, kw, c, f] * x[n", "that is times the weight"),
        ("d * weight[kh", "d * x[n, h, w, c] * weight[kh", "that is times x"),
        ("oh * stride + kh, ow * stride + kw", "oh + kh, ow + kw", "stride is missing"),
        ("return dx, dweight, dbias", "return dx, dweight / len(x), dbias", "the mean"),
        ("return dx, dweight, dbias", "return dx, dweight, dbias / len(x)", "the mean"),
        ("return dx, dweight, dbias", "return dx, dweight", "return three arrays"),
        ("return dx, dweight, dbias", "return dweight, dx, dbias", "has the shape"),
        ("    return dx, dweight, dbias\n", "", "return three arrays"),
        ("np.zeros(F, dy.dtype)", "np.zeros(F)", "float64"),
        ("return dx,", "return -dx,", "the wrong sign"),
        (
            "dx, dweight = np.zeros_like(x), ",
            "dx, dweight = x, ",
            "edits its arguments",
        ),
        ("dbias[f] += d", "dbias += d", "sum over n, oh and ow only"),
        (
            "w = oh * stride + kh, ow * stride + kw",
            "w = oh * stride, ow * stride",
            "entries are wrong",
        ),
    ],
    "im2col": [
        ("x[:, rows, columns] += cols", "x[:, rows, columns] = cols", "that assigns"),
        (
            "cols[:, :, :, kh, kw] = x",
            "cols[:, :, :, -1 - kh, -1 - kw] = x",
            "every patch is turned round",
        ),
        ("cols[:, :, :, kh, kw] = x", "cols[:, :, :, kw, kh] = x", "IndexError"),
        (
            "slice(kh, kh + stride * OH, stride)",
            "slice(kh, kh + OH)",
            "the rows go in steps of 1",
        ),
        (
            "slice(kh, kh + stride * OH, stride)",
            "slice(0, stride * OH, stride)",
            "begin at kh",
        ),
        ("return cols\n", "return cols.reshape(N * OH * OW, -1)\n", "has the shape"),
        (
            "np.empty((N, OH, OW, KH, KW, C), x.dtype)",
            "np.empty((N, OH, OW, KH, KW, C))",
            "float64",
        ),
        (" + self.bias.value\n", "\n", "the bias is missing"),
        (
            "self._cols = ",
            "self.shape = x.shape\n        self._cols = ",
            "begins with _",
        ),
        (
            "(self._cols.T @ dy).reshape(KH, KW, C, F)",
            "self._cols.T @ dy",
            "reshape it",
        ),
        (
            "(self._cols.T @ dy).reshape(KH, KW, C, F)",
            "(dy.T @ self._cols).reshape(KH, KW, C, F)",
            "before it is reshaped",
        ),
        ("(self._cols.T @ dy)", "(self._cols.T @ dy / N)", "the mean over the images"),
        ("dy.sum(axis=0)", "dy.mean(axis=0)", "the mean over all places"),
        ("dy.sum(axis=0)", "dy.sum(axis=1)", "has the shape"),
        (
            "return col2im(dcols.reshape(N, OH, OW, KH, KW, C), self._x_shape",
            "return (lambda *_: dcols)(self._x_shape",
            "col2im brings it back",
        ),
        ("KW * C, F).T\n", "KW * C, F)\n", "is a transpose missing"),
        ("        self.bias.grad = dy.sum(axis=0)\n", "", "nothing to bias.grad"),
        (", self._x_shape, self.stride)", ", self._x_shape)", "backward"),
        ("    return x\n", "", "is None"),
        (
            "cols = im2col(x, KH, KW, self.stride)",
            "cols = im2col(x, KH, KW)",
            "Conv2D.forward: y has the shape",
        ),
    ],
    "pooling": [
        ("cols.max(axis=3)", "cols.min(axis=3)", "that is the smallest"),
        ("cols.max(axis=3)", "cols.mean(axis=3)", "that is the mean"),
        ("cols.max(axis=3)", "cols.max(axis=4)", "has the shape"),
        ("cols.max(axis=3)", "np.maximum(cols.max(axis=3), 0)", "zeros win"),
        ("cols.argmax(axis=3)", "cols.argmin(axis=3)", "the smallest cell receives"),
        (
            "cols.argmax(axis=3)",
            "K * K - 1 - cols[:, :, :, ::-1].argmax(axis=3)",
            "the last of tied cells",
        ),
        (
            "np.put_along_axis(dcols, winner, dy, axis=3)",
            "dcols[:] = dy",
            "every cell receives",
        ),
        (
            "np.put_along_axis(dcols, winner, dy, axis=3)",
            "dcols[:] = dy / K**2",
            "backward of a mean",
        ),
        ("winner, dy, axis=3", "winner, 1, axis=3", "which cell won, without dy"),
        ("(N, OH, OW, K * K, C), dy.dtype", "(N, OH, OW, K * K, C)", "float64"),
        (", self._x_shape, self.stride)", ", self._x_shape, K)", "ValueError"),
        ("return col2im(", "col2im(", "return dx"),
        ("im2col(x, K, K, self.stride)", "im2col(x, K, K, K)", "has the shape"),
        (
            "self._winner = cols.argmax(axis=3)\n",
            "self._winner = cols == cols.max(axis=3, keepdims=True)\n",
            "IndexError",
        ),
        ("        return cols.max(axis=3)\n", "", "is None"),
    ],
    "cnn": [
        ("5 * 5 * 16", "7 * 7 * 16", "is a transpose missing"),
        ("Conv2D(8, 16", "Conv2D(1, 16", "ex08_im2col.py, line"),
        ("16, 10, rng", "16, 11, rng", "a logit for each of ten digits"),
        ("        Flatten(),\n", "", "ex02_dense.py, line"),
        ("    return [\n", "    [\n", "not NoneType"),
        (
            "ReLU(),\n        MaxPool2D(2),\n        Conv2D",
            "ReLU,\n        Conv2D",
            "is the class ReLU",
        ),
        ("rng=rng),\n    ]", "rng=rng),\n        ReLU(),\n    ]", "end in Dense"),
        (
            "    return [\n",
            (
                "    last = Dense(4608, 10, rng=rng)\n"
                "    return [Conv2D(1, 8, 5, rng=rng), "
                "ReLU(), Flatten(), last]\n    return [\n"
            ),
            "has no MaxPool2D",
        ),
        (
            "    return [\n",
            "    return [Flatten(), Dense(784, 10, rng=rng)]\n    return [\n",
            "has no Conv2D",
        ),
        (
            "Conv2D(1, 8, 5, rng=rng),\n        ReLU(),",
            "Conv2D(1, 8, 29, rng=rng),\n        ReLU(),",
            "at least one image",
        ),
        ("    return model\n", "", "return the model"),
        ("train_epoch(model", "[0] or train_epoch(model", "and at least"),
    ],
    "adam": [
        ("p.value -=", "p.value +=", "goes uphill"),
        ("p.value -=", "value = p.value -", "nothing has changed"),
        ("self.m[i] / (1 - self.beta1**self.steps)", "self.m[i]", "m is not corrected"),
        ("self.v[i] / (1 - self.beta2**self.steps)", "self.v[i]", "v is not corrected"),
        ("np.sqrt(v_hat)", "v_hat", "the root of v_hat is missing"),
        ("p.grad**2", "p.grad", "of the squares of the gradients"),
        ("* m_hat", "* p.grad", "along m_hat"),
        ("self.learning_rate * m_hat", "m_hat", "the learning rate is missing"),
        ("self.steps = 0", "self.steps = 1", "t must be 1"),
        ("self.steps += 1", "pass", "not finite"),
        ("np.sqrt(v_hat) + self.eps", "np.sqrt(v_hat + self.eps)", "outside the root"),
        ("np.sqrt(v_hat) + self.eps", "np.sqrt(v_hat)", "eps is missing"),
        ("self.beta1**self.steps", "self.beta1", "from step to step"),
        ("self.beta1 * self.m[i] + ", "", "m is not kept"),
        ("self.beta2 * self.v[i] + ", "", "v is not kept"),
        ("(1 - self.beta2**self.steps)", "(1 - self.beta1**self.steps)", "should be"),
        ("m_hat = self.m[i] /", "m_hat = self.m[i] = self.m[i] /", "m itself must"),
        ("v_hat = self.v[i] /", "v_hat = self.v[i] = self.v[i] /", "v itself must"),
        ("self.learning_rate * m_hat", "0.07 * m_hat", "learning rate of the start"),
        (
            "for i, p in enumerate(self.parameters):\n",
            "for i, p in enumerate(self.parameters):\n            self.steps += i\n",
            "t counts the steps",
        ),
    ],
    "dropout": [
        ("mask / (1 - self.rate)", "1 * mask", "must be scaled up"),
        ("mask / (1 - self.rate)", "mask * (1 - self.rate)", "upside down"),
        ("mask / (1 - self.rate)", "mask / self.rate", "not 1 / rate"),
        (">= self.rate", "< self.rate", "are dropped"),
        ("if training", "if not training", "nothing is dropped"),
        ("if training:", "if True:", "y outside training"),
        (".astype(x.dtype)", "", "float64"),
        ("return dy * self._scale", "return dy", "the mask is missing"),
        (
            "return dy * self._scale",
            "return dy * (self._scale > 0)",
            "scale is missing",
        ),
        (
            "return dy * self._scale",
            "return dy * (self._scale == 0) * 4 / 3",
            "turned round",
        ),
        ("return dy * self._scale", "dy * self._scale", "is None"),
        ("self.rng.random(x.shape)", "self.rng.random(x.shape[1:])", "decides on many"),
        ("self.rng.random(x.shape)", "np.random.random(x.shape)", "from call to call"),
        (
            "self.rng.random(x.shape)",
            "np.random.default_rng(0).random(x.shape)",
            "the same at every step",
        ),
        (
            "        return x * self._scale",
            "        x *= self._scale\n        return x.copy()",
            "edits its argument",
        ),
        (
            "        self._scale = np.ones_like(x)\n        if",
            "        if",
            "y outside training",
        ),
    ],
    "batchnorm": [
        (
            (
                "        if self._training:\n"
                "            dy = dy - self.bias.grad / M - "
                "self._x_hat * "
                "(self.weight.grad / M)\n"
            ),
            "",
            "ways 2 and 3 are missing",
        ),
        ("dy - self.bias.grad / M - ", "dy - ", "way 2, through the mean, is missing"),
        (" - self._x_hat * (self.weight.grad / M)", "", "way 3, through the standard"),
        (
            "- self._x_hat * (",
            "+ self._x_hat * (",
            "way 3, through the standard deviation, has",
        ),
        (
            "dy - self.bias.grad / M",
            "dy + self.bias.grad / M",
            "way 2, through the mean, has",
        ),
        (
            "- self._x_hat * (self.weight.grad / M)",
            "- self.weight.grad / M",
            "its x_hat",
        ),
        ("M = dy.size // dy.shape[-1]", "M = 1", "are to be divided by M"),
        ("M = dy.size // dy.shape[-1]", "M = len(dy)", "M is N * H * W"),
        (
            "self.weight.value / self._std * dy",
            "dy / self._std",
            "the weight is missing",
        ),
        (
            "self.weight.value / self._std * dy",
            "self.weight.value * dy",
            "by std is missing",
        ),
        ("self.weight.value / self._std", "self.weight.value * self._std", "divide"),
        (
            "(dy * self._x_hat).sum(axis=(0, 1, 2))",
            "dy.sum(axis=(0, 1, 2))",
            "is x_hat",
        ),
        ("dy.sum(axis=(0, 1, 2))", "dy.mean(axis=(0, 1, 2))", "that is the mean"),
        ("dy.sum(axis=(0, 1, 2))", "dy.sum(axis=0)", "all but the channels"),
        (
            "        if self._training:\n            dy = dy",
            "        if True:\n            dy = dy",
            "inference",
        ),
        (
            "return self.weight.value / self._std",
            "self.weight.value / self._std",
            "return dx",
        ),
        ("dy = dy - self.bias.grad / M", "dy -= self.bias.grad / M", "edits dy"),
    ],
    "window": [
        ("BatchNorm2D(8)", "BatchNorm2D(16)", "do not fit"),
        ("BatchNorm2D(8)", "BatchNorm2D(28)", "do not fit"),
        ("BatchNorm2D(8)", "BatchNorm2D", "is the class BatchNorm2D"),
        ("        Dropout(0.2),\n", "", "has no Dropout"),
        ("        Flatten(),\n", "", "ex02_dense.py, line"),
        ("16, 10, rng", "16, 9, rng", "a logit for each of ten digits"),
        ("    return [\n", "    return Flatten(), [\n", "not tuple"),
        ("    save_weights(path", "    dict(path", "TypeError"),
        ("    save_weights(path, model", "    save_weights(model, path", "line "),
        ('save_weights(path, model, {"network": "mine"})', "pass", "wrote no file"),
        (
            'save_weights(path, model, {"network": "mine"})',
            "open(path, 'w').close()",
            "header too small",
        ),
        (
            "save_weights(path, model,",
            "save_weights(path.with_suffix('.x'), model,",
            "wrote no file",
        ),
        (
            "save_weights(path, model,",
            "save_weights(path, Sequential(network(np.random.default_rng(1))),",
            "the file has another",
        ),
        ("    return model\n", "", "return the model"),
    ],
}

RIGHT = {
    "relu": [
        ("np.maximum(x, 0)", "np.where(x > 0, x, 0)"),
        ("np.maximum(x, 0)", "x * (x > 0)"),
        ("dy * self._positive", "np.where(self._positive, dy, 0)"),
        (
            RELU_FORWARD,
            "        y = x.copy()\n        y[x < 0] = 0\n        return y\n",
        ),
    ],
    "dense": [
        ("self._x.T @ dy", "(dy.T @ self._x).T"),
        ("dy @ self.weight.value.T", "(self.weight.value @ dy.T).T"),
        ("self._x.T @ dy", 'np.einsum("nd,nu->du", self._x, dy)'),
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
    "convolution": [
        ("total += pixel * weight", "total = total + pixel * weight"),
        ("total = bias[f]", "total = float(bias[f])"),
        (
            "                    y[n, oh, ow, f] = total\n",
            (
                "                    h, w = oh * stride, ow * stride\n"
                "                    patch = x[n, h : h + KH, w : w + KW]\n"
                "                    total = (patch * weight[..., f]).sum() + bias[f]\n"
                "                    y[n, oh, ow, f] = total\n"
            ),
        ),
    ],
    "convolution_backward": [
        ("np.zeros_like(x), ", "np.zeros(x.shape, x.dtype), "),
        ("dbias[f] += d\n", "dbias[f] = dbias[f] + d\n"),
        (
            "    return dx, dweight, dbias",
            "    dbias = dy.sum(axis=(0, 1, 2))\n    return dx, dweight, dbias",
        ),
    ],
    "im2col": [
        ("np.empty((N, OH", "np.zeros((N, OH"),
        ("self._cols.T @ dy", "np.tensordot(self._cols, dy, (0, 0))"),
        (
            "slice(kh, kh + stride * OH, stride)",
            "slice(kh, kh + stride * (OH - 1) + 1, stride)",
        ),
        (
            "x = np.zeros(x_shape, cols.dtype)\n",
            "x = np.empty(x_shape, cols.dtype)\n    x[:] = 0\n",
        ),
    ],
    "pooling": [
        (
            "return cols.max(axis=3)",
            (
                "w = self._winner[:, :, :, None]\n"
                "        return np.take_along_axis(cols, w, 3)[:, :, :, 0]"
            ),
        ),
        (
            "np.put_along_axis(dcols, winner, dy, axis=3)",
            "dcols[:] = dy * (np.arange(K * K)[:, None] == winner)",
        ),
        ("cols.argmax(axis=3)", "np.argmax(cols, 3)"),
    ],
    "cnn": [
        ("Conv2D(8, 16", "Conv2D(8, 16"),
        ("Conv2D(1, 8, 5, rng=rng)", "Conv2D(1, 8, (5, 5), rng=rng)"),
        (
            "Dense(5 * 5 * 16, 10, rng=rng)",
            "Dense(400, 32, rng=rng),\n        ReLU(),\n        Dense(32, 10, rng=rng)",
        ),
    ],
    "adam": [
        (
            "self.beta1 * self.m[i] + (1 - self.beta1) * p.grad",
            "self.m[i] + (1 - self.beta1) * (p.grad - self.m[i])",
        ),
        (
            "p.value -= self.learning_rate * m_hat",
            "p.value = p.value - self.learning_rate * m_hat",
        ),
        ("np.sqrt(v_hat)", "v_hat**0.5"),
    ],
    "dropout": [
        (
            "self.rng.random(x.shape) >= self.rate",
            "self.rng.random(x.shape) < 1 - self.rate",
        ),
        (
            "self.rng.random(x.shape) >= self.rate",
            "self.rng.uniform(0, 1, x.shape) >= self.rate",
        ),
        (
            "return x * self._scale",
            "return np.where(self._scale > 0, x * self._scale, 0)",
        ),
    ],
    "batchnorm": [
        (
            "(dy * self._x_hat).sum(axis=(0, 1, 2))",
            'np.einsum("nhwc,nhwc->c", dy, self._x_hat)',
        ),
        ("dy - self.bias.grad / M", "dy - dy.mean(axis=(0, 1, 2))"),
        (
            "self._x_hat * (self.weight.grad / M)",
            "self._x_hat * (dy * self._x_hat).mean(axis=(0, 1, 2))",
        ),
    ],
    "window": [
        ("BatchNorm2D(8)", "BatchNorm2D(8, momentum=0.2)"),
        ("Dropout(0.2)", "Dropout(0.1, seed=1)"),
        ('{"network": "mine"}', '{"network": "ex14", "seed": 0}'),
    ],
}
