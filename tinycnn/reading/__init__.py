"""Ink becomes numbers.

This room knows ink and networks. It knows no Tk and no training.
"""
