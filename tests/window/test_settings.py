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


def test_what_is_damaged_or_wrong_is_left_out_and_logged_and_unknown_names_are_not(
    tmp_path, caplog
):
    path = tmp_path / "window.json"
    right = {"theme": "dark", "size": "900x700", "panel": True, "colour": 1}
    path.write_text(json.dumps(right))
    assert load_settings(path) == Settings("900x700", "dark", panel=True)
    assert caplog.text == ""
    wrong = {
        "size": ("1000x700; exec rm", "10x10", 1000, None),
        "theme": ("pink", ["dark"]),
        "brush": ("14", float("nan"), 1000, int("9" * 400)),
        "panel": (7, "yes"),
    }
    contents = [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 5000, b'{"size": "1x']
    for name, values in wrong.items():
        contents += [json.dumps(right | {name: value}).encode() for value in values]
    for content in contents:
        caplog.clear()
        path.write_bytes(content)
        assert load_settings(path) == Settings(), content
        assert "settings ignored" in caplog.text, content
        assert "window.json" in caplog.text, content
