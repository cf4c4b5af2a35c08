"""The ink on the screen: strokes as an antialiased image.

Tk draws jagged lines, so the window shows an image instead, of which only changed areas
are sent to the screen. It is for display only; the reader gets the strokes.
"""

import math
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageChops

from tinycnn.ink.strokes import FINENESS, draw_finely
from tinycnn.window.session import Points, Stroke

Area = tuple[int, int, int, int]  # x0, y0, x1, y1 in screen pixels, half open


class InkImage:
    """An image of strokes: `zoom` screen pixels a unit, units begin at `origin`."""

    def __init__(self) -> None:
        self.size, self.zoom, self.origin = (1, 1), 1.0, (0.0, 0.0)
        self.image = Image.new("L", self.size)  # 255 = ink
        self._shown: dict[Stroke, tuple[Area, Image.Image]] = {}
        self._pieces: list[Area] = []

    def resize(
        self, size: tuple[int, int], zoom: float, origin: tuple[float, float]
    ) -> bool:
        """Empty the image and return True, unless it stays as it is."""
        if (size, zoom, origin) == (self.size, self.zoom, self.origin):
            return False
        self.size, self.zoom, self.origin = size, zoom, origin
        self.image, self._shown, self._pieces = Image.new("L", size), {}, []
        return True

    def show(self, strokes: Iterable[Stroke], *, growing: bool = False) -> Area | None:
        """Show exactly these strokes; return the changed area, None without any change.

        The pieces go, unless they belong to a `growing` stroke.
        """
        wanted, old = [*strokes], self._shown
        if wanted == [*old] and (growing or not self._pieces):
            return None
        self._shown = {
            s: old.get(s) or self._drawn(s.points, s.pen_width) for s in wanted
        }
        others = old.keys() ^ self._shown.keys()
        changed = [(old | self._shown)[stroke][0] for stroke in others]
        lefts, tops, rights, lows = zip(*changed, *self._pieces, strict=True)
        x0, y0, x1, y1 = min(lefts), min(tops), max(rights), max(lows)
        self._pieces = []
        self.image.paste(0, (x0, y0, x1, y1))
        for (a, b, c, d), ink in self._shown.values():
            if a < x1 and x0 < c and b < y1 and y0 < d:
                self._lay((a, b, c, d), ink)
        return x0, y0, x1, y1

    def add_piece(self, points: Points, pen_width: float) -> Area:
        """Show a piece of a stroke until the next change; return the changed area."""
        area, ink = self._drawn(points, pen_width)
        self._pieces.append(area)
        self._lay(area, ink)
        return area

    def strokes_at(self, way: Points, reach: int) -> list[Stroke]:
        """Return the strokes with ink near a way (2, 2), all in screen pixels."""
        steps = math.ceil(math.dist(*way) / reach) + 1
        share = np.linspace(0, 1, steps)[:, np.newaxis]
        corners = np.rint(way[0] + share * (way[1] - way[0]) - reach).astype(int)

        def is_near(area: Area, ink: Image.Image) -> bool:
            off = (corners - area[:2]).tolist()
            squares = [(x, y, x + 2 * reach, y + 2 * reach) for x, y in off]
            return any(ink.crop(square).getbbox() for square in squares)

        return [stroke for stroke, shown in self._shown.items() if is_near(*shown)]

    def _drawn(self, points: Points, pen_width: float) -> tuple[Area, Image.Image]:
        """Return the area of a line inside the image, at least a pixel, and its ink."""
        pen = pen_width * self.zoom
        points = np.concatenate([points[:-1:2], points[-1:]])  # looks the same
        scaled = points * self.zoom + self.origin
        x0, y0 = np.floor(scaled.min(axis=0) - pen / 2 - 1).astype(int).tolist()
        x1, y1 = np.ceil(scaled.max(axis=0) + pen / 2 + 1).astype(int).tolist()
        wide, high = self.size
        x0, y0 = min(max(x0, 0), wide - 1), min(max(y0, 0), high - 1)
        x1, y1 = min(max(x1, x0 + 1), wide), min(max(y1, y0 + 1), high)
        size = x1 - x0, y1 - y0
        fine = draw_finely([scaled - (x0, y0)], [pen], size, FINENESS)
        return (x0, y0, x1, y1), fine.reduce(FINENESS)

    def _lay(self, area: Area, ink: Image.Image) -> None:
        """Combine ink with what is there, by the maximum."""
        self.image.paste(ImageChops.lighter(self.image.crop(area), ink), area[:2])
