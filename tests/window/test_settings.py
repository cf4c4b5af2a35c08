"""The window's settings: saved and loaded; what is damaged is left out and logged."""

import json
import logging

import pytest

from tinycnn.window.settings import Settings, load_settings, save_settings


@pytest.fixture(autouse=True)
def heard(caplog):
    logging.getLogger("tinycnn.window").propagate = True
    caplog.set_level(logging.WARNING)


def test_settings_are_saved_and_loaded_or_the_defaults_and_failures_stop_nothing(
    tmp_path, caplog
):
    path = tmp_path / "a" / "window.json"
    assert load_settings(path) == load_settings(tmp_path / ("x" * 400)) == Settings()
    caplog.clear()
    settings = Settings("1200x800", "dark", 20.5, True)
    save_settings(path, settings)
    assert load_settings(path) == settings
    assert caplog.text == ""
    save_settings(path / "below a file", Settings())
    assert "not saved" in caplog.text


def test_a_damaged_file_is_left_out_and_logged(tmp_path, caplog):
    path = tmp_path / "window.json"
    damaged = (b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 5000, b'{"size": "1x')
    for content in damaged:
        caplog.clear()
        path.write_bytes(content)
        assert load_settings(path) == Settings(), content
        assert "window.json" in caplog.text, content


def test_a_wrong_value_is_left_out_and_logged_and_an_unknown_name_matters_not(
    tmp_path, caplog
):
    path = tmp_path / "window.json"
    right = {"theme": "dark", "size": "900x700", "panel": True, "colour": 1}
    path.write_text(json.dumps(right))
    assert load_settings(path) == Settings("900x700", "dark", panel=True)
    wrong = {
        "size": ("1000x700; exec rm", "10x10", 1000, None),
        "theme": ("pink", ["dark"]),
        "brush": ("14", float("nan"), 1000, int("9" * 400)),
        "panel": (7, "yes"),
    }
    for name, values in wrong.items():
        for value in values:
            caplog.clear()
            path.write_text(json.dumps(right | {name: value}))
            assert load_settings(path) == Settings(), (name, value)
            assert "ignored" in caplog.text
