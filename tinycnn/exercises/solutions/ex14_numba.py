"""Numba: the reference solution."""


def compiled(function):
    return njit(function)


def safe_loops():
    return {"y": "n oh ow f", "dx": "n c", "dweight": "kh kw c f", "dbias": "f"}
