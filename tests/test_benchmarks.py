"""The laws of the benchmarks: like is compared with like, and counted right.

No peer and no data from outside is needed, and nothing is asserted of a time.
"""

import gzip
import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    accuracy,
    corrupted,
    planted_faults,
    reading,
    reading_sets,
    strokes,
    versus,
    versus_data,
    versus_networks,
    versus_peers,
)
from benchmarks.reading_sets import Item
from benchmarks.versus import Case, Entrant
from benchmarks.versus_ablation import ABLATIONS, tricks_for
from benchmarks.versus_networks import NETWORKS
from benchmarks.versus_worker import Worker, WorkerError
from tinycnn import models
from tinycnn.data import load_mnist, write_idx
from tinycnn.data.mnist import SAMPLE_FOLDER
from tinycnn.reading.result import Digit, Reading
from tinycnn.threads import available_cores

CASE = Case("speed", "B", "training", 64)
OURS, TENSORFLOW, JAX, SGEMM = (
    Entrant(name, 2) for name in ("tinycnn", "tensorflow", "jax", "sgemm")
)


@pytest.fixture(scope="module")
def sample():
    return load_mnist(SAMPLE_FOLDER)


# --- versus: like with like -----------------------------------------------------------


@pytest.mark.parametrize(("name", "ours"), [("A", "classic"), ("default", "default")])
def test_the_networks_are_those_of_the_library(name, ours):
    network = NETWORKS[name](1)
    described = versus_peers.as_layers(network, versus_networks.draw(network))
    library = models.build(ours).layers
    assert list(map(repr, described.layers)) == list(map(repr, library))


@pytest.mark.parametrize(("name", "mflop"), [("A", 78.6), ("B", 17.5)])
def test_training_is_as_much_work_as_the_networks_are_known_for(name, mflop):
    work = versus_networks.flop(NETWORKS[name](1), training=True)
    assert work / 1e6 == pytest.approx(mflop, abs=0.1)


def a_check(name, sample, network, arrays=None, learning_rate=1e-3):
    """Return what a contestant answers to a check, computed here."""
    job = versus_peers.Job(
        versus_networks.without_dropout(network),
        arrays or versus_networks.draw(network),
        available_cores(),
        learning_rate,
    )
    contestant = versus_peers.OURS[name].build(job)
    images = versus_data.as_input(sample.train_images[:8])
    batch = contestant.prepare(images, sample.train_labels[:8].astype(np.int64))
    logits = np.asarray(contestant.infer(batch))
    losses = [contestant.train(batch) for _ in range(3)]
    return {"logits": logits.tolist(), "losses": losses}


def test_our_contestants_compute_the_same(sample):
    for model in NETWORKS:
        network = NETWORKS[model](1)
        names = "tinycnn", "tinycnn-plain"
        answers = {name: a_check(name, sample, network) for name in names}
        versus.compare(model, answers)
        losses = answers["tinycnn"]["losses"]
        assert losses[-1] < losses[0], model


def test_a_contestant_that_computes_something_else_is_caught(sample):
    network = NETWORKS["B"](1)
    arrays = versus_networks.draw(network)
    without_bias = arrays | {"0.bias": 0 * arrays["0.bias"]}
    without_relu = [*network[:-2], ["dropout", 0.0], network[-1]]
    ours = a_check("tinycnn", sample, network)
    for theirs, what in [
        (a_check("tinycnn", sample, network, learning_rate=1.1e-3), "losses"),
        (a_check("tinycnn", sample, network, without_bias), "logits"),
        (a_check("tinycnn", sample, without_relu, arrays), "logits"),
        (ours | {"losses": [2.0, 1.0, np.nan]}, "losses"),
    ]:
        with pytest.raises(versus.DisagreementError, match=f"their {what} differ by"):
            versus.compare("B", {"tinycnn": ours, "jax": theirs})


@pytest.mark.parametrize("model", NETWORKS)
def test_the_worst_case_leaves_nothing_to_skip(model, sample, tmp_path):
    network, folder = NETWORKS[model](1), tmp_path / "worst"
    few = sample.train_images[:100], sample.train_labels[:100]
    shares = versus_data.write(folder, network, *few, worst=True)
    assert len(shares) == sum(layer[0] == "relu" for layer in network)
    assert min(shares) > 0.97
    images, _, arrays = versus_data.read(folder)
    x = versus_data.as_input(images[:20])
    logits = versus_peers.as_layers(network, arrays).forward(x, training=True)
    assert np.ptp(logits, axis=1).max() < 5  # no class is certain, none is impossible


@pytest.mark.parametrize("name", sorted(set(ABLATIONS) - {"tiles"}))
def test_without_a_trick_the_same_is_computed(name, sample):
    network = NETWORKS["A"](1)
    assert name in tricks_for(network)
    rate = 4e-3  # at 1e-3, what gradients round does not reach three losses
    answers = {"tinycnn": a_check("tinycnn", sample, network, None, rate)}
    with ABLATIONS[name].left_out():
        answers["without"] = a_check("tinycnn", sample, network, None, rate)
    versus.compare("A", answers)
    # Another way of computing rounds in another way, so the trick was really left out.
    assert answers["without"] != answers["tinycnn"]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_a_core_is_busy_until_the_case_ends():
    with versus.a_busy_core() as pid:
        for _ in range(200):
            if len(os.sched_getaffinity(pid)) == 1:
                break
            time.sleep(0.05)
        assert os.sched_getaffinity(pid) == {max(os.sched_getaffinity(0))}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_a_core_is_free_again_when_the_benchmark_is_killed():
    code = "from benchmarks.versus import a_busy_core as busy\nwith busy() as pid:\n"
    code += "    print(pid)\n    input()"
    command = [sys.executable, "-u", "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    root = Path(versus.__file__).parents[1]
    with subprocess.Popen(command, cwd=root, **pipes) as process:
        state = Path(f"/proc/{int(process.stdout.readline())}/stat")
        process.kill()
    for _ in range(200):
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the core is still busy")


# --- versus: figures ------------------------------------------------------------------


def replies(sgemm_ms=100.0):
    """Return three rounds of bursts: milliseconds of their steps."""
    return {
        OURS: [[10, 10, 99], [20], [10]],
        TENSORFLOW: [[40], [40], [80]],
        JAX: [[30], [80], [30]],
        SGEMM: [[sgemm_ms]] * 3,
    }


def test_a_ratio_is_the_median_of_the_rounds_ratios_not_of_their_medians():
    case = versus.summarise(CASE, replies())
    ours, jax = case["contestants"]["tinycnn"], case["contestants"]["jax"]
    assert ours["ms"]["rounds"] == [10, 20, 10]  # the median step of each burst
    assert (ours["ms"]["median"], ours["ms"]["q3"]) == (10, 15)
    assert jax["times_tinycnn"] == 3  # of 3, 4 and 3
    # Of 4, 2 and 8; the medians would give the same 4, the means another number.
    assert case["contestants"]["tensorflow"]["times_tinycnn"] == 4


def test_the_best_peer_is_neither_we_nor_the_yardstick():
    case = versus.summarise(CASE, replies(sgemm_ms=1.0))
    assert (case["best_peer"], case["ratio_to_best_peer"]) == ("jax", 3)
    alone = versus.summarise(CASE, {OURS: [[10]], SGEMM: [[1]]})
    assert (alone["best_peer"], alone["ratio_to_best_peer"]) == (None, None)


def test_the_share_of_sgemm_is_that_of_the_same_round():
    flop = 64 * versus_networks.flop(NETWORKS["B"](1), training=True)
    noisy = {OURS: [[10], [20]], SGEMM: [[100], [200]]}
    case = versus.summarise(CASE, noisy)
    share = flop / 0.010 / (versus_peers.SGEMM_FLOP / 0.1)
    assert case["contestants"]["tinycnn"]["of_sgemm"] == pytest.approx(share)


def test_rounds_interleave_and_every_other_goes_the_other_way(
    tmp_path, sample, monkeypatch
):
    asked, orders = [], []

    class FakeWorker:
        version = "none"

        def __init__(self, name, order, environment):  # noqa: ARG002
            self.name = name
            orders.append(order)

        def burst(self, seconds):  # noqa: ARG002
            asked.append(self.name)
            return [1.0]

        def close(self):
            pass

    monkeypatch.setattr(versus, "Worker", FakeWorker)
    monkeypatch.setattr(versus, "REST", 0)
    arena = versus.Arena(tmp_path, sample.train_images[:9], sample.train_labels[:9])
    versus.measure(arena, CASE, [OURS, JAX], 2)
    there = ["tinycnn", "jax", "sgemm"]
    assert asked == [*there, *there, *reversed(there)]  # first a warm-up
    # In the worst case weights stay as they are, and are others.
    arena.start(OURS, Case("worst case", "B", "training", 8))
    assert [orders[0]["learning_rate"], orders[-1]["learning_rate"]] == [1e-3, 0]
    assert orders[0]["folder"] != orders[-1]["folder"]


def test_a_contestant_works_in_a_process_and_its_death_is_said(sample, tmp_path):
    network = [["flatten"], ["dense", 784, 10]]
    few = sample.train_images[:50], sample.train_labels[:50]
    versus_data.write(tmp_path / "files", network, *few)
    order = {
        "peer": "tinycnn-plain", "network": network, "training": True, "batch": 20,
        "threads": 1, "learning_rate": 1e-3, "folder": str(tmp_path / "files"),
        "without": None,
    }  # fmt: skip
    with closing(Worker("ours", order, {})) as worker:
        losses = worker.check(3)["losses"]
        assert losses[2] < losses[0]
        assert min(worker.burst(0)) > 0
        worker.process.kill()
        with pytest.raises(WorkerError, match="the process of ours ended with -9"):
            worker.burst(0)


# --- reading: what is counted ---------------------------------------------------------


def a_reading(*digits):
    """Return a reading of one line, from labels (None is refused) and boxes."""
    return Reading((tuple(Digit(label, 0.9, box, ()) for label, box in digits),))


def an_item(text="12", boxes=((0, 0, 10, 20), (20, 0, 30, 20))):
    """Return an item of blank paper that is said to hold two digits."""
    images = np.zeros((len(text), 28, 28), np.float32)
    return Item(np.full((20, 30), 255, np.uint8), text, boxes, images)


def test_iou_is_the_intersection_by_the_union():
    box = (0, 0, 10, 20)
    assert reading.iou(box, box) == 1
    assert reading.iou(box, (5, 0, 15, 20)) == pytest.approx(1 / 3)
    assert reading.iou(box, (2, 5, 4, 10)) == pytest.approx(10 / 200)
    assert reading.iou(box, (10, 0, 20, 20)) == 0  # they share an edge, no pixel


def test_a_box_finds_one_digit_and_the_best_pair_goes_first():
    true = [(0, 0, 10, 20), (4, 0, 14, 20)]
    assert reading.match(true, [(3, 0, 13, 20)]) == [(1, 0)]
    assert sorted(reading.match(true, [true[1], true[0]])) == [(0, 1), (1, 0)]
    assert reading.match(true[:1], [true[0], true[0]]) == [(0, 0)]
    assert reading.match(true[:1], [(0, 0, 20, 20)]) == [(0, 0)]
    assert reading.match(true[:1], [(0, 0, 20.1, 20)]) == []


def test_a_refused_digit_is_found_but_not_right():
    item = an_item()
    read = a_reading((1, item.boxes[0]), (None, item.boxes[1]))
    score = reading.score(item, read, ceiling="12")
    assert score == Counter(
        pictures=1, digits=2, found=2, right=1, accepted=1, refused=1, ceiling=1,
        with_a_digit=1,
    )  # fmt: skip


def test_a_right_label_in_a_wrong_place_is_extra():
    item = an_item()
    read = a_reading((1, (100, 0, 110, 20)), (2, item.boxes[1]))
    score = reading.score(item, read, ceiling="77")
    assert (score["found"], score["right"], score["extra"]) == (1, 1, 1)
    assert (score["exact"], score["ceiling"]) == (1, 0)  # exact asks for the text alone


def test_the_figures_of_a_set_worked_by_hand():
    item, nothing = an_item(), Reading(())
    right = a_reading((1, item.boxes[0]), (2, item.boxes[1]))
    two_lines = Reading((right.lines[0][:1], right.lines[0][1:]))
    made = (right, "12"), (right, "13"), (two_lines, "12"), (nothing, "12")
    scores = [reading.score(item, read, ceiling) for read, ceiling in made]
    figures = reading.shares(sum(scores, Counter()))
    assert figures["found"] == figures["right"] == 6 / 8
    assert figures["exact"] == 2 / 4  # two lines are not one number
    assert figures["ceiling"] == 3 / 4
    assert figures["of_the_ceiling"] == pytest.approx(2 / 3)
    assert figures["same"] == 1 / 4
    none = reading.shares(reading.score(item, nothing, "77"))
    assert none["of_the_ceiling"] is None


def test_digits_read_in_nothing_are_counted_apart_from_refusals():
    item, box = an_item("", ()), (0, 0, 9, 9)
    readings = [Reading(()), a_reading((1, box), (7, box)), a_reading((None, box))]
    scores = [reading.score(item, read, "") for read in readings]
    assert reading.shares(sum(scores, Counter())) == {
        "pictures": 3, "with_a_digit": 1, "false_digits": 2, "refused": 1,
    }  # fmt: skip


@pytest.mark.parametrize("gaps", [reading_sets.APART, reading_sets.TOUCHING])
def test_the_gaps_of_a_number_are_as_asked_and_the_ceiling_sees_no_neighbour(
    sample, gaps
):
    digits = sample.test_images[::100], sample.test_labels[::100]
    item, far = (
        reading_sets.number(*digits, 60.0, g, np.random.default_rng(0))
        for g in (gaps, (0.5, 0.5))
    )
    np.testing.assert_array_equal(item.images, far.images)
    for a, b in zip(item.boxes, item.boxes[1:], strict=False):
        mean = ((a[2] - a[0]) + (b[2] - b[0])) / 2
        # A pixel more or less: digits lie on whole ones.
        assert gaps[0] * mean - 1 <= b[0] - a[2] <= gaps[1] * mean + 1


# --- strokes, accuracy, faults --------------------------------------------------------

ONE = {"label": "1", "strokes": [[[3.0, 0.0], [3.1, 5.0]]]}
SCRIBBLE = {"label": "x", "strokes": [[[x, 7.0 * x % 5] for x in range(12)]]}
SETS = {
    "UJI": [ONE, ONE],
    "pendigits": [ONE | {"label": "7"}, ONE],  # the first is called what it is not
    "CROHME digits": [{"digits": [ONE, ONE]}, {"digits": [ONE]}],
    "CROHME symbols": [SCRIBBLE],
}


def test_a_set_of_strokes_has_a_row_and_all_digits_count(tmp_path, sample, capsys):
    for folder in ("mnist", "strokes"):
        (tmp_path / folder).mkdir()
    for part, times in (("train", 251), ("t10k", 1)):
        name = str(tmp_path / "mnist" / part)
        images, labels = sample.test_images[:20], sample.test_labels[:20]
        write_idx(f"{name}-images-idx3-ubyte", images.repeat(times, 0))
        write_idx(f"{name}-labels-idx1-ubyte", labels.repeat(times, 0))
    for name, file in strokes.SETS.items():
        with gzip.open(tmp_path / "strokes" / file, "wt") as packed:
            packed.writelines(json.dumps(row) + "\n" for row in SETS[name])
    assert strokes.main([str(tmp_path), "--pens", "3"]) == 0
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("| ")]
    cells = [[cell.strip() for cell in x.strip("|").split("|")] for x in lines[2:]]
    found = [dict(zip(strokes.COLUMNS, row, strict=True)) for row in cells]
    sets = [row for row in found if not row["set"].startswith("pen ")]
    assert [row["digits"] for row in sets] == ["20", "2", "2", "3", "1"]
    assert [row["right"] for row in sets[1:]] == ["1.0000", "0.5000", "1.0000", ""]
    on_a_sheet = [row["on a sheet"] for row in sets]
    assert on_a_sheet == ["", "1.0000", "0.5000", "1.0000", "0.0000"]
    # A thicker pen leaves more ink.
    assert float(found[2]["ink"]) > float(found[1]["ink"])


def test_the_table_of_accuracy_has_mean_deviation_and_scaled_seconds():
    run = {
        "preset": "quick", "parameters": 34_026, "epochs": 1, "val_accuracy": 0.9,
        "seconds": 50.0, "gflops": 87.5,
    }  # fmt: skip
    runs = [run | {"test_accuracy": share} for share in (0.99, 0.988, 0.986)]
    *_, line = accuracy.table(runs).splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    columns = dict(zip(accuracy.COLUMNS, cells, strict=True))
    assert columns == {
        "preset": "quick", "parameters": "34,026", "epochs": "1", "seeds": "3",
        "mean": "98.800", "sd": "0.200", "min": "98.60", "max": "99.00",
        "validation": "90.000", "seconds": "50", "at 175 GFLOP/s": "25",
    }  # fmt: skip


def test_every_fault_can_be_planted():
    faults = planted_faults.parse(planted_faults.FAULTS.read_text("utf-8"))
    core = [f for f in faults if f.file.startswith(("tinycnn/nn/", "tinycnn/fast/"))]
    assert len(core) >= 80
    for fault in faults:
        text = (planted_faults.ROOT / fault.file).read_text("utf-8")
        assert text.count(fault.old) == 1, fault
        compile(text.replace(fault.old, fault.new), fault.file, "exec")
        assert (planted_faults.ROOT / fault.tests.split()[0]).exists(), fault


@pytest.mark.parametrize("corrupt", corrupted.CORRUPTIONS, ids=lambda f: f.__name__)
def test_a_corruption_changes_every_digit_and_follows_from_the_generator(
    corrupt, sample
):
    digits = sample.test_images[:20] / np.float32(255)
    one, two = (corrupt(digits, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(one, two)
    assert one.shape == digits.shape
    assert (abs(one - digits).mean(axis=(1, 2)) > 0.01).all()
