"""Large JSON files, such as COCO's and LVIS's: an object of long lists, read one entry at a time."""

import json
import re
from collections.abc import Iterator
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")


def list_entries(text: str) -> Iterator[tuple[str, int, int, Any]]:
    """(key, start, end, value) of each entry of the lists in a JSON object, one at a time.

    text: the file's bytes as Latin-1, which makes every byte a character: places in the text are places in
    the file, and `entry_at` gives an entry's own text back. ValueError where it is no JSON object. Other
    values than lists are skipped.
    """
    return ((key, start, end, value) for key, listed, start, end, value in members(text) if listed)


def members(text: str) -> Iterator[tuple[str, bool, int, int, Any]]:
    """(key, True, start, end, value) of each entry of the lists in a JSON object, as `list_entries`, and
    (key, False, start, end, value) of each other value in it, among which empty lists count."""
    decode = json.JSONDecoder().raw_decode

    def after_space(position: int) -> int:
        match = _SPACE.match(text, position)
        assert match is not None
        return match.end()

    def expect(character: str, position: int) -> int:
        position = after_space(position)
        if text[position : position + 1] != character:
            raise ValueError(f"expected {character!r} at byte {position}")
        return after_space(position + 1)

    position = expect("{", 3 if text.startswith("\u00ef\u00bb\u00bf") else 0)  # a byte order mark
    while text[position : position + 1] != "}":
        key, position = decode(text, position)
        position = start = expect(":", position)
        if text[start : start + 1] == "[" and text[(first := after_space(start + 1)) : first + 1] != "]":
            position = first
            while text[position : position + 1] != "]":
                value, end = decode(text, position)
                yield key, True, position, end, value
                position = after_space(end)
                position = expect(",", position) if text[position : position + 1] != "]" else position
            position += 1
        else:
            value, position = decode(text, start)
            yield key, False, start, position, value
        position = after_space(position)
        position = expect(",", position) if text[position : position + 1] != "}" else position


def entry_at(text: str, start: int, end: int) -> Any:
    """The entry at a place that `list_entries` gave, its texts read as UTF-8."""
    return json.loads(text[start:end].encode("latin-1"))
