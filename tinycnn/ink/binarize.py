"""Separate ink from paper: polarity, shade, pattern, noise, ruled lines.

A clean picture (flat paper) is only stretched, so that its grey levels survive.
Any other paper is estimated and divided out first.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rule = tuple[float, float, int]  # row at column 0, rows a column, thickness

MIN_CONTRAST = 0.06  # of the range from black to white; anything fainter is no ink
WORKING_SIDE = 480  # pixels of the reduced picture on which strokes are found
LEVELS = np.arange(256)
DARKEST = 0.4  # depth is not divided by less, so that noise of dark paper stays noise
COVERED = 0.75  # share of the strips that a ruled line fills
STEEPEST = 0.045  # slope of a ruled line: 2.6 degrees
BEYOND_RULE = 3  # pixels that a stroke across a rule is longer; of 3 and 4, reads more
SOFT_EDGE = 2  # pixels beside a rule; with 1, its edges remain
MAX_RULES = 250  # a page has fewer; erasing more would take seconds


def find_ink(grey: Grey) -> Grey:
    """Return the ink of a grey picture.

    Parameters
    ----------
    grey : float32 array (H, W)
        In [0, 1], 1 = white. Dark ink on light paper or the reverse.

    Returns
    -------
    float32 array (H, W)
        In [0, 1]: 1 is ink, 0 is paper, edges are soft. All 0 where there is no ink.
    """
    if grey.size == 0 or float(np.ptp(grey)) < MIN_CONTRAST:
        return np.zeros(grey.shape, np.float32)
    ink = _ink_on_flat_paper(grey)
    return _without_rules(_ink_on_uneven_paper(grey) if ink is None else ink)


def _ink_on_flat_paper(grey: Grey) -> Grey | None:
    """Return the ink on paper of one grey level, or None where the paper is not flat.

    A histogram decides, which is cheap, and the result is linear in the grey levels,
    so that they survive.
    """
    levels = (grey * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    counts = np.bincount(levels.ravel(), minlength=256)
    # The paper's level is that of the picture and its border together: in a tight crop
    # ink may cover more than half of either, but seldom of both.
    border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    share = np.bincount(border, minlength=256) / border.size + counts / levels.size
    start = max(int(np.convolve(share, np.ones(9), "same").argmax()) - 4, 0)
    paper = start + int(counts[start : start + 9].argmax())
    beyond = np.abs(LEVELS - paper) > 4
    near = counts[~beyond].sum()
    if near < 0.2 * levels.size:
        return None
    dark = bool(counts @ (LEVELS - paper) ** 3 <= 0)
    present = np.flatnonzero(counts)
    contrast = abs(paper - int(present[0] if dark else present[-1]))
    if contrast < 255 * MIN_CONTRAST:
        return None
    depth = (paper - LEVELS if dark else LEVELS - paper) / contrast
    strong = counts[depth > 0.5].sum()
    faint = counts[beyond & (depth > 0) & (depth < 0.45)].sum()
    wrong = counts[beyond & (depth < 0)].sum()
    if faint > 1.5 * strong or wrong > min(0.4 * strong, 0.05 * near):
        return None  # shade or noise: more than soft edges of ink explain
    # A shadow takes little more than half the light; darker ink is a broad pen.
    lightest = paper if dark else paper + contrast
    broadest = 0.22 if contrast < 0.6 * lightest else 0.42
    factor = -(-max(levels.shape) // 64)
    small = levels[factor // 2 :: factor, factor // 2 :: factor]
    side = max(2, int(broadest * small.size**0.5))
    slab = ndimage.minimum_filter(depth[small], side, mode="constant", cval=0)
    if slab.max(initial=0) > 0.5:
        return None  # a square of that side in it: a slab of shadow, not strokes
    ink: Grey = (grey - np.float32(paper / 255)) * np.float32(255 / contrast)
    return np.clip(-ink if dark else ink, 0, 1)


def _ink_on_uneven_paper(grey: Grey) -> Grey:
    """Return the ink on paper with shade, pattern or noise.

    The paper is estimated and divided out (Lu, Su and Tan 2010). The rest is split by
    a threshold, and a component is ink if it is strong somewhere.
    """
    factor = -(-max(grey.shape) // WORKING_SIDE)
    small = np.asarray(Image.fromarray(grey).reduce(factor))
    if _is_light_on_dark(small):
        grey, small = 1 - grey, 1 - small
    paper, cell = _paper(small)
    found = _strokes(_depth(small, paper, cell))
    if found is None:
        return np.zeros(grey.shape, np.float32)
    strokes, low, full = found
    strokes = strokes.repeat(factor, 0).repeat(factor, 1)
    strokes = strokes[: grey.shape[0], : grey.shape[1]]
    ink = _depth(grey, paper, cell * factor)
    ink = np.clip((ink - np.float32(low)) * np.float32(1 / (full - low)), 0, 1)
    return np.asarray(ink * strokes, np.float32)


def _depth(grey: Grey, paper: Grey, cell: int) -> Grey:
    """Return how much darker than the paper each pixel is, as a share of the paper."""
    H, W = grey.shape
    cells = (0, 0, W / cell, H / cell)  # the last may be smaller
    image = Image.fromarray(paper)
    light = np.asarray(image.resize((W, H), Image.Resampling.BILINEAR, cells))
    return np.asarray((light - grey) / np.maximum(light, DARKEST), np.float32)


def _is_light_on_dark(small: Grey) -> bool:
    """Return whether the ink is lighter than its paper.

    Ink is a local minority, so a median filter removes it. The filter keeps the edge
    of a shadow, which therefore does not count.
    """
    factor = -(-min(small.shape) // 20)
    coarse = np.asarray(Image.fromarray(small).reduce(factor))
    size = max(3, min(coarse.shape) // 3)
    residual = coarse - ndimage.median_filter(coarse, size, mode="nearest")
    return float((residual**3).sum()) > 0


def _paper(small: Grey) -> tuple[Grey, int]:
    """Return the brightness of the paper in cells of the picture, and their side.

    A grey closing with a window wider than a stroke removes strokes and keeps shade and
    the edges of shadows.
    """
    cell = max(1, min(small.shape) // 48)
    coarse = np.asarray(Image.fromarray(small).reduce(cell))
    coarse = ndimage.gaussian_filter(coarse, 0.7, mode="nearest")
    size = max(3, int(0.35 * min(coarse.shape)))
    # Beyond the picture its shade continues; a digit at the border is still no paper.
    wide = np.pad(coarse, size, "reflect", reflect_type="odd")
    closed = ndimage.grey_closing(np.minimum(wide, coarse.max()), (size, size))
    return closed[size:-size, size:-size], cell


def _strokes(depth: Grey) -> tuple[Mask, float, float] | None:
    """Return the mask of strokes, and the depths of paper and of full ink, or None."""
    smooth = ndimage.gaussian_filter(depth, 0.7, mode="nearest", truncate=3)
    if np.ptp(smooth) < MIN_CONTRAST:
        return None
    split = otsu(smooth)
    inked = smooth >= split
    clear, covered = smooth[~inked], smooth[inked]
    paper, full = float(np.median(clear)), float(np.median(covered))
    noise = 1.48 * float(np.median(np.abs(clear - paper)))
    if inked.mean() > 0.42 or full - paper <= max(3 * noise, MIN_CONTRAST):
        return None
    labels, count = ndimage.label(inked, np.ones((3, 3)))
    area = np.bincount(labels.ravel(), minlength=count + 1)
    peak = np.bincount(labels[smooth > (split + full) / 2], minlength=count + 1)
    keep = (area >= 6) & (peak > 0) & _sharp(depth, labels, count)
    keep[0] = False
    strokes = ndimage.maximum_filter(keep[labels], 3)
    # Full ink is nearly the darkest; the median would clip every stroke.
    return strokes, paper + 0.45 * (split - paper), float(np.quantile(covered, 0.95))


def _sharp(depth: Grey, labels: NDArray[np.int32], count: int) -> Mask:
    """Return by number which components have a sharp edge; a shadow has none.

    A broad stroke reaches its depth in a few pixels, a shadow over half its breadth.
    """
    numbers = np.arange(count + 1)
    inwards = ndimage.distance_transform_edt(labels)
    breadth = 2 * ndimage.maximum(inwards, labels, numbers)
    smooth = ndimage.gaussian_filter(depth, 2, mode="nearest")
    slopes = ndimage.gaussian_gradient_magnitude(depth, 2, mode="nearest")
    slope = ndimage.maximum(slopes, labels, numbers)
    height = ndimage.maximum(smooth, labels, numbers) - np.median(smooth)
    return np.asarray((breadth < 12) | (slope > 0.12 * height), bool)


def otsu(values: Grey) -> float:
    """Return the least value of the upper of two classes (Otsu 1979)."""
    counts, edges = np.histogram(values, 256)
    below = np.maximum(np.cumsum(counts)[:-1], 1)
    above = np.maximum(values.size - below, 1)
    total = np.cumsum(counts * edges[:-1])
    apart = (total[-1] - total[:-1]) / above - total[:-1] / below
    return float(edges[1 + int(np.argmax(below * above * apart**2))])


def _without_rules(ink: Grey) -> Grey:
    """Return the ink without ruled lines and squares.

    A digit may be a long straight stroke itself. So a single line counts only along the
    long side of the picture, and vertical lines only where they form squares with the
    horizontal ones.
    """
    H, W = ink.shape
    mask = (ink > 0.2).view(np.uint8)
    rows = _rules(mask)
    if len(rows) < (1 if W >= 1.5 * H else 2):
        return ink
    columns = _rules(mask.T) if len(rows) > 1 else []
    if len(columns) < max(2, 0.5 * len(rows) * W / H):
        columns = []
    if len(rows) + len(columns) > MAX_RULES:
        return ink
    ink = ink.copy()
    for page, rules in ((ink, rows), (ink.T, columns)):
        for rule in rules:
            _erase(page, rule)
    return ink


def _rules(mask: NDArray[np.uint8]) -> list[Rule]:
    """Return the nearly horizontal ruled lines, which all have one slope.

    The picture is cut into vertical strips. A rule is thin and fills its row in nearly
    every strip (a coarse Radon transform).
    """
    H, W = mask.shape
    n = min(16, W // 6)  # strips
    if n < 8 or H < 24 or mask.any(axis=0).mean() < 0.8 * COVERED:
        return []  # with a rule, 0.62 of all columns have ink at least
    starts = np.linspace(0, W, n, endpoint=False).astype(int)
    widths = np.diff(starts, append=W)
    slack = max(3, 1 + int(STEEPEST * widths.max()))  # the drop of a rule in a strip
    tall = ndimage.maximum_filter1d(mask, slack, axis=0)
    filled = np.add.reduceat(tall, starts, axis=1, dtype=np.int32) > 0.85 * widths
    if filled.any(axis=0).mean() < COVERED:
        return []
    added = slack - 1  # to the thickness of a rule, by the filter
    thickest = added + max(3, 0.05 * min(H, W))
    reach = int(STEEPEST * W) + 1
    padded = np.pad(filled.T.astype(np.uint8), ((0, 0), (reach, 2 * reach)))
    found = []
    for drop in range(-reach, reach + 1, max(1, slack // 3)):
        shifts = np.round(drop / W * (starts + widths / 2)).astype(int) + reach
        count = sum(
            strip[shift : shift + H + reach]
            for strip, shift in zip(padded, shifts, strict=True)
        )
        edges = np.flatnonzero(np.diff(count >= COVERED * n, prepend=0, append=0))
        runs = [(a, b) for a, b in edges.reshape(-1, 2) if b - a <= thickest]
        score = sum(int(count[a:b].max()) for a, b in runs) - 0.01 * abs(drop)
        found.append((score, drop, runs))
    _, drop, runs = max(found, key=lambda one: one[0])
    return [((a + b - 1) / 2, drop / W, max(1, int(b - a) - added)) for a, b in runs]


def _erase(ink: Grey, rule: Rule) -> None:
    """Erase one nearly horizontal rule in place; strokes across it stay.

    Within the rule only what outlasts a grey opening by a vertical line, longer than
    the rule is thick, is ink.
    """
    row, slope, thickness = rule
    middle = row + slope * np.arange(ink.shape[1])
    length = thickness + BEYOND_RULE
    top, bottom = int(middle.min()) - 2 * length, int(middle.max()) + 2 * length
    rows = slice(max(top, 0), max(bottom, 0))
    y = np.arange(len(ink))[rows, np.newaxis]
    band = np.abs(y - middle) <= thickness / 2 + SOFT_EDGE
    opened = ndimage.grey_opening(ink[rows], (length, 1), mode="constant")
    ink[rows][band] = opened[band]
