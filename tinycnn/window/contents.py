"""What the pages of the panel show: one digit read, learned from, and broken.

Each function writes on a page that is empty.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from tinycnn.reading.result import (
    Damage,
    Explanation,
    FeatureMaps,
    Gradients,
    Trial,
)
from tinycnn.window.page import INNER, Floats, Page, Pixels

Click = Callable[[int, int, float, float], object]
Spot = tuple[int, int, float, float]  # layer, map, and the place in it, 0 to 1
COLUMNS = 8  # maps a row
CLASSES = "0123456789–+"  # the last are no digit, and several


def sees(
    page: Page, explanation: Explanation, chosen: Spot | None, click: Click
) -> None:
    """Show how a digit was read; `click` is given a layer, a map, and a place."""
    _shares(page, [explanation.probabilities], str(explanation.probabilities.argmax()))
    page.heading("Your ink as 28 × 28, by one pen, its weight in the middle")
    page.pictures([page.ink(explanation.image)], 2)
    page.heading("Feature maps of the convolutions")
    page.text(
        "Click a pixel of a map: its kernel, the products that made the pixel, and "
        "what it sees of your ink."
    )
    for number, found in enumerate(explanation.feature_maps):
        OH, OW, F = found.maps.shape
        KH, KW, C, _ = found.kernels.shape
        name = f"{number + 1}. {F} maps of {OH} × {OW}, kernels {KH} × {KW} × {C}"
        page.text(name)
        mine = chosen if chosen is not None and chosen[0] == number else None
        cells, marked = _coloured(page, found), [mine[1]] if mine else []
        page.pictures(cells, COLUMNS, marked=marked, click=partial(click, number))
        if mine:
            _kernel(page, explanation, mine)


def _shares(page: Page, states: Sequence[Floats], bold: str) -> None:
    """Show the share of each digit, and of the rest, in one state or in several."""
    page.heading("How sure it is of each digit (–: the rest)")
    columns = [
        [*shares.tolist(), max(1 - float(shares.sum()), 0.0)] for shares in states
    ]
    rows = [
        (k, row, " → ".join(f"{100 * share:.1f}" for share in row) + " %")
        for k, row in zip(CLASSES[:11], zip(*columns, strict=True), strict=True)
    ]
    page.bars(rows, bold)


def _coloured(page: Page, found: FeatureMaps) -> list[Pixels]:
    """Return the feature maps of a layer as pictures (OH, OW, 3)."""
    share = np.sqrt(np.clip(found.maps / max(float(found.maps.max()), 1e-6), 0, 1))
    return [*page.ink(share.transpose(2, 0, 1))]


def _kernel(page: Page, explanation: Explanation, chosen: Spot) -> None:
    """Show the kernel of a map and the products of a pixel; scroll there."""
    layer, feature, x, y = chosen
    found = explanation.feature_maps[layer]
    OH, OW, _ = found.maps.shape
    row, column = int(y * OH), int(x * OW)
    products = found.products(row, column, feature)
    page.heading(f"Map {feature + 1} of convolution {layer + 1}", spot=True)
    for title, values in (
        ("Kernel", found.kernels[..., feature]),
        ("Its products with what lies below it", products),
    ):
        page.text(f"{title}: blue above 0, orange below")
        cells = [*page.signed(values.transpose(2, 0, 1))]
        page.pictures(cells, COLUMNS if len(cells) > 1 else 4)
    page.text(
        f"Row {row + 1}, column {column + 1}: {products.size} products, sum "
        f"{products.sum():.3f}, bias {found.bias[feature]:+.3f}, together "
        f"{found.maps[row, column, feature]:.3f}. It sees the box on the canvas."
    )


def learns(
    page: Page, explanation: Explanation, found: Gradients, trial: Trial | None
) -> None:
    """Show the gradients of a digit, and a training step if there was one."""
    label = str(found.label)
    if trial is not None:
        _trial(page, label, trial)
    else:
        _shares(page, [explanation.probabilities], label)
    page.heading(f"If it should be {label}: loss {found.loss:.4f}")
    page.text(
        "Gradient at the logits (–: none, +: several): their softmax, minus 1 for the "
        "right digit. Loss and gradients are of the logits as they are; the shares "
        "above are calibrated."
    )
    most = max(float(np.abs(found.dlogits).max()), 1e-12)
    slopes = zip(CLASSES[: len(found.dlogits)], found.dlogits.tolist(), strict=True)
    page.bars([(k, [s / most], f"{s:+.4f}") for k, s in slopes], label)
    page.heading("Which pixels would have to change")
    page.pictures([page.ink(explanation.image), page.signed(-found.ink)], 2)
    page.text("Blue: more ink would lower the loss; orange: less ink would.")
    for number, layer in enumerate(found.feature_maps):
        page.heading(f"Convolution {number + 1}: each map, beside it its gradient")
        gradients = page.signed(layer.dmaps.transpose(2, 0, 1))
        pairs = zip(_coloured(page, layer), gradients, strict=True)
        page.pictures([cell for pair in pairs for cell in pair], COLUMNS)
        steepest = float(np.abs(layer.dmaps).max())
        page.text(f"The steepest gradient is {steepest:.2g}. Its kernels, and theirs:")
        sheets = [_sheet(layer.kernels), _sheet(layer.dkernels)]
        columns = 2 if 2 * len(sheets[0]) <= page.look.px(INNER) else 1
        shades = [page.signed(each, 3 * float(each.std())) for each in sheets]
        page.pictures(shades, columns)


def _trial(page: Page, label: str, trial: Trial) -> None:
    page.text("One training step: before (upper bars), after")
    _shares(page, trial.probabilities, label)
    page.text(
        f"Loss {trial.loss[0]:.4f} → {trial.loss[1]:.4f}. Of the sample's 1,000 "
        f"test digits, {trial.right[0]:,} → {trial.right[1]:,} are "
        "read right; the network has learned from digits of this set."
    )


def breaks(
    page: Page,
    explanation: Explanation,
    damage: Damage,
    right: Iterable[int],
    click: Click,
) -> None:
    """Show what damage does; `right` are the test digits right: whole, and now."""
    page.heading("Of the sample's 1,000 test digits, read right")
    names = ("whole", "now")
    rows = [("", [r / 1000], f"{r:,} {n}") for n, r in zip(names, right, strict=False)]
    page.bars(rows, "")
    page.text(
        f"Muted filters: {len(damage.muted)}; noise of {damage.noise:.2f} times the "
        f"deviation of the weights, {damage.bits} bits a weight. Click a map to mute "
        "its filter, or to let it speak again; F4 puts everything back."
    )
    for number, found in enumerate(explanation.feature_maps):
        page.text(f"{number + 1}. {found.maps.shape[2]} filters")
        marked = [f for layer, f in damage.muted if layer == number]
        cells = _coloured(page, found)
        page.pictures(cells, COLUMNS, marked=marked, click=partial(click, number))


def _sheet(kernels: Floats) -> Floats:
    """Return kernels (KH, KW, C, F) as a square sheet, 0 between them.

    The C kernels of a filter follow each other.
    """
    KH, KW, C, F = kernels.shape
    side = math.ceil(math.sqrt(C * F))
    page = np.zeros((side * side, KH + 1, KW + 1), np.float32)
    page[: C * F, :KH, :KW] = kernels.transpose(3, 2, 0, 1).reshape(-1, KH, KW)
    page = page.reshape(side, side, KH + 1, KW + 1).transpose(0, 2, 1, 3)
    return page.reshape(side * (KH + 1), side * (KW + 1))
