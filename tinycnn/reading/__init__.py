"""Ink becomes numbers: segmentation, candidates, a search, explanations."""
