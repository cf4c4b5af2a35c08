"""The drawing window: draw digits and see them read as you draw.

All reading happens in a second process (`worker`), so the window opens at once and
never blocks. The window's own process loads no layer and no compiled code.
"""
