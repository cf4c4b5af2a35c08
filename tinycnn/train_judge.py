"""Teach the judge: ``python -m tinycnn.train_judge``.

The judge is the network that tells digits from pieces of digits, from digits run
together, from scribbles, and from letters and signs. The one that ships was made by
this command; whoever has changed how ink is cut can make another.

It knows arguments, messages and exit codes, and which ink the judge is shown.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinycnn._cli import (
    Parser,
    converter,
    existing_folder,
    fail,
    integer,
    run_command,
)
from tinycnn.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tinycnn.training.fit import Trainer

NUMBERS = 8000  # composed of MNIST's digits; twice the scribbles, half of it written
WRITTEN = 20_000  # single digits written by code
SIGNS = 20_000  # letters and signs written by code; a twentieth as many validate


def main(argv: list[str] | None = None) -> int:
    """Compose examples, train the judge on them, set the threshold, and save it.

    Parameters
    ----------
    argv : list of str or None
        The arguments; None takes those of the process.

    Returns
    -------
    int
        0. What goes wrong leaves by `SystemExit`.
    """
    began = time.perf_counter()
    arguments = _parser().parse_args(argv)

    from tinycnn.data import DataError
    from tinycnn.nn.weights import TensorFileError
    from tinycnn.threads import use_threads
    from tinycnn.training.fit import DivergedError

    use_threads()
    try:
        _check_writable(arguments.out)
        result = _teach(
            arguments.data, arguments.seed, arguments.numbers, arguments.out
        )
    except DivergedError as error:
        fail(error, code=3)
    except (DataError, TensorFileError, OSError) as error:
        fail(error)
    result |= {"seconds": round(time.perf_counter() - began, 1)}
    if arguments.json:
        print(json.dumps(result))
    else:
        print(
            f"validation: {result['digits_kept']:.2%} of digits kept, "
            f"{result['junk_found']:.2%} of the rest found; threshold "
            f"{result['threshold']:.4f}, after {result['seconds']:.0f} s\n"
            f"judge: {result['judge']}"
        )
    return 0


def _parser() -> Parser:
    parser = Parser(
        "tinycnn.train_judge",
        "Teach the network that tells digits from other ink, on numbers that the code "
        "composes and cuts apart.",
    )
    parser.add_argument(
        "--data",
        type=existing_folder,
        metavar="DIR",
        help="the folder of MNIST's four files (default: search, download, or sample)",
    )
    parser.add_argument(
        "--seed",
        type=integer(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="of the examples, the weights and their order (default: 0)",
    )
    parser.add_argument(
        "--numbers",
        type=integer(100, 10**6),
        default=NUMBERS,
        metavar="N",
        help=f"how many numbers to compose (default: {NUMBERS})",
    )
    parser.add_argument(
        "--out",
        type=converter(
            "the name of a file in a folder that exists", Path, _is_possible
        ),
        default=Path("judge.safetensors"),
        metavar="FILE",
        help="where to save it (default: judge.safetensors in this folder)",
    )
    return parser


def _is_possible(path: Path) -> bool:
    place = path.resolve()
    return place.is_file() or (not place.exists() and place.parent.is_dir())


class _EnoughError(Exception):
    """The file could be written."""


def _check_writable(path: Path) -> None:
    """Raise OSError now if a file cannot be written when all is done."""

    def parts() -> Iterator[bytes]:
        yield b"anything"
        raise _EnoughError  # so that what is there stays there

    with contextlib.suppress(_EnoughError):
        write_atomically(path, parts())


def _teach(data: Path | None, seed: int, numbers: int, out: Path) -> dict[str, Any]:
    """Return what programs read on stdout, when all is done."""
    import numpy as np

    from tinycnn.data import load_mnist, split_validation
    from tinycnn.glyphs.signs import signs
    from tinycnn.glyphs.writer import written
    from tinycnn.nn.weights import save_weights
    from tinycnn.reading.practice import NONE
    from tinycnn.training.fit import Trainer
    from tinycnn.training.recipes import JUDGE

    digits = load_mnist(data)
    images, labels, val_images, val_labels = split_validation(
        digits.train_images, digits.train_labels
    )
    made, made_labels = _examples(images, labels, numbers, [seed, 0])
    hands, hand_labels = written(seed, 0, WRITTEN)
    others = signs(seed, 0, SIGNS)
    val_made, val_made_labels = _examples(
        val_images, val_labels, max(numbers // 10, 10), [seed, 1]
    )
    val_others = signs(seed, 1, SIGNS // 20)
    trainer = Trainer(
        JUDGE,
        seed,
        np.concatenate([images, hands, made, others]),
        np.concatenate(
            [labels, hand_labels, made_labels, np.full(len(others), NONE, np.uint8)]
        ),
        np.concatenate([val_images, val_made, val_others]),
        np.concatenate(
            [val_labels, val_made_labels, np.full(len(val_others), NONE, np.uint8)]
        ),
    )
    _train(trainer)
    facts = _measured(trainer, val_images, val_labels)
    metadata = facts | {
        "architecture": "judge",
        "seed": seed,
        "numbers": numbers,
        "data": digits.source if digits.source in ("mnist", "sample") else "a folder",
        "data_checksum": digits.checksum,
    }
    save_weights(out, trainer.model, {k: str(v) for k, v in metadata.items()})
    return facts | {"judge": str(out)}


def _examples(
    images: "NDArray[np.uint8]",
    labels: "NDArray[np.uint8]",
    numbers: int,
    seed: list[int],
) -> "tuple[NDArray[np.uint8], NDArray[np.uint8]]":
    """Return images (N, 28, 28) and labels (N,) of digits and of what is none."""
    import numpy as np
    from tqdm import tqdm

    from tinycnn.reading.practice import Example, compose, stacked

    rng = np.random.default_rng(seed)
    examples: list[Example] = []
    for _ in tqdm(range(numbers), "numbers", unit="", disable=None):
        examples += compose(images, labels, rng)
    return stacked(examples)


def _train(trainer: "Trainer") -> None:
    """Run all epochs, with a bar on a terminal, and take the best."""
    from tqdm import tqdm

    total = trainer.recipe.epochs * len(trainer.train_images)
    with tqdm(total=total, unit=" images", unit_scale=True, disable=None) as bar:
        for item in trainer.run():
            if isinstance(item, int):
                bar.update(item)
    trainer.use_best()


def _measured(
    trainer: "Trainer", digits: "NDArray[np.uint8]", labels: "NDArray[np.uint8]"
) -> dict[str, Any]:
    """Return the figures of the judge, and the threshold and temperature of a reader.

    Both opinions on the validation digits count, those of the judge and of the network
    that ships; so does what `tinycnn.reading.reader.Reader` makes of them.
    """
    import numpy as np

    from tinycnn import models
    from tinycnn.nn import softmax
    from tinycnn.reading.practice import NONE
    from tinycnn.reading.reader import joint_logits
    from tinycnn.training.fit import logits_of
    from tinycnn.training.metrics import fit_temperature, fit_threshold

    judged = logits_of(trainer.model, trainer.val_images)
    kept = judged.argmax(axis=1) != NONE
    is_digit = trainer.val_labels != NONE

    judged = logits_of(trainer.model, digits)
    shipped, of_shipped, _ = models.load_naming(models.SHIPPED, once=True)
    named = logits_of(shipped, digits) / np.float32(of_shipped)
    both = joint_logits(named, judged)
    temperature = fit_temperature(both, labels)
    confidence = softmax(both / temperature).max(axis=1)
    confidence *= softmax(judged)[:, :NONE].sum(axis=1)
    return {
        "digits_kept": round(float(kept[is_digit].mean()), 5),
        "junk_found": round(float((~kept[~is_digit]).mean()), 5),
        "temperature": temperature,
        "threshold": fit_threshold(confidence),
    }


if __name__ == "__main__":
    run_command(main)
