"""The boxes and labels of a reading, on the drawing canvas."""

from collections.abc import Sequence
from tkinter import font as tkfont
from typing import Any

from tinycnn.window.session import Box, Session
from tinycnn.window.theme import Look, Theme, percent

GAP = 5.0  # units between ink and box
DASHES = {"sure": (), "doubtful": (8, 4), "refused": (2, 3)}
IGNORED = 1, 5  # the dash around ink that is left out


class Boxes:
    """A box around every digit and what is ignored; regions where a feature is active.

    `chosen` are the digits to be corrected; `theme` suits what lies under the boxes.
    """

    def __init__(self, canvas: Any, session: Session, look: Look) -> None:
        self._canvas, self._session, self._look = canvas, session, look
        self.theme: Theme = look.theme
        self.chosen: Sequence[int] = ()
        self.regions: Sequence[Box] = ()  # of the drawing

    def show(self) -> None:
        """Show the session's reading."""
        self._canvas.delete("reading", "region")
        fonts, reading = self._look.fonts, self._session.reading
        labels, notes, yours = [], [], self._session.corrected_boxes()
        for ignored in reading.ignored:
            self._rectangle(ignored, 1, self.theme.refused, IGNORED)
        both = zip(reading.digits, self._session.kinds(), strict=True)
        for number, (digit, kind) in enumerate(both):
            colour: str = getattr(self.theme, kind)
            chosen = number in self.chosen
            box = self._rectangle(digit.box, 4 if chosen else 2, colour, DASHES[kind])
            label = f"{digit.label} → ?" if chosen else digit.label
            labels.append((label, fonts.strong, box, colour))
            note = "yours" if digit.box in yours else percent(digit.confidence)
            if kind != "refused":
                notes.append((note, fonts.plain, box, colour))
        taken = [box for _, _, box, _ in labels]
        for each in (*labels, *notes):  # labels first: they must have room
            taken += self._put(*each, taken)
        for region in self.regions:
            self._rectangle(region, 2, self.theme.fires, (), "region")

    def _rectangle(
        self,
        box: Box,
        width: int,
        colour: str,
        dash: Sequence[int],
        tag: str = "reading",
    ) -> Box:
        """Show a rectangle around a box of the drawing; return it in screen pixels."""
        x0, y0, x1, y1 = self._canvas.on_screen(box)
        px = self._look.px
        gap = px(GAP) if tag == "reading" else 0
        around = x0 - gap, y0 - gap, x1 + gap, y1 + gap
        options: dict[str, Any] = {"tags": tag, "outline": colour}
        options["dash"] = [px(length) for length in dash]
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
        beside = y0 if is_label else y1 - high
        corners = [(middle, above), (middle, below)][:: 1 if is_label else -1]
        corners += [(x1 + near, beside), (x0 - near - wide, beside)]
        areas = [(x, y, x + wide, y + high) for x, y in corners]
        free = [area for area in areas if self._is_free(area, taken)]
        if is_label:
            free.append((x0 + near, y0 + near, x0 + near + wide, y0 + near + high))
        for x, y, *_ in free[:1]:
            options: dict[str, Any] = {"anchor": "nw", "font": font, "fill": colour}
            self._canvas.create_text(x, y, text=text, tags="reading", **options)
        return free[:1]

    def _is_free(self, area: Box, taken: Sequence[Box]) -> bool:
        """Return whether an area of the canvas holds no ink, box or label."""
        x0, y0, x1, y1 = area
        canvas = self._canvas
        inside = x1 <= canvas.winfo_width() and y1 <= canvas.winfo_height()
        meets = any(x0 < c and a < x1 and y0 < d and b < y1 for a, b, c, d in taken)
        free = min(x0, y0) >= 0 and inside and not meets
        return free and not canvas.ink.image.crop(tuple(map(round, area))).getbbox()
