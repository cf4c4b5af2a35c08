"""Laws of the IDX reader and writer: what goes in comes out, and damage is seen.

These tests know the format byte by byte. They know nothing of MNIST's content.
"""

import gzip
import hashlib
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinycnn.data import (
    DataError,
    IdxError,
    read_idx,
    read_images,
    read_labels,
    read_pair,
    write_idx,
)
from tinycnn.data.idx import content_sha256, parse_idx

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


@given(array=ARRAYS, packed=st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if packed else "a")
    write_idx(path, array)
    again = read_idx(path)
    assert again.dtype == np.uint8
    assert again.flags.writeable
    np.testing.assert_array_equal(again, array)


def test_a_file_spelt_by_hand_is_read():
    content = b"\0\0\x08\x02" + b"\0\0\0\x02" + b"\0\0\0\x03" + b"abcdef"
    expected = [[97, 98, 99], [100, 101, 102]]
    np.testing.assert_array_equal(parse_idx(content, "hand"), expected)
    np.testing.assert_array_equal(parse_idx(gzip.compress(content), "hand"), expected)


def test_a_file_is_written_as_spelt_by_hand(tmp_path):
    write_idx(tmp_path / "a", np.array([[1, 2, 3]], np.uint8)[:, ::-1])
    expected = b"\0\0\x08\x02" + b"\0\0\0\x01" + b"\0\0\0\x03" + b"\3\2\1"
    assert (tmp_path / "a").read_bytes() == expected


def test_content_decides_about_gzip_and_not_the_name(tmp_path):
    (tmp_path / "plain.gz").write_bytes(idx_bytes(digits()))
    (tmp_path / "packed").write_bytes(gzip.compress(idx_bytes(digits())))
    np.testing.assert_array_equal(read_idx(tmp_path / "plain.gz"), digits())
    np.testing.assert_array_equal(read_idx(str(tmp_path / "packed")), digits())


def test_the_same_array_gives_the_same_packed_bytes(tmp_path):
    write_idx(tmp_path / "a.gz", digits())
    write_idx(tmp_path / "other.gz", digits())
    first = (tmp_path / "a.gz").read_bytes()
    assert first == (tmp_path / "other.gz").read_bytes()
    assert first[3:8] == bytes(5)  # no name, no time


def test_the_checksum_is_that_of_the_plain_file():
    expected = hashlib.sha256(idx_bytes(digits())).hexdigest()
    assert content_sha256(digits()) == expected
    assert content_sha256(np.asfortranarray(digits())) == expected
    changed = digits()
    changed[0, 0, 0] ^= 1
    assert content_sha256(changed) != expected


PLAIN = idx_bytes(digits())
PACKED = gzip.compress(PLAIN, mtime=0)


@pytest.mark.parametrize("content", [PLAIN, PACKED], ids=["plain", "packed"])
def test_every_truncation_is_seen(content):
    step = len(content) // 97
    for length in [*range(40), *range(40, len(content), step), len(content) - 1]:
        with pytest.raises(IdxError):
            parse_idx(content[:length], "cut")


@pytest.mark.parametrize("content", [PLAIN, PACKED], ids=["plain", "packed"])
@pytest.mark.parametrize("extra", [b"\0", b"x", bytes(8), PACKED])
def test_bytes_after_the_end_are_seen(content, extra):
    with pytest.raises(IdxError):
        parse_idx(content + extra, "long")


def test_bytes_after_the_end_are_seen_even_if_the_last_four_are_right():
    with pytest.raises(IdxError, match="follow the end"):
        parse_idx(PACKED + PACKED[-4:], "long")


def test_a_flipped_bit_in_the_packed_data_is_seen_or_changes_nothing():
    array = digits() // 64  # four levels, so that it is really packed
    packed = gzip.compress(idx_bytes(array), mtime=0)
    seen = 0
    for at in range(10, len(packed)):
        damaged = bytearray(packed)
        damaged[at] ^= 0x10
        try:
            np.testing.assert_array_equal(parse_idx(bytes(damaged), "flipped"), array)
        except IdxError:
            seen += 1
    assert seen > 0.99 * (len(packed) - 10)


def test_a_wrong_gzip_checksum_is_seen():
    damaged = bytearray(PACKED)
    damaged[-8] ^= 1
    with pytest.raises(IdxError, match="unpacked"):
        parse_idx(bytes(damaged), "crc")


def test_a_missing_gzip_checksum_is_seen():
    # The data ends in its own length and is stored unchanged, so that the last four
    # bytes are right even without gzip's trailer.
    content = idx_bytes(np.array([7, 7, 7, 7, 16, 0, 0, 0], np.uint8))
    packer = zlib.compressobj(0, wbits=31)
    packed = packer.compress(content) + packer.flush()
    assert parse_idx(packed, "whole").sum() == 44
    with pytest.raises(IdxError, match="is not the 8 bytes"):
        parse_idx(packed[:-8], "no trailer")


def test_every_changed_bit_of_the_header_is_seen():
    for bit in range(8 * 16):
        damaged = bytearray(PLAIN)
        damaged[bit // 8] ^= 1 << (bit % 8)
        for content in (bytes(damaged), gzip.compress(damaged)):
            with pytest.raises(IdxError):
                parse_idx(content, "header")


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"", "too few"),
        (b"\0\0\x08", "too few"),
        (b"PNG!" + bytes(60), "begin"),
        (b"\0\0\x0d\x01\0\0\0\x01" + bytes(4), "type 0x0d"),
        (b"\0\0\x08\0" + b"x", "0 dimensions"),
        (b"\0\0\x08\x05" + bytes(21), "5 dimensions"),
        (b"\0\0\x08\xff" + bytes(2000), "255 dimensions"),
        (b"\0\0\x08\x03" + bytes(11), "within the header"),
        (b"\0\0\x08\x01" + bytes(4), "holds nothing"),
        (b"\0\0\x08\x02" + b"\xff" * 4 + bytes(4), "holds nothing"),
        (b"\0\0\x08\x04" + b"\xff" * 16, "more than"),
        (b"\0\0\x08\x01" + b"\x40\0\0\1", "more than"),
        (b"\0\0\x08\x01" + b"\0\0\0\x02" + b"a", "promises 2 bytes"),
    ],
)
def test_a_bad_start_is_named(start, reason):
    with pytest.raises(IdxError, match=reason):
        parse_idx(start, "bad")
    with pytest.raises(IdxError):
        parse_idx(gzip.compress(start), "bad")


@given(content=st.binary(max_size=64), packed=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_an_array_or_the_one_error(content, packed):
    content = b"\0\0\x08" + content
    try:
        array = parse_idx(gzip.compress(content) if packed else content, "any")
    except IdxError:
        return
    assert idx_bytes(array) == content


def zeros_packed(header, count, stated):
    """Pack a header and `count` zeros; state another length in the trailer."""
    packer = zlib.compressobj(9, wbits=31)
    packed = packer.compress(header + bytes(count)) + packer.flush()
    return packed[:-4] + struct.pack("<I", stated)


def test_a_bomb_is_cut_at_what_its_header_promises(monkeypatch):
    unpacked = []

    def counting(wbits):
        gunzip = zlib.decompressobj(wbits=wbits)

        class Counting:
            unconsumed_tail = property(lambda _: gunzip.unconsumed_tail)
            unused_data = property(lambda _: gunzip.unused_data)
            eof = property(lambda _: gunzip.eof)

            def decompress(self, data, max_length):
                piece = gunzip.decompress(data, max_length)
                unpacked.append(len(piece))
                return piece

        return Counting()

    class Zlib:
        error = zlib.error
        decompressobj = staticmethod(counting)

    header = idx_bytes(digits(0), (1, 28, 28))
    bomb = zeros_packed(header, 20_000_000, len(header) + 784)
    monkeypatch.setattr("tinycnn.data.idx.zlib", Zlib)
    with pytest.raises(IdxError):
        parse_idx(bomb, "bomb")
    assert sum(unpacked) == len(header) + 784 + 1


def test_a_small_file_that_promises_much_is_not_unpacked():
    header = idx_bytes(digits(0), (60_000, 28, 28))
    bomb = zeros_packed(header, 1000, len(header) + 60_000 * 784)
    with pytest.raises(IdxError, match="gunzip"):
        parse_idx(bomb, "bomb")


def test_a_blank_set_of_ten_thousand_images_is_no_bomb(tmp_path):
    write_idx(tmp_path / "blank.gz", np.zeros((10_000, 28, 28), np.uint8))
    assert not read_images(tmp_path / "blank.gz").any()


@pytest.mark.parametrize("read", [read_idx, read_images, read_labels])
def test_what_cannot_be_opened_is_the_same_error(tmp_path, read):
    for path in (tmp_path / "absent", tmp_path, "zero\0byte"):
        with pytest.raises(IdxError, match="name"):
            read(path)


@pytest.mark.skipif(
    not hasattr(os, "mkfifo"), reason="this system has no pipes by name"
)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(IdxError, match="regular"):
        read_idx(tmp_path / "pipe")


def test_the_error_names_file_reason_and_remedy(tmp_path):
    path = tmp_path / "digits.gz"
    path.write_bytes(PACKED[:-20])
    with pytest.raises(IdxError) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "cut short" in str(caught.value)
    assert str(caught.value).endswith("replace it by an undamaged copy")
    assert "\n" not in str(caught.value)


def test_one_except_clause_catches_all():
    assert issubclass(IdxError, DataError)
    assert issubclass(DataError, ValueError)


@pytest.mark.parametrize("shape", [(5,), (5, 28), (5, 28, 27), (5, 28, 28, 1)])
def test_images_of_another_shape_are_refused(tmp_path, shape):
    write_idx(tmp_path / "images", np.zeros(shape, np.uint8))
    with pytest.raises(IdxError, match=r"\(N, 28, 28\)"):
        read_images(tmp_path / "images")


def test_labels_are_0_to_9(tmp_path):
    write_idx(tmp_path / "labels", np.arange(10, dtype=np.uint8))
    np.testing.assert_array_equal(read_labels(tmp_path / "labels"), range(10))
    write_idx(tmp_path / "labels", np.array([3, 10, 11], np.uint8))
    with pytest.raises(IdxError, match="label 1 is 10"):
        read_labels(tmp_path / "labels")


def test_labels_of_another_shape_are_refused(tmp_path):
    write_idx(tmp_path / "labels", np.zeros((5, 1), np.uint8))
    with pytest.raises(IdxError, match=r"not labels \(N,\)"):
        read_labels(tmp_path / "labels")


def test_a_pair_has_as_many_labels_as_images(tmp_path):
    write_idx(tmp_path / "images.gz", digits(4))
    write_idx(tmp_path / "labels.gz", np.arange(4, dtype=np.uint8))
    images, labels = read_pair(tmp_path / "images.gz", tmp_path / "labels.gz")
    np.testing.assert_array_equal(images, digits(4))
    np.testing.assert_array_equal(labels, range(4))
    write_idx(tmp_path / "labels.gz", np.arange(3, dtype=np.uint8))
    with pytest.raises(IdxError, match="3 labels for the 4 images"):
        read_pair(tmp_path / "images.gz", tmp_path / "labels.gz")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3, np.float32),
        np.zeros(3, np.int8),
        np.uint8(3),
        np.zeros((1, 1, 1, 1, 1), np.uint8),
        np.zeros((0, 28, 28), np.uint8),
    ],
)
def test_what_no_reader_would_take_is_not_written(tmp_path, array):
    with pytest.raises(IdxError):
        write_idx(tmp_path / "a", array)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    write_idx(tmp_path / "a", digits(1))

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_idx(tmp_path / "a", digits(2))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), digits(1))
