"""Load thousands of damaged weight files and see that each is refused soon and clearly.

``python -m benchmarks.damaged_weights [--count 2000] [--seed 0]``

Each file is at most 1 MB, made from a good one by one kind of damage, in turn. It must
give `TensorFileError` and leave the model's arrays as they were. Where the damage alone
makes a file unfit, the checksum is made right again every other time, so that the other
checks have to find it. The slowest loading is printed. Exit 1 on any surprise, and on a
loading that takes more than 50 ms three times in a row (a busy machine may stop us in
one of them).

This file knows what damage looks like. It does not know how the reader finds it.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn._cli import whole
from tinycnn.nn.weights import TensorFileError, load_weights, save_weights

LIMIT_MS = 50.0
MAX_FILE = 1_000_000
# Pairwise different, so that no array can be taken for another. The last array of the
# models is a weight of so many inputs: 2 kB, 100 kB and nearly 1 MB in all.
SIZES = [7, 700, 6500]
ODD_NUMBERS = [-1, 2**31, 2**63, 10**4000, True, 2.0, float("nan"), None, "1", [1]]

Random = np.random.Generator
Damage = Callable[[bytes, Random], bytes]


class Model:
    """Arrays of the shapes and dtypes that networks have, and a few more."""

    def __init__(self, inputs: int, rng: Random | None = None) -> None:
        shapes = {
            "0.weight": (3, 3, 1, 8),
            "0.bias": (8,),
            "1.running_mean": (9,),
            "4.weight": (inputs, 37),
            "4.bias": (37,),
        }
        self.arrays: dict[str, np.ndarray] = {
            name: np.zeros(shape, np.float32)
            if rng is None
            else rng.normal(size=shape).astype(np.float32)
            for name, shape in shapes.items()
        }
        self.arrays["1.batches"] = np.zeros((), np.int64)

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays by name."""
        return self.arrays


# --- damage to the bytes ---------------------------------------------------------


def truncate(content: bytes, rng: Random) -> bytes:
    """Cut the end off; in half of the cases only a little."""
    most = len(content) if rng.random() < 0.5 else 20
    return content[: len(content) - int(rng.integers(1, most + 1))]


def flip_bit(content: bytes, rng: Random) -> bytes:
    """Flip one bit, every other time within the first 800 bytes."""
    damaged = bytearray(content)
    most = len(content) if rng.random() < 0.5 else 800
    damaged[rng.integers(most)] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def change_bytes(content: bytes, rng: Random) -> bytes:
    """Replace a run of up to 64 bytes by others."""
    at = int(rng.integers(len(content)))
    length = min(int(rng.integers(1, 65)), len(content) - at)
    return content[:at] + rng.bytes(length) + content[at + length :]


def zero_block(content: bytes, rng: Random) -> bytes:
    """Fill up to 4096 bytes with zeros, as a lost disk block does."""
    at = int(rng.integers(len(content)))
    length = min(4096, len(content) - at)
    return content[:at] + bytes(length) + content[at + length :]


def swap_blocks(content: bytes, rng: Random) -> bytes:
    """Exchange the first and the second part of the file behind some point."""
    one, two = sorted(rng.integers(0, len(content), size=2).tolist())
    return content[:one] + content[two:] + content[one:two]


def add_bytes(content: bytes, rng: Random) -> bytes:
    """Insert noise or zeros at the front, the end, or between."""
    noise = rng.bytes(int(rng.integers(1, 100)))
    noise = noise if rng.random() < 0.5 else bytes(len(noise))
    at = [0, len(content), int(rng.integers(len(content)))][rng.integers(3)]
    return content[:at] + noise + content[at:]


def cut_out(content: bytes, rng: Random) -> bytes:
    """Take a run of bytes out of the middle."""
    at = int(rng.integers(len(content) - 1))
    return content[:at] + content[at + int(rng.integers(1, 5000)) :]


def garbage(content: bytes, rng: Random) -> bytes:
    """Return random bytes, sometimes behind a header length that could be right."""
    noise = rng.bytes(len(content) - 8)
    length = int(rng.integers(len(noise) + 1)).to_bytes(8, "little")
    return noise if rng.random() < 0.5 else length + b"{" + noise[1:]


def header_length(content: bytes, rng: Random) -> bytes:
    """Write another length of the header."""
    old = int.from_bytes(content[:8], "little")
    near = [old + step for step in (-8, -1, 1, 8)]
    far = [0, 1, 2, 7, len(content) - 8, len(content), 10**8, 2**63, 2**64 - 1]
    numbers = [*near, *far]
    return numbers[rng.integers(len(numbers))].to_bytes(8, "little") + content[8:]


# --- damage to what the header says ----------------------------------------------


def open_up(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a good file's header and data."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def put_together(header: dict[str, Any] | str, data: bytes) -> bytes:
    """Return a file; the header is a JSON object or text that may be none."""
    text = header if isinstance(header, str) else json.dumps(header)
    raw = text.encode()
    return len(raw).to_bytes(8, "little") + raw + data


def seal(header: dict[str, Any], data: bytes) -> bytes:
    """Return a file whose checksum is right, whatever else is wrong."""
    header["__metadata__"]["checksum"] = "0" * 64
    blank = put_together(json.dumps(header, separators=(",", ":")), data)
    checksum = hashlib.sha256(blank).hexdigest()
    return blank.replace(
        b'"checksum":"' + b"0" * 64, b'"checksum":"%s' % checksum.encode()
    )


def pick(header: dict[str, Any], rng: Random) -> tuple[str, dict[str, Any]]:
    """Return one array's name and entry."""
    names = [name for name in header if name != "__metadata__"]
    name = names[rng.integers(len(names))]
    return name, header[name]


def sealed_or_not(header: dict[str, Any], data: bytes, rng: Random) -> bytes:
    """Return the file, every other time with the checksum made right."""
    return seal(header, data) if rng.random() < 0.5 else put_together(header, data)


def change_offsets(content: bytes, rng: Random) -> bytes:
    """Move one array's start, end or both, or make them no numbers."""
    header, data = open_up(content)
    _, entry = pick(header, rng)
    step = int(rng.choice([-8, -4, -1, 1, 4, 8, 2**40]))
    start, stop = entry["data_offsets"]
    odd = ODD_NUMBERS[rng.integers(len(ODD_NUMBERS))]
    entry["data_offsets"] = [
        [start + step, stop],
        [start, stop + step],
        [start + step, stop + step],
        [stop, start],
        [start],
        [start, stop, stop],
        [odd, stop],
        [start, odd],
        odd,
    ][rng.integers(9)]
    return sealed_or_not(header, data, rng)


def change_shape(content: bytes, rng: Random) -> bytes:
    """Give one array another shape, or none."""
    header, data = open_up(content)
    _, entry = pick(header, rng)
    shape, size = entry["shape"], int(np.prod(entry["shape"]))
    odd = ODD_NUMBERS[rng.integers(len(ODD_NUMBERS))]
    entry["shape"] = [
        [*shape, 1],
        [*shape, 2],
        [*shape, 0],
        [*shape, odd],
        [2**32, 2**32, *shape],
        [-1, -1, *shape],
        [1] * 65 + shape,
        [1, size],
        odd,
    ][rng.integers(9)]
    return sealed_or_not(header, data, rng)


def change_dtype(content: bytes, rng: Random) -> bytes:
    """Give one array another dtype: as wide, of other width, or unknown."""
    header, data = open_up(content)
    _, entry = pick(header, rng)
    dtypes = ["I32", "U32", "F16", "F64", "U8", "BOOL", "BF16", "F8_E4M3", "f32", "", 4]
    entry["dtype"] = dtypes[rng.integers(len(dtypes))]
    return sealed_or_not(header, data, rng)


def change_names(content: bytes, rng: Random) -> bytes:
    """Rename one array, leave it out of the header, or name one more."""
    header, data = open_up(content)
    name, entry = pick(header, rng)
    names = [
        "",
        name.upper(),
        name + " ",
        name + "\0",
        "0.weights",
        "\ud800",
        "x" * 999,
    ]
    kind = rng.integers(3)
    if kind < 2:
        del header[name]
    if kind > 0:
        header[names[rng.integers(len(names))]] = entry
    return sealed_or_not(header, data, rng)


def change_structure(content: bytes, rng: Random) -> bytes:
    """Give one array a field too few, one too many, or another kind of value."""
    header, data = open_up(content)
    name, entry = pick(header, rng)
    entries: list[Any] = [
        {field: entry[field] for field in ("dtype", "shape")},
        {**entry, "stride": 1},
        list(entry.values()),
        {"entry": entry},
        *ODD_NUMBERS,
    ]
    header[name] = entries[rng.integers(len(entries))]
    return sealed_or_not(header, data, rng)


def repeat_a_key(content: bytes, rng: Random) -> bytes:
    """Say something twice: an array, one of its fields, or the metadata."""
    header, data = open_up(content)
    text = json.dumps(header)
    name, entry = pick(header, rng)
    whole = f"{json.dumps(name)}: {json.dumps(entry)}"
    field = f'"dtype": {json.dumps(entry["dtype"])}'
    about = f'"__metadata__": {json.dumps(header["__metadata__"])}'
    part = [whole, field, about][rng.integers(3)]
    return put_together(text.replace(part, f"{part}, {part}", 1), data)


def change_metadata(content: bytes, rng: Random) -> bytes:
    """Change, add or leave out metadata, or make it something else than text."""
    header, data = open_up(content)
    metadata = header["__metadata__"]
    odd = ODD_NUMBERS[rng.integers(len(ODD_NUMBERS) - 2)]
    kind = rng.integers(6)
    if kind == 0:
        metadata["preset"] = "best"
    elif kind == 1:
        metadata["note"] = "added later"
    elif kind == 2:
        del metadata[["preset", "checksum"][rng.integers(2)]]
    elif kind == 3:
        metadata[["preset", "checksum"][rng.integers(2)]] = odd
    elif kind == 4:
        header["__metadata__"] = odd
    else:
        del header["__metadata__"]
    return put_together(header, data)


def hostile_json(content: bytes, rng: Random) -> bytes:
    """Return a header made to keep a reader busy or to break its parser."""
    size = int(rng.choice([50_000, 120_000, 400_000, 900_000]))
    name = f'"{"x" * 20}'
    texts = [
        '{"a":' * (size // 5) + "1" + "}" * 10,
        '{"a":' + "[" * size + "}",
        '{"a":' + "9" * size + "}",
        '{"a":{"dtype":"U8","data_offsets":[0,1],"shape":['
        + "9," * (size // 2)
        + "9]}}",
        '{"a":[' + "{}," * (size // 3) + "{}]}",
        "{" + ",".join(f'{name}{i}":0' for i in range(size // 30)) + "}",
        "{" + ",".join(f'{name}{i}":0' for i in range(size // 30)) + f',{name}0":0}}',
        '{"' + "\\ud800" * (size // 6) + '":0}',
        '{"' + "x" * size + '":0}',
        "{" + " " * size + "}",
    ]
    return put_together(texts[rng.integers(len(texts))], content[-1000:])


def not_finite(content: bytes, rng: Random) -> bytes:
    """Put NaN or infinity into one array, with the right checksum."""
    header, data = open_up(content)
    floats = [e for e in header.values() if e.get("dtype") == "F32"]
    start, stop = floats[rng.integers(len(floats))]["data_offsets"]
    at = int(rng.integers(start // 4, stop // 4)) * 4
    value = np.array(rng.choice([np.nan, np.inf, -np.inf]), "<f4").tobytes()
    return seal(header, data[:at] + value + data[at + 4 :])


DAMAGES: list[Damage] = [
    truncate,
    flip_bit,
    change_bytes,
    zero_block,
    swap_blocks,
    add_bytes,
    cut_out,
    garbage,
    header_length,
    change_offsets,
    change_shape,
    change_dtype,
    change_names,
    change_structure,
    repeat_a_key,
    change_metadata,
    hostile_json,
    not_finite,
]


# --- the campaign ----------------------------------------------------------------


def attempt(path: Path, model: Model) -> str:
    """Load a file; return what came of it in a word or two."""
    try:
        load_weights(path, model)
    except TensorFileError as error:
        return "refused" if str(path) in str(error) else "refused without its name"
    # Any other exception at all is what is looked for.
    except Exception as error:  # noqa: BLE001
        return repr(error)
    return "loaded"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Load damaged weight files.")
    parser.add_argument(
        "--count", type=whole(1, 10**6), default=2000, help="files to damage"
    )
    parser.add_argument("--seed", type=whole(0, 2**32 - 1), default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)

    outcomes: Counter[tuple[str, str]] = Counter()
    surprises: list[str] = []
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        good = []
        for inputs in SIZES:
            save_weights(path, Model(inputs, rng), {"preset": "quick", "seed": "0"})
            good.append((path.read_bytes(), Model(inputs)))
            if attempt(path, Model(inputs)) != "loaded":
                surprises.append(f"the good file of {inputs} inputs was not loaded")
        number = 0
        while outcomes.total() < arguments.count:
            damage = DAMAGES[number % len(DAMAGES)]
            content, model = good[rng.integers(len(good))]
            damaged = damage(content, rng)[:MAX_FILE]
            number += 1
            if damaged == content:
                continue
            path.write_bytes(damaged)
            took: list[float] = []
            # Again if it was slow, and the quickest counts.
            while not took or (min(took) > LIMIT_MS and len(took) < 3):
                start = time.perf_counter()
                outcome = attempt(path, model)
                took.append(1000 * (time.perf_counter() - start))
            what = damage.__name__
            outcomes[what, outcome] += 1
            slowest = max(slowest, (max(took), what))
            if outcome != "refused":
                surprises.append(f"damage {number} ({what}): {outcome}")
            if any(array.any() for array in model.arrays.values()):
                surprises.append(f"damage {number} ({what}) changed the model")
                for array in model.arrays.values():
                    array[...] = 0
            if min(took) > LIMIT_MS:
                surprises.append(f"damage {number} ({what}): {min(took):.1f} ms")

    for (what, outcome), count in sorted(outcomes.items()):
        print(f"{what:18} {outcome:10} {count:5}")
    print(f"{outcomes.total()} files, {len(surprises)} surprises")
    print(f"slowest loading: {slowest[0]:.1f} ms ({slowest[1]})")
    for surprise in surprises:
        print(surprise, file=sys.stderr)
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
