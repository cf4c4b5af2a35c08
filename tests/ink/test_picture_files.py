"""Files that are no pictures, or cost too much, are refused in one sentence."""

import contextlib
import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinycnn.ink.picture import PictureError, open_picture, picture_ink


def chunk(kind: bytes, data: bytes) -> bytes:
    end = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + end


def png(width: int, height: int, data: bytes, more: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")


def webp(kind: bytes, header: bytes) -> bytes:
    """Return a WEBP of 44 bytes."""
    body = b"WEBP" + kind + struct.pack("<I", 24) + header.ljust(24, b"\0")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg_with(marker: int, data: bytes, times: int = 1) -> bytes:
    """Return a small JPEG with a segment at its start."""
    content = saved(Image.new("L", (9, 9)), "JPEG")
    segment = struct.pack(">BBH", 255, marker, len(data) + 2) + data
    return content[:2] + segment * times + content[2:]


def scans(side: int, count: int) -> bytes:
    """Return a progressive JPEG that repeats its last scan."""
    content = saved(Image.new("RGB", (side, side)), "JPEG", progressive=True)
    return content[:-2] + content[content.rindex(b"\xff\xda") : -2] * count


def rle_bmp(width: int, height: int) -> bytes:
    fields = (40, width, height, 1, 8, 1, 2, 0, 0, 0, 0)
    head = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 1080, 0, 1078, *fields)
    return head + bytes(1024) + b"\0\1"


def refusal(path: Path) -> str:
    """Return the sentence with which both readers refuse a file."""
    for read in (picture_ink, open_picture):
        with pytest.raises(PictureError) as caught:
            read(path)
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert ";" in sentence  # what to do
    return sentence


SIDE = 13_370 - 1
MEGABYTE = b"x\0\0" + zlib.compress(bytes(2**20))
COSTLY = {
    "pixels": (png(5_001, 5_000, b""), "25,000,000"),
    "a side": (png(70_000, 9, b""), "65,535 a side"),
    "Pillow's error": (png(2**31 - 1, 2**31 - 1, b""), "too many pixels"),
    "Pillow's warning": (png(9_700, 9_700, b""), "25,000,000"),
    "WEBP": (webp(b"VP8L", struct.pack("<BI", 0x2F, SIDE | SIDE << 14)), "12,000,000"),
    "run lengths": (rle_bmp(1_500, 1_500), "2,000,000"),
    "profiles": (
        png(9, 9, bytes(90), chunk(b"iCCP", MEGABYTE) * 1_000),
        "metadata",
    ),
    "text": (png(9, 9, bytes(90), chunk(b"iTXt", bytes(2**24))), "metadata"),
    "chunks": (png(9, 9, bytes(90), chunk(b"aaAa", b"") * 150_000), "metadata"),
    "comments": (jpeg_with(0xFE, b"", 90_000), "metadata"),
    "blocks": (b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\1x\0" * 90_000, "metadata"),
    "EXIF": (jpeg_with(0xE1, b"Exif\0\0" + bytes(65_000), 150), "metadata"),
    "scans": (scans(500, 3_000), "scans"),
}


def test_what_takes_too_much_time_or_memory_is_never_decoded(tmp_path, monkeypatch):
    # A call would be a TypeError, which is reported as damage.
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    for name, (content, says) in COSTLY.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert says in refusal(path).removeprefix(str(path)), name


def test_pillows_warnings_stay_inside_and_its_limit_as_it_was(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(COSTLY["Pillow's warning"][0])
    before = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    with ThreadPool(8) as threads:
        threads.map(refusal, [path] * 100)
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before


def directory(entries: int) -> bytes:
    """Return a TIFF directory, every entry of which points to all of it."""
    size = 14 + 12 * entries
    table = b"".join(struct.pack("<HHII", i, 7, size, 0) for i in range(entries))
    return b"II*\0" + struct.pack("<IH", 8, entries) + table + bytes(4)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_costliest_files_that_are_read_take_less_than_300_megabytes(tmp_path):
    grey = [Image.new("RGBA", (5_000, 5_000), (v, v, v, 200)) for v in (0, 99)]
    dark = Image.new("CMYK", (5_000, 5_000))
    frames = {"save_all": True, "append_images": grey[1:], "compress_level": 1}
    contents = {
        "webp": saved(Image.new("RGB", (4_000, 3_000)), "WEBP", method=0),
        "progressive": saved(dark, "JPEG", progressive=True),
        "animation": saved(grey[0], "PNG", disposal=2, blend=1, **frames),
        "EXIF": jpeg_with(0xE1, b"Exif\0\0" + directory(5_400), 100),
        "MPF": jpeg_with(0xE2, b"MPF\0" + directory(5_400)),
        "text": png(9, 9, bytes(90), chunk(b"iTXt", b"x" + bytes(5) + b"a" * 2**22)),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    code = (
        "import sys\n"
        "from tinycnn.ink.picture import picture_ink\n"
        "for path in sys.argv[1:]:\n"
        "    picture_ink(path)\n"
        "    status = open('/proc/self/status').read()\n"
        "    print(path, status.split('VmHWM:')[1].split()[0])\n"  # kB at the most
    )
    command = [sys.executable, "-c", code, *(str(tmp_path / name) for name in contents)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(ended.stdout.split()[-1]) < 300_000, ended.stdout


NO_PICTURES = {
    "missing": (None, "cannot be read"),
    "empty": (b"", "is empty"),
    "text": (b"seven\n" * 99, "not a PNG"),
    "SVG": (b"<svg xmlns='x'></svg>", "not a PNG"),
    "TIFF": (saved(Image.new("L", (9, 9)), "TIFF"), "not a PNG"),
    "PPM": (saved(Image.new("L", (9, 9)), "PPM"), "not a PNG"),
    "half a PNG": (png(9, 9, bytes(90))[:45], "damaged"),
    "no pixels": (png(0, 9, bytes(90)), "damaged"),
    "start of a JPEG": (b"\xff\xd8\xff", "damaged"),
    "an empty segment": (b"\xff\xd8\xff\xe0\0\0", "damaged"),
    "two\nlines": (b"seven", r"two\nlines"),
    os.fsdecode(b"\xff\xfe"): (b"seven", r"\udcff\udcfe"),
    "zero\0": (None, r"zero\x00"),
}


def test_a_file_that_is_no_picture_is_refused_in_one_sentence(tmp_path):
    for name, (content, says) in NO_PICTURES.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        sentence = refusal(path)
        assert says in sentence, name
        shown = str(path) if str(path).isprintable() else repr(str(path))
        assert sentence.startswith(f"{shown}: "), name
    path = tmp_path / "two\nlines"
    Image.new("L", (5, 4), 7).save(path, "PNG")
    assert open_picture(path).getcolors() == [(20, 7)]


def test_what_is_no_regular_file_or_too_large_is_refused_unread(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot be read" in refusal(tmp_path / "loop")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**35)
    assert "33,554,432 bytes" in refusal(tmp_path / "large")
    if hasattr(os, "mkfifo"):  # a pipe is not waited for
        os.mkfifo(tmp_path / "pipe")
        assert "not a regular file" in refusal(tmp_path / "pipe")
    for path in (tmp_path, Path(os.devnull)):
        assert "not a regular file" in refusal(path)
    if hasattr(os, "geteuid") and os.geteuid() != 0:  # root may read everything
        (tmp_path / "large").chmod(0)
        assert "right to read" in refusal(tmp_path / "large")


def test_a_damaged_file_is_read_or_refused(tmp_path):
    """Every format with bits flipped and ends cut off: no other error, no crash."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8))
    path = tmp_path / "picture"
    for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP"):
        content = saved(image, kind)
        for _ in range(60):
            damaged = np.frombuffer(content, np.uint8).copy()
            at = rng.integers(
                0, len(damaged) // rng.integers(1, 20), rng.integers(1, 9)
            )
            damaged[at] ^= 1 << rng.integers(0, 8, len(at), np.uint8)
            path.write_bytes(damaged[: rng.integers(1, 2 * len(damaged))].tobytes())
            with contextlib.suppress(PictureError):
                picture_ink(path)
