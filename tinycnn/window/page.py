"""A column of texts, bars and small pictures that scrolls, in the panel."""

import tkinter as tk
from collections.abc import Callable, Iterator, Sequence
from tkinter import ttk
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageTk

from tinycnn.window.theme import Look

INNER = 300  # units, the width of a page's content
ASIDE = 10_000  # pixels; new parts are out of sight until all are there
ROW = 17  # units, the height of a bar's row
Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Click = Callable[[int, float, float], object]


class Page(ttk.Frame):
    """A page of the panel, with a row for controls above what scrolls.

    `show` is given a generator that adds parts and yields in between, where other
    events are handled: adding everything at once would block the pen. The earlier
    content stays until all is there.
    """

    def __init__(self, parent: tk.Misc, look: Look) -> None:
        super().__init__(parent)
        self.look, self._y = look, 0
        self.controls = ttk.Frame(self, padding=(look.px(12), look.px(6), 0, 0))
        self.controls.pack(fill="x")
        self.sheet: Any = tk.Canvas(self, width=look.px(INNER), height=1)
        sheet = self.sheet
        sheet.configure(highlightthickness=0, borderwidth=0)
        bar = ttk.Scrollbar(self, command=sheet.yview)
        sheet.configure(yscrollcommand=bar.set)
        bar.pack(side="right", fill="y")
        sheet.pack(fill="both", expand=True, padx=(look.px(12), look.px(4)))
        for widget in (self, sheet, bar):
            widget.bind(
                "<MouseWheel>", lambda e: self._scroll(-1 if e.delta > 0 else 1)
            )
            widget.bind("<Button-4>", lambda _: self._scroll(-1))
            widget.bind("<Button-5>", lambda _: self._scroll(1))
        self._parts: Iterator[None] = iter(())
        self._later: str | None = None
        self._photos: list[ImageTk.PhotoImage] = []  # Tk does not keep them
        self._new_photos: list[ImageTk.PhotoImage] = []
        self.top: int | None = None  # where to scroll in the end

    @property
    def is_busy(self) -> bool:
        """Whether there are parts still to be added."""
        return self._later is not None

    def show(self, parts: Iterator[None]) -> None:
        """Replace the content."""
        self.sheet.delete("new")
        self.sheet.configure(background=self.look.theme.ground)
        self._y, self._new_photos, self.top = self.look.px(4), [], None
        self._parts = parts
        if self._later is None:
            self._later = self.after(1, self._add_next)

    def destroy(self) -> None:
        """Destroy the page and cancel pending parts."""
        if self._later is not None:
            self.after_cancel(self._later)
        super().destroy()

    def _add_next(self) -> None:
        self._later = None
        for _ in self._parts:
            self._later = self.after(1, self._add_next)
            return
        self.sheet.delete("shown")
        self.sheet.move("new", -ASIDE, 0)
        self.sheet.addtag_withtag("shown", "new")
        self.sheet.dtag("new", "new")
        self._photos = self._new_photos
        self.sheet.configure(scrollregion=(0, 0, self.look.px(INNER), self._y))
        if self.top is not None:
            self.sheet.yview_moveto(self.top / max(self._y, 1))

    def _scroll(self, by: int) -> None:
        if self.sheet.yview() != (0.0, 1.0):
            self.sheet.yview_scroll(2 * by, "units")

    # --- parts ---------------------------------------------------------------------

    def heading(self, text: str) -> int:
        """Add a heading and return where it is."""
        top, font = self._y, self.look.fonts.title
        self._y += self.look.px(6)
        self._paragraph(text, font, self.look.theme.text)
        return top

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._paragraph(text, self.look.fonts.plain, self.look.theme.faint)

    def _paragraph(self, text: str, font: Any, colour: str) -> None:
        item = self._text(0, self._y, text, font, colour)
        self.sheet.itemconfigure(item, width=self.look.px(INNER))
        self._y = self.sheet.bbox(item)[3] + self.look.px(5)

    def bars(self, rows: Sequence[tuple[str, Sequence[float], str]], bold: str) -> None:
        """Add rows of a label, shares from -1 to 1 as bars, and a note.

        One label is bold; bars below 0 go to the left, in another colour.
        """
        px, theme, fonts = self.look.px, self.look.theme, self.look.fonts
        left, right = px(22), px(INNER - 112)
        signed = any(share < 0 for _, shares, _ in rows for share in shares)
        zero = (left + right) // 2 if signed else left
        for label, shares, note in rows:
            first = label == bold
            middle, high = self._y + px(ROW / 2), px(10) // len(shares)
            font = fonts.title if first else fonts.plain
            colour = theme.text if note else theme.faint
            self._text(px(6), middle, label, font, colour, "w")
            self._text(px(INNER - 2), middle, note, font, colour, "e")
            for number, share in enumerate(shares):
                y = middle - px(5) + number * high
                end = zero + share * (right - zero)
                fill = theme.sure if first else theme.faint
                self._bar(left, y, right, y + high, theme.raised)
                if abs(share) >= 0.001:
                    far = max(zero, end, min(zero, end) + 1)
                    fill = theme.doubtful if share < 0 else fill
                    self._bar(min(zero, end), y, far, y + high, fill)
            self._y += px(ROW)
        self._y += px(6)

    def pictures(
        self,
        cells: Sequence[Pixels],
        columns: int,
        *,
        captions: Sequence[str] = (),
        marked: Sequence[int] = (),
        click: Click | None = None,
    ) -> None:
        """Add square pictures of one size, as wide as the page from two columns on.

        `click` is given the number of the picture and the place in it, 0 to 1.
        """
        px, theme, side, top = self.look.px, self.look.theme, len(cells[0]), self._y
        pitch = (px(INNER) - side) / max(columns - 1, 1)
        spots = (divmod(number, columns) for number in range(len(cells)))
        places = [(round(c * pitch), round(r * min(pitch, side + 3))) for r, c in spots]
        high = places[-1][1] + side
        ground = self.look.rgb(theme.ground).astype(np.uint8)
        page = np.tile(ground, (high, px(INNER) + 1, 1))
        for (x, y), cell in zip(places, cells, strict=True):
            page[y : y + side, x : x + side] = cell
        photo = ImageTk.PhotoImage(Image.fromarray(page), master=self.sheet)
        self._new_photos.append(photo)
        options = {"anchor": "nw", "image": str(photo), "tags": "new"}
        item = self.sheet.create_image(ASIDE, top, **options)
        for x, y in (places[number] for number in marked):
            self._frame(x + 1, top + y + 1, side - 2)

        def on_click(event: "tk.Event[Any]") -> None:
            x, y = event.x, self.sheet.canvasy(event.y) - top
            for number, (left, upper) in enumerate(places):
                if 0 <= x - left < side and 0 <= y - upper < side and click:
                    click(number, (x - left) / side, (y - upper) / side)

        self.sheet.tag_bind(item, "<Button-1>", on_click)
        self._y += high + px(3)
        for (x, _), caption in zip(places, captions, strict=False):
            self._caption(x + side / 2, caption, min(pitch, side + px(8)))
        self._y = max(self._y, self.sheet.bbox("new")[3]) + px(5)

    def _frame(self, x: float, y: float, side: float) -> None:
        item = self._bar(x, y, x + side, y + side, "")
        colour, width = self.look.theme.fires, self.look.px(2)
        self.sheet.itemconfigure(item, outline=colour, width=width)

    def _caption(self, middle: float, caption: str, wide: float) -> None:
        x = min(max(middle, wide / 2), self.look.px(INNER) - wide / 2)
        font, colour = self.look.fonts.small, self.look.theme.faint
        item = self._text(x, self._y, caption, font, colour, "n")
        self.sheet.itemconfigure(item, width=round(wide), justify="center")

    def _bar(self, x0: float, y0: float, x1: float, y1: float, fill: str) -> int:
        where = x0 + ASIDE, y0, x1 + ASIDE, y1
        return self.sheet.create_rectangle(*where, fill=fill, width=0, tags="new")

    def _text(
        self, x: float, y: float, text: str, font: Any, fill: str, anchor: Any = "nw"
    ) -> int:
        options = {"text": text, "anchor": anchor, "font": font, "fill": fill}
        return self.sheet.create_text(x + ASIDE, y, tags="new", **options)

    # --- arrays as pictures --------------------------------------------------------

    def ink(self, share: Floats, side: int, *, smooth: bool = True) -> Pixels:
        """Return ink values (H, W), 0 to 1, as a square in the theme's colours."""
        theme = self.look.theme
        return self.look.mixed(_fitted(share, side, smooth), theme.paper, theme.ink)

    def signed(self, weight: Floats, side: int, most: float = 0.0) -> Pixels:
        """Return weights as colours: blue above 0, orange below; full at `most`.

        0 stands for the largest of them.
        """
        theme = self.look.theme
        share = _fitted(weight, side, smooth=False)
        share = share / max(most or float(np.abs(weight).max()), 1e-12)
        above = self.look.mixed(share, theme.paper, theme.sure)
        below = self.look.mixed(-share, theme.paper, theme.doubtful)
        return np.where(share[..., None] >= 0, above, below)


def _fitted(values: Floats, side: int, smooth: bool) -> Floats:
    """Return an array as a square; `smooth` averages where it shrinks."""
    H, W = values.shape
    scale = side / max(H, W)
    shape = max(round(W * scale), 1), max(round(H * scale), 1)
    way = Image.Resampling.BOX if scale < 1 and smooth else Image.Resampling.NEAREST
    image = Image.fromarray(values.astype(np.float32)).resize(shape, way)
    page = np.zeros((side, side), np.float32)
    top, left = (side - shape[1]) // 2, (side - shape[0]) // 2
    page[top : top + shape[1], left : left + shape[0]] = np.asarray(image)
    return page
