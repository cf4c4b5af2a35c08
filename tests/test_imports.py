"""What is loaded when, and where the package may be installed.

Each law is held in a process of its own, because here everything is loaded already.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tinycnn

PACKAGE = Path(tinycnn.__file__).parent
COMPILED = {"numba", "llvmlite", "scipy"}
PLOTS = {"matplotlib", "jinja2"}  # the report's
HEAVY = {*COMPILED, *PLOTS, "numpy", "PIL", "tqdm", "tkinter", "socket", "ssl"}
FILES = sorted(PACKAGE.glob("*.py"))
COMMANDS = [file.stem for file in FILES if "\ndef main(" in file.read_text("utf-8")]
COMMANDS += [file.parent.name for file in PACKAGE.glob("*/__main__.py")]
# Ends the process at once if a socket is as much as made.
NO_SOCKET = """
import os
def watch(event, arguments):
    if event.startswith("socket."):
        sys.stderr.write(f"socket: {event} {arguments}")
        os._exit(9)
sys.addaudithook(watch)
"""


def loaded(code, *argv, ends=0, folder=None, **environment):
    """Run Python code in a new process and return the modules and packages it loads.

    An environment variable that is None is removed.
    """
    first = "import atexit, sys\natexit.register(lambda: print('LOADED', *sys.modules))"
    variables = {**os.environ, "PYTHONWARNINGS": "error", **environment}
    ended = subprocess.run(
        [sys.executable, "-c", f"{first}\n{code}", *argv],
        capture_output=True,
        text=True,
        timeout=180,
        cwd=folder,
        env={name: value for name, value in variables.items() if value is not None},
    )
    assert ended.returncode == ends, ended.stderr
    modules = ended.stdout.rsplit("LOADED", 1)[1].split()
    return {*modules, *(name.partition(".")[0] for name in modules)}


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("tinycnn", {*HEAVY, "json"}),
        ("tinycnn.nn", {"tkinter", "PIL", "scipy.ndimage"}),
        ("tinycnn.draw, tinycnn.window.view", {*COMPILED, "tqdm"}),  # its own process
        ("tinycnn.window.worker, tinycnn.window.session", {*COMPILED, "tkinter"}),
    ],
)
def test_an_import_loads_no_more_than_it_needs_and_changes_no_setting(
    modules, forbidden
):
    if "view" in modules:
        pytest.importorskip("tkinter")
    code = f"import os\nbefore = dict(os.environ)\nimport {modules}\n"
    code += "assert dict(os.environ) == before"
    unset = [name for name in os.environ if "OMP_" in name or "NUMBA_" in name]
    assert not loaded(code, **dict.fromkeys(unset)) & forbidden


@pytest.mark.parametrize(
    ("command", "argument", "ends"),
    [*((name, "--help", 0) for name in COMMANDS), ("train", "--epochs=none", 2)],
)
def test_help_and_refusals_load_nothing_heavy_and_need_no_home(
    command, argument, ends, tmp_path
):
    code = f"from tinycnn.{command} import main\nmain(sys.argv[1:])"
    places = {"HOME": None, "XDG_CACHE_HOME": None}
    assert not loaded(code, argument, ends=ends, folder=tmp_path, **places) & HEAVY
    assert list(tmp_path.iterdir()) == []


def test_training_and_reading_offline_open_no_socket_and_no_window(tmp_path):
    with pytest.raises(AssertionError, match=r"socket: socket\.__new__"):
        loaded(f"{NO_SOCKET}\nimport socket\nsocket.socket()")
    code = (
        f"{NO_SOCKET}\nfrom tinycnn import recognize, train\n"
        "assert train.main(['--limit=20', '--epochs=1', '--out=run']) == 0\n"
        "assert recognize.main(['one.json', '--annotate=copies']) == 0\n"
    )
    one = '{"strokes": [[[50, 20], [50, 80]]], "size": [100, 100]}'
    (tmp_path / "one.json").write_text(one)
    places = {"TINYCNN_DATA": None, "XDG_CACHE_HOME": str(tmp_path)}
    all_loaded = loaded(code, folder=tmp_path, TINYCNN_OFFLINE="1", **places)
    assert not all_loaded & {*PLOTS, "tkinter"}


def test_a_kernel_runs_where_no_code_can_be_cached_and_there_is_no_home(tmp_path):
    """As on a read-only install: below a file no folder can be made."""
    copy = tmp_path / "install" / "tinycnn"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (copy, copy / "nn", copy / "fast"):
        (folder / "__pycache__").write_text("a file where a folder would be made")
    code = (
        "import os, numpy, tinycnn.nn\n"
        "assert tinycnn.__file__.startswith(os.getcwd()), tinycnn.__file__\n"
        "x = numpy.arange(16.0).reshape(1, 4, 4, 1)\n"
        "assert tinycnn.nn.MaxPool2D(2).forward(x).ravel().tolist() == [5, 7, 13, 15]"
    )
    nowhere = str(copy / "__pycache__" / "below")
    places = {"XDG_CACHE_HOME": nowhere, "NUMBA_CACHE_DIR": nowhere, "HOME": None}
    loaded(code, folder=copy.parent, PYTHONDONTWRITEBYTECODE="1", **places)
    assert not list(copy.rglob("*.nbi"))
