"""The README's commands and programs, to be run as they stand.

``python tests/readme.py README.md FOLDER`` writes them into a new folder, with pictures
for the names that they use: ``commands.sh`` and the programs.
"""

import re
import sys
from pathlib import Path

PROGRAMS = {"LeakyReLU": "my_network.py", "load_mnist": "loop.py"}
# A window is closed after some seconds by SIGTERM, which ends the command with 143.
CLOSED = "code=0; timeout --preserve-status 15 {} || code=$?; test $code = 143"


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language in a Markdown text."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


def commands(text: str) -> list[str]:
    """Return the commands in the blocks without a language, without comments."""
    lines = [line for block in blocks(text, "") for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines]


def write(text: str, folder: Path) -> None:
    """Write what ``tinycnn`` does, the programs, and pictures of a digit."""
    from PIL import Image

    from tinycnn.data.mnist import SAMPLE_FOLDER, load_mnist

    folder.mkdir()
    for word, name in PROGRAMS.items():
        (block,) = [block for block in blocks(text, "python") if word in block]
        (folder / name).write_text(block, "utf-8")
    loop, (speed,) = (
        (folder / "loop.py").read_text("utf-8"),
        [block for block in blocks(text, "python") if "runner = fast.fuse" in block],
    )
    line = next(line for line in loop.splitlines() if line.startswith("runner,"))
    fused = loop.replace(line, f"{line}\n{speed.rstrip()}")
    (folder / "loop_fused.py").write_text(fused, "utf-8")
    script = []
    for line in commands(text):
        if line.startswith("tinycnn "):
            run = CLOSED.format(line) if " draw " in line else line
            script += [f"echo '$ {line}'", run]
    (folder / "commands.sh").write_text("\n".join([*script, ""]), "utf-8")
    digit = load_mnist(SAMPLE_FOLDER).test_images[0]
    for name in ("photo.jpg", "one.png"):
        Image.fromarray(255 - digit).resize((140, 140)).save(folder / name)


if __name__ == "__main__":
    write(Path(sys.argv[1]).read_text("utf-8"), Path(sys.argv[2]))
