"""The window itself, under Xvfb, by real pointer and key events.

One window and one reading process serve all tests; each begins with an empty canvas.
"""

import json
import os
import signal
import time
from dataclasses import replace
from tkinter import ttk
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

import tinycnn
import tinycnn.data as data
from benchmarks.window_pilot import Stage, settle, until
from tinycnn import finetune
from tinycnn.data.mnist import SAMPLE_FOLDER, load_mnist
from tinycnn.ink.strokes import load_strokes
from tinycnn.reading.corrections import Corrections
from tinycnn.reading.reader import Reader
from tinycnn.reading.result import Digit, Reading
from tinycnn.window import actions, contents, correcting, documents, view
from tinycnn.window.served import Learns
from tinycnn.window.session import Picture
from tinycnn.window.theme import THEMES

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

    def write(self, text, *, panel=False):
        """Draw "7" or "71" and let it be read, perhaps with the panel open."""
        if panel:
            self.key("F2")
        self.draw(SEVEN)
        if text == "71":
            self.draw(ONE, x=160)
        assert self.read() == text

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
            self.write("7")
        line = tuple(
            Digit(label, confidence, box, ((label or 0, confidence),))
            for label, confidence, box in digits
        )
        assert self.session.answer(self.session.revision, Reading((line,)))
        self.window.show()

    def open(self, name, side=300):
        """Drop a picture of a 1, of three times as many pixels as its ink is high."""
        grey = np.full((side, side), 255, np.uint8)
        grey[side // 3 : 2 * side // 3, side // 2 : side // 2 + side // 25] = 0
        Image.fromarray(grey).save(self.folder / name)
        dropped = SimpleNamespace(data=f"{{{self.folder / name}}} other.png")
        self.window.documents.drop(dropped)
        self.until(lambda: name in self.status() and "write on it" in self.status())
        return self.read()


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
    one_pilot.panel.tabs.select(0)
    one_pilot.read()
    one_pilot.window.say("")
    one_pilot.canvas.focus_set()
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


def test_undo_redo_delete_and_both_erasers_change_ink_and_number(pilot):
    pilot.write("71")
    undo, redo = ("z", "Control_L"), ("z", "Control_L", "Shift_L")
    pilot.key(*undo)
    assert pilot.read() == "7"
    pilot.key(*undo)
    assert pilot.number() == ""
    assert pilot.canvas.ink.image.getbbox() is None
    pilot.key(*redo)
    pilot.hand.move(*pilot.on_screen([(300, 60)])[0])
    pilot.hand.press()
    pilot.hand.move(*pilot.on_screen([(300, 150)])[0])
    pilot.key(*undo)  # a stroke that is not finished
    pilot.hand.release()
    settle(pilot.root)
    assert pilot.read() == "7"
    assert pilot.canvas.ink.image.crop((280, 0, 900, 400)).getbbox() is None
    pilot.draw(ONE, x=160)
    assert pilot.read() == "71"
    way, eraser = [(140, 100), (220, 100)], pilot.window.tools.buttons["Eraser"]
    pilot.draw(way, x=0, y=0, button=3)
    assert pilot.read() == "7"
    pilot.key(*undo)
    assert pilot.read() == pilot.number() == "71"
    eraser.invoke()
    pilot.draw(way, x=0, y=0)
    assert pilot.read() == "7"
    eraser.invoke()
    pilot.draw(ONE, x=160)
    assert pilot.read() == "71"
    pilot.click(85, 80)
    pilot.key("Delete")  # the chosen digit
    assert pilot.read() == "1"
    pilot.key("Delete")  # everything
    assert pilot.session.is_empty
    assert pilot.canvas.find_withtag("reading") == ()
    pilot.key(*undo)
    assert pilot.read() == "1"


def test_confidence_refusal_and_what_is_left_out_show_without_colour(pilot):
    for confidence, percent in ((0.9996, 100), (0.99, 99), (0.8, 80)):
        pilot.show((7, confidence, (55, 55, 110, 150)))
        assert pilot.texts() == ["7", f"{percent} %"]
    pilot.show((None, 0.02, (55, 55, 110, 150)))
    assert pilot.texts() == [pilot.number()] == ["?"]
    assert "1 refused" in pilot.status()
    pilot.draw([(0, 0), (30, 1), (60, 2)], x=60, y=250)  # a dash
    assert pilot.read() == "7"
    (thin, thick), canvas = pilot.items("rectangle"), pilot.canvas
    widths = [float(canvas.itemcget(box, "width")) for box in (thin, thick)]
    assert widths[0] < widths[1]
    assert canvas.bbox(thin)[1] > canvas.bbox(thick)[3]


def test_labels_stand_where_nothing_else_is(pilot):
    pilot.show((7, 0.99, (55, 2, 110, 150)))
    assert pilot.texts() == ["7", "99 %"]
    label, confidence = (pilot.canvas.bbox(item) for item in pilot.items("text"))
    assert label[0] > 110 * pilot.canvas.zoom  # not below, as of another line
    assert confidence[1] > 150 * pilot.canvas.zoom
    boxes = ((360, 60, 400, 150), (414, 60, 418, 150), (360, 165, 400, 250))
    pilot.show(*((1, 0.99, box) for box in boxes))
    for y in (58, 154):  # ink where labels would stand
        pilot.draw([(562, y), (578, y)], x=0, y=0)
    pilot.show(*((1, 0.99, box) for box in (*boxes, (550, 63, 590, 150))))
    drawn = [pilot.canvas.coords(item) for item in pilot.items("rectangle")]
    drawn += [pilot.canvas.bbox(item) for item in pilot.items("text")]
    assert pilot.texts().count("1") == 4
    for n, (x0, y0, x1, y1) in enumerate(drawn):
        for a, b, c, d in drawn[:n]:
            assert not (x0 < c - 1 and a < x1 - 1 and y0 < d - 1 and b < y1 - 1)
    for item in pilot.items("text"):
        area = tuple(pilot.canvas.bbox(item))
        assert pilot.canvas.ink.image.crop(area).getbbox() is None
    pixels = np.full((300, 300, 3), 255, np.uint8)
    pixels[:93] = 40  # a desk behind a sheet
    pilot.session.put(None, Picture(pilot.folder / "desk.png", pixels, (300, 300)))
    pilot.show((7, 0.99, (150, 105, 200, 160)))
    _, top, *_ = pilot.canvas.bbox(pilot.items("text")[0])
    assert top >= pilot.canvas.on_screen((0, 93))[1]


def test_the_number_can_be_copied_and_selected_but_not_edited(pilot):
    pilot.write("71")
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
    pilot.write("7")
    pilot.key("3")  # no digit is chosen
    pilot.click(85, 80)
    assert "0 to 9" in pilot.status()
    pilot.key("Escape")
    pilot.key("3")
    assert pilot.number() == "7"
    pilot.click(85, 80)
    assert pilot.window.correcting.chosen == [0]
    assert pilot.session.is_settled
    assert len(pilot.session.drawn.strokes) == 1
    pilot.key("2")
    assert pilot.number() == "2"
    pilot.until(lambda: len(corrections) == before + 1)
    images, labels = corrections.read()
    assert labels[-1] == 2
    assert images[-1].max() == 255
    assert "kept" in pilot.status()
    pilot.key("z", "Control_L")
    assert pilot.number() == "7"
    assert "kept" not in pilot.status()
    assert len(corrections) == before
    pilot.key("z", "Control_L", "Shift_L")
    assert pilot.number() == "2"
    pilot.until(lambda: len(corrections) == before + 1)


def test_a_digit_is_none_or_two_and_two_are_one(pilot):
    before = len(pilot.corrections)
    pilot.write("71")
    pilot.click(85, 80)
    pilot.key("t")
    assert "first of two" in pilot.status()
    pilot.key("3")
    pilot.key("1")
    assert pilot.number() == "311"
    pilot.until(lambda: len(pilot.corrections) == before + 2)
    pilot.click(180, 100)
    pilot.key("n")
    assert pilot.number() == "31"
    pilot.until(lambda: len(pilot.corrections) == before + 3)
    for _ in range(2):
        pilot.key("z", "Control_L")
    assert pilot.number() == "71"
    assert len(pilot.corrections) == before
    pilot.click(85, 80)
    pilot.key("j")
    assert "These are one" in pilot.status()
    pilot.key("4")
    assert pilot.number() == "4"
    pilot.until(lambda: len(pilot.corrections) == before + 1)


def learns_little(folder):
    """Return what fine-tunes on a part of the sample; its own process calls this."""
    sample = load_mnist(SAMPLE_FOLDER)
    names = ("train_images", "train_labels", "test_images", "test_labels")
    few = replace(sample, **{name: getattr(sample, name)[::20] for name in names})
    data.load_mnist = lambda *_, **__: few
    finetune.COMPOSED = 1
    return Learns(folder)


def in_dialog(root, name, act, was_open=False):
    """Act in a dialog until it closes: the call that opens it waits for that."""
    known = root.tk.splitlist(root.tk.call("winfo", "children", "."))
    is_open = name in known and bool(root.tk.call("winfo", "viewable", name))
    if is_open:
        act()
    if is_open or not was_open:
        root.after(50, in_dialog, root, name, act, is_open)


def test_a_walk_with_the_keyboard_alone(
    one_pilot, display, tmp_path, monkeypatch, capfd
):
    """Choose, correct, learn, undo, copy, save, look inside, quit; a hand draws."""
    monkeypatch.setattr(correcting, "LEARNS", f"{__name__}:learns_little")
    (tmp_path / "saved").mkdir()
    monkeypatch.chdir(tmp_path / "saved")
    pilot = Pilot(display, tmp_path)
    pilot.start()
    pilot.write("71")
    pilot.key("Tab")
    assert pilot.window.correcting.chosen == [0]
    pilot.key("Tab")
    pilot.key("4")
    assert pilot.number() == "74"
    for key in ("Tab", "j"):
        pilot.key(key)
    assert pilot.window.correcting.chosen == [0, 1]
    pilot.key("Escape")
    pilot.until(lambda: len(pilot.corrections) == 1)
    pilot.key("l", "Alt_L")  # the menu
    pilot.key("l")
    pilot.until(lambda: pilot.status().startswith("Learned: "))
    assert finetune.learned().exists()
    pilot.read()
    pilot.key("l", "Alt_L")
    pilot.key("u")
    pilot.until(lambda: "is undone" in pilot.status())
    assert not finetune.learned().exists()
    assert pilot.read() == "74"
    pilot.key("z", "Control_L")
    assert pilot.number() == "71"
    pilot.key("Caps_Lock")
    for key, text in (("y", "74"), ("z", "71")):
        pilot.key(key, "Control_L")
        assert pilot.number() == text
    pilot.key("Caps_Lock")
    pilot.key("c", "Control_L")
    assert pilot.root.clipboard_get() == "71"
    in_dialog(pilot.root, ".__tk_filedialog", lambda: pilot.hand.key("Return"))
    pilot.key("s", "Control_L")
    pilot.until(lambda: pilot.status() == "Saved: drawing.json.")
    assert len(load_strokes("drawing.json").points) == 2
    stations = []
    for _ in range(20):  # beyond the last digit, Tab leaves the canvas
        pilot.key("Tab")
        stations.append(pilot.root.focus_get())
        assert stations[-1].winfo_viewable()
        on_eraser = stations[-1] is pilot.window.tools.buttons["Eraser"]
        if on_eraser and not pilot.canvas.erases:
            pilot.key("space")
    kinds = {each.winfo_class() for each in stations}
    assert {"TButton", "TScale", "Canvas"} <= kinds
    assert pilot.canvas.erases
    pilot.key("F6")
    assert not pilot.canvas.erases
    style = ttk.Style(pilot.root)
    ring = [style.lookup("TButton", "bordercolor", [s]) for s in ("focus", "!focus")]
    assert ring[0] != ring[1]
    pilot.key("F2")
    pilot.until(lambda: pilot.panel.explanation)
    process = pilot.worker._process
    pilot.key("q", "Control_L")
    time.sleep(0.02)
    settle(one_pilot.root)  # runs the timers of this thread
    assert "invalid command" not in capfd.readouterr().err
    process.join(60)
    assert process.exitcode is not None
    assert len(load_strokes(tmp_path / "drawing.json").points) == 2
    pilot.hand.close()


def test_what_cannot_be_done_is_grey_has_a_mnemonic_and_a_tooltip(pilot):
    menus = pilot.window.menus

    def states():
        menus.refresh()
        return {
            label: menus.menus[a.menu].entrycget(label, "state")
            for label, a in menus.actions.items()
        }

    grey = {label for label, state in states().items() if state == "disabled"}
    assert {"Redo", "Clear", "Save…", "Copy the number", "Stop learning"} <= grey
    assert {"Undo the last learning", "Put broken weights back"} <= grey
    pilot.write("71")
    assert states()["Clear"] == states()["Copy the number"] == "normal"
    for state in ("normal", "disabled"):  # nothing follows the last digit
        pilot.key("Tab")
        assert states()["It and the next are one"] == state
        assert states()["It is two digits"] == "normal"
    for menu in menus.menus.values():
        letters = [
            menu.entrycget(n, "label")[int(menu.entrycget(n, "underline"))].lower()
            for n in range(menu.index("end") + 1)
        ]
        assert len(set(letters)) == len(letters)
    buttons = pilot.window.tools.buttons
    x, y = buttons["Undo"].winfo_rootx() + 5, buttons["Undo"].winfo_rooty() + 5
    tip = pilot.window.tools.tip
    for away in (0, 300):
        pilot.hand.move(x + away, y + away)
        pilot.until(lambda away=away: bool(tip.winfo_viewable()) == (away == 0))
    assert tip.cget("text") == "Undo (Ctrl+Z)"


def test_saved_drawings_are_read_and_opened_as_they_were_drawn(pilot, monkeypatch):
    pilot.draw(SEVEN)
    pilot.draw(CROSS, x=200)
    text, size = pilot.read(), pilot.session.drawing.strokes.size
    ask = Mock()
    for dialog in ("asksaveasfilename", "askopenfilename"):
        monkeypatch.setattr(documents.filedialog, dialog, ask)
    for name in ("a.png", "a.json"):
        ask.return_value = str(pilot.folder / name)
        pilot.key("s", "Control_L")
        pilot.until(lambda name=name: pilot.status() == f"Saved: {name}.")
    assert "strokes" in ask.call_args.kwargs["filetypes"][0][0]
    with Image.open(pilot.folder / "a.png") as picture:
        assert picture.size == size
        assert picture.getpixel((0, 0)) == 255
    assert Reader().read(load_strokes(pilot.folder / "a.json")).text == text
    pilot.window.clear()
    pilot.key("o", "Control_L")
    assert pilot.read() == text
    assert "*.PNG" in ask.call_args.kwargs["filetypes"][0][1].split()


def test_what_cannot_be_opened_or_saved_is_reported_in_words(pilot):
    documents = pilot.window.documents
    for name in ("missing.json", "missing.png"):
        documents.open_path(pilot.folder / name)
        pilot.until(lambda name=name: f"{name}: cannot" in pilot.status())
    pilot.draw(ONE)
    pilot.read()
    for name in ("a.json", "a.png"):
        documents.save_path(pilot.folder / "no folder" / name)
        reason = f"{name} cannot be saved (No such file"
        pilot.until(lambda reason=reason: reason in pilot.status())


def test_a_picture_is_centred_as_large_as_fits_and_one_writes_on_it(pilot):
    assert pilot.open("a 1.png") == "1"
    canvas = pilot.canvas
    assert canvas.zoom > 1.3 * pilot.window.look.pixel
    left, top = canvas.origin
    assert left == pytest.approx((canvas.winfo_width() - 300 * canvas.zoom) / 2)
    assert top == pytest.approx((canvas.winfo_height() - 300 * canvas.zoom) / 2)
    zoom = canvas.zoom
    pilot.click(30, 30)  # beside the box: a dot, which is no digit
    picture = pilot.session.drawn.picture
    pilot.draw([(0, 0), (0, 50), (0, 100)], x=200, y=100)
    assert (pilot.read(), canvas.zoom) == ("11", zoom)
    assert pilot.session.drawn.picture is picture
    assert pilot.session.drawing.strokes.size == picture.size == (300, 300)
    (pen,) = {stroke.pen_width for stroke in pilot.session.drawn.strokes}
    assert pen * zoom == pytest.approx(
        pilot.session.pen_width * pilot.window.look.pixel
    )
    x, y = (round(v) for v in (200 * zoom + left, 150 * zoom + top))
    assert pilot.root.tk.call(str(canvas._photo), "get", x, y) == (21, 24, 29)
    pilot.window.clear()
    assert pilot.session.is_empty
    pilot.key("z", "Control_L")
    assert pilot.session.drawn.picture is picture


def likeliest(pilot):
    return pilot.panel.explanation.probabilities.argmax()


def test_the_panel_shows_the_digit_drawn_last_or_chosen(pilot):
    pilot.write("71", panel=True)
    panel = pilot.panel
    pilot.until(lambda: panel.explanation and likeliest(pilot) == 1)
    digit_7, digit_1 = pilot.session.reading.digits
    assert panel.explanation.probabilities.max() == digit_1.confidence
    pilot.click(85, 80)
    pilot.until(lambda: likeliest(pilot) == 7)
    assert panel.explanation.probabilities.max() == digit_7.confidence
    assert panel.subject.cget("text") == "Digit 1 of 2, read as 7"
    pilot.key("4")
    pilot.key("Tab")
    pilot.until(lambda: panel.subject.cget("text") == "Digit 1 of 2, corrected to 4")
    pilot.window.clear()
    pilot.until(lambda: panel.explanation is None)
    for stroke in (CROSS, [(60 - x, y) for x, y in CROSS]):
        pilot.draw(stroke)
    assert pilot.read() == "?"
    pilot.until(lambda: panel.subject.cget("text") == "Digit 1 of 1, refused")
    confidence = pilot.session.reading.digits[0].confidence
    assert panel.explanation.probabilities.max() == confidence
    pilot.key("F2")
    assert not panel.winfo_manager()


def texts_of(page):
    return page.sheet.get("1.0", "end")


def shown(pilot, page):
    """Wait until a page of the panel is at rest and return its texts."""
    revision = pilot.session.revision  # else it is of an earlier drawing
    pilot.until(lambda: revision in (pilot.window.live._explained or ()))
    pilot.until(lambda: texts_of(page).strip())
    pilot.read()
    return texts_of(page)


def test_a_click_on_a_map_shows_its_kernel_its_products_and_where_it_is_active(pilot):
    pilot.write("7", panel=True)
    page = pilot.panel.seeing
    lines = shown(pilot, page).splitlines()
    hint = next(n for n, line in enumerate(lines) if line.startswith("Click a pixel"))
    assert lines[hint + 1].startswith("1. 48 maps")
    found = pilot.panel.explanation.feature_maps[1]
    feature = int(found.maps.max(axis=(0, 1)).argmax())
    page.choose(1, feature, 0.5, 0.6)
    pilot.until(lambda: f"Map {feature + 1} of convolution 2" in texts_of(page))
    H, W, _ = found.maps.shape
    value = found.maps[int(0.6 * H), W // 2, feature]
    assert f"together {value:.3f}" in texts_of(page)
    assert page.sheet.yview()[0] > 0.1  # the kernel is in sight
    (box,) = pilot.items("polygon", "region")
    corners = pilot.panel.explanation.region(1, int(0.6 * H), W // 2)
    there = np.ravel([pilot.canvas.on_screen(corner) for corner in corners])
    assert pilot.canvas.coords(box) == pytest.approx(there, abs=0.1)
    page.choose(1, feature, 0.5, 0.6)
    assert pilot.items("polygon", "region") == []
    sheet = page.sheet
    for x, y in ((3, 40), (150, 9), (290, 200)):  # the wheel scrolls everywhere
        sheet.yview_moveto(0)
        pilot.hand.move(sheet.winfo_rootx() + x, sheet.winfo_rooty() + y)
        pilot.hand.press(5)
        pilot.hand.release(5)
        settle(pilot.root)
        assert sheet.yview()[0] > 0, (x, y)
    sheet.yview_moveto(0)
    assert sheet.cget("takefocus") == "1"
    sheet.focus_force()
    pilot.key("Next")
    assert sheet.yview()[0] > 0


def test_no_caption_loses_its_first_letter(pilot):
    """Beside the texts and pictures of the panel there is nothing, all the way down."""
    assert pilot.open("caption.png") == "1"
    pilot.key("F2")
    for number, page in enumerate(pilot.panel.pages):
        pilot.panel.tabs.select(number)
        shown(pilot, page)
        sheet = page.sheet
        pilot.until(lambda sheet=sheet: sheet.winfo_height() > 50)
        left, top = sheet.winfo_rootx() + 3, sheet.winfo_rooty() + 3
        low, right = top + sheet.winfo_height() - 6, left + sheet.winfo_width() - 12
        for share in (0, 0.3, 0.6, 1):
            sheet.yview_moveto(share)
            settle(pilot.root)
            for x in (left, right):
                margin = pilot.hand.look((x, top, x + 6, low))
                assert (margin == margin[0, 0]).all(), (number, share, x)


def test_the_panel_shows_gradients_and_a_step_that_is_undone(pilot):
    pilot.write("7", panel=True)
    page, tabs = pilot.panel.learning, pilot.panel.tabs
    x, y = tabs.winfo_rootx() + 90, tabs.winfo_rooty() + 12
    pilot.hand.draw([(x, y)], lambda: settle(pilot.root))
    pilot.until(lambda: "If it should be 7: loss" in texts_of(page))
    field = page.controls.grid_slaves(0, 1)[0]  # has the focus, and can be read
    x, y = field.winfo_rootx() + 4, field.winfo_rooty() + 4
    assert pilot.hand.look((x, y, x + 20, y + 12)).min() < 100
    page.label.set("1")
    page.ask()
    pilot.until(lambda: "If it should be 1: loss" in texts_of(page))
    assert f"{page.gradients.dlogits[1]:+.4f}" in texts_of(page)
    kernels = pilot.panel.explanation.feature_maps[1].kernels
    assert len(contents._sheet(kernels)) <= pilot.window.look.px(contents.INNER)
    before = pilot.session.reading
    page.train()
    pilot.until(lambda: "One training step" in texts_of(page))
    assert f"Loss {page.trial.loss[0]:.4f} → {page.trial.loss[1]:.4f}" in texts_of(page)
    assert page.trial.loss[1] < page.trial.loss[0]
    assert not pilot.window.menus.can("Put broken weights back")
    sure = np.array([0.0] * 9 + [1.0000001])  # a little more than it can be
    page.show(lambda: contents._shares(page, [sure, sure], "9"))
    assert "-0.0" not in texts_of(page)
    lines = page.sheet.count("1.0", "end", "displaylines")
    assert lines == (texts_of(page).count("\n"),)  # none is wrapped
    page.keeps.set(True)
    page.train()
    pilot.until(lambda: pilot.status().startswith("The network is changed (F4"))
    page.keeps.set(False)
    pilot.until(lambda: "One training step" in texts_of(page))
    pilot.read()
    pilot.key("F4")
    pilot.until(lambda: "One training step" not in texts_of(page))
    assert pilot.read() == before.text
    page.train()
    pilot.draw(ONE, x=160)  # another digit is shown when the step is done
    pilot.until(lambda: likeliest(pilot) == 1)
    assert "If it should be 1" in shown(pilot, page)
    assert page.trial is None


def test_broken_weights_are_read_with_until_they_are_put_back(pilot):
    pilot.write("7", panel=True)
    page = pilot.panel.breaking
    pilot.panel.tabs.select(2)
    pilot.until(lambda: len(page.right) == 2)
    shown(pilot, page)
    whole, confidence = page.right[0], pilot.session.reading.digits[0].confidence
    page.mute(0, 3)
    page.bits.set("1")
    page.change()
    pilot.until(lambda: page.right[1] < whole)
    shown(pilot, page)
    assert pilot.session.reading.digits[0].confidence != confidence
    pilot.until(lambda: "Muted filters: 1" in texts_of(page))
    for _ in range(2):  # the panel is closed, and open
        pilot.key("F2")
        assert pilot.status().startswith("The network is changed (F4")
    os.kill(pilot.worker._process.pid, signal.SIGKILL)  # another one has whole weights
    pilot.until(lambda: page.damage.bits == 32 and page.right == [whole, whole])
    assert "changed" not in pilot.status()
    shown(pilot, page)
    page.mute(0, 3)
    pilot.until(lambda: len(page.damage.muted) == 1 and len(page.right) == 2)
    pilot.key("F4")
    pilot.until(lambda: page.right == [whole, whole])
    pilot.read()
    assert pilot.session.reading.digits[0].confidence == pytest.approx(confidence)


@pytest.fixture
def learning(pilot, monkeypatch, tmp_path):
    """Return the process, which the test plays, of a fine-tuning that has begun."""
    process = Mock()
    monkeypatch.setattr(correcting, "Worker", Mock(return_value=process))
    monkeypatch.setattr("platformdirs.user_data_path", lambda _: tmp_path)
    pilot.write("7")
    pilot.key("Tab")
    pilot.key("7")
    pilot.until(lambda: "kept. The menu Learn" in pilot.status())
    pilot.window.finetuning.learn()
    assert pilot.statusbar.progress.winfo_manager()
    assert not pilot.window.menus.can("Learn from my corrections")
    yield process
    assert process.close.called
    assert not pilot.statusbar.progress.winfo_manager()


def test_a_key_with_control_or_of_a_list_corrects_nothing(pilot):
    pilot.write("7")
    pilot.key("Tab")
    before = len(pilot.corrections)
    pilot.window._on_key(SimpleNamespace(state=4, widget=pilot.canvas, char="3"))
    box = ttk.Combobox(pilot.root)
    pilot.window._on_key(SimpleNamespace(state=0, widget=box, char="3"))
    event = SimpleNamespace(state=4)
    pilot.window.menus._on_key("It is no digit", "<n>", event)
    assert pilot.read() == "7"
    assert len(pilot.corrections) == before
    box.destroy()


def test_learning_shows_progress_stops_fails_and_is_not_for_other_weights(
    pilot, learning, monkeypatch
):
    """It trains the shipped networks, which a window of other weights does not show."""
    learning.ask.call_args.kwargs["then"](0.25)
    assert pilot.statusbar.progress.cget("value") == 25
    for fails in (learning.on_failure, learning.on_fatal):
        fails("There is no room on the disk.")
        assert "no room" in pilot.status()
    pilot.window.finetuning.learn()
    pilot.window.finetuning.stop()
    assert "nothing has changed" in pilot.status()
    pilot.window.finetuning.undo()
    assert "Nothing has been learned" in pilot.status()
    monkeypatch.setattr(pilot.window.finetuning, "allowed", False)
    for action in ("Learn from my corrections", "Undo the last learning"):
        assert not pilot.window.menus.can(action)


def test_a_small_window_shows_all_of_a_large_drawing(pilot):
    pilot.draw(SEVEN, x=820, y=60)
    text, size = pilot.read(), pilot.session.drawing.strokes.size
    pilot.root.geometry("790x500")
    pilot.until(lambda: pilot.canvas.winfo_width() == 790)
    right = max(p[:, 0].max() for p in pilot.session.drawing.strokes.points)
    assert right * pilot.canvas.zoom <= 790
    assert pilot.session.drawing.strokes.size == size
    assert pilot.session.reading.text == text
    pilot.window.clear()
    pilot.window.toggle_panel()
    pilot.root.geometry("1x500")  # as small as it can be
    pilot.until(lambda: pilot.canvas.winfo_width() < 300)
    left, _, right, _ = pilot.canvas.bbox("invitation")
    assert 0 <= left < right <= pilot.canvas.winfo_width()
    pilot.window.toggle_panel()
    pilot.root.geometry("900x650")
    pilot.until(lambda: pilot.canvas.winfo_width() == 900)
    assert pilot.canvas.zoom == pilot.window.look.pixel


def test_an_exception_is_shown_and_logged_and_reading_goes_on(
    pilot, caplog, monkeypatch
):
    view.LOG.propagate = True
    broken = Mock(side_effect=ValueError("the boxes are lost"))
    with monkeypatch.context() as patch:
        patch.setattr(pilot.canvas.boxes, "show", broken)
        pilot.draw(SEVEN)
        pilot.until(lambda: "boxes are lost" in pilot.status())
    assert "ValueError" in caplog.text
    pilot.draw(ONE, x=160)
    assert pilot.read() == "71"


def test_settings_drawing_and_corrections_outlive_the_window(display, tmp_path):
    stage = Stage(display, tmp_path)
    stage.start()
    stage.root.geometry("820x610")
    until(stage.root, lambda: stage.root.winfo_width() == 820)
    stage.session.pen_width = 22.0
    stage.window.toggle_theme()
    stage.window.toggle_panel()
    stage.draw(SEVEN)
    stage.read()
    store = Corrections(tmp_path / "corrections")
    for key in ("Tab", "3"):
        stage.key(key)
    until(stage.root, lambda: len(store) == 1)
    (points,) = stage.session.drawing.strokes.points
    (tmp_path / "pasted").mkdir()
    for name in ("old.png", "new.png"):  # the new one may be in another window
        (tmp_path / "pasted" / name).write_text("")
    os.utime(tmp_path / "pasted" / "old.png", (0, 0))
    stage.close()
    assert [path.name for path in (tmp_path / "pasted").iterdir()] == ["new.png"]
    kept = {"size": "820x610", "theme": "dark", "brush": 22.0, "panel": True}
    assert json.loads((tmp_path / "config" / "window.json").read_text()) == kept
    document = tmp_path / "drawing.json"
    (kept_as,) = (tmp_path / "corrections").iterdir()
    document.write_text(document.read_text().replace(f'"{kept_as.name}"', ""))
    kept_as.unlink()  # as if the window had closed before it was kept
    later = Stage(display, tmp_path)
    later.window.documents.bring_back()
    (again,) = later.session.drawing.strokes.points
    assert np.array_equal(points, again)
    later.start()
    said = later.window.statusbar.status.cget("text")  # still, or the next one
    assert "is back" in said or "is kept" in said
    assert later.read() == "3"
    until(later.root, lambda: len(store) == 1)
    later.window.undo()
    later.window.undo(1)
    assert later.read() == "3"
    for key in ("Tab", "5"):
        later.key(key)
    until(later.root, lambda: len(store) == 1 and store.read()[1].tolist() == [5])
    Image.new("L", (40, 30), 255).save(tmp_path / "kept.png")
    later.window.documents.open_path(tmp_path / "kept.png")
    until(later.root, lambda: later.session.drawn.picture)
    later.draw([(20, 10), (20, 12)], 0, 0)
    later.close()
    last = Stage(display, tmp_path)
    last.start()
    last.window.documents.bring_back()
    until(last.root, lambda: last.session.drawn.picture)
    assert len(last.session.drawn.strokes) == 1
    assert "is back" in last.window.statusbar.status.cget("text")
    last.close()
    document.write_text(
        document.read_text().replace('"corrections": []', '"corrections": [7]')
    )
    for broken in (False, True):
        if broken:
            document.write_text("{")
        last = Stage(display, tmp_path)
        last.window.documents.bring_back()
        assert last.session.is_empty
        last.close()
    assert document.read_text() == "{"  # it stays, as nothing was drawn


@pytest.mark.parametrize(("wide", "high"), [(800, 600), (1280, 720)])
def test_a_small_screen_shows_everything(display, tmp_path, wide, high):
    stage = Stage(display, tmp_path, f"{wide}x{high - 80}")
    assert stage.root.focus_lastfor() == stage.window.canvas  # before any click
    stage.window.toggle_panel()
    stage.draw(SEVEN)
    settle(stage.root)
    root, bar = stage.root, stage.window.statusbar
    low = root.winfo_rooty() + root.winfo_height()
    assert root.winfo_height() <= high - 80
    widgets = [bar.number, bar.status, bar.copy_button, stage.window.panel]
    for widget in (*widgets, *stage.window.tools.buttons.values()):
        assert widget.winfo_viewable()
        assert widget.winfo_rooty() + widget.winfo_height() <= low
        assert widget.winfo_rootx() + widget.winfo_width() <= wide
        assert widget.winfo_width() >= min(widget.winfo_reqwidth(), 300)
    assert stage.window.canvas.winfo_height() > 200
    heights, box = [], ".__tk__messagebox"

    def look():
        heights.append(root.tk.call("winfo", "reqheight", box))
        root.tk.call(f"{box}.ok", "invoke")

    in_dialog(root, box, look)
    stage.window.menus.help()
    assert heights[0] < high - 80
    root.geometry("100x100")
    settle(root)
    open_button = stage.window.tools.buttons["Open…"]
    assert root.minsize()[0] <= 800
    assert open_button.winfo_width() >= open_button.winfo_reqwidth()
    stage.close()


def test_many_lines_scroll_and_take_no_room_from_the_canvas(pilot):
    before = pilot.canvas.winfo_height()
    pilot.write("7")
    line = (Digit(7, 0.99, (55, 55, 110, 150), ((7, 0.99),)),)
    pilot.session.answer(pilot.session.revision, Reading((line,) * 7))
    pilot.window.show()
    settle(pilot.root)
    assert pilot.canvas.winfo_height() == before
    assert pilot.statusbar._bar.winfo_viewable()
    number, fonts = pilot.statusbar.number, pilot.window.look.fonts
    first, last = number.yview()
    assert first > 0
    assert last == 1
    assert number.winfo_height() == 3 * fonts.strong.metrics("linespace")
    pilot.key("c", "Control_L")
    assert pilot.root.clipboard_get() == "\n".join("7" * 7)
    pilot.show(*((7, 0.99, (x, 60, x + 40, 150)) for x in (60, 110, 500)))
    pilot.key("c", "Control_L")
    assert pilot.root.clipboard_get() == "77 7"
    status = pilot.statusbar.status
    one_line = status.winfo_height()
    pilot.window.say("A long sentence. " * 12)
    settle(pilot.root)
    assert status.winfo_height() == status.winfo_reqheight() > one_line
    assert number.winfo_height() == 2 * fonts.strong.metrics("linespace")
    assert pilot.canvas.winfo_height() == before


def test_the_dark_theme_is_readable_and_the_reading_stays(pilot):
    pilot.write("7")
    light = pilot.canvas.cget("background")
    pilot.key("F3")
    assert pilot.canvas.cget("background") != light
    assert pilot.number() == "7"
    style = ttk.Style(pilot.root)
    for name in ("TEntry", "TCombobox"):
        colours = [style.lookup(name, o) for o in ("fieldbackground", "foreground")]
        dark, light = (sum(pilot.root.winfo_rgb(c)) / 3 / 65535 for c in colours)
        assert light - dark > 0.5
    assert pilot.canvas.option_get("foreground", "Foreground") == "black"  # files
    assert style.lookup("TCombobox", "background", ["active"]) == THEMES["dark"].line
    assert style.lookup("TCheckbutton", "indicatorbackground") == THEMES["dark"].paper
    ground = style.lookup("TFrame", "background")
    for state in ("disabled", "!disabled"):
        assert style.lookup("TButton", "background", [state]) != ground
    for _ in range(2):  # a picture that is open already opens again
        assert pilot.open("twice.png") == "1"
    theme = view.Look(pilot.root).theme  # the light one: the picture is light
    (box,) = pilot.items("rectangle")
    assert pilot.canvas.itemcget(box, "outline") in (theme.sure, theme.doubtful)
    pilot.key("F3")
    assert pilot.canvas.cget("background") == THEMES["light"].paper


def test_there_is_an_icon_about_and_help(pilot, monkeypatch):
    assert pilot.root.tk.call("wm", "iconphoto", pilot.root, pilot.window._icon) == ""
    tell = Mock()
    monkeypatch.setattr(actions.messagebox, "showinfo", tell)
    pilot.window.menus.do("About tinycnn")
    assert tinycnn.__version__ in tell.call_args.args[1]
    pilot.key("F1")
    for action in pilot.window.menus.actions.values():
        assert action.shown in tell.call_args.kwargs["detail"]


@pytest.mark.parametrize("scaling", [1.01, 1.4, 2.0, 6.0])
def test_a_denser_screen_changes_no_stroke_and_every_dash_has_gaps(
    display, tmp_path, scaling
):
    stage = Stage(display, tmp_path, scaling=scaling)
    zoom = min(0.75 * scaling, 2.0)  # the last would be too dense for this screen
    assert stage.window.canvas.zoom == pytest.approx(zoom, rel=0.01)
    assert stage.root.minsize()[0] <= stage.root.winfo_screenwidth()
    stage.draw(SEVEN)
    (points,) = stage.session.drawing.strokes.points
    for x, y in SEVEN:
        assert np.hypot(*(points - (60 + x, 60 + y)).T).min() < 5
    gaps = []
    for label, confidence in ((7, 0.99), (7, 0.8), (None, 0.1)):
        digit = Digit(label, confidence, (50, 50, 110, 150), ())
        stage.session.answer(stage.session.revision, Reading(((digit,),)))
        stage.window.show()
        settle(stage.root)
        ((x, y),) = stage.on_screen([(50, 145)])
        edge = stage.hand.look((round(x) - 20, round(y) - 40, round(x), round(y)))
        gaps.append((edge == 255).all(axis=(1, 2)).sum())
    stage.close()
    assert gaps[0] == 0 < gaps[1] < gaps[2]  # solid, dashed, dotted
