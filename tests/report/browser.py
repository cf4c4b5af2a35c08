"""Open pages in headless Chromium, and fail if one asks for anything or complains.

``python tests/report/browser.py FOLDER PAGE.html ...`` shows each at 390 and 1280
pixels, in both themes, and printed, and leaves the pictures in the folder. It speaks to
chromedriver, and reads its logs of the network and of the console.
"""

import base64
import itertools
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

PORT = 9516
ARGUMENTS = "headless=new no-sandbox disable-gpu no-first-run hide-scrollbars"
ARGUMENTS += " disable-background-networking disable-component-update disable-sync"
WANTED = {
    "goog:chromeOptions": {"args": [f"--{one}" for one in ARGUMENTS.split()]},
    "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
}
WIDER = "return document.documentElement.scrollWidth - innerWidth"


def call(path, method="POST", **body):
    """Call chromedriver and return the value of its answer."""
    address, data = f"http://127.0.0.1:{PORT}/session{path}", json.dumps(body).encode()
    request = urllib.request.Request(address, data, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["value"]


def faults_of(page, folder):
    """Return what is wrong with a page in a browser of its own."""
    session = "/" + call("", capabilities={"alwaysMatch": WANTED})["sessionId"]
    try:
        return [f"{page}: {fault}" for fault in show(page, folder, session)]
    finally:
        call(session, "DELETE")


def show(page, folder, session):
    """Show a page in every way, and return what is wrong with it."""
    address, faults = page.resolve().as_uri(), []

    def devtools(command, **params):
        return call(f"{session}/goog/cdp/execute", cmd=command, params=params)

    for width, theme in itertools.product((390, 1280), ("light", "dark")):
        view = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        devtools("Emulation.setDeviceMetricsOverride", **view)
        scheme = [{"name": "prefers-color-scheme", "value": theme}]
        devtools("Emulation.setEmulatedMedia", features=scheme)
        call(f"{session}/url", url=address)
        if wider := call(f"{session}/execute/sync", script=WIDER, args=[]):
            faults.append(f"{wider} pixels wider than {width}")
        shot = devtools("Page.captureScreenshot", captureBeyondViewport=True)
        name = folder / f"{page.stem}-{width}-{theme}.png"
        name.write_bytes(base64.b64decode(shot["data"]))
    printed = devtools("Page.printToPDF")
    (folder / f"{page.stem}.pdf").write_bytes(base64.b64decode(printed["data"]))
    console = call(f"{session}/se/log", type="browser")
    faults += [f"console: {entry['message']}" for entry in console]
    for entry in call(f"{session}/se/log", type="performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            faults += [f"asks for {url}"] * (not url.startswith(("data:", address)))
    return faults


if __name__ == "__main__":
    command = ["chromedriver", f"--port={PORT}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as driver:
        try:
            time.sleep(1)
            pages, folder = map(Path, sys.argv[2:]), Path(sys.argv[1])
            found = [fault for page in pages for fault in faults_of(page, folder)]
        finally:
            driver.terminate()
    sys.exit("\n".join(found) or None)
