"""Fine-tune the reader on a few corrections: ``python -m tinycnn.finetune FOLDER``.

The network starts from the shipped weights, always with all corrections: the same
corrections give the same weights, and a correction that is removed is unlearned by the
next fine-tuning. An eighth of the training images are corrections; the others are the
bundled sample, and numbers composed of it, replayed (Robins 1995, "Catastrophic
forgetting, rehearsal and pseudorehearsal").

The result is interpolated between the old and the new weights (Wortsman et al. 2022,
"Robust fine-tuning of zero-shot models") as near to the old ones as suffices, so that
the reading of other handwriting hardly changes.

The weights that are replaced are kept beside the new ones, so that a fine-tuning can be
undone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinycnn._cli import Parser, existing_folder, fail, new_folder, run_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tinycnn.training.fit import Trainer

    Images = NDArray[np.uint8]
    Labels = NDArray[np.uint8]

CORRECTIONS_SHARE = 8  # one training image in so many is a correction
COMPOSED = 60  # numbers composed of the sample; each gives some sixty images
STEPS = (0.25, 0.5, 0.75, 1.0)  # of the way from the old to the new weights
WEIGHTS = "weights.safetensors"
PREVIOUS = "previous.safetensors"


def finetune(
    images: Images, labels: Labels, path: Path, seed: int = 0
) -> Iterator[float | dict[str, Any]]:
    """Fine-tune the reader's network on corrections, and write its weights.

    Errors are counted in MNIST's test images if they are on this machine, else in those
    of the sample; nothing is downloaded.

    Parameters
    ----------
    images : uint8 array (N, 28, 28)
        255 = ink.
    labels : uint8 array (N,)
        0 to 9, or 10 for what is no digit.
    path : Path
        The file to write, in the end; one that exists becomes `PREVIOUS` beside it.
    seed : int
        Of the order, the deformations and the composed examples.

    Yields
    ------
    float or dict
        The share of the work done, many times; at last the figures: ``seed``;
        ``corrections``, their number; ``right_before`` and ``right_after``, how many of
        them the reader gets right: reads as this digit, or refuses if it is none;
        ``test_images``, and of them ``test_errors_before`` and ``test_errors_after``;
        ``data``, their source. "Before" is with the shipped weights.

    Raises
    ------
    ValueError
        If there are no corrections.
    DivergedError
        If a loss is not finite.
    DataError
        See `tinycnn.data.load_mnist`.
    WeightsError, OSError
        If the shipped weights cannot be read, or the file cannot be written.
    """
    from tinycnn.data import load_mnist
    from tinycnn.models import SHIPPED
    from tinycnn.nn.weights import read_facts, save_weights

    if len(labels) == 0:
        raise ValueError("there are no corrections to learn from")
    path.parent.mkdir(parents=True, exist_ok=True)
    digits = load_mnist(report=lambda _: None, online=False).for_network()
    tests = digits.test_images, digits.test_labels
    trainer = yield from _trainer(seed, images, labels)
    shipped = read_facts(SHIPPED)
    figures = {
        "seed": seed,
        "corrections": len(labels),
        "right_before": _right(trainer, images, labels, shipped["temperature"]),
        "test_images": len(digits.test_labels),
        "test_errors_before": trainer.evaluate(*tests).errors,
        "data": digits.source,
    }
    old = {name: array.copy() for name, array in trainer.model.state().items()}
    for item in trainer.run():
        if isinstance(item, int):
            yield 0.4 + 0.5 * trainer.images / len(trainer.train_images)
    temperature = _interpolate(trainer, old, images, labels, shipped["temperature"])
    facts = {name: shipped[name] for name in ("network", "classes", "views")} | {
        "began_with": shipped["checksum"],
        "seed": seed,
        "corrections": len(labels),
        "temperature": temperature,
    }
    # First on the disk, then in use: a full disk or an end in between loses nothing.
    new, previous = path.with_name(f"new-{path.name}"), path.with_name(PREVIOUS)
    save_weights(new, trainer.model, facts)
    if path.exists():
        path.replace(previous)
    else:
        previous.unlink(missing_ok=True)  # of weights that someone has removed
    new.replace(path)
    yield figures | {
        "right_after": _right(trainer, images, labels, temperature),
        "test_errors_after": trainer.evaluate(*tests).errors,
    }


def _trainer(
    seed: int, images: Images, labels: Labels
) -> Generator[float, None, Trainer]:
    """Return a trainer of the shipped network; yield the share of the work done.

    Few corrections are repeated until they are an eighth of all images; each repetition
    is deformed differently. Digits of the sample that are not replayed validate. One
    epoch of small steps is enough.
    """
    import numpy as np

    from tinycnn import fast, models
    from tinycnn.data import load_mnist, split_validation
    from tinycnn.data.mnist import SAMPLE_FOLDER
    from tinycnn.reading import practice
    from tinycnn.training.fit import Trainer
    from tinycnn.training.recipes import PRESETS

    sample = load_mnist(SAMPLE_FOLDER)
    tests = sample.test_images, sample.test_labels
    digits, names, *held_out = split_validation(
        sample.train_images, sample.train_labels
    )
    rng = np.random.default_rng([seed, 3])  # independent of order and deformations
    parts = [(digits, names)]
    for number in range(COMPOSED):
        parts.append(practice.compose(digits, names, rng))
        yield 0.3 * number / COMPOSED
    replayed = sum(len(part) for part, _ in parts)
    repeats = max(replayed // (CORRECTIONS_SHARE - 1), len(labels))
    repeated = np.arange(repeats) % len(labels)
    parts.append((images[repeated], labels[repeated]))
    data = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    data += [np.concatenate(arrays) for arrays in zip(held_out, tests, strict=True)]
    recipe = replace(
        PRESETS["reader"],
        epochs=1,
        learning_rate=1e-3,
        schedule="cosine",
        average_decay=0.0,
    )
    model, _ = models.load(models.SHIPPED)
    adam = fast.Adam(model.parameters())
    return Trainer(recipe, seed, model, adam, *data, prepare=fast.fuse)


def _right(trainer: Trainer, images: Images, labels: Labels, temperature: float) -> int:
    """Return how many images the network reads as labelled: a digit, or refused."""
    import numpy as np

    from tinycnn.fast import fuse
    from tinycnn.models import predict
    from tinycnn.pretrained import NONE, THRESHOLD, class_shares

    shares = class_shares(predict(fuse(trainer.model), images), temperature)[:, :NONE]
    refused = shares.max(axis=1) < THRESHOLD
    read = np.where(refused, NONE, shares.argmax(axis=1))
    return int((read == labels).sum())


def _interpolate(
    trainer: Trainer,
    old: dict[str, Any],
    images: Images,
    labels: Labels,
    temperature: float,
) -> float:
    """Move the network back towards the old weights; return its temperature.

    Of `STEPS`, the one with the most corrections right is taken; of several, the one
    with the fewest errors in the digits held out; of several, the smallest. The
    temperature is scaled as its best value for these digits has moved: that value
    itself would be too confident, as the network has learned from them.
    """
    state = trainer.model.state()
    changes = {name: array - old[name] for name, array in state.items()}

    def move(step: float) -> None:
        for name, array in state.items():
            array[...] = old[name] + step * changes[name]

    move(0.0)
    before = trainer.temperature()
    scores = []
    for step in STEPS:
        move(step)
        errors = trainer.evaluate(trainer.val_images, trainer.val_labels).errors
        scores.append((_right(trainer, images, labels, temperature), -errors, -step))
    move(-max(scores)[2])
    return round(temperature * (trainer.temperature() / before), 4)


def learned() -> Path:
    """Return the file of the weights that the window reads with, if it exists."""
    from platformdirs import user_data_path

    return user_data_path("tinycnn") / "learnt" / WEIGHTS


def undo() -> bool:
    """Go back to the weights before `learned`: earlier ones, or those that ship.

    Return False if there are none to go back from. Raises OSError if the files cannot
    be changed.
    """
    path = learned()
    if not path.exists():
        return False
    previous = path.with_name(PREVIOUS)
    if previous.exists():
        previous.replace(path)
    else:
        path.unlink()
    return True


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, or the process's arguments, and return 0.

    Failures leave by `SystemExit`: 1, 2, or 3 if training diverged. The weights are
    written at the end, and at once: a signal damages nothing.
    """
    began = time.perf_counter()
    arguments = _parser().parse_args(argv)

    from tqdm import tqdm

    from tinycnn.reading.corrections import Corrections
    from tinycnn.threads import use_threads

    use_threads()
    try:
        images, labels = Corrections(arguments.folder).read()
        path = arguments.out / WEIGHTS if arguments.out else learned()
        look = "{l_bar}{bar}| {elapsed}"
        with tqdm(total=1, bar_format=look, disable=None) as bar:
            for item in finetune(images, labels, path):
                if isinstance(item, float):
                    bar.update(item - bar.n)
                else:
                    figures = item
    except ArithmeticError as error:  # `DivergedError`, or logits are not finite
        fail(error, code=3)
    except (ValueError, OSError) as error:
        fail(error)
    figures["seconds"] = round(time.perf_counter() - began, 2)
    figures["weights"] = str(path)
    print(json.dumps(figures) if arguments.json else _summary(figures), flush=True)
    return 0


def _parser() -> Parser:
    parser = Parser(
        "tinycnn finetune",
        "Fine-tune the reader on corrections that the drawing window saved, starting "
        "from the shipped weights; it takes seconds. Without --out, the window reads "
        "with the result.",
        example="corrections --out better",
    )
    kept = "the folder in which the window keeps corrections"
    parser.add_argument("folder", type=existing_folder, metavar="FOLDER", help=kept)
    out = "a new folder for the weights file"
    parser.add_argument("--out", type=new_folder, metavar="DIR", help=out)
    return parser


def _summary(figures: dict[str, Any]) -> str:
    """Return the figures as text."""
    f = figures
    data = {"mnist": "MNIST", "sample": "the bundled sample"}.get(f["data"], f["data"])
    return (
        f"of {f['corrections']:,} corrections, {f['right_after']:,} are right now "
        f"({f['right_before']:,} before), after {f['seconds']:.0f} s\n"
        f"errors in the {f['test_images']:,} test images of {data}: "
        f"{f['test_errors_after']:,} ({f['test_errors_before']:,} before)\n"
        f"weights: {f['weights']}\nto undo it, remove this file"
    )


if __name__ == "__main__":
    run_command(main)
