"""The panel: what the network sees in one digit, how it learns, what breaks it."""

import tkinter as tk
from collections.abc import Sequence
from functools import partial
from tkinter import ttk
from typing import Any

import numpy as np

from tinycnn.reading.result import Damage, Explanation, Gradients, Trial
from tinycnn.window import contents
from tinycnn.window.contents import Spot
from tinycnn.window.page import Page

WIDTH = 336  # units
TITLES = "It sees", "It learns", "It breaks"


class Panel(ttk.Frame):
    """The panel: a `subject` line that names the digit, and three tabs."""

    def __init__(self, window: Any) -> None:
        super().__init__(window.root, width=window.look.px(WIDTH))
        self.pack_propagate(False)
        self._window, px = window, window.look.px
        self.subject = ttk.Label(self, padding=(px(12), px(5)))
        self.subject.pack(anchor="w")
        self.tabs: Any = ttk.Notebook(self)
        self.tabs.pack(fill="both", expand=True)
        self.seeing = Seeing(self.tabs, window)
        self.learning = Learning(self.tabs, window)
        self.breaking = Breaking(self.tabs, window)
        self.pages = self.seeing, self.learning, self.breaking
        for page, title in zip(self.pages, TITLES, strict=True):
            self.tabs.add(page, text=title)
        self.tabs.bind("<<NotebookTabChanged>>", lambda _: self.refresh())
        self.explanation: Explanation | None = None

    def show(self, explanation: Explanation | None, subject: str) -> None:
        """Show an explanation, or only the subject line."""
        self.explanation = explanation
        self.subject.configure(text=subject)
        self.refresh()

    def refresh(self) -> None:
        """Show the explanation on the open page."""
        boxes, page = self._window.canvas.boxes, self.pages[self.tabs.index("current")]
        boxes.region = ()
        if self.explanation is None or not self._window.settings.panel:
            page.show(lambda: None)
        else:
            page.explain(self.explanation)
        boxes.show()


class Seeing(Page):
    """What the network sees in one digit."""

    chosen: Spot | None = None

    def explain(self, explanation: Explanation) -> None:
        """Show an explanation; mark the receptive field of the chosen pixel."""
        self.show(lambda: contents.sees(self, explanation, self.chosen, self.choose))
        if self.chosen is not None:
            layer, _, x, y = self.chosen
            OH, OW, _ = explanation.feature_maps[layer].maps.shape
            region = explanation.region(layer, int(y * OH), int(x * OW))
            self.window.canvas.boxes.region = region

    def choose(self, layer: int, feature: int, x: float = 0.5, y: float = 0.5) -> None:
        """Choose a pixel of a map, or no map if it is chosen already."""
        spot = layer, feature, x, y
        self.chosen = None if spot == self.chosen else spot
        self.window.panel.refresh()


class Learning(Page):
    """How the network would learn from one digit."""

    def __init__(self, parent: tk.Misc, window: Any) -> None:
        super().__init__(parent, window)
        self._explanation: Explanation | None = None
        self.gradients: Gradients | None = None
        self.trial: Trial | None = None
        self.label = choice(self, "It should be", 0, "0123456789", self.ask)
        rates = "0.0001", "0.0003", "0.001", "0.003", "0.01"
        self.rate = choice(self, "Learning rate", 1, rates, lambda: None)
        self.rate.set("0.0003")  # larger ones may overshoot, and lose other digits
        self.keeps = tk.BooleanVar(self)
        step = ttk.Button(self.controls, text="One training step", command=self.train)
        step.grid(row=2, column=0, pady=self.look.px(4))
        keep = ttk.Checkbutton(self.controls, text="Keep it", variable=self.keeps)
        keep.grid(row=2, column=1)

    def explain(self, explanation: Explanation) -> None:
        """Show the gradients of a digit, at first for what it was read as."""
        old, trial = self._explanation, self.trial
        self._explanation = explanation
        if old is None or not np.array_equal(explanation.image, old.image):
            self.label.set(str(explanation.probabilities.argmax()))
            trial = None
        self.ask(trial)

    def ask(self, trial: Trial | None = None) -> None:
        """Show the gradients for the label that is chosen, below a training step."""
        self.trial, explanation = trial, self._explanation
        if explanation is None:
            return

        def show(gradients: Gradients) -> None:
            if explanation is self._explanation:
                self.gradients = gradients
                self.show(lambda: contents.learns(self, explanation, gradients, trial))

        what = explanation.image, int(self.label.get())
        self.window.live.ask("gradients", *what, then=show)

    def train(self) -> None:
        """Do one training step; show it unless another digit is shown by then."""
        if self._explanation is None:
            return
        image, label = self._explanation.image, self.label.get()
        how, keeps = float(self.rate.get()), self.keeps.get()

        def show(trial: Trial) -> None:
            if keeps:
                self.window.panel.breaking.has_steps = True
                self.window.live.read_anew()  # which shows the new gradients, too
            now = self._explanation
            if now is not None and np.array_equal(image, now.image):
                self.label.set(label)
                self.ask(trial)

        self.window.live.ask("train", image, int(label), how, keeps, then=show)


class Breaking(Page):
    """What breaks the network: filters muted, noise added, weights rounded."""

    def __init__(self, parent: tk.Misc, window: Any) -> None:
        super().__init__(parent, window)
        self.damage, self.has_steps = Damage(), False  # steps that were kept
        self.right: list[int] = []  # of the test digits: whole, and now
        noises = "0", "0.1", "0.2", "0.3", "0.5", "1"
        self.noise = choice(self, "Noise", 0, noises, self.change)
        bits = "32", "8", "4", "2", "1"
        self.bits = choice(self, "Bits a weight", 1, bits, self.change)
        back = ttk.Button(self.controls, text="Put back", command=self.put_back)
        back.grid(row=0, column=2, rowspan=2, padx=self.look.px(10))

    @property
    def is_changed(self) -> bool:
        """Whether the weights are others than those that were loaded."""
        return self.has_steps or self.damage != Damage()

    def explain(self, explanation: Explanation) -> None:
        """Show the maps of an explanation, to be muted."""
        if not self.right:
            self._apply()
        what = explanation, self.damage, self.right, self.mute
        self.show(lambda: contents.breaks(self, *what))

    def reset(self) -> None:
        """Know that the weights are whole: they have just been loaded."""
        self.noise.set("0")
        self.bits.set("32")
        self.damage, self.has_steps, self.right = Damage(), False, []
        self.window.panel.learning.trial = None

    def put_back(self) -> None:
        """Undo all damage, and the training steps that were kept."""
        self.reset()
        self._apply()

    def mute(self, layer: int, feature: int, *_: Any) -> None:
        """Mute a filter, or let it speak again."""
        self.change(tuple(sorted({*self.damage.muted} ^ {(layer, feature)})))

    def change(self, muted: tuple[tuple[int, int], ...] | None = None) -> None:
        """Damage the weights as is chosen."""
        if not self.right:
            return  # the whole network has not been measured yet
        muted = self.damage.muted if muted is None else muted
        self.damage = Damage(muted, float(self.noise.get()), int(self.bits.get()))
        self._apply()

    def _apply(self) -> None:
        self.has_steps &= self.damage != Damage()  # no damage undoes them, too
        then = partial(self._done, self.damage)
        self.window.live.ask("damage", self.damage, then=then)

    def _done(self, damage: Damage, right: int) -> None:
        whole = right if damage == Damage() else self.right[0]
        self.right = [whole, right]
        self.window.say("")
        self.window.live.read_anew()


def choice(
    page: Page, text: str, row: int, values: Sequence[str], changed: Any
) -> tk.StringVar:
    """Add a choice of values to a page's controls and return its variable."""
    variable, pad = tk.StringVar(page, values[0]), page.look.px(2)
    ttk.Label(page.controls, text=text).grid(row=row, column=0, sticky="w", pady=pad)
    box = ttk.Combobox(page.controls, values=[*values], width=7, state="readonly")
    box.configure(textvariable=variable)
    box.grid(row=row, column=1, padx=page.look.px(8))
    box.bind("<<ComboboxSelected>>", lambda _: changed())
    return variable
