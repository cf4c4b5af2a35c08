"""The laws of `tinycnn.training.recipes`: every preset can be trained as it stands.

What the numbers are is nobody's business here; that they are usable is.
"""

from dataclasses import replace

import numpy as np
import pytest

from tinycnn import models, train
from tinycnn.training.fit import EpochResult, Trainer
from tinycnn.training.recipes import PRESETS


def test_the_command_offers_exactly_the_presets():
    # The command has its own list, so that --help imports nothing heavy.
    assert set(train.PRESETS) == set(PRESETS)


def test_there_is_a_default():
    assert "default" in PRESETS


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_network_of_a_preset_exists_and_reads_digits(preset):
    model = models.build(PRESETS[preset].architecture)
    logits = model.predict(np.zeros((2, *models.INPUT_SHAPE), np.float32))
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_is_trained_for_its_epochs(preset):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 28, 28)).astype(np.uint8)
    labels = rng.integers(0, 10, 6).astype(np.uint8)
    recipe = replace(PRESETS[preset], epochs=2, batch_size=4)
    items = list(Trainer(recipe, 0, images, labels, images, labels).run())
    assert [type(item) for item in items] == [int, int, EpochResult] * 2


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_numbers_of_a_preset_are_usable(preset):
    recipe = PRESETS[preset]
    assert min(recipe.epochs, recipe.epochs_of_few, recipe.batch_size) >= 1
    assert 0 < recipe.learning_rate < 1
    assert recipe.schedule in {"constant", "cosine", "one_cycle"}
    assert recipe.weight_decay >= 0
    assert 0 <= recipe.label_smoothing < 1
    assert 0 <= recipe.average_decay < 1
    assert 0 <= recipe.written <= 1


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_few_images_are_seen_as_often_as_the_preset_says(preset):
    recipe = PRESETS[preset]
    assert recipe.epochs_for(55_000) == recipe.epochs_for(20_000) == recipe.epochs
    assert recipe.epochs_for(19_999) == recipe.epochs_for(12) == recipe.epochs_of_few


def test_an_unknown_network_is_refused_by_name():
    with pytest.raises(ValueError, match="no network named 'lenet'; there are quick"):
        models.build("lenet")
