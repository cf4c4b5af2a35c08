"""Read damaged files: each is refused with a reason or read, within limits.

``python -m benchmarks.damaged [--only weights idx pictures] [--files 1000] [--seed 0]``

Each file is made from a good one by one kind of damage, in turn. A process of its own
reads it, so that a crash is seen, and the time and the memory are its own. It must be
read or give the documented error, whose message names the file, within 2 s of the
processor (in one of three attempts) and 300 MB over a process that reads nothing. A
damaged weights file must not be read, and must leave the network as it was. Exit 1 on
any surprise. Needs a system with ``fork``.

(Files that were made to be as costly as can be are in the tests of each reader.)
"""

import gzip
import io
import json
import os
import signal
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tinycnn import models
from tinycnn._cli import Parser, integer, run_command
from tinycnn.data import IdxError, read_idx
from tinycnn.data.mnist import NAMES, SAMPLE_FOLDER
from tinycnn.ink.picture import PictureError, load_picture
from tinycnn.nn.weights import WeightsError, load_weights, save_weights

LIMIT_SECONDS = 2.0
LIMIT_BYTES = 300_000_000
ENDED_AFTER = 20  # seconds
NETWORK = "tiny"

Random = np.random.Generator
Damage = Callable[[bytes, Random], bytes]


# --- damage to any file ------------------------------------------------------------


def truncated(content: bytes, rng: Random) -> bytes:
    """Cut the end off; in half of the cases only a little."""
    most = len(content) if rng.random() < 0.5 else 20
    return content[: len(content) - int(rng.integers(1, most + 1))]


def flipped(content: bytes, rng: Random) -> bytes:
    """Flip one to twenty bits, every other time within the first 64 bytes."""
    damaged = bytearray(content)
    most = len(content) if rng.random() < 0.5 else 64
    for _ in range(rng.integers(1, 21)):
        damaged[rng.integers(min(most, len(content)))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def overwritten(content: bytes, rng: Random) -> bytes:
    """Replace up to 4,096 bytes by noise or, as a lost disk block does, by zeros."""
    at = int(rng.integers(len(content)))
    length = min(int(rng.choice([64, 4096])), len(content) - at)
    noise = rng.bytes(length) if rng.random() < 0.5 else bytes(length)
    return content[:at] + noise + content[at + length :]


def renumbered(content: bytes, rng: Random) -> bytes:
    """Write an extreme number over two, four or eight bytes near the start."""
    at = int(rng.integers(0, min(200, len(content))))
    length = int(rng.choice([2, 4, 8]))
    number = int(rng.choice([0, 1, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1]))
    order = ("little", "big")[rng.integers(2)]
    number = min(number, 256**length - 1)
    return content[:at] + number.to_bytes(length, order) + content[at + length :]


def shifted(content: bytes, rng: Random) -> bytes:
    """Cut bytes out of the middle, or insert noise, or a part many times over."""
    one, two = sorted(rng.integers(0, len(content), size=2).tolist())
    part = content[one : one + 300]
    new = [b"", rng.bytes(300), part * int(rng.integers(1, 200))][rng.integers(3)]
    return content[:one] + new + content[one if new else two :]


def mostly_noise(content: bytes, rng: Random) -> bytes:
    """Keep the first bytes, by which a format is recognised; noise follows."""
    return content[: rng.choice([0, 4, 16, 40])] + rng.bytes(len(content))


# --- weights -----------------------------------------------------------------------

ODD = [-1, 0, 2**31, 2**63, 10**400, True, 1.5, float("nan"), 1e308, None, "", "1"]
ODD += ["\ud800", "x" * 9999, [], [1] * 65, {}, {"a": {}}]


def good_weights() -> list[bytes]:
    """Return the file of a small network."""
    facts = {"network": NETWORK, "preset": NETWORK, "views": 1, "temperature": 1.0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        save_weights(path, models.build(NETWORK), facts)
        return [path.read_bytes()]


def edited_header(content: bytes, rng: Random) -> bytes:
    """Replace a value somewhere in the header's JSON by an odd one, or leave it out."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = at = json.loads(content[8:end])
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = keys[rng.integers(len(keys))]
        if not isinstance(at[key], dict | list) or not at[key] or rng.random() < 0.2:
            break
        at = at[key]
    if rng.random() < 0.2:
        del at[key]
    else:
        at[key] = ODD[rng.integers(len(ODD))]
    return with_header(json.dumps(header), content[end:])


def edited_facts(content: bytes, rng: Random) -> bytes:
    """Replace one of the facts by an odd value, with the checksum made right."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        path.write_bytes(content)
        model, facts = models.load(path)
        names = sorted(facts.keys() - {"layers", "checksum"})
        facts[names[rng.integers(len(names))]] = ODD[rng.integers(len(ODD))]
        try:
            save_weights(path, model, facts)
        except ValueError:  # not a fact that can be stored
            return truncated(content, rng)
        return path.read_bytes()


def with_header(text: str, data: bytes = b"") -> bytes:
    """Return a file of a header, which may be any text, and data."""
    return len(text.encode()).to_bytes(8, "little") + text.encode() + data


def read_weights(path: Path) -> str:
    """Load a file in both ways; with an error, a model must stay as it was."""
    model = models.build(NETWORK, seed=1)
    before = {name: array.copy() for name, array in model.state().items()}
    try:
        models.load(path)
        load_weights(path, model)
    except WeightsError:
        for name, array in model.state().items():
            if not np.array_equal(array, before[name]):
                return f"half loaded: {name}"
        raise
    return "read"


# --- IDX ---------------------------------------------------------------------------


def good_idx() -> list[bytes]:
    """Return images and labels, plain and packed; of each 300, to be quick."""
    files = []
    for name in NAMES:
        plain = gzip.decompress((SAMPLE_FOLDER / f"{name}.gz").read_bytes())
        shape, start = ((300, 28, 28), 16) if "images" in name else ((300,), 8)
        plain = idx_header(*shape) + plain[start : start + int(np.prod(shape))]
        files += [plain, gzip.compress(plain, 6, mtime=0)]
    return files


def idx_header(*shape: int) -> bytes:
    """Return the start of an IDX file of bytes."""
    return bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)


def bomb(content: bytes, rng: Random) -> bytes:
    """Pack a header that promises any number of images, and up to 256 MB of zeros.

    Every other time the last four bytes agree with the header, so that only unpacking
    shows what is in it.
    """
    packer = zlib.compressobj(9, wbits=31)
    count = int(rng.choice([1, 1000, 60_000, 2**22, 2**31]))
    packed = packer.compress(idx_header(count, 28, 28) + content[16:])
    for _ in range(int(rng.choice([0, 1, 64, 256]))):
        packed += packer.compress(bytes(2**20))
    packed += packer.flush()
    if rng.random() < 0.5:
        packed = packed[:-4] + (16 + 784 * count).to_bytes(8, "little")[:4]
    return packed


def read_digits(path: Path) -> str:
    """Read a file as an array."""
    array = read_idx(path)
    return "read" if array.dtype == np.uint8 else f"read as {array.dtype}"


# --- pictures ----------------------------------------------------------------------

GREY, INTERLACED = b"\x08\0\0\0\0", b"\x08\2\0\0\1"  # depth, colour type and the rest


def good_pictures() -> list[bytes]:
    """Return good files of every format, in several modes."""
    rng = np.random.default_rng(0)
    grey = np.full((60, 110), 250, np.uint8)
    grey[10:50, 20:26] = 20
    grey[15:45, 60:90] = rng.integers(0, 256, (30, 30))
    image, turned = Image.fromarray(grey), Image.Exif()
    turned[0x0112] = 6
    files = [png(110, 60, INTERLACED, bytes(30_000))]
    for mode in ("1", "L", "P", "RGB"):
        copy = image.convert(mode)
        files += [saved(copy, form) for form in ("PNG", "BMP", "GIF")]
    for mode in ("L", "RGB", "CMYK"):
        copy = image.convert(mode)
        files += [saved(copy, "JPEG", progressive=p, exif=turned) for p in (0, 1)]
    files += [saved(image.convert("RGBA"), "WEBP", lossless=one) for one in (0, 1)]
    animation = {"save_all": True, "append_images": [image.rotate(90)]}
    return files + [saved(image, form, **animation) for form in ("GIF", "WEBP", "PNG")]


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return an image as the content of a file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with its length and checksum."""
    end = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + end


def png(width: int, height: int, kind: bytes, data: bytes) -> bytes:
    """Return a PNG of any header and data, with right checksums."""
    header = chunk(b"IHDR", struct.pack(">II", width, height) + kind)
    end = chunk(b"IDAT", zlib.compress(data, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + end


def edited_png(content: bytes, rng: Random) -> bytes:
    """Return a PNG with right checksums whose header promises something else."""
    sides = [0, 1, 2, 7, 110, 3000, 9999, 65_535, 2**31 - 1]
    width, height = rng.choice(sides, 2).tolist()
    kind = bytes(rng.integers(0, [17, 8, 2, 2, 2]).tolist())
    body = content if rng.random() < 0.5 else bytes(int(rng.integers(100_000_000)))
    return png(width, height, kind if rng.random() < 0.5 else GREY, body)


def read_picture(path: Path) -> str:
    """Read a picture file."""
    load_picture(path)
    return "read"


# --- the campaign ------------------------------------------------------------------


class Subject(NamedTuple):
    """A kind of file: good ones, what may become of them, and what reads them."""

    good: Callable[[], list[bytes]]
    damages: Sequence[Damage]  # besides those of any file
    read: Callable[[Path], str]


SUBJECTS = {
    "weights": Subject(good_weights, [edited_header, edited_facts], read_weights),
    "idx": Subject(good_idx, [bomb], read_digits),
    "pictures": Subject(good_pictures, [edited_png], read_picture),
}
ANY_FILE = truncated, flipped, overwritten, renumbered, shifted, mostly_noise


def outcome(read: Callable[[Path], str], path: Path) -> str:
    """Return what came of a file: "read", "refused" or what is wrong."""
    try:
        return read(path)
    except (WeightsError, IdxError, PictureError) as error:
        clear = str(path) in str(error) and str(error).isprintable()
        return "refused" if clear else f"refused in other words: {error}"
    # Any other exception at all is what is looked for.
    except BaseException as error:  # noqa: BLE001
        return repr(error)


def in_child(task: Callable[[], str]) -> tuple[str, float, int]:
    """Run a task in a process of its own.

    Returns its answer, or how the process ended; the seconds of the processor that it
    took; and its peak of memory in bytes.
    """
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(ENDED_AFTER)
        try:
            os.write(send, task().encode(errors="replace")[:4000])
            os._exit(0)
        finally:
            os._exit(1)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        answer = pipe.read().decode(errors="replace")
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        answer = f"the process ended with {status}"
    unit = 1 if sys.platform == "darwin" else 1024
    return answer, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit


def campaign(name: str, files: int, seed: int) -> list[str]:
    """Read the damaged files of a subject, print a table, return the surprises."""
    subject = SUBJECTS[name]
    good, damages = subject.good(), [*ANY_FILE, *subject.damages]
    counts: Counter[tuple[str, str]] = Counter()
    surprises: list[str] = []
    slowest, largest = (0.0, ""), (0, "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged"
        for number in range(files):
            rng = np.random.default_rng((seed, number))
            damage = damages[number % len(damages)]
            what, original = damage.__name__, good[rng.integers(len(good))]
            path.write_bytes(damage(original, rng))
            _, _, baseline = in_child(lambda: "")
            for _ in range(3):  # again if it was slow: the machine may be busy
                said, seconds, peak = in_child(lambda: outcome(subject.read, path))
                if seconds <= LIMIT_SECONDS:
                    break
            peak -= baseline
            slowest, largest = max(slowest, (seconds, what)), max(largest, (peak, what))
            counts[what, said if len(said) < 8 else "surprise"] += 1
            may_be_read = name != "weights" or damage is edited_facts
            may_be_read |= path.read_bytes() == original
            if said != "refused" and not (said == "read" and may_be_read):
                surprises.append(f"{name} {number} ({what}): {said}")
            if seconds > LIMIT_SECONDS or peak > LIMIT_BYTES:
                took = f"{seconds:.1f} s and {peak / 1e6:.0f} MB"
                surprises.append(f"{name} {number} ({what}) took {took}")
    for (kind, said), count in sorted(counts.items()):
        print(f"{name:10}{kind:15}{said:10}{count:6}")
    print(f"{name}: {files} files, {len(surprises)} surprises")
    print(f"{name}: at most {slowest[0]:.2f} s of the processor ({slowest[1]})")
    print(f"{name}: at most {largest[0] / 1e6:.0f} MB ({largest[1]})", flush=True)
    return surprises


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = Parser("python -m benchmarks.damaged", "Read damaged files.", json=False)
    add, every = parser.add_argument, list(SUBJECTS)
    add("--only", nargs="+", choices=every, default=every, help="default: all")
    add("--files", type=integer(1, 10**6), default=1000, metavar="N", help="of each")
    add("--seed", type=integer(0, 2**32), default=0, metavar="N")
    arguments = parser.parse_args(argv)
    surprises = [
        surprise
        for name in arguments.only
        for surprise in campaign(name, arguments.files, arguments.seed)
    ]
    for surprise in surprises:
        print(surprise, file=sys.stderr)
    return 1 if surprises else 0


if __name__ == "__main__":
    run_command(main)
