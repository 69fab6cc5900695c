"""The labelled images that the package ships, by the name that settings have for them."""

from pathlib import Path

_NAME = "embedded:labelled"
_FOLDER = Path(__file__).resolve().parent.parent / "embedded" / "labelled_photos"


def shipped_or_given(text: str, file: str) -> str | Path:
    """What `text` names: `file` of the shipped set, if it is that one's name; else itself, a path."""
    return _FOLDER / file if text == _NAME else text
