"""A column of texts, bars and small pictures that scrolls, in the panel."""

import tkinter as tk
from collections.abc import Callable, Collection, Sequence
from tkinter import ttk
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps, ImageTk

INNER, BAR = 294, 134  # units, the widths of a page's content and of its bars
Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Click = Callable[[int, float, float], object]


class Page(ttk.Frame):
    """A page of the panel, with a row for controls above what scrolls."""

    def __init__(self, parent: tk.Misc, window: Any) -> None:
        super().__init__(parent)
        self.window, self.look, px = window, window.look, window.look.px
        self.controls = ttk.Frame(self, padding=(px(12), px(6), 0, 0))
        self.controls.pack(fill="x")
        self.sheet = sheet = tk.Text(self, width=1, wrap="word", state="disabled")
        sheet.configure(borderwidth=0, highlightthickness=px(1), takefocus=True)
        sheet.configure(cursor="arrow", padx=px(11), spacing3=px(4))
        bar = ttk.Scrollbar(self, command=sheet.yview)
        sheet.configure(yscrollcommand=bar.set)
        bar.pack(side="right", fill="y")
        sheet.pack(fill="both", expand=True)
        self._photos: list[ImageTk.PhotoImage] = []  # Tk does not keep them

    def show(self, write: Callable[[], object]) -> None:
        """Replace the content by what a function writes; stay where it is scrolled."""
        sheet, theme, fonts = self.sheet, self.look.theme, self.look.fonts
        tabs: Any = self.look.px(22), self.look.px(INNER), "right"
        sheet.configure(font=fonts.plain, foreground=theme.text)
        sheet.configure(highlightbackground=theme.line, highlightcolor=theme.sure)
        sheet.tag_configure("row", tabs=tabs, spacing3=1)
        sheet.tag_configure("heading", font=fonts.title, spacing1=self.look.px(8))
        sheet.tag_configure("bold", font=fonts.title)
        sheet.tag_configure("faint", foreground=theme.faint)
        top = sheet.yview()[0]
        sheet.configure(state="normal")
        sheet.delete("1.0", "end")
        self._photos = []
        write()
        sheet.configure(state="disabled")
        sheet.tk.call(sheet, "sync")  # without the heights of all lines, it is lost
        if "spot" in sheet.mark_names():
            sheet.yview("spot")
            sheet.mark_unset("spot")
        else:
            sheet.yview_moveto(top)

    def heading(self, text: str, *, spot: bool = False) -> None:
        """Add a heading, and scroll there in the end."""
        if spot:
            self.sheet.mark_set("spot", "end-1c")
            self.sheet.mark_gravity("spot", "left")
        self.sheet.insert("end", f"{text}\n", "heading")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self.sheet.insert("end", f"{text}\n", "faint")

    def bars(self, rows: Sequence[tuple[str, Sequence[float], str]], bold: str) -> None:
        """Add rows of a label, shares from -1 to 1 as bars, and a note.

        One label is bold; bars below 0 go to the left, in another colour.
        """
        theme, wide, high = self.look.theme, self.look.px(BAR), self.look.px(10)
        signed = any(share < 0 for _, shares, _ in rows for share in shares)
        zero = wide // 2 if signed else 0
        for label, shares, note in rows:
            tags = ["row", "bold" if label == bold else "" if note else "faint"]
            fill = theme.sure if label == bold else theme.faint
            ground = self.look.rgb(theme.raised).astype(np.uint8)
            strip = np.tile(ground, (high, wide, 1))
            parts = np.array_split(strip, len(shares))
            for part, share in zip(parts, shares, strict=True):
                ends = sorted((zero, zero + round(share * (wide - zero))))
                colour = theme.doubtful if share < 0 else fill
                part[:, slice(*ends)] = self.look.rgb(colour)
            self.sheet.insert("end", f"{label}\t", tags)
            self._add_image(Image.fromarray(strip))
            self.sheet.insert("end", f"\t{note}\n", tags)

    def pictures(
        self,
        cells: Sequence[Pixels],
        columns: int,
        *,
        marked: Collection[int] = (),
        click: Click | None = None,
    ) -> None:
        """Add pictures (H, W, 3) in squares, `columns` of them as wide as the page.

        `click` is given the number of the picture and the place in it, 0 to 1.
        """
        px, theme = self.look.px, self.look.theme
        pitch = px(INNER) // columns
        side, box = pitch - px(2), Image.Resampling.BOX
        rows = -(-len(cells) // columns)
        page = Image.new("RGB", (columns * pitch, rows * pitch), theme.ground)
        pen = ImageDraw.Draw(page)
        for number, cell in enumerate(cells):
            y, x = (pitch * place for place in divmod(number, columns))
            image = Image.fromarray(cell)
            page.paste(ImageOps.pad(image, (side, side), box, theme.paper), (x, y))
            if number in marked:
                frame = x, y, x + side - 1, y + side - 1
                pen.rectangle(frame, outline=theme.fires, width=px(2))
        tag, where = self._add_image(page)

        def on_click(event: "tk.Event[Any]") -> None:
            left, top, *_ = self.sheet.bbox(where) or (0, 0)
            row, y = divmod(event.y - top, pitch)
            column, x = divmod(event.x - left, pitch)
            number = row * columns + column
            if max(x, y) < side and 0 <= number < len(cells) and click:
                click(number, x / side, y / side)

        self.sheet.tag_bind(tag, "<Button-1>", on_click)
        self.sheet.insert("end", "\n")

    def _add_image(self, image: Image.Image) -> tuple[str, str]:
        """Add an image; return a tag of its own, and its index."""
        photo = ImageTk.PhotoImage(image, master=self)
        where = self.sheet.index("end-1c")
        self._photos.append(photo)
        self.sheet.image_create("end", image=str(photo))
        self.sheet.tag_add(str(photo), where)
        return str(photo), where

    def ink(self, share: Floats) -> Pixels:
        """Return ink values (...), 0 to 1, in the theme's colours (..., 3)."""
        theme = self.look.theme
        return self._mixed(share, theme.paper, theme.ink)

    def signed(self, weight: Floats, most: float = 0.0) -> Pixels:
        """Return weights as colours: blue above 0, orange below; full at `most`.

        0 stands for the largest of them.
        """
        theme = self.look.theme
        share = weight / max(most or float(np.abs(weight).max()), 1e-12)
        above = self._mixed(share, theme.paper, theme.sure)
        below = self._mixed(-share, theme.paper, theme.doubtful)
        return np.where(share[..., None] >= 0, above, below)

    def _mixed(self, share: Floats, below: str, above: str) -> Pixels:
        """Return shares (...), clipped to 0 to 1, as mixtures (..., 3) of colours."""
        low, high = self.look.rgb(below), self.look.rgb(above)
        colours = low + np.clip(share, 0, 1)[..., None] * (high - low)
        return np.rint(colours).astype(np.uint8)
