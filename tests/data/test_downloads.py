"""Laws of downloading: whatever a mirror does, MNIST or the next mirror or the sample.

The mirror is a server on 127.0.0.1. The first part of an address names its fault:
``/cut/NAME.gz`` is cut short, ``/good/NAME.gz`` is right. Four small files stand in for
MNIST.
"""

import gzip
import hashlib
import http.server
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tinycnn.data import load_mnist, mnist
from tinycnn.data.idx import content_sha256

RNG = np.random.default_rng(2)
ARRAYS = (
    RNG.integers(0, 256, (120, 28, 28), np.uint8),
    RNG.integers(0, 10, 120, np.uint8),
    RNG.integers(0, 256, (12, 28, 28), np.uint8),
    RNG.integers(0, 10, 12, np.uint8),
)
CONTENTS = {
    f"{name}.gz": gzip.compress(
        bytes([0, 0, 8, array.ndim])
        + np.array(array.shape, ">u4").tobytes()
        + array.tobytes()
    )
    for name, array in zip(mnist.NAMES, ARRAYS, strict=True)
}
SHORT = 1.0  # seconds of patience with a mirror that is meant to lose it


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the fault in the address."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        _, fault, name = self.path.split("/")
        getattr(self, fault)(CONTENTS[name])

    def start(self, length=None, status=200, **headers):
        self.send_response(status)
        if length is not None:
            headers["Content-Length"] = length
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def good(self, content):
        self.start(len(content))
        self.wfile.write(content)

    def missing(self, _):
        self.send_error(404, "\x1b[31mgone")

    def cut(self, content):
        self.start(len(content))
        self.wfile.write(content[:-1])

    def altered(self, content):
        self.good(bytes([*content[:-1], content[-1] ^ 1]))

    def endless(self, _):
        self.start()
        with suppress(OSError):  # until the other side has had enough
            while True:
                self.wfile.write(bytes(2**16))
                self.server.sent += 2**16

    def noise(self, _):
        self.wfile.write(b"\x1b[31m\xff\xfe\r\n\r\n" * 20)

    def moved(self, _):
        self.start(0, 302, Location=self.path.replace("/moved/", "/good/"))

    def half_of_the_files(self, content):
        (self.good if "train" in self.path else self.missing)(content)

    def silent(self, _):
        self.server.release.wait(30)

    def stalled(self, content):
        self.start(len(content))
        self.wfile.write(content[: len(content) // 2])
        self.server.release.wait(30)

    def trickling_headers(self, _):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.server.release.wait(0.05):
            self.wfile.write(b"X: y\r\n")

    def trickling(self, content):
        if len(content) < 50_000:
            return self.good(content)
        self.start(len(content))
        for part in range(0, len(content), len(content) // 8):
            self.wfile.write(content[part : part + len(content) // 8])
            time.sleep(SHORT / 4)
        return None


@pytest.fixture
def mirror():
    """Serve on a free port; note what is asked and what an endless answer sent."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # clients hang up on purpose
        server.asked, server.sent, server.release = [], 0, threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.release.set()
        server.shutdown()


@pytest.fixture
def lines():
    return []


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Let the stand-in be MNIST; return an empty cache folder; watch for leftovers."""
    for name in ("TINYCNN_OFFLINE", "TINYCNN_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(mnist, "user_cache_dir", lambda name: str(tmp_path / name))
    packed = tuple(hashlib.sha256(c).hexdigest() for c in CONTENTS.values())
    plain = "\n".join(map(content_sha256, ARRAYS)).encode()
    monkeypatch.setattr(mnist, "PACKED_SHA256", packed)
    monkeypatch.setitem(mnist.SOURCES, hashlib.sha256(plain).hexdigest(), "mnist")
    monkeypatch.setattr(mnist, "BYTES", sum(map(len, CONTENTS.values())))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield tmp_path / "tinycnn" / "mnist"
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.fixture
def load(mirror, monkeypatch, lines):
    """Return a function that loads from mirrors with faults of that name."""

    def load_from(*faults, patience=20.0, silence=20.0):
        port = mirror.server_address[1]
        urls = [f if "/" in f else f"http://127.0.0.1:{port}/{f}/" for f in faults]
        monkeypatch.setattr(mnist, "MIRRORS", urls)
        monkeypatch.setattr(mnist, "FIRST_BYTE_SECONDS", patience)
        monkeypatch.setattr(mnist, "SILENCE_SECONDS", silence)
        return load_mnist(report=lines.append)

    return load_from


def is_right(digits):
    loaded = list(vars(digits).values())[:4]
    return digits.source == "mnist" and all(map(np.array_equal, loaded, ARRAYS))


def kept(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_download_ends_in_the_cache_and_is_not_repeated(load, mirror, cache, lines):
    for _ in range(2):
        assert is_right(load("good"))
        assert kept(cache) == CONTENTS
        assert mirror.asked == [f"/good/{name}" for name in CONTENTS]
        assert lines == [f"Downloading MNIST (12 MB) to {cache} ..."]
    path = cache / next(iter(CONTENTS))
    path.write_bytes(path.read_bytes()[:-5])
    assert is_right(load("good"))
    assert kept(cache) == CONTENTS
    assert lines[1:] == lines[:1]


FAULTS = {
    "missing": "failed",
    "cut": "failed",
    "altered": "sent other bytes",
    "endless": "sent other bytes",
    "noise": "failed",
    "moved": "sent other bytes",  # a redirect could lead away from https
    "half_of_the_files": "failed",
}


def test_a_faulty_mirror_leads_to_the_next_without_a_word(
    load, mirror, cache, lines, tmp_path
):
    for fault in FAULTS:
        assert is_right(load(fault, "good")), fault
        assert kept(cache) == CONTENTS, fault
        assert lines == [f"Downloading MNIST (12 MB) to {cache} ..."], fault
        cache.rename(tmp_path / fault)
        lines.clear()
    assert sum("/good/train" in path for path in mirror.asked) == 2 * (len(FAULTS) - 1)
    assert mirror.sent < 2**24  # of the endless one, with what the sockets hold


def test_why_every_mirror_failed_is_one_line_with_what_is_used_instead(load, lines):
    for fault, reason in FAULTS.items():
        assert load(fault, fault).source == "sample"
        line = lines.pop()
        assert f"127.0.0.1 {reason}" in line, fault
        assert "so the bundled sample is used" in line
        assert line.isprintable()
        lines.clear()  # perhaps that bytes arrived


@pytest.mark.parametrize(
    ("fault", "patience", "silence"),
    [
        ("silent", SHORT, 20.0),
        ("trickling_headers", SHORT, 20.0),
        ("stalled", 20.0, SHORT),
    ],
)
def test_a_mirror_that_falls_silent_leads_to_the_next(
    load, mirror, cache, fault, patience, silence
):
    start = time.monotonic()
    digits = load(fault, "good", patience=patience, silence=silence)
    assert SHORT <= time.monotonic() - start < SHORT + 5.0
    assert is_right(digits)
    assert kept(cache) == CONTENTS
    assert sum(f"/{fault}/" in path for path in mirror.asked) == 1


def test_a_slow_but_steady_mirror_is_good_enough(load):
    start = time.monotonic()
    assert is_right(load("trickling", patience=SHORT, silence=SHORT))
    assert time.monotonic() - start > 1.5 * SHORT


def test_when_no_mirror_answers_the_sample_is_used_soon(load, mirror, cache, lines):
    start = time.monotonic()
    assert load("silent", "silent", patience=SHORT).source == "sample"
    assert 2 * SHORT <= time.monotonic() - start < 2 * SHORT + 5.0
    (line,) = lines
    assert line.count("sent nothing for too long") == 2
    assert "bundled sample" in line
    assert not cache.exists()
    mirror.asked.clear()
    assert load_mnist(online=False).source == "sample"
    assert mirror.asked == []


def test_a_look_up_that_hangs_ends_with_the_program(load, monkeypatch):
    release = threading.Event()
    look_up = socket.getaddrinfo

    def hang(host, *rest, **options):
        if host == "hanging.example":
            release.wait(30)
            raise socket.gaierror
        return look_up(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    digits = load("http://hanging.example/", "good", patience=SHORT)
    hanging = [thread for thread in threading.enumerate() if thread.name == "download"]
    release.set()
    assert is_right(digits)
    assert [thread.daemon for thread in hanging] == [True]
    hanging[0].join(20)  # before its folder is looked for


def test_a_cache_that_cannot_be_written_is_one_line(load, cache, lines):
    cache.parent.mkdir()
    cache.write_text("a file is in the way")
    assert is_right(load("good"))
    assert len(lines) == 2
    assert lines[1].startswith("MNIST cannot be kept")
    assert str(cache) in lines[1]


def test_a_user_without_a_home_loads_from_memory(load, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mnist, "user_cache_dir", lambda name: f"~/.cache/{name}")
    assert is_right(load("good"))
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]


def test_the_mirrors_are_asked_over_https_and_silent_ones_take_ten_seconds():
    assert len(mnist.MIRRORS) == 2
    assert all(mirror.startswith("https://") for mirror in mnist.MIRRORS)
    assert (mnist.FIRST_BYTE_SECONDS, mnist.SILENCE_SECONDS) == (5, 30)


FIRST_START = """
import socket

def no_network(*_, **__):
    raise socket.gaierror(-3, "Temporary failure in name resolution")

socket.getaddrinfo = no_network
from tinycnn.data import load_mnist
assert load_mnist().source == "sample"
"""


def test_a_first_start_without_a_network_says_one_line(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", FIRST_START],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = ran.stderr.splitlines()
    assert line.startswith("MNIST cannot be downloaded (")
    assert line.count("failed (ConnectionError)") == 2
    assert "so the bundled sample is used" in line
    assert ran.stdout == ""
