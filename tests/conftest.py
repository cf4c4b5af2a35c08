"""Nothing is timed. A screen in memory for the window's tests, skipped without Xvfb."""

from importlib.util import find_spec

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # first calls import and compile
settings.load_profile("untimed")

HAS_TKINTER = find_spec("_tkinter") is not None
# These import tkinter, which some systems have in a package of its own.
collect_ignore = [] if HAS_TKINTER else ["window/test_view.py", "test_draw.py"]


def pytest_report_header():
    return None if HAS_TKINTER else "no tkinter: test_view.py and test_draw.py left out"


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """Work in an empty folder, without network or this machine's own MNIST."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYCNN_OFFLINE", "1")
    monkeypatch.delenv("TINYCNN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def display():
    from benchmarks import window_pilot

    reason = window_pilot.missing()
    if reason:
        pytest.skip(reason)
    with window_pilot.screen() as name:
        yield name
