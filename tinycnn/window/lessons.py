"""Learning from corrections, in a process of its own, as the window sees it.

`Lesson` is the window's side; `study` is the process. What is learned is what
``python -m tinycnn.train --extra`` learns, and is kept in the same place. This file
knows processes and shares of work done; it knows no widgets, and loads no network.
"""

import contextlib
import traceback
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tinycnn.window.messages import Failed
from tinycnn.window.worker import PATIENCE, no_interrupts, settle_in


@dataclass(frozen=True)
class Outcome:
    """What came of a lesson.

    Attributes
    ----------
    figures : dict
        As `tinycnn.finetune.Learnt` has them.
    """

    figures: dict[str, Any]

    @property
    def sentence(self) -> str:
        """Before and after, in one sentence."""
        f = self.figures
        data = {"mnist": "MNIST's", "sample": "the sample's"}.get(f["data"], "the")
        return (
            f"Learnt: {f['right_after']} of {f['corrections']} corrections are right "
            f"now, {f['right_before']} before. Errors in {data} {f['test_images']:,} "
            f"test images: {f['test_errors_after']}, {f['test_errors_before']} before."
        )


class Lesson:
    """One lesson that is under way.

    Parameters
    ----------
    corrections : Path
        The folder of the corrections.
    log : Path or None
        Where what the process prints goes to.
    """

    def __init__(self, corrections: Path, log: Path | None) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        self._connection: Connection = ours
        self._process: BaseProcess = context.Process(
            target=study, args=(theirs, corrections, log), daemon=True
        )
        with no_interrupts():
            self._process.start()
        theirs.close()

    def poll(self) -> list[float | Outcome | Failed]:
        """Return what the process has said: shares of its work, at last what came.

        After an outcome or a failure there is nothing more.
        """
        said: list[float | Outcome | Failed] = []
        try:
            while self._connection.poll():
                said.append(self._connection.recv())
        except (EOFError, OSError):
            if not said or isinstance(said[-1], float):
                said.append(Failed("Learning stopped; nothing was changed."))
        return said

    def close(self) -> None:
        """End the process, whatever it does."""
        self._connection.close()
        self._process.kill()
        self._process.join(PATIENCE)


def study(connection: Connection, corrections: Path, log: Path | None) -> None:
    """Learn, and tell how far it is.

    Parameters
    ----------
    connection : Connection
        Where shares from 0 to 1 go to, and at last an `Outcome` or a `Failed`.
    corrections, log
        As `Lesson` has them.
    """
    settle_in(log)
    from tinycnn.data import DataError
    from tinycnn.finetune import Learnt, learn, present_digits
    from tinycnn.nn.weights import TensorFileError
    from tinycnn.reading import finetuned as learnt
    from tinycnn.reading.corrections import Corrections
    from tinycnn.threads import available_cores, use_threads
    from tinycnn.training.fit import DivergedError

    use_threads(max(available_cores() - 1, 1))  # one is left to the window
    with contextlib.suppress(BrokenPipeError):
        try:
            images, labels = Corrections(corrections).read()
            for item in learn(images, labels, present_digits()):
                if isinstance(item, Learnt):
                    learnt.keep(item.save)
                    connection.send(Outcome(item.figures))
                else:
                    connection.send(float(item))
        except (DataError, DivergedError, TensorFileError) as error:
            connection.send(Failed(str(error)))
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - the window says it and goes on
            connection.send(
                Failed(f"Learning went wrong ({error}).", traceback.format_exc())
            )
