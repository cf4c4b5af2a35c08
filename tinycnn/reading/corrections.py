"""Corrections: images of digits with their right labels, kept for fine-tuning.

Each correction is a file of its own in a folder: a stroke file (`tinycnn.ink.strokes`)
with the digit's strokes, none if it was not drawn, and two more keys, ``label`` and
``image``, the 28×28 input of the network, 255 = ink. A file is written in one step, so
nothing can get out of step. Loads neither Numba nor SciPy.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycnn.data.idx import DataError
from tinycnn.files import UnreadableError, read_regular
from tinycnn.ink.strokes import LARGEST_FILE, Strokes, save_strokes

NO_DIGIT = 10  # the label of ink that is none
SHAPE = 28, 28
Images = NDArray[np.uint8]


class Corrections:
    """The corrections in a folder; every call reads the folder anew.

    Parameters
    ----------
    folder : str or Path
        Created with the first correction.

    Raises
    ------
    DataError
        From `read`: a file is damaged or of something else. One sentence that names it.
    OSError
        From `add`: a file cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __len__(self) -> int:
        return len(list(self.folder.glob("*.json")))

    def read(self) -> tuple[Images, NDArray[np.uint8]]:
        """Return all corrections, oldest first.

        Returns
        -------
        images : uint8 array (N, 28, 28)
            255 = ink.
        labels : uint8 array (N,)
            N is at least 1.

        Raises
        ------
        DataError
            Also if there are none.
        """
        every = [_read(path) for path in sorted(self.folder.glob("*.json"))]
        if not every:
            raise DataError(
                f"{self.folder}: holds no corrections; name a folder that has some"
            )
        images, labels = zip(*every, strict=True)
        return np.stack(images), np.array(labels, np.uint8)

    def add(
        self, image: NDArray[np.floating[Any]], label: int, strokes: Strokes | None
    ) -> Path:
        """Keep a correction and return its file.

        Parameters
        ----------
        image : float array (28, 28)
            In [0, 1], 1 = ink.
        label : int
            0 to 9, or `NO_DIGIT`.
        strokes : Strokes or None
            Those of this digit alone; None if it was not drawn.
        """
        grey = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
        drawn = strokes or Strokes((), (), SHAPE)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{time.time_ns()}.json"
        save_strokes(path, drawn, label=int(label), image=grey.tolist())
        return path


def _read(path: Path) -> tuple[Images, int]:
    """Return image and label of a correction's file."""
    try:
        document = json.loads(read_regular(path, LARGEST_FILE))
        image, label = np.array(document["image"]), document["label"]
        if (image.shape, image.dtype.kind) != (SHAPE, "i"):
            raise ValueError(f"has an image of shape {image.shape}")
        if type(label) is not int or not 0 <= label <= NO_DIGIT:
            raise ValueError(f"has the label {label!r:.40}")
    except UnreadableError as error:
        raise DataError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: is no correction ({error}); remove it") from None
    return image.clip(0, 255).astype(np.uint8), label
