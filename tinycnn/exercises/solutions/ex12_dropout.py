"""Dropout: the reference solution."""


class Dropout:
    def forward(self, x, training=False):
        self._scale = np.ones_like(x)
        if training:
            mask = self.rng.random(x.shape) >= self.rate
            self._scale = (mask / (1 - self.rate)).astype(x.dtype)
        return x * self._scale

    def backward(self, dy):
        return dy * self._scale
