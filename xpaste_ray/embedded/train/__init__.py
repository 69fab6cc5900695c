"""Training of the miniature models: `python -m xpaste_ray.embedded.train --help`."""
