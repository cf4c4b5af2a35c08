"""The same results sooner: steps that do the work of several layers at once.

`plan.make_plan` decides which layers become one of the `steps`; every step has its
plain twin in `tinycnn.nn.layers`, and tests hold the two together. Below the steps are
the kernels (`convolution`, `dense`, `normalization`), and below these the two ideas
that they share: `winograd`, fewer multiplications, and `vectors`, eight at once. This
room knows the layers it stands in for. It does not know digits, losses or optimizers.
"""
