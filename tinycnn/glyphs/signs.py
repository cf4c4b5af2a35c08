"""Letters and signs drawn by code: training images that are no digits.

signs.txt has letters and mathematical signs, each in several variants, in the notation
of `tinycnn.glyphs.writer`. Left out is what could be read as a digit: l, I, O, o, Q, D,
S, s, Z, z, b, q and g, round brackets and bars.
"""

import numpy as np
from numpy.typing import NDArray

from tinycnn.glyphs.writer import drawn, follow, ways
from tinycnn.ink.normalize import SIDE

WORDS = ["cos", "exp", "lim", "ln", "log", "max", "min", "sin", "tan"]
TALL, DEEP = "ilt", "gp"  # letters with ascenders, and with descenders
WAYS = ways("signs.txt")
LETTERS = WAYS | ways("words.txt")
SIGNS = [*WAYS, *WORDS]


def write(sign: str, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return the strokes of a letter, a sign or a word in random handwriting.

    Parameters
    ----------
    sign : str
        One of `SIGNS`.
    rng : numpy Generator
        Draws the variant and the handwriting.

    Returns
    -------
    list of float64 arrays (P, 2)
        The strokes in the order written: x right and y down.
    """
    if sign in WAYS:
        return follow(WAYS[sign][rng.integers(len(WAYS[sign]))], rng)
    strokes, x = [], 0.0
    for letter in sign:
        variants = LETTERS[letter]
        points = follow(variants[rng.integers(len(variants))], rng)
        everything = np.concatenate(points)
        low, high = everything.min(axis=0), everything.max(axis=0)
        # A letter without ascender or descender is 1 high and stands on y = 0.
        height = rng.uniform(0.8, 1.2) * (1.7 if letter in TALL + DEEP else 1)
        foot = 0.7 if letter in DEEP else 0
        scale = height / (high - low)[1]
        strokes += [(p - (low[0], high[1])) * scale + (x, foot) for p in points]
        x += (high - low)[0] * scale + rng.uniform(-0.1, 0.4)
    return strokes


def signs(seed: int, stream: int, count: int) -> NDArray[np.uint8]:
    """Return images of letters, signs and words, normalized like MNIST's digits.

    Parameters
    ----------
    seed, stream, count : int
        The images are a function of these alone.

    Returns
    -------
    uint8 array (count, 28, 28)
        255 = ink. Each sign equally often, as far as `count` allows, in random order.
    """
    # The third number separates this stream from other uses of the seed.
    rng = np.random.default_rng([seed, stream, 4])
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for i, which in enumerate(rng.permutation(np.arange(count) % len(SIGNS)).tolist()):
        images[i] = drawn(write(SIGNS[which], rng), rng)
    return images
