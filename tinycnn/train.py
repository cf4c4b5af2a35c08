"""Train a network to read digits: ``python -m tinycnn.train``."""

import contextlib
import gc
import hashlib
import itertools
import json
import math
import os
import shlex
import signal
import sys
import threading
import time
from argparse import Namespace
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinycnn import _cli
from tinycnn._cli import counted, fail
from tinycnn.userfile import UserFunction, explained

if TYPE_CHECKING:
    from tinycnn.data import Digits
    from tinycnn.nn import Sequential
    from tinycnn.training.metrics import Metrics

PRESETS = ("quick", "default", "best", "tiny", "classic", "reader")
SECONDS_BETWEEN_CHECKPOINTS = 60
# What a resumed run must not change.
SETTINGS = ["preset", "epochs", "batch_size", "lr", "seed", "limit", "plain", "shards"]
SETTINGS += ["no_snapshots"]
# What MPICH and its kin, Open MPI, or Slurm tell a process: its rank, and of how many.
LAUNCHERS = {"PMI_RANK": "PMI_SIZE", "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE"}
LAUNCHERS |= {"PMIX_RANK": "SLURM_STEP_NUM_TASKS"}
_POWERS = [2**n for n in range(11)]


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, or the process's arguments; return the exit code.

    It is 0, or 130 or 143 if a signal stopped the run. Other failures (1, 2, or 3 if
    training diverged) leave by `SystemExit`.
    """
    # For the process: imports and compiling make many objects and few cycles, and to
    # look for these as often as Python does takes a twentieth of a first start.
    gc.set_threshold(100_000)
    rank = launched()
    if rank is None:
        return _main(argv)
    from tinycnn.cluster import on_all

    return on_all(rank, partial(_main, argv))


def launched() -> str | None:
    """Return this process's rank if it is one of several of MPI, otherwise None."""
    for rank, size in LAUNCHERS.items():
        if rank in os.environ and os.environ.get(size) != "1":
            return os.environ[rank]
    return None


def _main(argv: list[str] | None, comm: Any = None) -> int:
    """Run the command on the processes of ``comm``, or on this one alone."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.shards == 1:
        arguments.shards = None  # the same, and the same files
    if arguments.start and arguments.resume and not arguments.seeds:
        parser.error("argument --from: not allowed with argument --resume")
    if arguments.seeds:
        from tinycnn.cluster import ALONE, sweep

        return sweep(comm or ALONE, _train, arguments)
    return _train(arguments, comm)


def _train(arguments: Namespace, comm: Any = None) -> int:
    """Train with one seed; return the exit code."""
    with Run(arguments, comm) as run:
        try:
            run.prepare()
            data = run.digits
            with explained(arguments.network):
                images_per_second = _loop(run)
                run.trainer.use_best()
                test = run.trainer.evaluate(data.test_images, data.test_labels)
                facts = run.save_weights(test)
        except (SystemExit, ImportError, AttributeError, ValueError) as error:
            # An interrupted import may end in one of the others.
            if run.signum is not None:
                _say(f"stopped; {run.remedy}")
                return 128 + run.signum
            if isinstance(error, ValueError):  # data, run folder, or layers are refused
                fail(error)
            raise
        except ArithmeticError as error:  # a DivergedError, or weights that overflow
            kept = f"the last checkpoint is in {run.folder.path}"
            fail(f"{error}; start a new run ({kept})", code=3)
        except OSError as error:
            fail(f"{error}; once that is fixed, {run.remedy}")

    weights = str(run.folder.weights)
    if arguments.json:
        result = facts | {
            "seconds": round(run.seconds(), 2),
            "images_per_second": round(images_per_second, 1),
            "weights": weights,
            "data": data.source,
        }
        print(json.dumps(result), flush=True)
    else:
        print(
            f"test accuracy {test.accuracy:.2%}: {test.errors} errors in "
            f"{test.images:,} images (validation {facts['val_accuracy']:.2%}), after "
            f"{counted(facts['epochs'], 'epoch')} and {run.seconds():.0f} s\n"
            f"weights: {weights}"
        )
    return 0


def _parser() -> _cli.Parser:
    """Return the parser; a flag that was not given is None."""
    parser = _cli.Parser(
        "tinycnn train",
        "Train a network to read digits. Settings that are not given are the preset's. "
        "The weights, and all that is needed to continue after an interruption, are "
        "kept in a folder of the run.",
        example="--preset quick --out runs/first",
    )
    add, integer = parser.add_argument, _cli.integer
    file, folder = _cli.existing_file, _cli.existing_folder
    which, where, once = (parser.add_mutually_exclusive_group() for _ in range(3))
    preset = "network and recipe (default: default)"
    which.add_argument("--preset", choices=PRESETS, help=preset)
    own = "a network of your own: NAME(rng) in FILE.py returns a list of layers"
    code = _cli.user_function
    which.add_argument("--network", type=code, metavar="FILE.py:NAME", help=own)
    start = "start from these weights (same layers) with a new optimizer"
    add("--from", dest="start", type=file, metavar="WEIGHTS", help=start)
    add("--data", type=folder, metavar="DIR", help=_cli.DATA)
    add("--epochs", type=integer(1, 10_000), metavar="N", help="passes over the images")
    add("--batch-size", type=integer(1, 10_000), metavar="N", help="images per step")
    add("--lr", type=_rate, metavar="X", help="the highest learning rate")
    seed = "for weights, order, deformations and dropout (default: 0)"
    once.add_argument("--seed", type=integer(0, 2**32 - 1), metavar="N", help=seed)
    seeds = "a run for each of these seeds, in folders below --out or --resume"
    once.add_argument("--seeds", type=_seeds, metavar="A-B", help=seeds)
    add("--limit", type=integer(1, 10**9), metavar="N", help="training images to use")
    threads = "threads; no result depends on it (default: one per core, or MPI process)"
    add("--threads", type=integer(1, 256), metavar="N", help=threads)
    plain = "run the layers as they are written, without fusing; slower"
    add("--plain", action="store_const", const=True, help=plain)
    shards = "parts of a batch, for up to so many processes of mpiexec (default: 1)"
    add("--shards", type=_shards, metavar="S", help=shards)
    none = "keep no snapshots of the weights, which `tinycnn report` shows"
    add("--no-snapshots", action="store_const", const=True, help=none)
    out = "the folder of the run (default: a new one in runs)"
    where.add_argument("--out", type=_cli.new_folder, metavar="DIR", help=out)
    resume = "the folder of a run to continue"
    where.add_argument("--resume", type=folder, metavar="DIR", help=resume)
    return parser


def _range(text: str) -> range:
    first, dash, last = text.partition("-")
    return range(int(first), int(last if dash else first) + 1)


_seeds = _cli.converter(
    "seeds like 0-9", _range, lambda seeds: 0 <= seeds.start < seeds.stop <= 2**32
)
_rate = _cli.converter("a number above 0", float, lambda rate: 0 < rate < math.inf)
_shards = _cli.converter("a power of two up to 1024", int, lambda S: S in _POWERS)


class Run(contextlib.ExitStack):
    """A run of the command: its signals, settings, digits, trainer and folder.

    Ctrl-C or SIGTERM raises `SystemExit`: at once, or after the batch if ``deferred``.
    (After a KeyboardInterrupt within ``exec``, Python ends by SIGINT, caught or not.) A
    second signal ends the process on the spot; as files are replaced in one step, it
    damages none. The end of ``with`` restores handlers and unlocks the folder. ``comm``
    are the processes of MPI, or None.
    """

    def __init__(self, arguments: Namespace, comm: Any) -> None:
        super().__init__()
        self.began, self.arguments, self.comm = time.perf_counter(), arguments, comm
        self.signum: int | None = None
        self.deferred = False
        self.remedy = "start it again, or name another folder with --out DIR"
        if arguments.resume:
            self.remedy = f"start it again with --resume {arguments.resume}"
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(number, self._note)
                self.callback(signal.signal, number, before)

    def _note(self, signum: int, _: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        self.signum = signum
        if not self.deferred:
            raise SystemExit(128 + signum)

    def prepare(self) -> None:
        """Load the data, and begin a run or restore one; raise ValueError, OSError."""
        from tinycnn import cluster, data
        from tinycnn.threads import use_threads
        from tinycnn.training import checkpoint

        arguments, comm = self.arguments, self.comm or cluster.ALONE
        self.comm = comm
        folder = cluster.ReadOnlyFolder if comm.rank else checkpoint.RunFolder
        threads = use_threads(arguments.threads or (1 if comm.size > 1 else None))
        facts: dict[str, Any] = {}
        if arguments.resume:
            self.folder = folder(arguments.resume)
            self.callback(self.folder.close)
            facts = self.folder.facts()
            arguments.network = _same_network(arguments, facts)
        place = arguments.data or facts.get("data_folder")
        load = partial(data.load_mnist, place and str(place), report=_say)
        digits = comm.allgather(None if comm.rank else load())[0]
        if arguments.resume:
            self.settings = _resumed(arguments, facts, digits.checksum)
        else:
            whole = digits.train_images, digits.train_labels
            count = len(data.split_validation(*whole)[0])
            self.settings = _completed(arguments, count)
        model, self.classes, self.digits = _network(self.settings, digits)
        self.trainer = self._trainer(model)
        # A resumed run keeps where its images and its network are now.
        self._facts = facts | self._new_facts(place)
        if arguments.resume:
            self.folder.restore(self.trainer)
        else:
            about = self._facts | {"data": digits.source, "threads": threads}
            about["flags"] = _flags(about["settings"])
            name = self.settings.preset or arguments.network.name
            # Two may begin in one second.
            new = f"{time.strftime('%Y-%m-%d_%H%M%S')}_{name}_{os.getpid()}"
            self.folder = folder(arguments.out or Path("runs", new), about)
            self.callback(self.folder.close)
        snapshots = not self.settings.no_snapshots
        self.history = checkpoint.History(self.trainer, self.folder.path, snapshots)
        self.began -= facts.get("seconds", 0)
        self.save_checkpoint()
        self.deferred, self.remedy = True, f"to continue: {self._command()}"
        self._say_what_begins(threads)

    def _trainer(self, model: "Sequential") -> Any:
        """Return the trainer of a new network."""
        import numpy as np

        from tinycnn import cluster, fast, nn
        from tinycnn.data import split_validation
        from tinycnn.nn.weights import load_weights
        from tinycnn.training.fit import Trainer

        settings, digits, start = self.settings, self.digits, self.arguments.start
        recipe, whole = settings.recipe, (digits.train_images, digits.train_labels)
        images, labels, val_images, val_labels = split_validation(*whole)
        images, labels = images[: settings.limit], labels[: settings.limit]
        original = len(images)
        if recipe.composed:
            from tinycnn.reading.practice import with_composed

            more = partial(with_composed, recipe.composed, settings.seed)
            # Twice: most of the rest is written by code or is no digit.
            images, labels = more(0, images, labels, times=2)
            val_images, val_labels = more(1, val_images, val_labels, times=1)
        # Written digits are Latin; those of other data (KMNIST) may not be.
        known = digits.source in ("mnist", "sample")
        if known and (written := round(recipe.written * original)):
            from tinycnn.glyphs import writer

            # The third number separates this from the draws of order and deformation.
            rng = np.random.default_rng([settings.seed, 0, 2])
            more_images, more_labels = writer.written(writer.DIGITS, written, rng)
            images = np.concatenate([images, more_images])
            labels = np.concatenate([labels, more_labels])
        self.written = len(images) - original
        first = digits.first_label
        if start and load_weights(start, model).get("first_label", 0) != first:
            raise ValueError(f"{start} is for other labels than the data")
        adam, prepare = (nn.Adam, None) if settings.plain else (fast.Adam, fast.fuse)
        optimizer = adam(
            model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        trainer: Any = Trainer
        if settings.shards or self.comm.size > 1:
            cut = self.comm, settings.shards or 1, lambda: self.signum
            trainer = partial(cluster.ShardedTrainer, *cut)
        data = images, labels, val_images, val_labels
        return trainer(recipe, settings.seed, model, optimizer, *data, prepare=prepare)

    def _new_facts(self, place: str | Path | None) -> dict[str, Any]:
        """Return what a checkpoint keeps of how the run was begun."""
        network, start = self.arguments.network, self.arguments.start
        facts: dict[str, Any] = {
            "settings": {name: getattr(self.settings, name) for name in SETTINGS},
            "recipe": asdict(self.settings.recipe),
            "data_folder": place and str(Path(place).absolute()),
            "data_checksum": self.digits.checksum,
        }
        if network:
            facts["network_file"] = str(Path(network.file).absolute()), network.name
            facts["network_sha256"] = network.sha256()
        if start:
            facts["from_sha256"] = hashlib.sha256(start.read_bytes()).hexdigest()
        return facts

    def _command(self) -> str:
        """Return the command that continues this run."""
        processes = self.comm.size
        command = ["mpiexec", "-n", str(processes)] if processes > 1 else []
        command += ["python", "-m", "tinycnn.train", "--resume", str(self.folder.path)]
        return shlex.join(command)

    def _say_what_begins(self, threads: int) -> None:
        """Print one line about the network, the data, and the folder."""
        trainer, preset = self.trainer, self.settings.preset
        weights = sum(one.value.size for one in trainer.model.parameters())
        what = f"preset {preset}" if preset else trainer.recipe.network
        more = f" and {self.written:,} more, made or repeated" if self.written else ""
        images = len(trainer.train_images) - self.written
        _say(
            f"{what}: {weights:,} weights; {self.digits.source}: "
            f"{counted(images, 'image')} to train{more}, "
            f"{len(trainer.val_images):,} to validate; {counted(threads, 'thread')}; "
            f"run folder {self.folder.path}"
        )
        if self.comm.size > 1:
            _say(f"{self.comm.size} processes; {self.remedy}")

    def seconds(self) -> float:
        """Return how long the run has taken, interruptions not counted."""
        return time.perf_counter() - self.began

    def save_checkpoint(self) -> None:
        """Save everything that is needed to continue from here."""
        self.folder.save(self.trainer, self._facts | {"seconds": self.seconds()})
        self.saved = time.perf_counter()

    def record(self, epoch: dict[str, Any]) -> None:
        """Save and print the figures of an epoch."""
        from tinycnn.training.checkpoint import blocks, write_curve

        self.folder.append(epoch, self.seconds())
        curve = ""
        if not self.comm.rank:
            curve = blocks(write_curve(self.folder.path)[-20:], sys.stderr.encoding)
        best = self.trainer.progress.best_epoch == epoch["epoch"]
        if best:
            self.save_weights()
        self.save_checkpoint()
        _say(
            f"epoch {epoch['epoch']}/{self.settings.epochs}: "
            f"loss {epoch['train_loss']:.4f}, accuracy {epoch['train_accuracy']:.2%}, "
            f"validation {epoch['val_accuracy']:.2%}{' (best)' if best else ''}, "
            f"{self.seconds():.0f} s{f' {curve}' if sys.stderr.isatty() else ''}"
        )

    def save_weights(self, test: "Metrics | None" = None) -> dict[str, Any]:
        """Write the averaged weights; return their facts, without times and paths."""
        from tinycnn.nn.weights import save_weights

        trainer, settings, source = self.trainer, self.settings, self.digits.source
        facts = {
            "preset": settings.preset,
            "seed": settings.seed,
            "epochs": settings.epochs,
            "train_images": len(trainer.train_images) - self.written,
            "written": self.written,
            "data": source if source in ("mnist", "sample") else "a folder",
            "data_checksum": self.digits.checksum,
            "train_sha256": self.digits.train_sha256,
            "network": trainer.recipe.network,
            "classes": self.classes,
            "image_size": list(self.digits.train_images.shape[1:]),
            "first_label": self.digits.first_label,
            "views": trainer.recipe.views,
            "best_epoch": trainer.progress.best_epoch,
            "val_accuracy": trainer.progress.best_accuracy,
        }
        facts |= {k: v for k, v in self._facts.items() if k.endswith("_sha256")}
        if test is not None:
            facts["temperature"] = trainer.temperature()
            tested = ("accuracy", "errors", "images")
            facts |= {f"test_{name}": getattr(test, name) for name in tested}
        if self.comm.rank == 0:
            save_weights(self.folder.weights, trainer.averaged, facts)
        return facts


def _network(settings: Namespace, digits: "Digits") -> "tuple[Sequential, int, Digits]":
    """Return the network, how many classes it has, and the digits for it.

    A network of the user's own is checked first: the shapes of a batch, and the
    gradients of its own layers. Raises ValueError if anything does not fit.
    """
    from tinycnn import models
    from tinycnn.gradcheck import check_own_layers

    model = models.build(settings.network or settings.recipe.network, settings.seed)
    if settings.network is None:
        return model, 12 if settings.recipe.composed else 10, digits.for_network()
    size = digits.train_images.shape[1:]
    with explained(settings.network):
        classes = models.classes(model, size)
        check_own_layers(model, models.as_input(digits.train_images[:3]))
    return model, classes, digits.for_network(classes, size)


def _completed(arguments: Namespace, images: int) -> Namespace:
    """Return all settings, the preset's where no flag was given, and the recipe."""
    from tinycnn.training.recipes import PRESETS

    recipe = PRESETS[arguments.preset or "default"]
    if arguments.network:
        recipe = replace(recipe, network=str(arguments.network))
    defaults = {
        "preset": None if arguments.network else recipe.network,
        "epochs": recipe.epochs_for(min(arguments.limit or images, images)),
        "batch_size": recipe.batch_size,
        "lr": recipe.learning_rate,
        "seed": 0,
    }
    missing = {k: v for k, v in defaults.items() if getattr(arguments, k) is None}
    full = Namespace(**vars(arguments) | missing)
    full.recipe = replace(
        recipe, epochs=full.epochs, batch_size=full.batch_size, learning_rate=full.lr
    )
    return full


def _flags(settings: dict[str, Any]) -> list[str]:
    """Return settings as flags."""
    given = {k.replace("_", "-"): v for k, v in settings.items() if v is not None}
    return [f"--{k}" if v is True else f"--{k}={v}" for k, v in given.items()]


def _same_network(arguments: Namespace, facts: dict[str, Any]) -> UserFunction | None:
    """Return the network of the run to be resumed; refuse another file."""
    if "network_file" not in facts:
        return arguments.network  # which `_resumed` refuses
    saved = UserFunction(*facts["network_file"])
    network = arguments.network or saved
    with contextlib.suppress(OSError):
        if (str(network), network.sha256()) == (str(saved), facts["network_sha256"]):
            return network
    raise ValueError(
        f"{network} is not the network of this run, has changed since, or cannot be "
        "read; put it back, name where it is by --network FILE.py:NAME, or start a new "
        f"run with --from {arguments.resume / 'weights.safetensors'}"
    )


def _resumed(arguments: Namespace, facts: dict[str, Any], checksum: str) -> Namespace:
    """Return the settings of the run to be resumed; refuse to change one."""
    from tinycnn.training.checkpoint import OTHER_VERSION

    try:
        saved = facts["settings"]
        own = arguments.network if "network_file" in facts else None
        known = vars(arguments) | saved | {"network": own}
        old = _completed(Namespace(**known), 0)
        here = sorted(SETTINGS), asdict(old.recipe)
        same = here == (list(saved), facts["recipe"])
    except (KeyError, TypeError):
        same = False
    if not same:
        raise ValueError(f"{arguments.resume} {OTHER_VERSION}")
    given = {name: getattr(arguments, name) for name in SETTINGS}
    changed = {k: v for k, v in given.items() if v not in (None, saved[k])}
    if arguments.network != own:
        changed["network"] = arguments.network
    others = [] if checksum == facts.get("data_checksum") else ["other images"]
    if flags := _flags(changed) or others:
        fail(
            f"a run is resumed with its own settings, {' '.join(_flags(saved))}, not "
            f"with {' '.join(flags)}; --resume DIR alone is enough, with --data DIR "
            "if the images have moved; to train on, start a new run with --from "
            f"{arguments.resume / 'weights.safetensors'}",
            code=2,
        )
    return old


def _loop(run: Run) -> float:
    """Train to the end, or to the end of the batch in which a signal comes.

    Returns images a second; the first batch, which may compile, does not count.
    """
    from tqdm import tqdm

    trainer, progress = run.trainer, run.trainer.progress
    count, epochs = len(trainer.train_images), trainer.recipe.epochs
    total, initial, items = epochs * count, trainer.images, trainer.run()
    if not run.comm.rank:
        run.history.keep()
    with _cli.said_if_slow():
        first = list(itertools.islice(items, 1))
    counted, begun = trainer.images, time.perf_counter()
    with tqdm(
        total=total, initial=initial, unit=" images", unit_scale=True, disable=None
    ) as bar:
        for item in itertools.chain(first, items):
            if isinstance(item, int):
                loss = progress.loss_sum / (trainer.images - progress.epoch * count)
                epoch = f"epoch {progress.epoch + 1}/{epochs}, loss {loss:.3f}"
                bar.set_description(epoch, refresh=False)
                bar.update(item)
                if not run.comm.rank:
                    run.history.keep()
            else:
                run.record(item)
            signum = run.signum if run.comm.size == 1 else trainer.signum
            if signum is not None:
                run.signum = signum
                run.save_checkpoint()
                raise SystemExit(128 + run.signum)
            if time.perf_counter() - run.saved > SECONDS_BETWEEN_CHECKPOINTS:
                run.save_checkpoint()
    run.deferred = False
    if run.signum is not None:
        raise SystemExit(128 + run.signum)
    return (trainer.images - counted) / (time.perf_counter() - begun)


def _say(line: str) -> None:
    """Print a line on stderr, above the progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


if __name__ == "__main__":
    _cli.run_command(main)
