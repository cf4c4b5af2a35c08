"""What the window remembers; damaged settings are left out, with a line in the log."""

import json
import logging

import pytest

from tinycnn.window.settings import Settings, load_settings, save_settings


@pytest.fixture(autouse=True)
def heard(caplog):
    logging.getLogger("tinycnn.window").propagate = True
    caplog.set_level(logging.WARNING)


def test_what_was_saved_is_loaded(tmp_path):
    settings = Settings("1200x800", "dark", 20.5, True)
    save_settings(tmp_path / "a" / "window.json", settings)
    assert load_settings(tmp_path / "a" / "window.json") == settings


def test_a_missing_file_is_no_problem(tmp_path, caplog):
    assert load_settings(tmp_path / "window.json") == Settings()
    assert caplog.text == ""


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 5000, b'{"size": "1x']
)
def test_a_damaged_file_is_left_out_and_logged(tmp_path, caplog, content):
    (tmp_path / "window.json").write_bytes(content)
    assert load_settings(tmp_path / "window.json") == Settings()
    assert "window.json" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", "1000x700; exec rm"),
        ("size", "10x10"),
        ("size", 1000),
        ("size", None),
        ("theme", "pink"),
        ("theme", ["dark"]),
        ("brush", "14"),
        ("brush", float("nan")),
        ("brush", 1000),
        ("brush", True),
        ("panel", 1),
        ("panel", "yes"),
    ],
)
def test_a_wrong_value_costs_only_itself(tmp_path, caplog, name, value):
    document = {"theme": "dark", "size": "900x700", name: value}
    (tmp_path / "window.json").write_text(json.dumps(document))
    loaded = load_settings(tmp_path / "window.json")
    assert getattr(loaded, name) == getattr(Settings(), name)
    other = "size" if name == "theme" else "theme"
    assert getattr(loaded, other) == document[other]
    assert name in caplog.text


def test_unknown_settings_are_ignored(tmp_path):
    (tmp_path / "window.json").write_text('{"colour": 1, "theme": "dark"}')
    assert load_settings(tmp_path / "window.json").theme == "dark"


def test_settings_that_cannot_be_kept_stop_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    save_settings(tmp_path / "file" / "window.json", Settings())
    assert "cannot be kept" in caplog.text
