"""Convolution in loops, forward: the reference solution."""


def convolve(x, weight, bias, stride=1):
    N, H, W, C = x.shape
    KH, KW, C, F = weight.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    y = np.zeros((N, OH, OW, F), x.dtype)
    for n in range(N):
        for oh in range(OH):
            for ow in range(OW):
                for f in range(F):
                    total = bias[f]
                    for kh in range(KH):
                        for kw in range(KW):
                            for c in range(C):
                                pixel = x[n, oh * stride + kh, ow * stride + kw, c]
                                total += pixel * weight[kh, kw, c, f]
                    y[n, oh, ow, f] = total
    return y
