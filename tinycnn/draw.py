"""Draw digits and see them read: ``python -m tinycnn.draw [PICTURE]``.

The command line of the window: arguments, folders, and errors where no window can be
opened. The window itself is `tinycnn.window.view`.
"""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinycnn._cli import Parser, existing_file, fail, run_command, user_function

if TYPE_CHECKING:
    import tkinter as tk

LARGEST_LOG = 1_000_000  # bytes; a larger log is replaced


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, or the process's arguments.

    Returns 0, or 130 or 143 after a signal; failures leave by `SystemExit`.
    """
    parser = Parser(
        "tinycnn draw",
        "Draw digits and see them read, stroke by stroke. F1 in the window lists all "
        "shortcuts.",
        example="photo.jpg",
        json=False,
    )
    parser.add_argument(
        "picture",
        nargs="?",
        type=existing_file,
        metavar="PICTURE",
        help="a picture or a stroke file to open",
    )
    parser.add_argument(
        "--weights",
        type=existing_file,
        metavar="FILE",
        help="a weights.safetensors of a run; a judge.safetensors in its folder is "
        "used too (default: the weights fine-tuned on your corrections, else the "
        "shipped ones)",
    )
    parser.add_argument(
        "--network",
        type=user_function,
        metavar="FILE.py:NAME",
        help="the file that defines the network of these weights, if it is your own",
    )
    arguments = parser.parse_args(argv)
    root = _root()

    from platformdirs import user_config_path, user_data_path, user_log_path

    from tinycnn.reading import finetuned
    from tinycnn.reading.corrections import Corrections
    from tinycnn.window.messages import Weights, finetuned_weights
    from tinycnn.window.settings import load_settings
    from tinycnn.window.view import Window
    from tinycnn.window.worker import Worker

    log = _open_log(user_log_path("tinycnn"))
    settings_file = user_config_path("tinycnn") / "window.json"
    version = finetuned.latest() if arguments.weights is None else None
    if arguments.weights is None:
        weights = finetuned_weights(version)
    else:
        judge = finetuned.judge_beside(arguments.weights)
        weights = Weights(arguments.weights, judge, arguments.network)
    worker = Worker(weights, fallback=version is not None, log=log)
    window = Window(
        root,
        load_settings(settings_file),
        settings_file,
        worker,
        Corrections(user_data_path("tinycnn") / "corrections"),
        log=log,
        may_reload=arguments.weights is None,
    )
    stopped: list[int] = []

    def stop(signum: int, _: Any) -> None:
        stopped.append(signum)
        window.stop()

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)
    try:
        window.run(arguments.picture)
    finally:
        worker.close()
    if stopped:
        return 128 + stopped[0]
    if window.problem:
        fail(window.problem)
    return 0


def _root() -> "tk.Tk":
    """Return Tk's root window, or fail with the reason and the remedy."""
    try:
        import tkinter as tk
    except ImportError:
        fail(f"this Python has no tkinter; {_tkinter_remedy()}")
    try:
        from PIL import ImageTk  # noqa: F401 - a package of its own on some systems
    except ImportError:
        fail(
            "this Pillow cannot show pictures in a window; install "
            "python3-pil.imagetk, or Pillow with pip"
        )
    if sys.platform == "win32":
        import ctypes

        # Otherwise Windows scales the window up, blurred.
        ctypes.windll.shcore.SetProcessDpiAwareness(1)
    try:
        return tk.Tk(className="tinycnn")
    except tk.TclError as error:
        where = os.environ.get("DISPLAY")
        if sys.platform in ("win32", "darwin"):
            fail(f"no window can be opened ({error}); log in to the desktop first")
        if not where:
            fail(
                "there is no display; start in a desktop session, or over ssh with "
                "ssh -X"
            )
        fail(f"the display {where} cannot be used ({error}); check DISPLAY")


def _tkinter_remedy() -> str:
    """Return how to install tkinter here."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.platform == "darwin":
        return f"brew install python-tk@{version}, or take Python from python.org"
    if sys.platform == "win32":
        return "run Python's installer again and tick tcl/tk"
    names = {"apt-get": "python3-tk", "dnf": "python3-tkinter", "pacman": "tk"}
    names |= {"zypper": "python3-tk", "apk": "python3-tkinter"}
    verbs = {"pacman": "-S", "apk": "add"}
    for tool, package in names.items():
        if any((Path(folder) / tool).exists() for folder in ("/usr/bin", "/sbin")):
            return f"sudo {tool} {verbs.get(tool, 'install')} {package}"
    return "install your system's package for it, often python3-tk"


def _open_log(folder: Path) -> Path | None:
    """Log into a file of a folder; return its path, None if it cannot be written."""
    logger = logging.getLogger("tinycnn.window")
    logger.propagate = False  # nothing goes to stderr
    handler: logging.Handler = logging.NullHandler()
    path: Path | None = folder / "window.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        assert path is not None
        if path.exists() and path.stat().st_size > LARGEST_LOG:
            path.unlink()
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError:
        path = None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    return path


if __name__ == "__main__":
    run_command(main)
