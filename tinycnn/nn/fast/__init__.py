"""The same results sooner: steps that do the work of several layers at once.

`plan.make_plan` decides which layers become one step; every step has its plain twin in
`tinycnn.nn.layers`, and tests hold the two together. This room knows the layers it
stands in for. It does not know digits, losses or optimizers.
"""
