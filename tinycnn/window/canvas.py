"""The drawing canvas: pointer events in, ink and boxes out.

It converts screen pixels to drawing units. Strokes, steps and readings are in
`session`; `view` reacts to changes.
"""

import math
import tkinter as tk
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image, ImageTk

from tinycnn.window.boxes import Boxes
from tinycnn.window.ink_image import Area, InkImage
from tinycnn.window.session import Box, Picture, Step, digit_at
from tinycnn.window.theme import THEMES

CLICK = 3.0  # screen pixels; a pen that moved no further is a click
ERASER = 9.0  # units, the radius
ROOM = 34.0  # units for boxes and labels at the edge of what is scaled to fit
MOST_ENLARGED = 4.0  # times, of a small picture: the pen is pixels wide on it
INVITATION = "Write a number here.\nMany digits, many lines, as you like."


class DrawingCanvas(tk.Canvas):
    """The drawing canvas: `zoom` screen pixels a unit, units begin at `origin`.

    With `erases`, the left button does what the right one always does.
    """

    def __init__(self, window: Any) -> None:
        # A canvas' own wish for a size would push the number off a small screen.
        super().__init__(window.root, width=1, height=1, cursor="pencil")
        self.configure(borderwidth=0, takefocus=True)
        self._window, self._session, self._look = window, window.session, window.look
        self.erases = False
        self.zoom, self.origin = self._look.pixel, (0.0, 0.0)
        self.ink = InkImage()
        self.boxes = Boxes(self, self._session, self._look)
        self._photo = ImageTk.PhotoImage("RGB", (1, 1), master=self)
        self._paper = Image.new("RGB", (1, 1))  # with the picture, if there is one
        self._picture: Picture | None = None
        self._down: tuple[float, float] | None = None  # where a button was pressed
        self._last = (0.0, 0.0)  # of the eraser
        self._on_digit: int | None = None  # pressed, if it becomes no stroke
        self._erasing = False
        self.create_image(0, 0, anchor="nw", image=str(self._photo), tags="ink")
        self.create_line(0, 0, 0, 0, tags="tail", state="hidden", capstyle="round")
        self.create_oval(0, 0, 0, 0, tags="eraser", state="hidden")
        self.create_text(0, 0, tags="invitation", justify="center", text=INVITATION)
        self.itemconfigure("invitation", font=self._look.fonts.strong)
        self.bind("<Configure>", self._on_resize)
        for button in (1, 2, 3):  # the right one is 2 on a Mac, 3 elsewhere
            self.bind(f"<ButtonPress-{button}>", self._on_press)
            self.bind(f"<B{button}-Motion>", self._on_drag)
            self.bind(f"<ButtonRelease-{button}>", self._on_release)

    # --- display -------------------------------------------------------------------

    def set_theme(self) -> None:
        """Apply the theme."""
        theme = self._look.theme
        self.configure(background=theme.paper, highlightbackground=theme.paper)
        self.configure(highlightcolor=theme.sure, highlightthickness=self._look.px(2))
        self.itemconfigure("eraser", outline=theme.faint)
        self.itemconfigure("invitation", fill=theme.faint)
        self._fit(anew=True)

    def toggle_eraser(self) -> None:
        """Let the left button erase, or draw again."""
        self.erases = not self.erases
        self.configure(cursor="dotbox" if self.erases else "pencil")
        self._window.tools.show()

    def show_ink(self) -> None:
        """Show the session's strokes and picture."""
        if not self._fit() and (area := self.ink.show(self._session.drawn.strokes)):
            self._put(area)
        self._invite()

    def show_reading(self) -> None:
        """Show a box around every digit."""
        self.boxes.show()
        self._invite()

    def _invite(self) -> None:
        empty = self._session.is_empty
        self.itemconfigure("invitation", state="normal" if empty else "hidden")
        self.coords("invitation", self.winfo_width() / 2, self.winfo_height() * 0.45)

    def _on_resize(self, event: "tk.Event[Any]") -> None:
        pixel = self._look.pixel
        self._session.grow(event.width / pixel, event.height / pixel)
        self._fit()
        self._invite()

    def _fit(self, *, anew: bool = False) -> bool:
        """Fit drawing or picture into the window; return whether all was redrawn."""
        size, drawn = (self.winfo_width(), self.winfo_height()), self._session.drawn
        pixel = self._look.pixel
        self.zoom, self.origin = fitted(drawn, size, pixel)
        self._session.unit = pixel / self.zoom if drawn.picture else 1.0
        again = self.ink.resize(size, self.zoom, self.origin)
        if not (again or anew or drawn.picture is not self._picture):
            return False
        self._picture = drawn.picture
        self.ink.show(drawn.strokes)
        self._lay_paper()
        self._put((0, 0, *self.ink.size))
        self.show_reading()
        return True

    def _lay_paper(self) -> None:
        """Make what lies below the ink: paper, and the picture if there is one."""
        size, theme = self.ink.size, self._look.theme
        if (self._photo.width(), self._photo.height()) != size:
            self._photo = ImageTk.PhotoImage("RGB", size, master=self)
            self.itemconfigure("ink", image=str(self._photo))
        self._paper = Image.new("RGB", size, theme.paper)
        if self._picture is not None:
            light = self._picture.pixels.mean() > 127
            theme = THEMES["light" if light else "dark"]
            self._paper.paste(theme.ground, (0, 0, *size))  # labels stand there, too
            shape = [max(round(side * self.zoom), 1) for side in self._picture.size]
            image = Image.fromarray(self._picture.pixels).resize((shape[0], shape[1]))
            self._paper.paste(image, (round(self.origin[0]), round(self.origin[1])))
        self.boxes.theme = theme
        self.itemconfigure("tail", fill=theme.ink)

    def _put(self, area: Area) -> None:
        """Bring an area of the ink to the screen."""
        wide, high = self._paper.size
        if 4 * (area[2] - area[0]) * (area[3] - area[1]) > wide * high:
            area = (0, 0, wide, high)
        part = self._paper.crop(area)
        part.paste(self.boxes.theme.ink, mask=self.ink.image.crop(area))
        if part.size == self._paper.size:  # ten times as fast as "put"
            self._photo.paste(part)
            return
        # Pillow can only replace a whole Tk image.
        ppm = b"P6 %d %d 255\n" % part.size + part.tobytes()
        self.tk.call(str(self._photo), "put", ppm, "-format", "ppm", "-to", *area[:2])

    def on_screen(self, box: Iterable[float]) -> Box:
        """Return a box of the drawing in pixels of the canvas."""
        x0, y0, x1, y1 = (side * self.zoom for side in box)
        x, y = self.origin
        return x0 + x, y0 + y, x1 + x, y1 + y

    def has_ink(self, area: Box) -> bool:
        """Return whether an area of the canvas holds ink."""
        x0, y0, x1, y1 = map(round, area)
        return self.ink.image.crop((x0, y0, x1, y1)).getbbox() is not None

    # --- the pointer ---------------------------------------------------------------

    def _position(self, event: "tk.Event[Any]") -> tuple[float, float]:
        """Return the pointer's position on the sheet or the picture, in units."""
        right, low = self.winfo_width() - 1.0, self.winfo_height() - 1.0
        if self._picture is not None:
            right, low = (side * self.zoom for side in self._picture.size)
        x = min(max(event.x - self.origin[0], 0), right)
        return x / self.zoom, min(max(event.y - self.origin[1], 0), low) / self.zoom

    def _on_press(self, event: "tk.Event[Any]") -> None:
        self.focus_set()
        self._down = self._last = self._position(event)
        self._erasing = self.erases or event.num != 1
        reading, unit = self._session.reading, self._session.unit
        self._on_digit = digit_at(reading, *self._down, unit)
        if self._erasing:
            self._erase(event)
        elif self._on_digit is None:
            self._begin()

    def _begin(self) -> None:
        """Put the pen down where the button was pressed."""
        assert self._down is not None
        self._on_digit = None
        self._window.correcting.choose(None)
        if self._session.pen_down(*self._down):
            self._show_tail()
        else:
            self._down = None
            self._window.say("The canvas is full; clear it.")

    def _on_drag(self, event: "tk.Event[Any]") -> None:
        if self._down is None:
            return
        if self._erasing:
            self._erase(event)
            return
        position = self._position(event)
        if self._on_digit is not None:
            if math.dist(position, self._down) <= CLICK * self._session.unit:
                return  # still a click on a digit
            self._begin()
        piece = self._session.pen_move(*position)
        if piece is not None and len(piece):
            self._put(self.ink.add_piece(piece, self._session.pen_ink))
        self._show_tail()
        if piece is not None:
            self._invite()
            self._window.on_ink(done=False)

    def _on_release(self, event: "tk.Event[Any]") -> None:
        down, self._down = self._down, None
        if self._erasing:
            self.itemconfigure("eraser", state="hidden")
            if self._session.eraser_up():
                self._window.on_ink(done=True)
        elif self._on_digit is not None:
            more = bool(int(event.state) & 1)  # Shift
            self._window.correcting.choose(self._on_digit, more=more)
        elif down is not None:
            self._session.pen_move(*self._position(event))
            self._session.pen_up()
            self._show_tail()
            self.show_ink()
            self._window.on_ink(done=True)

    def _show_tail(self) -> None:
        """Show the end of the stroke, which is not smooth yet."""
        tail = self._session.pen_tail()
        self.itemconfigure("tail", state="normal" if tail else "hidden")
        if tail:
            ends = np.array(tail) * self.zoom + self.origin
            ends[-1, -1] += 0.01  # a line of no length is not drawn
            self.coords("tail", *ends.ravel().tolist())
            self.itemconfigure("tail", width=self._session.pen_ink * self.zoom)

    def _erase(self, event: "tk.Event[Any]") -> None:
        before, self._last = self._last, self._position(event)
        reach, x, y = self._look.px(ERASER), event.x, event.y
        self.coords("eraser", x - reach, y - reach, x + reach, y + reach)
        self.itemconfigure("eraser", state="normal")
        if self._session.erase(*before, *self._last, reach / self.zoom):
            self.show_ink()
            self.show_reading()
            self._window.on_ink(done=True)


def fitted(
    drawn: Step, size: tuple[int, int], pixel: float
) -> tuple[float, tuple[float, float]]:
    """Return zoom and origin that show a drawing or picture on a canvas.

    A picture is centred, as large as fits; a drawing is only ever scaled down.
    """
    (wide, high), room = size, ROOM * pixel
    if drawn.picture is not None:
        right, low = drawn.picture.size
        fit = min((wide - 2 * room) / right, (high - 2 * room) / low)
        zoom = max(min(fit, MOST_ENLARGED * pixel), 0.01)
        return zoom, ((wide - right * zoom) / 2, (high - low * zoom) / 2)
    far, deep = (side * pixel for side in drawn.extent)
    zoom = pixel
    if far > wide or deep > high:
        fit = min(wide / (far + room), high / (deep + room))
        # In steps, so that small changes at the edge redraw nothing.
        zoom *= max(math.floor(fit * 20) / 20, 0.05)
    return zoom, (0.0, 0.0)
