"""Mistakes to hunt, as a text file: ``faults.txt``."""
