"""Exercise 14: Numba. Your own loops, compiled.

The loops of exercises 6 and 7 are right, and slow: for every single product, Python
looks up what + and * mean for what it was given. Numba reads a function once, finds the
types of all its variables from those of the arguments, and makes machine code of it, as
a C compiler would. The source stays as it is:

    from numba import njit

    @njit                    or      fast = njit(slow)
    def slow(x): ...

The first call with new types compiles and takes a second or two; the next ones run.
What Numba takes: loops, numbers, tuples, NumPy arrays, np.zeros. What it does not:
lists of mixed types, classes, printing with a format. (njit raises an error then; it
never falls back to slow Python by itself.)

Gap 1, compiled: return a function of Numba's that computes the same as the given one.
The judge gives it your convolve and your convolve_backward, compares the results, and
shows how many times as fast they are: at least 20 is asked for, 200 is usual.

A loop can also be shared among the cores: njit(parallel=True), with prange in the place
of range, runs the iterations of that loop at the same time, in any order. This is safe
only if no two iterations write to the same number: two cores that do

    total += a            read total, add, write total

at the same time can both read the old number, and one sum is lost: a wrong result, now
and then, and another one at every run. Which loops of a convolution are safe?

    y[n, oh, ow, f]                                += x[...] * weight[kh, kw, c, f]
    dx[n, oh * stride + kh, ow * stride + kw, c]   += dy[n, oh, ow, f] * weight[...]
    dweight[kh, kw, c, f]                          += dy[n, oh, ow, f] * x[...]
    dbias[f]                                       += dy[n, oh, ow, f]

    all of them run over n, oh, ow, f, kh, kw, c; dbias over n, oh, ow, f

Take dx and the loop over n: the iteration of image n writes to dx[n, ...] alone, so two
iterations never meet, and this loop is safe. Take dx and the loop over oh, with stride
1: place 0 writes to rows 0 .. KH - 1, place 1 to rows 1 .. KH. They meet.

Gap 2, safe_loops: for each of the four arrays, the loops that are safe, as one text of
names, such as "n c". Suppose stride 1 and kernels of more than one row and column.

Judge it: tinycnn exercises (compiling takes some seconds)
"""

from ex06_convolution import convolve
from ex07_convolution_backward import convolve_backward
from numba import njit


def compiled(function):
    """Return a compiled function that computes the same as a slow one."""
    raise NotImplementedError("compiled")


def safe_loops():
    """Return, for each array, the loops that can be shared among cores."""
    raise NotImplementedError("safe_loops")
    return {"y": "", "dx": "", "dweight": "", "dbias": ""}
