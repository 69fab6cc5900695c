"""Compose settings for tests: the demo's on a canvas of 64 px, with changes."""

from xpaste_ray.config import ComposeSettings, DatasetSettings, load


def options(*changes: str) -> ComposeSettings:
    """changes: "place.rule=centre" and the like."""
    return load(
        DatasetSettings, "demo", [f"compose.{change}" for change in ("canvas.size_hw=[64, 64]", *changes)]
    ).compose
