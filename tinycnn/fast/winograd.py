"""Convolution with fewer multiplications.

Two outputs of a kernel of three weights take six multiplications, one by one; Winograd
needs four. The idea is that of multiplying polynomials: instead of working with their
coefficients, take the values of both at enough points, multiply these, and read the
coefficients of the product off its values (Toom and Cook; Lavin and Gray,
arXiv:1509.09308, section 4). Here, with ``g`` a kernel of K × K weights and ``d`` a
patch of P × P pixels, P = K + 3, both of one channel,

``y = A.T @ ((G @ g @ G.T) * (B.T @ d @ B)) @ A``

are the 4 × 4 outputs whose windows lie in the patch. The product in the middle is one
number by one number, ``P ** 2`` in all, where the definition takes ``(4 * K) ** 2``: 36
instead of 144 for K = 3, 64 instead of 400 for K = 5. Summed over channels, and for all
kernels and all patches, each of the ``P ** 2`` is a matrix product.

The points are infinity and the first of 0, 1, -1, 2, -2, 1/2 and -1/2, as many as it
takes. The value of a polynomial at infinity is its last coefficient. Rounding grows
with the powers of a point and with one over its distance to the others; these are small
and far apart.

`tinycnn.fast.steps.patch_side` decides which convolutions are done this way.
"""

import numpy as np
from numpy.typing import NDArray

from tinycnn.fast.compiled import compiled
from tinycnn.fast.vectors import COLUMNS, LANES, make_transform, multiply

Matrix = NDArray[np.float64]

POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)
OUTPUTS = 4  # of a patch, in each direction
LINE = 16  # floats of the processor's cache come and go together


def count_points(K: int) -> int:
    """Return P: so many points, as many as the windows of 4 outputs cover pixels."""
    return K + OUTPUTS - 1


def finite_points(K: int) -> tuple[float, ...]:
    """Return the points but for infinity."""
    return POINTS[: count_points(K) - 1]


def kernel_matrix(K: int) -> Matrix:
    """Return G (P, K): from K weights to values at the points.

    The value at a point p is ``sum of weight[k] * p ** k``. It is divided here by what
    `patch_matrix` leaves undivided, the product of p's distances to the other points.
    """
    points = finite_points(K)
    rows = [
        [p**k / np.prod([p - q for q in points if q != p]) for k in range(K)]
        for p in points
    ]
    return np.array([*rows, [0] * (K - 1) + [1]], np.float64)


def output_matrix(K: int) -> Matrix:
    """Return the transpose of A (4, P): from values at the points to 4 outputs."""
    columns = [[p**i for i in range(OUTPUTS)] for p in finite_points(K)]
    return np.array([*columns, [0] * (OUTPUTS - 1) + [1]], np.float64).T


def patch_matrix(K: int) -> Matrix:
    """Return the transpose of B (P, P): from P pixels to values at the points.

    The row of a point holds the coefficients of the polynomial that is zero at all
    other points, and the last row that of the one that is zero at all finite ones.
    """
    points = finite_points(K)
    rows = [[*np.poly([q for q in points if q != p])[::-1], 0] for p in points]
    return np.array([*rows, np.poly(points)[::-1]], np.float64)


_to_6, _to_8 = (make_transform(patch_matrix(K)) for K in (3, 5))
_from_6, _from_8 = (make_transform(output_matrix(K)) for K in (3, 5))
_OF_KERNELS = {K: kernel_matrix(K).astype(np.float32) for K in (3, 5)}


def transform_kernels(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``G @ g @ G.T`` of every kernel.

    Parameters
    ----------
    weight : float32 array (K, K, C, F)
        K is 3 or 5.

    Returns
    -------
    float32 array (P * P, C, F)
    """
    K, _, C, F = weight.shape
    G, P = _OF_KERNELS[K], count_points(K)
    rows = (G @ weight.reshape(K, K * C * F)).reshape(P, K, C * F)
    values: NDArray[np.float32] = (G @ rows).reshape(P * P, C, F)
    return values


@compiled()
def convolve(
    images, count, H, W, C, kernels, F, P, high, wide, band, values, products, y
):
    """Convolve some images.

    Parameters
    ----------
    images : int
        Address of (count, H, W, C) floats; H is at least 4 * high + P - 4, W at least
        4 * wide + P - 4, and C a multiple of 8.
    count, H, W, C : int
    kernels : int
        Address of (F / 16, P * P, C, 16) floats: `transform_kernels`, cut into panels.
    F : int
        A multiple of 16.
    P : int
        6 or 8: how many pixels a patch has in each direction.
    high, wide : int
        How many patches cover a map.
    band : int
        How many rows of patches, of one image or several, are transformed before they
        are multiplied: as many as the processor's cache holds.
    values, products : int
        Addresses of floats to work with: P * P times band * wide * C + LINE, and band *
        wide * 16 + LINE.
    y : int
        Address of (count, 4 * high, 4 * wide, F) floats, filled.
    """
    for first in range(0, count * high, band):
        tiles = min(band, count * high - first) * wide
        # From point to point, in floats. The values of a patch lie in as many lines of
        # the cache: were they a power of two apart, they would drive each other out.
        apart, apart_after = tiles * C + LINE, tiles * COLUMNS + LINE
        for t in range(tiles):
            over, w = first + t // wide, OUTPUTS * (t % wide)  # rows of patches before
            h = over // high * H + OUTPUTS * (over % high)
            for c in range(0, C, LANES):
                source = images + 4 * ((h * W + w) * C + c)
                into = values + 4 * (t * C + c)
                if P == 6:
                    _to_6(source, 4 * W * C, 4 * C, into, 4 * P * apart, 4 * apart)
                else:
                    _to_8(source, 4 * W * C, 4 * C, into, 4 * P * apart, 4 * apart)
        row, column = 4 * P * apart_after, 4 * apart_after
        y_row, y_column = 4 * OUTPUTS * wide * F, 4 * F
        for f in range(0, F, COLUMNS):
            for point in range(P * P):
                multiply(
                    values + 4 * point * apart, 4 * C, 0, tiles, 1, C,
                    kernels + 4 * (f * P * P + point * COLUMNS) * C,
                    products + point * column, 4 * COLUMNS,
                )  # fmt: skip
            for t in range(tiles):
                h, w = OUTPUTS * (first + t // wide), OUTPUTS * (t % wide)
                for i in range(0, COLUMNS, LANES):
                    source = products + 4 * (t * COLUMNS + i)
                    into = y + 4 * ((h * OUTPUTS * wide + w) * F + f + i)
                    if P == 6:
                        _from_6(source, row, column, into, y_row, y_column)
                    else:
                        _from_8(source, row, column, into, y_row, y_column)
