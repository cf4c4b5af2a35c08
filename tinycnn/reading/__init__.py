"""Ink becomes numbers.

This room knows ink and networks. It knows no Tk and no training; `practice` makes the
examples that a judge is trained on, with the segmenter that it will have to judge.
"""
