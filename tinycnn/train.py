"""Teach a network to read digits: ``python -m tinycnn.train``.

It knows arguments, messages, signals and exit codes. Learning is
`tinycnn.training.fit`, the files of a run are `tinycnn.training.checkpoint`; with
``--extra`` it learns from corrections, which is `tinycnn.finetune`.
"""

import argparse
import contextlib
import itertools
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from tinycnn._cli import (
    Parser,
    existing_folder,
    fail,
    new_folder,
    one_of,
    positive,
    run_command,
    said_if_slow,
    whole,
)

if TYPE_CHECKING:
    from tinycnn.data import Digits
    from tinycnn.training.checkpoint import RunFolder
    from tinycnn.training.fit import EpochResult, Progress, Trainer
    from tinycnn.training.metrics import Metrics

PRESETS = ("quick", "default", "best", "tiny", "classic")
SECONDS_BETWEEN_CHECKPOINTS = 60
# The flags that make a run what it is: a resumed run keeps every one of them.
SETTINGS = ("preset", "epochs", "batch_size", "lr", "seed", "limit", "written", "fuse")
SETTINGS_OF_A_RUN = tuple(name for name in SETTINGS if name != "seed")


def main(argv: list[str] | None = None) -> int:
    """Train a network from start to end, go on with a run, or learn from corrections.

    Parameters
    ----------
    argv : list of str or None
        The arguments; None takes those of the process.

    Returns
    -------
    int
        The exit code: 0, or 130 or 143 if a signal stopped the run. What ends it
        otherwise (1, 2, or 3 if training diverged) leaves by `SystemExit`.
    """
    began = time.perf_counter()
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.extra is not None:
        for name in (*SETTINGS_OF_A_RUN, "resume"):
            if getattr(arguments, name) is not None:
                flag = "no-fuse" if name == "fuse" else name.replace("_", "-")
                parser.error(f"argument --{flag}: not allowed with --extra")
    if arguments.threads is not None:  # Numba reads this once, when it is imported
        cores = os.cpu_count() or 1
        os.environ["NUMBA_NUM_THREADS"] = str(max(arguments.threads, cores))
    stop = Stop()
    with stop.listening():
        try:
            if arguments.extra is not None:
                return _learn(arguments, stop, began)
            return _train(arguments, stop, began)
        except (Stopped, ImportError):
            # A library that is being imported may make an ImportError of Stopped.
            if stop.signum is None:
                raise
            _say(f"stopped; {stop.remedy}")
            return 128 + stop.signum


def _parser() -> Parser:
    """Return the parser; a flag that was not given is None."""
    parser = Parser(
        "tinycnn.train",
        "Teach a network to read digits. The weights, and all that is needed to "
        "continue after an interruption, are kept in a folder of the run.",
    )
    add = parser.add_argument
    add(
        "--preset",
        type=one_of(*PRESETS),
        metavar="NAME",
        help=f"the network and its recipe: {', '.join(PRESETS)} (default: default)",
    )
    add(
        "--data",
        type=existing_folder,
        metavar="DIR",
        help="the folder of MNIST's four files (default: search, download, or sample)",
    )
    add(
        "--extra",
        type=existing_folder,
        metavar="DIR",
        help="learn for a short while from the corrections in this folder (an IDX "
        "pair, images-idx3-ubyte and labels-idx1-ubyte), starting from the weights "
        "that ship; without --out, the drawing window reads with the result",
    )
    add("--epochs", type=whole(1, 10_000), metavar="N", help="passes over the images")
    add("--batch-size", type=whole(1, 10_000), metavar="N", help="images a step")
    add("--lr", type=positive(1e9), metavar="X", help="the highest learning rate")
    add("--seed", type=whole(0, 2**32 - 1), metavar="N", help="(default: 0)")
    add(
        "--limit",
        type=whole(1, 1_000_000),
        metavar="N",
        help="learn from the first N training images only",
    )
    add(
        "--written",
        type=whole(0, 1_000_000),
        metavar="N",
        help="learn from N digits as well that code writes, as people do whose hands "
        "MNIST does not know (default: the preset's)",
    )
    add(
        "--threads",
        type=whole(1, 256),
        metavar="N",
        help="threads of the kernels, which change no result (default: one a core)",
    )
    add(
        "--no-fuse",
        dest="fuse",
        action="store_const",
        const=False,
        help="run every layer by itself, as it is written; slower",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--out",
        type=new_folder,
        metavar="DIR",
        help="the folder of the run (default: a new one in runs)",
    )
    where.add_argument(
        "--resume",
        type=existing_folder,
        metavar="DIR",
        help="go on with the run in this folder, exactly as if it had never stopped",
    )
    return parser


def _train(arguments: argparse.Namespace, stop: "Stop", began: float) -> int:
    """Prepare a run, loop over it, and tell what came out."""
    from tinycnn.data import DataError
    from tinycnn.nn.weights import TensorFileError
    from tinycnn.training.checkpoint import RunError
    from tinycnn.training.fit import DivergedError, evaluate

    try:
        run = _prepare(arguments, began)
    except (DataError, RunError, TensorFileError, OSError) as error:
        fail(error)
    command = ["python", "-m", "tinycnn.train", "--resume", str(run.folder.path)]
    if arguments.resume and arguments.data:  # config.json names where they were
        command += ["--data", str(arguments.data)]
    stop.deferred = True  # from here on a signal waits for the end of its batch
    stop.remedy = f"to continue: {shlex.join(command)}"
    try:
        images_per_second = _loop(run, stop)
        run.trainer.use_best()
        test = evaluate(
            run.trainer.model, run.digits.test_images, run.digits.test_labels
        )
        run.save_weights(test)
    except DivergedError as error:
        fail(f"{error}; the last good checkpoint is in {run.folder.path}", code=3)
    except OSError as error:
        fail(f"{error}; when that is mended, {stop.remedy}")

    result = run.result(test) | {"images_per_second": round(images_per_second, 1)}
    if arguments.json:
        print(json.dumps(result), flush=True)
    else:
        print(
            f"test accuracy {test.accuracy:.2%}: {test.errors} errors in "
            f"{test.images:,} images (validation {result['val_accuracy']:.2%}), after "
            f"{result['epochs']} epochs and {result['seconds']:.0f} s\n"
            f"weights: {run.folder.weights}"
        )
    return 0


def _learn(arguments: argparse.Namespace, stop: "Stop", began: float) -> int:
    """Learn from corrections and tell what came of it."""
    from tqdm import tqdm

    from tinycnn.data import DataError
    from tinycnn.finetune import Learnt, learn, present_digits
    from tinycnn.nn.weights import TensorFileError
    from tinycnn.reading import finetuned as learnt
    from tinycnn.reading.corrections import Corrections
    from tinycnn.threads import use_threads
    from tinycnn.training.fit import DivergedError

    use_threads(arguments.threads)
    stop.remedy = "nothing was changed, so start it again"
    try:
        images, labels = Corrections(arguments.extra).read()
        digits = present_digits(arguments.data)
        (arguments.out or learnt.folder()).mkdir(parents=True, exist_ok=True)
        with tqdm(
            total=1000,
            bar_format="{l_bar}{bar}| {elapsed}",
            disable=not sys.stderr.isatty(),
        ) as bar:
            for item in learn(images, labels, digits, arguments.seed or 0):
                if isinstance(item, Learnt):
                    result = item
                else:
                    bar.update(int(1000 * item) - bar.n)
        stop.deferred = True  # what is kept is kept whole
        if arguments.out is None:
            folder = learnt.keep(result.save)
        else:
            folder = arguments.out
            result.save(folder)
    except DivergedError as error:
        fail(error, code=3)
    except (DataError, TensorFileError, OSError) as error:
        fail(error)

    figures = result.figures
    facts = figures | {
        "seed": arguments.seed or 0,
        "seconds": round(time.perf_counter() - began, 2),
        "weights": str(folder / "weights.safetensors"),
        "judge": str(folder / "judge.safetensors"),
    }
    if arguments.json:
        print(json.dumps(facts), flush=True)
    else:
        name = {"mnist": "MNIST", "sample": "the bundled sample"}.get(
            digits.source, digits.source
        )
        print(
            f"of {figures['corrections']:,} corrections, {figures['right_after']:,} "
            f"are right now ({figures['right_before']:,} before), after "
            f"{facts['seconds']:.0f} s\n"
            f"errors in the {figures['test_images']:,} test images of {name}: "
            f"{figures['test_errors_after']:,} "
            f"({figures['test_errors_before']:,} before)\n"
            f"weights: {facts['weights']}\n"
            f"judge: {facts['judge']}\n"
            "to undo it, remove this folder"
        )
    return 0


@dataclass
class Run:
    """A trainer, its folder, and what messages and files say of them."""

    trainer: "Trainer"
    folder: "RunFolder"
    settings: dict[str, Any]
    digits: "Digits"
    began: float
    saved: float = field(default_factory=time.perf_counter)

    def seconds(self) -> float:
        """Return how long the run has taken, its earlier sittings included."""
        return time.perf_counter() - self.began

    def save_checkpoint(self) -> None:
        """Save everything that is needed to go on from here."""
        self.folder.save(self.trainer, self.seconds())
        self.saved = time.perf_counter()

    def save_if_due(self) -> None:
        """Save a checkpoint if the last one is a minute old."""
        if time.perf_counter() - self.saved > SECONDS_BETWEEN_CHECKPOINTS:
            self.save_checkpoint()

    def record(self, result: "EpochResult") -> None:
        """Write down what an epoch came to."""
        self.folder.append(result, self.seconds())
        if self.trainer.progress.best_epoch == result.epoch:
            self.save_weights()
        self.save_checkpoint()

    def result(self, test: "Metrics | None" = None) -> dict[str, Any]:
        """Return what programs read on the last line of stdout."""
        facts = {name: self.settings[name] for name in ("preset", "seed", "epochs")}
        facts |= {
            "train_images": len(self.trainer.train_images) - self.settings["written"],
            "val_accuracy": self.trainer.progress.best_accuracy,
        }
        if test is not None:
            facts |= {
                "test_accuracy": test.accuracy,
                "test_errors": test.errors,
                "test_images": test.images,
            }
        return facts | {
            "seconds": round(self.seconds(), 2),
            "weights": str(self.folder.weights),
            "data": self.digits.source,
        }

    def save_weights(self, test: "Metrics | None" = None) -> None:
        """Write the best weights so far, with what is known of them."""
        facts = self.result(test)
        # A weights file holds no times and no paths: the same run, the same bytes.
        del facts["seconds"], facts["weights"]
        if self.digits.source not in ("mnist", "sample"):
            facts["data"] = "a folder"
        facts |= {
            "architecture": self.trainer.recipe.architecture,
            "data_checksum": self.digits.checksum,
            "written": self.settings["written"],
            "best_epoch": self.trainer.progress.best_epoch,
        }
        if test is not None:
            facts["temperature"] = self.trainer.temperature()
        metadata = {name: str(value) for name, value in facts.items()}
        self.folder.save_best(self.trainer, metadata)


def _prepare(arguments: argparse.Namespace, began: float) -> Run:
    """Load the data and begin a new run, or take up the one to be resumed."""
    import numpy as np

    from tinycnn.data import load_mnist, split_validation
    from tinycnn.threads import use_threads
    from tinycnn.training.checkpoint import RunFolder
    from tinycnn.training.fit import Images, Trainer
    from tinycnn.training.recipes import PRESETS
    from tinycnn.training.warmup import help_compiling

    threads = use_threads(arguments.threads)
    config: dict[str, Any] = {}
    if arguments.resume is not None:
        folder = RunFolder(arguments.resume)
        config = folder.config()
    place = arguments.data or config.get("data_folder")
    digits = load_mnist(place, report=_say)
    images, labels, val_images, val_labels = split_validation(
        digits.train_images, digits.train_labels
    )
    if config:
        settings = _old_settings(arguments, config["settings"], digits.checksum)
    else:
        settings = _new_settings(arguments, len(images), digits.checksum)
    recipe = replace(
        PRESETS[settings["preset"]],
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        learning_rate=settings["lr"],
    )
    if config and config.get("recipe") != asdict(recipe):
        _fail_for_another_version(arguments)
    if settings["fuse"] and threads > 1:
        help_compiling(recipe.architecture)
    first = slice(settings["limit"])  # slice(None) is all of them
    images, labels = images[first], labels[first]
    count = len(images)
    train_images: Images = images
    if settings["written"]:  # who writes nothing needs no pen: Pillow takes a moment
        from tinycnn.glyphs.writer import Hands, WithHands

        hands = Hands(settings["seed"], 0, settings["written"])
        labels = np.concatenate([labels, hands.labels])
        train_images = WithHands(images, hands)
    with said_if_slow():
        trainer = Trainer(
            recipe,
            settings["seed"],
            train_images,
            labels,
            val_images,
            val_labels,
            fuse=settings["fuse"],
        )
    if config:
        began -= folder.restore(trainer)
    else:
        facts = {
            "settings": settings,
            "recipe": asdict(recipe),
            "data": digits.source,
            "data_folder": None if place is None else str(Path(place).absolute()),
            "threads": threads,
        }
        try:
            folder = RunFolder.create(arguments.out, settings["preset"], facts)
            folder.save(trainer, 0.0)
        except OSError as error:
            fail(f"the run has no place ({error}); name another with --out DIR")
    weights = sum(parameter.value.size for parameter in trainer.model.parameters())
    by_code = f" and {settings['written']:,} written by code"
    _say(
        f"preset {settings['preset']}: {weights:,} weights; {digits.source}: "
        f"{count:,} images to train{by_code if settings['written'] else ''}, "
        f"{len(val_images):,} to validate; {threads} threads; run folder {folder.path}"
    )
    if settings["fuse"] and not trainer.model.fuse:
        _say(
            "the fused steps do not compute what the layers compute (was a layer "
            "edited?), so every layer runs by itself"
        )
    return Run(trainer, folder, settings, digits, began)


def _new_settings(
    arguments: argparse.Namespace, available: int, checksum: str
) -> dict[str, Any]:
    """Return the preset's settings, except where a flag says otherwise."""
    from tinycnn.training.recipes import PRESETS

    preset = arguments.preset or "default"
    recipe = PRESETS[preset]
    count = min(arguments.limit or available, available)
    settings = {
        "preset": preset,
        "epochs": recipe.epochs_for(count),
        "batch_size": recipe.batch_size,
        "lr": recipe.learning_rate,
        "seed": 0,
        "limit": None,
        "written": round(recipe.written * count),
        "fuse": True,
        "data_checksum": checksum,
    }
    given = {name: getattr(arguments, name) for name in SETTINGS}
    return settings | {name: x for name, x in given.items() if x is not None}


def _old_settings(
    arguments: argparse.Namespace, settings: dict[str, Any], checksum: str
) -> dict[str, Any]:
    """Return the settings of the run to be resumed; refuse to change one."""
    if not settings.keys() >= set(SETTINGS):
        _fail_for_another_version(arguments)
    wanted = {name: getattr(arguments, name) for name in SETTINGS}
    differences = [
        f"{name} was {settings[name]} and is now {value}"
        for name, value in (wanted | {"data_checksum": checksum}).items()
        if value is not None and value != settings[name]
    ]
    if differences:
        fail(
            f"a run is resumed with its own settings, but {', '.join(differences)}; "
            "--resume DIR alone is enough, with --data DIR if the images have moved",
            code=2,
        )
    return settings


def _fail_for_another_version(arguments: argparse.Namespace) -> NoReturn:
    """Say that a run cannot go on with settings or a recipe that are not its own."""
    fail(
        f"{arguments.resume} was begun by another version of tinycnn or with another "
        "recipe; continue with that version, or start a new run"
    )


def _loop(run: Run, stop: "Stop") -> float:
    """Train to the end, or to the end of the batch in which a signal comes.

    Returns
    -------
    float
        Training images a second; the first batch, which may compile, does not count.
    """
    from tqdm import tqdm

    trainer, progress = run.trainer, run.trainer.progress
    count, epochs = len(trainer.train_images), run.settings["epochs"]
    begun, images = 0.0, 0
    items = trainer.run()
    with said_if_slow():
        first = list(itertools.islice(items, 1))
    with tqdm(
        total=epochs * count,
        initial=progress.epoch * count + progress.images,
        unit=" images",
        unit_scale=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        for item in itertools.chain(first, items):
            if isinstance(item, int):
                images = images + item if begun else 0
                begun = begun or time.perf_counter()
                bar.set_description(f"epoch {progress.epoch + 1}/{epochs}", False)
                bar.set_postfix_str(_so_far(progress), False)
                bar.update(item)
            else:
                run.record(item)
                _say(_epoch_line(item, run))
            if stop.signum is not None:
                run.save_checkpoint()
                raise Stopped
            run.save_if_due()
    stop.deferred = False
    if stop.signum is not None:
        raise Stopped
    return images / (time.perf_counter() - begun) if begun else 0.0


def _so_far(progress: "Progress") -> str:
    """Return the running means of the epoch, for the bar."""
    loss = progress.loss_sum / progress.images
    return f"loss {loss:.3f}, accuracy {progress.correct / progress.images:.2%}"


def _epoch_line(result: "EpochResult", run: Run) -> str:
    """Return what an epoch came to, in one line."""
    best = run.trainer.progress.best_epoch == result.epoch
    return (
        f"epoch {result.epoch}/{run.settings['epochs']}: loss {result.train_loss:.4f}, "
        f"accuracy {result.train_accuracy:.2%}, validation {result.val_accuracy:.2%}"
        f"{' (best)' if best else ''}, {run.seconds():.0f} s"
    )


class Stopped(BaseException):
    """A signal asks the run to end now."""


class Stop:
    """What Ctrl-C and SIGTERM ask for.

    While a batch is learned they are noted and obeyed after it (``deferred``), at other
    times obeyed at once. A second signal ends the process on the spot; no file is ever
    in a state between two, so it damages nothing.

    Attributes
    ----------
    signum : int or None
        The signal that came.
    deferred : bool
    remedy : str
        How to go on, for the last message.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.deferred = False
        self.remedy = "training had not begun, so start it again"

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle both signals inside the block."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._note) for number in signals]
        try:
            yield
        finally:
            for number, handler in zip(signals, before, strict=True):
                signal.signal(number, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        self.signum = signum
        if not self.deferred:
            raise Stopped


def _say(line: str) -> None:
    """Print a line on stderr, above the progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
