"""The shipped weights are those of their cards, and compute what the cards say."""

import hashlib
import re

import pytest

from tinycnn import data, models
from tinycnn.data import mnist
from tinycnn.fast import fuse
from tinycnn.nn.weights import read_arrays, read_facts
from tinycnn.training.metrics import measure

FILES = {"digits": models.SHIPPED, "judge": models.JUDGE}
# Of the bytes of all arrays, in the order of their names.
ARRAYS = {
    "digits": "2fd348f3472e7f7aedca4d504db20e33a1fe0ab4eb38ed87cf771fea62f98f47",
    "judge": "15b6d2b6c0d63fe339b5b42d324630d64a8c2bcfafb4bf7f2230fe2a406e2413",
}
CARDS = {
    name: path.with_suffix(".md").read_text("utf-8") for name, path in FILES.items()
}
every_file = pytest.mark.parametrize("name", FILES)


@every_file
def test_the_file_is_the_one_on_the_card(name):
    assert hashlib.sha256(FILES[name].read_bytes()).hexdigest() in CARDS[name]
    assert FILES[name].stat().st_size < 500_000


@every_file
def test_the_arrays_are_those_that_were_trained(name):
    """Whatever happens to the format, these weights stay until others are trained."""
    arrays, _ = read_arrays(FILES[name])
    digest = hashlib.sha256(b"".join(arrays[key].tobytes() for key in sorted(arrays)))
    assert digest.hexdigest() == ARRAYS[name]


@every_file
def test_the_facts_are_those_of_the_network_and_of_the_card(name):
    facts, network = read_facts(FILES[name]), models.build(name)
    assert facts["network"] == name
    assert facts["layers"] == [repr(layer) for layer in network.layers]
    assert facts["classes"] == network.layers[-1].bias.value.size
    assert facts["data"] == "mnist"
    card = CARDS[name].replace(" %", "%")
    weights = sum(parameter.value.size for parameter in network.parameters())
    for text in [
        f"{weights:,} weights",
        f"`{facts['data_checksum']}`",
        f"seed {facts['seed']}",
        f"{facts['temperature']}",
    ]:
        assert text in card, text
    if name == "judge":
        assert facts["views"] == 1
        assert f"Threshold\n{facts['threshold']}, temp" in card
        assert f"{facts['digits_kept']:.1%} of the digits" in card
        assert f"{facts['junk_found']:.1%} of the rest" in card
        return
    assert (facts["preset"], facts["views"]) == ("best", 5)
    assert f"best of {facts['epochs']} epochs (the {facts['best_epoch']}nd)" in card
    assert f"{facts['train_images']:,} training images" in card
    assert f"{facts['written']:,} digits written by" in card
    assert f"validation, 5,000 images | {facts['val_accuracy']:.2%}" in card
    row = f"{facts['test_accuracy']:.2%} | {facts['test_errors']} |"
    assert f"test, {facts['test_images']:,} images, read once | {row}" in card


def test_the_sample_is_read_as_the_card_says():
    """A regression check and no accuracy: the network has learned from these images."""
    found = re.search(r"sample.*\| (\d+) \| ([\d.]+) \| ([\d.]+) \|", CARDS["digits"])
    assert found is not None
    model, facts = models.load(models.SHIPPED)
    digits = data.load_mnist(mnist.SAMPLE_FOLDER)
    images, labels = digits.test_images, digits.test_labels
    logits = models.predict(fuse(model), images, facts["views"])
    metrics = measure(logits, labels, facts["temperature"])
    # Another processor rounds otherwise, which may tip one image that is on the edge.
    assert metrics.errors == pytest.approx(int(found[1]), abs=1)
    assert metrics.nll == pytest.approx(float(found[2]), abs=1e-3)
    assert metrics.ece == pytest.approx(float(found[3]), abs=1e-3)
