"""Trained weights that come with the package; beside each stands its model card."""
