"""Composed images: `plan` decides, `render` paints, `annotate` finds what is seen."""
