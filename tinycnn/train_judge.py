"""Train the judge: ``python -m tinycnn.train_judge``.

The judge is the network that tells digits from pieces of digits, from digits run
together, from scribbles, and from letters and signs. The shipped one was made by this
command; a change of how ink is cut needs another.
"""

import contextlib
import errno
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinycnn._cli import Parser, converter, existing_folder, fail, integer, run_command
from tinycnn.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tinycnn.training.fit import Trainer

NUMBERS = 8000  # composed of MNIST's digits; twice the scribbles, half of it written
WRITTEN = 20_000  # single digits written by code
SIGNS = 20_000  # letters and signs written by code; a twentieth as many validate


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, or the process's arguments, and return 0.

    Failures leave by `SystemExit`.
    """
    began = time.perf_counter()
    arguments = _parser().parse_args(argv)

    from tinycnn.data import DataError
    from tinycnn.nn.weights import WeightsError
    from tinycnn.threads import use_threads
    from tinycnn.training.fit import DivergedError

    use_threads()
    try:
        _check_writable(arguments.out)
        result = _train(
            arguments.data, arguments.seed, arguments.numbers, arguments.out
        )
    except DivergedError as error:
        fail(error, code=3)
    except (DataError, WeightsError, OSError) as error:
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
        "tinycnn train_judge",
        "Train the network that tells digits from other ink, on numbers composed and "
        "cut by code.",
        example="--out judge.safetensors",
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
        help="seed of examples, weights and order (default: 0)",
    )
    parser.add_argument(
        "--numbers",
        type=integer(100, 10**6),
        default=NUMBERS,
        metavar="N",
        help=f"numbers to compose (default: {NUMBERS})",
    )
    parser.add_argument(
        "--out",
        type=converter(
            "the name of a file in a folder that exists",
            Path,
            lambda path: path.parent.is_dir() and not path.is_dir(),
        ),
        default=Path("judge.safetensors"),
        metavar="FILE",
        help="the weights file (default: judge.safetensors in this folder)",
    )
    return parser


class _AbortError(Exception):
    """Ends a trial of writing, so that the file stays as it is."""


def _check_writable(path: Path) -> None:
    """Raise OSError now, not after the training, if a file cannot be written."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder", str(path))

    def parts() -> Iterator[bytes]:
        yield b"trial"
        raise _AbortError

    with contextlib.suppress(_AbortError):
        write_atomically(path, parts())


def _train(data: Path | None, seed: int, numbers: int, out: Path) -> dict[str, Any]:
    """Train and save the judge; return the results that ``--json`` prints."""
    import numpy as np
    from tqdm import tqdm

    from tinycnn import fast, models
    from tinycnn.data import load_mnist, split_validation
    from tinycnn.glyphs.signs import signs
    from tinycnn.glyphs.writer import written
    from tinycnn.nn.weights import save_weights
    from tinycnn.reading.practice import JUDGE, NONE
    from tinycnn.training.fit import Trainer

    digits = load_mnist(data).for_network()
    images, labels, val_images, val_labels = split_validation(
        digits.train_images, digits.train_labels
    )
    made, made_labels = _examples(images, labels, numbers, [seed, 0])
    glyphs, glyph_labels = written(seed, 0, WRITTEN)
    others = signs(seed, 0, SIGNS)
    val_made, val_made_labels = _examples(
        val_images, val_labels, max(numbers // 10, 10), [seed, 1]
    )
    val_others = signs(seed, 1, SIGNS // 20)
    model = models.build(JUDGE.network, seed)
    trainer = Trainer(
        JUDGE,
        seed,
        model,
        fast.Adam(
            model.parameters(), JUDGE.learning_rate, weight_decay=JUDGE.weight_decay
        ),
        np.concatenate([images, glyphs, made, others]),
        np.concatenate(
            [labels, glyph_labels, made_labels, np.full(len(others), NONE, np.uint8)]
        ),
        np.concatenate([val_images, val_made, val_others]),
        np.concatenate(
            [val_labels, val_made_labels, np.full(len(val_others), NONE, np.uint8)]
        ),
        prepare=fast.fuse,
    )
    total = JUDGE.epochs * len(trainer.train_images)
    with tqdm(total=total, unit=" images", unit_scale=True, disable=None) as bar:
        for item in trainer.run():
            if isinstance(item, int):
                bar.update(item)
    trainer.use_best()
    figures = _measured(trainer, val_images, val_labels)
    facts = figures | {
        "network": JUDGE.network,
        "seed": seed,
        "numbers": numbers,
        "data": digits.source if digits.source in ("mnist", "sample") else "a folder",
        "data_checksum": digits.checksum,
    }
    save_weights(out, trainer.averaged, facts)
    return figures | {"judge": str(out)}


def _examples(
    images: "NDArray[np.uint8]",
    labels: "NDArray[np.uint8]",
    numbers: int,
    seed: list[int],
) -> "tuple[NDArray[np.uint8], NDArray[np.uint8]]":
    """Return images (N, 28, 28) and labels (N,), from 0 to NONE, of composed ink."""
    import numpy as np
    from tqdm import tqdm

    from tinycnn.reading.practice import Example, compose, stacked

    rng = np.random.default_rng(seed)
    examples: list[Example] = []
    for _ in tqdm(range(numbers), "numbers", unit="", disable=None):
        examples += compose(images, labels, rng)
    return stacked(examples)


def _measured(
    trainer: "Trainer", digits: "NDArray[np.uint8]", labels: "NDArray[np.uint8]"
) -> dict[str, Any]:
    """Return the figures of the judge, and the threshold and temperature of a reader.

    Threshold and temperature are fitted to what `tinycnn.reading.reader.Reader` makes
    of the logits of the judge and of the shipped network.
    """
    import numpy as np

    from tinycnn import fast, models
    from tinycnn.nn import softmax
    from tinycnn.reading.practice import NONE
    from tinycnn.reading.reader import fit_threshold, joint_logits
    from tinycnn.training.metrics import fit_temperature

    judge = fast.fuse(trainer.averaged)
    kept = models.predict(judge, trainer.val_images).argmax(axis=1) != NONE
    is_digit = trainer.val_labels != NONE

    judged = models.predict(judge, digits)
    shipped, facts = models.load(models.SHIPPED)
    named = models.predict(fast.fuse(shipped), digits)
    both = joint_logits(named / np.float32(facts["temperature"]), judged)
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
