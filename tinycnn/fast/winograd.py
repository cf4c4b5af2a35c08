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

`tinycnn.fast.layout.patch_side` decides which convolutions are done this way.
"""

import numpy as np
from numpy.typing import NDArray

from tinycnn.fast.compiled import compiled
from tinycnn.fast.vectors import COLUMNS, LANES, address, make_transform, multiply

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
def convolve(image, count, kernels, work, block, place):
    """Convolve some images.

    Parameters
    ----------
    image : int
        Address of (count, H, W, C) floats; C is a multiple of 8.
    count : int
    kernels : float32 array (F / 16, P * P, C, 16)
        `transform_kernels`, cut into panels.
    work : tuple of float32 arrays
        Images (places, H, W, C), of which the shape alone is used; maps (places, 4 *
        high, 4 * wide, F); values (blocks, P * P, band * wide * C + LINE) and products
        (blocks, P * P, band * wide * 16 + LINE). A band is as many rows of patches, of
        one image or several, as the cache holds.
    block, place : int
        Where to work, and the first map to fill.
    """
    images, maps, values, products = work
    C, points, wide = images.shape[3], kernels.shape[1], maps.shape[2] // OUTPUTS
    bands = count * maps.shape[1] // OUTPUTS
    band = (values.shape[2] - LINE) // (wide * C)
    for first in range(0, bands, band):
        tiles = min(band, bands - first) * wide
        # From point to point, in bytes. The values of a patch lie in as many lines of
        # the cache: were they a power of two apart, they would drive each other out.
        apart, apart_after = 4 * (tiles * C + LINE), 4 * (tiles * COLUMNS + LINE)
        value, product = address(values, block), address(products, block)
        _transform_patches(image, images.shape, maps.shape, first, tiles, value, points)
        for panel in range(len(kernels)):
            for point in range(points):
                multiply(
                    value + point * apart, 4 * C, 0, tiles, 1, C,
                    address(kernels, panel, point), product + point * apart_after,
                    4 * COLUMNS,
                )  # fmt: skip
            y = address(maps, place, 0, 0, panel * COLUMNS)
            _transform_products(product, maps.shape, first, tiles, y, points)


@compiled()
def _transform_patches(image, shape, map_shape, first, tiles, values, points):
    """Transform the patches of some rows of patches, of which ``first`` lie above."""
    _, H, W, C = shape
    high, wide = map_shape[1] // OUTPUTS, map_shape[2] // OUTPUTS
    column = 4 * (tiles * C + LINE)
    for t in range(tiles):
        above, w = first + t // wide, OUTPUTS * (t % wide)
        h = above // high * H + OUTPUTS * (above % high)
        for c in range(0, C, LANES):
            patch, value = image + 4 * ((h * W + w) * C + c), values + 4 * (t * C + c)
            if points == 36:
                _to_6(patch, 4 * W * C, 4 * C, value, 6 * column, column)
            else:
                _to_8(patch, 4 * W * C, 4 * C, value, 8 * column, column)


@compiled()
def _transform_products(products, shape, first, tiles, y, points):
    """Transform the products of a panel back, into 16 channels of the maps at y."""
    _, _, width, F = shape
    wide, column = width // OUTPUTS, 4 * (tiles * COLUMNS + LINE)
    for t in range(tiles):
        h, w = OUTPUTS * (first + t // wide), OUTPUTS * (t % wide)
        for c in range(0, COLUMNS, LANES):
            product = products + 4 * (t * COLUMNS + c)
            output = y + 4 * ((h * width + w) * F + c)
            if points == 36:
                _from_6(product, 6 * column, column, output, 4 * width * F, 4 * F)
            else:
                _from_8(product, 8 * column, column, output, 4 * width * F, 4 * F)
