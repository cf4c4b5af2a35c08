"""The laws of `tinycnn.nn.weights`: what is saved comes back, what is damaged is seen.

The reference package `safetensors` is the judge of the format. It knows nothing of the
checksum, which is ours. How the file is replaced is the law of `test_files.py`; the
long campaigns of damage and of killed savers are in `benchmarks`.
"""

import errno
import json
import math
import os
import pickle
import tracemalloc

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinycnn.nn.weights import (
    TensorFileError,
    load_weights,
    read_metadata,
    read_tensors,
    save_tensors,
    save_weights,
)

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]
DTYPES = ["bool", *INTEGERS, "f2", "f4", "f8", "c8"]


class Model:
    """The least that can be saved: named live arrays."""

    def __init__(self, **arrays):
        self.arrays = arrays

    def state(self):
        return self.arrays


def small_model(seed=0):
    rng = np.random.default_rng(seed)
    return Model(
        weight=rng.normal(size=(3, 2)).astype(np.float32),
        bias=rng.normal(size=2).astype(np.float32),
    )


def zero_model():
    return Model(weight=np.zeros((3, 2), np.float32), bias=np.zeros(2, np.float32))


def same(first, second):
    """Whether two mappings hold equal arrays under equal names, dtype for dtype."""
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and first[name].shape == second[name].shape
        and first[name].tobytes() == second[name].tobytes()
        for name in first
    )


def every_dtype():
    rng = np.random.default_rng(0)
    return {
        f"{dtype} {shape}": rng.integers(0, 2, size=shape).astype(dtype)
        for dtype in DTYPES
        for shape in [(), (0,), (3,), (2, 0, 3), (2, 3, 5)]
    }


def write_raw(path, header, data=b""):
    """Write a file with this header, as bytes or as what JSON makes of it."""
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


# --- what is saved comes back ----------------------------------------------------


def test_arrays_of_every_dtype_and_shape_come_back(tmp_path):
    tensors = every_dtype()
    save_tensors(tmp_path / "t", tensors, {"preset": "quick", "größe": 'a "b"\n'})
    found, metadata = read_tensors(tmp_path / "t", require_checksum=True)
    assert same(found, tensors)
    assert metadata.pop("checksum")
    assert metadata == {"preset": "quick", "größe": 'a "b"\n'}


def test_any_memory_order_and_byte_order_is_saved_as_its_values(tmp_path):
    grid = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tensors = {
        "fortran": np.asfortranarray(grid),
        "strided": grid[:, ::2, ::-1],
        "transposed": grid.T,
        "big-endian": grid.astype(">f4"),
        "a long integer": np.arange(3, dtype=np.longlong),
        "broadcast": np.broadcast_to(np.float32(7), (2, 2)),
    }
    save_tensors(tmp_path / "t", tensors, {})
    found, _ = read_tensors(tmp_path / "t")
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array, strict=name != "big-endian")


def test_arrays_read_are_writeable_native_and_own_their_memory(tmp_path):
    save_tensors(tmp_path / "t", every_dtype(), {})
    found, _ = read_tensors(tmp_path / "t")
    for array in found.values():
        assert array.flags.writeable
        assert array.flags.owndata
        assert array.flags.c_contiguous
        assert array.dtype.isnative


def test_no_arrays_at_all_come_back_as_none(tmp_path):
    save_tensors(tmp_path / "t", {}, {})
    assert read_tensors(tmp_path / "t", require_checksum=True)[0] == {}


def test_a_path_may_be_a_str(tmp_path):
    save_weights(str(tmp_path / "t"), small_model(), {"preset": "tiny"})
    assert load_weights(str(tmp_path / "t"), zero_model())["preset"] == "tiny"


def test_loading_writes_into_the_live_arrays(tmp_path):
    saved, model = small_model(), zero_model()
    live = model.arrays["weight"]
    save_weights(tmp_path / "t", saved, {"preset": "quick"})
    metadata = load_weights(tmp_path / "t", model)
    assert model.arrays["weight"] is live
    assert same(model.state(), saved.state())
    assert metadata == read_metadata(tmp_path / "t")


def test_same_input_gives_the_same_bytes(tmp_path):
    tensors, metadata = every_dtype(), {"b": "2", "a": "1"}
    backwards = dict(reversed(tensors.items()))
    save_tensors(tmp_path / "one", tensors, metadata)
    save_tensors(tmp_path / "two", backwards, {"a": "1", "b": "2"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_what_was_read_saves_to_the_same_bytes(tmp_path):
    save_tensors(tmp_path / "one", every_dtype(), {"preset": "quick"})
    save_tensors(tmp_path / "two", *read_tensors(tmp_path / "one"))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_checksum_among_the_metadata_is_replaced(tmp_path):
    save_tensors(tmp_path / "one", {"a": np.zeros(2)}, {})
    metadata = read_metadata(tmp_path / "one")
    save_tensors(tmp_path / "two", {"a": np.ones(2)}, metadata)
    assert read_tensors(tmp_path / "two", require_checksum=True)[1] != metadata


def test_a_name_and_metadata_like_our_checksum_field_are_only_text(tmp_path):
    field = '"checksum":"' + "0" * 64 + '"'
    tensors = {"checksum": np.ones(2), field: np.zeros(3)}
    save_tensors(tmp_path / "t", tensors, {"a": field, field: "b"})
    found, metadata = read_tensors(tmp_path / "t", require_checksum=True)
    assert same(found, tensors)
    assert metadata["a"] == field


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    names=st.sets(st.text(st.characters(codec="utf-8"), max_size=8), max_size=5),
    metadata=st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=8).filter("checksum".__ne__),
        st.text(st.characters(codec="utf-8")),
        max_size=5,
    ),
)
def test_any_text_comes_back_and_pleases_the_reference(tmp_path, names, metadata):
    tensors = {name: np.float32([i]) for i, name in enumerate(sorted(names))}
    save_tensors(tmp_path / "t", tensors, metadata)
    found, found_metadata = read_tensors(tmp_path / "t", require_checksum=True)
    assert same(found, tensors)
    assert found_metadata == {**metadata, "checksum": found_metadata["checksum"]}
    assert same(safetensors.numpy.load_file(tmp_path / "t"), tensors)


# --- the reference reads ours, we read the reference's ---------------------------


def test_the_reference_reads_ours(tmp_path):
    tensors = every_dtype()
    save_tensors(tmp_path / "t", tensors, {"preset": "quick"})
    assert same(safetensors.numpy.load_file(tmp_path / "t"), tensors)
    with safetensors.safe_open(tmp_path / "t", framework="numpy") as file:
        assert file.metadata() == read_metadata(tmp_path / "t")


@pytest.mark.parametrize("metadata", [None, {}, {"format": "np", "checksum": "mine"}])
def test_we_read_the_references(tmp_path, metadata):
    tensors = every_dtype()
    safetensors.numpy.save_file(tensors, tmp_path / "t", metadata)
    found, found_metadata = read_tensors(tmp_path / "t")
    assert same(found, tensors)
    assert found_metadata == (metadata or {})


def test_every_array_lies_at_a_multiple_of_its_item_size(tmp_path):
    save_tensors(tmp_path / "t", every_dtype(), {"odd": "xyz"})
    raw = (tmp_path / "t").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__")
    for name, entry in header.items():
        assert entry["data_offsets"][0] % np.dtype(name.split()[0]).itemsize == 0


def test_a_header_in_any_order_and_without_padding_is_read(tmp_path):
    header = {
        "late": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]},
        "nothing": {"dtype": "F64", "shape": [0], "data_offsets": [1, 1]},
        "early": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
    }
    write_raw(tmp_path / "t", header, b"\x01\x02\x03")
    found, metadata = read_tensors(tmp_path / "t")
    assert found["early"].tolist() == [1]
    assert found["late"].tolist() == [2, 3]
    assert metadata == {}


# --- what cannot be saved is refused, and the file before it stays ----------------


@pytest.mark.parametrize(
    ("tensors", "metadata", "reason"),
    [
        ({"a": np.zeros(2, np.complex128)}, {}, "complex128"),
        ({"a": np.array(["text"])}, {}, "cannot be stored"),
        ({"a": np.array([None])}, {}, "object"),
        ({"__metadata__": np.zeros(2)}, {}, "another name"),
        ({"\ud800": np.zeros(2)}, {}, "surrogates"),
        ({}, {"epoch": 3}, "must be a str"),
        ({}, {"notes": "x" * 200_000}, "shorten the metadata"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path, tensors, metadata, reason):
    (tmp_path / "t").write_bytes(b"old")
    with pytest.raises(ValueError, match=reason):
        save_tensors(tmp_path / "t", tensors, metadata)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path, value):
    model = small_model()
    model.arrays["bias"][1] = value
    with pytest.raises(ValueError, match="bias holds NaN or infinity"):
        save_weights(tmp_path / "t", model, {})
    assert not (tmp_path / "t").exists()
    save_tensors(tmp_path / "t", model.state(), {})
    with pytest.raises(TensorFileError, match="bias holds NaN or infinity"):
        load_weights(tmp_path / "t", zero_model())
    assert same(read_tensors(tmp_path / "t")[0], model.state())


@pytest.fixture
def saved(tmp_path):
    """Return a good file and its bytes; it is alone in its folder."""
    save_weights(tmp_path / "weights", small_model(1), {})
    return tmp_path / "weights", (tmp_path / "weights").read_bytes()


def test_a_full_disk_is_said_with_the_path_the_user_gave(saved, monkeypatch):
    path, before = saved

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left .* nothing was saved") as caught:
        save_weights(path, small_model(2), {})
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert [p.read_bytes() for p in path.parent.iterdir()] == [before]


def test_a_missing_folder_is_the_usual_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing was saved"):
        save_weights(tmp_path / "nowhere" / "weights", small_model(), {})


# --- damage is seen ---------------------------------------------------------------


def test_a_flipped_bit_is_seen(saved):
    path, good = saved
    for position in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[position] ^= 1 << bit
            path.write_bytes(bad)
            model = zero_model()
            with pytest.raises(TensorFileError, match="weights"):
                load_weights(path, model)
            assert same(model.state(), zero_model().state())


def test_a_file_cut_short_or_continued_is_seen(saved):
    path, good = saved
    for bad in [*(good[:n] for n in range(len(good))), good + b"\0", good + good]:
        path.write_bytes(bad)
        with pytest.raises(TensorFileError):
            load_weights(path, zero_model())
        with pytest.raises(TensorFileError):
            read_tensors(path)


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


HUGE = 2**63
BAD_HEADERS = {
    "an array": ([], "one JSON object"),
    "a number": (b"12345678", "one JSON object"),
    "leading space": (b' {"a": 1}', "one JSON object"),
    "byte order mark": (b'\xef\xbb\xbf{"a": 1}', "one JSON object"),
    "padded with newline": (b"{}\n", "one JSON object"),
    "no JSON": (b"{nonsense}", "not JSON"),
    "two objects": (b"{} {}", "not JSON"),
    "a control character": (b'{"a\x00": 1}', "not JSON"),
    "no UTF-8": (b'{"\xff": 1}', "UTF-8"),
    "too many digits": (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
    "nested lists": (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested"),
    "nested objects": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested"),
    "surrogate in name": (b'{"\\ud800": 1}', "surrogate"),
    "surrogate in metadata": (b'{"__metadata__": {"a": "\\udc00"}}', "surrogate"),
    "duplicate array": (b'{"a": 1, "b": 1, "a": 1}', "duplicate key 'a'"),
    "duplicate metadata": (b'{"__metadata__": {"b": "", "b": ""}}', "duplicate"),
    "duplicate dtype": (b'{"a": {"dtype": "F32", "dtype": "F32"}}', "duplicate"),
    "metadata twice": (b'{"__metadata__": {}, "__metadata__": {}}', "duplicate"),
    "metadata null": ({"__metadata__": None}, "__metadata__"),
    "metadata list": ({"__metadata__": []}, "__metadata__"),
    "metadata number": ({"__metadata__": {"epoch": 3}}, "__metadata__"),
    "entry null": ({"a": None}, "exactly"),
    "entry without shape": ({"a": {"dtype": "U8", "data_offsets": [0, 8]}}, "exactly"),
    "entry with more": ({"a": {**entry(), "stride": 1}}, "exactly"),
    "dtype BF16": ({"a": entry("BF16", [4])}, "'BF16'.*not readable here"),
    "dtype F8": ({"a": entry("F8_E4M3", [8])}, "'F8_E4M3'.*not readable here"),
    "dtype in lower case": ({"a": entry("f32")}, "not readable here"),
    "dtype no string": ({"a": {**entry(), "dtype": ["F32"]}}, "dtype"),
    "shape no list": ({"a": {**entry(), "shape": 2}}, "shape"),
    "shape true": ({"a": entry("F64", [True])}, "shape"),
    "shape float": ({"a": entry(shape=[2.0])}, "shape"),
    "shape NaN": ({"a": entry(shape=[math.nan])}, "shape"),
    "shape infinity": ({"a": entry(shape=[math.inf])}, "shape"),
    "shape string": ({"a": entry(shape=["2"])}, "shape"),
    "shape negative": ({"a": entry(shape=[-1, -2])}, "shape"),
    "shape huge": ({"a": entry(shape=[HUGE])}, "shape"),
    "shape product huge": ({"a": entry(shape=[2**40, 2**40])}, "shape"),
    "shape huge but empty": ({"a": entry("U8", [2**40, 2**40, 0], [0, 0])}, "shape"),
    "shape wraps to 8 bytes": ({"a": entry("U8", [2**61 + 1, 8])}, "shape"),
    "too many dimensions": ({"a": entry(shape=[1] * 64 + [2])}, "at most 64"),
    "offsets no list": ({"a": {**entry(), "data_offsets": "0"}}, "data_offsets"),
    "offsets of three": ({"a": entry(offsets=[0, 4, 8])}, "data_offsets"),
    "offsets of one": ({"a": entry(offsets=[8])}, "data_offsets"),
    "offset false": ({"a": entry(offsets=[False, 8])}, "data_offsets"),
    "offset float": ({"a": entry(offsets=[0, 8.0])}, "data_offsets"),
    "offset negative": ({"a": entry(offsets=[-8, 0])}, "data_offsets"),
    "offset huge": ({"a": entry(offsets=[HUGE, HUGE + 8])}, "data_offsets"),
    "offsets swapped": ({"a": entry(offsets=[8, 0])}, "need 8 bytes"),
    "extent too small": ({"a": entry(offsets=[0, 4])}, "need 8 bytes"),
    "extent too large": ({"a": entry(shape=[1])}, "need 4 bytes"),
    "dtype too wide": ({"a": entry("F64")}, "need 16 bytes"),
    "gap before": ({"a": entry(shape=[1], offsets=[4, 8])}, "gap"),
    "gap between": (
        {"a": entry("U8", [2], [0, 2]), "b": entry("U8", [5], [3, 8])},
        "gap",
    ),
    "overlap": ({"a": entry("U8", [5], [0, 5]), "b": entry("U8", [4], [4, 8])}, "lap"),
    "the same bytes twice": ({"a": entry(), "b": entry()}, "overlap"),
    "data too long": ({"a": entry(shape=[1], offsets=[0, 4])}, "appended"),
    "data too short": ({"a": entry(shape=[4], offsets=[0, 16])}, "cut short"),
    "BOOL of 2": ({"a": entry("BOOL", [8])}, "BOOL"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_a_bad_header_is_refused_with_its_reason(tmp_path, case):
    header, reason = BAD_HEADERS[case]
    path = tmp_path / "weights"
    write_raw(path, header, b"\x02" * 8)
    with pytest.raises(TensorFileError, match=reason) as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 400


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x08\0\0\0\0\0\0",
        bytes(8),
        b"\x01" + bytes(7) + b"{",
        b"\x03" + bytes(7) + b"{}",
        b"\xff" * 8 + b"{}",
        b"PK\x03\x04 any other kind of file",
    ],
)
def test_a_header_length_out_of_bounds_is_refused(tmp_path, raw):
    (tmp_path / "t").write_bytes(raw)
    for read in (read_tensors, read_metadata):
        with pytest.raises(TensorFileError, match="header length"):
            read(tmp_path / "t")


def test_the_header_ceiling_holds_even_where_the_file_is_longer(tmp_path):
    length = 100_000_001
    with (tmp_path / "sparse").open("wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(8 + length)
    with pytest.raises(TensorFileError, match="from 2 to 100000000"):
        read_tensors(tmp_path / "sparse")


def test_a_header_longer_than_ours_ever_are_is_foreign_to_load_weights(tmp_path):
    write_raw(tmp_path / "t", {"__metadata__": {"a": "x" * 200_000}})
    assert read_tensors(tmp_path / "t")[0] == {}
    for read in (
        lambda: load_weights(tmp_path / "t", Model()),
        lambda: read_tensors(tmp_path / "t", require_checksum=True),
    ):
        with pytest.raises(TensorFileError, match="from 2 to 131072"):
            read()


def test_weights_without_our_checksum_are_refused(tmp_path):
    safetensors.numpy.save_file(small_model().state(), tmp_path / "t")
    with pytest.raises(TensorFileError, match="no checksum"):
        load_weights(tmp_path / "t", zero_model())
    with pytest.raises(TensorFileError, match="no checksum"):
        read_tensors(tmp_path / "t", require_checksum=True)


def test_a_checksum_of_another_file_is_wrong(saved):
    path, good = saved
    checksum = read_metadata(path)["checksum"].encode()
    path.write_bytes(good.replace(checksum, checksum[::-1]))
    with pytest.raises(TensorFileError, match="checksum is wrong"):
        load_weights(path, zero_model())
    assert read_metadata(path)["checksum"].encode() == checksum[::-1]


# --- another model is seen, before memory is taken --------------------------------


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Model(weight=np.zeros((3, 2), "f4")), "'bias' is float32 .* absent in the m"),
        (
            Model(**zero_model().arrays, extra=np.zeros(1)),
            "'extra' is absent in the file",
        ),
        (
            Model(weight=np.zeros((2, 3), "f4"), bias=np.zeros(2, "f4")),
            r"\(3, 2\) in the file and float32 \(2, 3\) in the model",
        ),
        (
            Model(weight=np.zeros((3, 2), "f8"), bias=np.zeros(2, "f8")),
            "float32 .* and float64",
        ),
    ],
)
def test_a_file_of_another_model_is_refused(saved, model, reason):
    path, _ = saved
    with pytest.raises(TensorFileError, match=reason):
        load_weights(path, model)
    assert all((array == 0).all() for array in model.arrays.values())


def test_a_file_of_another_model_takes_no_memory(tmp_path):
    save_tensors(tmp_path / "t", {"weight": np.zeros(4_000_000, np.float32)}, {})
    tracemalloc.start()
    try:
        with pytest.raises(TensorFileError, match="in the model"):
            load_weights(tmp_path / "t", small_model())
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


def test_a_promise_of_ten_terabytes_takes_no_memory(tmp_path):
    size = 10**13
    write_raw(tmp_path / "t", {"a": entry("U8", [size], [0, size])}, b"tiny")
    tracemalloc.start()
    try:
        with pytest.raises(TensorFileError, match="cut short"):
            read_tensors(tmp_path / "t")
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


# --- errors travel ----------------------------------------------------------------


def test_a_missing_file_is_the_usual_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path / "nothing", zero_model())


def test_the_error_survives_the_way_from_another_process(tmp_path):
    (tmp_path / "t").write_bytes(b"")
    with pytest.raises(TensorFileError) as caught:
        read_metadata(tmp_path / "t")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path):
        with pytest.raises(TensorFileError, match="no regular file"):
            read_metadata(place)
