"""All arrows between the rooms of the package: which of them may import which."""

import ast
from pathlib import Path

import tinycnn

PACKAGE = Path(tinycnn.__file__).parent

# These rooms import nothing of ours but themselves and `files`, as every room may.
LOWEST = "files threads userfile diagnosis nn ink.strokes reading.result"
# The others, and the rooms that they may import, all of them above. Behind the bar:
# inside functions only, so that `--help` and the window's own process load none of it.
# A room is the modules that begin with its name but not with that of a longer one.
ARROWS = dict.fromkeys(LOWEST.split(), "") | {
    "_cli": "userfile",
    "fast": "nn",
    "pretrained": "nn",
    "models": "nn userfile pretrained",
    "data.idx": "nn",
    "data": "nn data.idx",
    "training": "nn models data",
    "gradcheck": "_cli userfile | diagnosis nn",
    # The reader
    "ink": "ink.strokes",
    "glyphs": "ink ink.strokes",
    "reading.corrections": "ink.strokes data.idx",
    "reading": "ink ink.strokes glyphs nn fast models pretrained reading.result",
    "reading.practice": "ink ink.strokes glyphs nn fast models pretrained reading "
    "data training",
    "evaluate": "_cli | userfile threads nn models pretrained data data.idx "
    "training fast",
    "report": "_cli evaluate userfile nn models training",
    "finetune": "_cli | threads nn models pretrained data training fast ink "
    "ink.strokes glyphs reading reading.practice reading.corrections",
    "recognize": "_cli userfile | threads nn ink ink.strokes reading",
    "cluster": "_cli threads nn models data training",
    "export": "_cli | userfile nn models",
    "train": "_cli userfile | threads nn models data training gradcheck fast glyphs "
    "reading.practice cluster",
    # The window: what it holds, what works beside it, and the window itself
    "window.session": "ink.strokes reading.result",
    "window.worker": "",
    "window.served": "window.session userfile threads nn data ink ink.strokes finetune "
    "reading reading.result reading.corrections",
    "tinycnn": "| nn models reading",
    "window": "tinycnn window.session window.worker ink.strokes finetune "
    "reading.result reading.corrections",
    "draw": "_cli | window.worker window",
    "exercises": "_cli userfile tinycnn nn models data gradcheck diagnosis | "
    "ink.strokes reading",
    "__main__": "_cli tinycnn",
}


def room_of(name):
    """Return the longest room that a name begins with: of ``nn.layers.Dense``, nn."""
    rooms = [room for room in ARROWS if f"{name}.".startswith(f"{room}.")]
    return max(rooms, key=len, default=f"{name}, which has no room,")


def room_of_file(path, package):
    parts = path.relative_to(package).with_suffix("").parts
    return room_of(".".join(p for p in parts if p != "__init__") or "tinycnn")


def imports(path):
    """Yield line, name and whether in a function, but not for type checkers alone."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    late = {n for f in nodes if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    unseen = set()
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            unseen.update(n for part in node.body for n in ast.walk(part))
    for node in nodes:
        start = ""
        if isinstance(node, ast.ImportFrom):
            start = f"{'.' * node.level}{node.module or ''}."
        if isinstance(node, ast.Import | ast.ImportFrom) and node not in unseen:
            for full in (start + alias.name for alias in node.names):
                if full.split(".")[0] in ("tinycnn", ""):  # relative is never allowed
                    yield node.lineno, full, node in late


def forbidden(package):
    """Return a line for every import that the table does not allow."""
    found = []
    for path in sorted(package.rglob("*.py")):
        room = room_of_file(path, package)
        early, _, late = ARROWS.get(room, "").partition("|")
        for line, full, in_function in imports(path):
            allowed = [room, "files", *early.split(), *late.split() * in_function]
            if room_of(full.removeprefix("tinycnn.")) not in allowed:
                file = path.relative_to(package).as_posix()
                found.append(f"{file}:{line}: {room} may not import {full}")
    return found


def test_no_module_imports_what_its_room_may_not():
    found = forbidden(PACKAGE)
    assert not found, "\n".join(found)


def test_every_module_has_a_room_and_arrows_run_downward():
    assert {room_of_file(p, PACKAGE) for p in PACKAGE.rglob("*.py")} == set(ARROWS)
    above = {"|"}
    for room, targets in ARROWS.items():
        assert above.issuperset(targets.split()), room
        above.add(room)


def test_a_forbidden_import_is_seen(tmp_path):
    (tmp_path / "nn.py").write_text(
        "import tinycnn.files, numpy\nif TYPE_CHECKING:\n    import tinycnn.train\n"
        "def forward():\n    from tinycnn.fast import fuse\n"
    )
    (tmp_path / "train.py").write_text(
        "from tinycnn import nn\nfrom tinycnn._cli import fail\n"
        "def main():\n    from tinycnn.nn import layers\n    from . import window\n"
    )
    assert forbidden(tmp_path) == [
        "nn.py:5: nn may not import tinycnn.fast.fuse",
        "train.py:1: train may not import tinycnn.nn",
        "train.py:5: train may not import ..window",
    ]
