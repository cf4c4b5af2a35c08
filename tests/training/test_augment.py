"""The laws of `tinycnn.training.augment`: small, random, repeatable deformations.

The judge of resampling is `scipy.ndimage.affine_transform`. Nothing here knows labels
or networks.
"""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tinycnn.training.augment import Deformation, deform

IDENTITY = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
EVERYTHING = Deformation(rotation=15, scale=0.2, shear=0.3, shift=2)
MANY = 20_000


def random_images(count, H=28, W=28, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, H, W)).astype(np.uint8)


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
    ink = deform(images, Deformation().maps(seed=3, epoch=2, count=5))
    assert ink.dtype == np.float32
    assert ink.shape == (5, 28, 28, 1)
    assert np.array_equal(ink[..., 0], images.astype(np.float32) / 255)


@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (-2, 3), (5, -4), (0, 28)])
def test_a_shift_by_whole_pixels_moves_exactly(down, right):
    images = random_images(2, H=7, W=11)
    maps = np.stack([IDENTITY] * 2)
    maps[:, 0, 2], maps[:, 1, 2] = -down, -right  # a map says where pixels come from
    expected = np.zeros((2, 7, 11), np.float32)
    for h in range(7):
        for w in range(11):
            if 0 <= h - down < 7 and 0 <= w - right < 11:
                expected[:, h, w] = images[:, h - down, w - right] / np.float32(255)
    assert np.array_equal(deform(images, maps)[..., 0], expected)


def test_a_quarter_turn_is_exact():
    images = random_images(3)
    turn = np.array([[0, 1, 0], [-1, 0, 0]], np.float32)
    ink = deform(images, np.stack([turn] * 3))
    expected = np.rot90(images, axes=(1, 2)).astype(np.float32) / 255
    assert np.array_equal(ink[..., 0], expected)


def test_twice_the_map_is_half_the_size():
    image = np.zeros((1, 9, 9), np.uint8)
    image[0, :, 4] = 255  # a line of nine pixels, from the top to the bottom
    ink = deform(image, np.array([[[2, 0, 0], [0, 1, 0]]], np.float32))
    assert np.flatnonzero(ink[0, :, 4, 0]).tolist() == [2, 3, 4, 5, 6]


def test_a_shear_moves_lower_rows_the_further():
    image = np.zeros((1, 5, 9), np.uint8)
    image[0, :, 4] = 255
    ink = deform(image, np.array([[[1, 0, 0], [1, 1, 0]]], np.float32))
    assert [int(row.argmax()) for row in ink[0, ..., 0]] == [6, 5, 4, 3, 2]


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
    ink = deform(image, one_map[np.newaxis])
    assert ink[0, ..., 0] == pytest.approx(by_scipy(image[0], one_map), abs=2e-6)
    assert ink.min() >= 0
    assert ink.max() <= 1


def test_drawn_maps_give_what_scipy_gives():
    images = random_images(40)
    maps = EVERYTHING.maps(seed=1, epoch=1, count=40)
    ink = deform(images, maps)
    for n in range(40):
        assert ink[n, ..., 0] == pytest.approx(by_scipy(images[n], maps[n]), abs=2e-5)


def test_ink_stays_within_its_bounds():
    full = np.full((200, 28, 28), 255, np.uint8)
    ink = deform(full, EVERYTHING.maps(seed=5, epoch=1, count=200))
    assert ink.min() >= 0
    assert ink.max() <= 1
    assert ink[:, 14, 14, 0].min() > 0.99  # the middle of a full page stays full


def test_the_images_are_not_edited():
    images, maps = random_images(4), EVERYTHING.maps(seed=0, epoch=1, count=4)
    before = images.copy(), maps.copy()
    deform(images, maps)
    assert np.array_equal(images, before[0])
    assert np.array_equal(maps, before[1])


def test_arrays_need_not_be_contiguous():
    images, maps = random_images(6)[::2], EVERYTHING.maps(seed=0, epoch=1, count=6)[::2]
    assert np.array_equal(deform(images, maps), deform(images.copy(), maps.copy()))


# --- how far ---------------------------------------------------------------------


def test_rotation_alone_turns_evenly_within_its_limit():
    maps = Deformation(rotation=10).maps(seed=0, epoch=1, count=MANY).astype(float)
    matrices = maps[:, :, :2]
    gram = matrices @ matrices.transpose(0, 2, 1)
    assert np.allclose(gram, np.eye(2), atol=1e-6)
    assert np.allclose(np.linalg.det(matrices), 1, atol=1e-6)
    angles = np.rad2deg(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    is_even(angles, 10)
    assert not maps[:, :, 2].any()


def test_scale_alone_stretches_height_and_width_apart():
    maps = Deformation(scale=0.1).maps(seed=0, epoch=1, count=MANY).astype(float)
    is_even(maps[:, 0, 0] - 1, 0.1)
    is_even(maps[:, 1, 1] - 1, 0.1)
    assert abs(np.corrcoef(maps[:, 0, 0], maps[:, 1, 1])[0, 1]) < 0.05
    assert not maps[:, [0, 0, 1, 1], [1, 2, 0, 2]].any()


def test_shear_alone_moves_columns_by_the_row():
    maps = Deformation(shear=0.3).maps(seed=0, epoch=1, count=MANY).astype(float)
    is_even(maps[:, 1, 0], 0.3)
    maps[:, 1, 0] = 0
    assert np.array_equal(maps, np.broadcast_to(IDENTITY, maps.shape))


def test_shift_alone_moves_down_and_right_apart():
    maps = Deformation(shift=1.5).maps(seed=0, epoch=1, count=MANY).astype(float)
    is_even(maps[:, 0, 2], 1.5)
    is_even(maps[:, 1, 2], 1.5)
    assert abs(np.corrcoef(maps[:, 0, 2], maps[:, 1, 2])[0, 1]) < 0.05
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
        maps = Deformation(**limits).maps(seed=4, epoch=2, count=50)
        return maps[:, :, :2].astype(float), maps[:, :, 2]

    rotation, _ = matrices(rotation=15)
    scale, _ = matrices(scale=0.2)
    shear, _ = matrices(shear=0.3)
    _, shift = matrices(shift=2)
    together = EVERYTHING.maps(seed=4, epoch=2, count=50)
    assert np.allclose(together[:, :, :2], shear @ rotation @ scale, atol=1e-6)
    assert np.array_equal(together[:, :, 2], shift)


# --- the same again --------------------------------------------------------------


def test_the_same_seed_and_epoch_give_the_same_maps():
    first, second = (EVERYTHING.maps(seed=7, epoch=3, count=30) for _ in range(2))
    assert first.dtype == np.float32
    assert first.shape == (30, 2, 3)
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize(("seed", "epoch"), [(7, 4), (8, 3), (3, 7)])
def test_another_seed_or_epoch_gives_other_maps(seed, epoch):
    first = EVERYTHING.maps(seed=7, epoch=3, count=30)
    assert (first != EVERYTHING.maps(seed, epoch, count=30)).any(axis=(1, 2)).all()


def test_every_image_has_a_map_of_its_own():
    maps = EVERYTHING.maps(seed=7, epoch=3, count=30)
    assert len(np.unique(maps.reshape(30, 6), axis=0)) == 30


def test_a_map_does_not_depend_on_how_many_other_images_there_are():
    few, many = (EVERYTHING.maps(seed=7, epoch=3, count=n) for n in (10, 30))
    assert np.array_equal(few, many[:10])


def test_a_batch_is_the_same_rows_of_the_whole():
    images, maps = random_images(30), EVERYTHING.maps(seed=7, epoch=3, count=30)
    whole = deform(images, maps)
    chosen = np.array([4, 29, 0, 17, 3])
    assert deform(images[chosen], maps[chosen]).tobytes() == whole[chosen].tobytes()


def test_two_threads_give_the_same_bits_as_one():
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("Numba has one thread on this machine")
    images, maps = random_images(64), EVERYTHING.maps(seed=7, epoch=3, count=64)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(deform(images, maps).tobytes())
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]
