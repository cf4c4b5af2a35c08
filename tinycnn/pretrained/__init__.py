"""Trained weights that come with the package; beside each file stands its model card."""
