"""Contextual backgrounds: captions without target classes, and which images of them are kept. Pure."""
