"""Open pages in headless Chromium, and fail if one complains or is too wide.

``python tests/report/browser.py PAGE.html ...`` shows each at 390 and 1280 pixels, and
leaves a picture of each. A page's own policy refuses all that is not in it, and
Chromium puts what was refused on the console.
"""

import itertools
import subprocess
import sys
from pathlib import Path

CHROMIUM = "chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars"
CHROMIUM += " --allow-file-access-from-files --enable-logging=stderr"
FRAME = """<!doctype html><iframe src="{page}" width="{width}" height="5000" onload="
this.after('is ' + this.contentDocument.documentElement.scrollWidth)"></iframe>"""


def run(frame, action):
    """Let Chromium act on a page; return its output, and what its console has."""
    command = [*CHROMIUM.split(), "--window-size=1300,5100", action, frame.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return ran.stdout, [line for line in ran.stderr.splitlines() if "CONSOLE" in line]


def faults_of(page, width):
    """Return what is wrong with a page of this width."""
    page = Path(page).resolve()
    frame = page.with_name(f"{page.stem}-{width}.html")
    frame.write_text(FRAME.format(page=page.name, width=width))
    shown, console = run(frame, "--dump-dom")
    run(frame, f"--screenshot={frame.with_suffix('.png')}")
    frame.unlink()
    return console + [f"{frame}: wider"] * (f"is {width}" not in shown)


if __name__ == "__main__":
    shown = itertools.product(sys.argv[1:], (390, 1280))
    sys.exit("\n".join(fault for one in shown for fault in faults_of(*one)) or None)
