"""Composed images: `plan` decides, `render` paints, `annotate` reads the labels off."""
