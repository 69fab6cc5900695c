"""Labelled images for instance segmentation, made by pasting cut-out instances on backgrounds."""

from importlib.metadata import version

__version__ = version("xpaste-ray")
