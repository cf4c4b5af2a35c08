"""Convolution as one product: the reference solution."""


def im2col(x, KH, KW, stride=1):
    N, H, W, C = x.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    cols = np.empty((N, OH, OW, KH, KW, C), x.dtype)
    for kh in range(KH):
        for kw in range(KW):
            rows = slice(kh, kh + stride * OH, stride)
            columns = slice(kw, kw + stride * OW, stride)
            cols[:, :, :, kh, kw] = x[:, rows, columns]
    return cols


def col2im(cols, x_shape, stride=1):
    N, OH, OW, KH, KW, C = cols.shape
    x = np.zeros(x_shape, cols.dtype)
    for kh in range(KH):
        for kw in range(KW):
            rows = slice(kh, kh + stride * OH, stride)
            columns = slice(kw, kw + stride * OW, stride)
            x[:, rows, columns] += cols[:, :, :, kh, kw]
    return x


class Conv2D:
    def forward(self, x, training=False):
        KH, KW, C, F = self.weight.value.shape
        cols = im2col(x, KH, KW, self.stride)
        N, OH, OW = cols.shape[:3]
        self._x_shape = x.shape
        self._cols = cols.reshape(N * OH * OW, KH * KW * C)
        y = self._cols @ self.weight.value.reshape(KH * KW * C, F) + self.bias.value
        return y.reshape(N, OH, OW, F)

    def backward(self, dy):
        KH, KW, C, F = self.weight.value.shape
        N, OH, OW, F = dy.shape
        dy = dy.reshape(N * OH * OW, F)
        self.weight.grad = (self._cols.T @ dy).reshape(KH, KW, C, F)
        self.bias.grad = dy.sum(axis=0)
        dcols = dy @ self.weight.value.reshape(KH * KW * C, F).T
        return col2im(dcols.reshape(N, OH, OW, KH, KW, C), self._x_shape, self.stride)
