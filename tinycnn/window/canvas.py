"""The sheet that is drawn on: pointer in, ink and boxes out.

It knows a Tk canvas, where a pixel of the screen lies in units of the drawing, and how
boxes and labels look. What a stroke, a step or a reading is, the session knows; what to
do when something has changed, the window.
"""

import math
import tkinter as tk
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image, ImageTk

from tinycnn.reading.result import Digit
from tinycnn.window.messages import Picture
from tinycnn.window.paper import Area, Paper
from tinycnn.window.session import Box, Session
from tinycnn.window.theme import Fonts, Theme

SURE, UNSURE = 0.95, 0.75  # a box is solid, dashed, or dotted below
CLICK = 3.0  # units; a pen that moved no further clicked
ERASER = 9.0  # units from its middle to its edge
GAP = 5.0  # units between ink and box
ROOM = 34.0  # units for boxes and labels at the edge, where all is shown smaller


class Sheet(tk.Canvas):
    """The canvas.

    Parameters
    ----------
    parent : tk.Misc
    session : Session
    fonts : Fonts
    pixel : float
        Pixels of the screen a unit of the drawing, where all of it fits.
    inked : function
        Called with True when ink has changed for good, with False while a stroke grows.
    picked : function
        Called with the number of the digit that was clicked on, or None.
    hovered : function
        Called with the number of the digit under the pointer, or None.
    refused : function
        Called when there is no room for another stroke.

    Attributes
    ----------
    zoom : float
        Pixels of the screen a unit of the drawing now.
    """

    def __init__(
        self,
        parent: tk.Misc,
        session: Session,
        fonts: Fonts,
        pixel: float,
        *,
        inked: Callable[[bool], None],
        picked: Callable[[int | None], None],
        hovered: Callable[[int | None], None],
        refused: Callable[[], None],
    ) -> None:
        super().__init__(
            parent, highlightthickness=0, borderwidth=0, cursor="pencil", takefocus=True
        )
        self._session = session
        self._fonts = fonts
        self._pixel = pixel
        self._inked, self._picked = inked, picked
        self._hovered, self._refused = hovered, refused
        self._theme: Theme
        self._palette: list[int] = []  # red, green and blue of 256 shares of ink
        self.zoom = pixel
        self._paper = Paper()
        self._photo = ImageTk.PhotoImage("RGB", (1, 1), master=self)
        self._picture: tuple[Picture, int] | None = None  # and its width as shown
        self._picture_photo: ImageTk.PhotoImage | None = None
        self._down: tuple[float, float] | None = None  # where the pen came down
        self._moved = False
        self._eraser: tuple[float, float] | None = None
        self._under: int | None = None  # number of the digit under the pointer
        self._chosen: int | None = None  # of the one to be corrected
        self._regions: Sequence[Box] = ()
        self.create_image(0, 0, anchor="nw", tags="picture")
        self.create_image(0, 0, anchor="nw", image=str(self._photo), tags="ink")
        self.create_line(0, 0, 0, 0, tags="tail", state="hidden", capstyle="round")
        self.itemconfigure("tail", joinstyle="round")
        self.create_oval(0, 0, 0, 0, tags="eraser", state="hidden")
        self.create_text(0, 0, tags="invitation", justify="center")
        self._listen()

    def _listen(self) -> None:
        self.bind("<Configure>", self._on_resize)
        self.bind("<ButtonPress-1>", self._on_press)
        self.bind("<B1-Motion>", self._on_drag)
        self.bind("<ButtonRelease-1>", self._on_release)
        for button in (2, 3):  # which one is the right button depends on the system
            self.bind(f"<ButtonPress-{button}>", self._on_erase_press)
            self.bind(f"<B{button}-Motion>", self._on_erase)
            self.bind(f"<ButtonRelease-{button}>", self._on_erase_release)
        self.bind("<Motion>", self._on_hover)
        self.bind("<Leave>", lambda _: self._hover(None))

    # --- what is shown -------------------------------------------------------------

    def set_theme(self, theme: Theme) -> None:
        """Take other colours."""
        self._theme = theme
        paper, ink = (
            np.array(self.winfo_rgb(colour)) / 257
            for colour in (theme.paper, theme.ink)
        )
        share = np.arange(256)[:, None] / 255
        colours = np.rint(paper + share * (ink - paper)).astype(np.uint8)
        self._palette = colours.ravel().tolist()
        self.configure(background=theme.paper)
        self.itemconfigure("tail", fill=theme.ink)
        self.itemconfigure("eraser", outline=theme.faint)
        self.itemconfigure("invitation", fill=theme.faint)
        self._show_all_ink()
        self.show_reading()

    def show_ink(self) -> None:
        """Show the strokes and the picture as the session has them now."""
        self._fit()
        changed = self._paper.show(self._session.drawn.strokes)
        if self._paper.inked() is None:
            self._blank()
            changed = []
        for area in changed:
            self._put(area)
        self._show_picture()
        self._invite()

    def show_reading(self) -> None:
        """Show a box round every digit."""
        self.delete("reading")
        digits = self._session.reading.digits
        if self._under is not None and self._under >= len(digits):
            self._hover(None)
        fonts = self._label_fonts()
        for number, (digit, font) in enumerate(zip(digits, fonts, strict=True)):
            self._show_box(number, digit, font)
        self._show_regions()
        self._invite()

    def choose(self, number: int | None, *, show: bool = True) -> None:
        """Mark the digit that is to be corrected; now, or when boxes are next shown."""
        self._chosen = number
        if show:
            self.show_reading()

    def mark(self, regions: Sequence[Box]) -> None:
        """Mark parts of the drawing, as where a feature fires."""
        self._regions = regions
        self._show_regions()

    def _show_box(self, number: int, digit: Digit, font: Any) -> None:
        theme, zoom = self._theme, self.zoom
        mine = self._session.is_corrected(number)
        gap = GAP * zoom
        x0, y0, x1, y1 = (side * zoom for side in digit.box)
        x0, y0, x1, y1 = x0 - gap, y0 - gap, x1 + gap, y1 + gap
        colour, dash = theme.sure, ""
        if digit.digit is None:
            colour, dash = theme.refused, "5 4"
        elif digit.confidence < SURE and not mine:
            colour = theme.doubtful
            dash = "8 4" if digit.confidence >= UNSURE else "2 3"
        width = 4 if number == self._chosen else 3 if number == self._under else 2
        self.create_rectangle(
            *(x0, y0, x1, y1),
            outline=colour,
            width=max(width * self._pixel, 1),
            dash=dash,
            tags="reading",
        )
        middle = (x0 + x1) / 2
        strong, small = font
        above, below = y0 - 2 * self._pixel, y1 + 2 * self._pixel
        label = f"{digit.label} → ?" if number == self._chosen else digit.label
        beneath = []
        if above >= strong.metrics("linespace"):
            self.create_text(
                *(middle, above),
                text=label,
                anchor="s",
                font=strong,
                fill=colour,
                tags="reading",
            )
        else:  # at the top edge there is no room above a box, and in it there is ink
            beneath.append(label)
        if small is not None and (mine or digit.digit is not None):
            beneath.append("yours" if mine else percent(digit.confidence))
        if beneath:
            lower = small or strong
            outside = below + lower.metrics("linespace") <= self.winfo_height()
            self.create_text(
                *(middle, below if outside else y1 - 2 * self._pixel),
                text="  ".join(beneath),
                anchor="n" if outside else "s",
                font=lower,
                fill=colour,
                tags="reading",
            )

    def _label_fonts(self) -> list[tuple[Any, Any]]:
        """Return each label's fonts; a confidence that has no room is not shown."""
        fonts = self._fonts
        rooms = []
        for line in self._session.reading.lines:
            middles = [self.zoom * (d.box[0] + d.box[2]) / 2 for d in line]
            gaps = [math.inf, *(b - a for a, b in pairwise(middles)), math.inf]
            rooms += [min(pair) for pair in pairwise(gaps)]
        small, plain = (f.measure("100 % ") for f in (fonts.small, fonts.plain))
        crowded = any(small <= room < plain for room in rooms)
        font = fonts.small if crowded else fonts.plain  # one size on all the sheet
        return [
            (fonts.strong, font) if room >= small else (fonts.title, None)
            for room in rooms
        ]

    def _show_regions(self) -> None:
        self.delete("region")
        for x0, y0, x1, y1 in self._regions:
            self.create_rectangle(
                *(side * self.zoom for side in (x0, y0, x1, y1)),
                outline=self._theme.fires,
                width=max(2 * self._pixel, 1),
                tags="region",
            )

    def _invite(self) -> None:
        empty = self._session.is_empty
        self.itemconfigure("invitation", state="normal" if empty else "hidden")
        if empty:
            self.itemconfigure(
                "invitation",
                text="Write a number here.\nMany digits, many lines, as you like.",
                font=self._fonts.strong,
            )
            self.coords(
                "invitation", self.winfo_width() / 2, self.winfo_height() * 0.45
            )

    # --- pixels --------------------------------------------------------------------

    def _on_resize(self, event: "tk.Event[Any]") -> None:
        self._session.grow(event.width / self._pixel, event.height / self._pixel)
        self._fit()
        self._show_picture()
        self._invite()

    def _fit(self) -> None:
        """Show all there is: if the window is too small, everything is smaller."""
        width, height = self.winfo_width(), self.winfo_height()
        right, low = self._session.extent()
        fit = 1.0
        if right * self._pixel > width or low * self._pixel > height:
            right, low = right + ROOM, low + ROOM
            fit = min(width / (right * self._pixel), height / (low * self._pixel))
        # A little movement at the edge is no reason to draw all anew.
        self.zoom = self._pixel * math.floor(fit * 20) / 20 if fit > 0.05 else 0.05
        again = self._paper.resize((width, height), self.zoom)
        wide, high = self._paper.size
        if self._photo.width() < wide or self._photo.height() < high:
            self._photo = ImageTk.PhotoImage("RGB", (wide, high), master=self)
            self.itemconfigure("ink", image=str(self._photo))
            self._show_all_ink()
        if again:
            self._paper.show(self._session.drawn.strokes)
            self._show_all_ink()
            self.show_reading()

    def _blank(self) -> None:
        """Show no ink, and what is below it."""
        self.tk.call(str(self._photo), "blank")

    def _show_all_ink(self) -> None:
        self._blank()
        if self._paper.inked() is not None:
            # Tk itself takes ten times as long to put so many pixels.
            self._photo.paste(self._coloured((0, 0, *self._paper.size)))

    def _coloured(self, area: Area) -> Image.Image:
        """Return a part of the paper in the theme's colours."""
        part = self._paper.part(area)
        part.putpalette(self._palette)
        return part.convert("RGB")

    def _put(self, area: Area) -> None:
        """Bring a part of the paper to the screen."""
        x0, y0, x1, y1 = area
        if x0 < x1 and y0 < y1:
            # Pillow only changes all of a Tk image.
            part = self._coloured(area)
            ppm = b"P6 %d %d 255\n" % part.size + part.tobytes()
            name = str(self._photo)
            self.tk.call(name, "put", ppm, "-format", "ppm", "-to", x0, y0)

    def _show_picture(self) -> None:
        picture = self._session.drawn.picture
        if picture is None:
            if self._picture is not None:
                self._picture = self._picture_photo = None
                self.itemconfigure("picture", image="")
            return
        width, height = (max(round(side * self.zoom), 1) for side in picture.size)
        if self._picture == (picture, width):
            return
        self._picture = picture, width
        image = Image.fromarray(picture.pixels).resize((width, height))
        self._picture_photo = ImageTk.PhotoImage(image, master=self)
        self.itemconfigure("picture", image=str(self._picture_photo))

    # --- the pointer ---------------------------------------------------------------

    def _place(self, event: "tk.Event[Any]") -> tuple[float, float]:
        return event.x / self.zoom, event.y / self.zoom

    def _pen_place(self, event: "tk.Event[Any]") -> tuple[float, float]:
        """Return where the pen is: the edge of the sheet stops it."""
        x = min(max(event.x, 0), self.winfo_width() - 1)
        y = min(max(event.y, 0), self.winfo_height() - 1)
        return x / self.zoom, y / self.zoom

    def _on_press(self, event: "tk.Event[Any]") -> None:
        self.focus_set()
        self._down, self._moved = self._pen_place(event), False
        on_digit = self._session.digit_at(*self._down) is not None
        if self._session.drawn.picture is not None and on_digit:
            return  # of a picture, digits are looked at; drawing begins beside them
        if not self._session.pen_down(*self._down):
            self._down = None
            self._refused()
            return
        self._show_tail()

    def _on_drag(self, event: "tk.Event[Any]") -> None:
        if self._down is None:
            return
        place = self._pen_place(event)
        self._moved = self._moved or math.dist(place, self._down) > CLICK
        piece = self._session.pen_move(*place)
        if piece is not None and len(piece):
            area = self._paper.add_piece(piece, self._session.pen_width)
            if area is not None:
                self._put(area)
        self._show_tail()
        if piece is not None:
            self._invite()
            if self._moved:
                self._inked(False)

    def _on_release(self, event: "tk.Event[Any]") -> None:
        if self._down is None:
            return
        down, self._down = self._down, None
        number = self._session.digit_at(*down)
        if self._moved or number is None:
            self._on_drag_to_end(event)
        else:
            self._take_back()
        self._show_tail()
        self._picked(None if self._moved else number)

    def _on_drag_to_end(self, event: "tk.Event[Any]") -> None:
        self._session.pen_move(*self._pen_place(event))
        if self._session.pen_up() is not None:
            self.show_ink()
            self._inked(True)

    def _take_back(self) -> None:
        """Undo the dot that a click has left."""
        dot = self._session.pen_cancel()
        if dot is not None:
            area = self._paper.remove_pieces(dot.points, dot.pen_width)
            if area is not None:
                self._put(area)
            if not self._session.is_settled:
                self._inked(True)

    def _show_tail(self) -> None:
        """Show the end of the stroke that is not smooth yet."""
        tail = self._session.pen_tail()
        self.itemconfigure("tail", state="normal" if tail else "hidden")
        if tail:
            places = [side * self.zoom for place in tail for side in place]
            places[-1] += 0.01  # a line of no length is not drawn
            self.coords("tail", *places)
            self.itemconfigure("tail", width=self._session.pen_width * self.zoom)

    def _on_erase_press(self, event: "tk.Event[Any]") -> None:
        self.focus_set()
        self._eraser = self._place(event)
        self._on_erase(event)

    def _on_erase(self, event: "tk.Event[Any]") -> None:
        if self._eraser is None:
            return
        before, self._eraser = self._eraser, self._place(event)
        reach = ERASER * self._pixel
        x, y = event.x, event.y
        self.coords("eraser", x - reach, y - reach, x + reach, y + reach)
        self.itemconfigure("eraser", state="normal")
        units = reach / self.zoom
        if self._session.erase(*before, *self._eraser, units):
            self.show_ink()
            self.show_reading()
            self._inked(True)

    def _on_erase_release(self, _: "tk.Event[Any]") -> None:
        self._eraser = None
        self.itemconfigure("eraser", state="hidden")
        if self._session.eraser_up():
            self._inked(True)

    def _on_hover(self, event: "tk.Event[Any]") -> None:
        if self._down is None:
            self._hover(self._session.digit_at(*self._place(event)))

    def _hover(self, number: int | None) -> None:
        if number != self._under:
            self._under = number
            self.show_reading()
            self._hovered(number)


def percent(share: float) -> str:
    """Return a probability as it is shown: never 100 % unless it is 1."""
    return f"{min(math.floor(100 * share + 0.5), 99 if share < 0.9995 else 100)} %"
