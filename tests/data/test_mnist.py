"""Laws of finding MNIST without a network, and what the bundled sample holds."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinycnn.data import DataError, mnist, split_validation, write_idx
from tinycnn.data.mnist import SAMPLE_FOLDER, load_mnist

RNG = np.random.default_rng(1)
STAND_IN = (
    RNG.integers(0, 256, (24, 28, 28), np.uint8),
    RNG.integers(0, 10, 24, np.uint8),
    RNG.integers(0, 256, (12, 28, 28), np.uint8),
    RNG.integers(0, 10, 12, np.uint8),
)
NAMED_FOLDER = os.environ.get("TINYCNN_DATA")  # before it is taken away


def fill(folder, arrays=STAND_IN, end=""):
    """Write the four files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(mnist.NAMES, arrays, strict=True):
        path = folder / f"{name}{end}"
        write_idx(path, array)
        if end == ".gz":
            path.write_bytes(gzip.compress(path.read_bytes()))
    return folder


def same(digits, arrays):
    loaded = list(vars(digits).values())[:4]
    return all(np.array_equal(a, b) for a, b in zip(loaded, arrays, strict=True))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Take the network and this machine's own MNIST away; return an empty cache."""
    monkeypatch.setenv("TINYCNN_OFFLINE", "1")
    monkeypatch.delenv("TINYCNN_DATA", raising=False)
    monkeypatch.setattr(mnist, "user_cache_dir", lambda _: str(tmp_path / "cache"))
    return tmp_path / "cache" / "mnist"


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """Let the stand-in arrays be MNIST."""
    checksum = load_mnist(fill(tmp_path / "stand-in")).checksum
    monkeypatch.setitem(mnist.SOURCES, checksum, "mnist")


@pytest.fixture
def lines():
    return []


def test_a_folder_is_read_packed_or_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checksums = set()
    for end in ("", ".gz"):
        digits = load_mnist(fill(Path(f"folder{end}"), end=end))
        assert same(digits, STAND_IN), end
        assert digits.source == f"folder{end}"  # as it was given
        checksums.add(digits.checksum)
    assert len(checksums) == 1  # neither place nor packing matters
    assert len(checksums.pop()) == 64


def test_any_changed_array_changes_the_checksum(tmp_path):
    checksums = {load_mnist(fill(tmp_path / "a")).checksum}
    for part in range(4):
        arrays = [array.copy() for array in STAND_IN]
        arrays[part].flat[0] ^= 1
        checksums.add(load_mnist(fill(tmp_path / str(part), arrays)).checksum)
    assert len(checksums) == 5


@pytest.mark.usefixtures("stand_in")
def test_mnist_and_the_sample_are_known_by_content_wherever_they_lie(tmp_path):
    assert load_mnist(fill(tmp_path / "any")).source == "mnist"
    for name in mnist.NAMES:
        packed = (SAMPLE_FOLDER / f"{name}.gz").read_bytes()
        (tmp_path / name).write_bytes(gzip.decompress(packed))
    assert load_mnist(tmp_path).source == "sample"


def test_the_real_mnist_is_known():
    if not NAMED_FOLDER:
        pytest.skip("TINYCNN_DATA names no folder with the real MNIST")
    digits = load_mnist(NAMED_FOLDER)
    assert digits.source == "mnist"
    assert digits.test_images.shape == (10_000, 28, 28)


@pytest.mark.usefixtures("stand_in")
def test_argument_environment_cache_and_sample_are_tried_in_this_order(
    tmp_path, monkeypatch, cache, lines
):
    assert load_mnist(report=lines.append).source == "sample"
    lines.clear()
    fill(cache)
    assert load_mnist(report=lines.append).source == "mnist"
    monkeypatch.setenv("TINYCNN_DATA", "")  # names no folder
    assert load_mnist(report=lines.append).source == "mnist"
    other = [array[::-1] for array in STAND_IN]
    monkeypatch.setenv("TINYCNN_DATA", str(fill(tmp_path / "named", other)))
    digits = load_mnist(report=lines.append)
    assert same(digits, other)
    assert digits.source == str(tmp_path / "named")
    monkeypatch.setenv("TINYCNN_DATA", str(tmp_path / "absent"))
    assert load_mnist(fill(tmp_path / "mine"), report=lines.append).source == "mnist"
    assert lines == []


def test_a_named_folder_without_the_files_is_an_error(tmp_path, monkeypatch):
    (fill(tmp_path / "mine") / mnist.NAMES[3]).unlink()
    (tmp_path / "file").touch()
    for name, reason in [
        ("mine", "has no file t10k-labels-idx1-ubyte"),
        ("absent", "has no file train-images"),
        ("file", "has no file train-images"),
    ]:
        folder = str(tmp_path / name)
        monkeypatch.setenv("TINYCNN_DATA", folder)
        for argument in (folder, None):
            with pytest.raises(DataError, match=reason) as caught:
                load_mnist(argument)
            assert str(caught.value).startswith(folder)
            assert "--data DIR or TINYCNN_DATA" in str(caught.value)


def test_files_that_are_damaged_or_no_pair_are_an_error(tmp_path):
    folder = fill(tmp_path / "mine", [*STAND_IN[:3], STAND_IN[1]])
    with pytest.raises(DataError, match="name two files that belong together"):
        load_mnist(folder)
    path = folder / mnist.NAMES[2]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="t10k-images"):
        load_mnist(folder)


@pytest.mark.usefixtures("stand_in")
def test_a_damaged_cache_is_one_line_and_not_fatal(cache, lines):
    path = fill(cache) / mnist.NAMES[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert load_mnist(report=lines.append).source == "sample"
    (line,) = lines
    assert line.startswith(f"MNIST is damaged ({path}")
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert load_mnist().source == "sample"
    path.unlink()
    assert load_mnist().source == "sample"


def test_the_sample_says_what_it_is_and_what_to_do_on_stderr(capsys):
    assert load_mnist().source == "sample"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    for part in ("4,000 training", "1,000 test digits", "not comparable", "--data"):
        assert part in err


def test_validation_is_the_last_twelfth_and_no_copy():
    for count, cut in [(60_000, 55_000), (4000, 3667), (12, 11), (23, 22), (24, 22)]:
        images = np.broadcast_to(np.uint8(0), (count, 28, 28))
        labels = (np.arange(count) % 251).astype(np.uint8)
        parts = split_validation(images, labels)
        assert [len(part) for part in parts] == [cut, cut, count - cut, count - cut]
        np.testing.assert_array_equal(parts[1], labels[:cut])
        np.testing.assert_array_equal(parts[3], labels[cut:])
        for part, whole in zip(parts, [images, labels] * 2, strict=True):
            assert np.shares_memory(part, whole)


def test_too_few_to_cut_is_an_error():
    with pytest.raises(DataError, match="at least 12"):
        split_validation(STAND_IN[0][:11], STAND_IN[1][:11])


def test_the_sample_holds_400_and_100_of_each_digit_in_balanced_tens():
    sample = load_mnist(SAMPLE_FOLDER)
    assert sample.train_images.shape == (4000, 28, 28)
    assert sample.test_images.shape == (1000, 28, 28)
    for labels in (sample.train_labels, sample.test_labels):
        tens = labels.reshape(-1, 10)
        np.testing.assert_array_equal(np.sort(tens, axis=1), [range(10)] * len(tens))
        # Mixed, not the same order again and again.
        assert len({ten.tobytes() for ten in tens}) > 0.9 * len(tens)
    train = {image.tobytes() for image in sample.train_images}
    assert not train & {image.tobytes() for image in sample.test_images}


def test_the_samples_note_carries_the_licence():
    note = (SAMPLE_FOLDER / "LICENCE.md").read_text(encoding="utf-8")
    assert "Copyright (c) 2014-2026, Sebastian Raschka. All rights reserved." in note
    assert 'PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"' in note


NO_SOCKET = """
import sys
events = []
sys.addaudithook(lambda event, _: events.append(event))
import tinycnn.data
heavy = {"numba", "scipy", "ssl", "socket", "pooch", "requests", "tqdm"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
digits = tinycnn.data.load_mnist(report=lambda line: None)
assert digits.source == "sample"
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert "open" in events
sockets = [event for event in events if event.startswith("socket.")]
assert not sockets, sockets
"""


def test_importing_and_loading_offline_open_no_socket(tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    for home in (True, False):
        if home:
            environment["HOME"] = str(tmp_path)
        else:
            environment.pop("HOME")
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", NO_SOCKET],
            env=environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
    assert list(tmp_path.iterdir()) == []
