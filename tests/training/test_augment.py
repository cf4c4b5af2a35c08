"""The laws of `tinycnn.training.augment`: small, random, repeatable deformations.

Resampling is compared with `scipy.ndimage.affine_transform`.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tinycnn.training.augment import KNOTS, Deformation, Warps, deform

IDENTITY = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
AFFINE = Deformation(rotation=15, scale=0.2, shear=0.3, shift=2)
EVERYTHING = replace(AFFINE, bend=3, pen=0.5)
MANY = 20_000


def random_images(count, H=28, W=28, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, H, W)).astype(np.uint8)


def warps_of(maps):
    """Return warps that do what the maps say and nothing else."""
    maps = np.asarray(maps, np.float32)
    bends = np.zeros((len(maps), 2, KNOTS, KNOTS), np.float32)
    return Warps(maps, bends, np.zeros(len(maps), np.float32))


def maps_of(count=MANY, seed=0, epoch=1, **limits):
    return Deformation(**limits).warps(seed, epoch, count).maps.astype(float)


def by_scipy(image, one_map):
    """Resample one image in float64, with paper outside, about the centre."""
    matrix, shift = np.float64(one_map[:, :2]), np.float64(one_map[:, 2])
    middle = (np.array(image.shape) - 1) / 2
    return ndimage.affine_transform(
        image / 255.0,
        matrix,
        offset=middle + shift - matrix @ middle,
        order=1,
        # "constant" would also blank what lies within a pixel of the border.
        mode="grid-constant",
    )


# --- resampling ------------------------------------------------------------------


def test_no_deformation_is_the_identity():
    images = random_images(5)
    ink = deform(images, Deformation().warps(seed=3, epoch=2, count=5))
    assert ink.dtype == np.float32
    assert ink.shape == (5, 28, 28, 1)
    assert np.array_equal(ink[..., 0], images.astype(np.float32) / 255)


def test_a_shift_by_whole_pixels_moves_exactly():
    images = random_images(2, H=7, W=11)
    for down, right in [(0, 1), (1, 0), (-2, 3), (5, -4), (0, 28)]:
        maps = np.stack([IDENTITY] * 2)
        maps[:, :, 2] = -down, -right  # a map says where pixels come from
        expected = np.zeros((2, 7, 11), np.float32)
        for h in range(7):
            for w in range(11):
                if 0 <= h - down < 7 and 0 <= w - right < 11:
                    expected[:, h, w] = images[:, h - down, w - right] / np.float32(255)
        moved = deform(images, warps_of(maps))[..., 0]
        assert np.array_equal(moved, expected), (down, right)


numbers = st.floats(-2, 2, width=32)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(numbers, min_size=4, max_size=4),
    st.lists(st.floats(-9, 9, width=32), min_size=2, max_size=2),
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99)),
)
def test_any_map_gives_what_scipy_gives(matrix, shift, size):
    H, W, seed = size
    image = random_images(1, H, W, seed)
    one_map = np.float32([[*matrix[:2], shift[0]], [*matrix[2:], shift[1]]])
    ink = deform(image, warps_of([one_map]))
    assert ink[0, ..., 0] == pytest.approx(by_scipy(image[0], one_map), abs=2e-6)
    assert ink.min() >= 0
    assert ink.max() <= 1


def test_ink_stays_within_its_bounds():
    full = np.full((200, 28, 28), 255, np.uint8)
    ink = deform(full, EVERYTHING.warps(seed=5, epoch=1, count=200))
    assert ink.min() >= 0
    assert ink.max() <= 1
    assert ink[:, 14, 14, 0].min() > 0.99  # the middle of a full page stays full


def test_arrays_are_not_edited_and_need_not_be_contiguous():
    images, warps = random_images(6)[::2], EVERYTHING.warps(seed=0, epoch=1, count=6)
    sparse = Warps(*(array[::2] for array in warps))
    dense = Warps(*(array.copy() for array in sparse))
    copy = images.copy()
    assert np.array_equal(deform(images, sparse), deform(copy, dense))
    assert np.array_equal(images, copy)
    for array, untouched in zip(sparse, dense, strict=True):
        assert np.array_equal(array, untouched)


# --- how far ---------------------------------------------------------------------


def test_rotation_alone_turns_evenly_within_its_limit():
    maps = maps_of(rotation=10)
    matrices = maps[:, :, :2]
    gram = matrices @ matrices.transpose(0, 2, 1)
    assert np.allclose(gram, np.eye(2), atol=1e-6)
    assert np.allclose(np.linalg.det(matrices), 1, atol=1e-6)
    angles = np.rad2deg(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    is_even(angles, 10)
    assert not maps[:, :, 2].any()


def test_scale_alone_stretches_height_and_width_apart():
    maps = maps_of(scale=0.1)
    is_even(maps[:, 0, 0] - 1, 0.1)
    is_even(maps[:, 1, 1] - 1, 0.1)
    assert not maps[:, [0, 0, 1, 1], [1, 2, 0, 2]].any()


def test_shear_alone_moves_columns_by_the_row():
    maps = maps_of(shear=0.3)
    is_even(maps[:, 1, 0], 0.3)
    maps[:, 1, 0] = 0
    assert np.array_equal(maps, np.broadcast_to(IDENTITY, maps.shape))


def test_shift_alone_moves_down_and_right_apart():
    maps = maps_of(shift=1.5)
    is_even(maps[:, 0, 2], 1.5)
    is_even(maps[:, 1, 2], 1.5)
    maps[:, :, 2] = 0
    assert np.array_equal(maps, np.broadcast_to(IDENTITY, maps.shape))


def is_even(amounts, limit):
    """Hold amounts against an even distribution over ± limit."""
    assert np.abs(amounts).max() <= limit * (1 + 1e-6)
    assert np.abs(amounts).max() > 0.99 * limit
    # The mean of many draws has a standard deviation of limit / sqrt(3 * MANY).
    assert abs(amounts.mean()) < 5 * limit / np.sqrt(3 * MANY)
    assert np.abs(amounts).mean() == pytest.approx(limit / 2, rel=0.05)


def test_together_they_are_the_product_of_each_alone():
    def matrices(**limits):
        maps = maps_of(50, seed=4, epoch=2, **limits)
        return maps[:, :, :2], maps[:, :, 2]

    rotation, _ = matrices(rotation=15)
    scale, _ = matrices(scale=0.2)
    shear, _ = matrices(shear=0.3)
    _, shift = matrices(shift=2)
    together = EVERYTHING.warps(seed=4, epoch=2, count=50).maps
    assert np.allclose(together[:, :, :2], shear @ rotation @ scale, atol=1e-6)
    assert np.array_equal(together[:, :, 2], shift)


def test_knots_alone_are_moved_evenly_down_and_right():
    warps = Deformation(bend=2).warps(seed=0, epoch=1, count=MANY)
    for knot in ((0, 0, 0), (1, 3, 5), (0, 6, 6)):
        is_even(warps.bends[:, *knot].astype(float), 2)
    assert not warps.pens.any()
    assert np.array_equal(warps.maps, np.broadcast_to(IDENTITY, warps.maps.shape))


def test_pens_alone_grow_and_shrink_evenly():
    warps = Deformation(pen=0.5).warps(seed=0, epoch=1, count=MANY)
    is_even(warps.pens.astype(float), 0.5)
    assert not warps.bends.any()
    assert np.array_equal(warps.maps, np.broadcast_to(IDENTITY, warps.maps.shape))


def test_every_amount_is_drawn_apart_from_the_others():
    turned, scaled, sheared, shifted = (
        maps_of(**limit)
        for limit in ({"rotation": 10}, {"scale": 0.1}, {"shear": 0.1}, {"shift": 1})
    )
    warps = Deformation(pen=1, bend=1).warps(seed=0, epoch=1, count=MANY)
    amounts = [
        *(turned[:, 0, 1], scaled[:, 0, 0], scaled[:, 1, 1], sheared[:, 1, 0]),
        *(shifted[:, 0, 2], shifted[:, 1, 2], warps.pens),
        *(warps.bends[:, 0, 2, 2], warps.bends[:, 1, 2, 2], warps.bends[:, 1, 2, 3]),
    ]
    correlations = np.corrcoef(amounts) - np.eye(len(amounts))
    assert np.abs(correlations).max() < 0.05


# --- bends -----------------------------------------------------------------------


def bent(images, bends):
    """Deform every image by one grid of displacements."""
    warps = warps_of([IDENTITY] * len(images))
    warps.bends[:] = bends
    return deform(images, warps)[..., 0]


def test_knots_that_all_move_alike_move_the_image():
    """B-splines sum to 1 everywhere."""
    images = random_images(3)
    for down, right in [(1, 0), (0, -2), (3, 2)]:
        bend = np.float32([down, right])[:, None, None]
        maps = np.stack([IDENTITY] * 3)
        maps[:, :, 2] = down, right
        shifted = deform(images, warps_of(maps))[..., 0]
        bends = np.broadcast_to(bend, (2, KNOTS, KNOTS))
        assert bent(images, bends) == pytest.approx(shifted, abs=1e-5), (down, right)


def test_a_bend_is_smooth_and_near_its_knot():
    """Read off a ramp: where a pixel comes from is what it shows."""
    ramp = np.broadcast_to(np.arange(28, dtype=np.uint8) * 9, (1, 28, 28))
    bends = np.zeros((2, KNOTS, KNOTS), np.float32)
    bends[1, 3, 3] = 3  # the knot in the middle of the image, to the right
    moved = (bent(ramp, bends)[0] * 255 - ramp[0]) / 9
    peak = 3 * (2 / 3) ** 2  # of the product of two cubic B-splines
    assert moved.max() == pytest.approx(peak, rel=0.02)
    assert np.unravel_index(moved.argmax(), moved.shape) in {(13, 13), (13, 14)}
    assert abs(np.diff(moved, axis=0)).max() < 0.25
    assert abs(moved[0]).max() < 1e-3  # two knots away and more


def test_ordinary_bends_fold_nothing():
    """From pixel to pixel a source goes on by less than twice a pixel, and forward."""
    ramp = np.broadcast_to(np.arange(28, dtype=np.uint8) * 9, (50, 28, 28))
    warps = Deformation(bend=3).warps(seed=0, epoch=1, count=50)
    seen = deform(ramp, warps)[:, 5:-5, 5:-6, 0] * 255 / 9  # no paper comes in
    steps = np.diff(seen, axis=2)
    assert steps.min() > 0
    assert steps.max() < 2


# --- pens ------------------------------------------------------------------------


def with_pen(image, pen):
    warps = warps_of([IDENTITY])
    warps.pens[:] = pen
    return deform(image[np.newaxis], warps)[0, ..., 0]


def test_a_pen_goes_its_way_towards_the_extreme_of_the_neighbours():
    (image,) = random_images(1, H=9, W=7)
    cross = ndimage.generate_binary_structure(2, 1)
    for pen in (1.0, 0.3, -0.3, -1.0):
        extreme = ndimage.grey_dilation if pen > 0 else ndimage.grey_erosion
        there = extreme(image / 255, footprint=cross, mode="constant", cval=0)
        expected = image / 255 + abs(pen) * (there - image / 255)
        assert with_pen(image, pen) == pytest.approx(expected, abs=1e-6), pen


# --- the same again --------------------------------------------------------------


def test_every_seed_epoch_and_image_has_its_warp_and_keeps_it():
    first = EVERYTHING.warps(seed=7, epoch=3, count=30)
    for seed, epoch in [(7, 4), (8, 3), (3, 7)]:
        other = EVERYTHING.warps(seed, epoch, count=30)
        for array, another in zip(first, other, strict=True):
            differs = (array != another).reshape(30, -1)
            assert differs.any(axis=1).all(), (seed, epoch)
    few = EVERYTHING.warps(seed=7, epoch=3, count=10)  # a function of the image alone
    shapes = (2, 3), (2, KNOTS, KNOTS), ()
    for array, start, shape in zip(first, few, shapes, strict=True):
        assert (array.dtype, array.shape) == (np.float32, (30, *shape))
        assert len(np.unique(array.reshape(30, -1), axis=0)) == 30
        assert array[:10].tobytes() == start.tobytes()


def test_a_batch_is_the_same_rows_of_the_whole():
    images, warps = random_images(30), EVERYTHING.warps(seed=7, epoch=3, count=30)
    whole = deform(images, warps)
    chosen = np.array([4, 29, 0, 17, 3])
    batch = deform(images[chosen], warps.of(chosen))
    assert batch.tobytes() == whole[chosen].tobytes()
