"""The laws of the named networks, of predicting with them and of loading them."""

import numpy as np
import pytest
from weights_file import save_arrays

from tinycnn import models, nn
from tinycnn.fast import fuse
from tinycnn.models import as_input, predict
from tinycnn.nn.weights import WeightsError, save_weights

every_network = pytest.mark.parametrize("name", models.NETWORKS)


# --- the networks ------------------------------------------------------------------


@every_network
def test_a_network_turns_images_into_a_logit_a_class(name):
    model = models.build(name)
    assert isinstance(model, nn.Sequential)
    x = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
    for training in (True, False):
        logits = model.forward(x, training)
        assert logits.shape == (2, 12 if name == "reader" else 10)
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
        assert array.dtype == np.float32
        np.testing.assert_array_equal(again.state()[key], array)
        assert array.ndim < 2 or not np.array_equal(array, other.state()[key]), key
    dropouts = [
        [layer for layer in model.layers if isinstance(layer, nn.Dropout)]
        for model in (first, again, other)
    ]
    for one, same, another in zip(*dropouts, strict=True):
        mask = one.next_mask((1000,))[0].tolist()
        assert mask == same.next_mask((1000,))[0].tolist()
        assert mask != another.next_mask((1000,))[0].tolist()


def test_the_classic_network_is_the_one_of_the_tutorials():
    model = models.build("classic")
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == [
        *("Conv2D", "ReLU", "Conv2D", "ReLU", "MaxPool2D", "Dropout"),
        *("Flatten", "Dense", "ReLU", "Dropout", "Dense"),
    ]
    shapes = [p.value.shape for p in model.parameters() if p.value.ndim > 1]
    assert shapes == [(3, 3, 1, 32), (3, 3, 32, 64), (9216, 256), (256, 10)]
    rates = [layer.rate for layer in model.layers if isinstance(layer, nn.Dropout)]
    assert rates == [0.25, 0.5]
    # 320 + 18,496 + 2,359,552 + 2,570
    assert sum(p.value.size for p in model.parameters()) == 2_380_938


@pytest.mark.parametrize("preset", ["default", "best", "quick", "tiny", "classic"])
def test_an_edited_preset_leaves_the_reader_as_it_is(preset, monkeypatch):
    """Nothing that the presets share is called when the shipped file is loaded."""

    def edited(*_):
        raise AssertionError("an edited list")

    for name in (preset, "_three_convolutions"):
        monkeypatch.setattr(models, name, edited)
        monkeypatch.setitem(models.NETWORKS, preset, edited)
    assert models.load(models.SHIPPED)[1]["network"] == "reader"


def test_the_tiny_network_has_fewer_than_5_000_weights():
    assert sum(p.value.size for p in models.build("tiny").parameters()) < 5_000


# --- predicting --------------------------------------------------------------------


def small_network():
    """Return a network of images 6×7."""
    rng = np.random.default_rng(0)
    layers = [nn.Conv2D(1, 2, 3, rng=rng), nn.ReLU(), nn.BatchNorm2D(2), nn.Flatten()]
    return nn.Sequential([*layers, nn.Dense(4 * 5 * 2, 10, rng=rng)])


def few_images(count=3):
    return np.random.default_rng(1).integers(0, 256, (count, 6, 7)).astype(np.uint8)


def test_ink_is_grey_over_255_and_floats_stay_as_they_are():
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    ink = as_input(grey)
    assert ink.shape == (1, 16, 16, 1)
    assert ink.ravel().tolist() == [np.float32(value / 255) for value in range(256)]
    for dtype in (np.float32, np.float64):
        again = as_input((grey / 255).astype(dtype))
        assert ink.dtype == again.dtype == np.float32
        assert np.array_equal(again, ink)


def test_the_logits_of_one_view_are_those_of_the_network():
    model, images = small_network(), few_images()
    logits = predict(model, images)
    assert logits.dtype == np.float32
    assert np.array_equal(logits, model.forward(as_input(images)))
    assert np.array_equal(logits, predict(model, images / np.float32(255)))


def test_five_views_are_the_mean_over_the_image_and_its_four_neighbours():
    model, images = small_network(), few_images()
    around = np.pad(as_input(images), ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = ((0, 0), (1, 1), (-1, 1), (1, 2), (-1, 2))  # a step along an axis
    moved = [np.roll(around, step, axis)[:, 1:-1, 1:-1] for step, axis in shifts]
    expected = np.mean([model.forward(x) for x in moved], axis=0)
    assert predict(model, images, views=5) == pytest.approx(expected, abs=1e-6)
    assert np.abs(expected - predict(model, images)).max() > 0.01


@pytest.mark.parametrize("views", [1, 5])
def test_images_come_in_batches_and_none_is_lost(views):
    """The network is scripted: its logit is the grey value in the middle."""
    images = np.zeros((601, 3, 3), np.uint8)
    images[:, 1, 1] = np.arange(601) % 251
    sizes = []

    class Middle:
        def forward(self, x, training=False):
            assert not training
            sizes.append(len(x))
            return x[:, 1, 1]

    logits = predict(Middle(), images, views)
    assert sizes == [250] * 2 * views + [101] * views
    expected = as_input(images)[:, 1, 1] / np.float32(views)
    np.testing.assert_allclose(logits, expected, rtol=1e-6)


def test_a_fused_runner_predicts_the_same_within_rounding():
    model = models.build("default")
    images = np.random.default_rng(0).random((9, 28, 28), np.float32)
    plain = predict(model, images, views=5)
    assert predict(fuse(model), images, views=5) == pytest.approx(plain, abs=1e-5)


def test_one_logit_in_any_batch_that_is_not_finite_is_an_error():
    for value in (np.nan, np.inf, 1e38):
        model = small_network()
        for array in model.state().values():
            array[...] = value
        with pytest.raises(ArithmeticError, match="not finite"):
            predict(model, few_images())
    images = few_images(600).astype(np.float32) / 255
    images[3, 2, 2] = np.inf  # not in the last batch
    with pytest.raises(ArithmeticError, match="not finite"):
        predict(small_network(), images)


# --- loading -----------------------------------------------------------------------


@every_network
def test_what_was_saved_is_loaded_with_its_facts(name, tmp_path):
    saved = models.build(name, seed=3)
    path = tmp_path / "weights.safetensors"
    save_weights(path, saved, {"network": name, "temperature": 0.5})
    for place in (path, str(path)):
        loaded, facts = models.load(place)
        assert facts | {"network": name, "temperature": 0.5} == facts
        for key, array in saved.state().items():
            np.testing.assert_array_equal(loaded.state()[key], array)


def test_a_file_of_a_run_under_way_has_the_temperature_1(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, models.build("tiny"), {"network": "tiny"})
    assert models.load(path)[1]["temperature"] == 1


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'clasic'; there are .*classic"):
        models.build("clasic")


def test_a_file_that_lies_is_refused_with_its_name(tmp_path):
    path, tiny = tmp_path / "liar.safetensors", models.build("tiny")
    unknown = r"is not one of tinycnn's; .* --network FILE.py:NAME"
    for facts, reason in [
        ({}, unknown),
        *[({"network": name}, unknown) for name in ("lenet", 3, ["tiny"], None)],
        ({"network": "best"}, "in the network"),
        *[
            ({"network": "tiny", fact: value}, f"facts are impossible.*{fact}")
            for fact, values in {
                "temperature": (0.0, 1e-320, 1e39, -1.0, "0.5", None, True, [1.0]),
                "views": (0, 3, 5.0, "1", None),
                "image_size": (28, "28", None),
                "first_label": (7, "1"),
            }.items()
            for value in values
        ],
    ]:
        save_arrays(path, tiny.state(), facts)
        with pytest.raises(WeightsError, match=f"liar.safetensors.*{reason}"):
            models.load(path)


def test_a_file_that_is_gone_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        models.load(tmp_path / "gone.safetensors")
