"""The laws of ``tinycnn export``: ONNX Runtime computes what the network computes."""

import json
from functools import cache

import numpy as np
import pytest

from tinycnn import export, models
from tinycnn.data import load_mnist
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.nn import BatchNorm2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from tinycnn.nn.weights import save_weights

FACTS = {"image_size": [28, 28], "first_label": 0, "temperature": 1.5, "views": 1}


@cache
def digits():
    return load_mnist(SAMPLE_FOLDER).test_images


def own(rng):
    """Return what no preset has: strides, overlaps, a network within the network."""
    inner = [Conv2D(6, 5, (3, 2), padding=(0, 1), rng=rng), BatchNorm2D(5), ReLU()]
    return [
        Conv2D(1, 6, (4, 3), stride=(2, 1), padding="same", rng=rng),
        MaxPool2D((3, 2), stride=(2, 3)),
        Sequential(inner),
        Conv2D(5, 4, 2, rng=rng),
        Flatten(),
        Dense(3 * 9 * 4, 7, rng=rng),
    ]


def flat(rng):
    return [
        Flatten(),
        Dense(784, 20, rng=rng),
        ReLU(),
        Flatten(),
        Dense(20, 4, rng=rng),
    ]


@pytest.mark.parametrize(
    ("network", "views"),
    [("default", 1), ("tiny", 5), (own, 1), (own, 5), (flat, 5)],
)
def test_onnx_runtime_computes_the_same_logits(network, views):
    compare(network, views, 30)


def compare(network, views, count):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, rng = models.build(network), np.random.default_rng(1)
    for array in model.state().values():  # fresh biases are 0, and would hide a mistake
        if array.ndim == 1:
            array += rng.uniform(0.1, 0.3, array.shape).astype(np.float32)
    made = export.to_onnx(model, FACTS, views)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    for images in (digits()[:1], digits()[:count]):
        wanted = models.predict(model, images, views)
        (found,) = session.run(["logits"], {"images": models.as_input(images)})
        assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
        assert (found.argmax(axis=1) == wanted.argmax(axis=1)).all()
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == list(range(wanted.shape[1]))
    assert json.loads(told["temperature"]) == 1.5


def test_the_command_writes_the_file_or_names_the_layer(tmp_path, capsys):
    pytest.importorskip("onnx")
    target, weights = tmp_path / "d.onnx", tmp_path / "w.safetensors"
    assert export.main([str(models.SHIPPED), str(target), "--views"]) == 0
    assert target.stat().st_size > 400_000
    assert "opset 18" in capsys.readouterr().out
    file = tmp_path / "own.py"
    file.write_text(
        "from tinycnn import nn\nclass Mine(nn.ReLU):\n    pass\n"
        "def net(rng):\n    return [nn.Flatten(), Mine(), nn.Dense(784, 10, rng=rng)]\n"
    )
    network = models.UserFunction(str(file), "net")
    save_weights(weights, models.build(network), {"network": str(network)})
    argv = [str(weights), str(tmp_path / "no.onnx"), "--network", f"{file}:net"]
    with pytest.raises(SystemExit) as ended:
        export.main(argv)
    assert ended.value.code == 1
    assert (
        "layer 1 (Mine) is none of tinycnn.nn, and unknown to ONNX"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "no.onnx").exists()


def test_a_layer_that_was_edited_is_not_exported(monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr(ReLU, "forward", lambda self, x, training=False: x)  # noqa: ARG005
    with pytest.raises(ValueError, match="was a layer edited"):
        export.to_onnx(models.build("tiny"), FACTS)


def test_weights_that_overflow_or_a_target_that_is_no_onnx_are_one_sentence(
    tmp_path, capsys
):
    pytest.importorskip("onnx")
    weights, model = tmp_path / "w.safetensors", models.build("tiny")
    for parameter in model.parameters():
        parameter.value *= np.float32(1e30)
    save_weights(weights, model, {"network": "tiny"})
    for name, code in (("no.onnx", 1), ("w.safetensors", 2)):  # weights are not lost
        with pytest.raises(SystemExit) as ended:
            export.main([str(weights), str(tmp_path / name)])
        assert (ended.value.code, capsys.readouterr().err.count("\n")) == (code, 1)


if __name__ == "__main__":  # all presets on 1,000 digits, which takes a minute
    for every in models.NETWORKS:
        for views in (1, 5):
            compare(every, views, 1000)
            print(f"{every}, views: {views}: the same logits and answers")
