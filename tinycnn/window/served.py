"""What works beside the window: a reader, and a fine-tuning, each in a process.

`worker.serve` makes these objects and calls their methods; arguments and results can be
pickled. This file loads compiled code: the window's own process does not import it.
"""

import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageGrab

from tinycnn.data import DataError, load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.files import write_atomically
from tinycnn.finetune import finetune, learned
from tinycnn.ink.picture import PictureError, open_picture, picture_ink
from tinycnn.ink.strokes import Ink, Strokes, draw, load_strokes, save_strokes
from tinycnn.nn.weights import WeightsError
from tinycnn.reading import explain as inside
from tinycnn.reading.corrections import Corrections
from tinycnn.reading.reader import Reader
from tinycnn.reading.result import Damage, Explanation, Gradients, Reading, Trial
from tinycnn.threads import available_cores, use_threads
from tinycnn.userfile import UserFunction, explained
from tinycnn.window.session import Correction, DigitBox, Drawing, Picture

SHOWN = 1600  # pixels a side of a picture that is shown, at most
BESIDE = 5  # pixels from ink to paper
NOTHING_COPIED = "There is no picture in the clipboard; copy one, or open a file."
NEEDED = "To paste, install xclip, or wl-clipboard on Wayland; or open a file."


class Reads:
    """Reads, explains and draws what the window holds, with one reader.

    Without `weights` it reads with the fine-tuned weights in use, or the shipped ones.
    A ValueError gives the reason why `weights` cannot be used, and the remedy.
    """

    expected = (PictureError, WeightsError, OSError)

    def __init__(
        self, weights: Path | None = None, network: UserFunction | None = None
    ) -> None:
        use_threads()
        self.note = ""
        if weights is None:
            self.reload()
            return
        try:
            self._read_with(weights, network)
        except (ValueError, OSError) as error:
            remedy = "name other weights, or leave --weights out"
            raise ValueError(f"{error}; {remedy}") from error

    def reload(self) -> str:
        """Read with the learned weights, or the shipped ones: the note says why."""
        self.note = ""
        try:
            if learned().exists():
                self._read_with(learned())
                return ""
        except (ValueError, OSError):
            self.note = "The learned weights cannot be read: learn again."
        self._read_with()
        return self.note

    def _read_with(
        self, weights: Path | None = None, network: UserFunction | None = None
    ) -> None:
        with explained(network):
            reader = Reader(weights, network)
            one = np.array([[40.0, 20], [40, 80]])  # compiles what reading needs
            crossed = np.array([[70.0, 20], [130, 80], [70, 80], [130, 20]])
            reader.read(Strokes((one, crossed), (10.0, 10.0), (200, 100)))
        self.reader = reader
        self._bench: inside.Workbench | None = None
        self._picture: tuple[Path | None, Ink | None] = None, None  # opened last

    def read(self, drawing: Drawing) -> Reading:
        """Read a drawing."""
        return self.reader.read(self._ink(drawing))

    def open(self, path: Path) -> Picture | Strokes:
        """Open a picture or a drawing."""
        self._picture = None, None  # the file may have changed
        try:
            if path.suffix.lower() == ".json":
                return load_strokes(path)
            size = self._picture_ink(path).size
            Strokes((), (), size)  # refuses what is too large to write on
            image = open_picture(path).convert("RGB")
        except ValueError as error:  # the full path leaves no room for the reason
            raise PictureError(str(error).replace(str(path), path.name)) from error
        is_light = self._is_light(path, image)
        image.thumbnail((SHOWN, SHOWN))
        return Picture(path, np.asarray(image), size, is_light)

    def paste(self, folder: Path) -> Picture | Strokes:
        """Open the picture in the clipboard, from a new file of the folder.

        Earlier pictures keep their files: undoing a step may bring one back.
        """
        try:
            found = ImageGrab.grabclipboard()
        except NotImplementedError as error:
            raise PictureError(NEEDED) from error
        except OSError as error:  # of a text
            raise PictureError(NOTHING_COPIED) from error
        if isinstance(found, list) and found:
            return self.open(Path(found[0]))
        if not isinstance(found, Image.Image):
            raise PictureError(NOTHING_COPIED)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"pasted {time.time_ns()}.png"
        found.save(path)
        return self.open(path)

    def save(self, drawing: Drawing, path: Path) -> str:
        """Write the drawing, with its strokes or as a PNG file; say what was written.

        A picture is black on white, or on the picture below the strokes.
        """
        alone, suffix = "", path.suffix.lower()
        if suffix not in (".json", ".png"):
            text = f"{path.name} is not saved: end its name in .json or .png"
            raise PictureError(text)
        try:
            if suffix == ".json":
                save_strokes(path, drawing.strokes)
                alone = " has the strokes, not the picture" * bool(drawing.picture)
            else:
                content = io.BytesIO()
                self._drawn(drawing).save(content, "PNG")
                write_atomically(path, [content.getvalue()])
        except OSError as error:
            text = f"{path.name} cannot be saved ({error.strerror}); choose a folder."
            raise PictureError(text) from error
        return f"{path.name}{alone}"

    def _drawn(self, drawing: Drawing) -> Image.Image:
        strokes, scale, is_light = drawing.strokes, 1.0, True
        page = Image.new("L", strokes.size, "white")
        if drawing.picture is not None:
            page = open_picture(drawing.picture).convert("RGB")
            scale = self._picture_ink(drawing.picture).scale  # a large one is reduced
            is_light = self._is_light(drawing.picture, page)
        points = [points / scale for points in strokes.points]
        mask = draw(points, [width / scale for width in strokes.pen_widths], page.size)
        ink = Image.fromarray(np.rint(255 * mask).astype(np.uint8))
        page.paste("black" if is_light else "white", mask=ink)
        return page

    def corrected(
        self, drawing: Drawing, correction: Correction
    ) -> list[tuple[NDArray[np.float32], Strokes | None]]:
        """Return the network's input and the strokes of each corrected digit.

        Of a digit that is none, they are those of what was read.
        """
        boxes = [box for box, _ in correction.digits] or correction.boxes
        ink = self._ink(drawing)
        return inside.corrected(self.reader, ink, correction.boxes, boxes)

    def explain(self, drawing: Drawing, box: DigitBox) -> Explanation | None:
        """Explain how the digit with this box was read; None if there is none."""
        return inside.explain(self.reader, self._ink(drawing), box)

    def gradients(self, image: NDArray[np.float32], label: int) -> Gradients:
        """Return the gradients of the loss of one digit with its right label."""
        return inside.gradients(self.reader.model, image, label)

    def train(
        self, image: NDArray[np.float32], label: int, rate: float, keep: bool
    ) -> Trial:
        """Do one training step on a digit; undo it unless it is to be kept."""
        return self._workbench().train(image, label, rate, keep=keep)

    def damage(self, damage: Damage) -> int:
        """Damage the weights; return how many of the sample's digits are read right."""
        return self._workbench().apply(damage)

    def _workbench(self) -> inside.Workbench:
        if self._bench is None:
            sample = load_mnist(SAMPLE_FOLDER)
            digits = sample.test_images, sample.test_labels
            self._bench = inside.Workbench(self.reader, *digits)
        return self._bench

    # --- ink and pictures ----------------------------------------------------------

    def _picture_ink(self, path: Path) -> Ink:
        known, ink = self._picture
        if ink is None or known != path:
            ink = picture_ink(path)
            self._picture = path, ink
        return ink

    def _is_light(self, path: Path, image: Image.Image) -> bool:
        """Return whether the paper beside the ink of a picture is light."""
        grey, ink = np.asarray(image.convert("L")), self._picture_ink(path).values > 0.5
        paper = np.roll(ink, BESIDE, axis=1) & ~ink
        return bool((grey[paper] if paper.any() else grey).mean() > 127)

    def _ink(self, drawing: Drawing) -> Ink:
        """Return the ink of a drawing, its strokes laid on the ink of the picture."""
        if drawing.picture is None:
            nothing = np.zeros((0, 0), np.float32)
            return Ink(nothing, drawing.strokes.size, strokes=drawing.strokes)
        ink, strokes = self._picture_ink(drawing.picture), drawing.strokes
        points = [points / ink.scale for points in strokes.points]
        widths = [width / ink.scale for width in strokes.pen_widths]
        high, wide = ink.values.shape
        drawn = draw(points, widths, (wide, high))
        return replace(ink, values=np.maximum(ink.values, drawn))


class Learns:
    """Fine-tunes the reader on the corrections in a folder."""

    expected = (DataError, ArithmeticError, WeightsError, OSError)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def learn(self) -> Iterator[float | str]:
        """Fine-tune; yield shares of the work from 0 to 1, at last the outcome."""
        use_threads(max(available_cores() - 1, 1))  # one is left to the window
        images, labels = Corrections(self._folder).read()
        for item in finetune(images, labels, learned()):
            yield item if isinstance(item, float) else outcome(item)


def outcome(figures: dict[str, Any]) -> str:
    """Return the figures of a fine-tuning, before and after, in one sentence."""
    f = figures
    data = {"mnist": "MNIST's", "sample": "the sample's"}.get(f["data"], "the")
    return (
        f"Learned: {f['right_after']} of {f['corrections']} corrections are right "
        f"now, {f['right_before']} before. Errors in {data} {f['test_images']:,} "
        f"test images: {f['test_errors_after']}, {f['test_errors_before']} before."
    )
