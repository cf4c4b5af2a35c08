"""ReLU: the reference solution."""


class ReLU:
    def forward(self, x, training=False):
        self._positive = x > 0
        return np.maximum(x, 0)

    def backward(self, dy):
        return dy * self._positive
