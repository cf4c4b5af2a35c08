"""Laws of downloading: whatever a mirror does, right digits or the next mirror.

A server on 127.0.0.1 speaks TLS with a certificate made for the occasion. The first
part of an address names its fault: ``/cut/NAME.gz`` is cut short, ``/good/NAME.gz`` is
right. These tests know the mirrors' protocol. They know nothing of MNIST's content.
"""

import hashlib
import http.server
import itertools
import socket
import ssl
import threading
import time

import numpy as np
import pytest
import trustme

from tinycnn.data import download, load_mnist, mnist
from tinycnn.data.idx import content_sha256, write_idx

RNG = np.random.default_rng(2)
ARRAYS = (
    RNG.integers(0, 256, (120, 28, 28), np.uint8),
    RNG.integers(0, 10, 120, np.uint8),
    RNG.integers(0, 256, (12, 28, 28), np.uint8),
    RNG.integers(0, 10, 12, np.uint8),
)
SHORT = 0.6  # seconds of patience with a mirror that is meant to lose it
LONG = 20.0  # and with one that is not


class Mirror:
    """A TLS server with faults, and what it was asked."""

    def __init__(self, contents, context):
        self.asked = []
        self.release = threading.Event()
        self.redirect_to = ""
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                mirror.asked.append(self.path)
                _, fault, name = self.path.split("/")
                getattr(mirror, fault)(self, contents[name])

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # clients hang up on us by design

        self.server = Server(("127.0.0.1", 0), Handler)
        # The handshake is left to the handler's thread: a client that refuses our
        # certificate must not disturb the others.
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def url(self, fault):
        return f"https://127.0.0.1:{self.port}/{fault}/"

    @staticmethod
    def start(request, length=None):
        request.send_response(200)
        if length is not None:
            request.send_header("Content-Length", str(length))
        request.end_headers()

    def good(self, request, content):
        self.start(request, len(content))
        request.wfile.write(content)

    def missing(self, request, _):
        request.send_error(404)

    def broken(self, request, _):
        request.send_error(500)

    def cut(self, request, content):
        self.start(request, len(content))
        request.wfile.write(content[:-1])

    def empty(self, request, _):
        self.start(request, 0)

    def altered(self, request, content):
        altered = bytearray(content)
        altered[len(content) // 2] ^= 1
        self.good(request, bytes(altered))

    def longer(self, request, content):
        self.good(request, content + b"\0")

    def endless(self, request, content):
        self.start(request)
        request.wfile.write(content)
        while not self.release.is_set():
            request.wfile.write(bytes(2**16))

    def noise(self, request, _):
        request.wfile.write(b"\x1b[31m\xff\xfe\r\n\r\n" * 20)

    def hung_up(self, request, _):
        request.connection.close()

    def plain(self, request, _):
        request.send_response(302)
        request.send_header("Location", self.redirect_to)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def moved(self, request, _):
        request.send_response(302)
        request.send_header("Location", request.path.replace("/moved/", "/good/"))
        request.send_header("Content-Length", "0")
        request.end_headers()

    def circle(self, request, _):
        request.send_response(302)
        request.send_header("Location", request.path)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def silent(self, _, __):
        self.release.wait(30)

    def stalled(self, request, content):
        self.start(request, len(content))
        request.wfile.write(content[: len(content) // 2])
        self.release.wait(30)

    def trickling(self, request, content):
        self.start(request, len(content))
        for byte in content:
            request.wfile.write(bytes([byte]))
            if self.release.wait(0.05):
                break

    def trickling_headers(self, request, _):
        for i in itertools.count():
            request.wfile.write(b"HTTP/1.1 200 OK\r\n" if i == 0 else b"X: y\r\n")
            if self.release.wait(0.05):
                break


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pack the stand-in arrays: the files, and their bytes by name."""
    folder = tmp_path_factory.mktemp("origin")
    files, contents = [], {}
    for name, array in zip(mnist.NAMES, ARRAYS, strict=True):
        write_idx(folder / f"{name}.gz", array)
        content = (folder / f"{name}.gz").read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        files.append(
            download.RemoteFile(name, len(content), digest, content_sha256(array))
        )
        contents[f"{name}.gz"] = content
    return tuple(files), contents


def serve(files, authority, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return Mirror(files[1], context)


@pytest.fixture
def mirror(files, authority):
    server = serve(files, authority, "127.0.0.1")
    yield server
    server.close()


@pytest.fixture
def lines():
    return []


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in ("TINYCNN_OFFLINE", "TINYCNN_DATA", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(mnist, "_cache_folder", lambda: tmp_path / "cache" / "mnist")
    return tmp_path / "cache" / "mnist"


@pytest.fixture
def load(monkeypatch, files, trusting, lines):
    """Return a function that loads from mirrors of our own."""

    def load_from(*mirrors, patience=LONG, pace=16_000.0):
        archive = download.Archive(mirrors, files[0], trusting, patience, pace)
        monkeypatch.setattr(mnist, "MNIST", archive)
        return load_mnist(report=lines.append)

    return load_from


def is_right(digits):
    loaded = (
        digits.train_images,
        digits.train_labels,
        digits.test_images,
        digits.test_labels,
    )
    return digits.source == "mnist" and all(map(np.array_equal, loaded, ARRAYS))


def is_whole(cache, files):
    """Return whether the cache holds the four right files and nothing else."""
    kept = {path.name: path.read_bytes() for path in cache.iterdir()}
    return kept == files[1]


def test_a_download_ends_in_the_cache_and_is_not_repeated(
    load, mirror, cache, files, lines
):
    assert is_right(load(mirror.url("good")))
    assert is_whole(cache, files)
    assert [line.split()[0] for line in lines] == ["Downloaded"] * 4
    assert len(mirror.asked) == 4
    assert is_right(load(mirror.url("good")))
    assert len(mirror.asked) == 4
    assert len(lines) == 4


FAULTS = [
    "missing",
    "broken",
    "cut",
    "empty",
    "altered",
    "longer",
    "endless",
    "noise",
    "hung_up",
    "circle",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_mirror_leads_to_the_next(load, mirror, cache, files, lines, fault):
    assert is_right(load(mirror.url(fault), mirror.url("good")))
    assert is_whole(cache, files)
    assert any(f"/{fault}/" in path for path in mirror.asked)
    assert any(f"/{fault}/" in line and "not used" in line for line in lines)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("fault", "pace"),
    # With a pace that low, what was sent before excuses any silence but for patience.
    [("silent", 1.0), ("stalled", 1.0), ("trickling", 1e6), ("trickling_headers", 1e6)],
)
def test_a_slow_mirror_is_given_up_once_and_for_all(
    load, mirror, cache, files, fault, pace
):
    start = time.monotonic()
    digits = load(mirror.url(fault), mirror.url("good"), patience=SHORT, pace=pace)
    took = time.monotonic() - start
    assert is_right(digits)
    assert is_whole(cache, files)
    # Asked for the first file only, not for all four.
    assert sum(f"/{fault}/" in path for path in mirror.asked) == 1
    assert SHORT <= took < SHORT + 5.0


def test_a_mirror_with_one_file_wrong_is_asked_for_the_others(load, mirror, files):
    """Two mirrors, each with another fault, have a whole MNIST between them."""
    first = mnist.NAMES[0]
    mirror.sometimes = lambda request, content: (
        mirror.altered if first in request.path else mirror.good
    )(request, content)
    mirror.seldom = lambda request, content: (
        mirror.good if first in request.path else mirror.missing
    )(request, content)
    assert is_right(load(mirror.url("sometimes"), mirror.url("seldom")))
    assert mirror.asked == [
        f"/sometimes/{first}.gz",
        f"/seldom/{first}.gz",
        *[f"/sometimes/{file.name}.gz" for file in files[0][1:]],
    ]


def test_a_redirect_within_https_is_followed(load, mirror):
    assert is_right(load(mirror.url("moved")))
    assert any("/good/" in path for path in mirror.asked)


def test_a_redirect_to_http_is_not_followed(load, mirror, cache, files):
    with socket.create_server(("127.0.0.1", 0)) as plain:
        plain.setblocking(False)
        mirror.redirect_to = f"http://127.0.0.1:{plain.getsockname()[1]}/x.gz"
        assert is_right(load(mirror.url("plain"), mirror.url("good")))
        with pytest.raises(BlockingIOError):  # nobody came
            plain.accept()
    assert is_whole(cache, files)


@pytest.mark.parametrize("scheme", ["http", "ftp", "file"])
def test_an_address_that_is_not_https_is_not_opened(load, mirror, tmp_path, scheme):
    for name, content in zip(mnist.NAMES, range(4), strict=True):
        (tmp_path / f"{name}.gz").write_bytes(bytes(content))
    assert is_right(load(f"{scheme}://127.0.0.1{tmp_path}/", mirror.url("good")))


@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_a_wrong_certificate_leads_to_the_next_mirror(
    load, mirror, files, authority, lines, wrong
):
    server = (
        serve(files, authority, "elsewhere.example")
        if wrong == "name"
        else serve(files, trustme.CA(), "127.0.0.1")
    )
    try:
        assert is_right(load(server.url("good"), mirror.url("good")))
        assert server.asked == []
    finally:
        server.close()
    assert "certificate" in lines[0].lower()


def test_a_refused_connection_leads_to_the_next_mirror(load, mirror):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert is_right(load(f"https://127.0.0.1:{port}/", mirror.url("good")))


def test_a_look_up_that_hangs_leads_to_the_next_mirror(load, mirror, monkeypatch):
    release = threading.Event()
    look_up = socket.getaddrinfo

    def hang(host, *rest, **options):
        if host == "hanging.example":
            release.wait(30)
            raise socket.gaierror
        return look_up(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    digits = load("https://hanging.example/", mirror.url("good"), patience=SHORT)
    hanging = [thread for thread in threading.enumerate() if thread.name == "download"]
    release.set()
    assert is_right(digits)
    # It is still at it, and will not keep the program from ending.
    assert [thread.daemon for thread in hanging] == [True]
    assert time.monotonic() - start < SHORT + 5.0


def test_when_no_mirror_answers_the_sample_comes_soon(load, mirror, cache, lines):
    start = time.monotonic()
    mirrors = (mirror.url("silent"), mirror.url("silent") + "again/")
    digits = load(*mirrors, patience=SHORT)
    assert time.monotonic() - start < 2 * SHORT + 5.0
    assert digits.source == "sample"
    assert "sample" in lines[-1]
    assert len(lines) == 3
    assert not cache.exists()


def test_two_silent_mirrors_fit_into_ten_seconds():
    assert len(mnist.MNIST.mirrors) * mnist.MNIST.patience < 9.0
    assert all(mirror.startswith("https://") for mirror in mnist.MNIST.mirrors)


def test_a_slow_but_steady_mirror_is_good_enough(load, mirror):
    def steady(request, content):
        mirror.start(request, len(content))
        for at in range(0, len(content), len(content) // 6 + 1):
            request.wfile.write(content[at : at + len(content) // 6 + 1])
            time.sleep(SHORT / 5)

    first = f"{mnist.NAMES[0]}.gz"
    mirror.steady = lambda request, content: (
        steady if first in request.path else mirror.good
    )(request, content)
    assert is_right(load(mirror.url("steady"), patience=SHORT))


def test_endless_data_is_not_read_to_the_end(load, mirror):
    sent = []

    def counted(request, _):
        mirror.start(request)
        for _ in range(1000):
            request.wfile.write(bytes(2**16))
            sent.append(2**16)

    mirror.counted = counted
    assert load(mirror.url("counted")).source == "sample"
    # What the sockets hold on the way is sent too; 64 MB were on offer for each file.
    assert sum(sent) < 16 * 2**20


def test_a_terminal_sees_a_bar_and_no_lines(load, mirror, monkeypatch, lines, capsys):
    monkeypatch.setattr(download, "_on_terminal", lambda: True)
    assert is_right(load(mirror.url("good")))
    assert lines == []
    assert mnist.NAMES[0] in capsys.readouterr().err


def test_without_a_terminal_there_is_no_bar(load, mirror, capsys):
    load(mirror.url("good"))
    assert capsys.readouterr() == ("", "")
