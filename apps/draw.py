"""Draw digits and see them read: ``python apps/draw.py [PICTURE]``.

A launcher of `tinycnn.draw`.
"""

from tinycnn._cli import run_command
from tinycnn.draw import main

# The spawned reading process imports this file too, and must not open a window.
if __name__ == "__main__":
    run_command(main)
