"""The laws of the named networks: what goes in, what comes out, how many weights."""

import numpy as np
import pytest

from tinycnn import models
from tinycnn.gradcheck import check_gradients
from tinycnn.nn import (
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    ReLU,
    Sequential,
)
from tinycnn.nn.weights import TensorFileError, save_tensors, save_weights

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
    assert seeds <= {2}  # some networks have no dropout


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
    assert shapes[0][-2:] == [(2048, 11), (11,)]


def test_the_tiny_network_has_fewer_than_10_000_weights():
    assert sum(p.value.size for p in models.build("tiny").parameters()) < 10_000


# --- five views --------------------------------------------------------------------


def few_images(dtype=np.float32):
    return np.random.default_rng(1).random((3, 6, 6, 1)).astype(dtype)


def five_views():
    rng = np.random.default_rng(0)
    layers = [Conv2D(1, 2, 3, rng=rng), ReLU(), BatchNorm2D(2), Flatten()]
    return models.FiveViews([*layers, Dense(4 * 4 * 2, 10, rng=rng)])


def test_five_views_answer_with_the_mean_of_five_places():
    model, x = five_views(), few_images()
    once = Sequential(model.layers)
    answers = []
    for down, right in [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]:
        moved = np.zeros_like(x)
        for h in range(6):
            for w in range(6):
                if 0 <= h - down < 6 and 0 <= w - right < 6:
                    moved[:, h, w] = x[:, h - down, w - right]
        answers.append(once.forward(moved))
    assert model.forward(x) == pytest.approx(np.mean(answers, axis=0), abs=1e-6)
    assert np.abs(answers[0] - model.forward(x)).max() > 0.01


def test_training_looks_once():
    model, x = five_views(), few_images()
    once = Sequential(model.layers)
    assert np.array_equal(model.forward(x, training=True), once.forward(x, True))
    dy = np.cos(np.arange(30, dtype=np.float32)).reshape(3, 10)
    assert np.array_equal(model.backward(dy), once.backward(dy))


def test_the_gradient_goes_through_all_five_views():
    model = five_views()
    model.cast(np.float64)
    for array in model.state().values():
        array += 0.1  # where no unit of ReLU is at its corner
    checks = check_gradients(model, few_images(np.float64))
    assert checks
    assert all(check.ok for check in checks)


def test_the_parameters_alone_get_the_same_gradients_from_five_views():
    model, twin = five_views(), five_views()
    for one in (model, twin):
        one.fuse = False
    dy = np.cos(np.arange(30, dtype=np.float32)).reshape(3, 10)
    model.forward(few_images())
    model.backward(dy)
    twin.forward(few_images())
    twin.backward_parameters(dy)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(ours.grad, theirs.grad)


def test_the_networks_that_look_five_times_do():
    kinds = {name: type(models.build(name)) for name in models.NETWORKS}
    for name in models.LOOKS_FIVE_TIMES:
        assert kinds.pop(name) is models.FiveViews
    assert set(kinds.values()) == {Sequential}


def test_they_look_once_for_somebody_in_a_hurry(tmp_path):
    saved = models.build("default", seed=3)
    path = tmp_path / "weights.safetensors"
    save_weights(path, saved, {"architecture": "default"})
    once, _ = models.load(path, once=True)
    x = np.random.default_rng(0).random((2, *models.INPUT_SHAPE), np.float32)
    np.testing.assert_array_equal(once.predict(x), Sequential.forward(saved, x))
    assert np.abs(once.predict(x) - saved.predict(x)).max() > 1e-3


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
    ("path", "architecture"), [(models.SHIPPED, "best"), (models.JUDGE, "judge")]
)
def test_the_networks_that_ship_can_be_loaded(path, architecture):
    assert models.load(path)[1]["architecture"] == architecture
