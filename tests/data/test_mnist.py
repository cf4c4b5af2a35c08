"""Laws of finding MNIST: the order of places, names by content, cache and sample.

These tests know folders and the environment. They open no socket: what a mirror would
send is handed over by a stand-in, and the mirrors have `test_downloads.py`.
"""

import dataclasses
import errno
import gzip
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tinycnn.data import DataError, IdxError, load_mnist, mnist, split_validation
from tinycnn.data import write_idx as write
from tinycnn.data.download import Archive, RemoteFile
from tinycnn.data.idx import content_sha256

RNG = np.random.default_rng(1)
STAND_IN = (
    RNG.integers(0, 256, (24, 28, 28), np.uint8),
    RNG.integers(0, 10, 24, np.uint8),
    RNG.integers(0, 256, (12, 28, 28), np.uint8),
    RNG.integers(0, 10, 12, np.uint8),
)
NAMED_FOLDER = os.environ.get("TINYCNN_DATA")  # before it is taken away
DOTTED = [name.replace("-idx", ".idx") for name in mnist.NAMES]


def fill(folder, arrays=STAND_IN, names=mnist.NAMES, end=".gz"):
    """Write the four files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, arrays, strict=True):
        write(folder / f"{name}{end}", array)
    return folder


def same(digits, arrays):
    loaded = (
        digits.train_images,
        digits.train_labels,
        digits.test_images,
        digits.test_labels,
    )
    return all(np.array_equal(a, b) for a, b in zip(loaded, arrays, strict=True))


def kept(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Take the network and this machine's own MNIST away; return an empty cache."""
    monkeypatch.setenv("TINYCNN_OFFLINE", "1")
    monkeypatch.delenv("TINYCNN_DATA", raising=False)
    monkeypatch.setattr(mnist, "_cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def stand_in(monkeypatch):
    """Let the stand-in arrays be MNIST."""
    files = tuple(
        RemoteFile(name, 1, "", content_sha256(array))
        for name, array in zip(mnist.NAMES, STAND_IN, strict=True)
    )
    monkeypatch.setattr(mnist, "MNIST", Archive(("https://none/",), files))


@pytest.fixture
def mirror(monkeypatch, stand_in, tmp_path):  # noqa: ARG001
    """Let the stand-in arrays be downloaded; return the names that were asked for."""
    monkeypatch.delenv("TINYCNN_OFFLINE")
    origin, asked = fill(tmp_path / "origin"), []

    def download(_, files, report):
        for file in files:
            asked.append(file.name)
            report(f"Downloaded {file.name}")
            yield file, (origin / f"{file.name}.gz").read_bytes()

    monkeypatch.setattr(mnist, "download", download)
    return asked


@pytest.fixture
def lines():
    return []


@pytest.mark.parametrize("names", [mnist.NAMES, DOTTED], ids=["dash", "dot"])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_a_folder_is_read_under_all_spellings(tmp_path, names, end):
    folder = fill(tmp_path / "mine", names=names, end=end)
    digits = load_mnist(folder)
    assert same(digits, STAND_IN)
    assert digits.source == str(folder)


def test_place_and_packing_do_not_change_the_checksum(tmp_path):
    first = load_mnist(fill(tmp_path / "a", end=""))
    second = load_mnist(fill(tmp_path / "b", names=DOTTED, end=".gz"))
    assert first.checksum == second.checksum
    assert len(first.checksum) == 64


@pytest.mark.parametrize("part", range(4))
def test_any_changed_array_changes_the_checksum(tmp_path, part):
    first = load_mnist(fill(tmp_path / "a"))
    arrays = [array.copy() for array in STAND_IN]
    arrays[part].flat[0] ^= 1
    assert load_mnist(fill(tmp_path / "b", arrays)).checksum != first.checksum


def test_the_source_is_the_folder_as_it_was_given(tmp_path, monkeypatch):
    fill(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert load_mnist("mine").source == "mine"


@pytest.mark.usefixtures("stand_in")
def test_mnist_is_known_by_content_wherever_it_lies(tmp_path):
    assert load_mnist(fill(tmp_path / "any", names=DOTTED, end="")).source == "mnist"


def test_the_sample_is_known_by_content_wherever_it_lies(tmp_path):
    for name in mnist.NAMES:
        packed = (mnist.SAMPLE_FOLDER / f"{name}.gz").read_bytes()
        (tmp_path / name).write_bytes(gzip.decompress(packed))
    assert load_mnist(tmp_path).source == "sample"


def test_the_real_mnist_is_known():
    if not NAMED_FOLDER:
        pytest.skip("TINYCNN_DATA names no folder, so the real MNIST is not here")
    digits = load_mnist(NAMED_FOLDER)
    if len(digits.train_images) != 60_000:
        pytest.skip("TINYCNN_DATA names a folder with other digits than MNIST")
    assert digits.source == "mnist"
    assert digits.test_images.shape == (10_000, 28, 28)


def test_the_argument_goes_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYCNN_DATA", str(tmp_path / "absent"))
    assert same(load_mnist(fill(tmp_path / "mine")), STAND_IN)


@pytest.mark.usefixtures("stand_in")
def test_the_environment_goes_before_the_cache(tmp_path, monkeypatch, cache):
    fill(cache)
    other = [array[::-1] for array in STAND_IN]
    monkeypatch.setenv("TINYCNN_DATA", str(fill(tmp_path / "named", other)))
    digits = load_mnist()
    assert same(digits, other)
    assert digits.source == str(tmp_path / "named")


@pytest.mark.usefixtures("stand_in")
def test_the_cache_goes_before_the_sample(cache, lines):
    fill(cache)
    digits = load_mnist(report=lines.append)
    assert same(digits, STAND_IN)
    assert digits.source == "mnist"
    assert lines == []


@pytest.mark.usefixtures("stand_in")
def test_the_cache_has_the_same_checksum_as_a_folder(tmp_path, cache):
    fill(cache)
    assert load_mnist().checksum == load_mnist(fill(tmp_path / "b", end="")).checksum


def test_offline_asks_nobody(monkeypatch, mirror):
    monkeypatch.setenv("TINYCNN_OFFLINE", "1")
    assert load_mnist().source == "sample"
    assert mirror == []


def test_an_empty_environment_names_no_folder(monkeypatch, lines):
    monkeypatch.setenv("TINYCNN_DATA", "")
    assert load_mnist(report=lines.append).source == "sample"


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_named_folder_without_the_files_is_an_error(tmp_path, monkeypatch, way):
    fill(tmp_path / "mine")
    (tmp_path / "mine" / f"{mnist.NAMES[3]}.gz").unlink()
    (tmp_path / "file").touch()
    for name, reason in [
        ("mine", "has no file t10k-labels-idx1-ubyte"),
        ("absent", "No such file"),
        ("file", "Not a directory"),
    ]:
        folder = str(tmp_path / name)
        if way == "environment":
            monkeypatch.setenv("TINYCNN_DATA", folder)
        with pytest.raises(DataError, match=reason) as caught:
            load_mnist(folder if way == "argument" else None)
        assert str(caught.value).startswith(folder)
        assert "--data DIR or TINYCNN_DATA" in str(caught.value)


def test_a_damaged_file_in_a_named_folder_is_an_error(tmp_path):
    path = fill(tmp_path / "mine") / f"{mnist.NAMES[2]}.gz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IdxError, match="t10k-images"):
        load_mnist(tmp_path / "mine")


def test_labels_of_another_set_are_an_error(tmp_path):
    arrays = [*STAND_IN[:3], STAND_IN[1]]
    with pytest.raises(DataError, match="24 labels for the 12 images"):
        load_mnist(fill(tmp_path / "mine", arrays))


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("damage", ["cut", "other", "missing"])
def test_a_damaged_cache_is_said_in_one_line_and_not_fatal(cache, damage, lines):
    path = fill(cache) / f"{mnist.NAMES[1]}.gz"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "other":
        write(path, STAND_IN[1][::-1])
    else:
        path.unlink()
    assert load_mnist(report=lines.append).source == "sample"
    said = [line for line in lines if str(path) in line]
    assert len(said) == (0 if damage == "missing" else 1)
    assert len(lines) == len(said) + 1
    assert not any("\n" in line for line in lines)


def test_what_was_downloaded_is_kept(mirror, cache, tmp_path, lines):
    assert same(load_mnist(report=lines.append), STAND_IN)
    assert kept(cache) == kept(tmp_path / "origin")
    assert same(load_mnist(report=lines.append), STAND_IN)
    assert mirror == list(mnist.NAMES)
    assert lines == [f"Downloaded {name}" for name in mnist.NAMES]


def test_a_damaged_cached_file_is_downloaded_again(mirror, cache, tmp_path, lines):
    path = fill(cache) / f"{mnist.NAMES[2]}.gz"
    path.write_bytes(path.read_bytes()[:-5])
    assert same(load_mnist(report=lines.append), STAND_IN)
    assert mirror == [mnist.NAMES[2]]
    assert kept(cache) == kept(tmp_path / "origin")
    assert len(lines) == 2
    assert str(path) in lines[0]


def test_a_plain_file_put_into_the_cache_by_hand_is_used(mirror, cache):
    fill(cache, end="")
    assert same(load_mnist(), STAND_IN)
    assert mirror == []


def test_a_download_that_ends_early_leads_to_the_sample(mirror, cache, monkeypatch):
    whole = mnist.download
    monkeypatch.setattr(
        mnist, "download", lambda *rest: itertools.islice(whole(*rest), 3)
    )
    assert load_mnist().source == "sample"
    assert len(kept(cache)) == 3
    monkeypatch.setattr(mnist, "download", whole)
    assert same(load_mnist(), STAND_IN)
    assert mirror == list(mnist.NAMES)


@pytest.mark.usefixtures("mirror")
def test_what_a_killed_process_left_is_removed(cache, monkeypatch):
    with monkeypatch.context() as patch:  # as if killed: nothing is renamed or removed
        patch.setattr(Path, "replace", lambda *_: None)
        patch.setattr(Path, "unlink", lambda *_: None)
        load_mnist()
        load_mnist()
    old, young = cache.glob(f"{mnist.NAMES[0]}*")
    os.utime(old, (time.time() - 3600,) * 2)
    assert same(load_mnist(), STAND_IN)
    assert not old.exists()
    assert young.exists()  # its process may be at work
    assert (cache / f"{mnist.NAMES[0]}.gz").exists()


def test_an_unwritable_cache_is_said_once_and_not_fatal(mirror, cache, lines):
    cache.write_text("a file is in the way")
    assert same(load_mnist(report=lines.append), STAND_IN)
    said = [line for line in lines if "cannot keep" in line]
    assert len(said) == 1
    assert str(cache) in said[0]
    assert mirror == list(mnist.NAMES)


@pytest.mark.usefixtures("mirror")
def test_a_full_disk_is_said_once_and_leaves_nothing(cache, lines, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert same(load_mnist(report=lines.append), STAND_IN)
    (said,) = [line for line in lines if "cannot keep" in line]
    assert said.startswith(f"{cache}: cannot keep MNIST (No space left on device), so")
    assert kept(cache) == {}


@pytest.mark.usefixtures("mirror")
def test_a_user_without_a_cache_loads_from_memory(monkeypatch):
    monkeypatch.setattr(mnist, "_cache_folder", lambda: None)
    assert same(load_mnist(), STAND_IN)


def test_the_sample_says_what_it_is_and_what_to_do(lines):
    assert load_mnist(report=lines.append).source == "sample"
    (line,) = lines
    for part in (
        "4,000 training",
        "1,000 test digits",
        "no MNIST accuracy",
        "--data DIR",
        "TINYCNN_DATA",
        "network",
    ):
        assert part in line


def test_lines_go_to_stderr_unless_told_otherwise(capsys):
    load_mnist()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


def test_what_is_loaded_cannot_be_exchanged():
    digits = load_mnist(mnist.SAMPLE_FOLDER)
    with pytest.raises(dataclasses.FrozenInstanceError):
        digits.source = "mnist"


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(mnist, "user_cache_dir", lambda _: "~/.cache/tinycnn")
    assert mnist._cache_folder() is None
    absolute = Path.cwd() / "cache"
    monkeypatch.setattr(mnist, "user_cache_dir", lambda _: str(absolute))
    assert mnist._cache_folder() == absolute / "mnist"


@pytest.mark.usefixtures("stand_in")
def test_without_a_place_for_a_cache_the_sample_is_still_there(monkeypatch, lines):
    monkeypatch.setattr(mnist, "_cache_folder", lambda: None)
    assert load_mnist(report=lines.append).source == "sample"


@pytest.mark.parametrize(
    ("count", "cut"), [(60_000, 55_000), (4000, 3667), (12, 11), (23, 22), (24, 22)]
)
def test_validation_is_the_last_twelfth(count, cut):
    images = np.broadcast_to(np.uint8(0), (count, 28, 28))
    labels = (np.arange(count) % 251).astype(np.uint8)
    train_images, train_labels, val_images, val_labels = split_validation(
        images, labels
    )
    assert (len(train_images), len(val_images)) == (cut, count - cut)
    np.testing.assert_array_equal(train_labels, labels[:cut])
    np.testing.assert_array_equal(val_labels, labels[cut:])


def test_validation_is_cut_without_a_copy():
    parts = split_validation(STAND_IN[0], STAND_IN[1])
    for part, whole in zip(parts, [*STAND_IN[:2]] * 2, strict=True):
        assert np.shares_memory(part, whole)
    np.testing.assert_array_equal(parts[2], STAND_IN[0][22:])


def test_too_few_to_cut_is_an_error():
    with pytest.raises(DataError, match="at least 12"):
        split_validation(STAND_IN[0][:11], STAND_IN[1][:11])
    with pytest.raises(DataError, match="24 images have 23 labels"):
        split_validation(STAND_IN[0], STAND_IN[1][:-1])


NO_SOCKET = """
import sys
events = []
sys.addaudithook(lambda event, _: events.append(event))
import tinycnn.data
heavy = {"numba", "scipy", "ssl", "urllib.request", "http.client", "tqdm"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
digits = tinycnn.data.load_mnist(report=lambda line: None)
assert digits.source == "sample"
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert "open" in events
sockets = [event for event in events if event.startswith("socket.")]
assert not sockets, sockets
"""


@pytest.mark.parametrize("home", [True, False])
def test_importing_and_loading_offline_open_no_socket(tmp_path, home):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HOME", "XDG_CACHE_HOME")
    }
    if home:
        environment["HOME"] = str(tmp_path)
    # Without a home, too, the cache must be an empty one.
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache") if not home else ""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", NO_SOCKET],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert not (tmp_path / "cache").exists()
