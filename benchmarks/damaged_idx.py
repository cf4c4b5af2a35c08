"""Read thousands of damaged IDX files and see that each is refused soon and clearly.

``python -m benchmarks.damaged_idx [--count 2000] [--seed 0]``

Each file is at most 1 MB, made from the bundled sample by one kind of damage, in turn.
It must give `IdxError`; where only data was changed, in a file that has no checksum,
it may also give an array of the right shape. The slowest reading is printed. Exit 1 on
any surprise, and on a reading that takes more than 50 ms three times in a row (a busy
machine may stop us in one of them).

This file knows what damage looks like. It does not know how the reader finds it.
"""

import argparse
import gzip
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tinycnn import _cli as flags
from tinycnn.data import IdxError, read_images, read_labels
from tinycnn.data.mnist import NAMES, SAMPLE_FOLDER

LIMIT_MS = 50.0
MAX_FILE = 1_000_000
HEADER = {True: 16, False: 8}  # bytes, of images and of labels

Random = np.random.Generator
Damage = Callable[[bytes, Random], bytes]


def truncate(content: bytes, rng: Random) -> bytes:
    """Cut the end off; in half of the cases only a little."""
    most = len(content) if rng.random() < 0.5 else 20
    return content[: len(content) - int(rng.integers(1, most + 1))]


def flip_bit(content: bytes, rng: Random) -> bytes:
    """Flip one bit anywhere."""
    damaged = bytearray(content)
    damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def change_bytes(content: bytes, rng: Random) -> bytes:
    """Replace a run of up to 64 bytes by others."""
    damaged = bytearray(content)
    at = int(rng.integers(len(damaged)))
    length = min(int(rng.integers(1, 65)), len(damaged) - at)
    damaged[at : at + length] = rng.bytes(length)
    return bytes(damaged)


def flip_start(content: bytes, rng: Random) -> bytes:
    """Flip one bit of the first bytes: the IDX header, or gzip's own."""
    damaged = bytearray(content)
    damaged[rng.integers(16)] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def append(content: bytes, rng: Random) -> bytes:
    """Add bytes at the end: noise, zeros, or the file again."""
    noise = rng.bytes(int(rng.integers(1, 100)))
    return content + (noise, bytes(len(noise)), content[:1000])[rng.integers(3)]


def cut_out(content: bytes, rng: Random) -> bytes:
    """Take a run of bytes out of the middle."""
    at = int(rng.integers(len(content) - 1))
    length = min(int(rng.integers(1, 5000)), len(content) - at)
    return content[:at] + content[at + length :]


def mutate_header(plain: bytes, rng: Random) -> bytes:
    """Write another number into one field of the IDX header."""
    damaged = bytearray(plain)
    if rng.random() < 0.3:
        at = int(rng.integers(4))
        damaged[at] = (damaged[at] + int(rng.integers(1, 256))) % 256
        return bytes(damaged)
    at = 4 * int(rng.integers(1, 1 + plain[3]))
    old = int.from_bytes(plain[at : at + 4], "big")
    numbers = [0, 1, old - 1, old + 1, 2 * old, 10_000, 60_000, 2**31, 2**32 - 1]
    new = int(rng.choice([number for number in numbers if number != old]))
    damaged[at : at + 4] = new.to_bytes(4, "big")
    return bytes(damaged)


def bomb(count: int, zeros: int, *, forged: bool) -> bytes:
    """Pack a header that promises `count` images, and zeros.

    Forged, the last four bytes say what the header says, so only unpacking shows it.
    """
    packer = zlib.compressobj(9, wbits=31)
    header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28))
    packed = packer.compress(header)
    for _ in range(zeros // 2**20):
        packed += packer.compress(bytes(2**20))
    packed += packer.flush()
    if forged:
        packed = packed[:-4] + (16 + 784 * count).to_bytes(8, "little")[:4]
    return packed


def originals() -> list[tuple[str, bytes, bool]]:
    """Return undamaged plain files of at most 1 MB: name, content, whether images."""
    files = []
    for name in NAMES:
        plain = gzip.decompress((SAMPLE_FOLDER / f"{name}.gz").read_bytes())
        images = "images" in name
        if len(plain) > MAX_FILE:
            plain = (
                b"\0\0\x08\x03"
                + b"".join(n.to_bytes(4, "big") for n in (1200, 28, 28))
                + plain[16 : 16 + 1200 * 784]
            )
        files.append((name, plain, images))
    return files


def shape_is_right(result: np.ndarray, plain: bytes, *, images: bool) -> bool:
    """Return whether an array has the shape the undamaged header states."""
    stated = [
        int.from_bytes(plain[at : at + 4], "big") for at in range(4, HEADER[images], 4)
    ]
    return list(result.shape) == stated and result.dtype == np.uint8


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Read damaged IDX files.")
    parser.add_argument(
        "--count", type=flags.whole(1, 10**6), default=2000, help="files to damage"
    )
    parser.add_argument("--seed", type=flags.whole(0, 2**32 - 1), default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)

    files = originals()
    # The largest image file stays packed as it is bundled: 650 kB, 3.1 MB unpacked.
    packed_whole = (SAMPLE_FOLDER / f"{NAMES[0]}.gz").read_bytes()
    bombs = [
        bomb(count, zeros, forged=forged)
        for count, zeros in ((1, 2**26), (10_000, 2**26), (60_000, 2**26))
        for forged in (False, True)
    ]
    bombs.append(bomb(2**22, 2**20, forged=False))
    # What may change data only and so may be read: (damage, whether it may be).
    on_bytes: list[tuple[Damage, bool]] = [
        (truncate, False),
        (flip_bit, True),
        (change_bytes, True),
        (flip_start, True),
        (append, False),
        (cut_out, False),
    ]

    outcomes: Counter[tuple[str, str]] = Counter()
    surprises: list[str] = []
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged"
        for number in range(arguments.count):
            name, plain, images = files[rng.integers(len(files))]
            packed = bool(rng.integers(2))
            kind = number % (len(on_bytes) + 2)
            if kind == len(on_bytes):
                what, may_be_read, images = "bomb", False, True
                damaged = bombs[rng.integers(len(bombs))]
                packed = True
            elif kind == len(on_bytes) + 1:
                what, may_be_read = "mutate_header", False
                damaged = mutate_header(plain, rng)
                damaged = gzip.compress(damaged, 6, mtime=0) if packed else damaged
            else:
                damage, may_be_read = on_bytes[kind]
                what = damage.__name__
                whole = plain
                if packed and name == NAMES[0]:
                    whole = packed_whole
                    plain = gzip.decompress(packed_whole)
                elif packed:
                    whole = gzip.compress(plain, 6, mtime=0)
                damaged = damage(whole, rng)
                if damaged == whole:
                    continue
            assert len(damaged) <= MAX_FILE
            path.write_bytes(damaged)
            what += ", packed" if packed else ", plain"
            read = read_images if images else read_labels
            took = []
            # Again if it was slow, and the quickest counts.
            while not took or (min(took) > LIMIT_MS and len(took) < 3):
                start = time.perf_counter()
                try:
                    result = read(path)
                    outcome = "read"
                except IdxError:
                    outcome = "IdxError"
                # Any other exception at all is what is looked for.
                except Exception as error:  # noqa: BLE001
                    outcome = repr(error)
                took.append(1000 * (time.perf_counter() - start))
            outcomes[what, outcome] += 1
            slowest = max(slowest, (max(took), what))
            if outcome == "read" and not (
                may_be_read and shape_is_right(result, plain, images=images)
            ):
                surprises.append(f"file {number} ({what}) was read")
            elif outcome not in ("read", "IdxError"):
                surprises.append(f"file {number} ({what}) gave {outcome}")
            if min(took) > LIMIT_MS:
                surprises.append(f"file {number} ({what}) took {min(took):.1f} ms")

    for (what, outcome), count in sorted(outcomes.items()):
        print(f"{what:24} {outcome:10} {count:5}")
    print(f"{outcomes.total()} files, {len(surprises)} surprises")
    print(f"slowest reading: {slowest[0]:.1f} ms ({slowest[1]})")
    for surprise in surprises:
        print(surprise, file=sys.stderr)
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
