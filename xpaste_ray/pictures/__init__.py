"""Image files of others: read with suspicion, to (H, W, 3) uint8 RGB."""
