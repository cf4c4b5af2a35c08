"""Fine-tuning on the corrections, in a process of its own.

`FineTuning` is the window's side, `serve_finetuning` the process. It does what
``python -m tinycnn.finetune`` does and keeps the result in the same folder.
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
from tinycnn.window.worker import (
    PATIENCE,
    exit_with_parent,
    no_interrupts,
    redirect_output,
)


@dataclass(frozen=True)
class Outcome:
    """The result of a fine-tuning.

    Attributes
    ----------
    figures : dict
        See `tinycnn.finetune.FineTuned`.
    """

    figures: dict[str, Any]

    @property
    def sentence(self) -> str:
        """Before and after, in one sentence."""
        f = self.figures
        data = {"mnist": "MNIST's", "sample": "the sample's"}.get(f["data"], "the")
        return (
            f"Learned: {f['right_after']} of {f['corrections']} corrections are right "
            f"now, {f['right_before']} before. Errors in {data} {f['test_images']:,} "
            f"test images: {f['test_errors_after']}, {f['test_errors_before']} before."
        )


class FineTuning:
    """A fine-tuning under way.

    Parameters
    ----------
    corrections : Path
        The folder of the corrections.
    log : Path or None
        Receives the output of the process.
    """

    def __init__(self, corrections: Path, log: Path | None) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        self._connection: Connection = ours
        self._process: BaseProcess = context.Process(
            target=serve_finetuning, args=(theirs, corrections, log), daemon=True
        )
        with no_interrupts():
            self._process.start()
        theirs.close()

    def poll(self) -> list[float | Outcome | Failed]:
        """Return new messages: shares of the work, at last the outcome or a failure."""
        replies: list[float | Outcome | Failed] = []
        try:
            while self._connection.poll():
                replies.append(self._connection.recv())
        except (EOFError, OSError):
            if not replies or isinstance(replies[-1], float):
                replies.append(Failed("Learning stopped; nothing has changed."))
        return replies

    def close(self) -> None:
        """End the process at once."""
        self._connection.close()
        self._process.kill()
        self._process.join(PATIENCE)


def serve_finetuning(
    connection: Connection, corrections: Path, log: Path | None
) -> None:
    """Fine-tune and report the progress.

    Parameters
    ----------
    connection : Connection
        Receives shares from 0 to 1, at last an `Outcome` or a `Failed`.
    corrections, log
        See `FineTuning`.
    """
    redirect_output(log)
    exit_with_parent()
    from tinycnn.data import DataError
    from tinycnn.finetune import FineTuned, finetune, local_mnist
    from tinycnn.nn.weights import WeightsError
    from tinycnn.reading import finetuned
    from tinycnn.reading.corrections import Corrections
    from tinycnn.threads import available_cores, use_threads

    use_threads(max(available_cores() - 1, 1))  # one is left to the window
    with contextlib.suppress(BrokenPipeError):
        try:
            images, labels = Corrections(corrections).read()
            for item in finetune(images, labels, local_mnist()):
                if isinstance(item, FineTuned):
                    finetuned.keep(item.save)
                    connection.send(Outcome(item.figures))
                else:
                    connection.send(float(item))
        except (DataError, ArithmeticError, WeightsError) as error:
            connection.send(Failed(str(error)))
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - shown; the window stays open
            connection.send(
                Failed(f"Learning failed ({error}).", traceback.format_exc())
            )
