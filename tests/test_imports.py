"""What is loaded when, and where a package may be put.

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
HEAVY = ("numpy", "numba", "scipy", "PIL", "tqdm", "tkinter")


def run(code, *argv, folder=None, **environment):
    """Run Python code in a new process and return its stdout.

    An environment variable that is None is removed.
    """
    variables = {**os.environ, "PYTHONWARNINGS": "error", **environment}
    ended = subprocess.run(
        [sys.executable, "-c", code, *argv],
        capture_output=True,
        text=True,
        timeout=180,
        cwd=folder,
        env={name: value for name, value in variables.items() if value is not None},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def modules_after(code, *argv):
    """Return the full names of the modules that code loads."""
    out = run(f"import sys\n{code}\nprint('LOADED', *sys.modules)", *argv)
    return set(out.rsplit("LOADED", 1)[1].split())


def loaded_after(code, *argv):
    """Return the names of the packages that code loads."""
    return {name.partition(".")[0] for name in modules_after(code, *argv)}


def science_in(modules):
    """Return which parts of SciPy are among modules."""
    return {name for name in modules if name.partition(".")[0] == "scipy"}


# Ends the process at once if a socket is as much as made.
NO_SOCKET = """
import os, sys
def watch(event, arguments):
    if event.startswith("socket."):
        sys.stderr.write(f"socket: {event} {arguments}")
        os._exit(9)
sys.addaudithook(watch)
"""


def test_the_watch_over_sockets_sees_one():
    with pytest.raises(AssertionError, match=r"socket: socket\.__new__"):
        run(f"{NO_SOCKET}\nimport socket\nsocket.socket()")


def test_the_package_loads_nothing_heavy():
    assert not loaded_after("import tinycnn") & {*HEAVY, "socket", "ssl", "json"}


COMMANDS = {
    name: f"runpy.run_module('tinycnn.{name}', run_name='__main__')"
    for name in ("train", "train_judge", "evaluate", "recognize", "gradcheck")
}
DRAW = PACKAGE.parent / "apps" / "draw.py"
COMMANDS["draw"] = f"runpy.run_path({str(DRAW)!r}, run_name='__main__')"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_heavy(command):
    code = (
        "import runpy\n"
        f"sys.argv = ['tinycnn.{command}', '--help']\n"
        "try:\n"
        f"    {COMMANDS[command]}\n"
        "except SystemExit as error:\n"
        "    assert error.code == 0\n"
        "else:\n"
        "    raise AssertionError('it did not exit')"
    )
    assert not loaded_after(code) & {*HEAVY, "socket", "ssl"}


def test_a_wrong_flag_is_refused_before_anything_heavy_is_loaded():
    code = (
        "from tinycnn import train\n"
        "try:\n"
        "    train.main(['--epochs=none'])\n"
        "except SystemExit as error:\n"
        "    assert error.code == 2"
    )
    assert not loaded_after(code) & {*HEAVY}


@pytest.fixture(scope="module")
def numbas_own():
    """Return the parts of SciPy that Numba loads by itself when it compiles."""
    code = "import numba\nassert numba.njit(lambda x: x + 1)(1) == 2"
    return science_in(modules_after(code))


def test_the_mathematics_knows_no_window_no_science_and_no_network(numbas_own):
    modules = modules_after(f"{NO_SOCKET}\nimport tinycnn.nn")
    assert not modules & {"tkinter", "PIL"}
    assert science_in(modules) <= numbas_own


def test_reading_the_data_opens_no_socket_when_offline(tmp_path):
    code = (
        f"{NO_SOCKET}\nfrom tinycnn.data import load_mnist\n"
        "assert load_mnist(report=lambda line: None).source in ('mnist', 'sample')"
    )
    run(code, TINYCNN_OFFLINE="1", TINYCNN_DATA=None, XDG_CACHE_HOME=str(tmp_path))


def test_training_loads_no_science_and_no_window_and_opens_no_socket(
    tmp_path, numbas_own
):
    code = (
        f"{NO_SOCKET}\n"
        "os.environ['TINYCNN_OFFLINE'] = '1'\n"
        "from tinycnn import train\n"
        "argv = ['--limit', '20', '--epochs', '1', '--out', sys.argv[1]]\n"
        "assert train.main(argv) == 0"
    )
    modules = modules_after(code, str(tmp_path / "run"))
    assert {"numpy", "numba", "tinycnn.training.fit"} <= modules
    assert "tkinter" not in modules
    assert science_in(modules) <= numbas_own


def test_reading_needs_no_window_no_training_and_no_socket(tmp_path):
    code = (
        f"{NO_SOCKET}\n"
        "from tinycnn import recognize\n"
        "assert recognize.main([sys.argv[1], '--annotate', sys.argv[2]]) == 0"
    )
    file = tmp_path / "one.json"
    file.write_text('{"strokes": [[[50, 20], [50, 80]]], "size": [100, 100]}')
    modules = modules_after(code, str(file), str(tmp_path / "copies"))
    assert {"tinycnn.reading.reader", "PIL"} <= modules
    assert not modules & {"tkinter", "tinycnn.training"}


def test_the_windows_own_process_loads_nothing_that_compiles():
    pytest.importorskip("tkinter")
    modules = modules_after("import tinycnn.draw, tinycnn.window.view")
    packages = {name.partition(".")[0] for name in modules}
    assert not packages & {"numba", "llvmlite", "scipy", "tqdm"}
    assert not modules & {"tinycnn.nn", "tinycnn.models", "tinycnn.reading.reader"}


def test_a_reading_is_understood_without_what_made_it():
    """The window unpickles it."""
    code = "import tinycnn.reading.result, tinycnn.window.messages"
    packages = {name.partition(".")[0] for name in modules_after(code)}
    assert not packages & {"numba", "llvmlite", "scipy", "tkinter"}


def test_a_kernel_runs_where_no_code_can_be_cached_and_there_is_no_home(tmp_path):
    """As on a read-only install: a folder below a file can be made by nobody."""
    copy = tmp_path / "install" / "tinycnn"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "__pycache__").write_text("where Numba would put its code, there is a file")
    (copy / "nn" / "__pycache__").write_text("")
    (tmp_path / "file").write_text("")
    code = (
        "import os\n"
        "import tinycnn.nn\n"
        "from tinycnn.nn import kernels\n"
        "assert tinycnn.__file__.startswith(os.getcwd()), tinycnn.__file__\n"
        "assert kernels.hashed_bits(1, 1000).std() > 1e9\n"
        "cache = type(kernels.hashed_bits._cache).__name__\n"
        "assert cache == 'NullCache', cache"
    )
    run(
        code,
        folder=copy.parent,
        HOME=None,
        PYTHONDONTWRITEBYTECODE="1",
        XDG_CACHE_HOME=str(tmp_path / "file" / "below"),
        NUMBA_CACHE_DIR=str(tmp_path / "file" / "below"),
    )
    assert not list(copy.rglob("*.nbi"))


def test_the_commands_help_needs_no_home(tmp_path):
    code = (
        "from tinycnn import train\n"
        "try:\n"
        "    train.main(['--help'])\n"
        "except SystemExit as error:\n"
        "    assert error.code == 0"
    )
    out = run(code, folder=tmp_path, HOME=None, XDG_CACHE_HOME=None)
    assert "--resume" in out
    assert list(tmp_path.iterdir()) == []
