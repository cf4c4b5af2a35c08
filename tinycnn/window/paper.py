"""The ink that the window shows: strokes become soft-edged pixels of this screen.

Tk draws lines with jagged edges, so the window shows an image of its own. It is kept up
to date piece by piece: only what changed is drawn again. Nothing is ever read from it;
what is read are the strokes.

This file knows strokes and pixels. It knows no Tk and no colours.
"""

import math
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageChops

from tinycnn.ink.strokes import FINENESS, draw_finely
from tinycnn.window.session import Points, Stroke

MANY = 4  # areas that change at once are composed as one
Area = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the screen, half open


class Paper:
    """An image of strokes.

    Attributes
    ----------
    size : (int, int)
        Width and height, in pixels of the screen.
    zoom : float
        Pixels of the screen a unit of the canvas.
    """

    def __init__(self) -> None:
        self.size = (1, 1)
        self.zoom = 1.0
        self._ink = Image.new("L", self.size)
        self._shown: dict[Stroke, tuple[Area, Image.Image]] = {}

    def resize(self, size: tuple[int, int], zoom: float) -> bool:
        """Take another size or zoom; return whether all must be put on the screen anew.

        With the same zoom it only grows. With another one it is empty: `show` what is
        to be seen.
        """
        if zoom == self.zoom:
            larger = max(size[0], self.size[0]), max(size[1], self.size[1])
            return larger != self.size and self._grow(*larger)
        self.size, self.zoom = size, zoom
        self._ink = Image.new("L", size)
        self._shown = {}
        return True

    def show(self, strokes: Iterable[Stroke]) -> list[Area]:
        """Show these strokes and no others; return the areas that changed."""
        wanted = dict.fromkeys(strokes)
        changed = [self._shown.pop(s)[0] for s in [*self._shown] if s not in wanted]
        for stroke in wanted:
            if stroke not in self._shown:
                self._shown[stroke] = self._drawn(stroke.points, stroke.pen_width)
                # The pieces that were shown while it was drawn may lie beside it.
                changed.append(self._shown[stroke][0])
        if len(changed) > MANY:
            x0, y0, x1, y1 = zip(*changed, strict=True)
            changed = [(min(x0), min(y0), max(x1), max(y1))]
        for area in changed:
            self._compose(area)
        return [area for area in map(self._inside, changed) if area is not None]

    def add_piece(self, points: Points, pen_width: float) -> Area | None:
        """Show a piece of a stroke that is being drawn; return the area that changed.

        It stays until `show` gets the whole stroke.
        """
        area, image = self._drawn(points, pen_width)
        self._lay(area, image)
        return self._inside(area)

    def remove_pieces(self, points: Points, pen_width: float) -> Area | None:
        """Take away the pieces of a stroke that comes to nothing."""
        area, _ = self._drawn(points, pen_width)
        self._compose(area)
        return self._inside(area)

    def part(self, area: Area) -> Image.Image:
        """Return a copy of an area, grey, 255 = ink."""
        return self._ink.crop(area)

    def inked(self) -> Area | None:
        """Return the smallest area that holds all ink; None if there is none."""
        return self._ink.getbbox()

    def _grow(self, width: int, height: int) -> bool:
        """Show also what was cut at the edges so far; return whether there was any."""
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
        """Return the ink of one line, and where it lies."""
        pen = pen_width * self.zoom
        places = points * self.zoom
        x0, y0 = np.floor(places.min(axis=0) - pen / 2 - 1).astype(int).tolist()
        x1, y1 = np.ceil(places.max(axis=0) + pen / 2 + 1).astype(int).tolist()
        # Far off the canvas nothing is seen.
        x0, y0 = max(x0, -math.ceil(pen)), max(y0, -math.ceil(pen))
        x1 = max(min(x1, self.size[0]), x0 + 1)
        y1 = max(min(y1, self.size[1]), y0 + 1)
        size = x1 - x0, y1 - y0
        fine = draw_finely([places - (x0, y0)], [pen], size, FINENESS)
        return (x0, y0, x1, y1), fine.reduce(FINENESS)

    def _lay(self, area: Area, image: Image.Image) -> None:
        """Lay ink over what is there; where both are, the stronger counts."""
        both = ImageChops.lighter(self._ink.crop(area), image)
        self._ink.paste(both, area[:2])

    def _compose(self, area: Area) -> None:
        """Show in an area what the strokes leave there."""
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
        """Return what of an area is on the paper."""
        x0, y0 = max(area[0], 0), max(area[1], 0)
        x1, y1 = min(area[2], self.size[0]), min(area[3], self.size[1])
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
