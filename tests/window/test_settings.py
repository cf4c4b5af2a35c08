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
    assert load_settings(path) == Settings()
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


def test_a_wrong_value_costs_only_itself_and_an_unknown_name_nothing(tmp_path, caplog):
    path = tmp_path / "window.json"
    wrong = {
        "size": ("1000x700; exec rm", "10x10", 1000, None),
        "theme": ("pink", ["dark"]),
        "brush": ("14", float("nan"), 1000, True, int("9" * 400)),
        "panel": (1, "yes"),
    }
    for name, values in wrong.items():
        for value in values:
            caplog.clear()
            right = {"theme": "dark", "size": "900x700", "panel": True}
            path.write_text(json.dumps(right | {"colour": 1, name: value}))
            right.pop(name, None)
            loaded = load_settings(path)
            assert getattr(loaded, name) == getattr(Settings(), name), (name, value)
            for other, expected in right.items():
                assert getattr(loaded, other) == expected, (name, value, other)
            assert name in caplog.text
