"""The laws of `tinycnn.reading.explain`: what is shown is what was computed."""

from dataclasses import replace

import numpy as np
import pytest

from tinycnn import models
from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.ink.normalize import normalize_strokes
from tinycnn.ink.picture import picture_ink
from tinycnn.ink.strokes import Ink, Strokes, strokes_ink
from tinycnn.nn import (
    Conv2D,
    Dropout,
    Flatten,
    MaxPool2D,
    ReLU,
    Sequential,
    softmax_cross_entropy,
)
from tinycnn.nn.weights import read_facts
from tinycnn.pretrained import NONE, class_shares
from tinycnn.reading import segment
from tinycnn.reading.explain import Workbench, corrected, explain, gradients
from tinycnn.reading.reader import CERTAIN, VIEWS, Reader, _view
from tinycnn.reading.result import Damage, turned, turned_box

SEVEN = [[(30, 40), (90, 40), (50, 160)]]
FOUR = [[(170, 30), (130, 110), (210, 110)], [(185, 70), (180, 170)]]
ONE = [[(270, 40), (266, 160)]]
TAP, AWAY = [(120, 20)], [(30, -300), (60, -200)]


@pytest.fixture(scope="module")
def strokes():
    """Return three digits with a tap and a stroke off the canvas among them."""
    drawn = [TAP, *SEVEN, AWAY, *ONE, *FOUR]
    points = tuple(np.array(stroke, float) for stroke in drawn)
    return Strokes(points, (8.0,) * len(points), (320, 200))


@pytest.fixture(scope="module")
def picture(strokes):
    """Return a picture of these digits, without the tap."""
    drawn = Strokes(strokes.points[1:], strokes.pen_widths[1:], strokes.size).draw()
    return picture_ink(np.rint(255 - 255 * drawn).astype(np.uint8))


DRAWINGS = "strokes", "picture", "large picture", "turned sheet", "turned page"


@pytest.fixture(scope="module", params=DRAWINGS)
def drawing(request, strokes, picture):
    if request.param == "strokes":
        return strokes_ink(strokes)
    if request.param == "picture":
        return picture
    if request.param == "turned page":
        return Ink(np.rot90(picture.values), (200, 320))
    if request.param == "turned sheet":
        sheet = Ink(np.zeros((300, 420), np.float32), (420, 300), tilt=15.0)
        points = tuple(placed(p, sheet) for p in strokes.points[1:])
        drawn = Strokes(points, strokes.pen_widths[1:], sheet.size).draw()
        return replace(sheet, values=drawn)
    # Ink of a picture that was scaled down to a third.
    return Ink(picture.values, (3 * 320, 3 * 200), 3.0)


def placed(points, ink):
    """Return where points of the strokes are on an ink; turned ones move right."""
    if ink.size == (200, 320):  # turned counter-clockwise
        return points[:, ::-1] * (1, -1) + (0, 320)
    return turned(points, ink.tilt) * ink.scale + [4 * ink.tilt, 0]


@pytest.fixture(scope="module")
def digits(reader, drawing):
    return reader.read(drawing).digits


@pytest.fixture(scope="module")
def explanations(reader, drawing, digits):
    return [explain(reader, drawing, digit.box) for digit in digits]


# --- what was read -----------------------------------------------------------------


def test_the_probabilities_are_those_of_the_reader_and_of_the_plain_layers(
    reader, explanations, digits
):
    assert [digit.digit for digit in digits] == [7, 4, 1]
    for explanation, digit in zip(explanations, digits, strict=True):
        shares, top = explanation.probabilities, digit.top
        assert digit.confidence == shares.max()
        assert [shares[digit] for digit, _ in top] == [share for _, share in top]
        assert sorted(shares)[-4] <= top[-1][1]
        image, facts = explanation.image[np.newaxis], read_facts(models.SHIPPED)
        x = np.concatenate([image, *(_view(image, *v) for v in VIEWS)])[..., np.newaxis]
        expected = class_shares(reader.model.forward(x), facts["temperature"])[:, :NONE]
        expected = expected[: 1 if expected[0].max() >= CERTAIN else 5]
        np.testing.assert_allclose(shares, expected.mean(axis=0), atol=1e-5)


def test_refused_ink_is_explained_too_and_no_ink_is_not(strokes):
    strict = Reader()
    strict.threshold = 2.0
    ink = strokes_ink(strokes)
    first = strict.read(ink).digits[0]
    found = explain(strict, ink, first.box)
    assert first.digit is None
    assert found.probabilities.argmax() == 7
    assert found.probabilities.max() == first.confidence
    assert explain(strict, strokes_ink(Strokes((), (), (50, 40))), first.box) is None


def test_the_image_is_of_the_digit_alone_and_lies_on_its_ink(
    explanations, drawing, strokes
):
    for explanation in explanations:
        numbers = {7: [1], 1: [3], 4: [4, 5]}[explanation.probabilities.argmax()]
        mine = [strokes.points[n] for n in numbers]
        alone = normalize_strokes(mine)
        if drawing.strokes is not None:
            np.testing.assert_array_equal(explanation.image, alone)
        assert np.abs(explanation.image - alone).mean() < 0.03
        points = placed(np.concatenate(mine), drawing) - explanation.origin
        pixels = turned(points, -explanation.tilt) / explanation.pixel
        columns, rows = np.floor(pixels).astype(int).T
        assert (explanation.image[rows, columns] > 0.2).all()
        assert 20 - 2.5 <= np.ptp(pixels, axis=0).max() <= 20
        corners = np.array(explanation.region(0, 6, 11)) - explanation.origin
        corners = turned(corners, -explanation.tilt) / explanation.pixel
        start = explanation.feature_maps[0].field[2, ::-1] + (11, 6)
        around = np.array([(0, 0), (5, 0), (5, 5), (0, 5)]) + start
        np.testing.assert_allclose(corners, around, atol=1e-6)


# --- what was read otherwise -------------------------------------------------------


def test_a_correction_has_the_ink_of_its_digits_of_all_or_of_a_part(
    reader, drawing, digits, explanations
):
    seven, _, _ = boxes = [digit.box for digit in digits]
    found = corrected(reader, drawing, boxes, boxes)
    for (image, drawn), explanation in zip(found, explanations, strict=True):
        np.testing.assert_array_equal(image, explanation.image)
        assert (drawn is None) == (drawing.strokes is None)
    around = segment.around(boxes[:2])
    ((both, drawn),) = corrected(reader, drawing, boxes[:2], [around])
    assert 0 < both.sum() < sum(e.image.sum() for e in explanations[:2])
    assert drawn is None or len(drawn.points) == 3
    # The upper half of a seven holds its bar; beside it there is nothing.
    turns = reader.read(drawing).turns
    x0, y0, x1, y1 = turned_box(seven, turns)
    half = turned_box((x0, y0, x1, (y0 + y1) // 2), -turns)
    beside = seven[2], seven[3], seven[2] + 9, seven[3] + 9
    (upper, drawn), (nothing, _) = corrected(reader, drawing, [seven], [half, beside])
    rows, columns = upper.any(axis=1), upper.any(axis=0)
    assert rows.sum() < columns.sum()
    assert drawn is None
    assert not nothing.any()
    ((nothing, _),) = corrected(reader, drawing, [], [seven])  # it is read anew
    assert not nothing.any()


ODD = [
    Conv2D(1, 2, (2, 3), padding="same", rng=np.random.default_rng(0)),
    ReLU(),
    MaxPool2D((3, 2), stride=(2, 1)),
    Conv2D(2, 3, (3, 2), stride=(1, 2), padding=(0, 1), rng=np.random.default_rng(1)),
    Dropout(0.5),
    MaxPool2D(2),
    Conv2D(3, 2, 3, stride=2, rng=np.random.default_rng(2)),
    Flatten(),
]


def feature_maps(model, image):
    return gradients(model, image, 0).feature_maps


# --- feature maps ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["best", "classic"])
def test_feature_maps_are_the_layers_own_outputs_and_outlive_the_next_image(name):
    model = models.build(name, seed=3)
    image, other = np.random.default_rng(0).random((2, 28, 28), np.float32)
    found = feature_maps(model, image)
    feature_maps(model, other)
    x, expected = image[np.newaxis, ..., np.newaxis], []
    for layer in model.layers:
        x = layer.forward(x)
        if isinstance(layer, Conv2D):
            expected.append((x[0], layer.weight.value))
    assert len(found) == len(expected) > 1
    for maps, (outputs, weight) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(maps.maps, outputs)
        np.testing.assert_array_equal(maps.kernels, weight)


@pytest.mark.parametrize("name", ["best", "classic", "odd"])
def test_a_pixel_is_the_sum_of_its_products_and_the_bias(name):
    model = Sequential(ODD) if name == "odd" else models.build(name, seed=3)
    for bias in (p for p in model.parameters() if "bias" in p.name):
        bias.value[...] = np.linspace(-1, 1, len(bias.value))
    rng = np.random.default_rng(1)
    for found in feature_maps(model, rng.random((28, 28), np.float32)):
        shape = found.maps.shape
        for row, column, f in (rng.integers(0, shape, 3).tolist() for _ in range(20)):
            products = found.products(row, column, f)
            assert products.shape == found.kernels.shape[:3]
            value = products.sum() + found.bias[f]
            assert value == pytest.approx(found.maps[row, column, f], abs=1e-4)


# --- learning ----------------------------------------------------------------------


def test_gradients_are_the_layers_own(reader):
    image = np.random.default_rng(2).random((28, 28), np.float32)
    found = gradients(reader.model, image, 4)
    model, x = reader.model, image[np.newaxis, ..., np.newaxis]
    logits = model.forward(x)
    loss, dlogits = softmax_cross_entropy(logits, np.array([4]))
    dx = model.backward(dlogits)
    assert (found.label, found.loss) == (4, loss)
    np.testing.assert_array_equal(found.dlogits, dlogits[0])
    np.testing.assert_array_equal(found.ink, dx[0, ..., 0])
    layers = [layer for layer in model.layers if isinstance(layer, Conv2D)]
    for maps, layer in zip(found.feature_maps, layers, strict=True):
        np.testing.assert_array_equal(maps.dkernels, layer.weight.grad)
        # The bias is added to every pixel of a map: its gradient is the map's sum.
        sums = maps.dmaps.sum(axis=(0, 1))
        np.testing.assert_allclose(sums, layer.bias.grad, rtol=1e-3, atol=1e-5)


@pytest.fixture
def bench():
    reader, sample = Reader(), load_mnist(SAMPLE_FOLDER)
    return Workbench(reader, sample.test_images[:100], sample.test_labels[:100])


def state(bench):
    return {n: a.copy() for n, a in bench._reader.model.state().items()}


def test_a_training_step_is_gradient_descent_and_is_undone_unless_kept(bench):
    image, before = np.eye(28, dtype=np.float32), state(bench)
    found = gradients(bench._reader.model, image, 3)
    trial = bench.train(image, 3, 0.0003)
    assert trial.loss[0] == found.loss > trial.loss[1]
    assert trial.right[0] == bench.right()
    shares = bench._reader.probabilities(image[np.newaxis], views=True)[0]
    np.testing.assert_allclose(trial.probabilities[0], shares, atol=1e-6)
    for name, array in state(bench).items():
        np.testing.assert_array_equal(array, before[name])
    bench.train(image, 3, 0.0003, keep=True)
    expected = before["0.weight"] - 0.0003 * found.feature_maps[0].dkernels
    np.testing.assert_allclose(state(bench)["0.weight"], expected)
    bench.apply(Damage(noise=0.1))
    bench.apply(Damage())
    for name, array in state(bench).items():
        np.testing.assert_array_equal(array, before[name])


def test_damage_mutes_rounds_and_adds_noise_and_the_reader_sees_it(bench):
    before, reader = state(bench), bench._reader
    whole = bench.right()
    page = Strokes((np.array([[30.0, 20], [30, 80]]),), (9.0,), (60, 100))
    assert reader.read(page).text == "1"
    bench.apply(Damage(((0, 5), (2, 7))))
    maps = feature_maps(reader.model, np.eye(28, dtype=np.float32))
    assert not maps[0].maps[..., 5].any()
    assert not maps[2].maps[..., 7].any()
    for bits, levels in ((1, 2), (2, 3), (4, 15), (8, 255)):
        bench.apply(Damage(bits=bits))
        weight = state(bench)["0.weight"]
        assert len(np.unique(weight)) <= levels
        off = np.abs(weight - before["0.weight"]).max()
        assert off < 4 * np.abs(before["0.weight"]).max() / levels
    assert bench.apply(Damage(noise=3.0)) < whole
    assert reader.read(page) != Reader().read(page)
    moved = state(bench)["0.weight"] - before["0.weight"]
    assert moved.std() == pytest.approx(3 * before["0.weight"].std(), rel=0.1)
    assert bench.apply(Damage()) == whole


# --- what a pixel of a map sees ----------------------------------------------------


@pytest.mark.parametrize("name", ["default", "classic", "odd"])
def test_the_receptive_field_is_where_the_derivative_is_not_zero(explanations, name):
    """With positive weights and no bias every pixel in the field raises the output."""
    layers = ODD[:-1] if name == "odd" else models.build(name).layers
    last = max(i for i, layer in enumerate(layers) if isinstance(layer, Conv2D))
    model = Sequential([*layers[: last + 1], Flatten()])
    for parameter in model.parameters():
        fits = "weight" in parameter.name
        parameter.value[...] = abs(parameter.value) + 0.01 if fits else 0
    side = 20
    images = np.eye(side * side, dtype=np.float32).reshape(-1, side, side, 1)
    x = np.concatenate([np.zeros_like(images[:1]), images])
    explained = replace(
        explanations[0],
        image=x[0, ..., 0],
        feature_maps=feature_maps(model, x[0, ..., 0]),
        origin=(30.0, 7.0),
        pixel=2.0,
        tilt=0.0,
    )
    number = 0
    for layer in model.layers[: last + 1]:
        x = layer.forward(x)
        if not isinstance(layer, Conv2D):
            continue
        OH, OW, _ = x.shape[1:]
        for row, column in [(0, 0), (OH - 1, OW - 1), (OH // 2, OW // 3)]:
            moved = (x[1:, row, column, 0] > x[0, row, column, 0]).reshape(side, side)
            seen = np.zeros((side, side), bool)
            corners = np.array(explained.region(number, row, column)) - (30, 7)
            (x0, y0), (x1, y1) = (corners[::2] / 2).astype(int)
            seen[y0:y1, x0:x1] = True
            np.testing.assert_array_equal(moved, seen)
        number += 1
