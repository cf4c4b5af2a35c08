"""The drawing window: draw digits and see them read as you draw.

It knows Tk, strokes and pictures. It does not know layers: all reading happens in one
process beside it (`worker`), so the window opens at once and never waits.
"""
