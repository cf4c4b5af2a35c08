"""How a network learns, and how well it has learned.

This room knows networks and digits. It knows no window and no picture file.
"""
