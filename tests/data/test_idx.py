"""Laws of the IDX reader and writer: what is written is read, and damage is seen."""

import gzip
import hashlib
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinycnn.data.idx import (
    DataError,
    check_size,
    content_sha256,
    from_zero,
    read_idx,
    read_pair,
    write_idx,
)

ARRAYS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, max_side=6))


def idx_bytes(array, shape=None):
    """Spell an IDX file by hand, with another promised shape if one is given."""
    shape = array.shape if shape is None else shape
    header = bytes([0, 0, 8, len(shape)]) + b"".join(
        size.to_bytes(4, "big") for size in shape
    )
    return header + array.tobytes()


def digits(count=5):
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)


PLAIN = idx_bytes(digits())
PACKED = gzip.compress(PLAIN, mtime=0)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Return a function that reads bytes as a file."""
    path = tmp_path_factory.mktemp("idx") / "file"

    def read_bytes(content):
        path.write_bytes(content)
        return read_idx(path)

    return read_bytes


def refused(read, content):
    """Return the message with which a file is refused; None if it is read."""
    try:
        read(content)
    except DataError as error:
        return str(error)
    return None


@given(array=ARRAYS)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, read, array):
    path = tmp_path_factory.mktemp("idx") / "a"
    write_idx(path, np.asfortranarray(array))
    assert path.read_bytes() == idx_bytes(array)
    for again in (read_idx(path), read(gzip.compress(idx_bytes(array)))):
        assert again.dtype == np.uint8
        assert again.flags.writeable
        np.testing.assert_array_equal(again, array)


def test_the_checksum_is_that_of_the_plain_file():
    expected = hashlib.sha256(PLAIN).hexdigest()
    assert content_sha256(digits()) == expected
    assert content_sha256(np.asfortranarray(digits())) == expected


def test_every_truncation_is_seen(read):
    for content in (PLAIN, PACKED):
        step = len(content) // 97
        for length in [*range(40), *range(40, len(content), step), len(content) - 1]:
            assert refused(read, content[:length]), length


def test_bytes_after_the_end_are_seen(read):
    for content in (PLAIN, PACKED):
        for extra in (b"\0", b"x", bytes(8), PACKED, PACKED[-4:]):
            assert refused(read, content + extra), extra[:8]


def test_a_wrong_or_missing_gzip_checksum_is_seen_and_named(read):
    wrong = PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:]
    for damaged in (wrong, PACKED[:-8]):
        assert "/file: is no undamaged gzip file" in refused(read, damaged)


def test_every_changed_bit_of_the_header_is_seen(read):
    for bit in range(8 * 16):
        damaged = bytearray(PLAIN)
        damaged[bit // 8] ^= 1 << (bit % 8)
        assert refused(read, damaged), bit
        assert refused(read, gzip.compress(damaged)), bit


def test_a_bad_start_is_named(read):
    assert "is empty" in refused(read, b"")
    for start in [
        b"\0\0\x08",
        b"PNG!" + bytes(60),
        b"\0\0\x0d\x01\0\0\0\x01" + bytes(4),  # 0x0d: float32
        b"\0\0\x08\0" + b"x",
        b"\0\0\x08\x05" + b"\0\0\0\x01" * 5 + b"x",
        b"\0\0\x08\xff" + bytes(2000),
        b"\0\0\x08\x03" + bytes(11),
        b"\0\0\x08\x01" + bytes(4),
        b"\0\0\x08\x02" + b"\xff" * 4 + bytes(4),
        b"\0\0\x08\x04" + b"\xff" * 16,
        b"\0\0\x08\x01" + b"\0\0\0\x02" + b"a",
    ]:
        for content in (start, gzip.compress(start)):
            assert "is no IDX file" in (refused(read, content) or ""), start


@given(content=st.binary(max_size=64), packed=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_an_array_or_the_one_error(read, content, packed):
    content = b"\0\0\x08" + content
    try:
        array = read(gzip.compress(content) if packed else content)
    except DataError:
        return
    assert idx_bytes(array) == content


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(read):
    header = idx_bytes(digits(0), (400_000, 28, 28))
    bomb = gzip.compress(header + bytes(400_000 * 784))
    assert len(bomb) < 2**20
    tracemalloc.start()
    try:
        assert "gunzip" in refused(read, bomb)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    blank = idx_bytes(digits(0), (10_000, 28, 28)) + bytes(7_840_000)
    assert len(read(gzip.compress(blank))) == 10_000  # small, so no bomb


def test_what_cannot_be_opened_is_the_same_error(tmp_path):
    paths = [tmp_path / "absent", tmp_path, "zero\0byte"]
    if hasattr(os, "mkfifo"):  # to be waited for would take for ever
        os.mkfifo(tmp_path / "pipe")
        paths.append(tmp_path / "pipe")
    for path in paths:
        with pytest.raises(DataError, match="name"):
            read_idx(path)


def test_labels_become_classes_and_what_no_class_has_is_refused():
    labels = np.array([1, 26, 3], np.uint8)
    classes = from_zero(labels, 1, 26)
    np.testing.assert_array_equal(classes, [0, 25, 2])
    assert classes.dtype == np.uint8
    for first, count in [(0, 26), (1, 25), (2, 30)]:
        with pytest.raises(DataError, match="labels are 1 to 26, and the network"):
            from_zero(labels, first, count)


def test_images_of_another_size_than_the_network_s_are_refused():
    images = np.zeros((3, 7, 8), np.uint8)
    check_size(images, [7, 8])
    with pytest.raises(DataError, match="images are 7×8, and the network takes 28×28"):
        check_size(images, (28, 28))


def test_a_pair_has_as_many_labels_as_images(tmp_path):
    write_idx(tmp_path / "images", digits(4))
    write_idx(tmp_path / "labels", np.arange(4, dtype=np.uint8))
    images, labels = read_pair(tmp_path / "images", tmp_path / "labels")
    np.testing.assert_array_equal(images, digits(4))
    np.testing.assert_array_equal(labels, range(4))
    for images, labels in [(digits(4), 3), (digits(4)[0], 28), (digits(4)[None], 1)]:
        write_idx(tmp_path / "images", images)
        write_idx(tmp_path / "labels", np.arange(labels, dtype=np.uint8))
        with pytest.raises(DataError, match="name two files that belong together"):
            read_pair(tmp_path / "images", tmp_path / "labels")


def test_what_no_reader_would_take_is_not_written(tmp_path):
    for array in [
        np.zeros(3, np.float32),
        np.zeros(3, np.int8),
        np.array(3, np.uint8),
        np.zeros((1, 1, 1, 1, 1), np.uint8),
        np.zeros((0, 28, 28), np.uint8),
    ]:
        with pytest.raises(DataError):
            write_idx(tmp_path / "a", array)
        assert list(tmp_path.iterdir()) == []
