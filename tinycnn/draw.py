"""Draw digits and see them read: ``python -m tinycnn.draw [PICTURE]``.

The command line of the window: arguments, folders, and errors where no window can be
opened. The window itself is `tinycnn.window.view`.
"""

import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinycnn._cli import Parser, existing_file, fail, run_command, user_function

if TYPE_CHECKING:
    import tkinter as tk

LARGEST_LOG = 1_000_000  # bytes; a larger log is replaced


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, or the process's arguments.

    Returns 0, or 130 or 143 after a signal; failures leave by `SystemExit`.
    """
    arguments = _parser().parse_args(argv)
    root = _root()

    from platformdirs import user_config_path, user_data_path, user_log_path

    from tinycnn.window.correcting import READS
    from tinycnn.window.settings import load_settings
    from tinycnn.window.view import Window
    from tinycnn.window.worker import Worker

    log = _open_log(user_log_path("tinycnn"))
    file = user_config_path("tinycnn") / "window.json"
    worker = Worker(READS, arguments.weights, arguments.network, log=log)
    settings, folder = load_settings(file), user_data_path("tinycnn")
    window = Window(
        root, settings, file, worker, folder, may_reload=arguments.weights is None
    )
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda signum, _: window.stop(signum))
    window.run(arguments.picture)
    if window.problem:
        fail(window.problem)
    return 128 + window.stopped if window.stopped else 0


def _parser() -> Parser:
    parser = Parser(
        "tinycnn draw",
        "Draw digits and see them read. F1 in the window lists all shortcuts.",
        example="photo.jpg",
        json=False,
    )
    add = parser.add_argument
    picture = "a picture or a stroke file to open (default: the last drawing)"
    add("picture", nargs="?", type=existing_file, metavar="PICTURE", help=picture)
    weights = "weights of a run (default: fine-tuned on your corrections, or shipped)"
    add("--weights", type=existing_file, metavar="FILE", help=weights)
    network = "the file that defines the network of these weights, if it is your own"
    add("--network", type=user_function, metavar="FILE.py:NAME", help=network)
    return parser


def _root() -> "tk.Tk":
    """Return Tk's root window, or fail with the reason and the remedy."""
    try:
        import tkinter as tk

        from PIL import ImageTk  # noqa: F401 - a package of its own on some systems
    except ImportError as error:
        fail(
            f"no window can be opened ({error}): this Python has no tkinter; install "
            "python3-tk and python3-pil.imagetk (Homebrew: python-tk), or use another"
        )
    if sys.platform == "win32":
        import ctypes

        # Otherwise Windows scales the window up, blurred.
        ctypes.windll.shcore.SetProcessDpiAwareness(1)
    try:
        return tk.Tk(className="tinycnn")
    except tk.TclError as error:
        fail(
            f"no window can be opened ({error}); start in a desktop session with a "
            "display, or over ssh with ssh -X"
        )


def _open_log(folder: Path) -> Path | None:
    """Log into a file of a folder; return its path, None if it cannot be written."""
    path = folder / "window.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > LARGEST_LOG:
            path.unlink()
        form = "%(asctime)s %(levelname)s %(message)s"
        logging.basicConfig(filename=path, encoding="utf-8", format=form)
    except OSError:
        logging.basicConfig(handlers=[logging.NullHandler()])
        return None
    return path


if __name__ == "__main__":
    run_command(main)
