"""The drawing canvas: pointer events in, ink and boxes out.

It converts screen pixels to drawing units and draws boxes and labels. Strokes, steps
and readings are in `session`; `view` reacts to changes.
"""

import math
import tkinter as tk
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image, ImageTk

from tinycnn.reading.result import Digit
from tinycnn.window.ink_image import Area, InkImage
from tinycnn.window.messages import Picture
from tinycnn.window.session import Box, Session
from tinycnn.window.theme import Fonts, Theme

SURE, UNSURE = 0.95, 0.75  # a box is solid, dashed, or dotted below
CLICK = 3.0  # units; a pen that moved no further is a click
ERASER = 9.0  # units, the radius
GAP = 5.0  # units between ink and box
ROOM = 34.0  # units for boxes and labels at the edge of a scaled-down drawing


class DrawingCanvas(tk.Canvas):
    """The drawing canvas.

    Parameters
    ----------
    parent : tk.Misc
    session : Session
    fonts : Fonts
    pixel : float
        Screen pixels per drawing unit, where the whole drawing fits.
    inked : function
        Called with True after a change of ink, with False while a stroke grows.
    picked : function
        Called with the index of the clicked digit, or None.
    hovered : function
        Called with the index of the digit under the pointer, or None.
    refused : function
        Called when the canvas takes no more strokes.

    Attributes
    ----------
    zoom : float
        Current screen pixels per drawing unit.
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
        self._palette: list[int] = []  # RGB of 256 levels of ink
        self.zoom = pixel
        self._ink_image = InkImage()
        self._photo = ImageTk.PhotoImage("RGB", (1, 1), master=self)
        self._picture: tuple[Picture, int] | None = None  # and its width on the screen
        self._picture_photo: ImageTk.PhotoImage | None = None
        self._down: tuple[float, float] | None = None  # start of the stroke
        self._moved = False
        self._eraser: tuple[float, float] | None = None
        self._under: int | None = None  # index of the digit under the pointer
        self._chosen: int | None = None  # index of the digit to be corrected
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
        for button in (2, 3):  # the right button is 2 on a Mac, 3 elsewhere
            self.bind(f"<ButtonPress-{button}>", self._on_erase_press)
            self.bind(f"<B{button}-Motion>", self._on_erase)
            self.bind(f"<ButtonRelease-{button}>", self._on_erase_release)
        self.bind("<Motion>", self._on_hover)
        self.bind("<Leave>", lambda _: self._hover(None))

    # --- display -------------------------------------------------------------------

    def set_theme(self, theme: Theme) -> None:
        """Apply a theme."""
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
        """Show the session's strokes and picture."""
        self._fit()
        changed = self._ink_image.show(self._session.drawn.strokes)
        if self._ink_image.inked() is None:
            self._blank()
            changed = []
        for area in changed:
            self._put(area)
        self._show_picture()
        self._invite()

    def show_reading(self) -> None:
        """Show a box around every digit."""
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
        """Mark the digit to be corrected, now or when boxes are next shown."""
        self._chosen = number
        if show:
            self.show_reading()

    def mark(self, regions: Sequence[Box]) -> None:
        """Mark regions of the drawing, where a feature is active."""
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
        else:  # no room above the box at the top edge; inside it there is ink
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
        """Return the fonts of each label; None hides a confidence without room."""
        fonts = self._fonts
        rooms = []
        for line in self._session.reading.lines:
            middles = [self.zoom * (d.box[0] + d.box[2]) / 2 for d in line]
            gaps = [math.inf, *(b - a for a, b in pairwise(middles)), math.inf]
            rooms += [min(pair) for pair in pairwise(gaps)]
        small, plain = (f.measure("100 % ") for f in (fonts.small, fonts.plain))
        crowded = any(small <= room < plain for room in rooms)
        font = fonts.small if crowded else fonts.plain  # one size for all
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
        """Scale the drawing down if the window is too small for it."""
        width, height = self.winfo_width(), self.winfo_height()
        right, low = self._session.extent()
        fit = 1.0
        if right * self._pixel > width or low * self._pixel > height:
            right, low = right + ROOM, low + ROOM
            fit = min(width / (right * self._pixel), height / (low * self._pixel))
        # Zoom in steps, so that small changes at the edge redraw nothing.
        self.zoom = self._pixel * math.floor(fit * 20) / 20 if fit > 0.05 else 0.05
        again = self._ink_image.resize((width, height), self.zoom)
        wide, high = self._ink_image.size
        if self._photo.width() < wide or self._photo.height() < high:
            self._photo = ImageTk.PhotoImage("RGB", (wide, high), master=self)
            self.itemconfigure("ink", image=str(self._photo))
            self._show_all_ink()
        if again:
            self._ink_image.show(self._session.drawn.strokes)
            self._show_all_ink()
            self.show_reading()

    def _blank(self) -> None:
        """Make the ink transparent."""
        self.tk.call(str(self._photo), "blank")

    def _show_all_ink(self) -> None:
        self._blank()
        if self._ink_image.inked() is not None:
            # Ten times as fast as Tk's own "put" for so many pixels.
            self._photo.paste(self._coloured((0, 0, *self._ink_image.size)))

    def _coloured(self, area: Area) -> Image.Image:
        """Return an area of the ink in the theme's colours."""
        part = self._ink_image.part(area)
        part.putpalette(self._palette)
        return part.convert("RGB")

    def _put(self, area: Area) -> None:
        """Bring an area of the ink to the screen."""
        x0, y0, x1, y1 = area
        if x0 < x1 and y0 < y1:
            # Pillow can only replace a whole Tk image.
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

    def _position(self, event: "tk.Event[Any]") -> tuple[float, float]:
        return event.x / self.zoom, event.y / self.zoom

    def _pen_position(self, event: "tk.Event[Any]") -> tuple[float, float]:
        """Return the pointer's position, clipped to the canvas."""
        x = min(max(event.x, 0), self.winfo_width() - 1)
        y = min(max(event.y, 0), self.winfo_height() - 1)
        return x / self.zoom, y / self.zoom

    def _on_press(self, event: "tk.Event[Any]") -> None:
        self.focus_set()
        self._down, self._moved = self._pen_position(event), False
        on_digit = self._session.digit_at(*self._down) is not None
        if self._session.drawn.picture is not None and on_digit:
            return  # a click on a digit of a picture picks it
        if not self._session.pen_down(*self._down):
            self._down = None
            self._refused()
            return
        self._show_tail()

    def _on_drag(self, event: "tk.Event[Any]") -> None:
        if self._down is None:
            return
        position = self._pen_position(event)
        self._moved = self._moved or math.dist(position, self._down) > CLICK
        piece = self._session.pen_move(*position)
        if piece is not None and len(piece):
            area = self._ink_image.add_piece(piece, self._session.pen_width)
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
        self._session.pen_move(*self._pen_position(event))
        if self._session.pen_up() is not None:
            self.show_ink()
            self._inked(True)

    def _take_back(self) -> None:
        """Remove the dot of a click."""
        dot = self._session.pen_cancel()
        if dot is not None:
            area = self._ink_image.remove_pieces(dot.points, dot.pen_width)
            if area is not None:
                self._put(area)
            if not self._session.is_settled:
                self._inked(True)

    def _show_tail(self) -> None:
        """Show the end of the stroke, which is not smooth yet."""
        tail = self._session.pen_tail()
        self.itemconfigure("tail", state="normal" if tail else "hidden")
        if tail:
            ends = [side * self.zoom for point in tail for side in point]
            ends[-1] += 0.01  # a line of no length is not drawn
            self.coords("tail", *ends)
            self.itemconfigure("tail", width=self._session.pen_width * self.zoom)

    def _on_erase_press(self, event: "tk.Event[Any]") -> None:
        self.focus_set()
        self._eraser = self._position(event)
        self._on_erase(event)

    def _on_erase(self, event: "tk.Event[Any]") -> None:
        if self._eraser is None:
            return
        before, self._eraser = self._eraser, self._position(event)
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
            self._hover(self._session.digit_at(*self._position(event)))

    def _hover(self, number: int | None) -> None:
        if number != self._under:
            self._under = number
            self.show_reading()
            self._hovered(number)


def percent(share: float) -> str:
    """Return a probability in per cent; 100 only from 99.95 on."""
    return f"{min(math.floor(100 * share + 0.5), 99 if share < 0.9995 else 100)} %"
