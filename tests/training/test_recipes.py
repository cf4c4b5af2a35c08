"""The laws of `tinycnn.training.recipes`: every preset can be trained as it stands."""

import pytest

from tinycnn import train
from tinycnn.training.recipes import PRESETS


def test_the_command_offers_exactly_the_presets():
    # The command has its own list, so that --help imports nothing heavy.
    assert set(train.PRESETS) == set(PRESETS)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_numbers_of_a_preset_are_usable(preset):
    recipe = PRESETS[preset]
    assert min(recipe.epochs, recipe.epochs_of_few, recipe.batch_size) >= 1
    assert 0 < recipe.learning_rate < 1
    assert recipe.schedule in {"cosine", "one_cycle"}
    assert recipe.weight_decay >= 0
    assert 0 <= recipe.label_smoothing < 1
    assert 0 <= recipe.average_decay < 1
    assert 0 <= recipe.written <= 1
    assert recipe.views in {1, 5}
    # A training set of few images is seen more often.
    assert recipe.epochs_for(55_000) == recipe.epochs_for(20_000) == recipe.epochs
    assert recipe.epochs_for(19_999) == recipe.epochs_for(12) == recipe.epochs_of_few
