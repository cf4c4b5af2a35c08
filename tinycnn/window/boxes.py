"""The boxes and labels of a reading, on the drawing canvas."""

from collections.abc import Sequence
from tkinter import font as tkfont
from typing import Any

from tinycnn.window.session import Box, Session
from tinycnn.window.theme import Look, Theme, percent

GAP = 5.0  # units between ink and box
DASHES = {"sure": (), "doubtful": (8, 4), "refused": (2, 3)}


class Boxes:
    """A box around every digit, and regions where a feature is active.

    `chosen` are the digits to be corrected; `theme` suits what lies under the boxes.
    """

    def __init__(self, canvas: Any, session: Session, look: Look) -> None:
        self._canvas, self._session, self._look = canvas, session, look
        self.theme: Theme = look.theme
        self.chosen: Sequence[int] = ()
        self._regions: Sequence[Box] = ()

    def show(self) -> None:
        """Show the session's reading."""
        self._canvas.delete("reading")
        fonts, gap = self._look.fonts, self._look.px(GAP)
        shown, texts = [], []
        digits, kinds = self._session.reading.digits, self._session.kinds()
        for number, (digit, kind) in enumerate(zip(digits, kinds, strict=True)):
            x0, y0, x1, y1 = self._canvas.on_screen(digit.box)
            box = x0 - gap, y0 - gap, x1 + gap, y1 + gap
            colour: str = getattr(self.theme, kind)
            chosen = number in self.chosen
            self._rectangle(box, 4 if chosen else 2, colour, DASHES[kind])
            label = f"{digit.label} → ?" if chosen else digit.label
            shown.append((label, fonts.strong, box, colour))
            mine = self._session.is_corrected(number)
            text = "yours" if mine else percent(digit.confidence)
            if kind != "refused":
                texts.append((text, fonts.plain, box, colour))
        taken = [box for _, _, box, _ in shown]
        for each in (*shown, *texts):  # labels first: they must have room
            taken += self._put(*each, taken)
        self.mark(self._regions)

    def mark(self, regions: Sequence[Box]) -> None:
        """Mark regions of the drawing, where a feature is active."""
        self._regions = regions
        self._canvas.delete("region")
        for region in regions:
            box = self._canvas.on_screen(region)
            self._rectangle(box, 2, self.theme.fires, (), "region")

    def _rectangle(
        self,
        box: Box,
        width: int,
        colour: str,
        dash: Sequence[int],
        tag: str = "reading",
    ) -> None:
        options: dict[str, Any] = {"tags": tag, "outline": colour}
        options["dash"] = [self._look.px(length) for length in dash]
        self._canvas.create_rectangle(*box, width=self._look.px(width), **options)

    def _put(
        self, text: str, font: tkfont.Font, box: Box, colour: str, taken: list[Box]
    ) -> list[Box]:
        """Put a text beside a box where it is free; return the areas that it takes.

        A confidence without room is left out; a label then stands inside the box.
        """
        x0, y0, x1, y1 = box
        middle, near = (x0 + x1) / 2, self._look.px(2)
        above, below = ("s", middle, y0 - near), ("n", middle, y1 + near)
        is_label = font is self._look.fonts.strong
        spots = [above, below, ("nw", x1 + near, y0), ("ne", x0 - near, y0)]
        if not is_label:
            spots = [below, above, ("sw", x1 + near, y1), ("se", x0 - near, y1)]
        size = font.measure(text), font.metrics("linespace")
        free = (spot for spot in spots if self._is_free(_area(spot, *size), taken))
        spot = next(free, ("nw", x0 + near, y0 + near) if is_label else None)
        if spot is None:
            return []
        anchor, x, y = spot
        options: dict[str, Any] = {"anchor": anchor, "font": font, "fill": colour}
        self._canvas.create_text(x, y, text=text, tags="reading", **options)
        return [_area(spot, *size)]

    def _is_free(self, area: Box, taken: Sequence[Box]) -> bool:
        """Return whether an area of the canvas holds no ink, box or label."""
        x0, y0, x1, y1 = area
        wide, high = self._canvas.winfo_width(), self._canvas.winfo_height()
        inside = x0 >= 0 and y0 >= 0 and x1 <= wide and y1 <= high
        meets = any(x0 < c and a < x1 and y0 < d and b < y1 for a, b, c, d in taken)
        return inside and not meets and not self._canvas.has_ink(area)


def _area(spot: tuple[str, float, float], wide: int, high: int) -> Box:
    """Return the area of a text that is anchored at a spot."""
    anchor, x, y = spot
    left = x - (0 if "w" in anchor else wide if "e" in anchor else wide / 2)
    top = y - (high if "s" in anchor else 0)
    return left, top, left + wide, top + high
