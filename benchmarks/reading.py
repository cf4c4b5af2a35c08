"""How well are the digits in a picture read? Figures by set and by kind.

``python -m benchmarks.reading FOLDER [--only SET ...] [--limit N] [--ablation]``

1. Every item of a set goes through the `Reader`, and what it read is held against the
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
   In ``variants``, a digit's picture stored in many ways, the ceiling is instead what
   the reader makes of the plain array; a variant that is not always read the same has
   a row of its own.
4. ``choosing`` and ``choosing-touching`` are the same numbers of validation digits: the
   constants of the segmenter and of the reader are chosen there, not on test digits.
5. Pictures of nothing count what was read in them: digits, and refusals apart.
6. A picture of 900×300 with ten digits is timed, warm: the median of 50.

``--ablation`` does 1 to 5 again with one part of the reader replaced at a time, and
compares. ``--sheet FILE`` draws some failures of every set and kind: the boxes read in
red, the true ones in green. A set whose data is not in FOLDER is named as skipped.

This file knows scores, tables and the command. It does not know how pictures are made.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tqdm import tqdm

from benchmarks import reading_sets
from benchmarks.reading_sets import Box, Item, MissingError
from tinycnn._cli import Parser, existing_file, existing_folder, run_command, whole
from tinycnn.ink.normalize import BOX, SIDE
from tinycnn.ink.picture import open_picture
from tinycnn.ink.strokes import Strokes
from tinycnn.reading import segment
from tinycnn.reading.reader import Reader
from tinycnn.reading.result import Reading
from tinycnn.threads import use_threads

LEAST_IOU = 0.5
WARM_UP = 5  # readings before the clock is looked at
FAILURES = 6  # of a set and kind on the sheet
CELL = 300, 200  # pixels of the sheet
HEADING = 42  # of them, above the picture

Make = Callable[[Path, int, int | None], Iterator[Item]]
Figures = dict[str, Any]

SETS: dict[str, Make] = {
    "mnist": reading_sets.mnist,
    "variants": reading_sets.variants,
    "crohme-pictures": reading_sets.crohme_pictures,
    "crohme-strokes": reading_sets.crohme_strokes,
    "numbers": reading_sets.numbers,
    "numbers-touching": reading_sets.numbers_touching,
    "choosing": reading_sets.choosing,
    "choosing-touching": reading_sets.choosing_touching,
    "cheques": reading_sets.cheques,
    "nothing": reading_sets.nothing,
    "time": reading_sets.ten_digits,
}


def uncentred(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the 20×20 box in the middle of the 28×28 image, wherever its mass lies."""
    image = np.zeros((SIDE, SIDE), np.float32)
    edge = (SIDE - BOX) // 2
    image[edge : edge + BOX, edge : edge + BOX] = box / max(box.max(), 1e-6)
    return image


def ungrouped(page: segment.Page, line: segment.Line) -> Iterator[segment.Candidate]:
    """Yield the candidates that are of one component of the ink, or one stroke."""
    for candidate in CANDIDATES(page, line):
        if candidate.components == 1:
            yield candidate


def uncut(
    values: NDArray[np.float32],  # noqa: ARG001
    height: float,  # noqa: ARG001
) -> list[tuple[NDArray[np.int64], float]]:
    """Return no cut at all: a component of the ink stays in one piece."""
    return []


def unjudged(
    reader: Reader, images: NDArray[np.float32]
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Return the probabilities as they are, and that each image surely is a digit."""
    names, digitness = OPINIONS(reader, images)
    return names, np.ones_like(digitness)


# As they are, whatever is replaced meanwhile.
CANDIDATES = segment.candidates
OPINIONS = Reader.opinions

# What is left out, and how: a context in which the reader does without it.
ABLATIONS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "no centre of mass": lambda: patch("tinycnn.ink.normalize._centred", uncentred),
    "no grouping": lambda: patch("tinycnn.reading.segment.candidates", ungrouped),
    "no splitting": lambda: patch("tinycnn.reading.segment._cuts", uncut),
    "no junk score": lambda: patch("tinycnn.reading.reader.Reader.opinions", unjudged),
}


# --- one picture -----------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """What came of one picture.

    Attributes
    ----------
    kind : str
    counts : Counter
        True digits (``digits``), those ``found`` and ``right``; digits that were read
        (``accepted``, ``refused``) and those of them that found none (``extra``).
    exact, ceiling, same : bool
        The text is right; that of the ceiling is; the two are the same.
    variant : str
        As the item's.
    """

    kind: str
    counts: Counter[str]
    exact: bool
    ceiling: bool
    same: bool
    variant: str


def read(reader: Reader, item: Item) -> Reading:
    """Return what the reader makes of a picture or of strokes."""
    if isinstance(item.given, Strokes):
        return reader.read_strokes(item.given)
    if isinstance(item.given, bytes):
        with as_file(item.given) as path:
            return reader.read_picture(path)
    return reader.read_picture(item.given)


@contextlib.contextmanager
def as_file(content: bytes) -> Iterator[Path]:
    """Write a file whose name says nothing; it is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture"
        path.write_bytes(content)
        yield path


# The variants of a picture follow each other: it is read once for all of them.
@lru_cache(maxsize=1)
def plain_text(reader: Reader, plain: Item) -> str:
    """Return what the reader makes of the plain picture."""
    return read(reader, plain).text


def ceiling_text(reader: Reader, item: Item) -> str:
    """Return what is read without the difficulty that the set is about.

    The network is given the true digits, or the reader the plain picture.
    """
    if item.plain is not None:
        return plain_text(reader, item.plain)
    if not item.text:
        return ""
    return "".join(map(str, reader.probabilities(item.images).argmax(axis=1)))


def score(item: Item, reading: Reading, ceiling: str) -> Score:
    """Hold what was read against the truth.

    Parameters
    ----------
    item : Item
    reading : Reading
    ceiling : str
        What `ceiling_text` gives for the item.

    Returns
    -------
    Score
    """
    pairs = match(item.boxes, [digit.box for digit in reading.digits])
    refused = sum(digit.digit is None for digit in reading.digits)
    counts = Counter(
        digits=len(item.boxes),
        found=len(pairs),
        right=sum(
            str(reading.digits[there].digit) == item.text[true] for true, there in pairs
        ),
        accepted=len(reading.digits) - refused,
        refused=refused,
        extra=len(reading.digits) - len(pairs),
    )
    return Score(
        item.kind,
        counts,
        exact=reading.text == item.text,
        ceiling=ceiling == item.text,
        same=reading.text == ceiling,
        variant=item.variant,
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


@dataclass(frozen=True, eq=False)
class Failure:
    """A picture not read as the truth has it, or a variant not as its plain picture."""

    title: str
    item: Item
    reading: Reading


def measure(
    reader: Reader,
    name: str,
    items: Iterable[Item],
    without: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
) -> tuple[dict[str, Figures], list[Failure]]:
    """Read every item of a set.

    Parameters
    ----------
    reader : Reader
    name : str
        Of the set, for the bar and the sheet.
    items : iterable of Item
    without : callable
        Gives the context to read in. Items and ceilings are made outside it.

    Returns
    -------
    figures : dict
        By kind, of all kinds (``"all"``), and of every variant that differed once.
    failures : list of Failure
        Some of each kind.
    """
    scores: list[Score] = []
    failures: list[Failure] = []
    failed: Counter[str] = Counter()
    # disable=None: a bar on a terminal only.
    for item in tqdm(items, desc=name, unit=" pictures", disable=None, leave=False):
        with without():
            reading = read(reader, item)
        scores.append(score(item, reading, ceiling_text(reader, item)))
        good = scores[-1].exact if item.plain is None else scores[-1].same
        if not good:
            failed[item.kind] += 1
            if failed[item.kind] <= FAILURES:
                title = f"{name}, {item.variant or item.kind}"
                failures.append(Failure(title, item, reading))
    summary = shares if any(one.counts["digits"] for one in scores) else false_digits
    kinds = sorted({one.kind for one in scores})
    figures = {kind: summary([s for s in scores if s.kind == kind]) for kind in kinds}
    differing = sorted({one.variant for one in scores if not one.same} - {""})
    for variant in differing:
        figures[variant] = summary([s for s in scores if s.variant == variant])
    return {"all": summary(scores)} | figures, failures


def shares(scores: Sequence[Score]) -> Figures:
    """Return the figures of pictures of digits; `found` and so on are fractions."""
    counts = sum((one.counts for one in scores), Counter())
    exact, ceiling = sum(s.exact for s in scores), sum(s.ceiling for s in scores)
    return {
        "pictures": len(scores),
        "digits": counts["digits"],
        "found": counts["found"] / counts["digits"],
        "right": counts["right"] / counts["digits"],
        "refused": counts["refused"],
        "extra": counts["extra"],
        "exact": exact / len(scores),
        "ceiling": ceiling / len(scores),
        "of_the_ceiling": exact / ceiling if ceiling else None,
        "same": sum(s.same for s in scores) / len(scores),
    }


def false_digits(scores: Sequence[Score]) -> Figures:
    """Return the figures of pictures without a digit."""
    return {
        "pictures": len(scores),
        "with_a_digit": sum(s.counts["accepted"] > 0 for s in scores),
        "false_digits": sum(s.counts["accepted"] for s in scores),
        "refused": sum(s.counts["refused"] for s in scores),
    }


def timing(reader: Reader, items: Iterable[Item]) -> Figures:
    """Return how long a reading takes, once everything is warm.

    The items are made before the clock starts.
    """
    pictures = list(items)
    for item in (pictures * WARM_UP)[:WARM_UP]:
        read(reader, item)
    took = []
    for item in pictures:
        start = time.perf_counter()
        read(reader, item)
        took.append(1000 * (time.perf_counter() - start))
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
    sets = results["sets"]
    digits = [name for name in sets if name not in ("nothing", "time")]
    limit = "all" if results["limit"] is None else f"at most {results['limit']:,}"
    parts = [
        f"Weights: {results['weights']}; seed {results['seed']}; {limit} of each set."
    ]
    if digits:
        parts.append(
            _table(
                ["set", "kind", *_columns(sets[digits[0]])],
                [
                    [name, kind, *_cells(figures)]
                    for name in digits
                    for kind, figures in sets[name].items()
                ],
            )
        )
    if "nothing" in sets:
        parts.append(
            _table(
                ["nothing but", *_columns(sets["nothing"])],
                [[kind, *_cells(figures)] for kind, figures in sets["nothing"].items()],
            )
        )
    if "time" in sets:
        parts.append(
            "A 900×300 picture with ten digits, warm: {median_ms:.1f} ms (median of"
            " {pictures}; {least_ms:.1f} to {most_ms:.1f}).".format(**sets["time"])
        )
    if results["ablations"]:
        parts.append(_compared(results))
    parts += [f"Skipped: {name} ({why})." for name, why in results["skipped"].items()]
    return "\n\n".join(parts)


def _compared(results: Figures) -> str:
    """Return the table of the ablation: pictures exact, pictures with a false digit."""
    runs = {"as it is": results["sets"]} | results["ablations"]
    rows = []
    for name in results["sets"]:
        if name == "time":
            continue
        key = "with_a_digit" if name == "nothing" else "exact"
        figures = [sets[name]["all"][key] for sets in runs.values()]
        rows.append([f"{name}, {key.replace('_', ' ')}", *map(_cell, figures)])
    return _table(["set", *runs], rows)


def _columns(kinds: dict[str, Figures]) -> list[str]:
    return [key.replace("_", " ") for key in kinds["all"]]


def _cells(figures: Figures) -> list[str]:
    return [_cell(figure) for figure in figures.values()]


def _cell(figure: float | None) -> str:
    """Return a count as it is, and a fraction with four digits."""
    if figure is None:
        return "-"
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


# --- the sheet of failures -------------------------------------------------------


def draw_sheet(failures: Sequence[Failure], columns: int = 4) -> Image.Image:
    """Return the failures side by side: read boxes red, true ones green."""
    width, height = CELL
    rows = max(-(-len(failures) // columns), 1)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for i, failure in enumerate(failures):
        sheet.paste(_drawn(failure), (i % columns * width, i // columns * height))
    return sheet


def _drawn(failure: Failure) -> Image.Image:
    """Return one cell of the sheet."""
    reading = failure.reading
    picture = _page(failure.item)
    edge = 5
    room = CELL[0] - 2 * edge, CELL[1] - HEADING - edge
    scale = min(room[0] / picture.width, room[1] / picture.height)
    size = max(int(picture.width * scale), 1), max(int(picture.height * scale), 1)
    cell = Image.new("RGB", CELL, "white")
    cell.paste(picture.resize(size), (edge, HEADING))
    pen = ImageDraw.Draw(cell)

    def frame(box: Box, colour: str) -> tuple[float, float]:
        x0, y0, x1, y1 = (scale * side for side in box)
        corner = x0 + edge, y0 + HEADING
        pen.rectangle((*corner, x1 + edge, y1 + HEADING), outline=colour)
        return corner

    for box in failure.item.boxes:
        frame(box, "green")
    for digit in reading.digits:
        x, y = frame(digit.box, "red")
        pen.text((x, y - 11), "?" if digit.digit is None else str(digit.digit), "red")
    text = reading.text.replace("\n", " / ") or "nothing"
    pen.text((edge, 2), failure.title, "black")
    pen.text((edge, 14), f"true {failure.item.text or 'nothing'}, read {text}", "black")
    return cell


def _page(item: Item) -> Image.Image:
    """Return an item's picture in colour; of a variant in memory, its plain one."""
    given = item.given
    if isinstance(given, bytes):
        with as_file(given) as path:
            return open_picture(path).convert("RGB")
    if item.plain is not None:
        return _page(item.plain)
    if isinstance(given, Strokes):
        given = np.rint(255 * (1 - given.draw())).astype(np.uint8)
    return Image.fromarray(given).convert("RGB")


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
        "ablations": {},
        "skipped": {},
    }

    def items(name: str) -> Iterator[Item]:
        return SETS[name](arguments.folder, arguments.seed, arguments.limit)

    failures: list[Failure] = []
    for name in arguments.only or SETS:
        try:
            if name == "time":
                results["sets"][name] = timing(reader, items(name))
            else:
                results["sets"][name], failed = measure(reader, name, items(name))
                failures += failed
        except MissingError as error:
            results["skipped"][name] = str(error)
            print(f"skipped: {name} ({error})", file=sys.stderr)
    for what, without in ABLATIONS.items() if arguments.ablation else ():
        results["ablations"][what] = {
            name: measure(reader, f"{name}, {what}", items(name), without)[0]
            for name in results["sets"]
            if name != "time"
        }

    if arguments.sheet:
        draw_sheet(failures).save(arguments.sheet)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results) if arguments.json else tables(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser("benchmarks.reading", "Measure how well digits are read.")
    parser.add_argument(
        "folder",
        type=existing_folder,
        metavar="FOLDER",
        help="holds mnist/, strokes/ and cheques/, or some of them",
    )
    parser.add_argument(
        "--only", nargs="+", choices=SETS, metavar="SET", help=", ".join(SETS)
    )
    parser.add_argument(
        "--limit",
        type=whole(1, 10**6),
        metavar="N",
        help="at most N items of each set, drawn at random",
    )
    parser.add_argument("--seed", type=whole(0, 2**32 - 1), default=0)
    parser.add_argument("--weights", type=existing_file, metavar="FILE")
    parser.add_argument(
        "--ablation", action="store_true", help="also without each part of the reader"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="figures as JSON")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="failures as PNG")
    return parser


if __name__ == "__main__":
    run_command(main)
