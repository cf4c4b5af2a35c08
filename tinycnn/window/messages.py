"""What the window and the process that reads say to each other.

These are plain values that can be pickled: the window understands them without loading
anything that compiles. This file knows no widgets, no process and no network.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinycnn.ink.strokes import Strokes
from tinycnn.reading.explanation import Explanation
from tinycnn.reading.result import Reading

Drawing = Strokes | Path  # what is read: strokes, or the file of a picture


@dataclass(frozen=True)
class Picture:
    """A picture that was opened, as the window shows it.

    Attributes
    ----------
    path : Path
        Its file.
    pixels : uint8 array (H, W, 3)
        Perhaps scaled down.
    size : (int, int)
        Width and height before that, as a person sees it: boxes are in its pixels.
    """

    path: Path
    pixels: NDArray[np.uint8]
    size: tuple[int, int]


@dataclass(frozen=True)
class Weights:
    """The files of the two networks; None is the one that ships.

    Attributes
    ----------
    names, judge : Path or None
        The network that names digits, and the one that tells them from other ink.
    """

    names: Path | None = None
    judge: Path | None = None


SHIPPED = Weights()


def learnt_weights(version: Path | None) -> Weights:
    """Return the weights in a folder of what was learnt; None is those that ship."""
    if version is None:
        return SHIPPED
    return Weights(version / "weights.safetensors", version / "judge.safetensors")


# --- asked by the window -----------------------------------------------------------


@dataclass(frozen=True)
class Read:
    """Read a drawing; of several that wait, only the newest is read."""

    revision: int
    strokes: Strokes


@dataclass(frozen=True)
class Explain:
    """Tell what the networks saw of one digit; the newest question counts."""

    revision: int
    drawing: Drawing
    index: int  # of the digit, in reading order


@dataclass(frozen=True)
class Single:
    """Return the ink of one digit alone; `name` comes back with it."""

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
    """Open and read the picture in the clipboard; it becomes a new file in a folder."""

    folder: Path


@dataclass(frozen=True)
class Annotate:
    """Write a copy of the drawing with boxes and digits as PNG."""

    drawing: Drawing
    reading: Reading
    path: Path


@dataclass(frozen=True)
class Reload:
    """Read with other weights from now on."""

    weights: Weights


Request = Read | Explain | Single | Open | Paste | Annotate | Reload


# --- answered by the process that reads --------------------------------------------


@dataclass(frozen=True)
class Ready:
    """Kernels are compiled, requests are welcome.

    Attributes
    ----------
    note : str
        Something to be shown, or empty.
    """

    note: str = ""


@dataclass(frozen=True)
class Answer:
    """What a drawing says."""

    revision: int
    reading: Reading


@dataclass(frozen=True)
class Explained:
    """What the networks saw of one digit."""

    revision: int
    index: int
    explanation: Explanation


@dataclass(frozen=True)
class Singled:
    """One digit's own ink.

    Attributes
    ----------
    name : hashable
        As in the question.
    image : float32 array (28, 28)
        As the networks got it.
    strokes : Strokes or None
        Its own, in pixels of the canvas; None of a picture.
    """

    name: Hashable
    image: NDArray[np.float32]
    strokes: Strokes | None


@dataclass(frozen=True)
class Opened:
    """A picture and what it says."""

    picture: Picture
    reading: Reading


@dataclass(frozen=True)
class Saved:
    """A file was written."""

    path: Path


@dataclass(frozen=True)
class Reloaded:
    """Other weights are in use."""


@dataclass(frozen=True)
class Failed:
    """Something went wrong with one request; the process goes on.

    Attributes
    ----------
    message : str
        One sentence for the status line.
    details : str
        The traceback, for the log; empty where the sentence says it all.
    """

    message: str
    details: str = ""


@dataclass(frozen=True)
class Hopeless:
    """Nothing can be read at all: the weights are missing or damaged."""

    message: str


Reply = (
    Ready | Answer | Explained | Singled | Opened | Saved | Reloaded | Failed | Hopeless
)
