"""Pictures and strokes become ink. Knows nothing of networks."""
