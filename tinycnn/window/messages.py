"""The messages between the window and the reading process.

They are plain values that can be pickled, so the window loads no compiled code to
understand them.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinycnn.ink.strokes import Strokes
from tinycnn.reading.explanation import Explanation
from tinycnn.reading.result import Reading
from tinycnn.userfile import UserFunction

Drawing = Strokes | Path  # what is read: strokes, or the file of a picture


@dataclass(frozen=True)
class Picture:
    """An opened picture as the window shows it.

    Attributes
    ----------
    path : Path
    pixels : uint8 array (H, W, 3)
        RGB, possibly scaled down.
    size : (int, int)
        Width and height before scaling, in upright orientation; boxes are in these
        pixels.
    """

    path: Path
    pixels: NDArray[np.uint8]
    size: tuple[int, int]


@dataclass(frozen=True)
class Weights:
    """The files of the two networks; None stands for the shipped file.

    Attributes
    ----------
    names, judge : Path or None
        The network that names digits, and the one that separates them from other ink.
    network : UserFunction or None
        The first one, if it is defined in a file of the user's.
    """

    names: Path | None = None
    judge: Path | None = None
    network: UserFunction | None = None


SHIPPED = Weights()


def finetuned_weights(version: Path | None) -> Weights:
    """Return the weights in the folder of a fine-tuned version; None is the shipped."""
    if version is None:
        return SHIPPED
    return Weights(version / "weights.safetensors", version / "judge.safetensors")


# --- requests of the window --------------------------------------------------------


@dataclass(frozen=True)
class Read:
    """Read a drawing; of several waiting requests only the newest is answered."""

    revision: int
    strokes: Strokes


@dataclass(frozen=True)
class Explain:
    """Explain the reading of one digit; only the newest request is answered."""

    revision: int
    drawing: Drawing
    index: int  # of the digit, in reading order


@dataclass(frozen=True)
class Single:
    """Return the ink of one digit; the reply repeats `name`."""

    revision: int
    drawing: Drawing
    index: int
    name: Hashable


@dataclass(frozen=True)
class Open:
    """Open and read a picture."""

    path: Path


@dataclass(frozen=True)
class Paste:
    """Write the picture in the clipboard to a new file of a folder, and open it."""

    folder: Path


@dataclass(frozen=True)
class Annotate:
    """Write a PNG copy of the drawing with boxes and digits."""

    drawing: Drawing
    reading: Reading
    path: Path


@dataclass(frozen=True)
class Reload:
    """Read with other weights from now on."""

    weights: Weights


Request = Read | Explain | Single | Open | Paste | Annotate | Reload


# --- replies of the reading process ------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """The process accepts requests; its kernels are compiled.

    Attributes
    ----------
    note : str
        A sentence for the status line, or empty.
    """

    note: str = ""


@dataclass(frozen=True)
class Answer:
    """The reading of a drawing."""

    revision: int
    reading: Reading


@dataclass(frozen=True)
class Explained:
    """The explanation of one digit."""

    revision: int
    index: int
    explanation: Explanation


@dataclass(frozen=True)
class Singled:
    """The ink of one digit.

    Attributes
    ----------
    name : hashable
        That of the request.
    image : float32 array (28, 28)
        The input of the networks.
    strokes : Strokes or None
        The strokes of this digit in canvas units; None for a picture.
    """

    name: Hashable
    image: NDArray[np.float32]
    strokes: Strokes | None


@dataclass(frozen=True)
class Opened:
    """A picture and its reading."""

    picture: Picture
    reading: Reading


@dataclass(frozen=True)
class Saved:
    """A file was written."""

    path: Path


@dataclass(frozen=True)
class Reloaded:
    """The other weights are in use."""


@dataclass(frozen=True)
class Failed:
    """One request failed; the process accepts others.

    Attributes
    ----------
    message : str
        One sentence for the status line.
    details : str
        The traceback for the log; empty for an expected error.
    """

    message: str
    details: str = ""


@dataclass(frozen=True)
class FatalError:
    """The process cannot read at all: the weights are missing or damaged."""

    message: str


Reply = (
    Ready
    | Answer
    | Explained
    | Singled
    | Opened
    | Saved
    | Reloaded
    | Failed
    | FatalError
)
