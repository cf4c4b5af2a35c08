"""The drawing canvas: pointer events in, ink and boxes out.

It converts screen pixels to drawing units. Strokes, steps and readings are in
`session`; `view` reacts to changes.
"""

import math
import tkinter as tk
from collections.abc import Sequence
from tkinter import font as tkfont
from typing import Any

import numpy as np
from PIL import Image, ImageTk

from tinycnn.window.ink_image import Area, InkImage
from tinycnn.window.session import Box, Picture, Step, digit_at, extent
from tinycnn.window.theme import THEMES, Theme, percent

Position = tuple[float, float]
CLICK = 3.0  # points of the screen; a pen that moved no further is a click
ERASER = 9.0  # units, half a side
ROOM = 34.0  # units for boxes and labels at the edge of what is scaled to fit
MOST_ENLARGED = 4.0  # times, of a small picture: the pen is pixels wide on it
GAP = 5.0  # units between ink and box
DARK, LIGHT = 90, 200  # grey levels that are not paper, on light and on dark paper
SPECKS = 0.05  # share of a label's area that may have them
# Tk makes each dash longer by the width of the line, and each gap shorter.
DASHES = {"sure": (), "doubtful": (8, 8), "refused": (1, 7), "ignored": (1, 5)}
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
        self.boxes = Boxes(self, window)
        self._photo = ImageTk.PhotoImage("RGB", (1, 1), master=self)
        self.paper = Image.new("RGB", (1, 1))  # with the picture, if there is one
        self._picture: Picture | None = None
        self._down: tuple[float, float] | None = None  # where a button was pressed
        self._last = np.zeros(2)  # of the eraser, on the screen
        self._on_digit: int | None = None  # pressed, if it becomes no stroke
        self._erasing = False
        self.create_image(0, 0, anchor="nw", image=str(self._photo), tags="ink")
        self.create_rectangle(0, 0, 0, 0, tags="eraser", state="hidden")
        self.create_text(0, 0, tags="invitation", justify="center", text=INVITATION)
        self.itemconfigure("invitation", font=self._look.fonts.strong)
        self.bind("<Configure>", lambda _: self.show())
        for button in (1, 2, 3):  # the right one is 2 on a Mac, 3 elsewhere
            self.bind(f"<ButtonPress-{button}>", self._on_press)
            self.bind(f"<B{button}-Motion>", self._on_drag)
            self.bind(f"<ButtonRelease-{button}>", self._on_release)

    def set_theme(self) -> None:
        """Apply the theme."""
        theme = self._look.theme
        self.configure(background=theme.paper, highlightbackground=theme.paper)
        self.configure(highlightcolor=theme.sure, highlightthickness=self._look.px(2))
        self.itemconfigure("eraser", outline=theme.faint)
        self.itemconfigure("invitation", fill=theme.faint)
        self.show(anew=True)

    def toggle_eraser(self) -> None:
        """Let the left button erase, or draw again."""
        self.erases = not self.erases
        self.configure(cursor="dotbox" if self.erases else "pencil")
        self._window.tools.show()

    def show(self, *, anew: bool = False) -> None:
        """Show picture, strokes and reading as they are now, `anew` in new colours."""
        size, drawn = (self.winfo_width(), self.winfo_height()), self._session.drawn
        pixel = self._look.pixel
        self.zoom, self.origin = fitted(drawn, size, pixel)
        self._session.unit = pixel / self.zoom if drawn.picture else 1.0
        anew |= self.ink.resize(size, self.zoom, self.origin)
        area = self.ink.show(drawn.strokes, growing=self._down is not None)
        if anew or drawn.picture is not self._picture:
            self._picture, area = drawn.picture, (0, 0, *size)
            self._lay_paper()
        if area is not None:
            self._put(area)
        self.boxes.show()
        state: Any = "normal" if self._session.is_empty else "hidden"
        self.itemconfigure("invitation", state=state, width=size[0] * 0.9)
        self.coords("invitation", size[0] / 2, size[1] * 0.45)

    def _lay_paper(self) -> None:
        """Make what lies below the ink: paper, and the picture if there is one."""
        size, theme = self.ink.size, self._look.theme
        wide, high = self._photo.width(), self._photo.height()
        if size[0] > wide or size[1] > high:  # a larger one serves, too
            room = max(size[0], wide), max(size[1], high)
            self._photo = ImageTk.PhotoImage("RGB", room, master=self)
            self.itemconfigure("ink", image=str(self._photo))
        self.paper = Image.new("RGB", size, theme.paper)
        if self._picture is not None:
            theme = THEMES["light" if self._picture.is_light else "dark"]
            self.paper.paste(theme.ground, (0, 0, *size))  # labels stand there, too
            shape = [max(round(side * self.zoom), 1) for side in self._picture.size]
            image = Image.fromarray(self._picture.pixels).resize((shape[0], shape[1]))
            self.paper.paste(image, (round(self.origin[0]), round(self.origin[1])))
        self.boxes.theme = theme

    def _put(self, area: Area) -> None:
        """Bring an area of the ink to the screen."""
        wide, high = self.paper.size
        if 2 * (area[2] - area[0]) * (area[3] - area[1]) > wide * high:
            area = (0, 0, wide, high)
        part = self.paper.crop(area)
        part.paste(self.boxes.theme.ink, mask=self.ink.image.crop(area))
        if part.size == self.paper.size:  # twice as fast as "put"
            self._photo.paste(part)
            return
        # Pillow can only replace a whole Tk image.
        ppm = b"P6 %d %d 255\n" % part.size + part.tobytes()
        self.tk.call(str(self._photo), "put", ppm, "-format", "ppm", "-to", *area[:2])

    def on_screen(self, position: Position) -> Position:
        """Return a position of the drawing in pixels of the canvas."""
        (x, y), (left, top) = position, self.origin
        return x * self.zoom + left, y * self.zoom + top

    def _position(self, event: "tk.Event[Any]") -> tuple[float, float]:
        """Return the pointer's position on the sheet or the picture, in units."""
        right, low = self.winfo_width() - 1.0, self.winfo_height() - 1.0
        if self._picture is not None:
            right, low = (side * self.zoom for side in self._picture.size)
        x = min(max(event.x - self.origin[0], 0), right)
        return x / self.zoom, min(max(event.y - self.origin[1], 0), low) / self.zoom

    def _on_press(self, event: "tk.Event[Any]") -> None:
        self.focus_set()
        self._down, self._last = self._position(event), np.array([event.x, event.y])
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
            self._add(np.array([self._down]))
        else:
            self._down = None
            self._window.say("The canvas is full; clear it.")

    def _add(self, piece: "np.ndarray[Any, Any]") -> None:
        """Show a piece of the growing stroke."""
        self._put(self.ink.add_piece(piece, self._session.pen_ink))
        self.itemconfigure("invitation", state="hidden")

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
        if piece is not None:
            self._add(piece)

    def _on_release(self, event: "tk.Event[Any]") -> None:
        down, self._down = self._down, None
        if self._erasing:
            self.itemconfigure("eraser", state="hidden")
            self._session.settle()
        elif self._on_digit is not None:
            self._window.correcting.choose(self._on_digit)
        elif down is not None:
            self._session.pen_move(*self._position(event))
            self._session.pen_up()
            self._window.on_ink()

    def _erase(self, event: "tk.Event[Any]") -> None:
        way = np.array([self._last, (event.x, event.y)])
        reach, self._last = self._look.px(ERASER), way[1]
        self.coords("eraser", *(way[1] - reach), *(way[1] + reach))
        self.itemconfigure("eraser", state="normal")
        if self._session.erase(self.ink.strokes_at(way, reach)):
            self._window.on_ink()


class Boxes:
    """A box around every digit and what is ignored; `region` is what a pixel sees.

    `theme` suits what lies under the boxes.
    """

    def __init__(self, canvas: "DrawingCanvas", window: Any) -> None:
        self._canvas, self._window, self._look = canvas, window, window.look
        self.theme: Theme = window.look.theme
        self.region: Sequence[Position] = ()  # its corners, in the drawing
        self._shown: Any = None

    def show(self) -> None:
        """Show the session's reading, unless nothing has been read since."""
        session, canvas, fonts = self._window.session, self._canvas, self._look.fonts
        all_chosen = self._window.correcting.chosen
        reading, yours = session.reading, session.corrected_boxes()
        state = session.read_revision, reading, yours, all_chosen, self.region
        place = canvas.zoom, canvas.origin, canvas.ink.size, self.theme
        if (state, place) == self._shown:
            return
        self._shown = state, place
        canvas.delete("reading", "region")
        labels, notes = [], []
        for ignored in reading.ignored:
            self._rectangle(ignored, "ignored", 1)
        both = zip(reading.digits, session.kinds(), strict=True)
        for number, (digit, kind) in enumerate(both):
            chosen, colour = number in all_chosen, getattr(self.theme, kind)
            box = self._rectangle(digit.box, kind, 4 if chosen else 2)
            label = f"{digit.label} → ?" if chosen else digit.label
            labels.append((label, fonts.strong, box, colour))
            note = "yours" if digit.box in yours else percent(digit.confidence)
            if kind != "refused":
                notes.append((note, fonts.plain, box, colour))
        taken = [box for _, _, box, _ in labels]
        for each in (*labels, *notes):  # labels first: they must have room
            taken += self._put(*each, taken)
        if corners := [canvas.on_screen(corner) for corner in self.region]:
            look: Any = {"outline": self.theme.fires, "width": self._look.px(2)}
            canvas.create_polygon(corners, fill="", tags="region", **look)

    def _rectangle(self, box: Box, kind: str, width: int) -> Box:
        """Show a rectangle around a box of the drawing; return it in screen pixels."""
        px, gap = self._look.px, self._look.px(GAP)
        (x0, y0), (x1, y1) = map(self._canvas.on_screen, (box[:2], box[2:]))
        around = x0 - gap, y0 - gap, x1 + gap, y1 + gap
        options: Any = {"tags": "reading", "outline": getattr(self.theme, kind)}
        options["dash"] = [px(length) for length in DASHES[kind]]
        self._canvas.create_rectangle(*around, width=px(width), **options)
        return around

    def _put(
        self, text: str, font: tkfont.Font, box: Box, colour: str, taken: list[Box]
    ) -> list[Box]:
        """Put a text beside a box where it is free; return the areas that it takes.

        A confidence without room is left out; a label then stands inside the box.
        """
        x0, y0, x1, y1 = box
        wide, high = font.measure(text), font.metrics("linespace")
        near, is_label = self._look.px(2), font is self._look.fonts.strong
        middle, above, below = (x0 + x1 - wide) / 2, y0 - near - high, y1 + near
        beside = max(y0, 0) if is_label else y1 - high
        sides = (x1 + near, beside), (x0 - near - wide, beside)
        first, last = (above, below) if is_label else (below, above)
        corners = [(middle, first), *sides, (middle, last)]
        areas = [(x, y, x + wide, y + high) for x, y in corners]
        free = (area for area in areas if self._is_free(area, taken))
        inside = x0 + near, y0 + near, x0 + near + wide, y0 + near + high
        place = next(free, inside if is_label else None)
        if place is None:
            return []
        options: dict[str, Any] = {"anchor": "nw", "font": font, "fill": colour}
        self._canvas.create_text(*place[:2], text=text, tags="reading", **options)
        return [place]

    def _is_free(self, area: Box, taken: Sequence[Box]) -> bool:
        """Return whether an area of the canvas is paper without ink, box or label."""
        x0, y0, x1, y1 = area
        canvas = self._canvas
        inside = x1 <= canvas.ink.size[0] and y1 <= canvas.ink.size[1]
        meets = any(x0 < c and a < x1 and y0 < d and b < y1 for a, b, c, d in taken)
        if meets or not inside or min(x0, y0) < 0:
            return False
        place = round(x0), round(y0), round(x1), round(y1)
        if canvas.ink.image.crop(place).getbbox():
            return False
        counts = canvas.paper.crop(place).convert("L").histogram()
        away = counts[:DARK] if self.theme == THEMES["light"] else counts[LIGHT:]
        return sum(away) < SPECKS * sum(counts)


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
    far, deep = extent(stroke.points for stroke in drawn.strokes) * pixel
    fits = far <= wide and deep <= high
    fit = min(wide / (far + room), high / (deep + room))
    return pixel if fits else max(pixel * fit, 0.01), (0.0, 0.0)
