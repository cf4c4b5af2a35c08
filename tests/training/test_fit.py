"""The laws of `tinycnn.training.fit`: what a run does, batch by batch.

Images are made up here, and a network that learns in milliseconds stands in for the
named ones. Nothing here knows files, arguments or signals.
"""

import copy
from dataclasses import replace

import numba
import numpy as np
import pytest

from tinycnn import models
from tinycnn.nn import (
    Adam,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    ReLU,
    one_cycle,
    softmax_cross_entropy,
)
from tinycnn.threads import use_threads
from tinycnn.training import fit
from tinycnn.training.augment import Deformation, deform
from tinycnn.training.fit import (
    DivergedError,
    EpochResult,
    Progress,
    Trainer,
    as_input,
    epoch_order,
    evaluate,
    logits_of,
    train_step,
)
from tinycnn.training.metrics import Bin, Metrics, fit_temperature
from tinycnn.training.recipes import PRESETS, Recipe

COUNT, BATCH = 20, 8  # batches of 8, 8 and 4
RECIPE = Recipe(
    architecture="small",
    epochs=3,
    epochs_of_few=3,
    batch_size=BATCH,
    learning_rate=2e-3,
    schedule="one_cycle",
    weight_decay=0.01,
    label_smoothing=0.1,
    deformation=Deformation(rotation=10, scale=0.1, shear=0.1, shift=1),
)
PLAIN = replace(RECIPE, deformation=Deformation())


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    """Add a network with batch norm and dropout that learns in milliseconds."""
    use_threads()

    def small(rng):
        return [
            Conv2D(1, 3, 5, stride=3, rng=rng),
            BatchNorm2D(3),
            ReLU(),
            Flatten(),
            Dropout(0.3),
            Dense(8 * 8 * 3, 10, rng=rng),
        ]

    monkeypatch.setitem(models.NETWORKS, "small", small)


def numbered_images():
    """Return images that are each one grey value, their number; labels follow it."""
    numbers = np.arange(COUNT, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None], (COUNT, 28, 28)).copy()
    return images, numbers % 10


def random_digits(count=COUNT, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
    return images, rng.integers(0, 10, count).astype(np.uint8)


def new_trainer(recipe=RECIPE, seed=0):
    return Trainer(recipe, seed, *random_digits(), *random_digits(6, seed=1))


def snapshot(trainer):
    """Return copies of everything a trainer has learned."""
    parts = trainer.model.state(), trainer.optimizer.state(), trainer.best
    return [{name: a.copy() for name, a in part.items()} for part in parts]


def same(first, second):
    """Whether two snapshots are equal bit for bit."""
    return all(
        a.keys() == b.keys()
        and all(a[name].tobytes() == b[name].tobytes() for name in a)
        for a, b in zip(first, second, strict=True)
    )


@pytest.fixture
def steps(monkeypatch):
    """Note images, labels, learning rate, loss and logits of every training step."""
    notes = []

    def noted(model, optimizer, images, labels, label_smoothing):
        loss, logits = train_step(model, optimizer, images, labels, label_smoothing)
        rate = optimizer.learning_rate
        notes.append((images.copy(), labels.copy(), rate, loss, logits.copy()))
        return loss, logits

    monkeypatch.setattr(fit, "train_step", noted)
    return notes


# --- one step --------------------------------------------------------------------


def test_a_training_step_is_forward_loss_backward_step():
    images, labels = random_digits(8)
    x = as_input(images)
    model, twin = (models.build("small", seed=1) for _ in range(2))
    optimizer, its_twin = Adam(model.parameters()), Adam(twin.parameters())

    loss, logits = train_step(model, optimizer, x, labels, 0.1)

    its_logits = twin.forward(x, training=True)
    its_loss, dlogits = softmax_cross_entropy(its_logits, labels, 0.1)
    twin.backward(dlogits)
    its_twin.step()
    assert loss == its_loss
    assert np.array_equal(logits, its_logits)
    for name, array in model.state().items():
        assert np.array_equal(array, twin.state()[name]), name
    assert optimizer.steps == 1


def test_steps_on_one_batch_make_its_loss_smaller():
    images, labels = random_digits(8)
    model = models.build("small")
    optimizer = Adam(model.parameters(), 1e-2)
    losses = [
        train_step(model, optimizer, as_input(images), labels)[0] for _ in [0] * 30
    ]
    assert losses[-1] < losses[0] / 4


def test_the_loss_is_that_before_the_step():
    images, labels = random_digits(8)
    model, twin = (models.build("small") for _ in range(2))
    before, _ = softmax_cross_entropy(
        twin.forward(as_input(images), training=True), labels
    )
    loss, _ = train_step(model, Adam(model.parameters()), as_input(images), labels)
    assert loss == before


def test_ink_is_grey_over_255():
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    ink = as_input(grey)
    assert ink.shape == (1, 16, 16, 1)
    assert ink.dtype == np.float32
    expected = [np.float32(value / 255) for value in range(256)]
    assert ink.ravel().tolist() == expected


def test_evaluate_measures_the_network_as_it_is_used():
    images, labels = random_digits(30)
    model = models.build("small")
    before = {name: array.copy() for name, array in model.state().items()}
    metrics = evaluate(model, images, labels)
    predictions = model.forward(as_input(images)).argmax(axis=1)
    assert metrics.images == 30
    assert metrics.errors == (predictions != labels).sum()
    for name, array in model.state().items():
        assert np.array_equal(array, before[name]), f"{name} was changed"


def test_the_logits_of_many_images_are_those_of_each():
    images, _ = random_digits(30)
    model = models.build("small")
    logits = logits_of(model, images)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, model.forward(as_input(images)))


def test_logits_come_in_slabs_and_none_is_lost(monkeypatch):
    """The network is scripted: an image of grey value k gets k / 255."""
    images = np.zeros((25_001, 2, 2), np.uint8)
    images[:, 0, 0] = np.arange(25_001) % 251
    model, sizes = models.build("small"), []

    def predict(x):
        sizes.append(len(x))
        return x[:, 0, 0]

    monkeypatch.setattr(model, "predict", predict)
    logits = logits_of(model, images)
    assert sizes == [10_000, 10_000, 5_001]
    np.testing.assert_array_equal(logits, as_input(images)[:, 0, 0])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_logits_that_are_not_finite_are_an_error(value):
    model = models.build("small")
    for array in model.state().values():
        array[...] = value
    with pytest.raises(ArithmeticError, match="not finite"):
        logits_of(model, random_digits(3)[0])


# --- an epoch --------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 19, 64])
def test_the_order_of_an_epoch_has_every_index_once(count):
    assert sorted(epoch_order(0, 1, count)) == list(range(count))


def test_the_order_is_a_function_of_seed_and_epoch():
    order = epoch_order(3, 4, 100)
    assert np.array_equal(order, epoch_order(3, 4, 100))
    for seed, epoch in [(3, 5), (4, 4), (4, 3)]:
        assert not np.array_equal(order, epoch_order(seed, epoch, 100))


def test_every_epoch_learns_from_every_image_exactly_once(steps):
    images, labels = numbered_images()
    sizes = [
        item
        for item in Trainer(PLAIN, 5, images, labels, images, labels).run()
        if isinstance(item, int)
    ]
    assert sizes == [8, 8, 4] * 3  # the ragged batch counts
    assert [len(batch) for batch, *_ in steps] == sizes
    epochs = []
    for epoch in range(3):
        batches = steps[3 * epoch : 3 * epoch + 3]
        numbers = np.concatenate(
            [np.rint(batch[:, 0, 0, 0] * 255) for batch, *_ in batches]
        )
        their_labels = np.concatenate([labels for _, labels, *_ in batches])
        assert sorted(numbers) == list(range(COUNT))
        assert np.array_equal(their_labels, numbers % 10)
        assert np.array_equal(numbers, epoch_order(5, epoch + 1, COUNT))
        epochs.append(tuple(numbers))
    assert len(set(epochs)) == 3


def test_validation_images_are_never_learned_from(steps):
    images, labels = numbered_images()
    val = np.full((6, 28, 28), 200, np.uint8)
    list(Trainer(PLAIN, 0, images, labels, val, labels[:6]).run())
    assert max(batch.max() for batch, *_ in steps) < COUNT / 255


def test_training_images_are_deformed_and_differently_each_epoch(steps):
    images, labels = random_digits(1)
    list(Trainer(RECIPE, 0, images, labels, images, labels).run())
    seen = [batch for batch, *_ in steps]
    assert not np.array_equal(seen[0], as_input(images))
    assert not np.array_equal(seen[0], seen[1])


def test_an_image_is_deformed_by_the_warp_of_its_index(steps):
    trainer = new_trainer()
    list(trainer.run())
    for epoch in (1, 2, 3):
        warps = RECIPE.deformation.warps(0, epoch, COUNT)
        whole = deform(trainer.train_images, warps)
        seen = np.concatenate([batch for batch, *_ in steps[3 * epoch - 3 : 3 * epoch]])
        assert np.array_equal(seen, whole[epoch_order(0, epoch, COUNT)])


def test_the_images_themselves_stay_as_they_are():
    trainer = new_trainer()
    before = [a.copy() for a in (trainer.train_images, trainer.val_images)]
    list(trainer.run())
    assert np.array_equal(trainer.train_images, before[0])
    assert np.array_equal(trainer.val_images, before[1])


def test_the_learning_rate_follows_the_schedule_at_every_step(steps):
    list(new_trainer().run())
    schedule = one_cycle(RECIPE.learning_rate, 9)
    assert [rate for *_, rate, _, _ in steps] == [schedule(step) for step in range(9)]


def test_a_constant_learning_rate_stays(steps):
    list(new_trainer(replace(RECIPE, schedule="constant")).run())
    assert {rate for *_, rate, _, _ in steps} == {RECIPE.learning_rate}


def test_the_recipe_reaches_the_loss_and_the_optimizer(monkeypatch):
    given = []

    def noted(model, optimizer, images, labels, label_smoothing):
        given.append(label_smoothing)
        return train_step(model, optimizer, images, labels, label_smoothing)

    monkeypatch.setattr(fit, "train_step", noted)
    trainer = new_trainer()
    next(iter(trainer.run()))
    assert given == [RECIPE.label_smoothing]
    assert trainer.optimizer.weight_decay == RECIPE.weight_decay


def test_the_numbers_of_an_epoch_are_means_over_its_images(steps):
    trainer = new_trainer()
    results = [item for item in trainer.run() if isinstance(item, EpochResult)]
    assert [result.epoch for result in results] == [1, 2, 3]
    for number, result in enumerate(results):
        mine = steps[3 * number : 3 * number + 3]
        loss = sum(loss * len(labels) for _, labels, _, loss, _ in mine) / COUNT
        right = sum(
            (logits.argmax(axis=1) == labels).sum() for _, labels, *_, logits in mine
        )
        assert result.train_loss == pytest.approx(loss, rel=1e-12)
        assert result.train_accuracy == right / COUNT
        assert result.learning_rate == mine[-1][2]
    val = evaluate(trainer.model, trainer.val_images, trainer.val_labels)
    assert (results[-1].val_nll, results[-1].val_accuracy) == (val.nll, val.accuracy)


def test_progress_counts_batches_images_and_epochs():
    trainer = new_trainer()
    seen = []
    for _ in trainer.run():
        now = trainer.progress
        seen.append((now.epoch, now.batch, now.images))
    epoch = [(0, 1, 8), (0, 2, 16), (0, 3, 20), (1, 0, 0)]
    assert seen == [
        (e + n, batch, images) for n in range(3) for e, batch, images in epoch
    ]
    assert trainer.optimizer.steps == 9


def test_a_finished_run_has_nothing_more_to_do():
    trainer = new_trainer()
    list(trainer.run())
    assert list(trainer.run()) == []


# --- the best epoch --------------------------------------------------------------


def scripted(monkeypatch, figures):
    """Let validation give these accuracies and likelihoods, one an epoch."""
    figures = iter(figures)

    def scripted_evaluate(model, images, labels):  # noqa: ARG001
        accuracy, nll = next(figures)
        everything = Bin(6, 1.0, accuracy)
        return Metrics(
            6, 0, accuracy, nll, 0.0, (everything,), everything, np.zeros((10, 10), int)
        )

    monkeypatch.setattr(fit, "evaluate", scripted_evaluate)


@pytest.mark.parametrize(
    ("figures", "best"),
    [
        ([(0.5, 1.0), (0.7, 0.9), (0.6, 0.1)], 2),
        ([(0.5, 0.1), (0.6, 0.9), (0.7, 2.0)], 3),  # likelihood does not count
        ([(0.7, 0.8), (0.7, 0.9), (0.6, 0.1)], 2),  # a tie goes to the last
        ([(0.0, 9.0), (0.0, 9.5), (0.0, 9.5)], 3),  # something is kept in any case
    ],
)
def test_the_best_epoch_on_validation_is_kept(monkeypatch, figures, best):
    scripted(monkeypatch, figures)
    trainer = new_trainer()
    items = (snapshot(trainer)[0] for _ in trainer.run())
    after = list(items)[3::4]  # three batches and the end of the epoch, each time
    progress = trainer.progress
    assert progress.best_epoch == best
    assert progress.best_accuracy == figures[best - 1][0]
    assert same([trainer.best], [after[best - 1]])
    trainer.use_best()
    assert same([trainer.model.state()], [after[best - 1]])


def test_using_the_best_weights_does_not_tie_them_to_the_model(monkeypatch):
    scripted(monkeypatch, [(0.7, 1), (0.6, 1), (0.5, 1)])
    trainer = new_trainer()
    list(trainer.run())
    trainer.use_best()
    before = snapshot(trainer)[2]
    for array in trainer.model.state().values():
        array += 1
    assert same([trainer.best], [before])


def test_the_temperature_is_fitted_on_validation_to_the_weights_in_use(monkeypatch):
    trainer = new_trainer()
    list(trainer.run())
    given = []

    def noted(logits, labels):
        given.append((logits, labels))
        return fit_temperature(logits, labels)

    monkeypatch.setattr(fit, "fit_temperature", noted)
    temperature = trainer.temperature()
    ((logits, labels),) = given
    np.testing.assert_array_equal(logits, logits_of(trainer.model, trainer.val_images))
    np.testing.assert_array_equal(labels, trainer.val_labels)
    assert temperature == fit_temperature(logits, labels)


# --- the same again --------------------------------------------------------------


@pytest.mark.parametrize("items", range(13))
def test_a_run_left_between_two_items_goes_on_as_if_it_had_not_stopped(items):
    whole = new_trainer()
    everything = list(whole.run())
    trainer = new_trainer()
    run = trainer.run()
    first = [next(run) for _ in range(items)]
    taken_up = copy.deepcopy(trainer)
    run.close()
    assert first + list(taken_up.run()) == everything
    assert same(snapshot(taken_up), snapshot(whole))
    assert taken_up.progress == whole.progress


def test_another_seed_is_another_run():
    runs = [new_trainer(seed=seed) for seed in (0, 0, 1)]
    for trainer in runs:
        list(trainer.run())
    assert same(snapshot(runs[0]), snapshot(runs[1]))
    assert not same(snapshot(runs[0]), snapshot(runs[2]))


def test_the_seed_reaches_weights_dropout_and_order(steps):
    """Where all three are compared apart, each differs from seed to seed."""
    images, labels = numbered_images()
    first, second = (
        Trainer(PLAIN, seed, images, labels, images, labels) for seed in (0, 1)
    )
    assert not np.array_equal(
        first.model.state()["0.weight"], second.model.state()["0.weight"]
    )
    for name, array in second.model.state().items():
        array[...] = first.model.state()[name]
    x = as_input(random_digits(8)[0])
    one, other = (t.model.forward(x, training=True) for t in (first, second))
    assert not np.array_equal(one, other)
    for trainer in (first, second):
        next(iter(trainer.run()))
    assert not np.array_equal(steps[0][1], steps[1][1])


@pytest.mark.parametrize("preset", ["default", "classic"])
def test_two_threads_give_the_same_bits_as_one(preset):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("Numba has one thread on this machine")
    recipe = replace(PRESETS[preset], epochs=1, batch_size=BATCH)
    before, snapshots = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            trainer = new_trainer(recipe)
            list(trainer.run())
            snapshots.append(snapshot(trainer))
    finally:
        numba.set_num_threads(before)
    assert same(*snapshots)


# --- the average of the weights --------------------------------------------------

AVERAGING = replace(RECIPE, average_decay=0.8)


def test_the_average_follows_every_step():
    trainer = new_trainer(AVERAGING)
    expected = {}
    run = trainer.run()
    for step in range(6):
        item = next(run)
        if isinstance(item, EpochResult):
            next(run)
        decay = min(0.8, step / (step + 10))
        for name, array in trainer.model.state().items():
            before = expected.get(name, np.zeros_like(array))
            expected[name] = np.float32(decay) * before + np.float32(1 - decay) * array
    for name, array in trainer.averaged.state().items():
        assert array == pytest.approx(expected[name], abs=1e-6)
    assert not same([trainer.averaged.state()], [trainer.model.state()])


def test_validation_looks_at_the_average_and_it_is_what_is_kept():
    trainer = new_trainer(replace(AVERAGING, epochs=1))
    *_, result = trainer.run()
    val = evaluate(trainer.averaged, trainer.val_images, trainer.val_labels)
    assert (result.val_accuracy, result.val_nll) == (val.accuracy, val.nll)
    assert same([trainer.best], [trainer.averaged.state()])
    trainer.use_best()
    assert same([trainer.model.state()], [trainer.averaged.state()])


def test_averaging_changes_nothing_of_what_is_learned():
    averaged, plain = new_trainer(AVERAGING), new_trainer(RECIPE)
    for trainer in (averaged, plain):
        list(trainer.run())
    assert same([averaged.model.state()], [plain.model.state()])


def test_without_a_decay_the_average_is_the_model_itself():
    trainer = new_trainer(RECIPE)
    assert trainer.averaged is trainer.model


@pytest.mark.parametrize("fuse", [True, False])
def test_the_average_runs_as_the_model_does(fuse):
    data = *random_digits(), *random_digits(6, seed=1)
    recipe = replace(PRESETS["default"], average_decay=0.8)
    trainer = Trainer(recipe, 0, *data, fuse=fuse)
    assert trainer.averaged.fuse == trainer.model.fuse == fuse


# --- fused or plain --------------------------------------------------------------


def test_a_trainer_runs_the_plan_unless_told_otherwise():
    data = *random_digits(), *random_digits(6, seed=1)
    assert Trainer(PRESETS["default"], 0, *data).model.fuse
    assert not Trainer(PRESETS["default"], 0, *data, fuse=False).model.fuse


@pytest.mark.parametrize("half", ["forward", "backward"])
def test_a_learner_who_edits_a_layer_gets_the_layer_they_edited(monkeypatch, half):
    original = getattr(ReLU, half)
    monkeypatch.setattr(ReLU, half, lambda *arguments: 1.5 * original(*arguments))
    assert not new_trainer(PRESETS["default"]).model.fuse


def test_holding_the_plan_against_the_layers_changes_nothing():
    """Neither weights, nor running averages, nor the step of dropout."""
    model, fresh = new_trainer().model, models.build("small", 0)
    assert same([model.state()], [fresh.state()])
    assert [layer.step for layer in model.layers if isinstance(layer, Dropout)] == [0]


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
    assert "try --lr" in str(e.value)
    suggested = float(str(e.value).split("--lr ")[1])
    assert 0 < suggested < RECIPE.learning_rate


@pytest.mark.parametrize("name", ["0.weight", "1.running_var", "5.bias"])
def test_arrays_that_are_not_finite_are_seen(name):
    trainer = new_trainer()
    trainer.check_finite()
    trainer.model.state()[name].flat[0] = np.inf
    with pytest.raises(
        DivergedError, match=rf"{name} is not finite in epoch 1, batch 1"
    ):
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
    before = snapshot(trainer)[2]
    with pytest.raises(DivergedError, match="epoch 1"):
        next(run)
    assert same([trainer.best], [before])
    assert trainer.progress.best_epoch == 0


def test_a_learning_rate_that_is_far_too_high_is_told_as_such():
    trainer = new_trainer(replace(RECIPE, learning_rate=1e9, epochs=20))
    with pytest.raises(DivergedError, match=r"try --lr 3\.3e\+08"):
        list(trainer.run())


def test_before_the_first_validation_nothing_is_best():
    assert Progress().best_epoch == 0


@pytest.mark.parametrize("loss", [np.inf, -np.inf, np.nan])
def test_an_infinite_loss_stops_the_run_before_it_counts(monkeypatch, loss):
    trainer = new_trainer()
    monkeypatch.setattr(fit, "train_step", lambda *_: (loss, np.zeros((1, 10))))
    with pytest.raises(DivergedError, match=f"the loss is {loss} in epoch 1, batch 1"):
        next(trainer.run())
    assert trainer.progress == Progress()
