"""Pictures and strokes become ink; ink becomes 28×28 images. No networks."""
