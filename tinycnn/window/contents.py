"""What the pages of the panel show: one digit read, learned from, and broken.

Each function is a generator for `Page.show`.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from tinycnn.reading.explanation import (
    Damage,
    Explanation,
    FeatureMaps,
    Gradients,
    Trial,
    where_it_fires,
)
from tinycnn.window.page import INNER, Floats, Page

Click = Callable[[int, int, float, float], object]
STEP, HALF = 66, INNER // 2 - 4  # units, sides of pictures
Spot = tuple[int, int, float, float]  # layer, map, and the place in it, 0 to 1
COLUMNS = 8  # maps a row


def sees(
    page: Page, explanation: Explanation, chosen: Spot | None, click: Click
) -> Iterator[None]:
    """Show how a digit was read; `click` is given a layer, a map, and a place."""
    page.heading("How sure it is of each digit")
    shares, top = explanation.probabilities.tolist(), dict(explanation.top)
    rows = [
        (str(digit), (share,), f"{100 * share:.1f} %" if digit in top else "")
        for digit, share in enumerate(shares)
    ]
    page.bars(rows, str(explanation.top[0][0]))
    yield
    page.heading("From your ink to 28 × 28")
    steps, side = explanation.steps, page.look.px(STEP)
    cells = [page.ink(step.picture, side) for step in steps]
    page.pictures(cells, len(steps), captions=[step.title for step in steps])
    yield
    _heat(page, explanation)
    yield
    page.heading("Feature maps of the convolutions")
    page.text(
        "Click a pixel of a map: its kernel, the products that made the pixel, and "
        "where in your ink the map is active."
    )
    for number, found in enumerate(explanation.feature_maps):
        OH, OW, F = found.maps.shape
        KH, KW, C, _ = found.kernels.shape
        name = f"{number + 1}. {F} maps of {OH} × {OW}, by kernels of {KH} × {KW} × {C}"
        page.text(name)
        mine = chosen is not None and chosen[0] == number
        _maps(page, found, [chosen[1]] if mine and chosen else [], click, number)
        yield
        if mine and chosen is not None:
            _kernel(page, explanation, chosen)
            yield


def _heat(page: Page, explanation: Explanation) -> None:
    """Show how much the answer depends on each part of the ink."""
    page.heading("What the answer rests on")
    answer, share = explanation.top[0]
    fall, half = explanation.occlusion, page.look.px(HALF)
    most = min(float(fall.max()), share)
    cells = page.ink(explanation.image, half), page.signed(fall, half, max(most, 0.05))
    page.pictures(cells, 2)
    text = (
        f"A patch of ink is hidden, place by place. Where it is blue, the {answer} "
        f"loses up to {100 * most:.0f} of its {100 * share:.0f} %."
    )
    if explanation.digit is None:
        text = "This ink is refused: there is no answer to explain."
    elif most < 0.05:
        text = "No single patch matters: hiding any one changes nothing."
    page.text(text)


def _maps(
    page: Page, found: FeatureMaps, marked: list[int], click: Click, layer: int
) -> None:
    """Show the feature maps of a layer."""
    side = page.look.px(INNER) // COLUMNS - page.look.px(2)
    shares = np.sqrt(np.clip(found.maps / max(float(found.maps.max()), 1e-6), 0, 1))
    cells = [
        page.ink(shares[..., f], side, smooth=False) for f in range(found.maps.shape[2])
    ]
    page.pictures(cells, COLUMNS, marked=marked, click=partial(click, layer))


def _kernel(page: Page, explanation: Explanation, chosen: Spot) -> None:
    """Show the kernel of a map and the products of a pixel; scroll there."""
    layer, feature, x, y = chosen
    found = explanation.feature_maps[layer]
    OH, OW, _ = found.maps.shape
    row, column = int(y * OH), int(x * OW)
    products = found.products(row, column, feature)
    page.top = page.heading(f"Map {feature + 1} of convolution {layer + 1}")
    C = products.shape[2]
    side = page.look.px(60 if C == 1 else INNER // 8 - 3)
    for title, values in (
        ("Kernel", found.kernels[..., feature]),
        ("Its products with what lies below it", products),
    ):
        page.text(f"{title}: blue above 0, orange below")
        most = float(np.abs(values).max())
        page.pictures([page.signed(values[..., c], side, most) for c in range(C)], 8)
    peaks = where_it_fires(explanation, layer, feature)
    where = "The map is active nowhere in this digit."
    if peaks:
        where = f"It is most active in the boxes on the canvas: {peaks[0][0]:.2f}."
    page.text(
        f"Row {row + 1}, column {column + 1}: {products.size} products, sum "
        f"{products.sum():.3f}, bias {found.bias[feature]:+.3f}, together "
        f"{found.maps[row, column, feature]:.3f}. {where}"
    )


def learns(
    page: Page, explanation: Explanation, found: Gradients, trial: Trial | None
) -> Iterator[None]:
    """Show the gradients of a digit, and a training step if there was one."""
    label = str(found.label)
    if trial is not None:
        _trial(page, label, trial)
        yield
    page.heading(f"If it should be {label}: loss {found.loss:.4f}")
    page.text("Gradient at the logits: the probability, minus 1 for the right digit")
    most = max(float(np.abs(found.dlogits).max()), 1e-12)
    slopes = found.dlogits.tolist()
    rows = [(str(k), (s / most,), f"{s:+.4f}") for k, s in enumerate(slopes[:10])]
    page.bars(rows, label)
    yield
    page.heading("Which pixels would have to change")
    half = page.look.px(HALF)
    page.pictures([page.ink(explanation.image, half), page.signed(-found.ink, half)], 2)
    page.text("Blue: more ink would lower the loss; orange: less ink would.")
    yield
    for number, layer in enumerate(explanation.feature_maps):
        slope = found.maps[number]
        page.heading(f"Convolution {number + 1}: each map, beside it its gradient")
        side = page.look.px(INNER) // COLUMNS - page.look.px(2)
        shares = np.sqrt(np.clip(layer.maps / max(layer.maps.max(), 1e-6), 0, 1))
        most = max(float(np.abs(slope).max()), 1e-12)
        cells = []
        for f in range(slope.shape[2]):
            cells.append(page.ink(shares[..., f], side, smooth=False))
            cells.append(page.signed(slope[..., f], side, most))
        page.pictures(cells, COLUMNS)
        page.text(f"The steepest gradient is {most:.2g}. Its kernels, and theirs:")
        sheets = [_sheet(layer.kernels), _sheet(found.kernels[number])]
        page.pictures([page.signed(sheet, half) for sheet in sheets], 2)
        yield


def _trial(page: Page, label: str, trial: Trial) -> None:
    page.heading("One training step: before (upper bars), after")
    pairs = zip(*(shares.tolist() for shares in trial.probabilities), strict=True)
    rows = [
        (str(k), (a, b), f"{100 * a:.1f} → {100 * b:.1f} %")
        for k, (a, b) in enumerate(pairs)
    ]
    page.bars(rows, label)
    page.text(
        f"Loss {trial.loss[0]:.4f} → {trial.loss[1]:.4f}. Of the sample's "
        f"{trial.total:,} test digits, {trial.right[0]:,} → {trial.right[1]:,} are "
        "read right; the network has learned from digits of this set."
    )


def breaks(
    page: Page, explanation: Explanation, damage: Damage, right: list[int], click: Click
) -> Iterator[None]:
    """Show what damage does; `right` are the test digits right: whole, and now."""
    page.heading("Of the sample's 1,000 test digits, read right")
    names = ("whole", "now")
    rows = [("", (r / 1000,), f"{r:,} {n}") for n, r in zip(names, right, strict=False)]
    page.bars(rows, "")
    page.text(
        f"Muted filters: {len(damage.muted)}; noise of {damage.noise:.2f} times the "
        f"deviation of the weights, {damage.bits} bits a weight. Click a map to mute "
        "its filter, or to let it speak again; F4 puts everything back."
    )
    yield
    for number, found in enumerate(explanation.feature_maps):
        page.text(f"{number + 1}. {found.maps.shape[2]} filters")
        marked = [f for layer, f in damage.muted if layer == number]
        _maps(page, found, marked, click, number)
        yield


def _sheet(kernels: Floats) -> Floats:
    """Return kernels (KH, KW, C, F) side by side, C rows of F, 0 between them.

    Those of one channel fill a square.
    """
    KH, KW, C, F = kernels.shape
    across = int(np.ceil(np.sqrt(F))) if C == 1 else F
    page = np.zeros((-(-C * F // across), across, KH + 1, KW + 1), np.float32)
    flat = page.reshape(-1, KH + 1, KW + 1)
    flat[: C * F, :KH, :KW] = kernels.transpose(2, 3, 0, 1).reshape(-1, KH, KW)
    rows, columns = page.shape[:2]
    return page.transpose(0, 2, 1, 3).reshape(rows * (KH + 1), columns * (KW + 1))
