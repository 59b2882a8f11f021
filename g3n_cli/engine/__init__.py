"""Models that turn positions into logits, and logits into text."""
