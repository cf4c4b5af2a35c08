"""The laws of ``python -m tinycnn.evaluate``: what it prints, and what it refuses.

The weights are made in a fixture: an untrained network is wrong often enough to have
something to tell. That the figures are right is the business of ``tests/training``.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tinycnn import evaluate, models
from tinycnn.data import load_mnist, write_idx
from tinycnn.nn.weights import read_tensors, save_tensors, save_weights
from tinycnn.training import fit
from tinycnn.training.metrics import most_confused

IMAGES = 60
SAMPLE = Path(evaluate.__file__).parent / "data" / "sample"


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Work in an empty folder and without network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYCNN_OFFLINE", "1")
    monkeypatch.delenv("TINYCNN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def digits():
    """Return images and labels, some of the sample's."""
    sample = load_mnist(SAMPLE)
    return sample.test_images[:IMAGES], sample.test_labels[:IMAGES]


@pytest.fixture
def pair(tmp_path, digits):
    """Return the arguments that name an IDX pair of these digits."""
    images, labels = tmp_path / "images.idx", tmp_path / "labels.idx"
    write_idx(images, digits[0])
    write_idx(labels, digits[1])
    return ["--images", str(images), "--labels", str(labels)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return a weights file of an untrained network."""
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    metadata = {"architecture": "default", "preset": "default", "seed": "4"}
    save_weights(path, models.build("default", seed=4), metadata)
    return path


@pytest.fixture(scope="module")
def expected(digits):
    """Return the metrics that the weights have on the digits."""
    return fit.evaluate(models.build("default", seed=4), *digits)


def exit_code(argv):
    """Return how a command ends, whether it returns or exits."""
    try:
        return evaluate.main([str(argument) for argument in argv])
    except SystemExit as error:
        return error.code


def refusal(argv, capsys, code=1):
    """Return the one line of stderr with which a command refuses."""
    assert exit_code(argv) == code
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


# --- what it prints --------------------------------------------------------------


def test_json_has_the_figures_and_nothing_else(weights, pair, expected, capsys):
    assert exit_code([weights, *pair, "--json"]) == 0
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    assert err == ""
    assert json.loads(line) == {
        "images": IMAGES,
        "errors": expected.errors,
        "accuracy": expected.accuracy,
        "nll": expected.nll,
        "ece": expected.ece,
        "reliability": [one._asdict() for one in expected.reliability],
        "least_confident": expected.least_confident._asdict(),
        "confusion": expected.confusion.tolist(),
    }


def test_the_confusion_counts_every_image_under_its_label(
    weights, pair, digits, capsys
):
    exit_code([weights, *pair, "--json"])
    confusion = np.array(json.loads(capsys.readouterr().out)["confusion"])
    assert confusion.shape == (10, 10)
    assert (
        confusion.sum(axis=1).tolist() == np.bincount(digits[1], minlength=10).tolist()
    )


def test_the_text_tells_by_confidence_by_digit_and_the_most_confused(
    weights, pair, expected, capsys
):
    assert exit_code([weights, *pair]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"{expected.accuracy:.2%}" in out
    assert f"{expected.errors} errors" in out
    rows = [
        tuple(map(int, row))
        for row in re.findall(r"^ *(\d) +(\d+) +(\d+)$", out, re.MULTILINE)
    ]
    assert rows == [
        (digit, counts.sum(), counts.sum() - counts[digit])
        for digit, counts in enumerate(expected.confusion)
    ]
    by_confidence = re.findall(r"^ +(0\.\d+) +([01]\.\d+) +(\d+)$", out, re.MULTILINE)
    assert by_confidence == [
        (f"{one.confidence:.4f}", f"{one.accuracy:.4f}", str(one.images))
        for one in expected.reliability
    ]
    assert f"{expected.least_confident.confidence:.4f}" in out
    told = re.findall(r"(\d) read as (\d): (\d+)", out)
    assert [tuple(map(int, row)) for row in told] == most_confused(expected.confusion)
    assert str(weights) in out
    assert "seed 4" in out


def test_packed_files_and_any_name_will_do(weights, tmp_path, pair, capsys):
    import gzip

    exit_code([weights, *pair, "--json"])
    plain = capsys.readouterr().out
    packed = [tmp_path / "a", tmp_path / "b.gz"]
    for source, target in zip(pair[1::2], packed, strict=True):
        target.write_bytes(gzip.compress(Path(source).read_bytes()))
    argv = [weights, "--images", packed[0], "--labels", packed[1], "--json"]
    assert exit_code(argv) == 0
    assert capsys.readouterr().out == plain


def test_a_data_folder_gives_its_test_images(weights, tmp_path, digits, capsys):
    folder = tmp_path / "digits"
    folder.mkdir()
    for part in ("train", "t10k"):
        write_idx(folder / f"{part}-images-idx3-ubyte", digits[0])
        write_idx(folder / f"{part}-labels-idx1-ubyte", digits[1])
    assert exit_code([weights, "--data", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == IMAGES


def test_without_data_the_sample_is_used_and_said(weights, capsys):
    assert exit_code([weights, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["images"] == 1000
    assert "sample" in err


def test_the_weights_that_come_along_read_digits(capsys):
    assert models.SHIPPED.is_file(), "pretrained/digits.safetensors must ship"
    assert exit_code(["--data", SAMPLE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] > 0.98


# --- what it refuses -------------------------------------------------------------


@pytest.mark.parametrize("only", [0, 2])
def test_images_and_labels_need_each_other(weights, pair, capsys, only):
    line = refusal([weights, *pair[only : only + 2]], capsys, code=2)
    assert "--images" in line
    assert "--labels" in line


def test_a_pair_and_a_folder_exclude_each_other(weights, pair, capsys, tmp_path):
    line = refusal([weights, *pair, "--data", tmp_path], capsys, code=2)
    assert "--data" in line


def test_more_images_than_labels_is_one_sentence(weights, pair, digits, capsys):
    write_idx(Path(pair[3]), digits[1][:-1])
    line = refusal([weights, *pair], capsys)
    assert f"{IMAGES}" in line
    assert f"{IMAGES - 1}" in line


def test_images_of_another_size_are_refused_with_their_size(
    weights, pair, digits, capsys
):
    write_idx(Path(pair[1]), digits[0][:, :20, :20])
    assert "20, 20" in refusal([weights, *pair], capsys)


def test_labels_for_images_are_refused(weights, pair, capsys):
    pair[1], pair[3] = pair[3], pair[1]
    assert "idx" in refusal([weights, *pair], capsys)


def test_a_folder_without_digits_is_named(weights, tmp_path, capsys):
    (tmp_path / "nothing").mkdir()
    line = refusal([weights, "--data", tmp_path / "nothing"], capsys)
    assert "nothing" in line
    assert "--data DIR" in line


def damaged(path, weights, change):
    path.write_bytes(change(weights.read_bytes()))
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content + b"\0",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[100:],
        lambda content: content[:0],
        lambda content: b"PK\x03\x04" + content,
    ],
)
def test_damaged_weights_are_one_sentence(weights, pair, tmp_path, capsys, change):
    path = damaged(tmp_path / "bad.safetensors", weights, change)
    assert "bad.safetensors" in refusal([path, *pair], capsys)


@pytest.mark.parametrize(
    "metadata", [{}, {"architecture": ""}, {"architecture": "lenet"}]
)
def test_an_unknown_network_is_one_sentence(weights, pair, tmp_path, capsys, metadata):
    path = tmp_path / "foreign.safetensors"
    save_tensors(path, read_tensors(weights)[0], metadata)
    line = refusal([path, *pair], capsys)
    assert "foreign.safetensors" in line
    assert "no network named" in line
    assert "tinycnn.train" in line


def test_weights_of_another_network_are_one_sentence(weights, pair, tmp_path, capsys):
    path = tmp_path / "other.safetensors"
    save_tensors(path, read_tensors(weights)[0], {"architecture": "classic"})
    assert "other.safetensors" in refusal([path, *pair], capsys)


def test_the_judge_is_refused(pair, capsys):
    """Its temperature is that of two networks' sum: alone it would look modest."""
    line = refusal([models.JUDGE, *pair], capsys)
    assert str(models.JUDGE) in line
    assert "names digits" in line


def test_the_checkpoint_of_a_run_is_no_weights_file(pair, tmp_path, capsys):
    path = tmp_path / "checkpoint.safetensors"
    state = {f"model.{k}": v for k, v in models.build("default").state().items()}
    save_tensors(path, state, {"progress": "{}"})
    assert "weights.safetensors" in refusal([path, *pair], capsys)


@pytest.mark.parametrize("value", [1e38, -1e38])
def test_weights_that_overflow_are_one_sentence(weights, pair, tmp_path, capsys, value):
    """They are finite, so the file is whole; what they compute is not."""
    path = tmp_path / "huge.safetensors"
    tensors, metadata = read_tensors(weights)
    tensors = {name: np.full_like(array, value) for name, array in tensors.items()}
    save_tensors(path, tensors, metadata)
    assert "finite" in refusal([path, *pair], capsys)


def test_missing_shipped_weights_are_one_sentence(pair, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(models, "SHIPPED", tmp_path / "gone.safetensors")
    assert "gone.safetensors" in refusal(pair, capsys)


# --- the temperature -------------------------------------------------------------


def test_logits_are_divided_by_the_temperature_of_the_weights(
    pair, digits, tmp_path, capsys
):
    path, model = tmp_path / "cool.safetensors", models.build("default", seed=4)
    save_weights(path, model, {"architecture": "default", "temperature": "0.5"})
    assert exit_code([path, *pair, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["nll"] == fit.evaluate(model, *digits, temperature=0.5).nll
    assert found["nll"] != fit.evaluate(model, *digits).nll


@pytest.mark.parametrize("temperature", ["0", "-1", "nan", "inf", "warm"])
def test_a_temperature_that_is_no_positive_number_is_refused(
    temperature, pair, tmp_path, capsys
):
    path, model = tmp_path / "odd.safetensors", models.build("default", seed=4)
    save_weights(path, model, {"architecture": "default", "temperature": temperature})
    assert "temperature" in refusal([path, *pair], capsys)
