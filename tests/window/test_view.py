"""The window itself, under Xvfb, by real pointer and key events.

One window and one reading process serve all tests; each begins with an empty sheet.
"""

import json
import os
import signal
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

    def until(self, condition):
        until(self.root, condition)

    def click(self, x, y):
        self.draw([(x, y)], 0, 0)

    def number(self):
        return self.window.statusbar.number.get("1.0", "end-1c")

    def status(self):
        return self.window.statusbar.status.cget("text")

    def items(self, tag):
        return self.canvas.find_withtag(tag)


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
    one_pilot.window.statusbar.forget()
    one_pilot.window._show_status()
    return one_pilot


def test_an_empty_sheet_invites_and_predicts_nothing(pilot):
    assert pilot.number() == ""
    assert pilot.window.canvas.itemcget("invitation", "state") == "normal"
    assert pilot.items("reading") == ()
    assert "Ready" in pilot.status()


def test_what_is_drawn_is_read_boxed_and_shown(pilot):
    pilot.draw(SEVEN)
    pilot.draw(ONE, x=160)
    assert pilot.read() == "71"
    assert pilot.number() == "71"
    boxes = [i for i in pilot.items("reading") if pilot.window.canvas.type(i) != "text"]
    assert len(boxes) == 2
    assert pilot.window.canvas.itemcget("invitation", "state") == "hidden"
    assert pilot.status().startswith("2 digits")


def test_two_lines_are_shown_as_two_lines(pilot):
    pilot.draw(SEVEN)
    pilot.draw(ONE, y=250)
    assert pilot.read() == "7\n1"
    assert pilot.number() == "7\n1"


def test_a_growing_stroke_is_read_before_the_pen_is_lifted(pilot):
    sheet = pilot.on_screen(SEVEN, 60, 60)
    pilot.hand.move(*sheet[0])
    settle(pilot.root)
    pilot.hand.press()
    for place in sheet[1:]:
        pilot.hand.move(*place)
        settle(pilot.root)
    pilot.hand.move(sheet[-1][0], sheet[-1][1] + 6)
    pilot.until(lambda: pilot.session.reading.digits)
    assert not pilot.session.drawn.strokes
    pilot.hand.release()
    settle(pilot.root)
    assert pilot.read() == "7"


def test_the_ink_on_the_screen_is_where_the_stroke_is(pilot):
    pilot.draw(ONE, x=100, y=100)
    pilot.read()
    paper = pilot.window.canvas._ink_image
    x0, y0, x1, y1 = paper.inked()
    zoom = pilot.window.canvas.zoom
    box = pilot.session.drawn.strokes[0].box
    assert np.allclose([x0, y0, x1, y1], np.array(box) * zoom, atol=1.5)
    assert pilot.window.canvas.itemcget("tail", "state") == "hidden"
    photo = pilot.window.canvas._photo
    assert pilot.root.tk.call(str(photo), "get", 120, 140) == (21, 24, 29)


def test_undo_and_redo_by_keys(pilot):
    pilot.draw(SEVEN)
    pilot.draw(ONE, x=160)
    pilot.key("z", "Control_L")
    assert pilot.read() == "7"
    pilot.key("z", "Control_L")
    assert pilot.number() == ""
    assert pilot.window.canvas._ink_image.inked() is None
    pilot.key("z", "Control_L", "Shift_L")
    pilot.key("z", "Control_L", "Shift_L")
    assert pilot.read() == "71"
    assert pilot.number() == "71"


def test_delete_clears_and_can_be_undone(pilot):
    pilot.draw(SEVEN)
    pilot.read()
    pilot.key("Delete")
    assert pilot.session.is_empty
    assert pilot.items("reading") == ()
    pilot.key("z", "Control_L")
    assert pilot.read() == "7"


def test_the_right_button_takes_strokes_away(pilot):
    pilot.draw(SEVEN)
    pilot.draw(ONE, x=160)
    pilot.draw([(120, 40), (150, 40), (180, 40), (220, 40)], x=0, y=60, button=3)
    assert pilot.read() == "7"
    pilot.key("z", "Control_L")
    assert pilot.read() == "71"


def shown_as(pilot, label, confidence, box=(55, 55, 110, 150)):
    """Return the box that is shown if a digit is read so, and the label's colour."""
    pilot.draw(SEVEN)
    pilot.read()
    found = Digit(label, confidence, box, ((7, confidence),))
    pilot.window._on_reply(Answer(pilot.session.revision, Reading(((found,),))))
    sheet = pilot.window.canvas
    (box,) = [i for i in pilot.items("reading") if sheet.type(i) == "rectangle"]
    texts = [sheet.itemcget(i, "text") for i in pilot.items("reading") if i != box]
    return sheet.itemcget(box, "dash"), texts


def test_refused_ink_is_dashed_and_has_a_question_mark(pilot):
    dash, texts = shown_as(pilot, None, 0.02)
    assert dash
    assert texts == ["?"]
    assert pilot.number() == "?"
    assert "1 refused" in pilot.status()


def test_a_label_without_room_above_its_box_stands_below_and_not_on_the_ink(pilot):
    _, texts = shown_as(pilot, 7, 0.99, box=(55, 2, 110, 150))
    assert texts == ["7  99 %"]
    (text,) = (
        i for i in pilot.items("reading") if pilot.window.canvas.type(i) == "text"
    )
    assert pilot.window.canvas.coords(text)[1] > 150 * pilot.window.canvas.zoom


def test_a_confidence_is_left_out_only_where_it_has_no_room(pilot):
    pilot.draw(SEVEN)
    pilot.read()
    line = tuple(
        Digit(1, 0.99, (x, 55, x + 8, 150), ((1, 0.99),)) for x in (55, 75, 250, 400)
    )
    pilot.window._on_reply(Answer(pilot.session.revision, Reading((line,))))
    sheet = pilot.window.canvas
    texts = [
        (sheet.itemcget(i, "text"), sheet.coords(i)[0] / sheet.zoom)
        for i in pilot.items("reading")
        if sheet.type(i) == "text"
    ]
    assert [round(x) for text, x in texts if text == "1"] == [59, 79, 254, 404]
    assert [round(x) for text, x in texts if text == "99 %"] == [254, 404]


def test_confidence_shows_without_colour(pilot):
    looks = {}
    for confidence in (0.9996, 0.99, 0.8, 0.5):
        looks[confidence] = shown_as(pilot, 7, confidence)
        pilot.window.clear()
    assert [texts[1] for _, texts in looks.values()] == [
        "100 %",
        "99 %",
        "80 %",
        "50 %",
    ]
    assert looks[0.99][0] == ""
    assert len({dash for dash, _ in looks.values()}) == 3


def test_copy_takes_the_number_or_what_is_selected_of_it(pilot):
    pilot.draw(SEVEN)
    pilot.draw(ONE, x=160)
    pilot.read()
    pilot.key("c", "Control_L")
    assert pilot.root.clipboard_get() == "71"
    pilot.window.statusbar.number.tag_add("sel", "1.0", "1.1")
    pilot.key("c", "Control_L")
    assert pilot.root.clipboard_get() == "7"
    pilot.window.statusbar.number.tag_remove("sel", "1.0", "end")


def test_the_number_can_be_selected_and_not_edited(pilot):
    pilot.draw(SEVEN)
    pilot.read()
    number = pilot.window.statusbar.number
    x, y = number.winfo_rootx(), number.winfo_rooty() + 20
    places = [(x + 1, y), (x + 20, y), (x + 60, y)]
    pilot.hand.draw(places, lambda: settle(pilot.root))
    assert number.get("sel.first", "sel.last") == "7"
    pilot.key("5")
    assert pilot.number() == "7"
    number.tag_remove("sel", "1.0", "end")


def test_a_click_on_a_box_and_a_digit_key_correct_it(pilot):
    before = len(Corrections(pilot.folder / "corrections"))
    pilot.draw(SEVEN)
    pilot.read()
    pilot.click(85, 80)
    assert pilot.window._chosen == 0
    assert pilot.session.is_settled
    assert len(pilot.session.drawn.strokes) == 1
    assert "0 to 9" in pilot.status()
    pilot.key("2")
    assert pilot.number() == "2"
    corrections = Corrections(pilot.folder / "corrections")
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


def test_escape_leaves_a_digit_as_it_is(pilot):
    pilot.draw(SEVEN)
    pilot.read()
    pilot.click(85, 80)
    pilot.key("Escape")
    pilot.key("3")
    assert pilot.number() == "7"


def test_a_digit_key_without_a_chosen_digit_does_nothing(pilot):
    pilot.draw(SEVEN)
    pilot.read()
    pilot.key("3")
    assert pilot.number() == "7"


def test_saved_strokes_are_read_as_they_were_in_the_window(pilot, monkeypatch):
    pilot.draw(SEVEN)
    pilot.draw(CROSS, x=200)
    text = pilot.read()
    for name in ("a.json", "a.png"):
        path = pilot.folder / name
        monkeypatch.setattr(
            view.filedialog, "asksaveasfilename", lambda path=path, **_: str(path)
        )
        pilot.key("s", "Control_L")
        assert path.exists()
    strokes = load_strokes(pilot.folder / "a.json")
    assert Reader().read_strokes(strokes).text == text
    with Image.open(pilot.folder / "a.png") as picture:
        assert picture.size == pilot.session.size
        assert picture.getpixel((0, 0)) == 255


@pytest.mark.parametrize("name", ["empty.json", "empty.png"])
def test_of_an_empty_sheet_nothing_is_saved(pilot, name):
    for save in (pilot.window.save_path, pilot.window.annotate):
        save(pilot.folder / name)
        assert "draw something first" in pilot.status()
        pilot.window.statusbar.forget()
    pilot.draw(ONE)
    pilot.read()  # the reader has done all it was asked before
    assert not (pilot.folder / name).exists()


def test_a_stroke_file_is_opened_as_it_was_drawn(pilot, monkeypatch):
    pilot.draw(SEVEN)
    text = pilot.read()
    path = pilot.folder / "b.json"
    pilot.window.save_path(path)
    pilot.window.clear()
    monkeypatch.setattr(view.filedialog, "askopenfilename", lambda **_: str(path))
    pilot.key("o", "Control_L")
    assert pilot.read() == text


def test_a_picture_is_opened_shown_and_put_away_by_drawing(pilot):
    picture = Image.new("L", (300, 200), 255)
    grey = np.full((200, 300), 255, np.uint8)
    grey[50:150, 140:152] = 0
    picture = Image.fromarray(grey)
    picture.save(pilot.folder / "one.png")
    pilot.window.open_path(pilot.folder / "one.png")
    pilot.until(lambda: pilot.session.drawn.picture is not None)
    assert pilot.number() == "1"
    assert pilot.window.canvas.itemcget("picture", "image")
    for button in (pilot.window._undo, pilot.window._clear):
        assert str(button.cget("state")) == "normal"
    copy = pilot.folder / "boxes.png"
    pilot.window.annotate(copy)
    pilot.until(copy.exists)
    pilot.draw(SEVEN, x=400)
    assert pilot.session.drawn.picture is None
    assert pilot.read() == "7"
    pilot.key("z", "Control_L")
    assert pilot.number() == "1" or pilot.session.drawn.picture is not None


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


def test_what_was_pasted_is_gone_with_the_window(display, tmp_path, monkeypatch):
    stage = Stage(display, tmp_path)
    asked = []
    monkeypatch.setattr(stage.worker, "ask", asked.append)
    stage.window.paste()
    assert asked[0].folder.is_dir()
    stage.close()
    assert not asked[0].folder.exists()


def test_what_cannot_be_opened_is_said(pilot):
    pilot.window.open_path(pilot.folder / "missing.json")
    assert "missing.json" in pilot.status()
    pilot.window.open_path(pilot.folder / "missing.png")
    pilot.until(lambda: "missing.png: cannot" in pilot.status())


def test_the_panel_shows_the_digit_that_was_drawn_last_or_pointed_at(pilot):
    pilot.key("F2")
    pilot.draw(SEVEN)
    pilot.draw(ONE, x=160)
    pilot.read()
    panel = pilot.window.panel
    pilot.until(lambda: panel._explanation and panel._explanation.digit == 1)
    (digit_7, digit_1) = pilot.session.reading.digits
    assert panel._explanation.top == digit_1.top
    pilot.hand.move(*pilot.on_screen([(80, 80)])[0])
    pilot.until(lambda: panel._explanation.digit == 7)
    assert panel._explanation.top == digit_7.top
    assert "pointer" in panel._subject.cget("text")
    pilot.key("Delete")
    pilot.until(lambda: panel._explanation is None)
    pilot.key("F2")
    assert not panel.winfo_manager()


def test_the_panel_says_of_refused_ink_that_it_is_refused(pilot):
    pilot.key("F2")
    for stroke in (CROSS, [(60 - x, y) for x, y in CROSS]):
        pilot.draw(stroke)
    assert pilot.read() == "?"
    pilot.hand.move(*pilot.on_screen([(300, 300)])[0])
    panel = pilot.window.panel
    pilot.until(lambda: panel._explanation and not panel._waiting)
    assert panel._explanation.digit is None
    pilot.until(lambda: "pointer" not in panel._subject.cget("text"))
    assert panel._subject.cget("text") == "Digit 1 of 1, refused"
    heat = panel._heat
    (text,) = (i for i in heat.find_all() if heat.type(i) == "text")
    assert "refused" in heat.itemcget(text, "text")


def test_only_maps_of_few_pixels_stand_close_together(pilot):
    pilot.draw(SEVEN)
    pilot.read()
    pilot.window.toggle_panel()
    panel = pilot.window.panel
    pilot.until(lambda: panel._explanation and panel._explanation.digit == 7)
    for found in panel._explanation.feature_maps:
        side, pitch, columns = panel._cells(found)
        assert columns == 8 or pitch >= 4 * found.maps.shape[0]
        end = round((columns - 1) * pitch) + side
        assert end == panel._px(INNER)  # where everything else ends


def test_a_click_on_a_feature_map_shows_where_it_fires(pilot):
    pilot.key("F2")
    pilot.draw(SEVEN)
    panel = pilot.window.panel
    pilot.until(lambda: panel._explanation and panel._explanation.digit == 7)
    fires = panel._explanation.feature_maps[0].maps.max(axis=(0, 1)).argmax()
    _, pitch, columns = panel._cells(panel._explanation.feature_maps[0])
    row, column = divmod(int(fires), columns)
    top = panel._fonts.small.metrics("linespace") + 8
    click = SimpleNamespace(x=column * pitch + 5, y=top + row * pitch + 5)
    panel._on_map(0, click)
    assert len(pilot.items("region")) >= 1
    panel._on_map(0, click)
    assert pilot.items("region") == ()


class PretendedLesson:
    """A lesson whose process is the test."""

    def __init__(self, *_):
        self.said = []
        self.closed = False
        PretendedLesson.last = self

    def poll(self):
        said, self.said = self.said, []
        return said

    def close(self):
        self.closed = True


@pytest.fixture
def lesson(pilot, monkeypatch, tmp_path):
    monkeypatch.setattr(view, "FineTuning", PretendedLesson)
    monkeypatch.setattr(view.finetuned, "folder", lambda: tmp_path)
    pilot.draw(SEVEN)
    pilot.read()
    pilot.window.correct(0, 7)
    pilot.until(lambda: len(Corrections(pilot.folder / "corrections")) > 0)
    pilot.window.learn()
    return PretendedLesson.last


def test_learning_shows_how_far_it_is_and_what_came_of_it(pilot, lesson):
    assert pilot.window.statusbar.progress.winfo_manager()
    lesson.said = [0.25]
    pilot.until(lambda: pilot.window.statusbar.progress.cget("value") == 25)
    pilot.window.learn()
    assert "already" in pilot.status()
    figures = {
        "corrections": 1,
        "right_before": 0,
        "right_after": 1,
        "test_images": 9,
        "test_errors_before": 3,
        "test_errors_after": 4,
    }
    lesson.said = [1.0, Outcome({**figures, "data": "sample"})]
    pilot.until(lambda: "1 of 1 corrections" in pilot.status())
    assert not pilot.window.statusbar.progress.winfo_manager()
    assert lesson.closed
    assert pilot.read() == "7"


def test_learning_can_be_stopped(pilot, lesson):
    pilot.window.stop_learning()
    assert lesson.closed
    assert "nothing has changed" in pilot.status()
    assert not pilot.window.statusbar.progress.winfo_manager()


def test_learning_that_fails_says_so(pilot, lesson):
    lesson.said = [Failed("There is no room on the disk.")]
    pilot.until(lambda: "no room" in pilot.status())
    assert lesson.closed


def test_unlearning_says_if_nothing_was_learnt(pilot, monkeypatch, tmp_path):
    monkeypatch.setattr(view.finetuned, "folder", lambda: tmp_path)
    pilot.window.unlearn()
    assert "Nothing was learnt" in pilot.status()


def test_the_theme_changes_and_the_reading_stays(pilot):
    pilot.draw(SEVEN)
    pilot.read()
    light = pilot.window.canvas.cget("background")
    pilot.key("F3")
    assert pilot.window.canvas.cget("background") != light
    assert pilot.number() == "7"
    pilot.key("F3")
    assert pilot.window.canvas.cget("background") == light


def test_a_small_window_shows_all_of_a_large_drawing(pilot):
    pilot.draw(SEVEN, x=820, y=60)
    text = pilot.read()
    strokes = pilot.session.strokes()
    pilot.root.geometry("790x500")
    pilot.until(lambda: pilot.window.canvas.winfo_width() == 790)
    sheet = pilot.window.canvas
    right, _ = pilot.session.extent()
    assert right * sheet.zoom <= 790
    assert pilot.session.strokes().size == strokes.size
    assert pilot.session.reading.text == text
    pilot.root.geometry("900x650")
    pilot.until(lambda: sheet.winfo_width() == 900)
    assert sheet.zoom == pilot.window._pixel


def test_a_killed_reader_is_replaced_and_reading_goes_on(pilot):
    os.kill(pilot.worker.pid, signal.SIGKILL)
    pilot.draw(SEVEN)
    pilot.until(lambda: pilot.worker.is_ready and pilot.session.is_settled)
    assert pilot.number() == "7"


def test_a_failure_is_said_logged_and_not_fatal(pilot, caplog, monkeypatch):
    view.LOG.propagate = True

    def broken():
        raise ValueError("the paper is on fire")

    pilot.root.after(0, broken)
    pilot.until(lambda: "on fire" in pilot.status())
    assert "ValueError" in caplog.text
    monkeypatch.setattr(
        pilot.worker, "poll", lambda: [Failed("no ink", "the details")], raising=True
    )
    pilot.until(lambda: "no ink" in pilot.status())
    monkeypatch.undo()
    assert "the details" in caplog.text


def test_an_answer_that_cannot_be_shown_does_not_end_the_reading(pilot, monkeypatch):
    with monkeypatch.context() as patch:

        def broken():
            raise ValueError("the boxes are lost")

        patch.setattr(pilot.window.canvas, "show_reading", broken)
        pilot.draw(SEVEN)
        pilot.until(lambda: "boxes are lost" in pilot.status())
    pilot.draw(ONE, x=160)
    assert pilot.read() == "71"


@pytest.mark.parametrize("room", [370, 369, 200, 50])
def test_a_line_that_is_too_long_loses_its_middle(room):
    text = "a/long/way/to/one.png: cannot be read"
    short = elided(text, room, lambda line: 10 * len(line))
    assert 10 * len(short) <= room
    assert (short == text) == (room == 370)
    assert (short[0], short[-1]) == ("a", "d")


def test_the_end_of_a_long_message_is_seen(pilot):
    label = pilot.window.statusbar.status
    for folder in ("a/long/way", "il", "MW", "x"):
        pilot.window.say(f"{folder * 200}/one.png: cannot be read")
        assert pilot.status().endswith("cannot be read")
        assert label.winfo_reqwidth() <= label.winfo_width()


def test_there_is_one_help_at_a_time(pilot):
    pilot.window.show_help()
    pilot.window.show_help()
    (top,) = [w for w in pilot.root.winfo_children() if isinstance(w, tk.Toplevel)]
    top.destroy()


def test_help_lists_every_shortcut(pilot):
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


def test_what_the_window_remembers(display, tmp_path):
    stage = Stage(display, tmp_path)
    stage.root.geometry("820x610")
    until(stage.root, lambda: stage.root.winfo_width() == 820)
    stage.session.pen_width = 22.0
    stage.window.toggle_theme()
    stage.window.toggle_panel()
    stage.close()
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
    settle(one_pilot.root)  # timers of the same thread have their turn
    assert "invalid command" not in capfd.readouterr().err
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("scaling", [1.0, 2.0])
def test_a_denser_screen_changes_nothing_that_is_read(display, tmp_path, scaling):
    stage = Stage(display, tmp_path, scaling=scaling)
    assert stage.sheet.zoom == pytest.approx(scaling * 0.75)
    stage.draw(SEVEN)
    (points,) = stage.session.strokes().points
    stage.close()
    for x, y in SEVEN:
        assert np.hypot(*(points - (60 + x, 60 + y)).T).min() < 2
