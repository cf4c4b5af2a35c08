"""A launcher of `tinycnn.draw`; the reading process imports it, and opens no window."""

from tinycnn._cli import run_command
from tinycnn.draw import main

if __name__ == "__main__":
    run_command(main)
