"""Exercises that build the library again, with a judge; the mistakes of a bug hunt."""


def main(argv: list[str] | None = None) -> int:
    """Run ``tinycnn exercises``."""
    from tinycnn.exercises import __main__

    return __main__.main(argv)
