"""A network's arrays and facts in one safetensors file.

The metadata of the file has one key, `tinycnn`, with the facts as sorted JSON: with
several keys their order differs from run to run (safetensors#584), with one the same
input gives the same bytes. `checksum`, one of the facts, is the SHA-256 of the others
and of all names, dtypes, shapes and bytes. It detects damage and is no signature.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tinycnn.files import write_atomically
from tinycnn.nn.layers import Array

Facts = dict[str, Any]  # of JSON values

# All that safetensors, json and NumPy raise for damage and for unknown dtypes.
_DAMAGE = (SafetensorError, ValueError, TypeError, AttributeError, RecursionError)
_to_json = json.JSONEncoder(allow_nan=False, ensure_ascii=False, sort_keys=True).encode


class WeightsError(ValueError):
    """A file cannot be used; the message names it, the reason and the remedy."""


class Stateful(Protocol):
    """A model, or anything else with arrays to save. `texts` are optional."""

    def state(self) -> dict[str, Array]:
        """Return the live arrays by name: writing into one changes the model."""


def save_weights(path: str | Path, model: Stateful, facts: Facts) -> None:
    """Save a model's arrays and facts about it (`tinycnn.files.write_atomically`).

    Parameters
    ----------
    path : str or Path
    model : Stateful
        Its arrays may have any shape and memory order, and dtypes bool, integers,
        floats of at most 64 bits, or complex64.
    facts : dict of str to JSON values
        Two are added: `checksum` and, if the model has `texts`, those as `layers`.

    Raises
    ------
    ValueError, TypeError
        If a value is NaN or infinite, or a dtype, a name or a fact cannot be stored.
    OSError
        If the file cannot be written. With any error the old file stays as it was.
    """
    if hasattr(model, "texts"):
        facts = facts | {"layers": list(model.texts)}
    # The library writes memory as it lies: any order but C would be lost.
    ordered = {
        name: np.asarray(array, array.dtype.newbyteorder("<"), order="C")
        for name, array in model.state().items()
    }
    try:
        facts = facts | {"checksum": _checksum(ordered, facts)}
        content = save(ordered, {"tinycnn": _to_json(facts)})
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} was not written: {error}") from error
    write_atomically(path, [content])


def load_weights(path: str | Path, model: Stateful) -> Facts:
    """Copy a file's arrays into a model: all of them, or none if anything is wrong.

    Layers (if the file and the model have them), names, shapes and dtypes must be the
    model's own. Names and shapes are compared before memory is taken for the arrays.
    The file's facts are returned.

    Raises
    ------
    WeightsError
        If the file is damaged, of another version, or of another model.
    OSError
        If the file cannot be opened or read.
    """
    state = model.state()
    with _opened(path) as (file, facts):
        if hasattr(model, "texts") and "layers" in facts:
            saved, own = dict(enumerate(facts["layers"])), dict(enumerate(model.texts))
            _compare("layer", saved, own)
        shapes = {n: tuple(file.get_slice(n).get_shape()) for n in sorted(file.keys())}
        _compare("the shape of", shapes, {n: a.shape for n, a in state.items()})
        arrays = {name: file.get_tensor(name) for name in shapes}
        if _checksum(arrays, facts) != facts.get("checksum"):
            raise ValueError("its checksum is wrong, it was changed or damaged")
        dtypes = {n: a.dtype for n, a in arrays.items()}
        _compare("the dtype of", dtypes, {n: a.dtype for n, a in state.items()})
    for name, array in state.items():
        array[...] = arrays[name]
    return facts


def read_facts(path: str | Path) -> Facts:
    """Return the facts; reads the header only. Errors as of `load_weights`."""
    with _opened(path) as (_, facts):
        return facts


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, Facts]]:
    """Open a file and parse its facts; name the file in whatever is wrong with it."""
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe could wait
            raise ValueError("it is not a regular file")
        with safe_open(path, "numpy") as file:
            text = (file.metadata() or {}).get("tinycnn", "null")
            facts = json.loads(text)
            # The comparison also rejects NaN, 1e999 and duplicate keys.
            if not isinstance(facts, dict) or _to_json(facts) != text:
                raise ValueError("an older version or another program saved it")
            yield file, facts
    except _DAMAGE as error:
        reason = "".join(c if c.isprintable() else "?" for c in str(error))
        raise WeightsError(
            f"cannot use {path}: {reason:.300}; name a file that this version saved, "
            "of the same network, or train again"
        ) from error


def _checksum(arrays: Mapping[str, Array], facts: Facts) -> str:
    """Return the SHA-256 of arrays, which must be finite, and of the other facts."""
    others = {name: fact for name, fact in facts.items() if name != "checksum"}
    digest = hashlib.sha256(_to_json(others).encode())
    for name, array in sorted(arrays.items()):
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity")
        digest.update(_to_json([name, array.dtype.name, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _compare(what: str, saved: Mapping[Any, Any], own: Mapping[Any, Any]) -> None:
    """Refuse a file at the first difference from the model."""
    for name in [*own, *saved]:
        found, wanted = saved.get(name, "absent"), own.get(name, "absent")
        if found != wanted:
            raise ValueError(f"{what} {name} is {found} here, {wanted} in the network")
