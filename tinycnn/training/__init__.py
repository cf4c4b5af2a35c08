"""Learning: the step, epochs, recipes, augmentation, metrics, checkpoints."""
