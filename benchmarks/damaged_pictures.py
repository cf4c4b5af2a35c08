"""Read thousands of damaged or hostile picture files and see that none does harm.

``python -m benchmarks.damaged_pictures [--files 5000] [--seed 0]``

Each file is made from a good PNG, JPEG, BMP, GIF or WEBP by one kind of damage, in
turn, or is one of the bombs listed below. A process of its own reads it, so that a
crash is seen, and the time and the memory are its own. A file must be read or give
`PictureError`, within 2 s of the processor (in one of three attempts) and 150 MB over a
process that reads nothing. The clock is shown too; it also runs while others use the
processor. The last lines tell the sum, the slowest and the largest. Exit 1 if any file
failed. Needs a system with `fork`.

This file knows what damage looks like. It does not know how the reader finds it.
"""

import argparse
import io
import os
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tinycnn._cli import whole
from tinycnn.ink.picture import PictureError, load_picture

LIMIT_SECONDS = 2.0
LIMIT_BYTES = 150_000_000
GIVEN_UP_AFTER = 10  # seconds
BATCH = 50  # files on disk at a time
BOMB_EVERY = 50  # files: a bomb takes up to a second

Random = np.random.Generator
Damage = Callable[[bytes, Random], bytes]

SIGNATURES = [
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    b"\xff\xd8\xff\xe1\0\x10Exif\0\0",
    b"BM" + bytes(8) + b"\x36\0\0\0\x28\0\0\0",
    b"GIF89a",
    b"GIF87a",
    b"RIFF\xff\xff\0\0WEBPVP8 ",
    b"RIFF\xff\xff\0\0WEBPVP8L",
    b"RIFF\xff\xff\0\0WEBPVP8X\x0a\0\0\0",
]


# --- good files ------------------------------------------------------------------


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return an image as the content of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    """Return EXIF data with an orientation."""
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def originals(rng: Random) -> list[bytes]:
    """Return good files of every format in many modes, some 5 kB each."""
    grey = np.full((60, 110), 250, np.uint8)
    grey[10:50, 20:26] = 20
    grey[15:45, 60:90] = rng.integers(0, 256, (30, 30))
    image = Image.fromarray(grey)
    clear = image.convert("RGBA")
    clear.putalpha(image)
    frames = [image, image.rotate(90), image.rotate(180)]
    animation = {"save_all": True, "append_images": frames}
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    files = [saved(deep, "PNG"), png(110, 60, b"\x08\2\0\0\1", bytes(30_000))]
    files += [rle_bmp(110, 60, b"\x6e\1\0\0" * 60 + b"\0\1")]
    for mode in ("1", "L", "P", "RGB"):
        copy = image.convert(mode)
        files += [saved(copy, kind) for kind in ("PNG", "BMP", "GIF")]
    files += [saved(clear, kind) for kind in ("PNG", "BMP", "GIF")]
    files += [saved(image.convert("LA"), "PNG", exif=exif(3))]
    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            copy = image.convert(mode)
            files.append(saved(copy, "JPEG", progressive=progressive, exif=exif(6)))
    for copy in (image.convert("RGB"), clear):
        for lossless in (False, True):
            files.append(saved(copy, "WEBP", lossless=lossless, exif=exif(8)))
    files += [saved(image, kind, **animation) for kind in ("GIF", "WEBP", "PNG")]
    return files


# --- damage ----------------------------------------------------------------------


def truncate(content: bytes, rng: Random) -> bytes:
    """Cut the end off; in half of the cases only a little."""
    most = len(content) if rng.random() < 0.5 else 20
    return content[: len(content) - int(rng.integers(1, most + 1))]


def flip_bits(content: bytes, rng: Random) -> bytes:
    """Flip one to twenty bits anywhere."""
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 21)):
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def flip_start(content: bytes, rng: Random) -> bytes:
    """Flip a bit or two of the first 64 bytes."""
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 3)):
        damaged[rng.integers(min(64, len(damaged)))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def change_number(content: bytes, rng: Random) -> bytes:
    """Write an extreme number over two or four bytes near the start."""
    at = int(rng.integers(4, min(200, len(content))))
    number = int(rng.choice([0, 1, 255, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1]))
    length = 2 if number < 2**16 and rng.random() < 0.7 else 4
    order = ("little", "big")[rng.integers(2)]
    return content[:at] + number.to_bytes(length, order) + content[at + length :]


def change_bytes(content: bytes, rng: Random) -> bytes:
    """Replace a run of up to 64 bytes by noise or by zeros."""
    at = int(rng.integers(len(content)))
    length = min(int(rng.integers(1, 65)), len(content) - at)
    noise = rng.bytes(length) if rng.random() < 0.7 else bytes(length)
    return content[:at] + noise + content[at + length :]


def add_bytes(content: bytes, rng: Random) -> bytes:
    """Insert noise, zeros or 255s at the end or between."""
    noise = rng.bytes(int(rng.integers(1, 300)))
    noise = (noise, bytes(len(noise)), b"\xff" * len(noise))[rng.integers(3)]
    at = (len(content), int(rng.integers(len(content))))[rng.integers(2)]
    return content[:at] + noise + content[at:]


def cut_out(content: bytes, rng: Random) -> bytes:
    """Take a run of bytes out of the middle."""
    at = int(rng.integers(len(content)))
    return content[:at] + content[at + int(rng.integers(1, 500)) :]


def repeat_a_part(content: bytes, rng: Random) -> bytes:
    """Write a run of bytes many times over."""
    one, two = sorted(rng.integers(0, len(content), size=2).tolist())
    return content[:two] + content[one:two] * int(rng.integers(2, 200)) + content[two:]


def random_behind_signature(content: bytes, rng: Random) -> bytes:
    """Return noise behind the first bytes of a format."""
    noise = rng.bytes(int(rng.integers(1, len(content))))
    return SIGNATURES[rng.integers(len(SIGNATURES))] + noise


def edit_png(content: bytes, rng: Random) -> bytes:
    """Return a PNG with right checksums whose header promises something else."""
    sides = [0, 1, 2, 7, 110, 3000, 9999, 65_535, 2**31 - 1]
    header = rng.choice(sides, 2).tolist()
    kind = bytes(rng.integers(0, [17, 8, 2, 2, 2]).tolist())
    if rng.random() < 0.5:
        kind = (GREY, RGB, PALETTE, b"\x10\6\0\0\1")[rng.integers(4)]
    body = content if rng.random() < 0.5 else bytes(int(rng.integers(2_000_000)))
    return png(*header, kind, body)


DAMAGES: list[Damage] = [
    truncate,
    flip_bits,
    flip_start,
    change_number,
    change_bytes,
    add_bytes,
    cut_out,
    repeat_a_part,
    random_behind_signature,
    edit_png,
]


def splice(first: bytes, second: bytes, rng: Random) -> bytes:
    """Return the start of one file with the end of another."""
    return first[: rng.integers(len(first))] + second[rng.integers(len(second)) :]


# --- bombs -----------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with its length and checksum."""
    end = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + end


def png(width: int, height: int, kind: bytes, data: bytes, more: bytes = b"") -> bytes:
    """Return a PNG; `kind` is depth, colour type and what follows them."""
    header = struct.pack(">II", width, height) + kind
    parts = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(data, 1))
    return SIGNATURES[0][:8] + parts + chunk(b"IEND", b"")


def blank_png(width: int, height: int, kind: bytes, bits: int) -> bytes:
    """Return a PNG of zeros, of so many bits a pixel."""
    return png(width, height, kind, bytes((width * bits // 8 + 8) * (height + 8)))


def bmp(width: int, height: int, bits: int, packing: int, data: bytes) -> bytes:
    """Return a BMP with a grey palette where it needs one."""
    palette = b"".join(bytes([i, i, i, 0]) for i in range(256)) if bits == 8 else b""
    start = 54 + len(palette)
    head = struct.pack("<2sIII", b"BM", start + len(data), 0, start)
    fields = (40, width, height, 1, bits, packing, len(data), 0, 0, 0, 0)
    return head + struct.pack("<IiiHHIIiiII", *fields) + palette + data


def rle_bmp(width: int, height: int, data: bytes) -> bytes:
    """Return a BMP with run-length coded pixels."""
    return bmp(width, height, 8, 1, data)


def tiff(entries: int, order: str = "<") -> bytes:
    """Return EXIF data every entry of which points to all of it."""
    size = 14 + 12 * entries
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    table = b"".join(struct.pack(order + "HHII", i, 7, size, 0) for i in range(entries))
    return start + struct.pack(order + "H", entries) + table + bytes(4)


def jpeg_with(segments: bytes) -> bytes:
    """Return a small JPEG with segments at its start."""
    image = saved(Image.new("L", (64, 64), 200), "JPEG")
    return image[:2] + segments + image[2:]


def jpeg_segment(marker: int, data: bytes) -> bytes:
    """Return one segment of a JPEG."""
    return bytes([255, marker]) + (len(data) + 2).to_bytes(2, "big") + data


def scans(side: int, count: int) -> bytes:
    """Return a progressive JPEG of one colour that repeats its last scan."""
    image = Image.new("RGB", (side, side), (9, 99, 200))
    return with_more_scans(saved(image, "JPEG", **PROGRESSIVE), count)


def with_more_scans(content: bytes, count: int) -> bytes:
    """Return a JPEG that repeats its last scan."""
    at = content.rindex(b"\xff\xda")
    return content[:-2] + content[at:-2] * count + content[-2:]


def gif_with(extension: bytes) -> bytes:
    """Return a GIF with an extension before its picture."""
    content = saved(Image.new("L", (40, 40), 200), "GIF")
    at = 13 + (3 << ((content[10] & 7) + 1))
    return content[:at] + extension + content[at:]


def gif_canvas(width: int, height: int, disposal: int = 2) -> bytes:
    """Return a GIF of one small frame on a large canvas."""
    content = bytearray(gif_with(bytes([33, 249, 4, disposal << 2, 0, 0, 0, 0])))
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def gif_frame(width: int, height: int) -> bytes:
    """Return a GIF whose frame says it is large and holds little."""
    content = bytearray(gif_canvas(width, height))
    at = content.rindex(b",\0\0\0\0")
    content[at + 5 : at + 9] = struct.pack("<HH", width, height)
    return bytes(content)


def webp_canvas(width: int, height: int) -> bytes:
    """Return an extended WEBP with a small picture on a large canvas."""
    image = saved(Image.new("RGB", (40, 40), 9), "WEBP", lossless=True)[12:]
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    frame = bytes(6) + b"\x27\0\0\x27\0\0" + bytes(4) + image
    body = b"VP8X\x0a\0\0\0\x02\0\0\0" + sides + b"ANIM\x06\0\0\0" + bytes(6)
    body += b"ANMF" + len(frame).to_bytes(4, "little") + frame
    return b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WEBP" + body


def blank(mode: str, side: int, kind: str, **options: object) -> bytes:
    """Return a large blank picture."""
    return saved(Image.new(mode, (side, side)), kind, **options)


def noise(mode: str, side: int, kind: str, **options: object) -> bytes:
    """Return a large picture of noise, up to the file size a reader may take."""
    size = (side, side) if mode == "L" else (side, side, 3)
    values = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    return saved(Image.fromarray(values), kind, **options)


def frames(kind: str) -> bytes:
    """Return an animation of many frames."""
    all_frames = [Image.new("L", (300, 300), value) for value in range(250)]
    return saved(all_frames[0], kind, save_all=True, append_images=all_frames[1:])


GREY, RGB, PALETTE, RGBA = b"\x08\0\0\0\0", b"\x08\2\0\0\0", b"\x08\3\0\0\0", b"\x08\6"
ZERO_MEGABYTE = zlib.compress(bytes(2**20), 9)
PROFILE = chunk(b"iCCP", b"x\0\0" + ZERO_MEGABYTE)
TEXT = chunk(b"zTXt", b"x\0\0" + ZERO_MEGABYTE)
LONG_TEXT = chunk(b"iTXt", b"x\0\0\0\0\0\xf0\x9f\x98\x80" + b"a" * 31_000_000)
EXIF = b"Exif\0\0"
PROGRESSIVE = {"progressive": True, "subsampling": 0}

BOMBS: list[Callable[[], bytes]] = [
    lambda: blank_png(7_700, 7_700, GREY, 8),
    lambda: blank_png(7_700, 7_700, b"\1\0\0\0\0", 1),
    lambda: blank_png(7_700, 7_700, b"\x08\0\0\0\1", 8),
    lambda: blank_png(65_535, 900, b"\x08\0\0\0\1", 8),
    lambda: blank_png(7_200, 7_200, b"\x10\0\0\0\0", 16),
    lambda: blank_png(5_080, 5_080, RGB, 24),
    lambda: blank_png(5_080, 5_080, b"\x08\2\0\0\1", 24),
    lambda: blank_png(5_080, 5_080, b"\x10\6\0\0\0", 64),
    lambda: blank_png(5_080, 5_080, RGBA + b"\0\0\0", 32),
    lambda: blank_png(5_080, 5_080, RGBA + b"\0\0\1", 32),
    lambda: blank_png(2_000, 2_000, RGBA + b"\0\0\0", 32),
    lambda: blank_png(10_000, 10_000, GREY, 8),
    lambda: blank_png(10_000, 10_000, b"\x08\0\0\0\1", 8),
    lambda: blank_png(12_000, 12_000, GREY, 8),
    lambda: png(2**31 - 1, 2**31 - 1, RGB, bytes(100)),
    lambda: png(1, 2**31 - 1, GREY, bytes(100)),
    lambda: png(65_535, 61, GREY, bytes(2**27)),
    lambda: png(7_700, 7_700, GREY, bytes(100)),
    lambda: png(
        7_700, 7_700, PALETTE, bytes(7_701 * 7_700), chunk(b"PLTE", bytes(768))
    ),
    lambda: png(9, 9, GREY, bytes(90), PROFILE * 9_000),
    lambda: png(9, 9, GREY, bytes(90), PROFILE * 20_000),
    lambda: png(9, 9, GREY, bytes(90), TEXT * 20_000),
    lambda: png(9, 9, GREY, bytes(90), LONG_TEXT),
    lambda: png(9, 9, GREY, bytes(90), chunk(b"aaAa", b"") * 2_500_000),
    lambda: png(9, 9, GREY, b"", chunk(b"IDAT", b"\0") * 2_000_000),
    lambda: png(9, 9, GREY, bytes(90), chunk(b"eXIf", tiff(65_535))),
    lambda: png(9, 9, GREY, bytes(90))[:-12] + PROFILE * 9_000,
    lambda: jpeg_with(jpeg_segment(0xE1, EXIF + tiff(5_400))),
    lambda: jpeg_with(jpeg_segment(0xE1, EXIF + tiff(5_400, ">")) * 500),
    lambda: jpeg_with(jpeg_segment(0xE2, b"MPF\0" + tiff(5_400))),
    lambda: jpeg_with(jpeg_segment(0xE2, b"ICC_PROFILE\0\1\xff" + bytes(65_000)) * 500),
    lambda: jpeg_with(jpeg_segment(0xFE, b"") * 8_000_000),
    lambda: jpeg_with(jpeg_segment(0xE0, b"") * 9_000),
    lambda: jpeg_with(jpeg_segment(0xDB, bytes(65)) * 9_000),
    lambda: jpeg_with(b"\xff" * 33_000_000),
    lambda: jpeg_with(b"\xff" * 33_000_000 + b"\0"),
    lambda: scans(3_700, 20),
    lambda: with_more_scans(noise("RGB", 3_600, "JPEG", quality=5, **PROGRESSIVE), 22),
    lambda: scans(3_900, 10_000),
    lambda: scans(1_000, 480),
    lambda: scans(300, 5_000),
    lambda: scans(100, 40_000),
    lambda: blank("L", 9_990, "JPEG"),
    lambda: blank("RGB", 9_990, "JPEG", subsampling=0),
    lambda: blank("CMYK", 9_990, "JPEG"),
    lambda: blank("RGB", 9_990, "JPEG", progressive=True),
    lambda: blank("CMYK", 3_400, "JPEG", progressive=True),
    lambda: blank("RGB", 5_000, "JPEG", subsampling=0),
    lambda: noise("RGB", 3_000, "JPEG", quality=95, subsampling=0),
    lambda: noise("L", 5_400, "JPEG", quality=95),
    lambda: noise("RGB", 3_300, "PNG", compress_level=1),
    lambda: noise("L", 5_500, "PNG", compress_level=1),
    lambda: noise("L", 2_000, "PNG", compress_level=1),
    lambda: noise("RGB", 2_000, "PNG", compress_level=1),
    lambda: noise("L", 5_600, "BMP"),
    lambda: noise("RGB", 1_900, "WEBP", lossless=True, method=0, quality=0),
    lambda: noise("L", 4_000, "GIF"),
    lambda: blank("RGB", 2_450, "WEBP", method=0),
    lambda: blank("RGBA", 2_450, "WEBP", lossless=True, method=0),
    lambda: blank("RGB", 9_000, "WEBP", method=0),
    lambda: webp_canvas(16_383, 16_383),
    lambda: webp_canvas(2**24, 200),
    lambda: webp_canvas(2**16, 2**16 - 1),
    lambda: webp_canvas(2_450, 2_450),
    lambda: frames("WEBP"),
    lambda: frames("GIF"),
    lambda: frames("PNG"),
    lambda: blank("L", 7_700, "GIF"),
    lambda: blank("L", 10_000, "GIF"),
    lambda: gif_canvas(10_000, 10_000),
    lambda: gif_canvas(65_535, 65_535),
    lambda: gif_canvas(7_700, 7_700),
    lambda: gif_canvas(7_700, 7_700, 3),
    lambda: gif_canvas(13_000, 13_000),
    lambda: gif_frame(7_700, 7_700),
    lambda: gif_frame(65_535, 65_535),
    lambda: gif_with(b"!\xfe" + (b"\xff" + bytes(255)) * 120_000 + b"\0"),
    lambda: gif_with(b"!\xfe\1x\0" * 6_000_000),
    lambda: gif_with(b"!\xff\0" * 10_000_000),
    lambda: rle_bmp(7_700, 7_700, b"\0\0" * 16_000_000),
    lambda: rle_bmp(7_700, 7_700, b"\0\0\1\0" * 9_990),
    lambda: rle_bmp(7_700, 7_700, b"\1\0" * 16_000_000),
    lambda: rle_bmp(1_400, 1_400, b"\1\0" * 16_000_000),
    lambda: rle_bmp(1_400, 1_400, b"\0\0" * 16_000_000),
    lambda: rle_bmp(1_400, 1_400, b"\0\0\1\0" * 1_400),
    lambda: rle_bmp(2_000, 1_000, b"\1\0\0\0" * 5_000),
    lambda: rle_bmp(65_535, 1, b"\0\2\xff\xff" * 1_000_000),
    lambda: rle_bmp(65_535, 30, b"\0\2\xff\xff" * 1_000_000),
    lambda: rle_bmp(99_000_000, 1, b"\0\2\xff\xff" * 100),
    lambda: bmp(1_400, 1_400, 4, 2, b"\xff\1" * 60_000 + b"\0\0\1\0" * 200_000),
    lambda: bmp(5_080, -5_080, 24, 0, bytes(100)),
    lambda: bmp(-5_080, 5_080, 24, 0, bytes(100)),
    lambda: bmp(2**31 - 1, -(2**31), 24, 0, bytes(100)),
    lambda: bmp(7_700, 7_700, 8, 0, bytes(100)),
    lambda: bmp(0, 0, 24, 0, b""),
    lambda: bmp(3_000, 3_000, 24, 0, bytes(27_000_000)),
]


# --- the campaign ----------------------------------------------------------------


def make_files(folder: Path, good: list[bytes], numbers: range, seed: int) -> None:
    """Write the files of some numbers; each depends on the seed and its number only."""
    for number in numbers:
        rng = np.random.default_rng((seed, number))
        turn, rest = divmod(number, BOMB_EVERY)
        one, two = (good[rng.integers(len(good))] for _ in range(2))
        if rest == 0:
            what, content = f"bomb {turn % len(BOMBS)}", BOMBS[turn % len(BOMBS)]()
        elif rest % (len(DAMAGES) + 1) == 0:
            what, content = "splice", splice(one, two, rng)
        else:
            damage = DAMAGES[rest % (len(DAMAGES) + 1) - 1]
            what, content = damage.__name__, damage(one, rng)
        (folder / f"{number} {what}").write_bytes(content)


def in_child(task: Callable[[], str]) -> tuple[str, int]:
    """Return what a task says in a process of its own, and that one's peak in bytes."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(GIVEN_UP_AFTER)
        try:
            os.write(send, task().encode()[:4000])
            os._exit(0)
        finally:
            os._exit(1)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        said = pipe.read().decode()
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        said = f"{GIVEN_UP_AFTER} {GIVEN_UP_AFTER} the process ended with {status}"
    unit = 1 if sys.platform == "darwin" else 1024
    return said, usage.ru_maxrss * unit


def attempt(path: Path) -> str:
    """Read a file; return what it took of processor and clock, and what came of it."""
    start, clock = time.process_time(), time.perf_counter()
    try:
        load_picture(path)
        outcome = "read"
    except PictureError as error:
        clear = str(path) in str(error) and str(error).isprintable()
        outcome = "refused" if clear else f"refused in odd words: {error}"
    # Any other exception at all is what is looked for.
    except BaseException as error:  # noqa: BLE001
        outcome = repr(error)
    clock = time.perf_counter() - clock
    return f"{time.process_time() - start} {clock} {outcome}"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Read damaged picture files.")
    parser.add_argument(
        "--files", type=whole(1, 10**6), default=5000, help="files to damage"
    )
    parser.add_argument("--seed", type=whole(0, 2**32 - 1), default=0)
    arguments = parser.parse_args()

    outcomes: Counter[tuple[str, str]] = Counter()
    surprises: list[str] = []
    slowest, longest, largest = (0.0, ""), (0.0, ""), (0, "")
    # Done once, and with it what Pillow loads on its first refusal.
    good = originals(np.random.default_rng(arguments.seed))
    Image.init()
    _, baseline = in_child(lambda: "")
    for first in range(0, arguments.files, BATCH):
        numbers = range(first, min(first + BATCH, arguments.files))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)

            def make(folder: Path = folder, numbers: range = numbers) -> str:
                make_files(folder, good, numbers, arguments.seed)
                return "made"

            # In a process of its own too, so that ours stays as small as it was.
            if in_child(make)[0] != "made":
                surprises.append(f"files {numbers} could not be made")
            for path in sorted(folder.iterdir()):
                took: list[tuple[float, float]] = []
                # Again if it was slow, and the quickest counts.
                while not took or (min(took)[0] > LIMIT_SECONDS and len(took) < 3):
                    said, peak = in_child(lambda path=path: attempt(path))
                    processor, clock, outcome = said.split(" ", 2)
                    took.append((float(processor), float(clock)))
                (seconds, waited), memory = min(took), peak - baseline
                kind = path.name.split()[1]
                outcomes[kind, outcome if len(outcome) < 8 else "surprise"] += 1
                slowest = max(slowest, (seconds, path.name))
                longest = max(longest, (waited, path.name))
                largest = max(largest, (memory, path.name))
                if outcome not in ("read", "refused"):
                    surprises.append(f"file {path.name}: {outcome}")
                if seconds > LIMIT_SECONDS:
                    surprises.append(f"file {path.name} took {seconds:.1f} s")
                if memory > LIMIT_BYTES:
                    surprises.append(f"file {path.name} took {memory / 1e6:.0f} MB")

    for (what, outcome), count in sorted(outcomes.items()):
        print(f"{what:24} {outcome:10} {count:5}")
    print(f"{outcomes.total()} files, {len(surprises)} surprises")
    print(f"slowest: {slowest[0]:.2f} s of the processor ({slowest[1]})")
    print(f"longest: {longest[0]:.2f} s by the clock ({longest[1]})")
    print(
        f"largest: {largest[0] / 1e6:.0f} MB over {baseline / 1e6:.0f} ({largest[1]})"
    )
    for surprise in surprises:
        print(surprise, file=sys.stderr)
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
