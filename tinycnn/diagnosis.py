"""Why a gradient is wrong: one sentence, where the pattern of its errors is clear."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
_LINES = Path(__file__).with_suffix(".txt").read_text("utf-8").splitlines()[1:]
SENTENCES = dict(line.split(": ", 1) for line in _LINES)


def diagnose(
    found: Array, right: Array, tolerance: float = 1e-5, **arrays: Any
) -> str | None:
    """Return why a gradient, or another result, is wrong; None if no pattern fits.

    Parameters
    ----------
    found, right : float array of one shape
        By ``backward``, and by definition, with NaN where there is no derivative.
    **arrays
        If they are known: ``x`` and ``dy``, the layer's input and the upstream
        gradient, and ``terms`` (entries, *shape of y), which is ``dy`` times the slopes
        of y: ``right`` is the sum of each.
    """
    if not np.isfinite(found).all():
        return SENTENCES["infinite"]
    smooth = np.isfinite(right)
    found, right = np.where(smooth, found, 0.0), np.where(smooth, right, 0.0)
    if not (right.any() and found.any()):
        return SENTENCES["zero" if right.any() else "unused"]
    scale = tolerance * abs(right).max()
    # A pattern is what the gradient would be, and why; the first that fits is taken.
    known = (arrays.get(name) for name in ("x", "dy", "terms"))
    for pattern, why in _patterns(found, right, scale, *known):
        if np.allclose(found[smooth], pattern[smooth], tolerance, scale):
            return SENTENCES.get(why, why)
    return None


def _patterns(
    found: Array, right: Array, scale: float, x: Any, dy: Any, terms: Any
) -> Iterator[tuple[Array, str]]:
    shape, axes = found.shape, tuple(range(found.ndim - 1))
    yield right, "almost"
    # Factors, of all entries or by channel; one or two entries have one by chance
    factor = float((found * right).sum() / (right * right).sum())
    why = SENTENCES["factor"].format(factor=factor)
    if x is not None and dy is not None:
        places, pixels = dy.size // dy.shape[-1], x.size // x.shape[-1]
        sizes = {pixels // len(x): "pixels", places // len(x): "places of an image"}
        for size, what in (sizes | {places: "places", len(x): "images"}).items():
            if size > 2 and np.isclose([size, 1 / size], factor, 1e-3).any():
                why = SENTENCES["sum" if factor > 1 else "mean"]
                why = why.format(size=size, what=what, factor=factor)
    yield factor * right, "sign" if np.isclose(factor, -1) else why
    if right[..., :1].size > 2:
        squares = np.maximum((right * right).sum(axes), 1e-300)
        yield (found * right).sum(axes) / squares * right, "channels"
    # The right numbers in other places
    for steps in product((1, -1), repeat=found.ndim):
        yield right[tuple(slice(None, None, step) for step in steps)], "flipped"
    if np.unique(right).size > 3:
        moved = np.empty(shape)
        moved.flat[np.argsort(found, axis=None)] = np.sort(right, axis=None)
        yield moved, "moved"
    if terms is not None and x is not None and dy is not None:
        yield from _sums(found, right, x, dy, terms)
    # Gradients that are wrong at some entries only
    zero, should = abs(found) <= scale, abs(right) <= scale
    if found.ndim == 4 and min(found.shape[1:3]) > 2:
        for shift in product((0, 1, -1), repeat=2):
            inside, pattern = np.s_[:, 1:-1, 1:-1], found.copy()
            pattern[inside] = np.roll(right, shift, (1, 2))[inside]
            yield pattern, "shifted" if any(shift) else "border"
    yield np.where(zero == ~should, found, np.nan), "inverted"
    yield np.where(should & ~zero, found, right), "not masked"
    yield np.where(zero != should, found, right), "other mask"


def _sums(
    found: Array, right: Array, x: Any, dy: Any, terms: Any
) -> Iterator[tuple[Array, str]]:
    """Yield sums of some of the terms only, or of other terms."""
    shape, axes = found.shape, tuple(range(found.ndim - 1))
    by_place = terms.sum(axis=-1).reshape(len(terms), -1)
    used = by_place != 0  # the places of y that an entry moves
    last = used.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
    yield by_place[np.arange(len(terms)), last].reshape(shape), "last"
    if len(dy) == len(x) > 1:
        by_image = terms.reshape(len(terms), len(x), -1).sum(axis=2)
        yield by_image[:, 0].reshape(shape), "first image"
        yield right - by_image[:, -1].reshape(shape), "without image"
    slopes = (terms / dy).reshape(len(terms), -1)
    yield slopes.sum(axis=1).reshape(shape), "slope"
    if dy.shape == x.shape == shape:
        yield dy, "dy"
        yield np.maximum(dy, 0), "sign of dy"
        if x[..., :1].size > 5:  # of fewer, a normalisation has any gradient
            rest, apart = right - found, x - x.mean(axes)
            mean = rest.mean(axes)
            std = (rest * apart).sum(axes) / (apart * apart).sum(axes) * apart
            yield right - mean, "through mean"
            yield right - std, "through std"
            yield right - mean - std, "through both"
