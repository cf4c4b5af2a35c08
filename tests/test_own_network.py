"""A network of one's own, and other images than MNIST's, in every command.

The files of a learner are written here as a learner would write them.
"""

import hashlib
import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinycnn import evaluate, fast, models, nn, recognize, train
from tinycnn.data import load_mnist, write_idx
from tinycnn.data.mnist import NAMES, SAMPLE_FOLDER
from tinycnn.nn.weights import read_facts
from tinycnn.reading.reader import Reader
from tinycnn.training.fit import Trainer
from tinycnn.userfile import UserFileError, UserFunction
from tinycnn.window.served import Reads

FILE = """
import slopes
from tinycnn import nn


class Leaky(nn.Layer):
    def forward(self, x, training=False):
        self._slope = slopes.of(x)
        return self._slope * x

    def backward(self, dy):
        return self._slope * dy


def small(rng):
    return [
        nn.Conv2D(1, 3, 5, stride=3, rng=rng),
        nn.ReLU(),
        Leaky(),
        nn.Flatten(),
        nn.Dense(8 * 8 * 3, 10, rng=rng),
    ]


def letters(rng):
    return [nn.Conv2D(1, 2, 5, stride=4, rng=rng), Leaky(), nn.Flatten(),
            nn.Dense(7 * 7 * 2, 26, rng=rng)]
"""
SLOPES = "import numpy as np\ndef of(x): return np.where(x > 0, x.dtype.type(1), 0.1)\n"
SLOPES = SLOPES.replace("0.1)", "x.dtype.type(0.1))")
RNG = np.random.default_rng(0)


class KilledError(BaseException):
    """Ends a command at once, as a signal that kills does."""


@pytest.fixture(autouse=True)
def surroundings(empty_folder):  # noqa: ARG001
    """Work in a folder with the file, and another beside it that it imports."""
    Path("mine").mkdir()
    Path("mine/net.py").write_text(FILE)
    Path("mine/slopes.py").write_text(SLOPES)


def write_data(folder, size, labels, tested=5):
    """Write images of noise, 36 to train and a few to test."""
    Path(folder).mkdir()
    for names, count in ((NAMES[:2], 36), (NAMES[2:], tested)):
        images = RNG.integers(0, 256, (count, *size), np.uint8)
        chosen = np.resize(np.array(labels, np.uint8), count)
        for name, array in zip(names, (images, chosen), strict=True):
            write_idx(Path(folder, name), array)
    return ["--data", folder, "--epochs", "2", "--batch-size", "16"]


def run(command, *argv):
    """Return how a command ends, whether it returns or exits."""
    try:
        return command.main([str(argument) for argument in argv])
    except SystemExit as error:
        return error.code


def said(capsys, code, command, *argv):
    """Run a command that must end with this code; return its output."""
    capsys.readouterr()
    ended = run(command, *argv)
    out, err = capsys.readouterr()
    assert ended == code, err
    assert "Traceback" not in err
    return out if code == 0 else err


# --- the file ---------------------------------------------------------------------


def test_a_function_is_named_by_file_and_name_and_imports_what_lies_beside_it():
    function = UserFunction.parse("mine/net.py:small")
    assert str(function) == "net.py:small"
    assert function.sha256() == hashlib.sha256(FILE.encode()).hexdigest()
    assert len(function(np.random.default_rng(0))) == 5
    for text in ("net.py:small", "mine/net.py", "mine/net.py:a b", "mine:small", ""):
        with pytest.raises(ValueError, match=r"FILE\.py:NAME"):
            UserFunction.parse(text)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def net(rng): return 1 / 0", r"ZeroDivisionError.*\(net.py, line 1\)"),
        ("import nothing_of_this_name", r"ModuleNotFoundError.*net.py, line 1"),
        ("def net(: pass", r"SyntaxError.*net.py"),
        ("import sys; sys.exit(3)", r"SystemExit: 3 \(net.py, line 1\)"),
        ("def net(): return []", r"TypeError.*net.py"),
        ("other = 1", "net.py has no function named 'net'"),
    ],
)
def test_what_its_code_raises_is_one_sentence_with_the_line(code, words):
    Path("net.py").write_text(code)
    with pytest.raises(UserFileError, match=words):
        models.build(UserFunction.parse("net.py:net"))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("3", "must return a list of layers, not 3"),
        ("[]", r"for 2 images, not \(2, K\)"),
        ("[nn.Flatten(), nn.Dense(784, 10, rng=rng), nn.ReLU]", "is the class ReLU"),
        ("[nn.Dense(784, 10, rng=rng)]", r"layer 0 \(Dense\)"),
        ("[nn.Conv2D(1, 2, 3, rng=rng)]", r"returns \(2, 26, 26, 2\) for 2 images"),
        ("[nn.Flatten(), nn.Dense(784, 9, rng=rng)]", "network has classes 0 to 8"),
        ("[Double(), nn.Flatten(), nn.Dense(784, 10, rng=rng)]",
         r"layer 0 \(Double\) has a wrong gradient: x\["),
    ],
)  # fmt: skip
def test_a_network_is_checked_before_it_is_trained(layers, words, capsys):
    Path("net.py").write_text(
        "from tinycnn import nn\nclass Double(nn.Layer):\n"
        "    def forward(self, x, training=False): return 2 * x\n"
        "    def backward(self, dy): return 3 * dy\n"
        f"def net(rng): return {layers}\n"
    )
    error = said(capsys, 1, train, "--network", "net.py:net", "--out", "run")
    last = error.splitlines()[-1]
    assert last.startswith("error: ")
    assert not Path("run").exists()
    assert re.search(words, last), last


# --- training, resuming, evaluating -----------------------------------------------


def test_a_network_trains_is_resumed_and_evaluated(capsys, monkeypatch):
    data = write_data("data", (28, 28), range(10))
    own = ["--network", "mine/net.py:small"]
    result = json.loads(said(capsys, 0, train, *data, *own, "--out", "a", "--json"))
    assert (result["preset"], result["network"]) == (None, "net.py:small")
    config = json.loads(Path("a/config.json").read_text())
    assert config["network_sha256"] == hashlib.sha256(FILE.encode()).hexdigest()
    weights = Path("a/weights.safetensors").read_bytes()
    assert str(Path.cwd()).encode() not in weights

    # Killed at the second step, and resumed: the same bytes.
    original = Trainer._learn

    def learn(self, *batch):
        if self.steps == 1:
            raise KilledError
        original(self, *batch)

    monkeypatch.setattr(Trainer, "_learn", learn)
    with pytest.raises(KilledError):
        run(train, *data, *own, "--out", "b")
    monkeypatch.setattr(Trainer, "_learn", original)
    assert run(train, "--resume", "b") == 0
    assert Path("b/weights.safetensors").read_bytes() == weights
    assert run(train, "--resume", "b", *own) == 0  # the same, named again

    file = "a/weights.safetensors"
    figures = said(capsys, 0, evaluate, file, *own, *data[:2], "--json")
    assert json.loads(figures)["errors"] == result["test_errors"]
    assert "net.py:small, seed 0" in said(capsys, 0, evaluate, file, *own, *data[:2])
    assert "--network FILE.py:NAME" in said(capsys, 1, evaluate, file)
    wrong = ["--network", "mine/net.py:letters"]
    assert "in the network" in said(capsys, 1, evaluate, file, *wrong)

    # Another file is refused when the run is resumed, and named when it is evaluated.
    Path("mine/net.py").write_text(f"{FILE}\n# changed\n")
    error = said(capsys, 1, train, "--resume", "a")
    assert "not the network of this run, has changed since, or cannot" in error
    assert f"--from {Path('a', 'weights.safetensors')}" in error
    with pytest.warns(UserWarning, match="net.py has changed since"):
        assert run(evaluate, file, *own, *data[:2]) == 0
    Path("mine/net.py").unlink()
    assert "cannot be read" in said(capsys, 1, train, "--resume", "a")
    Path("mine").rename("moved")
    Path("moved/net.py").write_text(FILE)
    assert run(train, "--resume", "a", "--network", "moved/net.py:small") == 0
    wrong = ["--network", "moved/net.py:letters"]
    assert "--network FILE.py:NAME" in said(capsys, 1, train, "--resume", "a", *wrong)


def test_letters_with_labels_1_to_26_are_classes_0_to_25(capsys):
    data = write_data("data", (32, 32), range(1, 27))
    own = ["--network", "mine/net.py:letters"]
    result = json.loads(said(capsys, 0, train, *data, *own, "--out", "run", "--json"))
    facts = read_facts("run/weights.safetensors")
    expected = {"classes": 26, "first_label": 1, "image_size": [32, 32], "written": 0}
    assert facts | expected == facts
    assert result | expected == result
    assert run(train, "--resume", "run") == 0

    file = "run/weights.safetensors"
    assert run(evaluate, file, *own, *data[:2], "--json") == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["errors"] == result["test_errors"]
    assert np.sum(figures["confusion"], axis=1).tolist() == [1] * 5 + [0] * 21
    labels = {mistake["label"] for mistake in figures["mistakes"]}
    assert len(figures["mistakes"]) == figures["errors"]
    assert labels <= set(range(1, 6))

    # Images on which the network was trained say nothing about others.
    pair = ["--images", f"data/{NAMES[0]}", "--labels", f"data/{NAMES[1]}"]
    with pytest.warns(UserWarning, match="was trained on these images"):
        figures = said(capsys, 0, evaluate, file, *own, *pair, "--json")
    assert json.loads(figures)["images"] == 36

    for other, words in [
        (
            write_data("small", (28, 28), range(1, 27)),
            "28×28, and the network takes 32",
        ),
        (write_data("zero", (32, 32), range(26)), "labels are 0 to 4, and the network"),
        (write_data("more", (32, 32), [27]), "labels are 27 to 27"),
    ]:
        assert words in said(capsys, 1, evaluate, file, *own, *other[:2])
    assert "reading needs" in said(
        capsys, 1, recognize, "x.png", "--weights", file, *own
    )


def test_no_written_digits_join_other_data_and_presets_say_what_they_take(capsys):
    data = write_data("data", (28, 28), range(10))
    flags = ["--preset", "quick", "--json"]
    result = json.loads(said(capsys, 0, train, *data, *flags, "--out", "run"))
    assert (result["written"], result["data"]) == (0, "data")
    default = ["--preset", "default", "--out", "other"]
    assert "written" not in said(capsys, 0, train, *data, *default)
    assert read_facts("other/weights.safetensors")["written"] == 0
    for size, labels, words in [
        ((32, 32), range(10), "images are 32×32, and the network takes 28×28"),
        ((28, 28), range(11), "labels are 0 to 10, and the network has classes 0 to 9"),
        (
            (28, 28),
            range(1, 27),
            "labels are 1 to 26, and the network has classes 1 to 10",
        ),
    ]:
        other = write_data(f"{size[0]}-{len(labels)}", size, labels)
        error = said(capsys, 1, train, *other, "--out", "never")
        assert words in error
        assert "--network FILE.py:NAME" in error
    assert not Path("never").exists()


def test_training_and_test_images_of_two_sizes_are_refused(capsys):
    data = write_data("data", (28, 28), range(10))
    write_idx(f"data/{NAMES[2]}", np.zeros((5, 32, 32), np.uint8))
    error = said(capsys, 1, train, *data, "--out", "never")
    assert "images are 32×32, and the network takes 28×28" in error


OTHERS = """
import sys
from tinycnn import nn


class Remembers(nn.Layer):
    def forward(self, x, training=False):
        self.shape, self.largest = x.shape, float(x.max())
        return x.reshape(len(x), -1).copy()

    def backward(self, dy):
        return dy.reshape(self.shape).copy()


class Block(nn.Layer):
    def __init__(self, *layers):
        self.inner = nn.Sequential(layers)

    def forward(self, x, training=False):
        return self.inner.forward(x, training)

    def backward(self, dy):
        return self.inner.backward(dy)


class Late(nn.Layer):
    def forward(self, x, training=False):
        print("in forward")
        if len(x) > 8 and x.ndim == 2:
            NAME
        return x.copy()

    def backward(self, dy):
        return dy.copy()


def remembers(rng):
    return [Remembers(), nn.Dense(784, 10, rng=rng)]


def blocks(rng):
    return [
        Block(nn.Conv2D(1, 4, 3, stride=2, rng=rng), nn.ReLU()),
        Block(nn.Conv2D(4, 4, 3, rng=rng), nn.BatchNorm2D(4)),
        nn.Sequential([nn.Conv2D(4, 4, 3, rng=rng), nn.BatchNorm2D(4), nn.ReLU()]),
        nn.Flatten(),
        nn.Dense(9 * 9 * 4, 10, rng=rng),
    ]


def late(rng):
    return [nn.Flatten(), Late(), nn.Dense(784, 10, rng=rng)]
"""


def test_what_a_layer_remembers_is_no_setting(capsys):
    """Its text is taken when the network is made."""
    Path("mine/other.py").write_text(OTHERS)
    own = ["--network", "mine/other.py:remembers"]
    data = write_data("data", (28, 28), range(10))
    assert run(train, *data, *own, "--out", "run") == 0
    assert read_facts("run/weights.safetensors")["layers"][0] == "Remembers()"
    assert run(evaluate, "run/weights.safetensors", *own, *data[:2]) == 0, capsys


def test_blocks_of_convolution_and_relu_or_batch_norm_are_not_refused(capsys):
    """White paper is full of kinks, and a bias before batch norm has no gradient."""
    Path("mine/other.py").write_text(OTHERS)
    own = ["--network", "mine/other.py:blocks"]
    argv = ["--epochs", "1", "--limit", "64", "--out", "run"]
    said(capsys, 0, train, *own, *argv)
    layers = read_facts("run/weights.safetensors")["layers"]
    assert "Conv2D(stride=(1, 1)" in layers[2]  # a network within the network


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("self.nothing", r"AttributeError: .*nothing.*other.py, line 30\)"),
        ("1 / 0", r"ZeroDivisionError: .*other.py, line 30\)"),
        ("sys.exit(7)", r"SystemExit: 7 .*other.py, line 30\)"),
    ],
)
def test_a_late_mistake_in_a_layer_is_one_sentence_in_every_command(
    code, words, capsys
):
    Path("mine/other.py").write_text(OTHERS.replace("NAME", "pass"))
    own = ["--network", "mine/other.py:late"]
    data = write_data("data", (28, 28), range(10), tested=20)
    capsys.readouterr()
    assert run(train, *data, *own, "--json", "--out", "run") == 0
    json.loads(capsys.readouterr().out)  # and nothing that the layer prints
    Path("mine/other.py").write_text(OTHERS.replace("NAME", code))
    error = said(capsys, 1, train, *data, *own, "--out", "other")
    assert re.search(words, error.splitlines()[-1]), error
    file = "run/weights.safetensors"
    with pytest.warns(UserWarning, match="has changed"):
        error = said(capsys, 1, evaluate, file, *own, *data[:2])
    assert re.search(words, error), error


def test_the_command_that_continues_names_a_network_that_has_moved(capsys):
    data = write_data("data", (28, 28), range(10))
    assert run(train, *data, "--network", "mine/net.py:small", "--out", "run") == 0
    Path("mine").rename("moved")
    moved = ["--network", "moved/net.py:small"]
    original = Trainer.temperature
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "temperature", lambda _: (_ for _ in ()).throw(OSError))
        error = said(capsys, 1, train, "--resume", "run", *moved)
    assert original is Trainer.temperature
    assert error.endswith("--resume run\n")  # the checkpoint names where it is now
    assert run(train, "--resume", "run") == 0


# --- from other weights -----------------------------------------------------------


def test_training_begins_with_the_weights_of_a_file(monkeypatch):
    data = write_data("data", (28, 28), range(10))
    quick = ["--preset", "quick"]
    assert run(train, *data, *quick, "--out", "a") == 0
    file = "a/weights.safetensors"
    saved, _ = models.load(file)
    begun = []
    original = Trainer.__init__

    def noted(self, *arguments, **options):
        original(self, *arguments, **options)
        begun.append({k: v.copy() for k, v in self.model.state().items()})
        assert self.optimizer.steps == 0
        for name, array in self.averaged.state().items():
            np.testing.assert_array_equal(array, self.model.state()[name])

    monkeypatch.setattr(Trainer, "__init__", noted)
    assert run(train, *data, *quick, "--from", file, "--out", "b") == 0
    for name, array in saved.state().items():
        np.testing.assert_array_equal(begun[0][name], array)
    facts = read_facts("b/weights.safetensors")
    assert facts["preset"] == "quick"
    assert facts["from_sha256"] == hashlib.sha256(Path(file).read_bytes()).hexdigest()
    Path(file).unlink()
    assert run(train, "--resume", "b") == 0  # needs the file no more
    assert read_facts("b/weights.safetensors") == facts


def test_weights_of_other_layers_and_other_settings_are_refused(capsys):
    data = write_data("data", (28, 28), range(10))
    assert run(train, *data, "--preset", "quick", "--out", "a") == 0
    start = ["--from", "a/weights.safetensors"]
    tiny = [*data, "--preset", "tiny", *start, "--out", "b"]
    assert "in the network" in said(capsys, 1, train, *tiny)
    assert not Path("b").exists()
    ones = write_data("ones", (28, 28), range(1, 10))
    mixed = [*ones, "--preset", "quick", *start, "--out", "b"]
    assert "is for other labels than the data" in said(capsys, 1, train, *mixed)
    error = said(capsys, 2, train, "--resume", "a", *start)
    assert "--from: not allowed with argument --resume" in error
    error = said(capsys, 2, train, "--resume", "a", "--epochs", "3")
    assert f"--from {Path('a', 'weights.safetensors')}" in error


# --- reading ----------------------------------------------------------------------


def test_a_network_of_ten_classes_reads_and_the_shipped_one_still_does(capsys):
    digits = load_mnist(SAMPLE_FOLDER)
    ink = np.pad(digits.train_images[digits.train_labels == 7][0], 20)
    Image.fromarray(255 - np.kron(ink, np.ones((3, 3), np.uint8))).save("seven.png")
    before = said(capsys, 0, recognize, "seven.png", "--json")
    own = UserFunction.parse("mine/net.py:small")
    model = models.build(own, seed=1)
    nn.weights.save_weights("mine.safetensors", model, {"network": str(own)})
    weights = ["--weights", "mine.safetensors", "--network", "mine/net.py:small"]
    capsys.readouterr()
    assert run(recognize, "seven.png", *weights, "--json") == 0
    out, err = capsys.readouterr()
    assert err == "mine.safetensors names the digits that the shipped reader finds\n"
    assert out != before
    assert said(capsys, 0, recognize, "seven.png", "--json") == before
    for digit in json.loads(out)["digits"]:
        assert len(digit["top"]) == 3

    reader = Reader("mine.safetensors", network=own)
    assert [type(layer).__name__ for layer in reader.model.layers][2] == "Leaky"
    window = Reads(Path("mine.safetensors"), network=own)
    assert window.reader.model.layers[2].forward(-np.ones(1)) == -0.1


# --- and in a program -------------------------------------------------------------


def test_a_command_may_run_in_a_thread(capsys):
    data = write_data("data", (28, 28), range(10))
    codes = []
    argv = [*data, "--preset", "quick", "--out", "run"]
    thread = threading.Thread(target=lambda: codes.append(run(train, *argv)))
    thread.start()
    thread.join()
    assert codes == [0], capsys.readouterr().err


def test_a_layer_of_ones_own_runs_within_a_fused_network():
    model = models.build(UserFunction.parse("mine/net.py:small"))
    runner = fast.fuse(model)
    x = RNG.random((4, 28, 28, 1), np.float32)
    np.testing.assert_allclose(runner.forward(x), model.forward(x), rtol=1e-5)
