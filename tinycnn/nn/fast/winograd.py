"""Convolution with fewer multiplications.

Two outputs of a kernel of three weights take six multiplications, one by one; Winograd
needs four. The idea is that of multiplying polynomials: instead of working with their
coefficients, take the values of both at enough points, multiply these, and read the
coefficients of the product off its values (Toom and Cook; Lavin and Gray,
arXiv:1509.09308, section 4). Here, with ``g`` a kernel of K × K weights and ``d`` a
patch of 6 × 6 pixels, both of one channel,

``y = A.T @ ((G @ g @ G.T) * (B.T @ d @ B)) @ A``

are the m × m outputs whose windows lie in the patch, m = 7 - K. The product in the
middle is one number by one number, 36 in all, where the definition takes
``(m * K) ** 2``: 144 for K = 3, 100 for K = 5. Summed over channels, and for all
kernels and all patches, each of the 36 is a matrix product.

The six points are 0, 1, -1, 2, -2 and infinity. The value of a polynomial at infinity
is its last coefficient. Small points keep the rounding small; it grows with their
powers, so larger patches would not pay.

It knows polynomials and addresses, not layers. Which convolutions are done this way,
`tinycnn.nn.fast.steps` decides.
"""

import numpy as np
from numpy.typing import NDArray

from tinycnn.nn.compiled import compiled
from tinycnn.nn.fast.vectors import LANES, make_transform, multiply

Matrix = NDArray[np.float64]

POINTS = (0, 1, -1, 2, -2)
PATCH = len(POINTS) + 1


def kernel_matrix(K: int) -> Matrix:
    """Return G (6, K): from K weights to values at the points.

    The value at a point p is ``sum of weight[k] * p ** k``. It is divided here by what
    `patch_matrix` leaves undivided, the product of p's distances to the other points.
    """
    rows = [
        [p**k / np.prod([p - q for q in POINTS if q != p]) for k in range(K)]
        for p in POINTS
    ]
    return np.array([*rows, [0] * (K - 1) + [1]], np.float64)


def output_matrix(K: int) -> Matrix:
    """Return the transpose of A (m, 6): from values at the points to m outputs."""
    m = PATCH + 1 - K
    columns = [[p**i for i in range(m)] for p in POINTS]
    return np.array([*columns, [0] * (m - 1) + [1]], np.float64).T


def patch_matrix() -> Matrix:
    """Return the transpose of B (6, 6): from six pixels to values at the points.

    The row of a point holds the coefficients of the polynomial that is zero at all
    other points, and the last row that of the one that is zero at all five. It does not
    depend on K.
    """
    rows = [[*np.poly([q for q in POINTS if q != p])[::-1], 0] for p in POINTS]
    return np.array([*rows, np.poly(POINTS)[::-1]], np.float64)


_to_points = make_transform(patch_matrix())
_to_4_outputs = make_transform(output_matrix(3))
_to_2_outputs = make_transform(output_matrix(5))
_OF_KERNELS = {K: kernel_matrix(K).astype(np.float32) for K in (3, 5)}


def transform_kernels(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``G @ g @ G.T`` of every kernel.

    Parameters
    ----------
    weight : float32 array (K, K, C, F)
        K is 3 or 5.

    Returns
    -------
    float32 array (36, C, F)
    """
    K, _, C, F = weight.shape
    G = _OF_KERNELS[K]
    rows = (G @ weight.reshape(K, K * C * F)).reshape(PATCH, K, C * F)
    values: NDArray[np.float32] = (G @ rows).reshape(PATCH * PATCH, C, F)
    return values


@compiled()
def convolve(  # type: ignore[no-untyped-def]
    images, count, H, W, C, kernels, F, m, high, wide, band, values, products, y
):
    """Convolve some images.

    Parameters
    ----------
    images : int
        Address of (count, H, W, C) floats; H is at least m * high + K - 1, W at least
        m * wide + K - 1, and C a multiple of 8.
    count, H, W, C : int
    kernels : int
        Address of (36, C, F) floats, from `transform_kernels`.
    F : int
        A multiple of 16.
    m : int
        4 or 2: how many outputs a patch has in each direction.
    high, wide : int
        How many patches cover a map.
    band : int
        How many rows of patches, of one image or several, are transformed before they
        are multiplied: as many as the processor's cache holds.
    values, products : int
        Addresses of 36 * band * wide * C and 36 * band * wide * F floats to work with.
    y : int
        Address of (count, m * high, m * wide, F) floats, filled.
    """
    for first in range(0, count * high, band):
        tiles = min(band, count * high - first) * wide
        for t in range(tiles):
            over, w = first + t // wide, m * (t % wide)  # rows of patches before it
            h = over // high * H + m * (over % high)
            for c in range(0, C, LANES):
                _to_points(
                    images + 4 * ((h * W + w) * C + c), 4 * W * C, 4 * C,
                    values + 4 * (t * C + c), 4 * PATCH * tiles * C, 4 * tiles * C,
                )  # fmt: skip
        for point in range(PATCH * PATCH):
            multiply(
                values + 4 * point * tiles * C, 4 * C, 0, tiles, 1, C,
                kernels + 4 * point * C * F, F, products + 4 * point * tiles * F,
            )  # fmt: skip
        for t in range(tiles):
            h, w = m * (first + t // wide), m * (t % wide)
            for f in range(0, F, LANES):
                source = products + 4 * (t * F + f)
                into = y + 4 * ((h * m * wide + w) * F + f)
                row, column = 4 * PATCH * tiles * F, 4 * tiles * F
                if m == 4:
                    _to_4_outputs(source, row, column, into, 4 * m * wide * F, 4 * F)
                else:
                    _to_2_outputs(source, row, column, into, 4 * m * wide * F, 4 * F)
