"""Correcting what was read, keeping the corrections, and learning from them."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tinycnn import finetune
from tinycnn.reading.corrections import NO_DIGIT, Corrections
from tinycnn.reading.result import turned_box
from tinycnn.window.session import Correction, DigitBox
from tinycnn.window.worker import Worker

READS = "tinycnn.window.served:Reads"
LEARNS = "tinycnn.window.served:Learns"


class Correcting:
    """The digits that are chosen, and what is said about them.

    `chosen` are the indices of one digit, or of several that are one; `store` keeps
    corrections for fine-tuning.
    """

    def __init__(self, window: Any, store: Corrections) -> None:
        self._window, self._session, self.store = window, window.session, store
        self.chosen: list[int] = []
        self._labels: list[int] | None = None  # typed so far, of two digits
        self._kept: dict[Correction, list[Path]] = {}  # files, in this session

    @property
    def has_next(self) -> bool:
        """Whether a digit follows what is chosen."""
        last = len(self._session.reading.digits) - 1
        return self.chosen != [] and self.chosen[-1] < last

    @property
    def hint(self) -> str:
        """What can be done with the chosen digits."""
        if self._labels is not None:
            return f"Press the {'second' if self._labels else 'first'} of two digits."
        if len(self.chosen) > 1:
            return "These are one: press its digit. Delete erases them."
        what = "0 to 9 corrects it, N: no digit, T: two digits, Delete erases it."
        return what if self.chosen else ""

    def choose(self, number: int | None, *, more: bool = False) -> None:
        """Choose a digit, one more, or none."""
        chosen = [] if number is None else sorted({number, *self.chosen * more})
        if chosen != self.chosen or self._labels is not None:
            self.chosen, self._labels = chosen, None
            self._window.say("")
            self._window.show()

    def walk(self, by: int = 1) -> str:
        """Choose the next digit, beyond the last none; "break" if there is one."""
        count = len(self._session.reading.digits)
        number = self.chosen[0] + by if self.chosen else 0 if by > 0 else count - 1
        inside = 0 <= number < count
        self.choose(number if inside else None)
        return "break" if inside else ""

    def press(self, key: str) -> None:
        """Take a digit key as the right label of what is chosen."""
        if not self.chosen or not (key.isascii() and key.isdigit()):
            return
        reading, back = self._session.reading, -self._session.reading.turns
        boxes = [reading.upright().digits[n].box for n in self.chosen]
        x0, y0, x1, y1 = zip(*boxes, strict=True)
        left, top, right, low = min(x0), min(y0), max(x1), max(y1)
        middle = (left + right) // 2
        sides = (left, right), (left, middle), (middle, right)
        whole, *halves = [turned_box((a, top, b, low), back) for a, b in sides]
        if self._labels is None:
            self._correct([(whole, int(key))])
        elif self._labels:
            self._correct(list(zip(halves, (*self._labels, int(key)), strict=True)))
        else:
            self._labels.append(int(key))
            self._window.show()

    def no_digit(self) -> None:
        """Say that what is chosen is no digit."""
        self._correct([])

    def erase(self) -> None:
        """Erase the chosen digits; without one, clear the canvas."""
        if not self.chosen:
            self._window.clear()
        elif self._session.erase_digits(self.chosen):
            self._window.on_ink()
        elif self._session.drawn.picture is not None:
            self.no_digit()  # the ink of a picture stays
        else:
            self._window.say("The eraser erases this ink.")

    def two_digits(self) -> None:
        """Say that what is chosen is two digits; their labels are typed next."""
        self._labels = []
        self._window.show()

    def one_with_next(self) -> None:
        """Say that the chosen digit and the next one are one."""
        self.choose(self.chosen[-1] + 1, more=True)

    def _correct(self, right: list[tuple[DigitBox, int]]) -> None:
        if not self._session.is_settled:
            self.choose(None)
            self._window.say("Wait until it is read.")
            return
        before = self._session.drawn.corrections
        self._session.correct(self.chosen, right)
        self.choose(None)
        self.follow(before)

    def document(self) -> list[Any]:
        """Return the corrections of the drawing, and their files, as JSON has them."""
        return [
            [each.boxes, each.digits, [path.name for path in self._kept.get(each, [])]]
            for each in self._session.drawn.corrections
        ]

    def load(self, document: Iterable[Any]) -> list[Correction]:
        """Return the corrections of a document, some of whose files are kept."""
        found = []
        for boxes, digits, names in document:
            right = tuple((_box(box), int(label)) for box, label in digits)
            found.append(Correction(tuple(map(_box, boxes)), right))
            if names:
                files = [self.store.folder / Path(name).name for name in names]
                self._kept[found[-1]] = files
        return found

    def follow(self, before: tuple[Correction, ...]) -> None:
        """Keep corrections without a file; remove those of `before` that are gone."""
        after = self._session.drawn.corrections
        try:
            for correction in set(before) - set(after):
                for path in self._kept.pop(correction, []):
                    path.unlink(missing_ok=True)
        except OSError as error:
            self._window.say(f"Cannot undo ({error.strerror}); check the folder.")
        for correction in set(after) - self._kept.keys():
            self._kept[correction] = []
            what, keep = self._session.drawing, partial(self._keep, correction)
            self._window.live.ask("corrected", what, correction, then=keep)

    def _keep(self, correction: Correction, inks: list[Any]) -> None:
        """Keep a correction whose ink has arrived, unless it was undone meanwhile."""
        if self._kept.get(correction) != []:
            return
        labels = [label for _, label in correction.digits] or [NO_DIGIT] * len(inks)
        try:
            self._kept[correction] = [
                self.store.add(image, label, strokes)
                for (image, strokes), label in zip(inks, labels, strict=True)
                if image.any()  # a half may be empty
            ]
            count = len(self.store)
        except OSError as error:
            self._window.say(f"Not kept ({error.strerror}); check the folder.")
            return
        many = "1 correction is" if count == 1 else f"{count} corrections are"
        self._window.say(f"{many} kept. The menu Learn teaches the network.")


def _box(numbers: Iterable[Any]) -> DigitBox:
    x0, y0, x1, y1 = map(int, numbers)
    return x0, y0, x1, y1


class FineTuning:
    """Fine-tuning on all corrections; not `allowed` in a window of other weights."""

    def __init__(self, window: Any, *, allowed: bool) -> None:
        self._window, self.allowed = window, allowed
        self._progress = window.statusbar.progress
        self.process: Worker | None = None

    @property
    def is_possible(self) -> bool:
        """Whether the weights can be fine-tuned now."""
        return self.allowed and self.process is None

    def learn(self) -> None:
        """Begin."""
        folder, log = self._window.correcting.store.folder, self._window.worker.log
        self.process = Worker(LEARNS, folder, log=log, restarts=False)
        self.process.on_failure = self.process.on_fatal = self.stop
        self.process.ask("learn", then=self._on_item)
        self.process.start()
        self._progress.configure(value=0)
        self._progress.pack(side="right")
        self._window.say("Learning from your corrections. You can go on drawing.")

    def stop(self, why: str = "") -> None:
        """Stop, or say why it has stopped; the weights stay as they are."""
        self.close()
        self._window.say(why or "Learning stopped; nothing has changed.")

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.close()
            self.process = None
            self._progress.pack_forget()

    def undo(self) -> None:
        """Go back to the fine-tuned weights before, or to the shipped ones."""
        try:
            undone = finetune.undo()
        except OSError as error:
            self._window.say(f"Cannot undo ({error.strerror}); check the folder.")
            return
        text = "Nothing has been learned."
        if undone:
            self._reload()
            text = "The last learning is undone; your corrections are kept."
        self._window.say(text)

    def _on_item(self, item: float | str) -> None:
        if isinstance(item, str):
            self.close()
            self._reload()
            self._window.say(item)
        else:
            self._progress.configure(value=100 * item)

    def _reload(self) -> None:
        """Read with the weights now in use."""

        def reloaded(note: str) -> None:
            self._window.panel.breaking.reset()
            self._window.live.read_anew()
            self._window.say(note or self._window.message)

        self._window.live.ask("reload", then=reloaded)
