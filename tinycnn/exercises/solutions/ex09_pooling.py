"""Max pooling: the reference solution."""


class MaxPool2D:
    def forward(self, x, training=False):
        K = self.kernel_size
        cols = im2col(x, K, K, self.stride)
        N, OH, OW, _, _, C = cols.shape
        cols = cols.reshape(N, OH, OW, K * K, C)
        self._x_shape = x.shape
        self._winner = cols.argmax(axis=3)
        return cols.max(axis=3)

    def backward(self, dy):
        N, OH, OW, C = dy.shape
        K = self.kernel_size
        dcols = np.zeros((N, OH, OW, K * K, C), dy.dtype)
        winner, dy = np.expand_dims(self._winner, 3), np.expand_dims(dy, 3)
        np.put_along_axis(dcols, winner, dy, axis=3)
        return col2im(dcols.reshape(N, OH, OW, K, K, C), self._x_shape, self.stride)
