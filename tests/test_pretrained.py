"""The weights that come along are those of their card, and compute what it says."""

import hashlib
import re

import pytest

from tinycnn import data, models
from tinycnn.data import mnist
from tinycnn.models import SHIPPED
from tinycnn.nn.weights import load_weights
from tinycnn.training.fit import evaluate

CARD = SHIPPED.with_suffix(".md").read_text("utf-8")


def test_the_file_is_the_one_on_the_card() -> None:
    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() in CARD
    assert SHIPPED.stat().st_size < 2_000_000


def test_the_figures_inside_are_those_on_the_card() -> None:
    metadata = load_weights(SHIPPED, models.build("best"))
    assert metadata["architecture"] == "best"
    assert f"`{metadata['data_checksum']}`" in CARD
    assert (
        f"test, 10,000 images, read once | {float(metadata['test_accuracy']):.2%}"
        in (CARD.replace(" %", "%"))
    )


def test_the_sample_is_read_as_the_card_says() -> None:
    """A regression check and no accuracy: the network has learned from these images."""
    found = re.search(r"bundled sample.*\| (\d+) \| ([\d.]+) \| ([\d.]+) \|", CARD)
    assert found is not None
    model, metadata = models.load(SHIPPED)
    digits = data.load_mnist(mnist.SAMPLE_FOLDER)
    temperature = float(metadata["temperature"])
    metrics = evaluate(model, digits.test_images, digits.test_labels, temperature)
    # Another processor rounds otherwise, which may tip one image that is on the edge.
    assert metrics.errors == pytest.approx(int(found[1]), abs=1)
    assert metrics.nll == pytest.approx(float(found[2]), abs=1e-3)
    assert metrics.ece == pytest.approx(float(found[3]), abs=1e-3)


def test_the_judge_is_the_one_on_its_card() -> None:
    card = models.JUDGE.with_suffix(".md").read_text("utf-8")
    assert hashlib.sha256(models.JUDGE.read_bytes()).hexdigest() in card
    judge, metadata = models.load(models.JUDGE)
    for name in ("threshold", "temperature", "data_checksum"):
        assert metadata[name] in card
    weights = sum(parameter.value.size for parameter in judge.parameters())
    assert f"{weights:,} weights" in card
