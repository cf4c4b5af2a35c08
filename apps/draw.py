"""Draw digits and see them read: ``python apps/draw.py [PICTURE]``.

A launcher; the window is in `tinycnn.window`.
"""

from tinycnn._cli import run_command
from tinycnn.draw import main

# The process that reads imports this file as well, and must not open a window.
if __name__ == "__main__":
    run_command(main)
