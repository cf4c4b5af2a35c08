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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycnn.fast.compiled import call, inlined, machine_code
from tinycnn.fast.vectors import (
    COLUMNS,
    LANES,
    PANELS,
    address,
    make_transform,
    multiply,
)

POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)
OUTPUTS = 4  # of a patch, in each direction
LINE = 16  # floats of the processor's cache come and go together
PATCH, MAP, DMAP, DPATCH = range(4)  # the transforms


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


def _transforms(K: int) -> tuple[Any, ...]:
    """Return the transforms of patches and of products, and those of the way back."""
    A_T, _, B_T = matrices(K)
    forward = make_transform(B_T), make_transform(A_T)
    return *forward, make_transform(A_T.T), make_transform(B_T.T, adds=True)


_patch_6, _map_6, _dmap_6, _dpatch_6 = _transforms(3)
_patch_8, _map_8, _dmap_8, _dpatch_8 = _transforms(5)


def transform_kernels(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``G @ g @ G.T`` (P * P, C, F) of all kernels (K, K, C, F)."""
    K, _, C, F = weight.shape
    G = matrices(K)[1].astype(np.float32)
    rows = (G @ weight.reshape(K, K * C * F)).reshape(-1, K, C * F)
    return np.asarray((G @ rows).reshape(-1, C, F))


def _transform_of_6(which, x, x_row, x_column, y, y_row, y_column):
    if which == PATCH:
        _patch_6(x, x_row, x_column, y, y_row, y_column)
    elif which == MAP:
        _map_6(x, x_row, x_column, y, y_row, y_column)
    elif which == DMAP:
        _dmap_6(x, x_row, x_column, y, y_row, y_column)
    else:
        _dpatch_6(x, x_row, x_column, y, y_row, y_column)


def _transform_of_8(which, x, x_row, x_column, y, y_row, y_column):
    if which == PATCH:
        _patch_8(x, x_row, x_column, y, y_row, y_column)
    elif which == MAP:
        _map_8(x, x_row, x_column, y, y_row, y_column)
    elif which == DMAP:
        _dmap_8(x, x_row, x_column, y, y_row, y_column)
    else:
        _dpatch_8(x, x_row, x_column, y, y_row, y_column)


def transform_for(K: int) -> int:
    """Return the address of the transforms for kernels of K × K, 3 or 5."""
    return machine_code(_transform_of_6 if K == 3 else _transform_of_8).address


@inlined
def room(points, maps, most):
    """Return room for values (points, patches * most) and products (.., patches * 32).

    Each has LINE numbers more: were the numbers of a patch a power of two apart, they
    would drive each other out of the cache.
    """
    patches = maps.size // (maps.shape[3] * OUTPUTS**2)
    values = np.empty((points, patches * most + LINE), np.float32)
    return values, np.empty((points, patches * PANELS * COLUMNS + LINE), np.float32)


@inlined
def take(which, image, shape, grid, transform, values):
    """Fill values (P * P, patches * C) with the transforms of patches, or of outputs.

    They are those of images of a shape (.., H, W, C) that lie from an address on. A
    grid is how many images, and patches down and across.
    """
    (_, H, W, C), (count, high, wide), apart = shape, grid, 4 * values.shape[1]
    P = 6 if len(values) == 36 else 8
    for t in range(count * high * wide):
        n, h, w = t // (high * wide), t // wide % high, t % wide
        x = image + 4 * ((n * H + OUTPUTS * h) * W + OUTPUTS * w) * C
        for c in range(0, C, LANES):
            y = address(values, 0, t * C + c)
            call(transform, which, x + 4 * c, 4 * W * C, 4 * C, y, P * apart, apart)


@inlined
def give(which, values, kernels, grid, transform, products, maps):
    """Multiply values by kernels (P * P, C, F), and transform into maps (.., F)."""
    (points, C, F), (_, _, W, _), (count, high, wide) = kernels.shape, maps.shape, grid
    patches, P, apart = (
        count * high * wide,
        6 if points == 36 else 8,
        4 * products.shape[1],
    )
    for f in range(0, F, PANELS * COLUMNS):
        columns = min(PANELS * COLUMNS, F - f)
        for point in range(points):
            multiply(
                address(values, point), 4 * C, 0, 1, C, patches,
                address(kernels, point, 0, f), 4 * F, columns // COLUMNS,
                address(products, point), 4 * columns,
            )  # fmt: skip
        for t in range(patches):
            n, h, w = t // (high * wide), t // wide % high, t % wide
            for j in range(0, columns, LANES):
                x = address(products, 0, t * columns + j)
                y = address(maps, n, OUTPUTS * h, OUTPUTS * w, f + j)
                call(transform, which, x, P * apart, apart, y, 4 * W * F, 4 * F)
