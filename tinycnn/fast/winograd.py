"""Convolution with fewer multiplications.

The idea is that of multiplying polynomials: instead of working with their coefficients,
take the values of both at enough points, multiply these, and read the coefficients of
the product off its values (Toom and Cook; Lavin and Gray, arXiv:1509.09308, section 4).
With ``g`` a kernel of K × K weights and ``d`` a patch of P × P pixels, P = K + m - 1,
both of one channel,

``y = A.T @ ((G @ g @ G.T) * (B.T @ d @ B)) @ A``

are the m × m outputs whose windows lie in the patch. The product in the middle is one
number by one number, ``P ** 2`` in all, where the definition takes ``(m * K) ** 2``: 64
instead of 324 for K = 3, m = 6, and instead of 400 for K = 5, m = 4. Summed over
channels, for all kernels and all patches, each of the ``P ** 2`` is a matrix product.

::

    patches of (P, P)        P * P points: patches × channels           (m, m) outputs
    +-----+                  . . . .     @ kernels of point 1
    |  +--|--+       ->      . . . .     @ kernels of point 2      ->   +--+--+
    +--|--+  |               . . . .     ...                            +--+--+

The way back is the chain rule: summed over filters, and added where the patch lies,

``dd = B @ ((G @ g @ G.T) * (A @ dy @ A.T)) @ B.T``

The points are infinity, where the value is the last coefficient, and the first of 0, 1,
-1, 2, -2, 1/2 and -1/2, as many as it takes: small and far apart, for less rounding.
What is 0 by definition comes out as some 1e-6 of the largest, unless all of its patch
is 0, and a ReLU may let it pass: while biases are exactly 0, in the first step, they
get another gradient than from the layers. To know such zeros takes a second sum, as
long as the first. What is not finite spoils all outputs of its patches.
"""

import numpy as np
from numpy.typing import NDArray

from tinycnn.fast.compiled import LINE, empty, external, shared
from tinycnn.fast.vectors import LANES, WIDE, address, make_transforms, multiply

POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)
OUTPUTS = {3: (4, 6), 5: (4,)}  # m by K; more points would round too much
# Places in CASES: before products (after them: the next), of kernels. Those of K and m
# are from WAYS * (K // 5 * 2 + m // 6) on.
FORWARD, BACK, KERNELS, WAYS = 0, 2, 4, 5


def matrices(K: int, m: int) -> tuple[NDArray[np.float64], ...]:
    """Return A.T (m, P), G (P, K) and B.T (P, P).

    The value of a kernel at a point p is ``sum of weight[k] * p ** k``; G divides it by
    the product of p's distances to the other points. A row of B.T holds the
    coefficients of the polynomial that is zero at all other points.
    """
    points = POINTS[: K + m - 2]
    others = {p: [q for q in points if q != p] for p in points}
    A = [[p**i for i in range(m)] for p in points]
    G = [[p**k / np.prod([p - q for q in others[p]]) for k in range(K)] for p in points]
    B = [[*np.poly(others[p])[::-1], 0] for p in points]
    return (
        np.array([*A, [0] * (m - 1) + [1]], np.float64).T,
        np.array([*G, [0] * (K - 1) + [1]], np.float64),
        np.array([*B, np.poly(points)[::-1]], np.float64),
    )


# Of patches, products, both on the way back, kernels: a matrix; whether it adds.
CASES = [
    case
    for K, ways in OUTPUTS.items()
    for A_T, G, B_T in [matrices(K, m) for m in ways]
    for case in ((B_T, 0), (A_T, 0), (A_T.T, 0), (B_T.T, 1), (G, 0))
]
_transform = make_transforms(*CASES)


@external
def transform(number, x, x_row, x_column, y, y_row, y_column):
    """Transform a patch, its products, or a kernel, and a vector of channels."""
    _transform(number, x, x_row, x_column, y, y_row, y_column)


@shared(y="(K + m - 1)**2, C, F", x="K * K * C * F", K=int, m=int, turned=int)
def transform_kernels(block, blocks, job):
    """Fill ``y = G @ g @ G.T`` for kernels x (K, K, C, F); if turned, (C, K, K, F)."""
    y, x, K, m, turned = job[0]
    _, C, F = y.shape
    apart, column = (K * K * F, F) if turned else (F, C * F)
    case, row = KERNELS + WAYS * (K // 5 * 2 + m // 6), 4 * (K + m - 1) * C * F
    for c in range(C * block // blocks, C * (block + 1) // blocks):
        for f in range(0, F, LANES):
            kernel, place = address(x, c * apart + f), address(y, 0, c, f)
            transform(case, kernel, 4 * K * column, 4 * column, place, row, 4 * C * F)


@external
def convolve(way, x, count, H, W, C, kernels, K, m, F, y):
    """Fill maps y (count, .., F) from images x (count, H, W, C), by their patches.

    Patches fill an image, and maps are their outputs; kernels are those of
    `transform_kernels`. BACK, from gradients of maps, in so large images: those of
    patches are added to y, which is as large as x.
    """
    high, wide, P = (H - K + 1) // m, (W - K + 1) // m, K + m - 1
    patches, number = count * high * wide, way + WAYS * (K // 5 * 2 + m // 6)
    height, width = (m * high, m * wide) if way == FORWARD else (H, W)
    # LINE numbers more: were the numbers of a patch a power of two apart, they would
    # drive each other out of the cache.
    values = empty(np.float32, P * P, patches * C + LINE)
    products = empty(np.float32, P * P, patches * WIDE + LINE)
    apart, after = 4 * values.shape[1], 4 * products.shape[1]
    for t in range(patches):
        n, h, w = t // (high * wide), t // wide % high, t % wide
        patch = x + 4 * ((n * H + m * h) * W + m * w) * C
        for c in range(0, C, LANES):
            value = address(values, 0, t * C + c)
            transform(number, patch + 4 * c, 4 * W * C, 4 * C, value, P * apart, apart)
    for f in range(0, F, WIDE):
        columns = min(WIDE, F - f)
        for point in range(P * P):
            multiply(
                address(values, point), 4 * C, 0, 1, C, patches,
                kernels + 4 * (point * C * F + f), 4 * F, columns,
                address(products, point), 4 * columns,
            )  # fmt: skip
        for t in range(patches):
            n, h, w = t // (high * wide), t // wide % high, t % wide
            map_ = y + 4 * ((n * height + m * h) * width + m * w) * F
            for j in range(0, columns, LANES):
                product = address(products, 0, t * columns + j)
                place, row = map_ + 4 * (f + j), 4 * width * F
                transform(number + 1, product, P * after, after, place, row, 4 * F)
