"""The laws of the second process: it leaves what it compiled, once, where it may.

It knows the folder for machine code. What the kernels compute is in `test_kernels`.
"""

import os
import subprocess
import sys

import pytest

KEPT = [
    *(f"kernels.{name}" for name in ("im2col", "col2im", "hashed_bits", "adam")),
    *(f"kernels.{name}" for name in ("max_pool", "max_pool_backward")),
    *("augment._deform", "convolution.backward_of_ink"),
]

STARTED = """
import subprocess
from tinycnn.training import warmup

commands = []

class Process:
    def __init__(self, command, **_):
        commands.append(command)
    def wait(self):
        pass

warmup.subprocess.Popen = Process
warmup.help_compiling("default")
print(len(commands), *(commands[0][1:] if commands else ()))
"""


def run(folder, *command, **environment):
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("warm")
    run(folder, "-m", "tinycnn.training.warmup", "default")
    return folder


def test_what_a_run_needs_later_is_kept(warm):
    for name in KEPT:
        assert list(warm.rglob(f"{name}-*.nbc")), name


def test_where_nothing_is_kept_it_is_started(tmp_path):
    wanted = ["1", "-m", "tinycnn.training.warmup", "default"]
    assert run(tmp_path, "-c", STARTED) == wanted


def test_where_something_is_kept_it_is_not(warm):
    assert run(warm, "-c", STARTED) == ["0"]


def test_where_nothing_is_compiled_it_is_not(tmp_path):
    assert run(tmp_path, "-c", STARTED, NUMBA_DISABLE_JIT="1") == ["0"]
