"""The laws of `tinycnn.training.fit`: what a run does, batch by batch."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_run import (
    COUNT,
    RECIPE,
    copy_of,
    new_trainer,
    random_digits,
    same,
    small_network,
)

from tinycnn.fast import fuse
from tinycnn.models import as_input, predict
from tinycnn.nn import SGD, Adam, cosine, one_cycle, softmax_cross_entropy
from tinycnn.training import fit
from tinycnn.training.augment import Deformation, deform
from tinycnn.training.fit import DivergedError, Progress, Trainer, train_step
from tinycnn.training.metrics import fit_temperature, measure

UNDEFORMED = replace(RECIPE, deformation=Deformation())
AVERAGING = replace(RECIPE, average_decay=0.8)


def numbered_digits():
    """Return images that are each one grey value, their number; labels follow it."""
    numbers = np.arange(COUNT, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None], (COUNT, 28, 28)).copy()
    return images, numbers % 10


def order_of(seed, epoch):
    """Return the order of an epoch, as a function of nothing else."""
    return np.random.default_rng([seed, epoch]).permutation(COUNT)


def epochs_of(trainer):
    """Train to the end; return the figures of each epoch."""
    return [item for item in trainer.run() if not isinstance(item, int)]


@pytest.fixture
def steps(monkeypatch):
    """Note what goes into and comes out of every training step."""
    notes = []

    def noted(model, optimizer, images, labels, smoothing):
        loss, logits = train_step(model, optimizer, images, labels, smoothing)
        rate = optimizer.learning_rate
        parts = images.copy(), labels.copy(), rate, smoothing, loss, logits.copy()
        names = ("images", "labels", "rate", "smoothing", "loss", "logits")
        notes.append(SimpleNamespace(**dict(zip(names, parts, strict=True))))
        return loss, logits

    monkeypatch.setattr(fit, "train_step", noted)
    return notes


# --- one step --------------------------------------------------------------------


def test_a_training_step_is_forward_loss_backward_step():
    images, labels = random_digits(8)
    x = as_input(images)
    model, twin = small_network(), small_network()
    optimizer, its_twin = Adam(model.parameters()), Adam(twin.parameters())

    loss, logits = train_step(model, optimizer, x, labels, 0.1)

    its_logits = twin.forward(x, training=True)
    its_loss, dlogits = softmax_cross_entropy(its_logits, labels, 0.1)
    twin.backward(dlogits)
    its_twin.step()
    assert loss == its_loss
    assert np.array_equal(logits, its_logits)
    assert same(model.state(), twin.state())
    assert optimizer.steps == 1


def test_steps_on_one_batch_make_its_loss_smaller():
    images, labels = random_digits(8)
    model = small_network()
    optimizer = Adam(model.parameters(), 2e-2)
    x = as_input(images)
    losses = [train_step(model, optimizer, x, labels)[0] for _ in range(60)]
    assert losses[-1] < losses[0] / 4


# --- an epoch --------------------------------------------------------------------


def test_every_epoch_learns_from_every_image_exactly_once(steps):
    digits = numbered_digits()
    trainer = new_trainer(UNDEFORMED, 5, train=digits)
    sizes = [item for item in trainer.run() if isinstance(item, int)]
    assert sizes == [len(step.images) for step in steps] == [8, 8, 4] * 3
    orders = []
    for epoch in (1, 2, 3):
        batches = steps[3 * epoch - 3 : 3 * epoch]
        inks = np.concatenate([batch.images[:, 0, 0, 0] for batch in batches])
        numbers = np.rint(inks * 255).astype(int)
        assert sorted(numbers) == list(range(COUNT))
        labels = np.concatenate([batch.labels for batch in batches])
        assert np.array_equal(labels, numbers % 10)
        assert np.array_equal(numbers, order_of(5, epoch))
        orders.append(tuple(numbers))
    assert len(set(orders)) == 3


def test_validation_images_are_never_learned_from(steps):
    val = np.full((6, 28, 28), 200, np.uint8), np.zeros(6, np.uint8)
    list(new_trainer(UNDEFORMED, train=numbered_digits(), val=val).run())
    assert max(step.images.max() for step in steps) < COUNT / 255


def test_an_image_is_deformed_by_the_warp_of_its_index(steps):
    trainer = new_trainer(seed=2)
    before = trainer.train_images.copy(), trainer.val_images.copy()
    list(trainer.run())
    for epoch in (1, 2, 3):
        warps = RECIPE.deformation.warps(2, epoch, COUNT)
        deformed = deform(trainer.train_images, warps)
        seen = [step.images for step in steps[3 * epoch - 3 : 3 * epoch]]
        assert np.array_equal(np.concatenate(seen), deformed[order_of(2, epoch)])
    assert np.array_equal(trainer.train_images, before[0])
    assert np.array_equal(trainer.val_images, before[1])


def test_the_learning_rate_follows_the_schedule_at_every_step(steps):
    for name, make in {"cosine": cosine, "one_cycle": one_cycle}.items():
        steps.clear()
        list(new_trainer(replace(RECIPE, schedule=name)).run())
        schedule = make(RECIPE.learning_rate, 9)
        assert [step.rate for step in steps] == [schedule(n) for n in range(9)], name
        assert {step.smoothing for step in steps} == {RECIPE.label_smoothing}


def test_the_figures_of_an_epoch_are_means_over_its_images(steps):
    trainer = new_trainer(AVERAGING)
    epochs = epochs_of(trainer)
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    for number, epoch in enumerate(epochs):
        mine = steps[3 * number : 3 * number + 3]
        loss = sum(step.loss * len(step.labels) for step in mine) / COUNT
        right = sum((s.logits.argmax(axis=1) == s.labels).sum() for s in mine)
        assert epoch["train_loss"] == pytest.approx(loss, rel=1e-12)
        assert epoch["train_accuracy"] == right / COUNT
        assert epoch["learning_rate"] == mine[-1].rate
    val = measure(predict(trainer.averaged, trainer.val_images), trainer.val_labels)
    assert epochs[-1]["val_nll"] == val.nll
    assert epochs[-1]["val_accuracy"] == val.accuracy


def test_progress_counts_batches_images_and_epochs():
    trainer = new_trainer()
    seen = []
    for _ in trainer.run():
        now = trainer.progress
        seen.append((now.epoch, now.batch, trainer.images, trainer.steps))
    epoch = [(0, 1, 8, 1), (0, 2, 16, 2), (0, 3, 20, 3), (1, 0, 20, 3)]
    assert seen == [
        (e + n, batch, 20 * n + images, 3 * n + steps)
        for n in range(3)
        for e, batch, images, steps in epoch
    ]
    assert trainer.optimizer.steps == 9
    assert list(trainer.run()) == []  # it is finished


# --- the best epoch --------------------------------------------------------------


def scripted(monkeypatch, accuracies):
    """Let validation give these accuracies, one an epoch."""
    figures = iter(accuracies)
    monkeypatch.setattr(
        Trainer,
        "evaluate",
        lambda *_: SimpleNamespace(accuracy=next(figures), nll=1.0),
    )


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [
        ([0.5, 0.7, 0.6], 2),
        ([0.5, 0.6, 0.7], 3),
        ([0.7, 0.7, 0.6], 2),  # of equal ones the last
        ([0.0, 0.0, 0.0], 3),  # something is kept in any case
    ],
)
@pytest.mark.parametrize("recipe", [RECIPE, AVERAGING])
def test_the_best_epoch_on_validation_is_kept(monkeypatch, accuracies, best, recipe):
    scripted(monkeypatch, accuracies)
    trainer = new_trainer(recipe)
    items = [copy_of(trainer.averaged.state()) for _ in trainer.run()]
    expected = items[4 * best - 1]  # three batches and the end of the epoch, each time
    progress = trainer.progress
    assert progress.best_epoch == best
    assert progress.best_accuracy == accuracies[best - 1]
    assert same(trainer.best, expected)
    trainer.use_best()
    assert same(trainer.averaged.state(), expected)
    for array in trainer.averaged.state().values():
        array += 1
    assert same(trainer.best, expected)  # a copy


@pytest.mark.parametrize("views", [1, 5])
def test_the_average_is_measured_and_calibrated_with_the_views_of_the_recipe(views):
    trainer = new_trainer(replace(AVERAGING, views=views), val=random_digits(60))
    list(trainer.run())
    logits = predict(trainer.averaged, trainer.val_images, views)
    trainer.val_labels = logits.argmax(axis=1)
    trainer.val_labels[:20] = 0  # two thirds are right
    found = trainer.evaluate(trainer.val_images, trainer.val_labels)
    assert found.nll == measure(logits, trainer.val_labels).nll
    assert trainer.temperature() == fit_temperature(logits, trainer.val_labels)
    assert 0.25 < trainer.temperature() < 4


# --- the average of the weights --------------------------------------------------


def test_the_average_follows_its_formula_at_every_step():
    trainer = new_trainer(AVERAGING)
    expected, step = copy_of(trainer.model.state()), 0
    for item in trainer.run():
        if not isinstance(item, int):
            continue
        decay = min(0.8, step / (step + 10))
        for name, array in trainer.model.state().items():
            expected[name] = decay * expected[name] + (1 - decay) * array
        step += 1
        for name, array in trainer.averaged.state().items():
            assert array == pytest.approx(expected[name], abs=1e-6), (step, name)
    assert step == 9
    assert not same(trainer.averaged.state(), trainer.model.state())


def test_averaging_changes_nothing_of_what_is_learned():
    averaging, without = new_trainer(AVERAGING), new_trainer(RECIPE)
    for trainer in (averaging, without):
        list(trainer.run())
    assert same(averaging.model.state(), without.model.state())
    assert without.averaged is without.model


# --- fused or plain --------------------------------------------------------------


def test_fused_and_plain_learn_the_same_within_rounding():
    """With SGD: Adam takes a whole step even where a gradient is rounding alone."""
    recipe = replace(AVERAGING, learning_rate=0.1, views=5)
    trainers = new_trainer(recipe, prepare=fuse), new_trainer(recipe)
    for trainer in trainers:
        trainer.optimizer = SGD(
            trainer.model.parameters(), momentum=0.9, learning_rate=1
        )
    fused, plain = trainers
    for ours, theirs in zip(epochs_of(fused), epochs_of(plain), strict=True):
        norms = ours.pop("norms"), theirs.pop("norms")
        assert norms[0] == pytest.approx(norms[1], rel=1e-4)
        assert ours == pytest.approx(theirs, rel=1e-5)
    for name, array in plain.averaged.state().items():
        assert fused.averaged.state()[name] == pytest.approx(array, abs=1e-5), name
    assert not same(fused.averaged.state(), plain.averaged.state())  # it was fused


# --- what cannot go on -----------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run_in_that_step():
    trainer = new_trainer()
    run = trainer.run()
    for _ in range(5):  # three batches, an epoch, one batch
        next(run)
    trainer.model.state()["0.weight"][0] = np.nan
    rate = one_cycle(RECIPE.learning_rate, 9)(4)
    with pytest.raises(DivergedError, match="the loss is nan in epoch 2, batch 2") as e:
        next(run)
    assert f"learning rate {rate:.3g};" in str(e.value)
    assert 0 < float(str(e.value).split("try --lr ")[1]) < RECIPE.learning_rate


def test_a_loss_that_is_not_finite_does_not_count(monkeypatch):
    for loss in (math.inf, -math.inf, math.nan):
        trainer = new_trainer()
        monkeypatch.setattr(fit, "train_step", lambda *_, x=loss: (x, np.zeros((1, 9))))
        with pytest.raises(DivergedError, match=f"the loss is {loss} in epoch 1"):
            next(trainer.run())
        assert trainer.progress == Progress(), loss


def test_arrays_that_are_not_finite_are_named():
    for name in ("0.weight", "3.running_var", "6.bias"):
        trainer = new_trainer()
        trainer.check_finite()
        trainer.model.state()[name].flat[0] = np.inf
        with pytest.raises(DivergedError, match=f"{name} is not finite in epoch 1"):
            trainer.check_finite()


@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_what_the_last_step_of_an_epoch_ruined_is_never_the_best(value):
    """The loss of that step was still finite; validation is where it shows."""
    trainer = new_trainer()
    run = trainer.run()
    for _ in range(3):
        next(run)
    for array in trainer.model.state().values():
        array[...] = value
    before = copy_of(trainer.best)
    with pytest.raises(DivergedError, match="epoch 1"):
        next(run)
    assert same(trainer.best, before)
    assert trainer.progress.best_epoch == 0


def test_a_learning_rate_that_is_far_too_high_is_named():
    trainer = new_trainer(replace(RECIPE, learning_rate=1e9, epochs=20))
    with pytest.raises(DivergedError, match=r"try --lr 0\.008"):
        list(trainer.run())
