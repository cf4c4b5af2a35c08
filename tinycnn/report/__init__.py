"""A run or several, or a weights file, as one HTML page that loads nothing else.

`run` reads, `figures` computes, `plots` and `pictures` draw, `page` fills the
template ``page.html``.
"""


def main(argv: list[str] | None = None) -> int:
    """Run ``tinycnn report``."""
    from tinycnn.report import __main__

    return __main__.main(argv)
