"""The kernels of convolution and pooling against NumPy's own windows.

Only float64 and small arrays, so that the file also runs without compiling
(``NUMBA_DISABLE_JIT=1``) and with every index checked (``NUMBA_BOUNDSCHECK=1``).
"""

import numpy as np
import pytest
from geometries import DIFFERENT, UNPADDED, apart, images, output_size
from numpy.lib.stride_tricks import sliding_window_view

from tinycnn.nn import kernels

every_geometry = pytest.mark.parametrize("g", UNPADDED.values(), ids=UNPADDED.keys())


def windows(x, g):
    """Return every window by NumPy: (N, OH, OW, C, KH, KW)."""
    return sliding_window_view(x, (g.KH, g.KW), axis=(1, 2))[:, :: g.SH, :: g.SW]


def im2col(x, g):
    # NaN where the kernel writes nothing.
    cols = np.full((g.N, *output_size(g), g.KH, g.KW * g.C), np.nan)
    kernels.im2col(x, g.KH, g.KW, g.SH, g.SW, cols)
    return cols


def col2im(cols, g):
    x = np.full((g.N, g.H, g.W, g.C), np.nan)
    kernels.col2im(cols, g.KH, g.KW, g.SH, g.SW, x)
    return x


def max_pool(x, g):
    shape = (g.N, *output_size(g), g.C)
    y, winner = np.full(shape, np.nan), np.full(shape, -1, np.int32)
    kernels.max_pool(x, g.KH, g.KW, g.SH, g.SW, y, winner)
    return y, winner


def max_pool_backward(dy, winner, g):
    dx = np.full((g.N, g.H, g.W, g.C), np.nan)
    kernels.max_pool_backward(dy, winner, g.KW, g.SH, g.SW, dx)
    return dx


@pytest.mark.parametrize("g", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_the_sizes_of_a_geometry_are_pairwise_different(g):
    assert len(set(g[:9])) == 9


@every_geometry
def test_im2col_lays_out_the_windows_of_numpy(g):
    x = images(g)
    wanted = windows(x, g).transpose(0, 1, 2, 4, 5, 3)  # (N, OH, OW, KH, KW, C)
    cols = im2col(x, g)
    np.testing.assert_array_equal(cols.reshape(wanted.shape), wanted)


@every_geometry
def test_col2im_is_the_transpose_of_im2col(g):
    x = images(g)
    cols = np.random.default_rng(1).standard_normal(im2col(x, g).shape)
    there, back = (im2col(x, g) * cols).sum(), (x * col2im(cols, g)).sum()
    assert abs(there - back) <= 1e-12 * np.linalg.norm(x) * np.linalg.norm(cols)
    assert abs(there - back) <= 1e-12 * (abs(im2col(x, g) * cols)).sum()


@every_geometry
def test_max_pool_is_the_maximum_of_the_windows_of_numpy(g):
    x = apart((g.N, g.H, g.W, g.C))
    y, winner = max_pool(x, g)
    flat = windows(x, g).reshape(*y.shape, g.KH * g.KW)
    np.testing.assert_array_equal(y, flat.max(axis=-1))
    np.testing.assert_array_equal(winner, flat.argmax(axis=-1))


@every_geometry
def test_a_tie_goes_to_the_first_cell_only(g):
    y, winner = max_pool(np.full((g.N, g.H, g.W, g.C), -3.0), g)
    assert (y == -3).all()
    assert (winner == 0).all()
    # Whole numbers, whose sums are exact.
    dy = np.random.default_rng(2).integers(-9, 9, y.shape).astype(float)
    dx = max_pool_backward(dy, winner, g)
    assert dx.sum() == dy.sum()
    OH, OW = output_size(g)
    corners = np.zeros_like(dx)
    corners[:, : OH * g.SH : g.SH, : OW * g.SW : g.SW] = dy
    np.testing.assert_array_equal(dx, corners)


@every_geometry
def test_a_winner_of_several_windows_receives_their_sum(g):
    y, winner = max_pool(apart((g.N, g.H, g.W, g.C)), g)
    dy = np.random.default_rng(3).integers(1, 9, y.shape).astype(float)
    wanted = np.zeros((g.N, g.H, g.W, g.C))
    for n, oh, ow, c in np.ndindex(y.shape):
        kh, kw = divmod(int(winner[n, oh, ow, c]), g.KW)
        wanted[n, oh * g.SH + kh, ow * g.SW + kw, c] += dy[n, oh, ow, c]
    np.testing.assert_array_equal(max_pool_backward(dy, winner, g), wanted)


@pytest.mark.parametrize("place", range(9))
def test_not_a_number_wins_every_maximum(place):
    g = UNPADDED["3×3 stride 1"]._replace(N=1, H=3, W=3, C=1)
    x = np.arange(9.0)
    x[place] = np.nan
    y, winner = max_pool(x.reshape(1, 3, 3, 1), g)
    assert np.isnan(y.item())
    assert winner.item() == place
