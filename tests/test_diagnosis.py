"""The laws of the diagnosis: a clear pattern has its sentence, another has none."""

import numpy as np
import pytest

from tinycnn.diagnosis import SENTENCES, diagnose

RNG = np.random.default_rng(0)
X, DY = RNG.normal(size=(2, 5, 4, 6, 3))
MASK = RNG.random(X.shape) < 0.5
APART = X - X.mean((0, 1, 2))


def bordered(border, inside):
    """Return an array with something else at its border."""
    found = border.copy()
    found[:, 1:-1, 1:-1] = inside[:, 1:-1, 1:-1]
    return found


@pytest.mark.parametrize(
    ("why", "found", "right"),
    [
        ("infinite", DY * np.nan, DY),
        ("unused", DY, 0 * DY),
        ("zero", 0 * DY, DY),
        ("sign", -DY, DY),
        ("mean", DY / 5, DY),
        ("sum", DY * 24, DY),
        ("factor", DY * 1.7, DY),
        ("channels", DY * [1, 2, 3], DY),
        ("flipped", DY[:, ::-1], DY),
        ("moved", DY.swapaxes(1, 2).reshape(DY.shape), DY),
        ("border", bordered(X, DY), DY),
        ("shifted", bordered(X, np.roll(DY, 1, 1)), DY),
        ("inverted", DY * ~MASK, DY * MASK),
        ("not masked", np.where(MASK, DY, X), DY * MASK),
        ("other mask", np.where(X > 0, DY, 0), DY * MASK),
        (None, DY + 0.1 * X**2, DY),
        (None, np.where(MASK, DY, X), DY),
    ],
)
def test_a_clear_pattern_has_its_sentence(why, found, right):
    said = diagnose(found, right, x=X, dy=DY)
    start = SENTENCES.get(why, "").partition("{")[0]
    assert said is None if why is None else said.startswith(start)


@pytest.mark.parametrize("why", ["dy", "sign of dy", "through mean", "through both"])
def test_patterns_of_the_input_are_seen(why):
    right = {"dy": DY * MASK, "sign of dy": DY * MASK}.get(why, DY)
    found = {"dy": DY, "sign of dy": np.maximum(DY, 0)}.get(why, DY + 1)
    found = found + APART * (why == "through both")
    terms = np.zeros((X.size, X.size))
    np.fill_diagonal(terms, right)
    terms = terms.reshape(X.size, *X.shape)
    assert diagnose(found, right, x=X, dy=DY, terms=terms) == SENTENCES[why]
