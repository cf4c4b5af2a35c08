"""A reader is taught: what its judge learns from, and what it learns from corrections.

This room knows reading and training, which know nothing of each other. It knows no
window.
"""
