"""`fuse`: what becomes one step; that it computes the same; what happens if it differs.

What a step computes is in `test_steps` and the files of its kernels.
"""

import copy
import hashlib
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from pairs import assert_same, output, whole_numbers

from tinycnn import fast, models, nn
from tinycnn.fast import fuse, written
from tinycnn.fast.convolution import FusedConvolution
from tinycnn.fast.dense import FusedDense
from tinycnn.fast.fuse import make_steps
from tinycnn.nn import BatchNorm2D, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU


def conv(C=1, F=16, K=3, **settings):
    return Conv2D(C, F, K, padding="same", rng=np.random.default_rng(C), **settings)


def dense(U, D=16):
    return Dense(D, U, rng=np.random.default_rng(U))


def subclass(kind):
    """Return a class of a learner, which may compute anything."""
    return type(f"Other{kind.__name__}", (kind,), {})


POOL, DROP, BIG = MaxPool2D(2), Dropout(0.5), MaxPool2D(3)
RNG = np.random.default_rng(0)

# Layers, and how many of them each step stands in for: * is a fused step.
STEPS = {
    "nothing": ([], ""),
    "a convolution alone": ([conv()], "1"),
    "with its ReLU": ([conv(), ReLU()], "2*"),
    "and pooling": ([conv(), ReLU(), POOL], "3*"),
    "and dropout": ([conv(), ReLU(), DROP], "3*"),
    "and both": ([conv(), ReLU(), POOL, DROP], "4*"),
    "both in the other order": ([conv(), ReLU(), DROP, POOL], "3* 1"),
    "pooling before the ReLU": ([conv(), POOL, ReLU()], "1 1 1"),
    "17 filters": ([conv(1, 17), ReLU(), POOL, DROP], "1 1 1 1"),
    "32 filters": ([conv(1, 32), ReLU()], "2*"),
    "a stride of 1 in each direction": ([conv(stride=(1, 1)), ReLU()], "2*"),
    "a stride of 2": ([conv(stride=2), ReLU(), POOL], "1 1 1"),
    "a stride of 2 in one direction": ([conv(stride=(1, 2)), ReLU()], "1 1"),
    "windows that overlap": ([conv(), ReLU(), MaxPool2D(2, stride=1)], "2* 1"),
    "windows of 2×1": ([conv(), ReLU(), MaxPool2D((2, 1))], "2* 1"),
    "gaps between windows": ([conv(), ReLU(), MaxPool2D(2, stride=3)], "2* 1"),
    "windows of 3×3": ([conv(), ReLU(), BIG], "2* 1"),
    "and dropout after it": ([conv(), ReLU(), BIG, DROP], "2* 1 1"),
    "batch norm": ([BatchNorm2D(1)], "1*"),
    "batch norm before the ReLU": ([conv(), BatchNorm2D(16), ReLU()], "1 1* 1"),
    "a second one with 2 channels": ([conv(1, 2), conv(2), ReLU()], "1 1 1"),
    "a first one with 17 channels": ([conv(17), ReLU()], "1 1"),
    "one of 5×5 over 16": ([conv(16, K=5), ReLU(), POOL], "3*"),
    "one of 7×7 over 16": ([conv(16, K=7), ReLU(), POOL], "1 1 1"),
    "one of 4×4 over 16": ([conv(16, K=4), ReLU(), POOL], "1 1 1"),
    "one of 3×5 over 16": ([conv(16, K=(3, 5)), ReLU()], "1 1"),
    "a dense layer with 48 outputs": ([dense(48)], "1"),
    "a dense layer with 64 outputs": ([dense(64)], "1*"),
    "a dense layer with 72 outputs": ([dense(72)], "1"),
    "a dense layer with 17 inputs": ([dense(64, 17)], "1"),
    "and Flatten before it": ([Flatten(), dense(96), ReLU(), DROP], "2* 1 1"),
    "flatten in the middle": ([dense(9), Flatten(), ReLU()], "1 1 1"),
    "a network": ([nn.Sequential([conv(), ReLU()])], "1"),
    "a subclass of Conv2D": ([subclass(Conv2D)(1, 16, 1, rng=RNG), ReLU()], "1 1"),
    "a subclass of ReLU": ([conv(), subclass(ReLU)()], "1 1"),
    "a subclass of MaxPool2D": ([conv(), ReLU(), subclass(MaxPool2D)(2)], "2* 1"),
    "a subclass of Dropout": ([conv(), ReLU(), subclass(Dropout)(0.5)], "2* 1"),
    "a subclass of BatchNorm2D": ([subclass(BatchNorm2D)(1)], "1"),
    "a subclass of Dense": ([subclass(Dense)(5, 64, rng=RNG)], "1"),
}


@pytest.mark.parametrize("name", STEPS)
def test_each_step_stands_in_for_its_layers(name):
    layers, wanted = STEPS[name]
    steps, place = make_steps(nn.Sequential(layers)), 0
    for count in wanted.split():
        mine = layers[place : place + int(count[0])]
        step = steps.pop(place + ("2" in count and isinstance(mine[0], Flatten)))
        place += len(mine)
        if "*" not in count:
            assert [step] == mine
        elif isinstance(step, FusedConvolution):
            found = [step.conv, mine[1], step.pool, step.dropout]
            assert [layer for layer in found if layer is not None] == mine
        else:
            assert [one for one in vars(step).values() if one in mine] == mine
            assert type(step).__name__[:8] == f"Fused{type(mine[-1]).__name__}"[:8]
    assert not steps
    assert place == len(layers)


def test_every_slow_layer_of_the_networks_is_fused():
    for name in models.NETWORKS:
        kinds = {type(step) for step in make_steps(models.build(name)).values()}
        assert not kinds & {Conv2D, MaxPool2D, BatchNorm2D}, name
        assert (FusedDense in kinds) == (name in ("classic", "reader"))


# --- the runner -----------------------------------------------------------------------


def small():
    """Return a model of a fused convolution and a plain one, for (N, 6, 6, 1)."""
    layers = [conv(), ReLU(), conv(16, 16, (3, 2)), ReLU(), MaxPool2D(2), Dropout(0.5)]
    model = nn.Sequential([*layers, Flatten(), dense(4, 144)], seed=1)
    for number, parameter in enumerate(model.parameters()):
        parameter.value[:] = whole_numbers(parameter.value.shape, number)
    return model


IMAGES = whole_numbers((3, 6, 6, 1))


def compute(runner, model, x, training=True):
    """Return output and the gradients of the parameters."""
    y = runner.forward(x, training)
    runner.backward(np.arange(y.size, dtype=y.dtype).reshape(y.shape) % 5 - 2)
    return [y, *(p.grad for p in model.parameters())]


@pytest.fixture
def calls(monkeypatch):
    """Return a list that grows by one with each forward of a fused convolution."""
    noted, forward = [], FusedConvolution.forward

    def noting(self, x, training=False):
        noted.append(len(x))
        return forward(self, x, training)

    monkeypatch.setattr(FusedConvolution, "forward", noting)
    return noted


@pytest.mark.parametrize("training", [True, False])
def test_float32_goes_through_the_steps_and_comes_out_the_same(calls, training):
    model, plain = small(), small()
    wanted = compute(plain, plain, IMAGES, training)
    assert_same(compute(fuse(model), model, IMAGES, training), wanted)
    assert calls == [3]


def test_float64_and_a_subclass_of_sequential_run_as_they_are_written(calls):
    other = subclass(nn.Sequential)(small().layers)
    compute(fuse(other), other, IMAGES)
    model = small()
    model.cast(np.float64)
    runner = fuse(model)
    assert compute(runner, model, IMAGES.astype(np.float64))[0].dtype == np.float64
    assert calls == []
    model.cast(np.float32)
    compute(runner, model, IMAGES)
    assert calls == [3]


def test_nothing_edits_its_argument_and_what_is_returned_is_the_callers():
    layers = [conv(), ReLU(), BatchNorm2D(16), Flatten()]
    runner = fuse(nn.Sequential(layers))
    x, dy = IMAGES.copy(), whole_numbers((3, 576), 1)
    dy_before = dy.copy()
    for training in (True, False, True, False):
        y = runner.forward(x, training)
        wanted = y.copy()
        y[...] = np.nan
        runner.backward(dy)
        gradients = [p.grad.copy() for p in runner.model.parameters()]
        assert_same([x, dy], [IMAGES, dy_before])
        assert_same([runner.forward(x, training)], [wanted])
        runner.backward(dy)
        assert_same([p.grad for p in runner.model.parameters()], gradients)


def test_several_threads_may_ask_one_runner_and_another():
    batches = [whole_numbers((1 + seed % 5, 6, 6, 1), seed) for seed in range(40)]
    wanted = [small().forward(x) for x in batches]
    one, other = fuse(small()), fuse(small())
    with ThreadPoolExecutor(4) as threads:
        for runners in ([one] * 40, [one, other] * 20):
            found = threads.map(lambda runner, x: runner.forward(x), runners, batches)
            assert_same(found, wanted)


def print_results():
    model = small()
    print(*(array.sum() for array in compute(fuse(model), model, IMAGES)))


def test_interpreted_python_runs_the_layers():
    code, model = "import test_fuse as t; t.print_results()", small()
    found = [float(word) for word in output(code, NUMBA_DISABLE_JIT="1")]
    assert found == [array.sum() for array in compute(model, model, IMAGES)]


def print_digests():
    """Print a digest of training with every step, for each number of threads."""
    for threads in (1, 2, 5):
        numba.set_num_threads(threads)
        digest = hashlib.sha256()
        for N in (1, 5, 17, 33):
            rng = np.random.default_rng(N)
            layers = [conv(1, 16), ReLU(), MaxPool2D(2), Dropout(0.5), BatchNorm2D(16)]
            layers += [conv(16, 16), ReLU(), conv(16, 32), ReLU(), conv(32, 16), ReLU()]
            layers += [Flatten(), dense(130, 8 * 8 * 16), ReLU(), dense(3, 130)]
            model = nn.Sequential(layers)
            optimizer = fast.Adam(model.parameters(), weight_decay=0.1)
            x = rng.random((N, 16, 16, 1), np.float32)
            found = compute(fuse(model), model, np.where(x > 0.7, x, np.float32(0)))
            optimizer.step()
            for array in [*found, *model.state().values(), *optimizer.state().values()]:
                digest.update(array.tobytes())
        print(threads, digest.hexdigest())


def test_the_number_of_threads_changes_no_bit():
    code = "import test_fuse as t; t.print_digests()"
    words = output(code, NUMBA_NUM_THREADS="5")
    assert words[::2] == ["1", "2", "5"]
    assert len(set(words[1::2])) == 1


# --- were the layers edited -----------------------------------------------------------


def with_every_step():
    layers = [conv(), ReLU(), MaxPool2D(2), Dropout(0.25), conv(16), ReLU()]
    layers += [BatchNorm2D(16), Flatten(), dense(64, 144), ReLU(), dense(3, 64)]
    return nn.Sequential(layers)


@pytest.mark.parametrize("kind", written.KINDS["a layer"])
@pytest.mark.parametrize("method", ["forward", "backward"])
def test_an_edited_layer_makes_one_warning_and_runs_as_it_is_written(
    kind, method, monkeypatch
):
    before = getattr(kind, method)

    def edited(self, *arguments):
        return 2 * before(self, *arguments)

    monkeypatch.setattr(kind, method, edited)
    model, plain = with_every_step(), with_every_step()
    with pytest.warns(match="was a layer edited") as said:
        runner = fuse(model)
    assert len(said) == 1
    for training in (True, False):
        assert_same(
            [*compute(runner, model, IMAGES, training), *model.state().values()],
            [*compute(plain, plain, IMAGES, training), *plain.state().values()],
        )


def test_so_does_an_edited_loop_of_the_layers(monkeypatch):
    monkeypatch.setattr(nn.kernels, "im2col", lambda *_: None)
    with pytest.warns(match="was a layer edited"):
        fuse(with_every_step())


def test_comments_docstrings_and_spaces_are_no_edit():
    def usual():
        def f(x):
            return 2 * x

        return f

    def explained():
        def f(x):
            """Return twice x."""
            return 2*x  # fmt: skip

        return f

    def edited():
        def f(x):
            return 3 * x

        return f

    digests = [written._digest((make(),)) for make in (usual, explained, edited)]
    assert digests[0] == digests[1] != digests[2]


def test_the_steps_were_written_for_these_layers():
    """If a layer was changed on purpose: see that its step computes the same."""
    for what, expected in written.FINGERPRINTS.items():
        found = written.fingerprint(what)
        assert found == expected, f"set FINGERPRINTS[{what!r}] = {found!r}"


def test_a_method_assigned_to_a_layer_is_no_layer_to_be_fused():
    model = with_every_step()
    model.layers[1].forward = lambda x, _=False: x
    steps = make_steps(model)
    assert [steps[place] for place in (0, 1)] == [*model.layers[:2]]


def test_a_backward_after_another_forward_is_refused():
    """The layers and the steps remember the last forward alone."""
    model = with_every_step()
    first, second = fuse(model), fuse(model)
    dy = first.forward(IMAGES, training=True)
    with pytest.raises(ValueError, match="runner was the last"):
        model.backward(dy)
    second.forward(IMAGES[::-1], training=True)
    with pytest.raises(ValueError, match="of the same runner"):
        first.backward(dy)
    second.backward(dy)
    model.forward(IMAGES, training=True)
    model.backward(dy)
    model.layers = model.layers[:-1]
    with pytest.raises(ValueError, match="fuse again"):
        second.forward(IMAGES)


def test_a_stride_that_changes_inside_a_list_is_seen():
    layer = conv()
    layer.stride = [1, 1]
    model = nn.Sequential([layer, ReLU()])
    runner = fuse(model)
    x = np.random.default_rng(0).random((3, 7, 8, 1), np.float32)
    dy = runner.forward(x, training=True)
    layer.stride[:] = [2, 1]
    with pytest.raises(ValueError, match="changed between forward and backward"):
        runner.backward(dy)
    with pytest.raises(ValueError, match="fuse again"):
        runner.forward(x, training=True)
    runner = fuse(model)
    np.testing.assert_array_equal(runner.forward(x), model.forward(x))
    assert [*runner.steps.values()] == [*model.layers]


def test_a_layer_may_run_a_runner_of_its_own():
    teacher = fuse(nn.Sequential([dense(64), ReLU()]))

    class Taught(ReLU):
        def forward(self, x, training=False):
            return super().forward(teacher.forward(x), training)

    model = nn.Sequential([dense(16), Taught()])
    assert fuse(model).forward(np.ones((3, 16), np.float32)).shape == (3, 64)


def test_the_gradient_of_the_images_is_returned_where_it_is_asked_for():
    """Through two fused convolutions, whose ReLUs are open whatever Winograd rounds."""
    layers = [conv(16, 32), ReLU(), conv(32, 16, 5), ReLU(), Flatten(), dense(4, 576)]
    layers[0].bias.value[:], layers[2].bias.value[:] = 20, 1000
    model, plain = nn.Sequential(layers), copy.deepcopy(nn.Sequential(layers))
    runner, x = fuse(model, input_gradient=True), IMAGES.repeat(16, 3)
    found, wanted = [runner.forward(x, True)], [plain.forward(x, True)]
    dy = whole_numbers(found[0].shape, 1)
    for results, one, network in ((found, runner, model), (wanted, plain, plain)):
        results += [one.backward(dy), *(p.grad for p in network.parameters())]
    assert [type(runner.steps[place]) for place in (0, 2)] == [FusedConvolution] * 2
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_a_batch_norm_of_other_channels_is_refused():
    model = nn.Sequential([conv(), ReLU(), BatchNorm2D(8)])
    with pytest.raises(ValueError, match="layer 2"):
        fuse(model).forward(IMAGES)
