"""The laws of ``tinycnn report``: its numbers, its HTML, and runs that are damaged.

How a browser shows the page is looked at by ``browser.py``, a step of ``.ci/run``.
"""

import base64
import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import html5lib
import numpy as np
import pytest
from PIL import Image

from tinycnn import evaluate, nn, report, train
from tinycnn.data import load_mnist, write_idx
from tinycnn.data.mnist import NAMES, SAMPLE_FOLDER
from tinycnn.fast import fuse
from tinycnn.report.figures import difference, layers, learned_at, wilson
from tinycnn.report.pictures import Sheet

NETWORK = """
from tinycnn import nn

def net(rng, classes=10):
    return [nn.Conv2D(1, 3, 5, stride=4, rng=rng), nn.ReLU(), nn.Flatten(),
            nn.Dense(6 * 6 * 3, classes, rng=rng)]

def letters(rng):
    return net(rng, 26)
"""


def write_data(folder, test_images, change=lambda labels: labels):
    sample = load_mnist(SAMPLE_FOLDER)
    folder.mkdir()
    write_idx(folder / NAMES[0], sample.train_images[:60])
    write_idx(folder / NAMES[1], change(sample.train_labels[:60]))
    write_idx(folder / NAMES[2], sample.test_images[:test_images])
    write_idx(folder / NAMES[3], change(sample.test_labels[:test_images]))


def learn(out, *flags, network="net", data="data"):
    argv = ["--network", f"net.py:{network}", "--data", str(data), "--out", str(out)]
    assert train.main([*argv, *flags]) == 0


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a folder with digits of the sample, and two runs on them."""
    home = tmp_path_factory.mktemp("report")
    (home / "net.py").write_text(NETWORK)
    write_data(home / "data", 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        learn("run", "--epochs=2")
        learn("other", "--epochs=1", "--seed=1", "--no-snapshots")
    return home


@pytest.fixture
def run(home, tmp_path, monkeypatch):
    """Return a copy of the first run, in a folder of its own."""
    shutil.copytree(home / "run", tmp_path / "run")
    monkeypatch.chdir(home)
    return tmp_path / "run"


def page_of(*argv):
    """Return a page, parsed strictly, and its words; it is checked as every page is."""
    assert report.main([*map(str, argv), "--out", "page.html"]) == 0
    text = Path("page.html").read_text("utf-8")
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    ids = [node.get("id") for node in tree.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    for node in [*tree.iter("img"), *tree.iter("i"), *tree.iter("svg")]:
        assert node.get("alt") or node.get("aria-label")
    loaded = re.findall(r"(?:src|srcset|href)=\"([^#\"]*)|url\(([^#)]*)", text)
    assert all("".join(one).startswith("data:") or one == ("", "") for one in loaded)
    assert len(text) < 1_500_000
    return tree, " ".join("".join(tree.find("body").itertext()).split())


def test_its_numbers_are_those_of_evaluate_and_every_cell_opens_its_images(run, capsys):
    tree, said = page_of(run)
    before = Path("page.html").read_bytes()
    assert report.main([str(run)]) == 0
    assert (run / "report.html").read_bytes() == before
    capsys.readouterr()
    argv = [str(run / "weights.safetensors"), "--network", "net.py:net"]
    assert evaluate.main([*argv, "--data", "data", "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    values = {node.get("id"): node for node in tree.iter("data")}
    for name in ("images", "errors", "accuracy", "nll", "ece"):
        assert float(values[name].get("value")) == expected[name], name
    assert values["accuracy"].text == f"{100 * expected['accuracy']:.2f} %"
    tables = {table.get("class"): table.find("tbody") for table in tree.iter("table")}
    cells = [
        [int("".join(cell.itertext()).strip() or 0) for cell in row.iter("td")]
        for row in tables["confusion"].iter("tr")
    ]
    assert cells == expected["confusion"]
    names = ("index", "label", "answer", "confidence")
    for row, one in zip(tables["mistakes"], expected["mistakes"], strict=True):
        texts = ["".join(cell.itertext()) for cell in row][:3]
        figures = [*map(int, texts), float(row.find("td/data").get("value"))]
        assert dict(zip(names, figures, strict=True)) == one
    assert "While it learned" in said
    assert "--network" in said
    labels = load_mnist("data").test_labels
    popovers = {node.get("id"): node for node in tree.iter("div") if node.get("id")}
    buttons = [b for b in tree.iter("button") if not b.get("popovertargetaction")]
    assert {button.get("popovertarget") for button in buttons} == set(popovers)
    for button in buttons:
        name = button.get("popovertarget")
        shown = [i.get("aria-label").split(",")[0] for i in popovers[name].iter("i")]
        numbers = [int(text.removeprefix("test image ")) for text in shown]
        assert len(numbers) == min(int(button.text), 18)
        assert {int(labels[n]) for n in numbers} == {int(name.split("-")[1])}


def test_a_run_of_an_older_version_and_damaged_records_are_a_page(run):
    first, second = (run / "metrics.jsonl").read_text().splitlines()
    older = json.dumps(json.loads(first) | {"norms": 4})
    odd = ["[]", '{"epoch": "2"}', '{"epoch": NaN}', second[:30]]
    (run / "metrics.jsonl").write_text("\n".join([older, *odd, ""]))
    (run / "first_epoch.jsonl").write_bytes(b'\0\n{"images": 5, "loss_sum": 3}\n')
    (run / "snapshots" / "000000000.safetensors").write_bytes(b"x")
    (run / "config.json").write_text('{"recipe": {"epochs": 2}, "flags": "x"}')
    flags = ["--network", "net.py:net", "--data", "data"]
    _, said = page_of(run, *flags)
    assert "1.025" not in said  # between whole epochs
    for note in (
        "1 of 2: stopped, diverged or still running",
        *("4 of 5 lines of metrics.jsonl are", "1 of 2 lines of first_epoch.jsonl are"),
        "the snapshot 000000000.safetensors is damaged",
    ):
        assert note in said
    for name in ("first_epoch.jsonl", "config.json", "metrics.jsonl"):
        (run / name).unlink()
    shutil.rmtree(run / "snapshots")
    assert "first_epoch.jsonl is missing or damaged" in page_of(run, *flags)[1]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", b"[1]", "its network, 'net.py:net', is not one"),
        ("weights.safetensors", None, "has no weights.safetensors"),
        ("weights.safetensors", b"damaged", "cannot use"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(run, name, content, said, capsys):
    (run / name).unlink()
    if content:
        (run / name).write_bytes(content)
    with pytest.raises(SystemExit, match="1"):
        report.main([str(run)])
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(f"error: .*{re.escape(said)}.*\n", err)


def test_two_runs_are_compared_image_by_image(run):
    _, said = page_of("other", run)
    assert "percentage points" in said
    assert "Right by other alone" in said


def test_letters_from_1_few_test_images_and_weights_without_a_run(run, tmp_path):
    write_data(tmp_path / "letters", 5, lambda labels: labels * 2 + 1)
    learn(tmp_path / "new", "--epochs=1", network="letters", data=tmp_path / "letters")
    weights = ["--weights", tmp_path / "new" / "weights.safetensors"]
    network = ["--network", "net.py:letters", "--data", tmp_path / "letters"]
    tree, said = page_of(*weights, *network)
    rows = tree.findall(".//table[@class='confusion']/tbody/tr/th")
    assert [row.text for row in rows] == [str(label) for label in range(1, 27)]
    assert "of 5 test images" in said
    with pytest.raises(SystemExit, match="2"):
        report.main([str(run), *map(str, weights)])


def test_what_runs_a_layer_stands_at_the_first_of_its_layers():
    rng = np.random.default_rng(0)
    first = [nn.Flatten(), nn.Dense(784, 64, rng=rng), nn.ReLU()]
    runner = fuse(nn.Sequential([*first, nn.Dense(64, 10, rng=rng)]))
    images = np.zeros((1, 28, 28), np.uint8)
    runner.forward(np.zeros((1, 28, 28, 1), np.float32))
    rows = layers(SimpleNamespace(runner=runner, images=images))
    expected = [("FusedDense", 2), ("NoneType", 0), ("ReLU", 1), ("Dense", 1)]
    assert [row[-2:] for row in rows] == expected


def test_intervals_are_those_of_the_papers():
    # Newcombe 1998, table I, method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(29, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        first, second = rng.random((2, 300)) < 0.9
        gain, low, high = difference(first, second)
        assert gain == pytest.approx(second.mean() - first.mean())
        covered += low <= 0 <= high
    assert 0.93 < covered / 400 < 0.98


def test_a_place_of_the_sheet_shows_its_image():
    images = load_mnist(SAMPLE_FOLDER).test_images[:60]
    sheet = Sheet(images)
    places = {n: sheet.place(n) for n in range(59, 10, -1)}
    uri = re.search(r"base64,(.*)\)", sheet.variables())[1]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("L"))
    for n, (x, y) in places.items():
        tile = picture[28 * y :, 28 * x :][:28, :28].astype(int)
        assert abs(255 - tile - images[n]).max() <= 16


def test_learned_is_after_the_last_mistake():
    answers = np.array([[0, 1, 1], [1, 1, 0], [1, 1, 1], [1, 1, 0]])  # (S, N)
    found = learned_at(np.eye(2)[answers], np.ones(3, np.uint8))
    assert found.tolist() == [1, 0, 4]
