"""The window itself, under Xvfb, by real pointer and key events.

One window and one reading process serve all tests; each begins with an empty canvas.
"""

import json
import os
import time
import tkinter as tk
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks.window_pilot import Stage, settle, until
from tinycnn.ink.strokes import load_strokes
from tinycnn.reading.corrections import Corrections
from tinycnn.reading.reader import Reader
from tinycnn.reading.result import Digit, Reading
from tinycnn.window import view
from tinycnn.window.finetuning import Outcome
from tinycnn.window.messages import Answer, Failed, Opened, Picture
from tinycnn.window.panel import INNER
from tinycnn.window.statusbar import elided

SEVEN = [(0, 0), (20, 0), (40, 0), (33, 20), (26, 40), (20, 60), (15, 80)]
ONE = [(20, 0), (20, 20), (20, 40), (20, 60), (20, 80)]
CROSS = [(0, 0), (15, 20), (30, 40), (45, 60), (60, 80)]


class Pilot(Stage):
    """A window, a hand, and what the tests look at."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.canvas, self.panel = self.window.canvas, self.window.panel
        self.statusbar = self.window.statusbar
        self.corrections = Corrections(self.folder / "corrections")

    def until(self, condition):
        until(self.root, condition)

    def click(self, x, y):
        self.draw([(x, y)], 0, 0)

    def point(self, x, y):
        self.hand.move(*self.on_screen([(x, y)])[0])

    def number(self):
        return self.statusbar.number.get("1.0", "end-1c")

    def status(self):
        return self.statusbar.status.cget("text")

    def items(self, kind, tag="reading"):
        found = self.canvas.find_withtag(tag)
        return [item for item in found if self.canvas.type(item) == kind]

    def texts(self):
        return [self.canvas.itemcget(item, "text") for item in self.items("text")]

    def show(self, *digits):
        """Let one line of digits, each given by its fields, be the reading."""
        if self.session.is_empty:
            self.draw(SEVEN)
            self.read()
        line = tuple(
            Digit(label, confidence, box, ((label or 0, confidence),))
            for label, confidence, box in digits
        )
        self.window._on_reply(Answer(self.session.revision, Reading((line,))))


@pytest.fixture(scope="module")
def one_pilot(display, tmp_path_factory):
    pilot = Pilot(display, tmp_path_factory.mktemp("window"))
    pilot.start()
    yield pilot
    pilot.close()


@pytest.fixture
def pilot(one_pilot):
    one_pilot.window.clear()
    if one_pilot.window.settings.panel:
        one_pilot.window.toggle_panel()
    one_pilot.read()
    one_pilot.statusbar.forget()
    one_pilot.window._show_status()
    return one_pilot


def test_an_empty_canvas_invites_and_drawn_digits_are_shown_line_by_line(pilot):
    assert pilot.number() == ""
    assert pilot.canvas.itemcget("invitation", "state") == "normal"
    assert pilot.canvas.find_withtag("reading") == ()
    assert "Ready" in pilot.status()
    pilot.draw(SEVEN)
    pilot.draw(ONE, x=160)
    pilot.draw(ONE, y=250)
    assert pilot.read() == "71\n1"
    assert pilot.number() == "71\n1"
    assert len(pilot.items("rectangle")) == 3
    assert pilot.canvas.itemcget("invitation", "state") == "hidden"
    assert pilot.status().startswith("3 digits")


def test_a_growing_stroke_is_read_before_the_pen_is_lifted(pilot):
    positions = pilot.on_screen(SEVEN, 60, 60)
    pilot.hand.move(*positions[0])
    settle(pilot.root)
    pilot.hand.press()
    for position in positions[1:]:
        pilot.hand.move(*position)
        settle(pilot.root)
    pilot.hand.move(positions[-1][0], positions[-1][1] + 6)
    pilot.until(lambda: pilot.session.reading.digits)
    assert not pilot.session.drawn.strokes
    pilot.hand.release()
    settle(pilot.root)
    assert pilot.read() == "7"


def test_the_ink_on_the_screen_is_where_the_stroke_is(pilot):
    pilot.draw(ONE, x=100, y=100)
    pilot.read()
    box = np.array(pilot.session.drawn.strokes[0].box) * pilot.canvas.zoom
    assert np.allclose(pilot.canvas._ink_image.inked(), box, atol=1.5)
    assert pilot.canvas.itemcget("tail", "state") == "hidden"
    photo = str(pilot.canvas._photo)
    assert pilot.root.tk.call(photo, "get", 120, 140) == (21, 24, 29)


def test_undo_redo_delete_and_the_right_button_change_ink_and_number(pilot):
    pilot.draw(SEVEN)
    pilot.draw(ONE, x=160)
    undo, redo = ("z", "Control_L"), ("z", "Control_L", "Shift_L")
    pilot.key(*undo)
    assert pilot.read() == "7"
    pilot.key(*undo)
    assert pilot.number() == ""
    assert pilot.canvas._ink_image.inked() is None
    pilot.key(*redo)
    pilot.key(*redo)
    assert pilot.read() == "71"
    pilot.key("Delete")
    assert pilot.session.is_empty
    assert pilot.canvas.find_withtag("reading") == ()
    pilot.key(*undo)
    assert pilot.read() == "71"
    pilot.draw([(120, 40), (150, 40), (180, 40), (220, 40)], x=0, y=60, button=3)
    assert pilot.read() == "7"
    pilot.key(*undo)
    assert pilot.read() == "71"
    assert pilot.number() == "71"


def test_confidence_and_refusal_show_without_colour(pilot):
    dashes = {}
    for confidence, percent in ((0.9996, 100), (0.99, 99), (0.8, 80), (0.5, 50)):
        pilot.show((7, confidence, (55, 55, 110, 150)))
        (box,) = pilot.items("rectangle")
        dashes[percent] = pilot.canvas.itemcget(box, "dash")
        assert pilot.texts() == ["7", f"{percent} %"]
    assert dashes[99] == dashes[100] == ""
    assert len(set(dashes.values())) == 3
    pilot.show((None, 0.02, (55, 55, 110, 150)))
    (box,) = pilot.items("rectangle")
    assert pilot.canvas.itemcget(box, "dash")
    assert pilot.texts() == [pilot.number()] == ["?"]
    assert "1 refused" in pilot.status()


def test_labels_stand_where_they_have_room(pilot):
    pilot.show((7, 0.99, (55, 2, 110, 150)))
    assert pilot.texts() == ["7  99 %"]  # below the box
    (text,) = pilot.items("text")
    assert pilot.canvas.coords(text)[1] > 150 * pilot.canvas.zoom
    pilot.show(*((1, 0.99, (x, 55, x + 8, 150)) for x in (55, 75, 250, 400)))
    middles = {"1": [], "99 %": []}
    for item in pilot.items("text"):
        x = pilot.canvas.coords(item)[0] / pilot.canvas.zoom
        middles[pilot.canvas.itemcget(item, "text")].append(round(x))
    assert middles == {"1": [59, 79, 254, 404], "99 %": [254, 404]}


def test_the_number_can_be_copied_and_selected_but_not_edited(pilot):
    pilot.draw(SEVEN)
    pilot.draw(ONE, x=160)
    pilot.read()
    pilot.key("c", "Control_L")
    assert pilot.root.clipboard_get() == "71"
    number = pilot.statusbar.number
    number.tag_add("sel", "1.0", "1.1")
    pilot.key("c", "Control_L")
    assert pilot.root.clipboard_get() == "7"
    x, y = number.winfo_rootx(), number.winfo_rooty() + 20
    ways = [(x + 1, y), (x + 20, y), (x + 100, y)]
    pilot.hand.draw(ways, lambda: settle(pilot.root))
    assert number.get("sel.first", "sel.last") == "71"
    pilot.key("5")
    assert pilot.number() == "71"
    number.tag_remove("sel", "1.0", "end")


def test_a_click_on_a_box_and_a_digit_key_correct_it(pilot):
    corrections, before = pilot.corrections, len(pilot.corrections)
    pilot.draw(SEVEN)
    pilot.read()
    pilot.key("3")  # no digit is chosen
    pilot.click(85, 80)
    assert "0 to 9" in pilot.status()
    pilot.key("Escape")
    pilot.key("3")
    assert pilot.number() == "7"
    pilot.click(85, 80)
    assert pilot.window._chosen == 0
    assert pilot.session.is_settled
    assert len(pilot.session.drawn.strokes) == 1
    pilot.key("2")
    assert pilot.number() == "2"
    pilot.until(lambda: len(corrections) == before + 1)
    images, labels = corrections.read()
    assert labels[-1] == 2
    assert images[-1].max() == 255
    pilot.key("z", "Control_L")
    assert pilot.number() == "7"
    assert len(corrections) == before
    pilot.key("z", "Control_L", "Shift_L")
    assert pilot.number() == "2"
    pilot.until(lambda: len(corrections) == before + 1)


def test_saved_drawings_are_read_and_opened_as_they_were_drawn(pilot, monkeypatch):
    pilot.draw(SEVEN)
    pilot.draw(CROSS, x=200)
    text, size = pilot.read(), pilot.session.size
    chosen = []
    for dialog in ("asksaveasfilename", "askopenfilename"):
        monkeypatch.setattr(view.filedialog, dialog, lambda **_: str(chosen[-1]))
    for name in ("a.png", "a.json"):
        chosen.append(pilot.folder / name)
        pilot.key("s", "Control_L")
    with Image.open(pilot.folder / "a.png") as picture:
        assert picture.size == size
        assert picture.getpixel((0, 0)) == 255
    assert Reader().read_strokes(load_strokes(chosen[-1])).text == text
    pilot.window.clear()
    pilot.key("o", "Control_L")
    assert pilot.read() == text


def test_an_empty_canvas_is_not_saved_and_what_cannot_be_opened_is_reported(pilot):
    pilot.window.open_path(pilot.folder / "missing.json")
    assert "missing.json" in pilot.status()
    pilot.window.open_path(pilot.folder / "missing.png")
    pilot.until(lambda: "missing.png: cannot" in pilot.status())
    for name in ("empty.json", "empty.png"):
        for save in (pilot.window.save_path, pilot.window.annotate):
            save(pilot.folder / name)
            assert "draw something first" in pilot.status()
            pilot.statusbar.forget()
    pilot.draw(ONE)
    pilot.read()  # earlier requests have been answered
    assert not list(pilot.folder.glob("empty.*"))


def test_a_picture_is_opened_shown_and_replaced_by_drawing(pilot):
    grey = np.full((200, 300), 255, np.uint8)
    grey[50:150, 140:152] = 0
    Image.fromarray(grey).save(pilot.folder / "one.png")
    pilot.window.open_path(pilot.folder / "one.png")
    pilot.until(lambda: pilot.session.drawn.picture is not None)
    assert pilot.number() == "1"
    assert pilot.canvas.itemcget("picture", "image")
    for button in (pilot.window._undo, pilot.window._clear):
        assert str(button.cget("state")) == "normal"
    copy = pilot.folder / "boxes.png"
    pilot.window.annotate(copy)
    pilot.until(copy.exists)
    pilot.draw(SEVEN, x=400)
    assert pilot.session.drawn.picture is None
    assert pilot.read() == "7"
    pilot.key("z", "Control_L")
    assert pilot.session.drawn.picture is not None


def test_undo_brings_the_first_of_two_pasted_pictures_back(pilot, monkeypatch):
    asked = []

    def ask(request):
        asked.append(request)
        path = request.folder / f"{len(asked)}.png"
        path.write_text("")
        pixels = np.full((9, 9, 3), len(asked), np.uint8)
        pilot.window._on_reply(Opened(Picture(path, pixels, (9, 9)), Reading()))

    monkeypatch.setattr(pilot.worker, "ask", ask)
    pilot.window.paste()
    first = pilot.session.drawing
    pilot.key("v", "Control_L")
    assert pilot.session.drawing != first
    pilot.key("z", "Control_L")
    assert pilot.session.drawing == first
    assert first.exists()


def test_the_panel_shows_the_digit_drawn_last_or_pointed_at(pilot):
    pilot.key("F2")
    pilot.draw(SEVEN)
    pilot.draw(ONE, x=160)
    pilot.read()
    panel = pilot.panel
    pilot.until(lambda: panel._explanation and panel._explanation.digit == 1)
    digit_7, digit_1 = pilot.session.reading.digits
    assert panel._explanation.top == digit_1.top
    pilot.point(80, 80)
    pilot.until(lambda: panel._explanation.digit == 7)
    assert panel._explanation.top == digit_7.top
    assert "pointer" in panel._subject.cget("text")
    pilot.key("Delete")
    pilot.until(lambda: panel._explanation is None)
    pilot.key("F2")
    assert not panel.winfo_manager()


def test_the_panel_says_that_ink_is_refused(pilot):
    pilot.key("F2")
    for stroke in (CROSS, [(60 - x, y) for x, y in CROSS]):
        pilot.draw(stroke)
    assert pilot.read() == "?"
    pilot.point(300, 300)
    panel = pilot.panel
    pilot.until(lambda: panel._explanation and not panel._waiting)
    assert panel._explanation.digit is None
    pilot.until(lambda: "pointer" not in panel._subject.cget("text"))
    assert panel._subject.cget("text") == "Digit 1 of 1, refused"
    heat = panel._heat
    (text,) = (i for i in heat.find_all() if heat.type(i) == "text")
    assert "refused" in heat.itemcget(text, "text")


def test_feature_maps_fill_the_width_and_a_click_shows_where_one_is_active(pilot):
    pilot.key("F2")
    pilot.draw(SEVEN)
    panel = pilot.panel
    pilot.until(lambda: panel._explanation and panel._explanation.digit == 7)
    for found in panel._explanation.feature_maps:
        side, pitch, columns = panel._cells(found)
        assert columns == 8 or pitch >= 4 * found.maps.shape[0]
        end = round((columns - 1) * pitch) + side
        assert end == panel._px(INNER)  # where everything else ends
    found = panel._explanation.feature_maps[0]
    _, pitch, columns = panel._cells(found)
    row, column = divmod(int(found.maps.max(axis=(0, 1)).argmax()), columns)
    top = panel._fonts.small.metrics("linespace") + 8
    click = SimpleNamespace(x=column * pitch + 5, y=top + row * pitch + 5)
    panel._on_map(0, click)
    assert len(pilot.items("rectangle", "region")) >= 1
    panel._on_map(0, click)
    assert pilot.items("rectangle", "region") == []


class FakeFineTuning:
    """A fine-tuning whose process is the test."""

    def __init__(self, *_):
        self.replies, self.closed = [], False
        FakeFineTuning.last = self

    def poll(self):
        replies, self.replies = self.replies, []
        return replies

    def close(self):
        self.closed = True


@pytest.fixture
def finetuning(pilot, monkeypatch, tmp_path):
    """Return a fine-tuning that the window has begun."""
    monkeypatch.setattr(view, "FineTuning", FakeFineTuning)
    monkeypatch.setattr(view.finetuned, "folder", lambda: tmp_path)
    pilot.draw(SEVEN)
    pilot.read()
    pilot.window.correct(0, 7)
    pilot.until(lambda: len(pilot.corrections) > 0)
    pilot.window.learn()
    assert pilot.statusbar.progress.winfo_manager()
    yield FakeFineTuning.last
    assert FakeFineTuning.last.closed
    assert not pilot.statusbar.progress.winfo_manager()


def test_learning_shows_its_progress_and_its_outcome(pilot, finetuning):
    finetuning.replies = [0.25]
    pilot.until(lambda: pilot.statusbar.progress.cget("value") == 25)
    pilot.window.learn()
    assert "already" in pilot.status()
    figures = {"corrections": 1, "right_before": 0, "right_after": 1, "data": "sample"}
    figures |= {"test_images": 9, "test_errors_before": 3, "test_errors_after": 4}
    finetuning.replies = [1.0, Outcome(figures)]
    pilot.until(lambda: "1 of 1 corrections" in pilot.status())
    assert pilot.read() == "7"
    pilot.window.unlearn()
    assert "Nothing has been learned" in pilot.status()


def test_a_window_with_other_weights_does_not_learn(pilot, monkeypatch):
    """Learning trains the shipped networks, which that window does not show."""
    monkeypatch.setattr(view, "FineTuning", None)
    monkeypatch.setattr(pilot.window, "_may_reload", False)
    pilot.window.learn()
    assert "start without --weights" in pilot.status()


@pytest.mark.parametrize("how", ["stops", "fails"])
def test_learning_that_stops_or_fails_says_so(pilot, finetuning, how):
    if how == "stops":
        pilot.window.stop_learning()
        assert "nothing has changed" in pilot.status()
    else:
        finetuning.replies = [Failed("There is no room on the disk.")]
        pilot.until(lambda: "no room" in pilot.status())


def test_the_theme_changes_and_the_reading_stays(pilot):
    pilot.draw(SEVEN)
    pilot.read()
    light = pilot.canvas.cget("background")
    pilot.key("F3")
    assert pilot.canvas.cget("background") != light
    assert pilot.number() == "7"
    pilot.key("F3")
    assert pilot.canvas.cget("background") == light


def test_a_small_window_shows_all_of_a_large_drawing(pilot):
    pilot.draw(SEVEN, x=820, y=60)
    text, size = pilot.read(), pilot.session.strokes().size
    pilot.root.geometry("790x500")
    pilot.until(lambda: pilot.canvas.winfo_width() == 790)
    right, _ = pilot.session.extent()
    assert right * pilot.canvas.zoom <= 790
    assert pilot.session.strokes().size == size
    assert pilot.session.reading.text == text
    pilot.root.geometry("900x650")
    pilot.until(lambda: pilot.canvas.winfo_width() == 900)
    assert pilot.canvas.zoom == pilot.window._pixel


def test_an_exception_is_shown_and_logged_and_reading_goes_on(
    pilot, caplog, monkeypatch
):
    view.LOG.propagate = True

    def broken():
        raise ValueError("the boxes are lost")

    with monkeypatch.context() as patch:
        patch.setattr(pilot.canvas, "show_reading", broken)
        pilot.draw(SEVEN)
        pilot.until(lambda: "boxes are lost" in pilot.status())
    assert "ValueError" in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(pilot.worker, "poll", lambda: [Failed("no ink", "the details")])
        pilot.until(lambda: "no ink" in pilot.status())
    assert "the details" in caplog.text
    pilot.draw(ONE, x=160)
    assert pilot.read() == "71"


def test_a_long_status_line_loses_its_middle(pilot):
    text = "a/long/way/to/one.png: cannot be read"
    for room in (370, 369, 200, 50):
        short = elided(text, room, lambda line: 10 * len(line))
        assert 10 * len(short) <= room
        assert (short == text) == (room == 370)
        assert (short[0], short[-1]) == ("a", "d")
    label = pilot.statusbar.status
    for folder in ("a/long/way", "il", "MW", "x"):
        pilot.window.say(f"{folder * 200}/one.png: cannot be read")
        assert pilot.status().endswith("cannot be read")
        assert label.winfo_reqwidth() <= label.winfo_width()


def test_there_is_one_help_at_a_time_and_it_lists_every_shortcut(pilot):
    pilot.window.show_help()
    pilot.key("F1")
    (top,) = [w for w in pilot.root.winfo_children() if isinstance(w, tk.Toplevel)]

    def texts(widget):
        for child in widget.winfo_children():
            if "text" in child.configure():
                yield child.cget("text")
            yield from texts(child)

    shown = set(texts(top))
    assert {s.keys for s in pilot.window._shortcuts.values()} <= shown
    top.destroy()


def test_settings_outlive_the_window_and_pasted_pictures_do_not(
    display, tmp_path, monkeypatch
):
    stage = Stage(display, tmp_path)
    stage.root.geometry("820x610")
    until(stage.root, lambda: stage.root.winfo_width() == 820)
    stage.session.pen_width = 22.0
    stage.window.toggle_theme()
    stage.window.toggle_panel()
    asked = []
    monkeypatch.setattr(stage.worker, "ask", asked.append)
    stage.window.paste()
    assert asked[0].folder.is_dir()
    stage.close()
    assert not asked[0].folder.exists()
    assert json.loads((tmp_path / "config" / "window.json").read_text()) == {
        "size": "820x610",
        "theme": "dark",
        "brush": 22.0,
        "panel": True,
    }


def test_a_window_that_closes_while_its_panel_is_half_drawn_ends_cleanly(
    one_pilot, display, tmp_path, capfd
):
    stage = Stage(display, tmp_path)
    stage.start()
    stage.window.toggle_panel()
    stage.draw(SEVEN)
    panel = stage.window.panel
    until(stage.root, lambda: panel._explanation and len(panel._waiting) > 1)
    pid = stage.worker.pid
    stage.close()
    time.sleep(0.02)
    settle(one_pilot.root)  # runs the timers of this thread
    assert "invalid command" not in capfd.readouterr().err
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("scaling", [1.0, 2.0])
def test_a_denser_screen_changes_nothing_that_is_read(display, tmp_path, scaling):
    stage = Stage(display, tmp_path, scaling=scaling)
    assert stage.window.canvas.zoom == pytest.approx(scaling * 0.75)
    stage.draw(SEVEN)
    (points,) = stage.session.strokes().points
    stage.close()
    for x, y in SEVEN:
        assert np.hypot(*(points - (60 + x, 60 + y)).T).min() < 2
