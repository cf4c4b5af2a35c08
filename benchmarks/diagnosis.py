"""Plant one fault at a time, and see whether the gradient check says why.

``python -m benchmarks.diagnosis [--workers 2]``

The faults are those of layers, losses and kernels in ``tinycnn/exercises/faults.txt``,
and thirty in ``benchmarks/diagnosis.txt`` that were written before the rules. Each is
planted in a copy of the package, whose ``gradcheck --json`` then runs, with the kernels
as plain Python. A fault is *silent* if every gradient fits all the same: forward is
wrong in the same way, or the fault is in no gradient. Of the others, a reason is
*given* as ``"why"`` or as the sentence with which the layer is refused; it is *right*
if every reason given has one of the words that the fault's ``why:`` lists.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tinycnn._cli import Parser, integer, run_command
from tinycnn.exercises.faults import FAULTS, Fault, parse

ROOT = Path(__file__).parent.parent
BLIND = Path(__file__).with_suffix(".txt")
KINDS = ("nn/layers.py", "nn/losses.py", "nn/kernels.py")
VERDICTS = ("right", "wrong", "none", "silent")
UNUSED = ("__pycache__", "pretrained", "glyphs", "window", "reading", "exercises")


def reasons(fault: Fault) -> list[str] | None:
    """Return what the gradient check says of a fault; None if all gradients fit."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "tinycnn"
        ignore = shutil.ignore_patterns(*UNUSED)
        shutil.copytree(ROOT / "tinycnn", copy, ignore=ignore)
        path = Path(scratch) / fault.file
        text = path.read_text("utf-8")
        assert text.count(fault.old) == 1, fault
        path.write_text(text.replace(fault.old, fault.new), "utf-8")
        settings = {"PYTHONPATH": scratch, "NUMBA_DISABLE_JIT": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "tinycnn.gradcheck", "--json"],
            cwd=scratch,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            check=False,
        )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    said = [row["why"] for row in rows if row["why"]]
    said += [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return said if done.returncode else None


def verdict(fault: Fault, said: list[str] | None) -> str:
    """Return one of `VERDICTS`."""
    if not said:
        return "silent" if said is None else "none"
    words = [word.strip() for word in fault.why.split("|") if word.strip()]
    right = all(any(word in sentence for word in words) for sentence in said)
    return "right" if right else "wrong"


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = Parser("python -m benchmarks.diagnosis", "Why is it wrong?", json=False)
    about = "in parallel"
    parser.add_argument("--workers", type=integer(1, 64), default=2, help=about)
    workers = parser.parse_args(argv).workers
    counts: Counter[tuple[str, str]] = Counter()
    for name, path in (("planted", FAULTS), ("written before the rules", BLIND)):
        faults = [f for f in parse(path.read_text("utf-8")) if f.file.endswith(KINDS)]
        with ThreadPoolExecutor(workers) as pool:
            for fault, said in zip(faults, pool.map(reasons, faults), strict=True):
                found = verdict(fault, said)
                print(f"{found:6}  {Path(fault.file).stem}: {fault.says}", flush=True)
                for sentence in dict.fromkeys(said or []):
                    print(f"          {sentence}", flush=True)
                counts[f"{name}, {Path(fault.file).stem}", found] += 1
                counts[f"{name}, all", found] += 1
    print(
        f"\n{'faults':34}{'seen':>6}{'given':>7}" + "".join(f"{v:>8}" for v in VERDICTS)
    )
    for kind in dict.fromkeys(kind for kind, _ in counts):
        right, wrong, none, silent = (counts[kind, verdict] for verdict in VERDICTS)
        seen, given = right + wrong + none, right + wrong
        print(f"{kind:34}{seen:6}{given / max(seen, 1):7.0%}", end="")
        print("".join(f"{number:8}" for number in (right, wrong, none, silent)))
    return 0


if __name__ == "__main__":
    run_command(main)
