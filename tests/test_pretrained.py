"""The shipped weights are those of their card, and compute what the card says."""

import hashlib
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from tinycnn import data, models, pretrained
from tinycnn.data import mnist
from tinycnn.fast import fuse
from tinycnn.nn.weights import read_facts
from tinycnn.training.metrics import measure

FILE = models.SHIPPED
CARD = FILE.with_suffix(".md").read_text("utf-8").replace(" %", "%")
# Of the bytes of all arrays, in the order of their names.
ARRAYS = "7303a7b843eb01d6baf5f059ec889c6a7755b942fef95d95fc755085f30900ea"


def test_the_file_is_the_one_on_the_card():
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() in CARD
    assert FILE.stat().st_size < 2_500_000


def test_the_arrays_are_those_that_were_trained():
    """Whatever happens to the format, these weights stay until others are trained."""
    arrays = load_file(FILE)
    digest = hashlib.sha256(b"".join(arrays[key].tobytes() for key in sorted(arrays)))
    assert digest.hexdigest() == ARRAYS


def test_the_facts_are_those_of_the_network_and_of_the_card():
    facts, network = read_facts(FILE), models.build("reader")
    assert facts["network"] == facts["preset"] == "reader"
    assert facts["layers"] == [repr(layer) for layer in network.layers]
    assert (facts["classes"], facts["views"], facts["data"]) == (12, 1, "mnist")
    weights = sum(parameter.value.size for parameter in network.parameters())
    row = f"{facts['test_accuracy']:.2%} | {facts['test_errors']} |"
    for text in [
        f"{weights:,} weights",
        f"`{facts['data_checksum']}`",
        f"seed {facts['seed']}",
        f"temperature, {facts['temperature']}",
        f"best of {facts['epochs']} epochs (the {facts['best_epoch']}th)",
        f"{facts['train_images']:,} training images",
        f"{facts['written']:,} more",
        f"composed, 46,993 images | {facts['val_accuracy']:.2%}",
        f"test, {facts['test_images']:,} images, read once | {row}",
    ]:
        assert text in CARD, text


def test_the_sample_is_read_as_the_card_says():
    """A regression check and no accuracy: the network has learned from these images."""
    found = re.search(r"sample.*\| (\d+) \| ([\d.]+) \| ([\d.]+) \|", CARD)
    assert found is not None
    model, facts = models.load(FILE)
    digits = data.load_mnist(mnist.SAMPLE_FOLDER)
    logits = models.predict(fuse(model), digits.test_images, facts["views"])
    metrics = measure(logits[:, :10], digits.test_labels, facts["temperature"])
    # Another processor rounds otherwise, which may tip one image that is on the edge.
    assert metrics.errors == pytest.approx(int(found[1]), abs=1)
    assert metrics.nll == pytest.approx(float(found[2]), abs=1e-3)
    assert metrics.ece == pytest.approx(float(found[3]), abs=1e-3)


def test_the_prior_makes_no_digit_and_several_less_likely_by_its_factor():
    logits = np.random.default_rng(0).normal(size=(4, 12)).astype(np.float32)
    weights = np.exp(pretrained.SHARPNESS * logits / 0.7)
    weights[:, 10:] *= np.exp(-pretrained.PRIOR)
    expected = weights / weights.sum(axis=1, keepdims=True)
    found = pretrained.class_shares(logits, 0.7)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
