"""The panel "What the network sees": one digit's explanation as small pictures."""

import tkinter as tk
from collections.abc import Callable, Sequence
from functools import partial
from tkinter import ttk
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageTk

from tinycnn.reading.explanation import Explanation, FeatureMaps, where_it_fires
from tinycnn.window.session import Box
from tinycnn.window.theme import Fonts, Theme

WIDTH = 336  # units, as all lengths here
INNER = 300  # for pictures
STEP = 66  # side of a preprocessing step's picture
HEAT = 124  # side of the occlusion map
ROW = 17  # height of a probability's row
COLUMNS, MANY_COLUMNS = 8, 16  # maps a row
SMALL = 4  # pixels a side: maps up to this size are packed closer
NOTHING = "Draw a digit to see what the network makes of it."
Pixels = NDArray[np.uint8]


class Panel(ttk.Frame):
    """The panel.

    Parameters
    ----------
    parent : tk.Misc
    fonts : Fonts
    pixel : float
        Screen pixels a unit.
    marked : function
        Called with the boxes, in drawing units, where the chosen feature is active.
    """

    def __init__(
        self,
        parent: tk.Misc,
        fonts: Fonts,
        pixel: float,
        marked: Callable[[Sequence[Box]], None],
    ) -> None:
        super().__init__(parent, width=round(WIDTH * pixel))
        self._fonts, self._pixel, self._marked = fonts, pixel, marked
        self._theme: Theme
        self._explanation: Explanation | None = None
        self._chosen: tuple[int, int] | None = None  # layer and feature
        self._photos: dict[tk.Misc, ImageTk.PhotoImage] = {}
        self._waiting: list[Callable[[], None]] = []  # parts still to be drawn
        self._later: str | None = None  # Tk's timer for the next part
        self.pack_propagate(False)

        head = ttk.Frame(self)
        head.pack(fill="x", padx=self._px(14), pady=(self._px(12), self._px(4)))
        ttk.Label(head, text="What the network sees", style="Strong.TLabel").pack(
            anchor="w"
        )
        self._subject = ttk.Label(
            head, text="", style="Faint.TLabel", wraplength=self._px(INNER)
        )
        self._subject.pack(anchor="w")
        self._scroller = tk.Canvas(self, highlightthickness=0, borderwidth=0)
        bar = ttk.Scrollbar(self, command=self._scroller.yview)
        self._scroller.configure(yscrollcommand=bar.set)
        bar.pack(side="right", fill="y")
        self._scroller.pack(fill="both", expand=True)
        self._inner = ttk.Frame(self._scroller)
        self._scroller.create_window(
            self._px(14), 0, anchor="nw", window=self._inner, width=self._px(INNER)
        )
        self._inner.bind("<Configure>", self._on_grown)

        self._bars = self._section("How sure it is of each digit", self._canvas())
        self._steps = self._section("From your ink to 28 × 28", self._canvas())
        self._heat = self._section("What the answer rests on", self._canvas())
        self._layers = ttk.Frame(self._inner)
        self._section("Feature maps of the convolutions", self._layers)
        self._maps: list[tk.Canvas] = []
        self._kernel = self._canvas(self._layers)
        for widget in (self, self._scroller, self._inner):
            self._bind_wheel(widget)
        self.show(None)

    # --- structure -----------------------------------------------------------------

    def _px(self, units: float) -> int:
        return max(round(units * self._pixel), 1)

    def _canvas(self, parent: tk.Misc | None = None) -> tk.Canvas:
        canvas = tk.Canvas(
            parent or self._inner,
            width=self._px(INNER),
            height=1,
            highlightthickness=0,
            borderwidth=0,
        )
        self._bind_wheel(canvas)
        return canvas

    def _section(self, title: str, content: Any) -> Any:
        """Put a heading over a widget; a click on it hides or shows the widget."""
        heading = ttk.Button(self._inner, style="Fold.TButton", takefocus=False)

        def fold(*, away: bool) -> None:
            heading.configure(text=f"{'▸' if away else '▾'}  {title}")
            if away:
                content.pack_forget()
            else:
                content.pack(after=heading, anchor="w", pady=(0, self._px(10)))

        heading.configure(command=lambda: fold(away=bool(content.winfo_manager())))
        heading.pack(fill="x")
        self._bind_wheel(heading)
        fold(away=False)
        return content

    def _bind_wheel(self, widget: tk.Misc) -> None:
        widget.bind("<MouseWheel>", lambda e: self._scroll(-1 if e.delta > 0 else 1))
        widget.bind("<Button-4>", lambda _: self._scroll(-1))
        widget.bind("<Button-5>", lambda _: self._scroll(1))

    def _scroll(self, by: int) -> None:
        if self._scroller.yview() != (0.0, 1.0):
            self._scroller.yview_scroll(2 * by, "units")

    def _on_grown(self, _: object) -> None:
        self._scroller.configure(scrollregion=self._scroller.bbox("all"))

    # --- display -------------------------------------------------------------------

    def set_theme(self, theme: Theme) -> None:
        """Apply a theme."""
        self._theme = theme
        self._scroller.configure(background=theme.ground)
        for canvas in (self._bars, self._steps, self._heat, self._kernel, *self._maps):
            canvas.configure(background=theme.ground)
        self.show(self._explanation, self._subject.cget("text"))

    def show(self, explanation: Explanation | None, subject: str = NOTHING) -> None:
        """Show an explanation, or only the subject line."""
        self._explanation = explanation
        self._waiting.clear()
        self._subject.configure(text=subject)
        if explanation is None:
            self._scroller.pack_forget()
            self._mark()
            return
        self._scroller.pack(fill="both", expand=True)
        self._show_bars(explanation)
        self._arrange_maps(explanation)
        # Drawing everything at once would block the pen.
        self._waiting += [
            partial(self._show_steps, explanation),
            partial(self._show_heat, explanation),
            *self._layers_of(explanation),
            self._show_kernel,
        ]
        if self._later is None:
            self._later = self.after(1, self._show_next)

    def _show_next(self) -> None:
        """Draw the next part; pending events are handled in between."""
        if self._waiting:
            self._waiting.pop(0)()
        self._later = self.after(1, self._show_next) if self._waiting else None

    def destroy(self) -> None:
        """Destroy the panel and cancel pending drawing."""
        if self._later is not None:
            self.after_cancel(self._later)
        super().destroy()

    def set_subject(self, subject: str) -> None:
        """Show which digit is explained."""
        self._subject.configure(text=subject)

    def _show_bars(self, explanation: Explanation) -> None:
        canvas, theme = self._bars, self._theme
        canvas.delete("all")
        canvas.configure(height=self._px(10 * ROW + 4))
        top = dict(explanation.top)
        left, right = self._px(22), self._px(INNER - 68)
        for digit, share in enumerate(explanation.probabilities.tolist()):
            y = self._px(digit * ROW + ROW / 2 + 2)
            first = digit == explanation.top[0][0]
            colour = theme.text if digit in top else theme.faint
            font = self._fonts.title if first else self._fonts.plain
            canvas.create_text(self._px(6), y, text=digit, font=font, fill=colour)
            half = self._px(4.5)
            canvas.create_rectangle(
                left, y - half, right, y + half, fill=theme.raised, width=0
            )
            if share >= 0.001:
                end = left + max((right - left) * share, self._px(2))
                colour_of_bar = theme.sure if first else theme.faint
                canvas.create_rectangle(
                    left, y - half, end, y + half, fill=colour_of_bar, width=0
                )
            if digit in top:
                canvas.create_text(
                    self._px(INNER - 2),
                    y,
                    anchor="e",
                    text=f"{100 * share:.1f} %" if share >= 0.001 else "< 0.1 %",
                    font=font,
                    fill=colour,
                )

    def _show_steps(self, explanation: Explanation) -> None:
        canvas, theme = self._steps, self._theme
        canvas.delete("all")
        side, count = self._px(STEP), len(explanation.steps)
        between = (self._px(INNER) - count * side) // max(count - 1, 1)
        pictures = []
        for number, step in enumerate(explanation.steps):
            x = number * (side + between)
            pictures.append((self._ink(_fitted(step.picture, side)), x, 0))
            canvas.create_text(
                x + side / 2,
                side + self._px(5),
                anchor="n",
                width=side + between - self._px(2),
                justify="center",
                text=step.title,
                font=self._fonts.small,
                fill=theme.faint,
            )
        self._show_pixels(canvas, pictures)
        canvas.configure(height=(canvas.bbox("all") or (0, 0, 0, 1))[3] + self._px(2))

    def _show_heat(self, explanation: Explanation) -> None:
        canvas, theme = self._heat, self._theme
        canvas.delete("all")
        side = self._px(HEAT)
        fall = explanation.occlusion
        most = max(float(fall.max()), 1e-6)
        heat = _fitted(np.clip(fall / max(most, 0.05), 0, 1), side)[..., None]
        ink = _fitted(explanation.image, side)[..., None]
        paper, hot, cold = map(self._rgb, (theme.paper, theme.doubtful, theme.faint))
        # Ink is grey where hiding it changes nothing, and coloured where it does.
        colours = paper + ink * (cold + heat * (hot - cold) - paper)
        colours += (1 - ink) * 0.35 * heat * (hot - paper)
        rgb = np.rint(np.clip(colours, 0, 255)).astype(np.uint8)
        self._show_pixels(canvas, [(rgb, 0, 0)])
        answer, share = explanation.top[0]
        text = (
            f"A patch of ink is hidden, place by place. Where it glows, the {answer} "
            f"loses up to {100 * min(most, share):.0f} of its {100 * share:.0f} %."
        )
        if explanation.digit is None:
            text = "This ink is refused: there is no answer to explain."
        elif most < 0.05:
            text = "No single patch matters: hiding any one changes nothing."
        canvas.create_text(
            side + self._px(14),
            self._px(2),
            anchor="nw",
            width=self._px(INNER - HEAT - 16),
            text=text,
            font=self._fonts.plain,
            fill=theme.faint,
        )
        canvas.configure(height=side)

    def _arrange_maps(self, explanation: Explanation) -> None:
        counts = [found.maps.shape[2] for found in explanation.feature_maps]
        if self._chosen is not None:
            layer, feature = self._chosen
            if layer >= len(counts) or feature >= counts[layer]:
                self._chosen = None  # other weights, another network
        while len(self._maps) < len(explanation.feature_maps):
            number = len(self._maps)
            canvas = self._canvas(self._layers)
            canvas.configure(background=self._theme.ground, cursor="hand2")
            canvas.bind("<Button-1>", lambda e, n=number: self._on_map(n, e))  # type: ignore[misc]
            self._maps.append(canvas)
        self._kernel.pack_forget()
        for canvas in self._maps:
            canvas.pack_forget()
        for canvas in self._maps[: len(counts)]:
            canvas.pack(anchor="w", pady=(0, self._px(8)))
        # The kernel is shown below the maps of its layer.
        below = self._chosen[0] if self._chosen is not None else -1
        self._kernel.pack(anchor="w", after=self._maps[: len(counts)][below])

    def _layers_of(self, explanation: Explanation) -> list[Callable[[], None]]:
        """Return one function a layer that shows its maps."""
        return [
            partial(self._show_layer, self._maps[number], number, found)
            for number, found in enumerate(explanation.feature_maps)
        ]

    def _show_layer(self, canvas: tk.Canvas, number: int, found: FeatureMaps) -> None:
        theme = self._theme
        canvas.delete("all")
        OH, OW, F = found.maps.shape
        KH, KW, C, _ = found.kernels.shape
        title = f"{F} maps of {OH} × {OW}, by kernels of {KH} × {KW} × {C}"
        canvas.create_text(
            0, 0, anchor="nw", text=title, font=self._fonts.small, fill=theme.faint
        )
        top = self._fonts.small.metrics("linespace") + self._px(4)
        side, pitch, columns = self._cells(found)
        most = max(float(found.maps.max()), 1e-6)
        pictures = []
        for feature in range(F):
            row, column = divmod(feature, columns)
            share = np.sqrt(np.clip(found.maps[..., feature] / most, 0, 1))
            rgb = self._ink(_fitted(share, side, smooth=False))
            pictures.append((rgb, round(column * pitch), top + round(row * pitch)))
        self._show_pixels(canvas, pictures)
        if self._chosen is not None and self._chosen[0] == number:
            row, column = divmod(self._chosen[1], columns)
            x, y = round(column * pitch) - 1, top + round(row * pitch) - 1
            canvas.create_rectangle(
                max(x, 1),
                y,
                x + side + 1,
                y + side + 1,
                outline=theme.fires,
                width=self._px(2),
            )
        canvas.configure(height=top + round(-(-F // columns) * pitch))

    def _cells(self, found: FeatureMaps) -> tuple[int, float, int]:
        """Return a map's side, the distance to the next, and the maps a row.

        A full row is as wide as the panel's other pictures.
        """
        small = found.maps.shape[0] <= SMALL and found.maps.shape[2] >= MANY_COLUMNS
        columns = MANY_COLUMNS if small else COLUMNS
        side = self._px(INNER) // columns - self._px(2)
        return side, (self._px(INNER) - side) / (columns - 1), columns

    def _on_map(self, number: int, event: "tk.Event[Any]") -> None:
        if self._explanation is None:
            return
        found = self._explanation.feature_maps[number]
        _, pitch, columns = self._cells(found)
        top = self._fonts.small.metrics("linespace") + self._px(4)
        row, column = int((event.y - top) // pitch), int(event.x // pitch)
        feature = row * columns + column
        inside = event.y >= top and column < columns and feature < found.maps.shape[2]
        if inside:
            chosen = number, feature
            self._chosen = None if chosen == self._chosen else chosen
            self._arrange_maps(self._explanation)
            for show in self._layers_of(self._explanation):
                show()
            self._show_kernel()

    def _show_kernel(self) -> None:
        """Show the kernel of the chosen map and where it is active."""
        canvas, theme = self._kernel, self._theme
        canvas.delete("all")
        self._mark()
        if self._explanation is None:
            return
        maps = self._explanation.feature_maps
        if self._chosen is None:
            text = "Click on a map to see its kernel and where in your ink it fires."
            pictures = []
            y = 0
        else:
            layer, feature = self._chosen
            kernels = maps[layer].kernels[..., feature]  # (KH, KW, C)
            KH, KW, C = kernels.shape
            columns = min(C, 8)
            side = self._px(INNER / 2 if C == 1 else INNER / columns - 3)
            side = min(side, self._px(60))
            most = max(float(np.abs(kernels).max()), 1e-6)
            pictures = [
                (
                    self._signed(_fitted(kernels[..., c] / most, side, smooth=False)),
                    c % columns * (side + self._px(3)),
                    c // columns * (side + self._px(3)),
                )
                for c in range(C)
            ]
            y = -(-C // columns) * (side + self._px(3)) + self._px(4)
            peaks = where_it_fires(self._explanation, layer, feature)
            where = "It fires nowhere in this digit."
            if peaks:
                where = (
                    f"It fires most in the boxes on the canvas: {peaks[0].value:.2f}."
                )
            weights = f"kernel of {KH} × {KW}" if C == 1 else f"{C} kernels, one a map"
            text = (
                f"Map {feature + 1} of convolution {layer + 1}, {weights}: "
                f"blue weights respond to ink, orange ones to its absence. {where}"
            )
        self._show_pixels(canvas, pictures)
        canvas.create_text(
            0,
            y,
            anchor="nw",
            width=self._px(INNER),
            text=text,
            font=self._fonts.plain,
            fill=theme.faint,
        )
        canvas.configure(height=(canvas.bbox("all") or (0, 0, 0, 1))[3] + self._px(8))

    def _mark(self) -> None:
        """Mark on the canvas where the chosen map is active."""
        boxes: list[Box] = []
        folded = not self.winfo_manager()
        if not folded and self._explanation is not None and self._chosen is not None:
            peaks = where_it_fires(self._explanation, *self._chosen)
            boxes = [peak.ink_box for peak in peaks]
        self._marked(boxes)

    # --- pictures ------------------------------------------------------------------

    def _show_pixels(
        self, canvas: tk.Canvas, pictures: Sequence[tuple[Pixels, int, int]]
    ) -> None:
        """Show pictures in one Tk image, below everything else on the canvas."""
        if not pictures:
            self._photos.pop(canvas, None)
            return
        width = max(x + rgb.shape[1] for rgb, x, _ in pictures)
        height = max(y + rgb.shape[0] for rgb, _, y in pictures)
        page = np.empty((height, width, 3), np.uint8)
        page[:] = self._rgb(self._theme.ground)
        for rgb, x, y in pictures:
            page[y : y + rgb.shape[0], x : x + rgb.shape[1]] = rgb
        photo = self._photos.get(canvas)
        if photo is None or (photo.width(), photo.height()) != (width, height):
            photo = ImageTk.PhotoImage("RGB", (width, height), master=canvas)
            self._photos[canvas] = photo
        photo.paste(Image.fromarray(page))
        canvas.tag_lower(canvas.create_image(0, 0, anchor="nw", image=str(photo)))

    def _rgb(self, colour: str) -> NDArray[np.float64]:
        return np.array(self.winfo_rgb(colour)) / 257

    def _ink(self, share: NDArray[np.float32]) -> Pixels:
        """Return ink values (H, W) in [0, 1] in the theme's colours."""
        paper, ink = self._rgb(self._theme.paper), self._rgb(self._theme.ink)
        mixed = paper + share[..., None] * (ink - paper)
        return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)

    def _signed(self, weight: NDArray[np.float32]) -> Pixels:
        """Return weights in [-1, 1] as colours: blue above 0, orange below."""
        paper = self._rgb(self._theme.paper)
        above, below = self._rgb(self._theme.sure), self._rgb(self._theme.doubtful)
        colour = np.where(weight[..., None] > 0, above, below)
        mixed = paper + np.abs(weight)[..., None] * (colour - paper)
        return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)


def _fitted(
    values: NDArray[np.float32], side: int, *, smooth: bool = True
) -> NDArray[np.float32]:
    """Return an array scaled and padded to a square."""
    H, W = values.shape
    scale = side / max(H, W)
    shape = max(round(W * scale), 1), max(round(H * scale), 1)
    large = side < H or side < W
    way = Image.Resampling.BOX if large and smooth else Image.Resampling.NEAREST
    image = Image.fromarray(values.astype(np.float32)).resize(shape, way)
    page = np.zeros((side, side), np.float32)
    top, left = (side - shape[1]) // 2, (side - shape[0]) // 2
    page[top : top + shape[1], left : left + shape[0]] = np.asarray(image)
    return page
