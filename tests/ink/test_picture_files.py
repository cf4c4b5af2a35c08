"""A file that is no picture, or costs too much, is refused in a sentence."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tinycnn.ink.picture import PictureError, load_picture, open_picture


def chunk(kind: bytes, data: bytes) -> bytes:
    end = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + end


def png(width: int, height: int, data: bytes, more: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")


def refusal(path: Path) -> str:
    """Return the sentence with which both readers refuse a file."""
    for read in (load_picture, open_picture):
        with pytest.raises(PictureError) as caught:
            read(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path / "missing", "cannot be read"),
        (Path.mkdir, "not a regular file"),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_text("seven\n" * 99), "no PNG"),
        (lambda path: path.write_text("<svg xmlns='x'></svg>"), "no PNG"),
        (lambda path: Image.new("L", (9, 9)).save(path, "TIFF"), "no PNG"),
        (lambda path: Image.new("L", (9, 9)).save(path, "PPM"), "no PNG"),
        (lambda path: path.write_bytes(png(9, 9, bytes(90))[:45]), "damaged"),
        (lambda path: path.write_bytes(png(0, 9, bytes(90))), "damaged"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff"), "damaged"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0\0\0"), "damaged"),
        (lambda path: path.write_bytes(png(10_001, 10_001, b"")), "100,000,000"),
        (lambda path: path.write_bytes(png(70_000, 9, b"")), "65,535 a side"),
        (lambda path: path.write_bytes(png(2**31 - 1, 2**31 - 1, b"")), "too many"),
    ],
)
def test_a_file_that_is_no_picture_is_refused_in_one_sentence(make, says, tmp_path):
    path = tmp_path / "picture.png"
    make(path)
    sentence = refusal(path)
    assert sentence.startswith(f"{path}: ")
    assert says in sentence
    assert ";" in sentence  # what to do
    assert sentence.isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_or_a_device_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")
    assert "not a regular file" in refusal(Path(os.devnull))


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(png(9, 9, bytes(90)))
    path.chmod(0)
    assert "right to read" in refusal(path)


@pytest.mark.parametrize("name", ["two\nlines", os.fsdecode(b"\xff\xfe"), "zero\0"])
def test_an_odd_name_is_shown_escaped(name, tmp_path):
    sentence = refusal(tmp_path / name)
    assert repr(name)[1:-1] in sentence
    assert sentence.isprintable()


def test_a_picture_with_an_odd_name_is_read(tmp_path):
    path = tmp_path / "two\nlines"
    Image.new("L", (5, 4), 7).save(path, "PNG")
    assert open_picture(path).getcolors() == [(20, 7)]


def test_a_file_that_is_too_large_is_refused_unread(tmp_path):
    path = tmp_path / "picture.png"
    with path.open("wb") as file:
        file.truncate(2**35)
    assert "33,554,432 bytes" in refusal(path)


@pytest.mark.parametrize(
    ("kind", "mode", "side", "options"),
    [
        ("WEBP", "RGB", 2600, {"method": 0}),
        ("JPEG", "RGB", 4200, {"progressive": True}),
        ("PNG", "RGB", 5200, {"compress_level": 1}),
    ],
)
def test_what_takes_too_much_memory_is_never_decoded(
    kind, mode, side, options, tmp_path, monkeypatch
):
    path = tmp_path / "picture"
    Image.new(mode, (side, side)).save(path, kind, **options)

    # A call would be a TypeError, which is reported as damage.
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert "memory" in refusal(path)


def test_a_jpeg_of_very_many_scans_is_refused(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (500, 500)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    scan = content[content.rindex(b"\xff\xda") : -2]
    path = tmp_path / "picture.jpg"
    path.write_bytes(content[:-2] + scan * 3000 + content[-2:])
    assert "too many scans" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        png(9, 9, bytes(90), chunk(b"aaAa", b"") * 20_000),
        b"\xff\xd8" + b"\xff\xfe\0\2" * 20_000,
        b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\1x\0" * 50_000,
    ],
)
def test_a_header_of_very_many_pieces_is_given_up(content, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(content)
    assert "too many pieces" in refusal(path)


def test_an_unusual_kind_of_jpeg_is_refused(tmp_path):
    path = tmp_path / "picture.jpg"
    Image.new("L", (9, 9)).save(path)
    path.write_bytes(path.read_bytes().replace(b"\xff\xc0", b"\xff\xc9"))
    assert "unusual kind of JPEG" in refusal(path)


def test_text_profiles_and_comments_never_reach_pillow(tmp_path, monkeypatch):
    seen = []
    opener = Image.open

    def spy(file, **options):
        image = opener(file, **options)
        seen.append(set(image.info) | set(getattr(image, "text", {})))
        return image

    profile = zlib.compress(bytes(2**20))
    hidden = chunk(b"iCCP", b"x\0\0" + profile) + chunk(b"zTXt", b"x\0\0" + profile)
    path = tmp_path / "picture"
    path.write_bytes(png(5, 4, bytes(4 * 6), hidden))
    exif = Image.Exif()
    exif[0x0112] = 1
    options = {"icc_profile": bytes(99), "comment": b"x", "exif": exif}
    Image.new("L", (5, 4)).save(tmp_path / "jpeg", "JPEG", **options)
    monkeypatch.setattr(Image, "open", spy)
    for name in ("picture", "jpeg"):
        assert open_picture(tmp_path / name).getcolors() == [(20, 0)]
    assert len(seen) == 2
    assert not {"icc_profile", "comment", "exif", "x"} & set.union(*seen)


def test_pillows_warnings_stay_inside(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(png(9_700, 9_700, b""))  # Pillow warns from 89 million pixels on
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refusal(path)
    assert not caught
