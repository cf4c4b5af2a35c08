"""The ink on the screen: strokes as an antialiased image.

Tk draws jagged lines, so the window shows an image instead, of which only changed areas
are redrawn. The image is for display only; the reader gets the strokes.
"""

import math
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageChops

from tinycnn.ink.strokes import FINENESS, draw_finely
from tinycnn.window.session import Points, Stroke

MANY = 4  # more changed areas than this are composed as one
Area = tuple[int, int, int, int]  # x0, y0, x1, y1 in screen pixels, half open


class InkImage:
    """An image of strokes.

    Attributes
    ----------
    size : (int, int)
        Width and height in screen pixels.
    zoom : float
        Screen pixels per canvas unit.
    """

    def __init__(self) -> None:
        self.size = (1, 1)
        self.zoom = 1.0
        self._ink = Image.new("L", self.size)
        self._shown: dict[Stroke, tuple[Area, Image.Image]] = {}

    def resize(self, size: tuple[int, int], zoom: float) -> bool:
        """Change size and zoom; return whether the whole image must be redrawn.

        With the same zoom the image only grows. A new zoom empties it until the next
        `show`.
        """
        if zoom == self.zoom:
            larger = max(size[0], self.size[0]), max(size[1], self.size[1])
            return larger != self.size and self._grow(*larger)
        self.size, self.zoom = size, zoom
        self._ink = Image.new("L", size)
        self._shown = {}
        return True

    def show(self, strokes: Iterable[Stroke]) -> list[Area]:
        """Show exactly these strokes; return the changed areas."""
        wanted = dict.fromkeys(strokes)
        changed = [self._shown.pop(s)[0] for s in [*self._shown] if s not in wanted]
        for stroke in wanted:
            if stroke not in self._shown:
                self._shown[stroke] = self._drawn(stroke.points, stroke.pen_width)
                # Covers the pieces shown while drawing, which may lie beside it.
                changed.append(self._shown[stroke][0])
        if len(changed) > MANY:
            x0, y0, x1, y1 = zip(*changed, strict=True)
            changed = [(min(x0), min(y0), max(x1), max(y1))]
        for area in changed:
            self._compose(area)
        return [area for area in map(self._inside, changed) if area is not None]

    def add_piece(self, points: Points, pen_width: float) -> Area | None:
        """Show a piece of a stroke being drawn, until the next `show`.

        Returns
        -------
        Area or None
            What changed.
        """
        area, image = self._drawn(points, pen_width)
        self._lay(area, image)
        return self._inside(area)

    def remove_pieces(self, points: Points, pen_width: float) -> Area | None:
        """Remove the pieces of a cancelled stroke."""
        area, _ = self._drawn(points, pen_width)
        self._compose(area)
        return self._inside(area)

    def part(self, area: Area) -> Image.Image:
        """Return a copy of an area, grey, 255 = ink."""
        return self._ink.crop(area)

    def inked(self) -> Area | None:
        """Return the bounding box of the ink, None without ink."""
        return self._ink.getbbox()

    def _grow(self, width: int, height: int) -> bool:
        """Enlarge the image and redraw clipped strokes; return whether any was."""
        right, low = self.size
        self.size = width, height
        self._ink = self._ink.crop((0, 0, width, height))
        cut = [
            stroke
            for stroke, (area, _) in self._shown.items()
            if area[2] >= right or area[3] >= low
        ]
        for stroke in cut:
            self._shown[stroke] = self._drawn(stroke.points, stroke.pen_width)
            self._compose(self._shown[stroke][0])
        return bool(cut)

    def _drawn(self, points: Points, pen_width: float) -> tuple[Area, Image.Image]:
        """Return the area and the ink of one line."""
        pen = pen_width * self.zoom
        scaled = points * self.zoom
        x0, y0 = np.floor(scaled.min(axis=0) - pen / 2 - 1).astype(int).tolist()
        x1, y1 = np.ceil(scaled.max(axis=0) + pen / 2 + 1).astype(int).tolist()
        # Ink far off the canvas is not drawn.
        x0, y0 = max(x0, -math.ceil(pen)), max(y0, -math.ceil(pen))
        x1 = max(min(x1, self.size[0]), x0 + 1)
        y1 = max(min(y1, self.size[1]), y0 + 1)
        size = x1 - x0, y1 - y0
        fine = draw_finely([scaled - (x0, y0)], [pen], size, FINENESS)
        return (x0, y0, x1, y1), fine.reduce(FINENESS)

    def _lay(self, area: Area, image: Image.Image) -> None:
        """Combine new ink with the old by the maximum."""
        both = ImageChops.lighter(self._ink.crop(area), image)
        self._ink.paste(both, area[:2])

    def _compose(self, area: Area) -> None:
        """Recompute an area from the strokes."""
        page = Image.new("L", (area[2] - area[0], area[3] - area[1]))
        for (x0, y0, x1, y1), image in self._shown.values():
            left, top = max(x0, area[0]), max(y0, area[1])
            right, bottom = min(x1, area[2]), min(y1, area[3])
            if left < right and top < bottom:
                there = (
                    left - area[0],
                    top - area[1],
                    right - area[0],
                    bottom - area[1],
                )
                part = image.crop((left - x0, top - y0, right - x0, bottom - y0))
                page.paste(ImageChops.lighter(page.crop(there), part), there[:2])
        self._ink.paste(page, area[:2])

    def _inside(self, area: Area) -> Area | None:
        """Return the part of an area inside the image, None if there is none."""
        x0, y0 = max(area[0], 0), max(area[1], 0)
        x1, y1 = min(area[2], self.size[0]), min(area[3], self.size[1])
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
