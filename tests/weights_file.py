"""Any arrays and facts in a weights file, without a model."""

from types import SimpleNamespace

from safetensors.numpy import load_file

from tinycnn.nn.weights import read_facts, save_weights


def read_arrays(path):
    return load_file(path), read_facts(path)


def save_arrays(path, arrays, facts):
    save_weights(path, SimpleNamespace(state=lambda: arrays), facts)
