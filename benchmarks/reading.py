"""How well are the digits in a picture read? Figures by set.

``python -m benchmarks.reading FOLDER [--only SET ...] [--limit N] [--seed 0]
[--weights FILE] [--json]``

1. Every item of a set goes through the `Reader`, and what it read is compared with the
   truth (`reading_sets` makes the items, and says what FOLDER holds and where the data
   comes from).
2. A digit that was read *finds* a true one where their boxes overlap with an IoU
   (intersection over union) of at least 0.5, each counted once; a refused one finds
   too. It is *right* if its label is. What finds nothing is *extra*. A picture is
   *exact* if the whole text is right.
3. The *ceiling* is what the network of the same `Reader` makes of the truth: it is
   shown every true digit's own ink, normalised, and the likeliest digit counts, without
   refusal. Own ink is that digit's drawn alone (``numbers`` and ``crohme-pictures``),
   its strokes, drawn with MNIST's pen (``crohme-strokes``), all ink within its box
   (``cheques``), or the original image (``mnist``). *Of the ceiling* is exact by
   ceiling; *same* is the share of pictures whose text is the ceiling's, right or wrong.
4. ``choosing`` and ``choosing-touching`` are the same numbers of validation digits: the
   constants of the segmenter and of the reader are chosen there, not on test digits.
5. Pictures of nothing, and letters and signs (``symbols``), count what was read in
   them: digits, and refusals apart.
6. A picture of 900×300 with ten digits is timed, warm: the median of 50. Of pictures
   and drawings that take ``longest``, the CPU time of all threads is measured.

A set whose data is not in FOLDER is named as skipped.
"""

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import reading_sets
from benchmarks.reading_sets import Box, Item, MissingError
from benchmarks.tables import markdown
from tinycnn._cli import Parser, existing_file, existing_folder, integer, run_command
from tinycnn.reading.reader import Reader
from tinycnn.reading.result import Reading
from tinycnn.threads import use_threads

LEAST_IOU = 0.5
CLOCKS = {"time": time.perf_counter, "longest": time.process_time}
WARM_UP = 5  # readings before the clock is looked at

Make = Callable[[Path, int, int | None], Iterator[Item]]
Figures = dict[str, Any]

SETS: dict[str, Make] = {
    "mnist": reading_sets.mnist,
    "crohme-pictures": reading_sets.crohme_pictures,
    "crohme-strokes": reading_sets.crohme_strokes,
    "crohme-pens": reading_sets.crohme_pens,
    "singles": reading_sets.singles,
    "symbols": reading_sets.symbols,
    "numbers": reading_sets.numbers,
    "numbers-touching": reading_sets.numbers_touching,
    "choosing": reading_sets.choosing,
    "choosing-touching": reading_sets.choosing_touching,
    "cheques": reading_sets.cheques,
    "desks": reading_sets.desks,
    "turned": reading_sets.turned,
    "nothing": reading_sets.nothing,
    "time": reading_sets.ten_digits,
    "longest": reading_sets.longest,
}


# --- one picture -----------------------------------------------------------------


def read(reader: Reader, item: Item) -> Reading:
    """Return what the reader makes of a picture or of strokes."""
    return reader.read(item.given)


def ceiling_text(reader: Reader, item: Item) -> str:
    """Return what the network makes of the true digits, in the same lines."""
    if not item.text:
        return ""
    shares = reader.probabilities(item.images, views=True)
    labels = iter(shares.argmax(axis=1).tolist())
    return "".join(c if c == "\n" else str(next(labels)) for c in item.text)


def score(item: Item, reading: Reading, ceiling: str) -> Counter[str]:
    """Compare what was read with the truth.

    Parameters
    ----------
    item : Item
    reading : Reading
    ceiling : str
        What `ceiling_text` gives for the item.

    Returns
    -------
    Counter
        True ``digits``, those ``found`` and ``right``; digits that were read
        (``accepted``, ``refused``) and those of them that found none (``extra``). And
        1 for each of these that holds: ``exact``, the text is right; ``ceiling``, that
        of the ceiling is; ``same``, the two are the same; ``with_a_digit``.
    """
    pairs = match(item.boxes, [digit.box for digit in reading.digits])
    refused = sum(digit.digit is None for digit in reading.digits)
    accepted = len(reading.digits) - refused
    text, labels = reading.text.replace(" ", ""), item.text.replace("\n", "")
    return Counter(
        pictures=1,
        digits=len(item.boxes),
        found=len(pairs),
        right=sum(
            str(reading.digits[there].digit) == labels[true] for true, there in pairs
        ),
        accepted=accepted,
        refused=refused,
        extra=len(reading.digits) - len(pairs),
        exact=text == item.text,  # spaces apart
        ceiling=ceiling == item.text,
        same=text == ceiling,
        with_a_digit=accepted > 0,
    )


def match(true: Sequence[Box], there: Sequence[Box]) -> list[tuple[int, int]]:
    """Pair boxes whose IoU is at least 0.5, the best pair first, each box once.

    Parameters
    ----------
    true, there : sequences of (x0, y0, x1, y1)

    Returns
    -------
    list of (int, int)
        Index in `true`, index in `there`.
    """
    overlaps = sorted(
        ((iou(a, b), i, j) for i, a in enumerate(true) for j, b in enumerate(there)),
        key=lambda overlap: -overlap[0],
    )
    pairs: list[tuple[int, int]] = []
    for overlap, i, j in overlaps:
        taken = any(i == one or j == other for one, other in pairs)
        if overlap >= LEAST_IOU and not taken:
            pairs.append((i, j))
    return pairs


def iou(a: Box, b: Box) -> float:
    """Return the intersection of two boxes by their union, 0 to 1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b)]
    return width * height / (sum(areas) - width * height)


# --- a set -----------------------------------------------------------------------


def measure(reader: Reader, name: str, items: Iterable[Item]) -> dict[str, Figures]:
    """Read every item of a set.

    Parameters
    ----------
    reader : Reader
    name : str
        Of the set, for the progress bar.
    items : iterable of Item

    Returns
    -------
    dict
        The figures of all items (``"all"``), and by kind.
    """
    counts: dict[str, Counter[str]] = {"all": Counter()}
    # disable=None: a bar on a terminal only.
    for item in tqdm(items, desc=name, unit=" pictures", disable=None, leave=False):
        found = score(item, read(reader, item), ceiling_text(reader, item))
        for kind in {"all", item.kind or "all"}:
            counts[kind] = counts.get(kind, Counter()) + found
    return {kind: shares(counts[kind]) for kind in counts}


def shares(counts: Counter[str]) -> Figures:
    """Return the figures of a sum of scores; `found` and so on are fractions."""
    if not counts["digits"]:
        return {
            "pictures": counts["pictures"],
            "with_a_digit": counts["with_a_digit"],
            "false_digits": counts["accepted"],
            "refused": counts["refused"],
        }
    exact, ceiling = counts["exact"], counts["ceiling"]
    return {
        "pictures": counts["pictures"],
        "digits": counts["digits"],
        "found": counts["found"] / counts["digits"],
        "right": counts["right"] / counts["digits"],
        "refused": counts["refused"],
        "extra": counts["extra"],
        "exact": exact / counts["pictures"],
        "ceiling": ceiling / counts["pictures"],
        "of_the_ceiling": exact / ceiling if ceiling else None,
        "same": counts["same"] / counts["pictures"],
    }


def timing(
    reader: Reader, items: Iterable[Item], clock: Callable[[], float]
) -> Figures:
    """Return how long a reading takes, once everything is warm.

    The items are made before the clock starts: of the wall, or of the CPU.
    """
    pictures = list(items)
    for item in (pictures * WARM_UP)[:WARM_UP]:
        read(reader, item)
    took = []
    for item in pictures:
        start = clock()
        read(reader, item)
        took.append(1000 * (clock() - start))
    return {
        "pictures": len(took),
        "median_ms": statistics.median(took),
        "least_ms": min(took),
        "most_ms": max(took),
    }


# --- what is printed -------------------------------------------------------------


def tables(results: Figures) -> str:
    """Return all figures as Markdown.

    Parameters
    ----------
    results : dict
        As ``--json`` prints them.
    """
    sets = dict(results["sets"])
    limit = "all" if results["limit"] is None else f"at most {results['limit']:,}"
    parts = [
        f"Weights: {results['weights']}; seed {results['seed']}; {limit} of each set."
    ]
    times, longest = (sets.pop(name, None) for name in CLOCKS)
    empty = {name: sets.pop(name) for name in ("nothing", "symbols") if name in sets}
    for group in (sets, empty):
        rows = [
            [name, kind, *map(_cell, figures.values())]
            for name, kinds in group.items()
            for kind, figures in kinds.items()
        ]
        if rows:
            columns = [c.replace("_", " ") for c in next(iter(group.values()))["all"]]
            parts.append(markdown(["set", "kind", *columns], rows))
    if times:
        parts.append(
            "A 900×300 picture with ten digits, warm: {median_ms:.1f} ms (median of"
            " {pictures}; {least_ms:.1f} to {most_ms:.1f}).".format(**times)
        )
    if longest:
        parts.append(
            "What takes longest: {most_ms:,.0f} ms of CPU (the most of {pictures};"
            " median {median_ms:,.0f}).".format(**longest)
        )
    parts += [f"Skipped: {name} ({why})." for name, why in results["skipped"].items()]
    return "\n\n".join(parts)


def _cell(figure: float | None) -> str:
    """Return a count as it is, and a fraction with four digits."""
    if figure is None:
        return "-"
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:.4f}"


# --- the command -----------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    arguments = _parser().parse_args(argv)
    use_threads()
    reader = Reader(arguments.weights)
    results: Figures = {
        "weights": str(arguments.weights or "shipped"),
        "seed": arguments.seed,
        "limit": arguments.limit,
        "sets": {},
        "skipped": {},
    }
    for name in arguments.only or SETS:
        items = SETS[name](arguments.folder, arguments.seed, arguments.limit)
        try:
            results["sets"][name] = (
                timing(reader, items, CLOCKS[name])
                if name in CLOCKS
                else measure(reader, name, items)
            )
        except MissingError as error:
            results["skipped"][name] = str(error)
            print(f"skipped: {name} ({error})", file=sys.stderr)
    print(json.dumps(results) if arguments.json else tables(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser("python -m benchmarks.reading", "Measure how well digits are read.")
    add = parser.add_argument
    parts = "holds mnist/, strokes/ and cheques/, or some of them"
    add("folder", type=existing_folder, metavar="FOLDER", help=parts)
    add("--only", nargs="+", choices=SETS, metavar="SET", help=", ".join(SETS))
    most = "at most N items of each set, drawn at random"
    add("--limit", type=integer(1, 10**6), metavar="N", help=most)
    add("--seed", type=integer(0, 2**32), default=0, metavar="N")
    add("--weights", type=existing_file, metavar="FILE")
    return parser


if __name__ == "__main__":
    run_command(main)
