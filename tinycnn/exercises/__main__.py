"""Learn by doing: ``python -m tinycnn.exercises``.

Lays out the exercises in a folder, judges them, shows hints and solutions. Exit code 0:
solved; 1: not; 2: wrong usage.
"""

import sys
import textwrap
import time
from pathlib import Path

from tinycnn._cli import Parser, fail, integer, printable, run_command
from tinycnn.exercises.path import EXERCISES, Exercise
from tinycnn.exercises.workshop import Workshop

ACTIONS = {
    "start": "lay out the exercises in a folder (default: tinycnn-exercises)",
    "check": "judge exercise N (default: the first that is open)",
    "hint": "show the next of three hints",
    "list": "show what is done",
    "skip": "leave exercise N out; later ones use the library's instead",
    "reset": "lay out exercise N anew; your file is kept in kept/",
    "solution": "show the solution of exercise N once it is solved",
    "hunt": "find the fault planted in a layer, --level 1 to 8",
}
FOLDER = "tinycnn-exercises"
DONE = "All exercises are done; name one by its number to judge it again."
PERIOD = 0.3  # seconds between two looks at the files


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 0 if what was judged is solved, 1 if not."""
    parser = Parser(
        "tinycnn exercises",
        "Build the library yourself, piece by piece, each judged in a second. "
        + "; ".join(f"{name}: {about}" for name, about in ACTIONS.items())
        + ".",
        example="start",
        json=False,
    )
    add = parser.add_argument
    about = "one of " + ", ".join(ACTIONS) + " (default: check)"
    add("action", nargs="?", choices=ACTIONS, metavar="ACTION", help=about)
    about = "the folder of start; the number of an exercise for all others"
    add("which", nargs="?", metavar="WHICH", help=about)
    add("--watch", action="store_true", help="judge again whenever a file changes")
    add("--level", type=integer(1, 8), default=1, metavar="N", help="of the hunt")
    add("--show", action="store_true", help="show the solution of what is not solved")
    argv = sys.argv[1:] if argv is None else argv
    short = ["check"] if argv and argv[0].isdigit() else []  # exercises 3
    arguments = parser.parse_args([*short, *argv])
    action = arguments.action or "check"
    if arguments.watch > (action == "check") or arguments.show > (action == "solution"):
        parser.error("--watch goes with check, and --show with solution")

    number = arguments.which
    try:
        if action == "start":
            if number is None and Path(EXERCISES[0].file).exists():
                fail("the exercises are here already; reset N lays out one anew")
            return _start(Path(FOLDER if number is None else number))
        if number is not None and number not in map(str, range(1, len(EXERCISES) + 1)):
            parser.error(f"N: a number from 1 to {len(EXERCISES)}, not {number!r}")
        if number is None and action in ("reset", "skip", "solution"):
            parser.error(f"{action} needs the number of an exercise")
        if number is not None and action in ("list", "hunt"):
            parser.error(f"{action} takes no number")
        workshop = Workshop(Path.cwd())
        if action == "list":
            return _list(workshop)
        if action == "hunt":
            return _hunt(workshop, arguments.level)
        chosen = EXERCISES[int(number) - 1] if number else None
        if arguments.watch:
            return _watch(workshop, chosen)
        exercise = chosen or workshop.first_open()
        if exercise is None:
            print(DONE)
            return 0
        if action == "solution":
            if workshop.state(exercise) != "solved" and not arguments.show:
                fail(f"{exercise} is not solved yet; --show shows its solution now")
            print(exercise.solution(), end="")
            return 0
        if action in ("reset", "skip"):
            return _replace(workshop, exercise, action)
        return (_hint if action == "hint" else _check)(workshop, exercise)
    except ValueError as error:
        fail(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"{error.filename or 'the folder'} cannot be used ({error.strerror})")


def _start(folder: Path) -> int:
    Workshop.start(folder)
    shown = f'"{folder}"' if " " in str(folder) else str(folder)
    print(
        f"{len(EXERCISES)} exercises are in {printable(folder)}. Begin with "
        f"{EXERCISES[0].file}:\nread it, fill the gaps, and judge it.\n\n"
        f"  cd {printable(shown)}\n"
        "  tinycnn exercises           # or --watch: judge at every save\n"
        "  tinycnn exercises hint      # if you are stuck"
    )
    return 0


def _judge(workshop: Workshop, exercise: Exercise) -> bool:
    """Judge a file and print the verdict; return whether it is solved."""
    from tinycnn.exercises.judge import judge

    verdict = judge(exercise, workshop.folder)
    for line in verdict.printed.splitlines():
        print(f"  | {printable(line)}")
    print(f"{exercise}: {'solved' if verdict.solved else 'not yet'}")
    if verdict.message:
        print(f"  {printable(verdict.message)}")
    if skipped := workshop.needed(exercise, "skipped"):
        print("  not yours, because skipped: " + ", ".join(map(str, skipped)))
    return verdict.solved


def _check(workshop: Workshop, exercise: Exercise) -> int:
    """Judge an exercise, if those on which it builds are done."""
    for other in workshop.needed(exercise, "open"):
        print(
            f"{exercise} builds on {other.file}, which is open, or has changed since: "
            f"solve {other.number}, or tinycnn exercises skip {other.number} to use "
            "the library's"
        )
        return 1
    judged = workshop.sha256(exercise)  # a file can be saved meanwhile
    if not _judge(workshop, exercise):
        print(f"  stuck? tinycnn exercises hint {exercise.number}")
        return 1
    if workshop.state(exercise) == "open":
        workshop.note(exercise, solved=judged)
    following = workshop.first_open()
    print(f"Next: {following}, in {following.file}" if following else DONE)
    return 0


def _watch(workshop: Workshop, chosen: Exercise | None) -> int:
    """Judge whenever a file changes, until all is solved or Ctrl-C."""
    while exercise := chosen or workshop.first_open():
        before = [workshop.sha256(e) for e in EXERCISES]
        if _check(workshop, exercise) == 0 and chosen:
            return 0
        if workshop.state(exercise) == "open":
            print("Waiting for a file to change; Ctrl-C ends.", flush=True)
            while [workshop.sha256(e) for e in EXERCISES] == before:
                time.sleep(PERIOD)
        print(flush=True)
    return 0


def _list(workshop: Workshop) -> int:
    """Print all exercises and what is done."""
    marks = {"solved": "x", "skipped": "-", "open": " "}
    for exercise in EXERCISES:
        state, hints = workshop.state(exercise), workshop.count(exercise, "hints")
        shown = f"[{marks[state]}] {exercise.number:2} {exercise.title:40}"
        shown += exercise.file + f", {hints} of 3 hints" * (hints > 0)
        shown += ", skipped" * (state == "skipped")
        print(shown)
    return 0


def _hint(workshop: Workshop, exercise: Exercise) -> int:
    """Show the hints that were shown, and one more."""
    hints = exercise.hints()
    shown = min(workshop.count(exercise, "hints") + 1, len(hints))
    workshop.note(exercise, hints=shown)
    print(exercise)
    for number, hint in enumerate(hints[:shown], 1):
        print("\n" + textwrap.fill(f"Hint {number} of {len(hints)}: {hint}", 88))
    return 0


def _hunt(workshop: Workshop, level: int) -> int:
    """Lay out a layer with a planted fault, or judge what became of it."""
    from tinycnn.exercises.hunt import HUNTS

    hunt = HUNTS[level - 1]
    tries = workshop.count(hunt, "tries") + 1
    if not workshop.path(hunt).exists():
        workshop.replace(hunt, hunt.starter())
        print(f"{hunt.file} has a layer with one fault. This is what it does:")
        tries = 0
    workshop.note(hunt, tries=tries)
    solved = _judge(workshop, hunt)
    more = "" if solved else f"; mend it, then: tinycnn exercises hunt --level {level}"
    print(f"  tries: {tries}{more}")
    return 0 if solved else 1


def _replace(workshop: Workshop, exercise: Exercise, action: str) -> int:
    """Lay out the starter, or what stands in for a skipped exercise."""
    text, now = exercise.starter(), "is the starter again"
    if action == "skip":
        now = "is skipped; its first line says what stands in"
        text = exercise.stand_in()
    kept = workshop.replace(exercise, text)
    place = f" Your file is {kept.relative_to(workshop.folder)}." if kept else ""
    print(f"{exercise.file} {now}.{place}")
    return 0


if __name__ == "__main__":
    run_command(main)
