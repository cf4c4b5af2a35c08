"""The bundled sample: four small IDX files, their licence note and their maker.

This folder knows where its digits are from. It does not know who reads them.
"""
