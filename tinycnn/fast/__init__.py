"""The same results sooner: ``fuse(model)`` and `Adam`, over the same parameters.

`fuse` decides which layers become one step; every step has its plain twin in
`tinycnn.nn.layers`, and tests compare the two. Below the steps are the kernels, and
below these two ideas: `winograd`, fewer multiplications, and `vectors`, many at once.
"""

from tinycnn.fast.adam import Adam
from tinycnn.fast.fuse import Runner

fuse = Runner
__all__ = ["Adam", "Runner", "fuse"]
