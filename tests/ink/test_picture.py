"""Any picture gives one grey; what is no picture is refused in a sentence."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinycnn.ink import files, picture
from tinycnn.ink.picture import load_picture, open_picture, picture_ink

H, W = 37, 53  # no two alike, and no multiple of a block


@pytest.fixture
def digit() -> np.ndarray:
    """Return a dark stroke with soft edges on light paper: uint8 (H, W)."""
    values = np.full((H, W), 255, np.uint8)
    values[5:30, 20:26] = np.random.default_rng(0).integers(0, 256, (25, 6))
    values[8:28, 21:25] = 7
    return values


def load_grey(path: Path) -> np.ndarray:
    return picture._grey(picture._load(path).image)


def picture_grey(array) -> np.ndarray:
    return picture._grey(picture._from_memory(array).image)


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


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "L", {}),
        ("PNG", "LA", {}),
        ("PNG", "P", {}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("BMP", "L", {}),
        ("BMP", "P", {}),
        ("BMP", "RGB", {}),
        ("BMP", "RGBA", {}),
        ("GIF", "L", {}),
        ("GIF", "P", {}),
        ("GIF", "L", {"interlace": True}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"lossless": True}),
    ],
)
def test_every_lossless_form_gives_the_same_grey(digit, kind, mode, options, tmp_path):
    grey = grey_of(Image.fromarray(digit).convert(mode), kind, tmp_path, **options)
    assert grey.dtype == np.float32
    assert np.array_equal(grey, digit.astype(np.float32) / np.float32(255))


def test_sixteen_bits_are_scaled_and_not_clipped(digit, tmp_path):
    deep = Image.fromarray(digit.astype(np.uint16) * 257)
    assert np.array_equal(grey_of(deep, "PNG", tmp_path), picture_grey(digit))
    wide = Image.fromarray(digit.astype(np.int32) * 257)
    assert wide.mode == "I"
    assert np.array_equal(picture_grey(wide), picture_grey(digit))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF"])
def test_one_bit_is_black_or_white(digit, kind, tmp_path):
    image = Image.fromarray(digit > 100)
    assert image.mode == "1"
    expected = picture_grey((digit > 100).astype(np.uint8) * 255)
    assert np.array_equal(grey_of(image, kind, tmp_path), expected)


def test_ink_held_by_transparency_alone_is_seen(digit, tmp_path):
    ink = 255 - digit
    for mode in ("L", "RGB"):
        dark = with_alpha(np.zeros_like(digit), ink, mode)
        light = with_alpha(np.full_like(digit, 255), ink, mode)
        for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
            on_white = grey_of(dark, kind, tmp_path, **options)
            on_black = grey_of(light, kind, tmp_path, **options)
            assert np.array_equal(on_white, picture_grey(digit))
            assert np.array_equal(on_black, picture_grey(ink))


def test_a_transparent_palette_colour_is_paper(digit, tmp_path):
    image = Image.fromarray(np.where(digit < 100, 0, 1).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 90, 0, 0])
    for kind in ("PNG", "GIF"):
        grey = grey_of(image, kind, tmp_path, transparency=1)
        assert np.array_equal(grey, (digit >= 100).astype(np.float32))


def test_what_is_wholly_transparent_is_white(digit, tmp_path):
    image = with_alpha(digit, np.zeros_like(digit), "L")
    assert (grey_of(image, "PNG", tmp_path) == 1).all()


def test_a_light_page_with_clear_corners_keeps_white_paper(digit, tmp_path):
    alpha = np.full_like(digit, 255)
    alpha[:4, :4] = 0
    assert np.array_equal(
        grey_of(with_alpha(digit, alpha, "L"), "PNG", tmp_path), picture_grey(digit)
    )


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(digit, orientation, kind, tmp_path):
    # The way back from what a person sees to what such a camera stores.
    stored = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: np.rot90,
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }[orientation](digit)
    image = Image.fromarray(np.ascontiguousarray(stored)).convert("RGB")
    options = {"exif": exif(orientation), "lossless": True}
    assert np.array_equal(
        grey_of(image, kind, tmp_path, **options), picture_grey(digit)
    )
    ink = load_picture(tmp_path / "picture")
    assert ink.size == (W, H)
    assert ink.values.shape == (H, W)
    with Image.open(tmp_path / "picture") as opened:
        assert np.array_equal(picture_grey(opened), picture_grey(digit))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_turned_upright_too(digit, mode, tmp_path):
    image = Image.fromarray(np.rot90(digit).copy()).convert(mode)
    for progressive in (False, True):
        options = {"quality": 95, "progressive": progressive}
        grey = grey_of(image, "JPEG", tmp_path, exif=exif(6), **options)
        assert np.abs(grey - picture_grey(digit)).max() < 0.15


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MM",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff" + bytes(40),
        b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x63\0\0\0",
    ],
)
def test_broken_exif_says_nothing(digit, data, tmp_path):
    grey = grey_of(Image.fromarray(digit), "PNG", tmp_path, exif=b"Exif\0\0" + data)
    assert np.array_equal(grey, picture_grey(digit))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_counts(digit, kind, tmp_path):
    others = [Image.fromarray(255 - digit), Image.fromarray(digit[::-1].copy())]
    options = {"save_all": True, "append_images": others, "lossless": True}
    grey = grey_of(Image.fromarray(digit), kind, tmp_path, **options)
    assert np.array_equal(grey, picture_grey(digit))


# --- large pictures ----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA"])
def test_a_large_picture_is_averaged_in_blocks(mode, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "WORKING_PIXELS", 150)
    monkeypatch.setattr(picture, "BAND_PIXELS", 200)
    values = np.random.default_rng(1).integers(0, 256, (H, W)).astype(np.uint8)
    expected = np.array(
        [
            [values[y : y + 4, x : x + 4].mean() / 255 for x in range(0, W, 4)]
            for y in range(0, H, 4)
        ]
    )
    grey = grey_of(Image.fromarray(values).convert(mode), "PNG", tmp_path)
    assert np.abs(grey - expected).max() < 0.51 / 255
    ink = load_picture(tmp_path / "picture")
    assert (ink.size, ink.scale) == ((W, H), 4.0)


def test_a_large_jpeg_is_scaled_down_while_it_is_decoded(tmp_path):
    values = np.full((2400, 3600), 240, np.uint8)
    values[600:1200, 900:1800] = 20
    path = tmp_path / "photo.jpg"
    Image.fromarray(values).save(path, exif=exif(8))
    ink = load_picture(path)
    assert (ink.size, ink.scale) == ((2400, 3600), 2.0)
    assert ink.values.shape == (1800, 1200)
    expected = np.rot90(values[::2, ::2]) / 255
    assert np.abs(load_grey(path) - expected).max() < 0.1


# --- colour ------------------------------------------------------------------------

WHITE, BLACK, BOARD = (255, 255, 255), (0, 0, 0), (30, 90, 60)


@pytest.mark.parametrize(
    ("paper", "ink"),
    [
        (WHITE, (255, 255, 0)),
        (WHITE, (0, 255, 255)),
        (WHITE, (255, 0, 0)),
        (WHITE, (0, 0, 255)),
        (WHITE, (60, 70, 160)),
        (BLACK, (0, 0, 255)),
        (BLACK, (255, 0, 0)),
        (BLACK, (255, 255, 0)),
        (BOARD, WHITE),
        (BOARD, (250, 240, 130)),
        ((0, 128, 0), (255, 0, 0)),
    ],
)
def test_coloured_ink_is_legible(paper, ink, tmp_path):
    stroke = np.zeros((H, W), bool)
    stroke[8:30, 20:25] = True
    colours = np.where(stroke[..., None], ink, paper).astype(np.uint8)
    grey = grey_of(Image.fromarray(colours), "PNG", tmp_path)
    assert abs(float(grey[20, 22]) - float(grey[0, 0])) > 0.5
    assert np.array_equal(load_picture(tmp_path / "picture").values > 0.5, stroke)


def test_digits_on_a_marker_are_told_by_luma():
    colours = np.full((H, W, 3), 255, np.uint8)
    colours[5:32, 10:40] = (255, 255, 0)
    colours[10:28, 20:25] = 0
    grey = picture_grey(colours)
    assert grey[20, 22] == 0
    assert grey[20, 35] > 0.8


# --- pictures in memory ------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "white"),
    [
        (np.uint16, 65_535),
        (np.int16, 255),
        (np.int32, 65_535),
        (np.int64, 255),
        (np.uint32, 2**32 - 1),
        (np.uint64, 255),
        (np.float32, 1),
        (np.float64, 1),
        (np.float32, 255),
        (np.float64, 255),
    ],
)
def test_every_dtype_gives_the_same_grey(digit, dtype, white):
    array = (
        digit.astype(dtype) * dtype(white // 255) if white > 1 else digit / dtype(255)
    )
    array = array.astype(dtype)
    before = array.tobytes()
    expected = picture_grey(digit)
    opaque = np.full_like(array, white)
    forms = [
        array,
        array[..., None],
        np.stack([array] * 3, axis=2),
        np.stack([array, opaque], axis=2),
        np.stack([array, array, array, opaque], axis=2),
        np.asfortranarray(array),
    ]
    for form in forms:
        assert np.array_equal(picture_grey(form), expected)
    assert array.tobytes() == before


def test_bool_is_black_and_white(digit):
    expected = (digit > 100).astype(np.float32)
    assert np.array_equal(picture_grey(digit > 100), expected)


def test_the_ink_of_memory_and_of_a_file_are_the_same(digit, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(digit).save(path)
    from_file = load_picture(path)
    for form in (digit, Image.fromarray(digit), digit.tolist()):
        ink = picture_ink(form)
        assert np.array_equal(ink.values, from_file.values)
        assert (ink.size, ink.scale) == ((W, H), 1.0)
    assert from_file.values.dtype == np.float32
    assert from_file.values[20, 22] > 0.9
    assert from_file.values[0, 0] == 0


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((4, 5), np.nan), "NaN"),
        (np.array([[0.0, np.inf]]), "infinite"),
        (np.array([[0.0, -0.5]]), "-0.5"),
        (np.array([[0.0, 300.0]]), "300"),
        (np.array([[0, -3]]), "-3"),
        (np.zeros(7), r"\(7,\)"),
        (np.zeros(()), r"\(\)"),
        (np.zeros((2, 3, 4, 5)), r"\(2, 3, 4, 5\)"),
        (np.zeros((6, 7, 5)), r"\(6, 7, 5\)"),
        (np.zeros((0, 8)), r"\(0, 8\)"),
        (np.zeros((8, 9, 0)), r"\(8, 9, 0\)"),
        (np.zeros((3, 4), complex), "complex128"),
        (np.array([["1", "2"]]), "U1"),
        (np.array([[None, 1]]), "object"),
        (np.broadcast_to(np.uint8(0), (12_000, 11_000)), "11,000 × 12,000"),
        (np.broadcast_to(np.uint8(0), (1, 70_000)), "70,000 × 1"),
        (Image.new("L", (0, 5)), "0 × 5"),
        (Image.new("I", (3, 3), -4), "-4"),
        (Image.new("F", (3, 3), 999), "999"),
    ],
)
def test_what_is_no_picture_is_a_value_error_with_the_numbers(array, says):
    with pytest.raises(ValueError, match=says):
        picture_ink(array)


# --- a picture to draw on ----------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("1", "L"), ("L", "L"), ("LA", "L"), ("P", "RGB"), ("RGBA", "RGB")],
)
def test_a_picture_to_draw_on_is_upright_and_opaque(digit, mode, expected, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(np.rot90(digit).copy()).convert(mode).save(path, exif=exif(6))
    opened = open_picture(path)
    assert (opened.mode, opened.size) == (expected, (W, H))
    assert np.array_equal(picture_grey(opened), load_grey(path))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint32, np.int8])
def test_a_mask_of_integers_is_black_and_white(digit, dtype):
    mask = (digit > 128).astype(dtype)
    np.testing.assert_array_equal(picture_grey(mask), mask.astype(np.float32))


def test_a_float_that_rounding_lifted_above_1_is_white(digit):
    floats = digit / 255
    np.testing.assert_array_equal(
        picture_grey(np.where(floats == 1, 1.0001, floats)), picture_grey(floats)
    )
