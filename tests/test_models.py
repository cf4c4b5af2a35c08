"""The laws of the named networks: what goes in, what comes out, how many weights."""

import numpy as np
import pytest

from tinycnn import models
from tinycnn.nn import Dropout, Sequential
from tinycnn.nn.saving import TensorFileError, save_tensors, save_weights

every_network = pytest.mark.parametrize("name", models.NETWORKS)
CLASSES = {name: 11 if name == "judge" else 10 for name in models.NETWORKS}


@every_network
def test_a_network_turns_images_into_a_logit_a_class(name):
    model = models.build(name)
    assert isinstance(model, Sequential)
    x = np.random.default_rng(0).random((2, *models.INPUT_SHAPE), np.float32)
    for training in (True, False):
        logits = model.forward(x, training)
        assert logits.shape == (2, CLASSES[name])
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


def test_the_judge_is_the_default_network_with_one_class_more():
    judge, default = (models.build(name) for name in ("judge", "default"))
    kinds = [[type(layer) for layer in model.layers] for model in (judge, default)]
    assert kinds[0] == kinds[1]
    shapes = [[p.value.shape for p in model.parameters()] for model in (judge, default)]
    assert shapes[0][:-2] == shapes[1][:-2]
    assert shapes[0][-2:] == [(1600, 11), (11,)]


# --- loading -----------------------------------------------------------------------


@every_network
def test_what_was_saved_is_loaded_with_its_metadata(name, tmp_path):
    saved = models.build(name, seed=3)
    path = tmp_path / "weights.safetensors"
    save_weights(path, saved, {"architecture": name, "temperature": "0.5"})
    loaded, metadata = models.load(path)
    assert metadata["architecture"] == name
    assert metadata["temperature"] == "0.5"
    for key, array in saved.state().items():
        np.testing.assert_array_equal(loaded.state()[key], array)


def test_a_path_may_be_text(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, models.build("default"), {"architecture": "default"})
    assert models.load(str(path))[1] == models.load(path)[1]


@pytest.mark.parametrize("metadata", [{}, {"architecture": "lenet"}])
def test_a_file_of_no_known_network_is_named(metadata, tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_tensors(path, models.build("default").state(), metadata)
    with pytest.raises(TensorFileError, match=r"foreign.*no network named.*train"):
        models.load(path)


def test_a_judge_that_says_it_is_a_default_is_refused(tmp_path):
    path = tmp_path / "liar.safetensors"
    save_weights(path, models.build("judge"), {"architecture": "default"})
    with pytest.raises(TensorFileError, match=r"liar\.safetensors"):
        models.load(path)


def test_a_file_that_is_gone_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        models.load(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("path", "architecture"), [(models.SHIPPED, "default"), (models.JUDGE, "judge")]
)
def test_the_networks_that_ship_can_be_loaded(path, architecture):
    assert models.load(path)[1]["architecture"] == architecture
