"""A sheet of paper on a darker desk: what lies around it becomes paper; its tilt."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tinycnn.ink.binarize import otsu
from tinycnn.ink.normalize import stroke_width

Grey = NDArray[np.float32]

SMALL_SIDE = 200  # pixels of the reduced picture on which the sheet is looked for
PEN = 0.03  # of that side; broader dark ink is no writing, and a hole in the sheet
STEP = 0.1  # of white; between desk and sheet at least
LEAST, MOST = 0.15, 0.97  # share of the picture that a sheet fills
BORDER = 0.5  # share of the picture's border that is desk
SOLID = 0.93  # share of its convex hull that a sheet fills
EDGE = 0.02  # of the small side; a rim of the sheet, where its edge and shadow show
THICKEST = 0.05  # of the sheet's longer side: broader dark shapes are no writing
LEVEL = 2  # degrees; the angle of a sheet is known to about one
ANGULAR = 0.87  # share of the least rectangle that a sheet fills; a disc fills 0.79


def only_sheet(grey: Grey) -> tuple[Grey, float]:
    """Return a picture with paper in place of the desk around a sheet, and its tilt.

    A sheet is convex, solid, lighter than what is around it, and has thin dark strokes
    on it. A white digit on black is none of these, or has no strokes on it.

    Parameters
    ----------
    grey : float32 array (H, W)
        In [0, 1], 1 = white.

    Returns
    -------
    float32 array (H, W)
        The same array where no sheet was found.
    float
        Degrees by which the sheet is turned clockwise, -45 to 45; 0 if hardly, and
        where none was found.
    """
    H, W = grey.shape
    factor = -(-max(H, W) // SMALL_SIDE)
    if max(H, W) < SMALL_SIDE or min(H, W) < factor:
        return grey, 0.0
    small = np.asarray(Image.fromarray(grey).reduce(factor))
    border = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    if np.quantile(small, 1 - LEAST) - np.median(border) < STEP / 2:
        return grey, 0.0  # as light at the border: cheaper than all that follows
    pen = 2 * round(PEN * SMALL_SIDE / 2) + 1
    paper = ndimage.grey_closing(small, (pen, pen), mode="nearest")
    found = _sheet(paper / _desk(paper))
    if found is None:
        return grey, 0.0
    sheet, hull = found
    inner = ndimage.binary_erosion(sheet, iterations=max(round(EDGE * SMALL_SIDE), 1))
    ink = np.clip((paper - small) / STEP, 0, 1) * inner
    longer = np.ptp(hull.points, axis=0).max()
    if not 0 < stroke_width(ink) < THICKEST * longer:
        return grey, 0.0
    nearest: Any = ndimage.distance_transform_edt(
        ~inner, return_distances=False, return_indices=True
    )
    around = ndimage.gaussian_filter(paper[tuple(nearest)], 2)
    light, inside = (
        np.asarray(Image.fromarray(a).resize((W, H), Image.Resampling.BILINEAR))
        for a in (around, inner.astype(np.float32))
    )
    return np.where(inside > 0.5, grey, light), _tilt(hull)


def _desk(paper: Grey) -> Grey:
    """Return the light on the desk: a quadratic surface through the picture's border.

    Fitted twice, the second time without what differs, such as a sheet at the border.
    """
    y, x = np.mgrid[-1 : 1 : paper.shape[0] * 1j, -1 : 1 : paper.shape[1] * 1j]
    surface = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    border = np.zeros(paper.shape, bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    for _ in range(2):
        levels = paper[border]
        factors = np.linalg.lstsq(surface[border], levels, rcond=None)[0]
        light = surface @ factors
        away = np.abs(paper - light)
        border &= away <= max(float(np.median(away[border])), STEP / 2)
    return np.maximum(light, STEP).astype(np.float32)


def _sheet(paper: Grey) -> tuple[NDArray[np.bool_], Any] | None:
    """Return what is lighter in a picture without its ink, and its hull, or None.

    It is a mask (H, W), the hull a `scipy.spatial.ConvexHull` of points x, y.
    """
    if np.ptp(paper) < STEP:
        return None
    split = otsu(paper)
    low, high = paper[paper < split].mean(), paper[paper >= split].mean()
    if high - low < STEP:
        return None
    labels, _ = ndimage.label(paper > (low + high) / 2)
    areas = np.bincount(labels.ravel())[1:]
    own = labels == 1 + areas.argmax()
    sheet = ndimage.binary_fill_holes(own)
    border = np.concatenate([sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]])
    if not LEAST < sheet.mean() < MOST or border.mean() > 1 - BORDER:
        return None
    from scipy.spatial import ConvexHull

    y, x = np.nonzero(sheet)
    corners = np.concatenate([np.c_[x + a, y + b] for a in (0, 1) for b in (0, 1)])
    hull = ConvexHull(corners)
    return (sheet, hull) if own.sum() > SOLID * hull.volume else None


def _tilt(hull: Any) -> float:
    """Return the angle in degrees of the least rectangle around a convex hull.

    One of its sides lies on a side of the hull. It is 0 for a round sheet.
    """
    outline = hull.points[hull.vertices]
    x, y = np.diff(outline, axis=0, append=outline[:1]).T
    angles = np.arctan2(y, x)
    along, down = np.cos(angles), np.sin(angles)
    turned = outline @ [along, down], outline @ [-down, along]
    areas = np.ptp(turned[0], axis=0) * np.ptp(turned[1], axis=0)
    degrees = (np.degrees(angles[areas.argmin()]) + 45) % 90 - 45
    is_turned = abs(degrees) > LEVEL and hull.volume > ANGULAR * areas.min()
    return float(degrees) if is_turned else 0.0
