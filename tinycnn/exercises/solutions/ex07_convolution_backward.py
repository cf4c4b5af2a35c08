"""Convolution in loops, backward: the reference solution."""


def convolve_backward(dy, x, weight, stride=1):
    N, OH, OW, F = dy.shape
    KH, KW, C, F = weight.shape
    dx, dweight = np.zeros_like(x), np.zeros_like(weight)
    dbias = np.zeros(F, dy.dtype)
    for n in range(N):
        for oh in range(OH):
            for ow in range(OW):
                for f in range(F):
                    d = dy[n, oh, ow, f]
                    dbias[f] += d
                    for kh in range(KH):
                        for kw in range(KW):
                            h, w = oh * stride + kh, ow * stride + kw
                            for c in range(C):
                                dweight[kh, kw, c, f] += d * x[n, h, w, c]
                                dx[n, h, w, c] += d * weight[kh, kw, c, f]
    return dx, dweight, dbias
