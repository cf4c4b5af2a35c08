"""Corrections: images of digits with their right labels, kept for fine-tuning.

A folder holds three files:

========================= ========================================================
``images-idx3-ubyte``     28×28, the inputs of the networks, in the IDX format
``labels-idx1-ubyte``     their labels
``strokes.jsonl``         a line each: the strokes as a stroke file, or ``null`` for a
                          digit that was not drawn
========================= ========================================================

The number of labels is the number of corrections. They are written last and shortened
first: if the process is killed meanwhile, surplus entries of the other files are
ignored, and images and labels cannot get out of step. Loads neither Numba nor SciPy.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycnn.data.idx import DataError, read_images, read_labels, write_idx
from tinycnn.files import write_atomically
from tinycnn.ink.strokes import Strokes

__all__ = ["Corrections", "DataError"]


class Corrections:
    """The corrections in a folder; every call reads the folder anew.

    Parameters
    ----------
    folder : str or Path
        Created with the first correction.

    Raises
    ------
    DataError
        From every method: a file is damaged or of something else. One sentence that
        names it.
    OSError
        From `add` and `remove_last`: a file cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._images = self.folder / "images-idx3-ubyte"
        self._labels = self.folder / "labels-idx1-ubyte"
        self._strokes = self.folder / "strokes.jsonl"

    def __len__(self) -> int:
        return len(self._load()[1])

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
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
        images, labels = self._load()
        if len(labels) == 0:
            raise DataError(
                f"{self.folder}: holds no corrections (no {self._images.name} with "
                f"{self._labels.name}); name a folder that has some"
            )
        return images, labels

    def add(
        self, image: NDArray[np.floating[Any]], label: int, strokes: Strokes | None
    ) -> None:
        """Append a correction.

        Parameters
        ----------
        image : float array (28, 28)
            In [0, 1], 1 = ink.
        label : int
            0 to 9.
        strokes : Strokes or None
            Those of this digit alone; None if it was not drawn.
        """
        images, labels = self._load()
        grey = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
        document = None
        if strokes is not None:
            document = {
                "label": int(label),
                "strokes": [stroke.round(3).tolist() for stroke in strokes.points],
                "pen_width": list(strokes.pen_widths),
                "size": list(strokes.size),
            }
        line = json.dumps(document).encode() + b"\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._strokes, [*self._lines(len(labels)), line])
        write_idx(self._images, np.concatenate([images, grey[np.newaxis]]))
        write_idx(self._labels, np.append(labels, np.uint8(label)))

    def remove_last(self) -> None:
        """Remove the latest correction, if there is one."""
        images, labels = self._load()
        if len(labels) == 0:
            return
        count = len(labels) - 1
        if count == 0:
            for file in (self._labels, self._images, self._strokes):
                file.unlink(missing_ok=True)
            return
        write_idx(self._labels, labels[:count])
        write_idx(self._images, images[:count])
        write_atomically(self._strokes, self._lines(count))

    def _load(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return images and labels, equally many; empty arrays without files."""
        labels, images = np.zeros(0, np.uint8), np.zeros((0, 28, 28), np.uint8)
        # Labels first: another process may be adding an image.
        if self._labels.exists():
            labels = read_labels(self._labels, 9)
        if self._labels.exists() or self._images.exists():
            images = read_images(self._images, (28, 28))
        if not len(labels) <= len(images) <= len(labels) + 1:
            raise DataError(
                f"{self.folder}: has {len(labels):,} labels for {len(images):,} images;"
                " name a folder whose files belong together, or move this one away"
            )
        return images[: len(labels)], labels

    def _lines(self, count: int) -> list[bytes]:
        """Return the first lines of the strokes, ``null`` for missing ones."""
        lines = (
            self._strokes.read_bytes().splitlines() if self._strokes.exists() else []
        )
        lines = lines[:count] + [b"null"] * (count - len(lines))
        return [line + b"\n" for line in lines]
