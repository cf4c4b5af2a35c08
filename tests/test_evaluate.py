"""The laws of ``python -m tinycnn.evaluate``: what it prints, and what it refuses.

The weights are made in a fixture: an untrained network is wrong often enough to have
something to report. That the figures are right is tested in ``tests/training``.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from weights_file import read_arrays, save_arrays

from tinycnn import evaluate, fast, models, nn
from tinycnn.data import load_mnist, write_idx
from tinycnn.nn.weights import save_weights
from tinycnn.training.metrics import measure

IMAGES = 60
SAMPLE = Path(evaluate.__file__).parent / "data" / "sample"
FACTS = {"network": "default", "preset": "default", "seed": 4, "views": 5}

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.fixture(scope="module")
def digits():
    """Return images and labels, some of the sample's."""
    sample = load_mnist(SAMPLE)
    return sample.test_images[:IMAGES], sample.test_labels[:IMAGES]


@pytest.fixture
def pair(digits):
    """Return the arguments that name an IDX pair of these digits."""
    write_idx("images.idx", digits[0])
    write_idx("labels.idx", digits[1])
    return ["--images", "images.idx", "--labels", "labels.idx"]


@pytest.fixture
def weights():
    """Return a weights file of an untrained network."""
    save_weights("weights.safetensors", models.build("default", seed=4), FACTS)
    return "weights.safetensors"


def expected(digits, views=5, temperature=1.0):
    """Return the metrics that the weights have on the digits."""
    model = models.build("default", seed=4)
    return measure(
        models.predict(fast.fuse(model), digits[0], views), digits[1], temperature
    )


def figures(capsys, *argv):
    """Return what a command prints with ``--json``."""
    assert evaluate.main([str(argument) for argument in (*argv, "--json")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line, parse_constant=pytest.fail)


def refusal(capsys, *argv, code=1):
    """Return the one line of stderr with which a command refuses."""
    with pytest.raises(SystemExit) as ended:
        evaluate.main([str(argument) for argument in argv])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (code, "")
    (line,) = err.splitlines()
    return line


# --- what it prints ---------------------------------------------------------------


def test_json_has_the_figures_and_nothing_else(weights, pair, digits, capsys):
    wanted = expected(digits)
    found = figures(capsys, weights, *pair)
    assert found == {
        "images": IMAGES,
        "errors": wanted.errors,
        "accuracy": wanted.accuracy,
        "nll": wanted.nll,
        "ece": wanted.ece,
        "confusion": wanted.confusion.tolist(),
        "mistakes": found["mistakes"],
    }
    counts = np.array(found["confusion"]).sum(axis=1)
    assert counts.tolist() == np.bincount(digits[1], minlength=10).tolist()


def test_mistakes_are_listed_and_drawn_the_surest_first(
    weights, pair, digits, capsys, monkeypatch
):
    monkeypatch.setattr(evaluate, "MOST_DRAWN", 13)
    sheet = ["--mistakes", "sheet.png"]
    found = figures(capsys, weights, *pair, *sheet)
    mistakes, confusion = found["mistakes"], np.array(found["confusion"])
    np.fill_diagonal(confusion, 0)
    for one in mistakes:
        assert one["label"] == digits[1][one["index"]]
        confusion[one["label"], one["answer"]] -= 1
    assert not confusion.any()
    sure = [one["confidence"] for one in mistakes]
    assert sure == sorted(sure, reverse=True)
    logits = models.predict(models.build("default", seed=4), digits[0], 5)
    p = nn.softmax(logits.astype(float))[mistakes[0]["index"]]
    assert p[mistakes[0]["answer"]] == pytest.approx(sure[0], rel=1e-4)
    with Image.open("sheet.png") as picture:
        assert picture.size == (960, 2 * 124)
        for place, one in enumerate(mistakes[:13]):
            x, y = 96 * (place % 10) + 6, 124 * (place // 10) + 4
            tile = np.asarray(picture)[y + 1 : y + 84 : 3, x + 1 : x + 84 : 3]
            assert np.array_equal(tile, 255 - digits[0][one["index"]])
    write_idx("labels.idx", logits.argmax(axis=1).astype("u1"))
    assert evaluate.main([weights, *pair, *sheet]) == 0
    assert "mistakes  none" in capsys.readouterr().out
    with Image.open("sheet.png") as picture:
        assert picture.getextrema() == (255, 255)


def test_a_sheet_of_mistakes_replaces_no_weights(weights, pair, capsys):
    before = Path(weights).read_bytes()
    refusal(capsys, *pair, "--mistakes", weights, code=2)
    assert Path(weights).read_bytes() == before


def test_as_many_views_and_the_temperature_as_the_file_says(pair, digits, capsys):
    model = models.build("default", seed=4)
    for views in (1, 5):
        facts = FACTS | {"views": views, "temperature": 0.5}
        save_weights("cool.safetensors", model, facts)
        found = figures(capsys, "cool.safetensors", *pair)
        assert found["nll"] == expected(digits, views, 0.5).nll
    assert len({expected(digits, v, t).nll for v in (1, 5) for t in (1, 0.5)}) == 4


def test_an_edited_layer_is_measured_as_it_is_written_or_named(
    weights, pair, digits, capsys, monkeypatch
):
    plain = nn.ReLU.forward
    monkeypatch.setattr(nn.ReLU, "forward", lambda *rest: plain(*rest) + rest[1] / 10)
    with pytest.warns(UserWarning, match="edited"):
        found = figures(capsys, weights, *pair)
    logits = models.predict(models.build("default", seed=4), digits[0], 5)
    assert found["nll"] == measure(logits, digits[1]).nll
    monkeypatch.setattr(nn.ReLU, "forward", lambda *_: None)
    with pytest.warns(UserWarning, match="edited"):
        line = refusal(capsys, weights, *pair)
    assert line == "error: layer 1 (ReLU): forward returned None, which is no array"


def test_the_text_has_the_figures_and_the_most_frequent_mistakes(
    weights, pair, digits, capsys
):
    assert evaluate.main([weights, *pair]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    wanted = expected(digits)
    assert f"{wanted.accuracy:.2%}  ({wanted.errors} errors)" in out
    assert f"{wanted.nll:.4f}" in out
    assert f"{wanted.ece:.4f}" in out
    counts = wanted.confusion - np.diag(wanted.confusion.diagonal())
    told = re.findall(r"(\d) as (\d) \((\d+)\)", out)
    assert [int(n) for *_, n in told] == sorted(counts.ravel())[:-6:-1]
    assert all(counts[int(label), int(answer)] == int(n) for label, answer, n in told)


def test_facts_of_a_file_move_no_cursor(pair, capsys):
    facts = FACTS | {"preset": "\x1b[2J\x1b]0;title\x07", "seed": "1\n2"}
    save_weights("odd.safetensors", models.build("default", seed=4), facts)
    assert evaluate.main(["odd.safetensors", *pair]) == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())
    assert "\\x1b[2J" in out


def test_a_data_folder_gives_its_test_images_and_else_the_sample(
    weights, digits, capsys
):
    Path("digits").mkdir()
    for part in ("train", "t10k"):
        write_idx(f"digits/{part}-images-idx3-ubyte", digits[0])
        write_idx(f"digits/{part}-labels-idx1-ubyte", digits[1])
    assert figures(capsys, weights, "--data", "digits")["images"] == IMAGES
    assert evaluate.main([weights, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["images"] == 1000
    assert "sample" in err


def test_the_shipped_weights_know_the_sample_and_that_is_said(capsys):
    """Its test images are training images of MNIST."""
    with pytest.warns(UserWarning, match="was trained on these images") as caught:
        found = figures(capsys, "--data", SAMPLE)
    assert found["accuracy"] > 0.98
    assert len(found["confusion"]) == 10  # of a reader, the digits alone
    assert 0 <= found["refused"] < 20
    assert len(caught) == 1


# --- what it refuses --------------------------------------------------------------


def test_images_and_labels_need_each_other_and_exclude_a_folder(weights, pair, capsys):
    for part in (pair[:2], pair[2:]):
        line = refusal(capsys, weights, *part, code=2)
        assert "--images and --labels" in line
    assert "--data" in refusal(capsys, weights, *pair, "--data", ".", code=2)


def test_digits_that_do_not_fit_are_one_sentence(weights, pair, digits, capsys):
    Path("nothing").mkdir()
    line = refusal(capsys, weights, "--data", "nothing")
    assert "nothing" in line
    assert "--data DIR" in line
    for images, labels, said in (
        (digits[0], digits[1][:-1], f"{IMAGES - 1}"),
        (digits[0][:, :20, :20], digits[1], "are 20×20, and the network takes 28×28"),
        (digits[0], digits[1] + np.uint8(1), "labels are 1 to 10, and the network has"),
    ):
        write_idx("images.idx", images)
        write_idx("labels.idx", labels)
        assert said in refusal(capsys, weights, *pair)


def test_weights_of_no_network_of_digits_are_one_sentence(pair, capsys, monkeypatch):
    Path("odd.safetensors").write_bytes(b"damaged")
    assert "odd.safetensors" in refusal(capsys, "odd.safetensors", *pair)
    monkeypatch.setattr(models, "SHIPPED", Path("gone.safetensors"))
    assert "gone.safetensors" in refusal(capsys, *pair)


def test_figures_that_cannot_be_computed_are_one_sentence(
    weights, pair, digits, capsys, monkeypatch
):
    arrays, facts = read_arrays(weights)
    # Blank images in the last batch have finite logits, those before them have not.
    huge = arrays | {"0.weight": np.full_like(arrays["0.weight"], 1e38)}
    save_arrays("huge.safetensors", huge, facts)
    write_idx("images.idx", np.concatenate([digits[0][:-20], 0 * digits[0][-20:]]))
    monkeypatch.setattr(models, "BATCH", 20)
    line = refusal(capsys, "huge.safetensors", *pair)
    assert "huge.safetensors: " in line
    assert "finite" in line
