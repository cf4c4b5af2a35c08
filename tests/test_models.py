"""The laws of the named networks: what goes in, what comes out, how many weights."""

import numpy as np
import pytest

from tinycnn import models
from tinycnn.nn import Dropout, Sequential

every_network = pytest.mark.parametrize("name", models.NETWORKS)


@every_network
def test_a_network_turns_images_into_ten_logits(name):
    model = models.build(name)
    assert isinstance(model, Sequential)
    x = np.random.default_rng(0).random((2, *models.INPUT_SHAPE), np.float32)
    for training in (True, False):
        logits = model.forward(x, training)
        assert logits.shape == (2, 10)
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()
    model.backward(np.ones_like(logits))
    for parameter in model.parameters():
        assert parameter.grad.shape == parameter.value.shape
        assert np.isfinite(parameter.grad).all()


@every_network
def test_a_seed_is_a_network_and_another_seed_another(name):
    first, again, other = (models.build(name, seed) for seed in (1, 1, 2))
    for key, array in first.state().items():
        np.testing.assert_array_equal(again.state()[key], array)
    weights = [key for key, a in first.state().items() if a.ndim > 1]
    assert weights
    for key in weights:
        assert not np.array_equal(first.state()[key], other.state()[key])
    seeds = {layer.seed for layer in other.layers if isinstance(layer, Dropout)}
    assert seeds == {2}


@every_network
def test_every_array_is_float32_and_no_two_parameters_are_one(name):
    model = models.build(name)
    assert {array.dtype for array in model.state().values()} == {np.dtype(np.float32)}
    parameters = model.parameters()
    assert len({id(p.value) for p in parameters}) == len(parameters)


def test_the_classic_network_is_the_one_of_the_tutorials():
    model = models.build("classic")
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == [
        *("Conv2D", "ReLU", "Conv2D", "ReLU", "MaxPool2D", "Dropout"),
        *("Flatten", "Dense", "ReLU", "Dropout", "Dense"),
    ]
    shapes = [p.value.shape for p in model.parameters() if p.value.ndim > 1]
    assert shapes == [(3, 3, 1, 32), (3, 3, 32, 64), (9216, 256), (256, 10)]
    assert [layer.rate for layer in model.layers if isinstance(layer, Dropout)] == [
        0.25,
        0.5,
    ]
    # 320 + 18,496 + 2,359,552 + 2,570
    assert sum(p.value.size for p in model.parameters()) == 2_380_938


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'clasic'; there are .*classic"):
        models.build("clasic")
