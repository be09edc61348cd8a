"""Training a detector: targets, losses, steps, epochs."""
