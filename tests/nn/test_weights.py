"""The laws of `tinycnn.nn.weights`: what is saved comes back, what is damaged is seen.

How a file is replaced in one step is the law of `test_files.py`.
"""

import hashlib
import json
import math
import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from weights_file import read_arrays, save_arrays

from tinycnn.nn.weights import WeightsError, load_weights, read_facts, save_weights

FACTS = {"größe": 'a "b"\n', "seed": 0, "val_accuracy": 0.9966, "views": [1, None]}


class Model:
    """The least that can be saved: named live arrays."""

    def __init__(self, **arrays):
        self.arrays = arrays

    def state(self):
        return self.arrays


def zero_model(*layers):
    model = Model(weight=np.zeros((3, 2), np.float32), bias=np.zeros(2, np.float32))
    if layers:
        model.texts = layers
    return model


def small_model():
    random = np.random.default_rng(0).random
    return Model(weight=random((3, 2), "f4"), bias=random(2, "f4"))


def every_dtype():
    rng = np.random.default_rng(0)
    return {
        f"{dtype} {shape}": rng.integers(0, 2, size=shape).astype(dtype)
        for dtype in "?bBhHiIqQefdF"  # NumPy's codes, bool to complex64
        for shape in [(), (0,), (3,), (2, 0, 3), (2, 3, 5)]
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], strict=True)


def assert_refused(path, model, reason):
    before = {name: array.copy() for name, array in model.state().items()}
    with pytest.raises(WeightsError, match=reason) as caught:
        load_weights(path, model)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 450
    assert str(caught.value).isprintable()
    assert_same(model.state(), before)


def write(path, arrays, text):
    """Write a file whose facts are this text, with the reference library alone."""
    path.write_bytes(safetensors.numpy.save(arrays, {"tinycnn": text}))


def sealed(arrays, facts):
    """Return the text of facts with the checksum that the docstring describes."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(arrays):
        head = [name, arrays[name].dtype.name, list(arrays[name].shape)]
        digest.update(json.dumps(head).encode() + arrays[name].tobytes())
    return json.dumps({**facts, "checksum": digest.hexdigest()}, sort_keys=True)


@pytest.fixture
def saved(tmp_path):
    """Return a good file and its bytes; it is alone in its folder."""
    save_weights(tmp_path / "weights", small_model(), {})
    return tmp_path / "weights", (tmp_path / "weights").read_bytes()


def test_arrays_of_every_dtype_and_shape_and_facts_come_back(tmp_path):
    save_arrays(tmp_path / "t", every_dtype(), FACTS)
    found, facts = read_arrays(tmp_path / "t")
    assert_same(found, every_dtype())
    model = Model(**{name: np.ones_like(a) for name, a in every_dtype().items()})
    assert load_weights(tmp_path / "t", model) == facts
    assert_same(model.state(), every_dtype())
    save_arrays(tmp_path / "again", found, facts)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "t").read_bytes()
    assert facts == FACTS | {"checksum": facts["checksum"]}


def test_any_memory_order_and_byte_order_is_saved_as_its_values(tmp_path):
    grid = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {
        "fortran": np.asfortranarray(grid),
        "strided": grid[:, ::2, ::-1],
        "transposed": grid.T,
        "big-endian": grid.astype(">f4"),
        "a long integer": np.arange(3, dtype=np.longlong),
        "broadcast": np.broadcast_to(np.float32(7), (2, 2)),
    }
    save_arrays(tmp_path / "t", arrays, {})
    found, _ = read_arrays(tmp_path / "t")
    arrays["big-endian"] = grid
    assert_same(found, arrays)


def test_loading_writes_into_the_live_arrays(tmp_path):
    source, model = small_model(), zero_model()
    live = model.arrays["weight"]
    save_weights(str(tmp_path / "t"), source, FACTS)
    facts = load_weights(str(tmp_path / "t"), model)
    assert model.arrays["weight"] is live
    assert_same(model.state(), source.state())
    assert facts == read_facts(tmp_path / "t")


def test_the_same_input_gives_the_same_bytes_in_every_process(tmp_path):
    code = (
        "import sys, numpy as np; from weights_file import save_arrays\n"
        "names = sorted('dbac', key=hash)\n"  # another order in each process
        "facts = {name: {'seed': 1, name: name} for name in names}\n"
        "save_arrays(sys.argv[1], {n: np.full(3, ord(n)) for n in names}, facts)\n"
    )
    for seed in ("1", "2", "3"):
        subprocess.run(
            [sys.executable, "-c", code, tmp_path / seed],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[1],
            check=True,
        )
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_the_metadata_is_one_key_with_sorted_json_and_the_documented_checksum(tmp_path):
    facts = {"b": 1, "a": {"d": 0.5, "c": None}}
    save_arrays(tmp_path / "t", small_model().state(), facts)
    with safetensors.safe_open(tmp_path / "t", framework="numpy") as file:
        assert file.metadata() == {"tinycnn": sealed(small_model().state(), facts)}


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUE = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda value: st.lists(value) | st.dictionaries(TEXT, value),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(names=st.sets(TEXT, max_size=5), facts=st.dictionaries(TEXT, VALUE, max_size=5))
def test_any_text_and_any_json_come_back(tmp_path_factory, names, facts):
    path = tmp_path_factory.getbasetemp() / "any text"
    arrays = {name: np.float32([i]) for i, name in enumerate(sorted(names))}
    save_arrays(path, arrays, facts)
    found, found_facts = read_arrays(path)
    assert_same(found, arrays)
    assert found_facts == facts | {"checksum": found_facts["checksum"]}


def test_what_cannot_be_read_back_is_not_written(saved):
    path, good = saved
    zeros = {"a": np.zeros(2)}
    for arrays, facts, reason in [
        ({"a": np.zeros(2, np.complex128)}, {}, "complex128"),
        ({"a": np.array([None])}, {}, "object"),
        ({"\ud800": np.zeros(2)}, {}, "surrogates"),
        (zeros, {"name": "\ud800"}, "surrogates"),
        ({"a": np.array([1, math.nan])}, {}, "a holds NaN or infinity"),
        ({"a": np.array(-math.inf, np.float16)}, {}, "a holds NaN or infinity"),
        ({"a": np.array([1j * math.inf], "c8")}, {}, "a holds NaN or infinity"),
        (zeros, {"nll": math.nan}, "not JSON compliant"),
        (zeros, {"figures": [{"nll": math.inf}]}, "not JSON compliant"),
    ]:
        with pytest.raises(ValueError, match=reason) as caught:
            save_weights(path, Model(**arrays), facts)
        assert str(path) in str(caught.value)
    with pytest.raises(TypeError, match="float32 is not JSON serializable"):
        save_weights(path, Model(), {"accuracy": np.float32(0.5)})
    assert [p.read_bytes() for p in path.parent.iterdir()] == [good]


def test_a_flipped_bit_a_missing_end_and_more_bytes_are_seen(saved):
    path, good = saved
    bits, length = int.from_bytes(good, "little"), len(good)
    flipped = [(bits ^ 1 << n).to_bytes(length, "little") for n in range(8 * length)]
    for bad in [*flipped, *(good[:n] for n in range(length)), good + b"\0", good * 2]:
        path.write_bytes(bad)
        assert_refused(path, zero_model(), "train again")


def test_what_the_header_promises_must_be_there(tmp_path):
    path, model = tmp_path / "weights", Model(a=np.zeros(2, np.float32))
    for dtype, shape, offsets in [
        ("F32", [2], [4, 12]),
        ("F32", [2.0], [0, 8]),
        ("F64", [2**62, 0], [0, 0]),
        ("U8", [2**61 + 1, 8], [0, 8]),
        ("U8", [0] * 5000, [0, 0]),
        ("U8", [10**13], [0, 10**13]),
        ("BF16", [4], [0, 8]),
        ("F8_E4M3", [8], [0, 8]),
        ("\x1b[31mF32", [2], [0, 8]),
    ]:
        entry = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        header = json.dumps({"__metadata__": {"tinycnn": "{}"}, "a": entry}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
        assert_refused(path, model, "train again")


def test_facts_must_be_one_object_in_the_one_spelling(tmp_path):
    arrays = zero_model().state()
    good = sealed(arrays, {"seed": 0, "text": "é"}).replace("\\u00e9", "é")
    write(tmp_path / "t", arrays, good)
    assert read_facts(tmp_path / "t")["text"] == "é"
    for bad in [
        *("", "null", '"checksum"', '["checksum"]', good + "x"),
        good.replace(", ", ","),
        good.replace("é", "\\u00e9"),
        good.replace("é", "\\ud800"),
        good.replace("0, ", '0, "seed": 0, '),
        good.replace("0, ", "NaN, "),
        good.replace("0, ", "1e999, "),
        good.replace("0", "9" * 5000),
        "[" * 100_000,
        '{"a": ' * 5000 + "1" + "}" * 5000,
    ]:
        write(tmp_path / "t", arrays, bad)
        assert_refused(tmp_path / "t", zero_model(), "train again")
        with pytest.raises(WeightsError):
            read_facts(tmp_path / "t")


def test_the_checksum_must_be_right_and_every_value_finite(saved):
    path, _ = saved
    arrays, facts = read_arrays(path)
    for checksum in ({}, {"checksum": None}, {"checksum": facts["checksum"][::-1]}):
        write(path, arrays, json.dumps(checksum))
        assert_refused(path, zero_model(), "checksum is wrong")
        assert read_facts(path) == checksum
    for value in (math.nan, math.inf, -math.inf):
        arrays["bias"][1] = value
        write(path, arrays, sealed(arrays, {}))
        assert_refused(path, zero_model(), "bias holds NaN or infinity")


def test_a_file_of_an_older_version_or_another_program_says_to_train_again(tmp_path):
    for metadata in (None, {}, {"architecture": "best", "checksum": "5f1d"}):
        safetensors.numpy.save_file(small_model().state(), tmp_path / "t", metadata)
        assert_refused(tmp_path / "t", zero_model(), "older version.*train again")


def test_a_file_of_another_model_is_refused(saved):
    path, _ = saved
    weight, bias = zero_model().state().values()
    for model, reason in [
        (
            Model(weight=weight),
            r"shape of bias is \(2,\) here, absent in the network",
        ),
        (
            Model(weight=weight, bias=bias, b=bias),
            r"shape of b is absent here, \(2,\)",
        ),
        (Model(weight=weight.T, bias=bias), r"of weight is \(3, 2\) here, \(2, 3\)"),
        (Model(weight=weight, bias=bias.astype(float)), "dtype of bias is float32"),
    ]:
        assert_refused(path, model, reason)


def test_a_file_of_other_layers_is_refused_naming_the_first(tmp_path):
    save_weights(tmp_path / "t", zero_model("Dense()", "ReLU()"), {})
    assert read_facts(tmp_path / "t")["layers"] == ["Dense()", "ReLU()"]
    for layers, reason in [
        (
            ("Dense()", "Tanh()"),
            r"layer 1 is ReLU\(\) here, Tanh\(\) in the network",
        ),
        (("Dense()",), r"layer 1 is ReLU\(\) here, absent in the network"),
        (("Dense()", "ReLU()", "ReLU()"), "layer 2 is absent"),
    ]:
        assert_refused(tmp_path / "t", zero_model(*layers), reason)
    for model in (zero_model("Dense()", "ReLU()"), zero_model()):
        load_weights(tmp_path / "t", model)  # what has no layers takes any
    save_weights(tmp_path / "t", zero_model(), {})
    load_weights(tmp_path / "t", zero_model("Dense()"))
    write(tmp_path / "t", zero_model().state(), '{"layers": null}')
    assert_refused(tmp_path / "t", zero_model("Dense()"), "train again")


def test_a_missing_file_is_the_usual_error_and_a_pipe_is_not_waited_for(tmp_path):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for read in (read_facts, lambda p: load_weights(p, zero_model())):
        with pytest.raises(FileNotFoundError, match="nothing"):
            read(tmp_path / "nothing")
        for path in sorted(tmp_path.iterdir()):
            with pytest.raises(WeightsError, match="not a regular file") as caught:
                read(path)
            # As it comes from another process.
            assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_file_of_another_model_takes_no_memory(tmp_path):
    model = Model(weight=np.zeros(4_000_000, np.float32))
    save_weights(tmp_path / "t", model, {})
    tracemalloc.start()
    assert_refused(tmp_path / "t", small_model(), "in the network")
    refused = tracemalloc.get_traced_memory()[1]
    load_weights(tmp_path / "t", model)
    accepted = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused < 300_000 < 16_000_000 < accepted
