"""Batch norm: the reference solution."""


class BatchNorm2D:
    def backward(self, dy):
        self.weight.grad = (dy * self._x_hat).sum(axis=(0, 1, 2))
        self.bias.grad = dy.sum(axis=(0, 1, 2))
        M = dy.size // dy.shape[-1]
        if self._training:
            dy = dy - self.bias.grad / M - self._x_hat * (self.weight.grad / M)
        return self.weight.value / self._std * dy
