"""The laws of the speed benchmark: like is compared with like, and counted right.

No peer is needed besides NumPy, and nothing is asserted of a time.
"""

import argparse
import json
import math
import subprocess
import sys
from contextlib import closing
from unittest.mock import patch

import numpy as np
import pytest
from numba import njit

from benchmarks import start, versus, versus_data, versus_networks, versus_peers
from benchmarks.versus import Case, Entrant
from benchmarks.versus_ablation import ABLATIONS, tricks_for
from benchmarks.versus_networks import NETWORKS
from benchmarks.versus_numpy import PlainNetwork
from benchmarks.versus_worker import ROOT, Worker, WorkerError, environment_of
from tinycnn import models
from tinycnn.data.mnist import SAMPLE_FOLDER, load_mnist
from tinycnn.fast import steps, vectors
from tinycnn.threads import available_cores

DENSE = [["flatten"], ["dense", 784, 10]]
CASE = Case("speed", "B", "training", 64)
OURS, NUMPY, JAX, SGEMM = (
    Entrant(name, 2) for name in ("tinycnn", "numpy", "jax", "sgemm")
)


@pytest.fixture(scope="module")
def sample():
    return load_mnist(SAMPLE_FOLDER)


@pytest.fixture
def order(tmp_path, sample):
    """Return what a worker needs to know for a small network of NumPy's."""
    folder = tmp_path / "files"
    versus_data.write_real(
        folder, DENSE, sample.train_images[:50], sample.train_labels[:50]
    )
    return {
        "peer": "numpy",
        "network": DENSE,
        "training": True,
        "batch": 20,
        "threads": 1,
        "learning_rate": 1e-3,
        "folder": str(folder),
        "without": None,
    }


def answers_of(*bursts, peak_mb=100, idle_seconds=0):
    """Return what a worker answers whose bursts took these milliseconds a step."""
    return [
        {"ms": took, "peak_mb": peak_mb, "idle_seconds": idle_seconds}
        for took in bursts
    ]


def replies(sgemm_ms=100.0):
    """Return three rounds of three contestants."""
    return {
        OURS: answers_of([10, 10, 99], [20], [10]),
        NUMPY: answers_of([40], [40], [80], peak_mb=300),
        JAX: answers_of([30], [80], [30]),
        SGEMM: answers_of([sgemm_ms], [sgemm_ms], [sgemm_ms]),
    }


def results_of(*cases):
    """Return what a run prints."""
    return {
        "machine": {"processor": "abacus", "cores": 2, "python": "3", "system": "none"},
        "data": "sample",
        "rounds": 3,
        "threads": 2,
        "skipped": {},
        "agreement": {},
        "versions": {"tinycnn": "tinycnn 0", "numpy": "numpy 0", "sgemm": "numpy 0"},
        "open_shares": {},
        "cases": list(cases),
    }


# --- like with like ------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ours"), [("A", "classic"), ("default", "default")])
def test_the_networks_are_those_of_the_library(name, ours):
    model, network = models.build(ours), NETWORKS[name](1)
    drawn = versus_networks.draw(network)
    assert {key: array.shape for key, array in drawn.items()} == {
        key: array.shape for key, array in model.state().items()
    }
    kinds = {"ReLU": "relu", "MaxPool2D": "pool", "BatchNorm2D": "norm"}
    kinds |= {"Conv2D": "conv", "Dense": "dense"}
    for layer, (kind, *sizes) in zip(model.layers, network, strict=True):
        name = type(layer).__name__
        assert kinds.get(name, name.lower()) == kind
        if kind == "dropout":
            assert sizes == [layer.rate]
        elif kind == "pool":
            assert layer.kernel_size == layer.stride == (*sizes, *sizes)
        elif kind == "conv":
            assert layer.padding == (None if sizes[-1] == "same" else (0, 0))


@pytest.mark.parametrize(("name", "mflop"), [("A", 78.6), ("B", 17.5)])
def test_training_is_as_much_work_as_the_networks_are_known_for(name, mflop):
    work = versus_networks.flop(NETWORKS[name](1), training=True)
    assert work / 1e6 == pytest.approx(mflop, abs=0.1)
    assert 2.8 < work / versus_networks.flop(NETWORKS[name](1), training=False) < 3


@pytest.mark.parametrize("name", NETWORKS)
def test_twice_the_width_is_twice_the_channels_of_every_hidden_layer(name):
    narrow, wide = (versus_networks.output_shapes(NETWORKS[name](w)) for w in (1, 2))
    assert wide[-1] == narrow[-1] == (10,)
    for one, other in zip(narrow[:-1], wide[:-1], strict=True):
        assert other == (*one[:-1], 2 * one[-1])


def test_a_layer_that_nobody_knows_is_named():
    with pytest.raises(ValueError, match=r"there is no layer \['lstm', 3\]"):
        versus_networks.output_shapes([["lstm", 3]])


def a_check(name, sample, network, arrays=None, learning_rate=1e-3):
    """Return what a contestant answers to a check, computed here."""
    job = versus_peers.Job(
        versus_networks.without_dropout(network),
        arrays or versus_networks.draw(network),
        available_cores(),
        learning_rate,
    )
    contestant = (versus_peers.OURS | versus_peers.PEERS)[name].build(job)
    images = versus_data.as_input(sample.train_images[:16])
    batch = contestant.prepare(images, sample.train_labels[:16].astype(np.int64))
    logits = np.asarray(contestant.infer(batch))[:8]
    losses = [contestant.train(batch) for _ in range(3)]
    return {"logits": logits.tolist(), "losses": losses}


@pytest.mark.parametrize("model", NETWORKS)
def test_tinycnn_and_plain_numpy_compute_the_same(model, sample):
    network = NETWORKS[model](1)
    names = "tinycnn", "numpy"
    answers = {name: a_check(name, sample, network) for name in names}
    apart = versus.differences(model, answers)
    assert apart["numpy"]["logits"] < 1e-5
    assert answers["numpy"]["losses"][-1] < answers["numpy"]["losses"][0]


def test_who_computes_something_else_is_caught(sample):
    network = NETWORKS["B"](1)
    arrays = versus_networks.draw(network)
    without_bias = arrays | {"0.bias": 0 * arrays["0.bias"]}
    without_relu = [*network[:-2], ["dropout", 0.0], network[-1]]
    ours = a_check("tinycnn", sample, network)
    for theirs, what in [
        (a_check("numpy", sample, network, learning_rate=1.1e-3), "losses"),
        (a_check("numpy", sample, network, without_bias), "logits"),
        (a_check("numpy", sample, without_relu, arrays), "logits"),
    ]:
        with pytest.raises(
            versus.DisagreementError,
            match=f"numpy and tinycnn disagree on model B: their {what} differ by",
        ):
            versus.differences("B", {"tinycnn": ours, "numpy": theirs})


def test_a_loss_that_is_no_number_does_not_agree():
    good = {"logits": [[1.0, 2.0]], "losses": [2.0, 1.0]}
    bad = {"logits": [[1.0, 2.0]], "losses": [2.0, math.nan]}
    assert versus.differences("A", {"tinycnn": good, "numpy": good})
    with pytest.raises(versus.DisagreementError):
        versus.differences("A", {"tinycnn": good, "numpy": bad})


@pytest.mark.parametrize("model", NETWORKS)
def test_the_worst_case_leaves_nothing_to_skip(model, sample, tmp_path):
    network = NETWORKS[model](1)
    folder = tmp_path / "worst"
    shares = versus_data.write_worst(folder, network, sample.train_labels[:200])
    assert len(shares) == sum(layer[0] == "relu" for layer in network)
    assert min(shares) > 0.97
    images, labels, arrays = versus_data.read(folder)
    assert len(images) == len(labels) == 200
    plain = PlainNetwork(network, arrays, 0)
    logits = plain.forward(versus_data.as_input(images[:50]), training=True)
    assert np.ptp(logits, axis=1).max() < 5  # no class is certain, none is impossible
    before = {name: array.copy() for name, array in plain.arrays.items()}
    plain.train(versus_data.as_input(images[:50]), labels[:50])
    changed = [n for n in before if (before[n] != plain.arrays[n]).any()]
    assert all("running" in name for name in changed)


# --- tricks left out -----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(ABLATIONS) - {"tiles"}))
def test_without_a_trick_the_same_is_computed(name, sample):
    model = "default" if name == "fused batch norm" else "A"
    network = NETWORKS[model](1)
    assert name in tricks_for(network)
    answers = {"tinycnn": a_check("tinycnn", sample, network)}
    with ABLATIONS[name].left_out():
        answers["without"] = a_check("tinycnn", sample, network)
    versus.differences(model, answers)
    # Another way of computing rounds in another way; but ink is added in the order in
    # which a feature map is gone through, and memory is no matter of numbers.
    same = answers["without"]["losses"] == answers["tinycnn"]["losses"]
    assert same == (name in ("ink", "kept memory"))


def test_without_ink_the_gradient_of_the_image_is_computed(sample):
    whole = steps.FusedConvolution.backward
    with (
        ABLATIONS["ink"].left_out(),
        patch.object(
            steps.FusedConvolution, "backward", autospec=True, side_effect=whole
        ) as backward,
    ):
        a_check("tinycnn", sample, NETWORKS["A"](1))
    assert backward.call_count == 2 * 3  # two layers, three steps


@pytest.mark.parametrize("M", [1, 4, 5, 6, 13])
def test_a_product_row_by_row_is_the_same_product(M):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((M, 7)).astype(np.float32)
    b = rng.standard_normal((7, 16)).astype(np.float32)
    y = np.full((2, M, 16), np.nan, np.float32)
    with ABLATIONS["tiles"].left_out():
        assert vectors.ROWS == 1
        row_by_row = njit(vectors.multiply.py_func)  # compiled afresh
        for multiply, into in zip((vectors.multiply, row_by_row), y, strict=True):
            multiply(a.ctypes.data, 28, 0, M, 1, 7, b.ctypes.data, into.ctypes.data, 64)
    np.testing.assert_allclose(y[0], a @ b, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(y[0], y[1])


def test_only_the_tricks_that_a_network_profits_from_are_left_out():
    tricks = {m: [e.without for e in versus.ablated(m, 2)] for m in NETWORKS}
    assert tricks["A"] == tricks["B"]
    assert set(ABLATIONS) - set(tricks["A"]) == {"fused batch norm"}
    assert set(ABLATIONS) - set(tricks["default"]) == {"sparse dense layer"}
    assert all(names[0] is None for names in tricks.values())
    assert tricks_for(DENSE) == ["one-pass Adam", "kept memory"]


# --- figures -------------------------------------------------------------------------


def test_a_ratio_is_the_median_of_the_rounds_ratios_not_of_their_medians():
    case = versus.summarise(CASE, replies())
    ours, jax = case["contestants"]["tinycnn"], case["contestants"]["jax"]
    assert ours["ms"]["rounds"] == [10, 20, 10]  # the median step of each burst
    assert ours["ms"]["median"] == 10
    assert ours["times_tinycnn"] == 1
    assert jax["times_tinycnn"] == 3  # of 3, 4 and 3
    # Of 4, 2 and 8; the medians would give the same 4, the means another number.
    assert case["contestants"]["numpy"]["times_tinycnn"] == 4
    assert case["contestants"]["numpy"]["peak_mb"] == 300


def test_the_best_peer_is_the_quickest_that_is_neither_we_nor_the_yardstick():
    case = versus.summarise(CASE, replies(sgemm_ms=1.0))
    assert (case["best_peer"], case["ratio_to_best_peer"]) == ("jax", 3)
    alone = {OURS: answers_of([10]), SGEMM: answers_of([1])}
    case = versus.summarise(CASE, alone)
    assert (case["best_peer"], case["ratio_to_best_peer"]) == (None, None)


def test_the_share_of_sgemm_is_that_of_the_same_round():
    case = versus.summarise(CASE, replies())
    flop = 64 * versus_networks.flop(NETWORKS["B"](1), training=True)
    peak = versus_peers.SGEMM_FLOP / 0.1
    assert case["contestants"]["tinycnn"]["of_sgemm"] == pytest.approx(
        flop / 0.010 / peak
    )
    gflops = case["contestants"]["sgemm"]["gflops"]["median"]
    assert gflops == pytest.approx(peak / 1e9)
    noisy = {OURS: answers_of([10], [20]), SGEMM: answers_of([100], [200])}
    case = versus.summarise(CASE, noisy)
    assert case["contestants"]["tinycnn"]["of_sgemm"] == pytest.approx(
        flop / 0.010 / peak
    )


def test_quartiles_are_those_of_the_rounds():
    spread = versus.spread(np.array([5.0, 1.0, 2.0, 3.0, 4.0]))
    assert (spread["q1"], spread["median"], spread["q3"]) == (2, 3, 4)
    assert spread["rounds"] == [5, 1, 2, 3, 4]


def test_what_threads_gain_is_held_against_what_sgemm_gains():
    case = Case("threads", "A", "training", 200)
    times = {("tinycnn", 1): 90, ("tinycnn", 2): 50, ("sgemm", 1): 40, ("sgemm", 2): 20}
    timed = {Entrant(*key): answers_of([ms], [ms]) for key, ms in times.items()}
    summary = versus.summarise(case, timed)
    (gain,) = summary["gains"]
    assert gain == {"threads": 2, "tinycnn": 1.8, "sgemm": 2.0, "of_sgemms": 0.9}
    assert list(summary["contestants"])[:2] == [
        "tinycnn, 1 thread",
        "tinycnn, 2 threads",
    ]
    assert "2 threads over 1: tinycnn gains 1.80×, sgemm 2.00×; tinycnn's is 0.90" in (
        versus.report(results_of(summary))
    )


def test_threads_double_up_to_all():
    assert [versus.thread_counts(n) for n in (1, 2, 3, 4, 6)] == [
        [1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4, 6],
    ]  # fmt: skip


# --- what is printed -----------------------------------------------------------------


def test_the_table_is_markdown_with_a_row_a_contestant_and_the_best_peer_bold():
    text = versus.report(results_of(versus.summarise(CASE, replies())))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    assert rows[0] == list(versus.HEAD)
    assert set("".join(rows[1])) == {"-"}
    named = {row[4]: row for row in rows[2:]}
    assert list(named) == ["tinycnn", "numpy", "**jax**", "sgemm"]
    assert named["tinycnn"][3:8] == ["64", "tinycnn", "10.0", "10.0 to 15.0", "1.00"]
    assert named["**jax**"][7] == "**3.00**"
    assert named["sgemm"][8] == "172 GFLOP/s"
    assert named["numpy"][9] == "300"
    assert text.count("numpy 0") == 1


def test_numbers_have_three_digits_that_count():
    values = 0.01234, 0.5, 1.0, 12.34, 99.96, 123.4, 1234.5
    assert [versus.digits(value) for value in values] == [
        "0.0123", "0.500", "1.00", "12.3", "100.", "123", "1234",
    ]  # fmt: skip


def test_who_kept_a_core_busy_out_of_turn_is_named():
    awake = replies() | {NUMPY: answers_of([40], [40], [80], idle_seconds=9)}
    text = versus.report(results_of(versus.summarise(CASE, awake)))
    assert "Not asleep while others were timed" in text
    assert text.rstrip().endswith(": numpy.")
    falling_asleep = versus.REST  # both its threads, half of the rest
    calm = replies() | {NUMPY: answers_of([1], [1], [1], idle_seconds=falling_asleep)}
    assert "Not asleep" not in versus.report(results_of(versus.summarise(CASE, calm)))


# --- who takes part ------------------------------------------------------------------


def test_a_peer_that_is_not_installed_is_skipped_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(versus, "find_spec", lambda name: name == "numpy" or None)
    here, skipped = versus.found([*versus_peers.PEERS, "numpy"])  # named twice
    assert here == ["numpy"]
    assert skipped["jax"] == "pip install jax jaxlib"
    assert "torch==2.13.0" in skipped["torch-nhwc-tuned"]
    results = results_of(versus.summarise(CASE, replies())) | {"skipped": skipped}
    assert "Skipped: jax (pip install jax jaxlib)." in versus.report(results)


def planned(**flags):
    """Return every case, and the names of who takes part."""
    usual = {
        "models": ["A", "B"],
        "what": ["training", "inference"],
        "batches": None,
        "threads": 2,
        "worst_case": False,
        "ablation": False,
        "scaling": False,
    }
    arguments = argparse.Namespace(**usual | flags)
    return [
        (case, [versus.label(entrant, case) for entrant in entrants])
        for case, entrants in versus.cases(arguments, ["numpy"])
    ]


def test_the_usual_cases_are_three_batches_of_training_and_two_of_inference():
    made = planned()
    assert [(c.model, c.what, c.batch) for c, _ in made] == [
        (model, *one)
        for model in "AB"
        for one in [
            ("training", 200), ("training", 128), ("training", 64),
            ("inference", 256), ("inference", 1),
        ]
    ]  # fmt: skip
    assert all(names == ["tinycnn", "numpy"] for _, names in made)


def test_each_flag_adds_its_cases_and_tinycnn_is_always_first():
    flags = {"models": ["B"], "what": ["training"], "batches": [32]}
    usual = len(planned(**flags))
    parts = {}
    for flag in ("worst_case", "ablation", "scaling"):
        added = planned(**flags, **{flag: True})[usual:]
        parts |= {flag: [(c.part, c.batch, c.width) for c, _ in added]}
        assert all(names[0].startswith("tinycnn") for _, names in added)
    assert parts == {
        "worst_case": [("worst case", 32, 1)],
        "ablation": [("ablation", 32, 1)],
        "scaling": [
            ("threads", 32, 1),
            *(("batches", batch, 1) for batch in (16, 64, 256, 1024)),
            *(("width", 64, width) for width in (1, 2, 4)),
        ],
    }


def test_a_worker_is_told_what_its_case_is(monkeypatch, tmp_path, sample):
    orders = []

    class FakeWorker:
        version = "none"

        def __init__(self, name, order, environment):
            orders.append((name, order, environment))

    monkeypatch.setattr(versus, "Worker", FakeWorker)
    few = sample.train_images[:20], sample.train_labels[:20]
    arena = versus.Arena(tmp_path, *few)
    worst = Case("worst case", "A", "training", 8)
    arena.start(OURS, Case("speed", "A", "inference", 8))
    arena.start(OURS, worst)
    arena.start(Entrant("torch-nhwc-tuned", 2), worst, dropout=False)
    arena.start(Entrant("tinycnn", 2, "tiles"), CASE)
    rates = [order["learning_rate"] for _, order, _ in orders]
    assert rates == [1e-3, 0, 0, 1e-3]  # in the worst case weights stay as they are
    assert [order["training"] for _, order, _ in orders] == [False, True, True, True]
    assert orders[0][1]["folder"] != orders[1][1]["folder"] == orders[2][1]["folder"]
    dropped = [order["network"][5] for _, order, _ in orders[:3]]
    assert dropped == [["dropout", 0.25], ["dropout", 0.25], ["dropout", 0.0]]
    environments = [environment for *_, environment in orders]
    assert environments[:3] == [{}, {}, versus_peers.TUNED]
    assert list(environments[3]) == ["NUMBA_CACHE_DIR"]
    assert orders[3][0] == "tinycnn without tiles"
    assert min(arena.open_shares["A"]) > 0.9  # counted on twenty images


# --- the processes -------------------------------------------------------------------


@pytest.mark.usefixtures("hurried")
def test_rounds_interleave_and_every_other_goes_the_other_way():
    asked, closed = [], []

    class FakeWorker:
        def __init__(self, entrant):
            self.peer = entrant.peer

        def ask(self, message):
            asked.append(self.peer)
            assert message == {"do": "burst", "seconds": 0}
            return answers_of([len(asked)])[0]

        def close(self):
            closed.append(self.peer)

    class FakeArena:
        def start(self, entrant, case):
            assert case is CASE
            return FakeWorker(entrant)

    summary = versus.measure(FakeArena(), CASE, [OURS, NUMPY], 2)
    there = ["tinycnn", "numpy", "sgemm"]
    assert asked == [*there, *there, *reversed(there)]  # a warm-up, then two rounds
    assert sorted(closed) == sorted(there)
    assert summary["contestants"]["tinycnn"]["ms"]["rounds"] == [4, 9]


def test_a_worker_answers_a_check_and_a_burst(order):
    with closing(Worker("numpy", order, {})) as worker:
        assert worker.version == f"numpy {np.__version__}"
        checked = worker.ask({"do": "check", "steps": 3})
        assert np.shape(checked["logits"]) == (16, 10)
        assert len(checked["losses"]) == 3
        assert checked["losses"][2] < checked["losses"][0]
        answer = worker.ask({"do": "burst", "seconds": 0})
        assert len(answer["ms"]) == 1
        assert answer["ms"][0] > 0
        assert 10 < answer["peak_mb"] < 1000
        assert len(worker.ask({"do": "burst", "seconds": 0.05})["ms"]) > 1
        assert worker.ask({"do": "burst", "seconds": 0})["idle_seconds"] < 1
    assert worker.process.returncode is not None


def test_the_digits_go_round_in_a_circle(order):
    """Fifty digits in batches of twenty: the third batch ends with the first ones."""
    with closing(Worker("numpy", order | {"learning_rate": 0.0}, {})) as worker:
        losses = worker.ask({"do": "check", "steps": 10})["losses"]
    assert losses[:5] == losses[5:]
    assert len(set(losses)) == 5


def test_a_worker_that_dies_is_one_sentence(order):
    with pytest.raises(
        WorkerError, match=r"^the process of jax ended with 1: FileNotFoundError: .*$"
    ):
        Worker("jax", order | {"folder": "nowhere"}, {})
    with closing(Worker("jax", order, {})) as worker:
        worker.process.kill()
        with pytest.raises(
            WorkerError, match=r"^the process of jax was killed by signal 9 without a"
        ):
            worker.ask({"do": "burst", "seconds": 0})


def test_a_loss_that_is_no_number_ends_the_worker(order):
    order |= {"learning_rate": math.nan}
    with (
        closing(Worker("numpy", order, {})) as worker,
        pytest.raises(WorkerError, match="ended with 1: ArithmeticError: the loss is"),
    ):
        worker.ask({"do": "burst", "seconds": 5})


def test_every_library_is_told_how_many_threads_there_are():
    variables = environment_of(3)
    libraries = "OMP", "OPENBLAS", "MKL", "NUMBA"
    assert {variables[f"{name}_NUM_THREADS"] for name in libraries} == {"3"}


def test_nothing_that_tinycnn_sets_for_itself_reaches_its_peers():
    """Not in the parent: there it is imported, too."""
    told = (
        "import json, os; before = dict(os.environ); import benchmarks.versus;"
        "print(json.dumps([k for k in os.environ if os.environ[k] != before.get(k)]))"
    )
    variables = environment_of(1)
    answer = subprocess.run(
        [sys.executable, "-c", told],
        env=variables, cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    changed = json.loads(answer.stdout)
    assert "OMP_WAIT_POLICY" in changed
    assert not set(changed) & set(variables)


def test_who_holds_more_has_the_higher_peak(order, sample, tmp_path):
    peaks = []
    for width in (10, 4000):
        network = [["flatten"], ["dense", 784, width]]
        folder = tmp_path / str(width)
        versus_data.write_real(
            folder, network, sample.train_images[:50], sample.train_labels[:50]
        )
        wanted = order | {"network": network, "folder": str(folder)}
        with closing(Worker("numpy", wanted, {})) as worker:
            peaks.append(worker.ask({"do": "burst", "seconds": 0})["peak_mb"])
    weights = 784 * 4000 * 4 / 1e6  # MB: as read, a copy, two moments and a gradient
    assert 4 * weights < peaks[1] - peaks[0] < 10 * weights


# --- the command ---------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch):
    """Make model B a dense layer, and every wait short."""
    monkeypatch.setitem(NETWORKS, "B", lambda width: DENSE)  # noqa: ARG005
    small = {"WARM_UP": 0, "BURST": 0, "REST": 0, "CHECKED": 2, "CHECKED_BATCH": 16}
    for name, value in small.items():
        monkeypatch.setattr(versus, name, value)


ARGUMENTS = [
    "--models", "B", "--what", "inference", "--batches", "2",
    "--peers", "numpy", "--rounds", "1", "--data", str(SAMPLE_FOLDER),
]  # fmt: skip


@pytest.mark.usefixtures("hurried")
def test_a_run_saves_what_it_prints(tmp_path, capsys):
    out = tmp_path / "figures.json"
    assert versus.main([*ARGUMENTS, "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == printed
    assert out.with_suffix(".md").read_text() == versus.report(printed) + "\n"
    (case,) = printed["cases"]
    assert list(case["contestants"]) == ["tinycnn", "numpy", "sgemm"]
    assert case["best_peer"] == "numpy"
    assert set(printed["agreement"]["B"]) == {"tinycnn", "numpy"}
    assert printed["data"] == "sample"


@pytest.mark.usefixtures("hurried")
def test_a_peer_that_dies_ends_the_command_with_one_sentence(monkeypatch, capsys):
    dying = versus_peers.Peer(
        versus_peers.plain_numpy, "numpy", "", {"PYTHONHASHSEED": "no"}
    )
    monkeypatch.setitem(versus.PEERS, "numpy", dying)
    with pytest.raises(SystemExit) as exited:
        versus.main(ARGUMENTS)
    assert exited.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the process of numpy ended with 1: ")
    assert line.endswith("make it run, or leave it out with --peers")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--models", "C"], "argument --models: invalid choice: 'C'"),
        (["--what", "fun"], "argument --what: invalid choice: 'fun'"),
        (["--peers", "torch"], "argument --peers: invalid choice: 'torch'"),
        (["--batches", "0"], "argument --batches: needs an integer from 1 to 4096"),
        (["--rounds", "0"], "argument --rounds: needs an integer from 1 to 1000"),
        (["--threads", "1000"], "argument --threads: needs an integer from 1 to"),
        (["--data", "nowhere"], "argument --data: needs a folder that exists"),
        (["--out", "table.md"], "argument --out: needs FILE.json in a folder that"),
        (["--out", "no/where.json"], "argument --out: needs FILE.json in a folder"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(argv, said, capsys):
    with pytest.raises(SystemExit) as exited:
        versus.main(argv)
    assert exited.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_folder_without_digits_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as exited:
        versus.main([*ARGUMENTS[:-1], str(tmp_path)])
    assert exited.value.code == 1
    assert capsys.readouterr().err.startswith("error: ")


# --- the start -----------------------------------------------------------------------


def test_the_first_step_and_the_epoch_are_those_of_the_command(tmp_path):
    flags = [
        "--preset",
        "quick",
        "--no-fuse",  # fewer kernels, and nobody goes on compiling in the background
        "--limit",
        "128",
        "--epochs",
        "1",
        "--data",
        str(SAMPLE_FOLDER),
        "--out",
    ]
    kernels = tmp_path / "kernels"
    first = start.watch("step", [*flags, str(tmp_path / "one")], kernels)
    compiled = sorted(kernels.rglob("*.nbc"))
    assert compiled  # it was the first ever here
    cached = start.watch("step", [*flags, str(tmp_path / "two")], kernels)
    assert sorted(kernels.rglob("*.nbc")) == compiled
    for step in (first, cached):
        assert step["waited"] > 0
        assert 10 < step["peak_mb"] < 1000
    epoch = start.watch("epoch", [*flags, str(tmp_path / "three")], kernels)
    assert epoch["batches"] == 2
    assert 0 < epoch["step"] < epoch["seconds"] < epoch["waited"]
    assert (tmp_path / "three" / "weights.safetensors").exists()


def test_a_command_that_ends_before_its_first_step_is_one_sentence(tmp_path):
    with pytest.raises(
        start.CommandError, match=r"^tinycnn.train ended with 2: .*--lr"
    ):
        start.watch("step", ["--lr", "no"], tmp_path)


def test_the_table_of_starts_has_a_row_for_each_figure(monkeypatch, capsys):
    def answer(what, arguments, cache):
        assert arguments[:2] == ["--preset", "classic"]
        waited = 1.0 if cache.exists() else 10.0
        cache.mkdir(exist_ok=True)
        step = {"peak_mb": 200.0, "waited": waited}
        epoch = {"seconds": 12.0, "batches": 5, "step": 2.0}
        return step | (epoch if what == "epoch" else {})

    monkeypatch.setattr(start, "watch", answer)
    assert start.main(["--presets", "classic", "--rounds", "2", "--epoch"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    assert [row[2] for row in rows[2:]] == [
        "10.0",
        "1.00",
        "200",
        "12.0",
        "1.20",
        "200",
    ]
    assert rows[2] == [
        "classic", "start to first step, first ever (s)", "10.0", "10.0 to 10.0",
    ]  # fmt: skip
