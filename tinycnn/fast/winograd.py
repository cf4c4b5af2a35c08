"""Convolution with fewer multiplications.

The idea is that of multiplying polynomials: instead of working with their coefficients,
take the values of both at enough points, multiply these, and read the coefficients of
the product off its values (Toom and Cook; Lavin and Gray, arXiv:1509.09308, section 4).
With ``g`` a kernel of K × K weights and ``d`` a patch of P × P pixels, P = K + 3, both
of one channel,

``y = A.T @ ((G @ g @ G.T) * (B.T @ d @ B)) @ A``

are the 4 × 4 outputs whose windows lie in the patch. The product in the middle is one
number by one number, ``P ** 2`` in all, where the definition takes ``(4 * K) ** 2``: 36
instead of 144 for K = 3, 64 instead of 400 for K = 5. Summed over channels, and for all
kernels and all patches, each of the ``P ** 2`` is a matrix product.

::

    patches of (P, P)        P * P points: patches × channels           (4, 4) outputs
    +-----+                  . . . .     @ kernels of point 1
    |  +--|--+       ->      . . . .     @ kernels of point 2      ->   +--+--+
    +--|--+  |               . . . .     ...                            +--+--+

The points are infinity, where the value is the last coefficient, and the first of 0, 1,
-1, 2, -2, 1/2 and -1/2, as many as it takes. Rounding grows with the powers of a point
and with one over its distance to the others; these are small and far apart.

What is 0 by definition comes out as some 1e-7 of the largest, unless all of its patch
is 0, and then a ReLU may let it pass. While biases are exactly 0, in the first step of
training, this gives them another gradient than the layers do. It is left so: to know
such zeros takes a second sum, of magnitudes, as long as the first.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from tinycnn.fast.compiled import call, inlined, machine_code
from tinycnn.fast.vectors import COLUMNS, LANES, address, make_transform, multiply

POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)
OUTPUTS = 4  # of a patch, in each direction
LINE = 16  # floats of the processor's cache come and go together


def patch_side(shape: tuple[int, ...], OH: int, OW: int) -> int:
    """Return P for weights of a shape and a map of OH × OW, or 0 if it would not pay.

    It is for 3×3 and 5×5 kernels over channels that fill vectors, where at least half
    of the multiplications are saved; patches that hang over the edge count.
    """
    KH, KW, C, _ = shape
    if KH != KW or KH not in (3, 5) or C % COLUMNS != 0:
        return 0
    P, patches = KH + OUTPUTS - 1, -(-OH // OUTPUTS) * -(-OW // OUTPUTS)
    return P if 2 * patches * P**2 <= OH * OW * KH * KW else 0


@functools.cache
def matrices(K: int) -> tuple[NDArray[np.float64], ...]:
    """Return A.T (4, P), G (P, K) and B.T (P, P).

    The value of a kernel at a point p is ``sum of weight[k] * p ** k``; G divides it by
    the product of p's distances to the other points. A row of B.T holds the
    coefficients of the polynomial that is zero at all other points.
    """
    points = POINTS[: K + OUTPUTS - 2]
    others = {p: [q for q in points if q != p] for p in points}
    A = [[p**i for i in range(OUTPUTS)] for p in points]
    G = [[p**k / np.prod([p - q for q in others[p]]) for k in range(K)] for p in points]
    B = [[*np.poly(others[p])[::-1], 0] for p in points]
    return (
        np.array([*A, [0] * (OUTPUTS - 1) + [1]], np.float64).T,
        np.array([*G, [0] * (K - 1) + [1]], np.float64),
        np.array([*B, np.poly(points)[::-1]], np.float64),
    )


_from_6, _, _to_6 = map(make_transform, matrices(3))
_from_8, _, _to_8 = map(make_transform, matrices(5))


def transform_kernels(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``G @ g @ G.T`` (P * P, C, F) of all kernels (K, K, C, F)."""
    K, _, C, F = weight.shape
    G = matrices(K)[1].astype(np.float32)
    rows = (G @ weight.reshape(K, K * C * F)).reshape(-1, K, C * F)
    return np.asarray((G @ rows).reshape(-1, C, F))


def _transform_of_6(back, x, x_row, x_column, y, y_row, y_column):
    if back:
        _from_6(x, x_row, x_column, y, y_row, y_column)
    else:
        _to_6(x, x_row, x_column, y, y_row, y_column)


def _transform_of_8(back, x, x_row, x_column, y, y_row, y_column):
    if back:
        _from_8(x, x_row, x_column, y, y_row, y_column)
    else:
        _to_8(x, x_row, x_column, y, y_row, y_column)


def transform_for(P: int) -> int:
    """Return the address of the transforms of patches of P × P, or 0 if P is 0."""
    transforms = {6: _transform_of_6, 8: _transform_of_8}
    return machine_code(transforms[P]).address if P else 0


@inlined
def convolve(image, size, count, kernels, maps, values, products, transform):
    """Convolve ``count`` images of a size (H, W), that lie from an address on.

    Kernels are (F / 16, P * P, C, 16): `transform_kernels`, cut into panels. Filled are
    maps (at least count, 4 * high, 4 * wide, F). To work in there are values (P * P,
    patches * C + LINE) and products (P * P, patches * 16 + LINE): were the numbers of a
    patch a power of two apart, they would drive each other out of the cache.
    """
    (panels, points, C, _), (_, height, width, F) = kernels.shape, maps.shape
    P, high, wide = 6 if points == 36 else 8, height // OUTPUTS, width // OUTPUTS
    patches, (H, W) = count * high * wide, size
    apart, apart_after = 4 * values.shape[1], 4 * products.shape[1]
    for t in range(patches):
        n, h, w = t // (high * wide), t // wide % high, t % wide
        patch = image + 4 * ((n * H + OUTPUTS * h) * W + OUTPUTS * w) * C
        for c in range(0, C, LANES):
            value = address(values, 0, t * C + c)
            call(transform, 0, patch + 4 * c, 4 * W * C, 4 * C, value, P * apart, apart)
    for panel in range(panels):
        for point in range(points):
            multiply(
                address(values, point), 4 * C, 0, patches, 1, C,
                address(kernels, panel, point), address(products, point), 4 * COLUMNS,
            )  # fmt: skip
        for t in range(patches):
            n, h, w = t // (high * wide), t // wide % high, t % wide
            for c in range(0, COLUMNS, LANES):
                product = address(products, 0, t * COLUMNS + c)
                y = address(maps, n, OUTPUTS * h, OUTPUTS * w, panel * COLUMNS + c)
                row, column = P * apart_after, apart_after
                call(transform, 1, product, row, column, y, 4 * width * F, 4 * F)
