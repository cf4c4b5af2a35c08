"""A picture gives the same grey in every form; no picture is refused."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinycnn.ink import picture, strokes
from tinycnn.ink.picture import open_picture, picture_ink

H, W = 37, 53  # no two alike, and no multiple of a block


@pytest.fixture
def digit() -> np.ndarray:
    """Return a dark stroke with soft edges on light paper: uint8 (H, W)."""
    values = np.full((H, W), 255, np.uint8)
    values[5:30, 20:26] = np.random.default_rng(0).integers(0, 256, (25, 6))
    values[8:28, 21:25] = 7
    return values


def load_grey(path: Path) -> np.ndarray:
    return picture._grey(picture._seen(path)[0])


def picture_grey(array) -> np.ndarray:
    return picture._grey(picture._seen(array)[0])


def grey_of(image: Image.Image, kind: str, tmp_path: Path, **options) -> np.ndarray:
    path = tmp_path / "picture"
    image.save(path, kind, **options)
    return load_grey(path)


def with_alpha(values: np.ndarray, alpha: np.ndarray, mode: str) -> Image.Image:
    image = Image.fromarray(values).convert(mode)
    image.putalpha(Image.fromarray(alpha))
    return image


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


# --- one picture, one grey ---------------------------------------------------------


def test_every_lossless_form_gives_the_same_grey(digit, tmp_path):
    forms = [("PNG", mode, {}) for mode in ("L", "LA", "P", "RGB", "RGBA")]
    forms += [("BMP", mode, {}) for mode in ("L", "P", "RGB", "RGBA")]
    forms += [("GIF", mode, {"interlace": i}) for mode in "LP" for i in (0, 1)]
    forms += [("WEBP", mode, {"lossless": True}) for mode in ("RGB", "RGBA")]
    for kind, mode, options in forms:
        grey = grey_of(Image.fromarray(digit).convert(mode), kind, tmp_path, **options)
        assert grey.dtype == np.float32
        assert np.array_equal(grey, np.float32(digit) / np.float32(255)), (kind, mode)
    for kind in ("GIF", "PNG", "WEBP"):  # of an animation the first frame counts
        others = [Image.fromarray(255 - digit), Image.fromarray(digit[::-1].copy())]
        options = {"save_all": True, "append_images": others, "lossless": True}
        grey = grey_of(Image.fromarray(digit), kind, tmp_path, **options)
        assert np.array_equal(grey, picture_grey(digit)), kind


def test_sixteen_bits_are_scaled_and_one_bit_is_black_or_white(digit, tmp_path):
    deep = Image.fromarray(digit.astype(np.uint16) * 257)
    assert np.array_equal(grey_of(deep, "PNG", tmp_path), picture_grey(digit))
    wide = Image.fromarray(digit.astype(np.int32) * 257)
    assert wide.mode == "I"
    assert np.array_equal(picture_grey(wide), picture_grey(digit))
    mask = digit > 100
    for kind in ("PNG", "BMP", "GIF"):
        grey = grey_of(Image.fromarray(mask), kind, tmp_path)
        assert np.array_equal(grey, mask.astype(np.float32)), kind
    for dtype in (bool, np.int64, np.int32, np.uint32, np.int8):
        grey = picture_grey(mask.astype(dtype))
        assert np.array_equal(grey, mask.astype(np.float32)), dtype


def test_transparent_pixels_are_paper_and_ink_held_by_alpha_alone_is_seen(
    digit, tmp_path
):
    ink, forms = 255 - digit, {"PNG": {}, "WEBP": {"lossless": True, "exact": True}}
    for mode in ("L", "RGB"):
        dark = with_alpha(np.zeros_like(digit), ink, mode)
        light = with_alpha(np.full_like(digit, 255), ink, mode)
        for kind, options in forms.items():
            on_white = grey_of(dark, kind, tmp_path, **options)
            on_black = grey_of(light, kind, tmp_path, **options)
            assert np.array_equal(on_white, picture_grey(digit)), (kind, mode)
            assert np.array_equal(on_black, picture_grey(ink)), (kind, mode)
    hidden = with_alpha(digit, np.zeros_like(digit), "L")
    assert (grey_of(hidden, "PNG", tmp_path) == 1).all()
    alpha = np.full_like(digit, 255)
    alpha[:4, :4] = 0  # a light page keeps white paper
    page = with_alpha(digit, alpha, "L")
    assert np.array_equal(grey_of(page, "PNG", tmp_path), picture_grey(digit))
    palette = Image.fromarray(np.where(digit < 100, 0, 1).astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 90, 0, 0])
    for kind in ("PNG", "GIF"):
        grey = grey_of(palette, kind, tmp_path, transparency=1)
        assert np.array_equal(grey, (digit >= 100).astype(np.float32)), kind


# From the upright picture to what a camera of that EXIF orientation stores.
STORED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: np.rot90,
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, -1),
}


def test_exif_turns_the_picture_upright(digit, tmp_path):
    path = tmp_path / "picture"
    forms = [("PNG", "RGB", 0), ("WEBP", "RGB", 0), ("JPEG", "L", 0.15)]
    forms += [("JPEG", "RGB", 0.15), ("JPEG", "CMYK", 0.15)]
    for orientation, stored in STORED.items():
        for kind, mode, error in forms:
            image = Image.fromarray(np.ascontiguousarray(stored(digit))).convert(mode)
            options = {"exif": exif(orientation), "lossless": True, "quality": 95}
            image.save(path, kind, progressive=orientation > 4, **options)
            difference = np.abs(load_grey(path) - picture_grey(digit)).max()
            assert difference <= error, (kind, mode, orientation)
            ink = picture_ink(path)
            assert (ink.size, ink.values.shape) == ((W, H), (H, W)), orientation
            with Image.open(path) as opened:
                assert np.array_equal(picture_grey(opened), load_grey(path))


def test_broken_exif_is_ignored(digit, tmp_path):
    for data in (
        b"",
        b"MM",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff" + bytes(40),
        b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x63\0\0\0",
    ):
        grey = grey_of(Image.fromarray(digit), "PNG", tmp_path, exif=b"Exif\0\0" + data)
        assert np.array_equal(grey, picture_grey(digit)), data


# --- large pictures ----------------------------------------------------------------


def test_a_large_picture_is_averaged_in_blocks(monkeypatch, tmp_path):
    monkeypatch.setattr(strokes, "WORKING_PIXELS", 150)
    values = np.random.default_rng(1).integers(0, 256, (H, W)).astype(np.uint8)
    rows = [values[y : y + 4] / 255 for y in range(0, H, 4)]
    expected = [[row[:, x : x + 4].mean() for x in range(0, W, 4)] for row in rows]
    for mode in ("L", "P", "RGB", "RGBA", "LA"):
        grey = grey_of(Image.fromarray(values).convert(mode), "PNG", tmp_path)
        assert np.abs(grey - expected).max() < 0.51 / 255, mode
        ink = picture_ink(tmp_path / "picture")
        assert (ink.size, ink.scale) == ((W, H), 4.0)


def test_a_large_jpeg_is_scaled_down_while_it_is_decoded(tmp_path):
    values = np.full((2400, 3600), 240, np.uint8)
    values[600:1200, 900:1800] = 20
    path = tmp_path / "photo.jpg"
    expected = np.rot90(values[::2, ::2]) / 255
    preview = {"save_all": True, "append_images": [Image.new("L", (9, 9))]}
    for kind, options in [("JPEG", {}), ("MPO", preview)]:
        Image.fromarray(values).save(path, kind, exif=exif(8), **options)
        assert picture._decode(path)[0].size == (1800, 1200)
        ink = picture_ink(path)
        assert (ink.size, ink.scale) == ((2400, 3600), 2.0)
        assert ink.values.shape == (1800, 1200)
        assert np.abs(load_grey(path) - expected).max() < 0.1


# --- colour ------------------------------------------------------------------------

WHITE, BLACK, BOARD = (255, 255, 255), (0, 0, 0), (30, 90, 60)


def test_coloured_ink_is_legible(tmp_path):
    stroke = np.zeros((H, W), bool)
    stroke[8:30, 20:25] = True
    for paper, ink in [
        *[(WHITE, (255, 255, 0)), (WHITE, (0, 255, 255)), (WHITE, (255, 0, 0))],
        *[(WHITE, (0, 0, 255)), (WHITE, (60, 70, 160)), (BLACK, (0, 0, 255))],
        *[(BLACK, (255, 0, 0)), (BLACK, (255, 255, 0)), (BOARD, WHITE)],
        *[(BOARD, (250, 240, 130)), ((0, 128, 0), (255, 0, 0))],
    ]:
        colours = np.where(stroke[..., None], ink, paper).astype(np.uint8)
        grey = grey_of(Image.fromarray(colours), "PNG", tmp_path)
        assert abs(float(grey[20, 22]) - float(grey[0, 0])) > 0.5, (paper, ink)
        found = picture_ink(tmp_path / "picture").values > 0.5
        assert np.array_equal(found, stroke), (paper, ink)
    colours = np.full((H, W, 3), 255, np.uint8)
    colours[5:32, 10:40] = (255, 255, 0)  # a marker behind black ink: luma tells
    colours[10:28, 20:25] = 0
    grey = picture_grey(colours)
    assert grey[20, 22] == 0
    assert grey[20, 35] > 0.8


# --- pictures in memory ------------------------------------------------------------


WHITES = {
    np.uint16: 65_535,
    np.int16: 255,
    np.int32: 65_535,
    np.int64: 255,
    np.uint32: 65_535,
    np.uint64: 255,
}


def test_every_dtype_gives_the_same_grey(digit):
    expected = picture_grey(digit)
    arrays = [(digit.astype(t) * t(white // 255), white) for t, white in WHITES.items()]
    for t in (np.float32, np.float64):
        arrays += [(digit / t(255), 1), (digit.astype(t), 255)]
        arrays += [(np.where(digit == 255, t(1.0001), digit / t(255)), 1)]  # rounding
    for array, white in arrays:
        before = array.tobytes()
        opaque = np.full_like(array, white)
        for form in (
            array,
            array[..., None],
            np.stack([array] * 3, axis=2),
            np.stack([array, opaque], axis=2),
            np.stack([array, array, array, opaque], axis=2),
            np.asfortranarray(array),
        ):
            grey = picture_grey(form)
            assert np.array_equal(grey, expected), (array.dtype, white, form.shape)
        assert array.tobytes() == before


def test_the_ink_of_memory_and_of_a_file_are_the_same(digit, tmp_path):
    Image.fromarray(digit).save(tmp_path / "picture.png")
    inks = [picture_ink(form) for form in (digit, Image.fromarray(digit))]
    inks += [picture_ink(digit.tolist()), picture_ink(tmp_path / "picture.png")]
    for ink in inks:
        assert np.array_equal(ink.values, inks[0].values)
        assert (ink.size, ink.scale, ink.values.dtype) == ((W, H), 1.0, np.float32)
        assert ink.values[20, 22] > 0.9
        assert ink.values[0, 0] == 0


def test_what_is_no_picture_is_a_value_error_with_the_numbers():
    for array, says in [
        (np.full((4, 5), np.nan), "nan"),
        (np.array([[0.0, np.inf]]), "inf"),
        (np.array([[0.0, -0.5]]), "-0.5"),
        (np.array([[0.0, 300.0]]), "300"),
        (np.array([[0, -3]]), "-3"),
        *[(np.zeros(s), repr(s)) for s in [(7,), (), (2, 3, 4, 5), (6, 7, 5), (0, 8)]],
        (np.zeros((8, 9, 0)), "(8, 9, 0)"),
        (np.zeros((3, 4), complex), "complex128"),
        (np.array([["1", "2"]]), "U1"),
        (np.array([[None, 1]]), "object"),
        (np.broadcast_to(np.uint8(0), (12_000, 11_000)), "11,000 × 12,000"),
        (np.broadcast_to(np.uint8(0), (1, 70_000)), "70,000 × 1"),
        (Image.new("L", (0, 5)), "0 × 5"),
        (Image.new("I", (3, 3), -4), "-4"),
        (Image.new("F", (3, 3), 999), "999"),
    ]:
        with pytest.raises(ValueError, match=re.escape(says)):
            picture_ink(array)


# --- a picture to draw on ----------------------------------------------------------


def test_a_picture_to_draw_on_is_upright_and_opaque(digit, tmp_path):
    path = tmp_path / "picture.png"
    modes = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGBA": "RGB"}
    for mode, expected in modes.items():
        image = Image.fromarray(np.rot90(digit).copy()).convert(mode)
        image.save(path, exif=exif(6))
        opened = open_picture(path)
        assert (opened.mode, opened.size) == (expected, (W, H)), mode
        assert np.array_equal(picture_grey(opened), load_grey(path)), mode
